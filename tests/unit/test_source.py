"""The source, against a fake client that has the traps of the real one."""

import asyncio
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import (
    IllegalGenerationError,
    KafkaConnectionError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from aiokafka.structs import OffsetAndMetadata

from service.errors import Unreachable
from service.kafka import source as source_module
from service.kafka.connection import Connection
from service.kafka.record import Commit, Partition, Record
from service.kafka.source import NOWHERE, KafkaSource

P0, P1, P2 = (Partition("shop.orders", number) for number in range(3))
POISON = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")


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
        self.listener: Any = None
        self.while_polling: Any = None
        self.committed: dict[TopicPartition, OffsetAndMetadata] = {}
        self._coordinator = SimpleNamespace(
            generation=1, fetch_committed_offsets=self._committed, _do_commit_offsets=self._commit
        )
        self._subscription = SimpleNamespace(_fetch_count=0)
        self._empty: set[TopicPartition] = set()

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

    async def _committed(self, places: list[TopicPartition]) -> dict[TopicPartition, OffsetAndMetadata]:
        await self._answer()
        return {place: self.committed[place] for place in places if place in self.committed}

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

    async def _answer(self) -> None:
        await asyncio.sleep(0)
        if self.hangs:
            await asyncio.Event().wait()
        if self.failure:
            raise self.failure


class World:
    """A source and the fake client inside it."""

    def __init__(self) -> None:
        self.revoked_: list[set[Partition]] = []
        self.taken_on: list[dict[Partition, Commit]] = []
        self.source = KafkaSource(
            Connection("127.0.0.1:1"),
            group="shop",
            topics=["shop.orders"],
            revoked=self.revoked,
            assigned=self.assigned,
            drain=timedelta(seconds=20),
        )
        self.client: FakeConsumer = self.source._consumer  # noqa: SLF001

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
            known = self.client.committed.get(TopicPartition(*place))
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


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(source_module, "AIOKafkaConsumer", FakeConsumer)
    monkeypatch.setattr(source_module, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(source_module, "CALL_SECONDS", 0.2)
    world = World()
    await world.source.start()
    return world


async def test_offsets_are_never_chosen_or_committed_by_the_client(world: World) -> None:
    assert world.client.options == world.client.options | {
        "enable_auto_commit": False,
        "auto_offset_reset": "none",
        "isolation_level": "read_committed",
        "group_id": "shop",
    }


async def test_records_come_in_order_with_all_that_kafka_says_of_them(world: World) -> None:
    world.holds({P0: 3, P1: 2})
    read = await world.read(P0, P1)
    assert sorted(read) == [(P0, 0), (P0, 1), (P0, 2), (P1, 0), (P1, 1)]
    assert [offset for place, offset in read if place == P0] == [0, 1, 2]
    world.holds({P2: 1})
    (record,) = await world.source.poll([P2], 1)
    assert record == Record("shop.orders", 2, 0, b"A", b"{}", (("a", b"1"), ("a", b"2")), 1_790_000_000_000)


async def test_each_partition_comes_first_in_its_turn_so_that_a_busy_one_leaves_room(world: World) -> None:
    world.holds({P0: 1_000, P1: 1_000, P2: 1_000})
    read = [await world.read(P0, P1, P2, limit=10) for _ in range(6)]
    assert {place for place, _ in itertools.chain(*read)} == {P0, P1, P2}


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 100])
async def test_no_more_records_come_than_there_is_room_for_and_each_comes_once(
    world: World, limit: int
) -> None:
    world.holds({P0: 5, P1: 5})
    read = [await world.read(P0, P1, limit=limit) for _ in range(11)]
    assert all(len(records) <= limit for records in read)
    everything = list(itertools.chain(*read))
    for place in (P0, P1):
        assert [offset for p, offset in everything if p == place] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("places", [(), (P0,)])
