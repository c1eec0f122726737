"""Lanes: order per key, side by side between keys, bounded, and safe when partitions go."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.intake.lanes import LANE_RECORDS, Gate, Lanes, Window
from service.intake.offsets import BRAKE_BYTES
from service.intake.pauses import Pauses
from service.intake.waiting import Assignment
from service.kafka.record import Commit, Partition, Record
from tests.unit.fakes import paused
from tests.unit.records import record

PLACE = Partition("shop.orders", 0)
HERE = frozenset({PLACE})
PATIENCE = timedelta(seconds=5)


class Scripted:
    """A handler whose records end when told to."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.ended: list[int] = []
        self.gates: defaultdict[int, asyncio.Event] = defaultdict(asyncio.Event)
        self.changed = asyncio.Condition()

    async def __call__(self, records: Sequence[Record], assignment: Assignment) -> int:
        offset = records[0].offset
        await self._note(self.begun, offset)
        await self.gates[offset].wait()
        await self._note(self.ended, offset)
        return 1

    async def _note(self, where: list[int], offset: int) -> None:
        async with self.changed:
            where.append(offset)
            self.changed.notify_all()

    async def until_begun(self, *offsets: int) -> None:
        async with self.changed, asyncio.timeout(5):
            await self.changed.wait_for(lambda: set(offsets) <= set(self.begun))

    async def end(self, *offsets: int) -> None:
        for offset in offsets:
            self.gates[offset].set()
        async with self.changed, asyncio.timeout(5):
            await self.changed.wait_for(lambda: set(offsets) <= set(self.ended))


def lanes_of(handler: Scripted, window: Window | None = None) -> Lanes:
    lanes = Lanes(handler, window or Window())
    lanes.assign({PLACE: Commit(0)})
    return lanes


def points(lanes: Lanes) -> dict[Partition, int]:
    return {place: commit.offset for place, commit in lanes.to_commit().items()}


def put(lanes: Lanes, offset: int, key: bytes | None = b"A") -> None:
    lanes.put(record(offset, key=key), key)


async def test_records_of_one_key_run_one_after_the_other() -> None:
    handler = Scripted()
    lanes = lanes_of(handler)
    put(lanes, 0)
    put(lanes, 1)
    await handler.until_begun(0)
    assert handler.begun == [0]
    await handler.end(0)
    await handler.until_begun(1)
    await handler.end(1)
    await lanes.drain(HERE, PATIENCE)


async def test_records_of_other_keys_do_not_wait() -> None:
    handler = Scripted()
    lanes = lanes_of(handler)
    put(lanes, 0, b"A")
    put(lanes, 1, b"B")
    await handler.until_begun(0, 1)
    await handler.end(1)
    assert points(lanes) == {PLACE: 0}
    await handler.end(0)
    await lanes.drain(HERE, PATIENCE)
    assert points(lanes) == {PLACE: 2}


async def test_a_partition_at_its_limit_is_not_read_further() -> None:
    handler = Scripted()
    lanes = lanes_of(handler, Window(records=10, partition_records=2))
    put(lanes, 0)
    assert lanes.open_partitions() == [PLACE]
    put(lanes, 1)
    assert lanes.open_partitions() == []
    await handler.end(0, 1)
    await lanes.drain(HERE, PATIENCE)


async def test_how_far_a_partition_is_counts_what_is_in_flight_what_is_ahead_and_what_is_not_read() -> None:
    handler = Scripted()
    lanes = lanes_of(handler)
    (begun,) = lanes.progress({PLACE: 5}).values()
    assert (begun.lag_records, begun.in_flight, begun.oldest_seconds) == (5, 0, 0)
    for offset, key in enumerate([b"A", b"B", b"C"]):
        put(lanes, offset, key)
    await handler.end(1)
    lanes.to_commit()
    (now,) = lanes.progress({PLACE: 5}).values()
    assert (now.lag_records, now.in_flight, now.finished_ahead) == (4, 2, 1)
    assert now.oldest_seconds == pytest.approx(time.time() - record(0).timestamp_ms / 1000, abs=60)
    await handler.end(0, 2)
    await lanes.drain(HERE, PATIENCE)
    (done,) = lanes.progress({PLACE: 3}).values()
    assert (done.lag_records, done.in_flight, done.finished_ahead) == (0, 0, 0)


