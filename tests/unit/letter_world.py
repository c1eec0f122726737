"""Letters between fakes: topics and commits in memory, and a Temporal that takes a repeated command once."""

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson

from service.dispatch.answers import Outcome, OutcomeKind
from service.dispatch.contracts import Contracts
from service.dispatch.dispatcher import Dispatcher, Target
from service.dispatch.identity import command_id
from service.errors import ConfigurationError, RecordError, RejectedError, TargetMissing
from service.events.decoding import Decoder
from service.events.strict_json import Limits
from service.failures.letters import About, Letter, Letters, letter_group, letter_topic, read_letter
from service.failures.parking import Parking
from service.intake.handling import Handling
from service.intake.pace import Pace
from service.intake.pauses import Pauses
from service.intake.waiting import WaitingRoom
from service.kafka.record import Commit, Headers, Partition, Record, Written
from service.redrive.letterbox import Found, Place
from service.routing.commands import Command
from service.routing.table import RouteTable, load_routes
from tests.unit.fakes import FakeParks
from tests.unit.records import record

GROUP = "shop"
LETTERS = letter_topic(GROUP)
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
ROUTES = """\
version: 1
topics:
  shop.orders: {}
  shop.stock: {ordering: partition}
  shop.news: {unmatched: skip}
routes:
  - name: first
    from: shop.orders
    type: [placed, both]
    start: {workflow: Order, id: "order/${data.id}", task_queue: orders, input: "${data}"}
  - name: second
    from: shop.orders
    type: both
    signal: {to: "customer/${data.id}", name: ordered, input: "${data}"}
  - name: counted
    from: shop.stock
    start: {workflow: Count, id: "count/${data.id}", task_queue: stock, input: "${data}"}
  - name: told
    from: shop.news
    type: told
    start: {workflow: News, id: "news/${data.id}", task_queue: news, input: "${data}"}
"""


class Crash(Exception):  # noqa: N818 - an event, not an error
    """The process is killed here."""


def table_in(folder: Path, routes: str = ROUTES) -> RouteTable:
    """The routes, read from a file."""
    file = folder / "routes.yaml"
    file.write_text(routes)
    return load_routes(file)


def decoder_of(table: RouteTable) -> Decoder:
    return Decoder({name: topic.format for name, topic in table.topics.items()}, Limits(), "cluster-1")


def fact(offset: int = 0, *, id: str = "", type: str = "placed", **where: Any) -> Record:  # noqa: A002
    """A record that holds an event; each offset has one of its own."""
    name = id or f"{where.get('topic', 'shop.orders')}-{where.get('partition', 0)}-{offset}"
    headers: Headers = (
        ("ce_specversion", b"1.0"),
        ("ce_id", name.encode()),
        ("ce_source", b"/shop"),
        ("ce_type", type.encode()),
    )
    written = int((NOW - timedelta(hours=1)).timestamp() * 1000)
    given = {"value": orjson.dumps({"id": name}), "headers": headers, "timestamp_ms": written, **where}
    return record(offset, **given)


