"""A source with a fake client inside, which has the traps of the real one."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from service.kafka.connection import Connection
from service.kafka.raw import Batch
from service.kafka.record import Commit, Partition, Record
from service.kafka.source import KafkaSource
from tests.unit.fakes import FakeGroups

P0, P1, P2 = (Partition("shop.orders", number) for number in range(3))


@dataclass(frozen=True, slots=True)
class Raw:
    """A record as the client hands it out."""

    topic: str
    partition: int
    offset: int
    key: bytes | None = b"A"
    value: bytes | None = b"{}"
    headers: tuple[tuple[str, bytes], ...] = (("a", b"1"), ("a", b"2"))
    timestamp: int = 1_790_000_000_000


UNREADABLE = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
"""What the client raises for a record with a header whose name is not UTF-8."""


class FakeConsumer:
    """Hands out what `log` holds per partition: a value per record, or an error in its place.

    As in aiokafka 0.14, no partitions means all of them; an error anywhere in what would be handed
    out is raised, and nothing moves on; the answer after such an error is empty, since the client
    then fetches anew.
    """

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.log: dict[TopicPartition, list[Exception | bytes]] = {}
        self.positions: dict[TopicPartition, int] = {}
        self.polled: list[tuple[TopicPartition, ...]] = []
        self.sought: list[TopicPartition] = []
        self.commits: list[dict[TopicPartition, OffsetAndMetadata]] = []
        self.failure: Exception | None = None
        self.hangs = False
        self.stops = 0
        self.ended: list[str] = []
        self.released: list[Exception] = []
        self.listener: Any = None
        self.while_polling: Any = None
        self._client = FakeGroups()
        self._client.log, self._client.answer = self.log, self._answer  # type: ignore[attr-defined]
        self._client.before_answer = lambda _group: self._answer()
        self.leaders: dict[TopicPartition, int | None] = {}
        """The leaders of partitions; of one that is not named it is node 1."""
        self._client.cluster = SimpleNamespace(  # type: ignore[attr-defined]
            leader_for_partition=lambda place: self.leaders.get(place, 1)
        )
        self._client.force_metadata_update = lambda: None  # type: ignore[attr-defined]
        self._coordinator = SimpleNamespace(
            generation=1,
            _do_commit_offsets=self._commit,
            _stop_heartbeat_task=self._end("heartbeats"),
            _stop_commit_offsets_refresh_task=self._end("commits"),
        )
        self._fetcher = SimpleNamespace(close=self._end("fetches"))
        self._subscription = SimpleNamespace(abort_waiters=self.released.append, _fetch_count=0)
        self._group_id = options.get("group_id")
        self._empty: set[TopicPartition] = set()
        self.refused: dict[TopicPartition, KafkaError] = {}
        """Partitions whose commits the broker refuses, while it stores those of others."""

    async def start(self) -> None:
        await self._answer()

    async def stop(self) -> None:
        self.stops += 1
        await self._answer()

    def subscribe(self, _topics: list[str], *, listener: Any) -> None:
        self.listener = listener

    async def getmany(
        self, *places: TopicPartition, timeout_ms: int, max_records: int
    ) -> dict[TopicPartition, list[Raw]]:
        self.polled.append(places)
        if self.while_polling:
            await self.while_polling()
        await self._answer()
        taken: dict[TopicPartition, list[Raw]] = {}
        for place in places or self.log:
            if (room := max_records - sum(map(len, taken.values()))) > 0 and place in self.log:
                taken[place] = self._take(place, room)
        return taken

    async def beginning_offsets(self, places: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(places, 0)

    def _take(self, place: TopicPartition, limit: int) -> list[Raw]:
        if place in self._empty:
            self._empty.discard(place)
            return []
        start = self.positions.get(place, 0)
        entries = self.log[place][start : start + limit]
        for entry in entries:
            if isinstance(entry, Exception):
                self._empty.add(place)
                raise entry
        self.positions[place] = start + len(entries)
        return [Raw(place.topic, place.partition, offset) for offset in range(start, start + len(entries))]

    async def position(self, place: TopicPartition) -> int:
        return self.positions.get(place, 0)

    def seek(self, place: TopicPartition, offset: int) -> None:
        self.sought.append(place)
        self.positions[place] = offset

    async def _commit(self, _assignment: None, offsets: dict[TopicPartition, OffsetAndMetadata]) -> None:
        self.commits.append(offsets)
        await self._answer()
        taken = {place: offset for place, offset in offsets.items() if place not in self.refused}
        self._client.commits[self.options["group_id"]].update(
            {Partition(*place): Commit(*commit) for place, commit in taken.items()}
        )
        if len(taken) < len(offsets):
            raise next(self.refused[place] for place in offsets if place in self.refused)

    def _end(self, what: str) -> Callable[[], Awaitable[None]]:
        async def end() -> None:
            self.ended.append(what)

        return end

    async def _answer(self) -> None:
        await asyncio.sleep(0)
        if self.hangs:
            await asyncio.Event().wait()
        if self.failure:
            raise self.failure


async def read_batch(client: Any, partition: Partition, offset: int) -> Batch:
    """Of the topic that a fake consumer holds, all from `offset` on as one batch."""
    await client.answer()
    entries = client.log[TopicPartition(*partition)]
    found = list(enumerate(entries))[offset:]
    records = [Record.of(Raw(*partition, number)) for number, _ in found]
    unreadable = frozenset(number for number, entry in found if entry is UNREADABLE)
    return Batch(records, len(entries), unreadable)


class World:
    """A source and the fake client inside it; with `routes`, it notes where they began."""

    def __init__(
        self, routes: Mapping[str, frozenset[str]] | None = None, topics: Sequence[str] = ("shop.orders",)
    ) -> None:
        self.revoked_: list[set[Partition]] = []
        self.taken_on: list[dict[Partition, Commit]] = []
        self.source = KafkaSource(
            Connection("127.0.0.1:1"),
            group="shop",
            topics=topics,
            revoked=self.revoked,
            assigned=self.assigned,
            drain=timedelta(seconds=20),
            routes=routes,
        )
        self.client: FakeConsumer = self.source._consumer  # noqa: SLF001
        self.groups = self.client._client  # noqa: SLF001
        self.committed = self.groups.commits["shop"]
        self.said = self.groups.commits["shop.seek"]
        self.given_up = self.groups.commits["shop.given-up"]
        self.noted = self.groups.commits["shop.routes"]

    async def revoked(self, partitions: frozenset[Partition]) -> None:
        self.revoked_.append(set(partitions))

    def assigned(self, commits: Mapping[Partition, Commit]) -> None:
        self.taken_on.append(dict(commits))

    async def rebalance(self, *places: Partition) -> None:
        """The group gives `places` to us, and nothing else."""
        self.client.while_polling = None
        await self.client.listener.on_partitions_revoked(set())
        for place in places:
            # The client goes to what is committed; it knows nothing of what we do with it.
            known = self.committed.get(place)
            self.client.positions[TopicPartition(*place)] = known.offset if known else 0
        await self.client.listener.on_partitions_assigned({TopicPartition(*p) for p in places})

    def holds(self, contents: Mapping[Partition, int | list[Exception | bytes]]) -> None:
        """Give partitions so many records, or these."""
        for place, content in contents.items():
            entries = [b""] * content if isinstance(content, int) else content
            self.client.log[TopicPartition(*place)] = list(entries)

    async def read(self, *places: Partition, polls: int = 1, limit: int = 100) -> list[tuple[Partition, int]]:
        found: list[Record] = []
        for _ in range(polls):
            found += await self.source.poll(places, limit)
        return [(record.place, record.offset) for record in found]