async def test_there_is_no_room_beyond_the_window_in_records_or_in_bytes() -> None:
    handler = Scripted()
    lanes = lanes_of(handler, Window(records=2, bytes=1_000))
    assert lanes.room() == 2
    put(lanes, 0)
    assert lanes.room() == 1
    lanes.put(record(1, value=b"x" * 1_000), b"B")
    assert lanes.room() == 0
    await handler.end(0, 1)
    await lanes.drain(HERE, PATIENCE)
    assert lanes.room() == 2


async def test_a_lane_begins_nothing_more_until_enough_of_what_it_did_is_stored() -> None:
    handler = Scripted()
    lanes = lanes_of(handler)
    for offset in range(LANE_RECORDS + 2):
        handler.gates[offset].set()
        put(lanes, offset)
    await handler.end(*range(LANE_RECORDS))
    assert lanes.commit_soon.is_set()
    commits = lanes.to_commit()
    put(lanes, LANE_RECORDS + 2, b"B")
    await handler.end(LANE_RECORDS + 2)
    assert LANE_RECORDS not in handler.begun
    lanes.stored(commits)
    await handler.end(LANE_RECORDS, LANE_RECORDS + 1)
    assert commits == {PLACE: Commit(LANE_RECORDS)}
    assert points(lanes) == {PLACE: LANE_RECORDS + 3}


async def test_a_lane_that_waits_for_a_commit_ends_when_its_partition_goes() -> None:
    handler = Scripted()
    lanes = lanes_of(handler)
    for offset in range(LANE_RECORDS + 1):
        handler.gates[offset].set()
        put(lanes, offset)
    await handler.end(*range(LANE_RECORDS))
    async with asyncio.timeout(5):
        await lanes.drain(HERE, timedelta(hours=1))
    assert points(lanes) == {PLACE: LANE_RECORDS}


@given(st.integers(1, 50), st.lists(st.integers(0, 60)))
def test_a_gate_shuts_at_its_limit_and_is_open_well_below(most: int, levels: list[int]) -> None:
    gate = Gate(most)
    for level in levels:
        is_open = gate.is_open(level)
        assert is_open or level > most * 9 // 10
        assert not (is_open and level >= most)


async def test_a_partition_is_not_read_further_while_its_map_is_nearly_full() -> None:
    handler = Scripted()
    lanes = lanes_of(handler)
    put(lanes, 0)
    lanes._held[PLACE].tracker._map_bytes = BRAKE_BYTES + 1  # noqa: SLF001 - else it takes 20,000 records
    assert lanes.open_partitions() == []
    await handler.end(0)


async def test_draining_ends_what_has_begun_and_begins_nothing_more() -> None:
    handler = Scripted()
    lanes = lanes_of(handler)
    put(lanes, 0)
    put(lanes, 1)
    await handler.until_begun(0)
    draining = asyncio.create_task(lanes.drain(HERE, PATIENCE))
    await handler.end(0)
    await draining
    assert handler.begun == [0]
    assert points(lanes) == {PLACE: 1}


async def test_what_does_not_end_in_time_is_given_up_and_not_committed() -> None:
    handler = Scripted()
    lanes = lanes_of(handler)
    put(lanes, 0)
    await handler.until_begun(0)
    await lanes.drain(HERE, timedelta(milliseconds=10))
    assert points(lanes) == {PLACE: 0}


async def test_a_record_that_waits_is_let_go_at_once_when_its_partition_goes() -> None:
    async def waits_for_ever(_records: Sequence[Record], assignment: Assignment) -> int:
        await assignment.sleep(3_600)
        return 1

    lanes = Lanes(waits_for_ever, Window())
    lanes.assign({PLACE: Commit(0)})
    put(lanes, 0)
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await lanes.drain(HERE, timedelta(hours=1))
    assert points(lanes) == {PLACE: 0}


async def test_records_of_a_partition_that_is_not_ours_are_dropped() -> None:
    handler = Scripted()
    lanes = lanes_of(handler)
    lanes.release(HERE)
    put(lanes, 0)
    assert lanes.in_flight() == 0


async def test_a_completion_from_an_earlier_assignment_commits_nothing_in_the_next() -> None:
    handler = Scripted()
    lanes = lanes_of(handler)
    put(lanes, 0)
    await handler.until_begun(0)
    lanes.release(HERE)
    lanes.assign({PLACE: Commit(0)})
    await handler.end(0)
    await asyncio.sleep(0)
    assert points(lanes) == {}