async def test_a_partition_that_does_not_exist_is_polled_when_nothing_has_room(
    world: World, places: tuple[Partition, ...]
) -> None:
    world.holds({P0: 5, P1: 5})
    world.client.failure = OffsetOutOfRangeError({TopicPartition(*P0): 7})
    await world.read(P0)
    world.client.failure = None
    world.client.polled.clear()
    assert await world.read(*places) == []
    assert world.client.polled == [(NOWHERE,)]


async def test_partitions_are_only_read_where_there_is_room(world: World) -> None:
    world.holds({P0: 5, P1: 5})
    assert {place for place, _ in await world.read(P1, polls=3)} == {P1}
    assert () not in world.client.polled


@pytest.mark.parametrize("committed", [0, 1, 2])
@pytest.mark.parametrize("when", ["before the answer", "after it"])
async def test_what_was_polled_across_a_rebalance_is_dropped_and_comes_again(
    world: World, committed: int, when: str
) -> None:
    world.holds({P0: 4})
    assert await world.read(P0, limit=2) == [(P0, 0), (P0, 1)]
    world.client.committed[TopicPartition(*P0)] = OffsetAndMetadata(committed, "v1:map")

    async def rebalance() -> None:
        await world.rebalance(P0)
        if when == "after it":
            # The client may answer out of the new assignment before anyone has taken it on.
            world.client.positions[TopicPartition(*P0)] = 4

    world.client.while_polling = rebalance
    assert await world.read(P0) == []
    assert world.taken_on == []
    assert await world.read(P0) == [(P0, offset) for offset in range(committed, 4)]
    assert world.taken_on == [{P0: Commit(committed, "v1:map")}]


async def test_what_was_polled_of_a_partition_that_went_is_dropped(world: World) -> None:
    world.holds({P0: 2})
    world.client.while_polling = world.rebalance
    assert await world.read(P0) == []


async def test_partitions_are_taken_on_only_when_their_offsets_are_known(world: World) -> None:
    world.holds({P0: 2})
    await world.rebalance(P0)
    world.client.failure = KafkaConnectionError("no broker")
    await world.read(polls=3)
    assert world.taken_on == []
    world.client.failure = None
    await world.read()
    assert world.taken_on == [{P0: Commit(0)}]


async def test_partitions_that_went_again_meanwhile_are_not_taken_on(world: World) -> None:
    await world.rebalance(P0)

    async def lose_it(_places: object) -> dict[TopicPartition, OffsetAndMetadata]:
        await world.rebalance(P1)
        return {}

    fetch, world.client._coordinator.fetch_committed_offsets = (  # noqa: SLF001
        world.client._coordinator.fetch_committed_offsets,  # noqa: SLF001
        lose_it,
    )
    await world.read()
    world.client._coordinator.fetch_committed_offsets = fetch  # noqa: SLF001
    await world.read()
    assert world.taken_on == [{P1: Commit(0)}]


async def test_a_partition_that_stopped_is_tried_again_when_it_comes_back(world: World) -> None:
    world.holds({P0: [POISON]})
    await world.read(P0, polls=5)
    assert list(world.source.stopped) == [P0]
    world.holds({P0: 1})
    await world.rebalance(P0)
    assert await world.read(P0, polls=2) == [(P0, 0)]
    assert world.source.stopped == {}


async def test_an_error_while_partitions_go_does_not_reach_the_client(world: World) -> None:
    async def fails(_partitions: frozenset[Partition]) -> None:
        raise ZeroDivisionError

    world.client.listener._revoked = fails  # noqa: SLF001
    await world.client.listener.on_partitions_revoked({TopicPartition(*P0)})


# --- offsets that are not there ---


async def test_a_group_without_an_offset_begins_at_the_beginning(world: World) -> None:
    world.holds({P0: [NoOffsetForPartitionError(TopicPartition(*P0))]})
    await world.rebalance(P0)
    await world.read(P0)
    assert set(world.client.sought) == {TopicPartition(*P0)}
    assert world.taken_on == [{P0: Commit(0)}]
    assert world.source.stopped == {}


