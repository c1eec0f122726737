"""The watchdog: a client that is stuck is replaced, and one that has a reason to stand still is not."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import ConsumerStoppedError, KafkaConnectionError, OffsetOutOfRangeError
from hypothesis import given
from hypothesis import strategies as st

from service.errors import Unreachable
from service.kafka import source as source_module
from service.kafka import watchdog
from service.kafka.connection import Connection
from service.kafka.record import Commit, Partition
from service.kafka.source import KafkaSource
from service.kafka.watchdog import MOST_DOUBLINGS, Suspicion, Trouble, WatchedSource
from tests.unit.source_world import P0, P1, FakeConsumer, World

PATIENCE = timedelta(seconds=0.08)
BOUNDED = 10.0

# --- how long something has to be seen ---


def trouble(name: str, at: int = 0, looks: int = 4) -> Trouble:
    return Trouble(name, at, seen="", looks=looks)


def in_a_row(name: str, looks: Sequence[set[str]]) -> int:
    """How many of the newest looks have seen it."""
    return len(list(itertools.takewhile(lambda seen: name in seen, reversed(looks))))


@given(st.lists(st.sets(st.sampled_from("AB")), max_size=100))
def test_only_what_each_look_has_seen_for_long_enough_lasts(looks: Sequence[set[str]]) -> None:
    suspicion = Suspicion()
    rebuilds = dict.fromkeys("AB", 0)
    since_rebuild: list[set[str]] = []
    for names in looks:
        since_rebuild.append(names)
        due = {name for name in names if in_a_row(name, since_rebuild) > 4 * 2 ** rebuilds[name]}
        lasting = suspicion.lasting([trouble(name) for name in sorted(names)])
        assert (lasting is not None) == bool(due)
        if lasting:
            assert lasting.what in due
            rebuilds[lasting.what] += 1
            since_rebuild.clear()


def test_something_that_moves_is_another_trouble_each_time() -> None:
    suspicion = Suspicion()
    assert not any(suspicion.lasting([trouble("A", at=look)]) for look in range(100))


def test_what_a_new_client_does_not_cure_is_given_ever_more_time() -> None:
    suspicion = Suspicion()
    due = [look for look in range(4_000) if suspicion.lasting([trouble("A")])]
    gaps = [after - before for before, after in itertools.pairwise([-1, *due])]
    assert gaps[:9] == [5, 9, 17, 33, 65, 129, 257, 257, 257]
    assert MOST_DOUBLINGS == 6


# --- a stuck client ---


class Watched(WatchedSource):
    """Says each time when it has looked for troubles."""

    def __init__(self, *args: Any, **how: Any) -> None:
        super().__init__(*args, **how)
        self.checks = 0

    async def _troubles(self, source: KafkaSource) -> list[Trouble]:
        troubles = await super()._troubles(source)
        self.checks += 1
        return troubles


class Bridge:
    """Polls as the intake does, from sources whose clients are fakes; `script` is done to each client."""

    def __init__(self, script: Callable[[FakeConsumer], None] = lambda _client: None) -> None:
        self.clients: list[FakeConsumer] = []
        self.sources: list[KafkaSource] = []
        self.script = script
        self.held: dict[Partition, Commit] = {}
        self.has_room: Callable[[], bool] = lambda: True
        self.read: list[tuple[int, int]] = []  # number of the assignment, offset
        self.assignments = 0
        self.events: list[str] = []
        self.ends: dict[Partition, int] = {P0: 3}
        self.look_fails: Iterator[bool] = itertools.repeat(False)
        self.watched = Watched(self.make, self.look, patience=PATIENCE)

    def make(self) -> KafkaSource:
        source = KafkaSource(
            Connection("127.0.0.1:1"),
            group="shop",
            topics=["shop.orders"],
            revoked=self._revoked,
            assigned=self._assigned,
        )
        source.rebalance_seconds = PATIENCE.total_seconds()
        client: FakeConsumer = source._consumer  # noqa: SLF001
        self.sources.append(source)
        self.clients.append(client)
        client._client.commits["shop"][P0] = Commit(0)  # noqa: SLF001
        self.script(client)
        return source

    async def look(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        if next(self.look_fails):
            raise KafkaConnectionError
        return {partition: self.ends[partition] for partition in partitions}

    async def _revoked(self, partitions: frozenset[Partition]) -> None:
        self.events.append(f"revoked {sorted(map(str, partitions))}")
        for partition in partitions:
            self.held.pop(partition, None)

    def _assigned(self, commits: Mapping[Partition, Commit]) -> None:
        self.assignments += 1
        self.held |= commits

    async def poll(self) -> None:
        while True:
            asked = list(self.held) if self.has_room() else []
            for record in await self.watched.poll(asked, 100, 0.001):
                self.read.append((self.assignments, record.offset))
            await asyncio.sleep(0.001)

    async def checked(self, times: int) -> None:
        """Wait until the watchdog has looked so many times more."""
        wanted = self.watched.checks + times
        await self.until(lambda: self.watched.checks >= wanted)

    async def joined(self, clients: int) -> None:
        """Wait until so many clients were made and the last of them has joined."""
        await self.until(lambda: len(self.clients) == clients and self.clients[-1].listener is not None)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(BOUNDED):
            while not holds():  # noqa: ASYNC110 - there are many things to wait for
                await asyncio.sleep(0.001)


@pytest.fixture(autouse=True)
def fake_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.kafka.connection.AIOKafkaConsumer", FakeConsumer)
    monkeypatch.setattr(source_module, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(source_module, "CALL_SECONDS", 0.2)
    monkeypatch.setattr(watchdog, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(watchdog, "RETRY_SECONDS", 0.01)


@asynccontextmanager
async def running(bridge: Bridge, *places: Partition) -> AsyncIterator[Bridge]:
    await bridge.watched.start()
    await give(bridge.clients[-1], *places)
    polling = asyncio.create_task(bridge.poll())
    try:
        yield bridge
    finally:
        async with asyncio.timeout(BOUNDED):
            await bridge.watched.stop()
        assert not polling.done()
        polling.cancel()
        with suppress(asyncio.CancelledError):
            await polling


async def give(client: FakeConsumer, *places: Partition) -> None:
    """The group gives `places` to the client."""
    await client.listener.on_partitions_revoked(set())
    await client.listener.on_partitions_assigned({TopicPartition(*place) for place in places})


async def test_a_client_that_stands_still_though_records_wait_is_replaced() -> None:
    async with running(Bridge(), P0) as bridge:
        await bridge.joined(2)
        stuck, new = bridge.clients
        assert bridge.events == ["revoked []", "revoked ['shop.orders[0]']"]
        assert stuck.stops == 1
        assert set(stuck.ended) == {"heartbeats", "commits", "fetches"}
        assert bridge.held == {}
        new.log[TopicPartition(*P0)] = [b""] * 3
        await give(new, P0)
        await bridge.until(lambda: len(bridge.read) == 3)
        await bridge.checked(8)
        assert bridge.read == [(2, 0), (2, 1), (2, 2)]
        assert len(bridge.clients) == 2


async def test_nothing_that_the_old_client_still_says_reaches_anyone() -> None:
    async with running(Bridge(), P0) as bridge:
        await bridge.joined(2)
        stuck, new = bridge.clients
        await give(new, P0)
        await bridge.until(lambda: bridge.held == {P0: Commit(0)})
        stuck.log[TopicPartition(*P0)] = [b""] * 3
        await stuck.listener.on_partitions_revoked({TopicPartition(*P0)})
        await stuck.listener.on_partitions_assigned({TopicPartition(*P0)})
        assert await bridge.sources[0].poll([P0], 10) == []
        assert not await bridge.sources[0].commit({P0: Commit(2)})
        assert not bridge.sources[0].settled
        assert bridge.held == {P0: Commit(0)}
        assert stuck.commits == []


async def test_a_poll_that_waits_for_a_rebalance_for_ever_ends_and_yields_nothing() -> None:
    released = asyncio.Event()

    def hang_in_a_rebalance(client: FakeConsumer) -> None:
        async def wait_for_assignment() -> None:
            await released.wait()
            raise ConsumerStoppedError

        if not bridge.clients[1:]:  # the first one
            client._subscription.abort_waiters = lambda _error: released.set()  # noqa: SLF001
            client.while_polling = wait_for_assignment

    bridge = Bridge(hang_in_a_rebalance)
    await bridge.watched.start()
    await bridge.clients[0].listener.on_partitions_revoked(set())  # and nothing is ever assigned
    polling = asyncio.create_task(bridge.poll())
    await bridge.joined(2)
    bridge.clients[1].log[TopicPartition(*P0)] = [b""] * 3
    await give(bridge.clients[1], P0)
    await bridge.until(lambda: bridge.read == [(1, 0), (1, 1), (1, 2)])
    await bridge.watched.stop()
    polling.cancel()


async def test_a_member_that_is_out_of_its_group_for_long_is_replaced() -> None:
    async with running(Bridge(), P0) as bridge:
        bridge.has_room = lambda: False
        bridge.clients[0]._coordinator.generation = -1  # noqa: SLF001
        await bridge.joined(2)


async def test_a_commit_on_its_way_is_over_before_the_client_leaves_its_group(world: World) -> None:
    await world.rebalance(P0)
    world.client.hangs = True
    committing = asyncio.create_task(world.source.commit({P0: Commit(1)}))
    over: list[bool] = []

    async def stop() -> None:
        over.append(committing.done())

    world.client.stop = stop  # type: ignore[method-assign]
    await asyncio.sleep(0)
    await world.source.stop()
    assert over == [True]
    assert not committing.result()


async def test_a_new_client_that_cannot_join_is_tried_again_until_it_can() -> None:
    def away_three_times(client: FakeConsumer) -> None:
        if 2 <= len(bridge.clients) <= 4:
            client.failure = KafkaConnectionError()

    bridge = Bridge(away_three_times)
    async with running(bridge, P0):
        await bridge.joined(5)
        assert all(client.stops for client in bridge.clients[:4])
        bridge.clients[4].log[TopicPartition(*P0)] = [b""] * 3
        await give(bridge.clients[4], P0)
        await bridge.until(lambda: bridge.read == [(2, 0), (2, 1), (2, 2)])


async def test_stopping_is_bounded_in_the_middle_of_it() -> None:
    def hangs(client: FakeConsumer) -> None:
        client.hangs = len(bridge.clients) > 1

    bridge = Bridge(hangs)
    async with running(bridge, P0):
        await bridge.until(lambda: len(bridge.clients) == 2)
    assert bridge.clients[1].stops


async def test_stopping_ends_although_a_look_swallows_its_cancellation() -> None:
    looks = asyncio.Event()

    async def look(_partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        looks.set()
        with suppress(asyncio.CancelledError):  # as the client does while it waits for a task of its own
            await asyncio.Event().wait()
        return {P0: 0}

    watched = WatchedSource(Bridge().make, look, patience=PATIENCE)
    await watched.start()
    async with asyncio.timeout(BOUNDED):
        await looks.wait()
    async with asyncio.timeout(BOUNDED):
        await watched.stop()


async def test_a_cluster_that_is_not_there_at_the_start_is_said() -> None:
    def away(client: FakeConsumer) -> None:
        client.failure = KafkaConnectionError()

    bridge = Bridge(away)
    with pytest.raises(Unreachable):
        await bridge.watched.start()
    await bridge.watched.stop()


# --- reasons to stand still ---


def nothing_waits(bridge: Bridge) -> None:
    bridge.ends[P0] = 0  # also where all that waits belongs to an open transaction


def kafka_is_away(bridge: Bridge) -> None:
    bridge.look_fails = itertools.repeat(True)


def kafka_is_away_now_and_then(bridge: Bridge) -> None:
    bridge.look_fails = itertools.cycle([False, False, True])


def nothing_has_room(bridge: Bridge) -> None:
    bridge.has_room = lambda: False


def the_partition_is_stopped(bridge: Bridge) -> None:
    gone = OffsetOutOfRangeError({TopicPartition(*P0): 0})
    bridge.clients[0].log[TopicPartition(*P0)] = [gone]


def the_client_moves_over_what_was_aborted(bridge: Bridge) -> None:
    bridge.ends[P0] = 1_000_000
    client = bridge.clients[0]

    async def move() -> None:
        place = TopicPartition(*P0)
        client.positions[place] = client.positions.get(place, 0) + 1

    client.while_polling = move


def room_comes_and_goes(bridge: Bridge) -> None:
    bridge.has_room = itertools.cycle([True, False]).__next__


def another_partition_is_rebalanced(bridge: Bridge) -> None:
    async def rebalance() -> None:
        await give(bridge.clients[0], P1)

    bridge.clients[0].while_polling = rebalance
    bridge.ends[P1] = 0


@pytest.mark.parametrize(
    "reason",
    [
        nothing_waits,
        kafka_is_away,
        kafka_is_away_now_and_then,
        nothing_has_room,
        the_partition_is_stopped,
        the_client_moves_over_what_was_aborted,
        room_comes_and_goes,
        another_partition_is_rebalanced,
    ],
)
async def test_a_client_with_a_reason_to_stand_still_is_left_alone(reason: Callable[[Bridge], None]) -> None:
    async with running(Bridge(), P0) as bridge:
        reason(bridge)
        await bridge.checked(16)
        assert len(bridge.clients) == 1
        assert bridge.clients[0].stops == 0


async def test_a_rebalance_may_take_its_time() -> None:
    async with running(Bridge(), P0) as bridge:
        bridge.sources[0].rebalance_seconds = 3600.0
        await bridge.clients[0].listener.on_partitions_revoked({TopicPartition(*P0)})
        await bridge.checked(16)
        assert len(bridge.clients) == 1


async def test_a_defect_of_the_watchdog_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(Bridge(), P0) as bridge:

        async def fails(_partitions: Sequence[Partition]) -> Mapping[Partition, int]:
            raise ZeroDivisionError

        look, bridge.watched._look = bridge.watched._look, fails  # noqa: SLF001
        bridge.clients[0].log[TopicPartition(*P0)] = [b""] * 3
        await bridge.until(lambda: len(bridge.read) == 3)
        bridge.ends[P0] = 4
        bridge.watched._look = look  # noqa: SLF001
        await bridge.joined(2)