async def test_a_defect_holds_its_lane_alone_and_commits_nothing() -> None:
    async def fails_on_zero(records: Sequence[Record], _assignment: Assignment) -> int:
        return 1 // records[0].offset

    lanes = Lanes(fails_on_zero, Window())
    lanes.assign({PLACE: Commit(0)})
    put(lanes, 0, b"A")
    put(lanes, 1, b"B")
    async with asyncio.timeout(5):
        while lanes.in_flight() > 1:  # noqa: ASYNC110 - lanes tell nobody when they shrink
            await asyncio.sleep(0)
    assert points(lanes) == {PLACE: 0}
    assert lanes.held_back() == {PLACE}
    await lanes.drain(HERE, PATIENCE)


async def test_what_a_defect_holds_is_tried_again_when_something_is_said_of_it() -> None:
    tries = 0

    async def fails_once(_records: Sequence[Record], _assignment: Assignment) -> int:
        nonlocal tries
        tries += 1
        return 1 // (tries - 1)

    lanes = Lanes(fails_once, Window())
    lanes.assign({PLACE: Commit(0)})
    put(lanes, 0, b"A")
    async with asyncio.timeout(5):
        while not lanes.held_back():  # noqa: ASYNC110 - lanes tell nobody what they meet
            await asyncio.sleep(0)
        lanes.stir({PLACE, Partition("shop.news", 7)})
        while lanes.in_flight():  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert lanes.held_back() == set()
    await lanes.drain(HERE, PATIENCE)


# --- pauses ---

OTHER = Partition("shop.news", 0)
SMALL = Window(records=4, bytes=4_000, partition_records=100)


class Pausing(Scripted):
    """Begins a record when neither its topic nor the route `to-<key>` is paused."""

    def __init__(self) -> None:
        super().__init__()
        self.pauses = Pauses()

    async def __call__(self, records: Sequence[Record], assignment: Assignment) -> int:
        key = (records[0].key or b"").decode()
        await self.pauses.until_open(records[0], f"to-{key}", assignment)
        return await super().__call__(records, assignment)


def pausing(window: Window = SMALL) -> tuple[Pausing, Lanes]:
    handler = Pausing()
    lanes = Lanes(handler, window, handler.pauses)
    lanes.assign({PLACE: Commit(0), OTHER: Commit(0)})
    return handler, lanes