async def test_an_offset_that_is_gone_stops_its_partition_alone_and_is_reported(world: World) -> None:
    world.holds({P0: [OffsetOutOfRangeError({TopicPartition(*P0): 7})], P1: 3})
    read = await world.read(P0, P1, polls=3)
    assert read == [(P1, 0), (P1, 1), (P1, 2)]
    assert world.source.stopped == {P0: "offset 7 is no longer in the topic"}
    assert world.client.sought == []


# --- records that the client cannot read ---


@pytest.mark.parametrize("before", [0, 1, 2, 7])
@pytest.mark.parametrize("others", [0, 4])
@pytest.mark.parametrize("limit", [3, 100])
async def test_a_record_that_the_client_cannot_read_stops_its_partition_and_no_other(
    world: World, before: int, others: int, limit: int
) -> None:
    world.holds({P0: [*[b""] * before, POISON, b""], P1: others})
    read = await world.read(P0, P1, polls=30, limit=limit)
    assert [offset for place, offset in read if place == P0] == list(range(before))
    assert [offset for place, offset in read if place == P1] == list(range(others))
    assert list(world.source.stopped) == [P0]
    assert world.source.stopped[P0].startswith(f"the client cannot read the record at offset {before}: ")


async def test_a_partition_that_stopped_is_not_polled_again(world: World) -> None:
    world.holds({P0: [POISON], P1: 3})
    await world.read(P0, P1, polls=10)
    world.client.polled.clear()
    await world.read(P0, P1, polls=3)
    assert set(world.client.polled) == {(TopicPartition(*P1),)}


async def test_an_outage_yields_nothing_and_stops_nothing(world: World) -> None:
    world.holds({P0: 2})
    world.client.failure = KafkaConnectionError("no broker")
    assert await world.read(P0, polls=5) == []
    world.client.failure = None
    assert await world.read(P0) == [(P0, 0), (P0, 1)]
    assert world.source.stopped == {}


# --- commits ---


async def test_offsets_are_committed_as_given(world: World) -> None:
    assert await world.source.commit({P0: Commit(5, "v1:map"), P1: Commit(7)})
    assert world.client.commits == [
        {TopicPartition(*P0): OffsetAndMetadata(5, "v1:map"), TopicPartition(*P1): OffsetAndMetadata(7, "")}
    ]


async def test_nothing_is_committed_by_one_who_is_no_member(world: World) -> None:
    world.client._coordinator.generation = -1  # noqa: SLF001
    assert not await world.source.commit({P0: Commit(5)})
    assert world.client.commits == []


@pytest.mark.parametrize(
    "error",
    [IllegalGenerationError(), UnknownMemberIdError(), RebalanceInProgressError(), KafkaError()],
)
async def test_a_commit_that_fails_says_so(world: World, error: Exception) -> None:
    world.client.failure = error
    assert not await world.source.commit({P0: Commit(5)})
    assert len(world.client.commits) == 1


async def test_a_commit_that_hangs_is_given_up(world: World) -> None:
    world.client.hangs = True
    async with asyncio.timeout(5):
        assert not await world.source.commit({P0: Commit(5)})


# --- beginning and end ---


async def test_a_cluster_that_is_not_there_is_said_with_the_reason(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.client.failure = KafkaConnectionError()
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1: "):
        await world.source.start()
    assert world.client.stops == 1


@pytest.mark.parametrize("trouble", ["hangs", "fails", "is cancelled"])
async def test_leaving_is_bounded_whatever_the_client_does(world: World, trouble: str) -> None:
    world.client.hangs = trouble == "hangs"
    world.client.failure = {"fails": KafkaError(), "is cancelled": None}.get(trouble)
    if trouble == "is cancelled":

        async def cancelled() -> None:
            raise asyncio.CancelledError

        world.client.stop = cancelled  # type: ignore[method-assign]
    async with asyncio.timeout(5):
        await world.source.stop()
