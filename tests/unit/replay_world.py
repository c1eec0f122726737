"""Replays between fakes: topics, times and commits in memory, and a Temporal that takes a command once."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from service.failures.letters import Letters
from service.failures.parking import Parking
from service.intake.handling import Handling
from service.intake.lanes import Window
from service.intake.loop import lane_key_by
from service.intake.pace import Pace
from service.intake.pauses import Pauses
from service.intake.waiting import WaitingRoom
from service.kafka.given_up import GivenUp
from service.kafka.record import Commit, Partition, Record
from service.kafka.route_log import RouteLog, routes_group
from service.replays.plan import Asked, Plan, make_plan
from service.replays.progress import replay_group
from service.replays.rehearsal import rehearse
from service.replays.running import Outcomes, Replay
from service.replays.source import PastSource
from service.replays.tally import Judge, Tally
from service.routing.table import RouteTable
from tests.unit.fakes import FakeParks
from tests.unit.letter_world import GROUP, NOW, FakeKafka, FakeTemporal, decoder_of, no_contracts

P0, P1 = (Partition("shop.orders", number) for number in range(2))
ROUTE = "second"


class PastKafka(FakeKafka):
    """A Kafka whose topics are read at any place, and that stores how far `ROUTE` was replayed.

    Args:
        records: What lies in `shop.orders`.
    """

    def __init__(self, records: Iterable[Record] = ()) -> None:
        super().__init__()
        self.topics |= {P0: [], P1: []}
        for one in records:
            self.topics[one.place].append(one)
        self._positions: dict[Partition, int] = {}

    async def offsets_at(self, topic: str, moment: datetime) -> Mapping[Partition, int]:
        since = moment.timestamp() * 1000
        return {
            place: next((r.offset for r in self.topics[place] if r.timestamp_ms >= since), held.stop)
            for place, held in (await self.extents(topic)).items()
        }

    # --- a log that is read at several places ---

    def begin(self, places: Mapping[Partition, int]) -> None:
        self._positions = dict(places)

    async def take(self, partition: Partition, limit: int) -> Sequence[Record]:
        await asyncio.sleep(0)
        found = [r for r in self.topics[partition] if r.offset >= self._positions[partition]][:limit]
        if found:
            self._positions[partition] = found[-1].offset + 1
        return found

    async def position(self, partition: Partition) -> int:
        return self._positions[partition]

    # --- the store of one who is alone in the group of the replay ---

    async def store(self, commits: Mapping[Partition, Commit]) -> None:
        self.step()
        self.commits[replay_group(GROUP, ROUTE)].update(commits)
        self.step()

    # --- for tests ---

    def handled(self, **commits: Commit) -> None:
        """The bridges have committed this of partition `p0`, `p1`."""
        self.commits[GROUP].update({_place(name): commit for name, commit in commits.items()})

    def noted(self, **logs: RouteLog) -> None:
        """The bridges have noted this of partition `p0`, `p1`."""
        notes = {_place(name): log.as_commit() for name, log in logs.items()}
        self.commits[routes_group(GROUP)].update(notes)


def live_since(commit: Commit, *, whole: bool = True) -> RouteLog:
    """`ROUTE` went live when the bridges had committed this."""
    return RouteLog.begin(Commit(0), ["first"], whole=whole).then(commit, ["first", ROUTE])


def asked(since: timedelta = timedelta(days=1), **how: object) -> Asked:
    return Asked(**{"route": ROUTE, "since": NOW - since, **how})  # type: ignore[arg-type]


async def plan_of(kafka: PastKafka, table: RouteTable, what: Asked | None = None) -> Plan:
    what = what or asked()
    route = table.route(what.route)
    assert route
    return await make_plan(kafka, GROUP, route, what)


class Run:
    """One run of a replay; `tally` and `kinds` are what it reports."""

    def __init__(self, kafka: PastKafka, temporal: FakeTemporal, table: RouteTable, plan: Plan) -> None:
        self.tally, self._outcomes = Tally(), Outcomes()
        self.kinds = self._outcomes.kinds
        self.given_up = GivenUp()
        self.pauses, self.said, self.progress = Pauses(), list[str](), list[int]()
        self.stop = asyncio.Event()
        route = table.route(ROUTE)
        assert route
        alone = table.alone(route)
        self.judge = Judge(decoder_of(alone), alone, no_contracts(), self.given_up)
        self._parts = (kafka, temporal, alone, plan)

    async def go(
        self, rate: float | None = None, key_by: Callable[[Record], bytes | None] | None = None
    ) -> None:
        (kafka, temporal, table, plan), waiting = self._parts, WaitingRoom()
        handling = Handling(
            decoder_of(table),
            table,
            temporal,
            Letters(kafka, GROUP),
            Parking(temporal, FakeParks()),
            waiting=waiting,
            pace=Pace(8),
            pauses=self.pauses,
            given_up=self.given_up,
            metrics=self._outcomes,
            only=ROUTE,
        )
        replay = Replay(
            PastSource(kafka, kafka, plan.stretches),
            handling,
            self.judge,
            self.tally,
            key_by or lane_key_by(frozenset()),
            waiting,
            self.pauses,
            window=Window(),
            drain=timedelta(seconds=5),
            rate=rate,
            progressed=self.progress.append,
            say=self.said.append,
        )
        async with asyncio.timeout(20):
            await replay.run(self.stop)


async def rehearsed(kafka: PastKafka, table: RouteTable, plan: Plan) -> Tally:
    """What a rehearsal counts."""
    route = table.route(ROUTE)
    assert route
    alone = table.alone(route)
    judge = Judge(decoder_of(alone), alone, no_contracts(), GivenUp())
    return await rehearse(kafka, plan, judge, progressed=lambda _: None)


def ms(age: timedelta) -> int:
    """The timestamp of a record of that age."""
    return int((NOW - age).astimezone(UTC).timestamp() * 1000)


def _place(name: str) -> Partition:
    return {"p0": P0, "p1": P1}[name]
