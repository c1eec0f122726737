"""The offset tracker: by example, and against a simple model through crashes, gaps and resets."""

import random
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from service.intake import offsets
from service.intake.offset_map import LIMIT_BYTES, decode, encode
from service.intake.offsets import BRAKE_SPAN, OffsetTracker
from service.kafka.record import Commit


def tracker_with(*offsets: int) -> OffsetTracker:
    tracker = OffsetTracker()
    for offset in offsets:
        assert tracker.receive(offset)
    return tracker


def test_nothing_is_committed_before_something_was_received() -> None:
    assert OffsetTracker().to_commit() is None


def test_nothing_is_committed_past_a_record_still_in_flight() -> None:
    tracker = tracker_with(3, 4, 5)
    tracker.finish(4)
    tracker.finish(5)
    commit = tracker.to_commit()
    assert commit is not None
    assert commit.offset == 3
    assert decode(3, commit.metadata) == {4, 5}


def test_a_record_seen_but_not_finished_is_never_committed_when_all_else_is_done() -> None:
    tracker = tracker_with(1, 2)
    tracker.finish(1)
    assert tracker.to_commit() == Commit(2)


def test_the_same_is_not_committed_twice() -> None:
    tracker = tracker_with(7)
    tracker.finish(7)
    tracker.stored(Commit(8))
    assert tracker.to_commit() is None


def test_a_commit_that_was_not_stored_is_offered_again() -> None:
    tracker = tracker_with(7)
    tracker.finish(7)
    assert tracker.to_commit() == tracker.to_commit() == Commit(8)


def test_gaps_are_normal() -> None:
    tracker = tracker_with(1, 5, 9)
    for offset in (9, 5, 1):
        tracker.finish(offset)
    assert tracker.to_commit() == Commit(10)


def test_a_record_delivered_again_is_not_taken_twice() -> None:
    assert not tracker_with(1, 2).receive(2)


def test_what_an_earlier_assignment_finished_is_not_taken_again() -> None:
    tracker = OffsetTracker(ahead=[4, 6])
    assert [offset for offset in (3, 4, 5, 6, 7) if tracker.receive(offset)] == [3, 5, 7]


def test_what_an_earlier_assignment_finished_further_on_is_not_forgotten() -> None:
    tracker = OffsetTracker(ahead=[4, 9])
    tracker.receive(3)
    commit = tracker.to_commit()
    assert commit is not None
    assert decode(3, commit.metadata) == {4, 9}


def test_finishing_what_is_not_in_flight_is_a_defect() -> None:
    with pytest.raises(KeyError):
        tracker_with(1).finish(2)


def test_a_partition_brakes_before_its_map_is_too_large_and_goes_on_when_it_is_small_again() -> None:
    tracker = OffsetTracker()
    chance = random.Random(7)  # no pattern, so that it does not compress well
    offset = 0
    while not tracker.braked:
        tracker.receive(offset)
        if offset and chance.random() < 0.5:
            tracker.finish(offset)
        offset += 1
        if offset % 500 == 0:
            tracker.to_commit()
    commit = tracker.to_commit()
    assert commit is not None
    assert len(commit.metadata) <= LIMIT_BYTES
    for open_ in list(tracker.unfinished):
        tracker.finish(open_)
    assert tracker.to_commit() == Commit(offset)
    assert not tracker.braked


def test_a_partition_brakes_when_its_map_spans_so_much_that_it_takes_long_to_make() -> None:
    tracker = OffsetTracker()
    for offset in range(BRAKE_SPAN + 2):
        tracker.receive(offset)
        if offset:
            tracker.finish(offset)
    tracker.to_commit()
    assert tracker.braked


@pytest.mark.parametrize("ahead", [{200_000}, set(range(101, 52_100)), set(range(101, 20_000, 2))])
def test_what_an_earlier_assignment_finished_far_ahead_does_not_stop_the_reading(ahead: set[int]) -> None:
    tracker = OffsetTracker(ahead, 100)
    tracker.receive(100)
    tracker.to_commit()
    tracker.finish(100)
    assert not tracker.braked
    for offset in sorted({*ahead, *range(101, max(ahead) + 2, 7)}):
        if tracker.receive(offset):
            tracker.finish(offset)
        tracker.to_commit() if offset % 1_000 == 0 else None
        assert not tracker.braked
    assert tracker.to_commit() == Commit(tracker.point)