async def looked_at() -> None:
    """Lets each lane run until it waits."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_paused_topic_is_not_read_further_and_others_are() -> None:
    handler, lanes = pausing()
    handler.pauses.obey(paused("shop.orders"))
    assert lanes.open_partitions() == [OTHER]
    handler.pauses.obey(paused())
    assert lanes.open_partitions() == [PLACE, OTHER]


async def test_it_is_known_what_a_pause_holds_back() -> None:
    handler, lanes = pausing()
    assert lanes.held_back() == set()
    handler.pauses.obey(paused("shop.news", "to-A"))
    assert lanes.held_back() == {OTHER}
    put(lanes, 0, b"A")
    await looked_at()
    assert lanes.held_back() == {PLACE, OTHER}
    handler.pauses.obey(paused())
    await handler.end(0)
    assert lanes.held_back() == set()
    await lanes.drain(HERE, PATIENCE)


async def test_what_is_queued_is_not_begun_while_its_topic_is_paused_and_then_comes_in_order() -> None:
    handler, lanes = pausing()
    put(lanes, 0)
    put(lanes, 1)
    await handler.until_begun(0)
    handler.pauses.obey(paused("shop.orders"))
    await handler.end(0)  # a call in flight ends
    await looked_at()
    assert (handler.begun, points(lanes)) == ([0], {PLACE: 1})
    handler.pauses.obey(paused())
    await handler.end(1)
    await lanes.drain(HERE, PATIENCE)
    assert points(lanes) == {PLACE: 2}


@pytest.mark.parametrize("name", ["shop.orders", "to-A"])
async def test_what_a_pause_holds_takes_no_room_from_others(name: str) -> None:
    handler, lanes = pausing()
    handler.pauses.obey(paused(name))
    for offset in range(4):
        lanes.put(record(offset, key=b"A", value=b"x" * 1_500), b"A")
    assert lanes.room() == 0
    await looked_at()
    assert lanes.room() == 4
    assert lanes.held_up() == {name: 4}
    handler.pauses.obey(paused())
    await handler.until_begun(0)
    assert (lanes.room(), lanes.held_up()) == (0, {})
    await handler.end(*range(4))


async def test_only_the_lanes_of_a_paused_route_are_held() -> None:
    handler, lanes = pausing()
    handler.pauses.obey(paused("to-A"))
    for offset, key in enumerate([b"A", b"B", b"A"]):
        put(lanes, offset, key)
    await handler.end(1)
    assert (handler.begun, lanes.room(), lanes.held_up()) == ([1], 4, {"to-A": 2})
    assert PLACE in lanes.open_partitions()
    await lanes.drain(HERE, PATIENCE)


async def test_memory_is_bounded_whatever_is_paused() -> None:
    handler, lanes = pausing(Window(records=100, bytes=4_000))
    handler.pauses.obey(paused("shop.orders"))
    for offset in range(8):
        put_large(lanes, offset)
        await looked_at()
        assert (lanes.room() > 0) == (offset < 7)
    await lanes.drain(HERE, PATIENCE)


async def test_what_is_closed_by_a_pause_is_not_expected_to_open_soon() -> None:
    handler, lanes = pausing(Window(partition_records=1))
    handler.pauses.obey(paused("shop.news", "to-A"))
    assert not lanes.may_open_soon()
    put(lanes, 0, b"A")
    await looked_at()
    assert (lanes.open_partitions(), lanes.may_open_soon()) == ([], False)
    handler.pauses.obey(paused("shop.news"))
    await handler.until_begun(0)
    assert (lanes.open_partitions(), lanes.may_open_soon()) == ([], True)
    await handler.end(0)


async def test_a_pause_ends_at_once_for_a_partition_that_goes() -> None:
    handler, lanes = pausing()
    handler.pauses.obey(paused("shop.orders"))
    put(lanes, 0)
    await looked_at()
    async with asyncio.timeout(5):
        await lanes.drain(HERE, timedelta(hours=1))
    assert (handler.begun, points(lanes)) == ([], {PLACE: 0})


STEPS = st.lists(
    st.one_of(st.sampled_from([b"A", b"B", b"C"]), st.sampled_from(["shop.orders", "to-A", "to-B", ""])),
    max_size=40,
)


@given(STEPS)
def test_order_holds_and_all_is_begun_once_whatever_is_paused_meanwhile(
    steps: list[bytes | str],
) -> None:
    async def all_through() -> list[int]:
        handler, lanes = pausing(Window())
        keys: list[bytes] = []
        for step in steps:
            if isinstance(step, bytes):
                handler.gates[len(keys)].set()
                put(lanes, len(keys), step)
                keys.append(step)
            else:
                handler.pauses.obey(paused(step) if step else paused())
            await asyncio.sleep(0)
        handler.pauses.obey(paused())
        async with asyncio.timeout(5):
            await handler.end(*range(len(keys)))
        for key in set(keys):
            assert [n for n in handler.begun if keys[n] == key] == [n for n, k in enumerate(keys) if k == key]
        return handler.begun

    begun = asyncio.run(all_through())
    assert sorted(begun) == list(range(len(begun)))


def put_large(lanes: Lanes, offset: int) -> None:
    """Exactly 1,000 bytes, key included."""
    lanes.put(record(offset, key=b"A", value=b"x" * 999), b"A")


@given(st.lists(st.tuples(st.sampled_from([b"A", b"B", b"C", None]), st.integers(0, 3)), max_size=40))
def test_order_holds_per_key_whatever_the_speed(arrivals: list[tuple[bytes | None, int]]) -> None:
    keys = [key for key, _ in arrivals]
    seen: defaultdict[bytes | None, list[int]] = defaultdict(list)

    async def handle(records: Sequence[Record], _assignment: Assignment) -> int:
        together = records[: 1 + arrivals[records[0].offset][1]]
        for _ in together:
            await asyncio.sleep(0)
        for one in together:
            seen[one.key].append(one.offset)
        return len(together)

    async def all_through() -> dict[Partition, int]:
        lanes = Lanes(handle, Window())
        lanes.assign({PLACE: Commit(0)})
        for offset, key in enumerate(keys):
            put(lanes, offset, key)
        while lanes.in_flight():  # noqa: ASYNC110 - lanes tell nobody when they shrink
            await asyncio.sleep(0)
        return points(lanes)

    offsets = asyncio.run(all_through())
    assert all(order == sorted(order) for order in seen.values())
    assert sum(map(len, seen.values())) == len(keys)
    assert offsets == ({PLACE: len(keys)} if keys else {})