class FakeKafka:
    """Topics with their records, and what groups have committed; reads, takes letters and stores.

    Args:
        partitions: Of the letter topic.
    """

    def __init__(self, partitions: int = 1) -> None:
        self.topics: dict[Partition, list[Record]] = {Partition(LETTERS, n): [] for n in range(partitions)}
        self.commits: defaultdict[str, dict[Partition, Commit]] = defaultdict(dict)
        self.reads: list[tuple[Partition, range]] = []
        self.step: Callable[[], None] = lambda: None
        """Called before and after each letter is written and each commit is stored."""

    # --- a RecordReader ---

    async def extents(self, topic: str) -> Mapping[Partition, range]:
        held = {
            partition: range(records[0].offset, records[-1].offset + 1) if records else range(0)
            for partition, records in sorted(self.topics.items())
            if partition.topic == topic
        }
        if not held:
            raise ConfigurationError(f"there is no topic {topic}")
        return held

    async def committed(self, group: str, partitions: Iterable[Partition]) -> Mapping[Partition, Commit]:
        known = self.commits[group]
        return {partition: known[partition] for partition in partitions if partition in known}

    async def read(self, partition: Partition, offsets: range) -> AsyncIterator[Record]:
        self.reads.append((partition, offsets))
        records = self.topics[partition]
        assert not offsets or offsets.stop <= records[-1].offset + 1, "it would wait for more"
        for one in records:
            if one.offset in offsets:
                yield one

    # --- a RecordSink, for letters ---

    async def send(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        spread: int | None = None,
    ) -> Written:
        places = [partition for partition in self.topics if partition.topic == topic]
        partition = places[(spread or 0) % len(places)]
        offset = self.topics[partition][-1].offset + 1 if self.topics[partition] else 0
        self.step()
        self.topics[partition].append(Record(*partition, offset, key, value, headers, 0))
        self.step()
        return Written(*partition, offset)

    # --- the store of one who is alone in the group of the letters ---

    async def store(self, commits: Mapping[Partition, Commit]) -> None:
        self.step()
        self.commits[letter_group(GROUP)].update(commits)
        self.step()

    # --- for tests ---

    def letters(self) -> list[Letter]:
        """All letters ever written, in order."""
        found = [read_letter(lies) for records in self.topics.values() for lies in records if is_letter(lies)]
        return [letter for letter in found if letter]

    async def give_up(self, *records: Record, route: str = "first", error: RecordError | None = None) -> None:
        """Write letters, as a bridge would."""
        for one in records:
            reason = error or RejectedError("is too large")
            await Letters(self, GROUP).write(one, reason, About(route=route, event_type="placed"))


def is_letter(lies: Record) -> bool:
    return lies.topic == LETTERS


def change(kafka: FakeKafka, place: Place, **headers: str) -> None:
    """Give the letter at a place other headers of ours, as if time had passed; `_` stands for `-`."""
    records = kafka.topics[place.partition]
    index = next(n for n, one in enumerate(records) if one.offset == place.offset)
    given = {f"turnout-{name.replace('_', '-')}": text.encode() for name, text in headers.items()}
    changed = tuple((name, given.get(name, value)) for name, value in records[index].headers)
    records[index] = replace(records[index], headers=changed)


def lying(offset: int, *, partition: int = 0) -> Place:
    """A place in the letter topic."""
    return Place(Partition(LETTERS, partition), offset)


def found_at(kafka: FakeKafka, place: Place) -> Found:
    (lies,) = [one for one in kafka.topics[place.partition] if one.offset == place.offset]
    return Found.of(lies)


class FakeTemporal(Dispatcher):
    """Takes each command once, however often it comes, unless its route is refused or its target missing.

    `effects` are the commands that took effect, in order; `calls` are all.
    """

    def __init__(self) -> None:
        self.calls: list[Command] = []
        self.effects: list[Command] = []
        self._known: set[UUID] = set()
        self.refused: set[str] = set()
        self.without_target: set[str] = set()
        self.before_call: Callable[[Command], Any] = lambda _command: None
        self.after_call: Callable[[Command], None] = lambda _command: None

    async def dispatch(self, command: Command) -> Outcome:
        self.calls.append(command)
        if (waiting := self.before_call(command)) is not None:
            await waiting
        if command.route in self.refused:
            raise RejectedError("is refused")
        if command.route in self.without_target:
            raise TargetMissing("workflow does not exist", timedelta(minutes=15))
        kind = OutcomeKind.DUPLICATE if command_id(command) in self._known else OutcomeKind.ACCEPTED
        if kind is OutcomeKind.ACCEPTED:
            self.effects.append(command)
            self._known.add(command_id(command))
        self.after_call(command)
        return Outcome(kind, command.route, command.workflow_id)

    def check(self, command: Command) -> None: ...

    def link(self, to: Target) -> str:
        return f"http://ui/{to.workflow_id}"

    @property
    def events(self) -> list[str]:
        """The ids of the events that took effect, in order."""
        return [command.event.id for command in self.effects]


def handling_of(
    table: RouteTable,
    temporal: FakeTemporal,
    kafka: FakeKafka,
    waiting: WaitingRoom,
    pauses: Pauses | None = None,
    parks: FakeParks | None = None,
) -> Handling:
    return Handling(
        decoder_of(table),
        table,
        temporal,
        Letters(kafka, GROUP),
        Parking(temporal, parks or FakeParks()),
        waiting=waiting,
        pace=Pace(8),
        pauses=pauses,
    )


def no_contracts() -> Contracts:
    return Contracts([])