def test_a_map_that_would_be_too_large_is_cut_and_never_lies() -> None:
    tracker = OffsetTracker()
    chance = random.Random(7)  # no pattern, so that it does not compress well
    finished = {o for o in range(1, 120_000) if chance.random() < 0.5}
    for offset in range(120_000):
        tracker.receive(offset)
    for offset in finished:
        tracker.finish(offset)
    commit = tracker.to_commit()
    assert commit is not None
    assert 0 < len(commit.metadata) <= LIMIT_BYTES
    assert decode(0, commit.metadata) <= finished


@given(st.sets(st.integers(0, 500), min_size=1).flatmap(lambda o: st.permutations(sorted(o))))
def test_all_finished_in_any_order_commits_after_the_last(done: list[int]) -> None:
    tracker = tracker_with(*sorted(done))
    for offset in done:
        tracker.finish(offset)
    assert tracker.to_commit() == Commit(max(done) + 1)


class PartitionThroughTime(RuleBasedStateMachine):
    """A partition with gaps, read by one member after another; each may end at any moment."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[int] = []  # offsets that exist, ascending
        self.end = 0
        self.stored = Commit(0)
        self.done: set[int] = set()  # finished by anyone, ever
        self._begin()

    def _begin(self) -> None:
        self.position = self.stored.offset
        self.tracker = OffsetTracker(decode(self.stored.offset, self.stored.metadata))

    @rule(gap=st.integers(0, 3), count=st.integers(1, 20))
    def produce(self, gap: int, count: int) -> None:
        self.end += gap
        self.log += range(self.end, self.end + count)
        self.end += count

    @rule(limit=st.integers(1, 15))
    def poll(self, limit: int) -> None:
        for offset in [o for o in self.log if o >= self.position][:limit]:
            taken = self.tracker.receive(offset)
            assert taken or offset in self.done, "skipped what nobody had finished"
            self.position = offset + 1

    @precondition(lambda self: self.tracker.unfinished)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from(list(self.tracker.unfinished)))
        self.tracker.finish(offset)
        self.done.add(offset)

    @rule(reaches_kafka=st.booleans())
    def commit(self, reaches_kafka: bool) -> None:
        commit = self.tracker.to_commit()
        if commit and reaches_kafka:
            self.stored = commit
            self.tracker.stored(commit)

    @rule()
    def crash(self) -> None:
        self._begin()

    @rule(data=st.data())
    def someone_resets_the_offset(self, data: st.DataObject) -> None:
        offset = data.draw(st.integers(0, self.end))
        self.stored = Commit(offset)
        # Forward, a person gave up on what lies before.
        self.done |= {o for o in self.log if o < offset}
        self._begin()

    @rule(upto=st.integers(0, 30))
    def compact(self, upto: int) -> None:
        # What is in flight is in memory; later members will not see the rest.
        self.log = [o for o in self.log if o >= upto or o % 3 or o >= self.stored.offset]

    @invariant()
    def all_before_the_stored_offset_is_done(self) -> None:
        assert all(o in self.done for o in self.log if o < self.stored.offset)

    @invariant()
    def what_the_map_says_is_done(self) -> None:
        assert decode(self.stored.offset, self.stored.metadata) <= self.done


TestPartitionThroughTime = PartitionThroughTime.TestCase


def test_a_map_in_which_nothing_has_changed_is_not_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def watched(point: int, finished: Iterable[int]) -> str:
        made.append(point)
        return encode(point, finished)

    monkeypatch.setattr(offsets, "encode", watched)
    tracker = OffsetTracker()
    for offset in range(3):
        tracker.receive(offset)
    tracker.finish(1)
    commit = tracker.to_commit()
    assert commit is not None
    assert tracker.to_commit() == commit  # it was not stored
    tracker.stored(commit)
    assert tracker.to_commit() is None
    assert made == [0]
    tracker.finish(0)
    assert tracker.to_commit() == Commit(2)
