"""The offset tracker against a simple model, through any order of completion."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from service.intake.offsets import OffsetTracker


def tracker_with(*offsets: int) -> OffsetTracker:
    tracker = OffsetTracker()
    for offset in offsets:
        assert tracker.receive(offset)
    return tracker


def test_nothing_is_committed_before_something_is_finished() -> None:
    assert tracker_with(3, 4).to_commit() is None


def test_nothing_is_committed_past_a_record_still_in_flight() -> None:
    tracker = tracker_with(3, 4, 5)
    tracker.finish(4)
    tracker.finish(5)
    assert tracker.to_commit() == 3


def test_a_record_seen_but_not_finished_is_never_committed_when_all_else_is_done() -> None:
    tracker = tracker_with(1, 2)
    tracker.finish(1)
    assert tracker.to_commit() == 2


def test_the_same_point_is_not_committed_twice() -> None:
    tracker = tracker_with(7)
    tracker.finish(7)
    tracker.committed(8)
    assert tracker.to_commit() is None


def test_gaps_are_normal() -> None:
    tracker = tracker_with(1, 5, 9)
    for offset in (9, 5, 1):
        tracker.finish(offset)
    assert tracker.to_commit() == 10


def test_a_record_delivered_again_is_not_taken_twice() -> None:
    tracker = tracker_with(1, 2)
    assert not tracker.receive(2)


def test_finishing_what_is_not_in_flight_is_a_defect() -> None:
    with pytest.raises(KeyError):
        tracker_with(1).finish(2)


@given(st.sets(st.integers(0, 500), min_size=1), st.randoms(use_true_random=False))
def test_all_finished_in_any_order_commits_after_the_last(offsets: set[int], random: object) -> None:
    received = sorted(offsets)
    tracker = tracker_with(*received)
    done = list(received)
    random.shuffle(done)  # type: ignore[attr-defined]
    for offset in done:
        tracker.finish(offset)
    assert tracker.to_commit() == received[-1] + 1


class TrackerAgainstModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.tracker = OffsetTracker()
        self.received: list[int] = []
        self.done: set[int] = set()
        self.stored: int | None = None

    @rule(gap=st.integers(0, 3))
    def receive(self, gap: int) -> None:
        offset = (self.received[-1] + 1 if self.received else 0) + gap
        self.tracker.receive(offset)
        self.received.append(offset)

    @precondition(lambda self: len(self.done) < len(self.received))
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from([o for o in self.received if o not in self.done]))
        self.tracker.finish(offset)
        self.done.add(offset)

    @rule()
    def commit(self) -> None:
        point = self.tracker.to_commit()
        if point is not None:
            self.tracker.committed(point)
            assert self.stored is None or point > self.stored
            self.stored = point

    @invariant()
    def all_before_the_point_is_done(self) -> None:
        point = self.tracker.to_commit()
        if point is not None:
            assert all(offset in self.done for offset in self.received if offset < point)

    @invariant()
    def nothing_done_in_front_is_left_out(self) -> None:
        front = next((o for o in self.received if o not in self.done), None)
        if self.done and front is None:
            expected = max(self.done) + 1
            assert self.tracker.to_commit() in (expected, None)


TestTrackerAgainstModel = TrackerAgainstModel.TestCase
