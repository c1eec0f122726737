"""Where routes began and ended to run, and what of a partition was handled without one."""

from collections.abc import Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.intake.offset_map import encode
from service.kafka.record import Commit
from service.kafka.route_log import LIMIT_BYTES, TOO_MANY, RouteLog
from service.replays.past import before, past_of

OFFSETS = 12
ROUTES = st.frozensets(st.sampled_from(["r", "x", "y"]))
ROUNDS = st.lists(st.tuples(ROUTES, st.frozensets(st.integers(0, OFFSETS - 1))), min_size=1, max_size=8)
"""Bridges that take a partition on one after the other: their routes, and the offsets that they finish."""


def committed(done: Iterable[int]) -> Commit:
    """What a bridge commits that has finished these."""
    finished = set(done)
    point = next(n for n in range(OFFSETS + 1) if n not in finished)
    return Commit(point, encode(point, [n for n in finished if n > point]))


def noted(log: RouteLog | None, at: Commit, routes: Iterable[str], *, whole: bool) -> RouteLog | None:
    """The log as a bridge that takes the partition on reads it, and leaves it."""
    now = log.then(at, routes) if log else RouteLog.begin(at, routes, whole=whole)
    return RouteLog.read(now.as_commit())


@given(ROUNDS)
@example([(frozenset(), frozenset({5})), (frozenset("r"), frozenset({6})), (frozenset(), frozenset({7}))])
@example([(frozenset(), frozenset({5})), (frozenset("r"), frozenset({0, 6})), (frozenset(), frozenset({7}))])
def test_the_past_of_a_route_is_what_others_finished_without_it(
    rounds: list[tuple[frozenset[str], frozenset[int]]],
) -> None:
    done: set[int] = set()
    without: set[int] = set()
    log: RouteLog | None = None
    for routes, finished in rounds:
        log = noted(log, committed(done), routes, whole=not done)
        without |= finished - done if "r" not in routes else set()
        done |= finished
    now = committed(done)
    past = past_of("r", log, now)
    assert past is not None
    live = "r" in rounds[-1][0]
    assert past.live == live
    # Where it does not run, what lies ahead of the point is left for the next replay, as are the gaps.
    expected = without if live else {offset for offset in without if offset < now.offset}
    assert {offset for offset in range(OFFSETS + 5) if offset in past} == expected
    assert max(expected, default=-1) < past.end


@given(ROUTES, ROUNDS)
def test_it_is_not_known_of_routes_that_ran_before_anything_was_noted_and_of_no_others(
    first: frozenset[str], rounds: list[tuple[frozenset[str], frozenset[int]]]
) -> None:
    done = {0}
    log = noted(None, committed(done), first, whole=False)
    for routes, finished in rounds:
        log = noted(log, committed(done), routes, whole=False)
        done |= finished
    assert (past_of("r", log, committed(done)) is None) == ("r" in first)


def test_where_nothing_is_noted_nothing_is_known_but_of_what_nobody_has_handled() -> None:
    assert past_of("r", None, Commit(3)) is None
    nothing = past_of("r", None, None)
    assert nothing is not None
    assert 0 not in nothing
    assert 2 in before(Commit(3))
    assert 3 not in before(Commit(3))


def test_a_group_that_was_set_back_handles_all_from_there_by_the_routes_of_today() -> None:
    log = RouteLog.begin(Commit(0), ["x"], whole=True).then(Commit(10), ["x", "r"])
    for point in (4, 0):
        past = past_of("r", log.then(Commit(point), ["x", "r"]), Commit(point))
        assert past is not None
        assert [offset for offset in range(20) if offset in past] == list(range(point))


def test_routes_that_come_and_go_without_a_record_leave_no_trace() -> None:
    log = RouteLog.begin(Commit(0), ["x"], whole=True).then(Commit(5), ["x", "r"])
    assert log.then(Commit(5), ["x"]).then(Commit(5), ["x", "r"]) == log
    assert log.then(Commit(9), ["r", "x"]) == log


def test_a_new_route_is_not_taken_for_one_that_ran_before_anything_was_noted() -> None:
    log = RouteLog.begin(Commit(5), ["x"], whole=False).then(Commit(5), ["x", "r"])
    past = past_of("r", log, Commit(9))
    assert past is not None
    assert (past.end, past.live) == (5, True)


@given(st.lists(st.frozensets(st.integers(0, 300).map(lambda n: f"route-{n}"), max_size=30), max_size=25))
@example([frozenset(f"route-{n}" for n in range(k, k + 30)) for k in range(0, 300, 12)])
def test_what_is_kept_fits_and_the_latest_changes_stay(rounds: list[frozenset[str]]) -> None:
    log = RouteLog.begin(Commit(0), [], whole=True)
    for n, routes in enumerate(rounds, start=1):
        log = log.then(Commit(n * 1000), routes)
    note = log.as_commit()
    assert len(note.metadata.encode()) <= LIMIT_BYTES
    kept = RouteLog.read(note)
    assert kept is not None
    assert kept.running == log.running
    assert log.changes[len(log.changes) - len(kept.changes) + 1 :] == kept.changes[1:]
    # What was forgotten is said to be unknown, never guessed.
    assert kept == log or not kept.whole


def test_of_too_many_routes_nothing_is_known_any_more() -> None:
    log = RouteLog.begin(Commit(0), ["r"], whole=True)
    log = log.then(Commit(5), ["r", *[f"a-route-with-a-long-name-{n}" for n in range(300)]])
    assert log.as_commit() == Commit(5, TOO_MANY)
    assert RouteLog.read(log.as_commit()) is None


def test_what_it_looks_like_to_other_tools() -> None:
    log = RouteLog.begin(Commit(0), ["a"], whole=True).then(Commit(42, "v1:cgEB"), ["b"])
    assert log.as_commit() == Commit(
        42,
        'v1:{"whole":true,"changes":[{"offset":0,"began":["a"]},'
        '{"offset":42,"map":"v1:cgEB","began":["b"],"ended":["a"]}]}',
    )


DAMAGED = [
    "",
    "v1:",
    "v1:{}",
    'v1:{"whole":true,"changes":[]}',
    'v1:{"whole":1,"changes":[{"offset":0}]}',
    "v2:{}",
]


@pytest.mark.parametrize("metadata", DAMAGED)
def test_what_another_tool_wrote_says_nothing(metadata: str) -> None:
    assert RouteLog.read(Commit(9, metadata)) is None
    assert RouteLog.read(None) is None


def test_a_damaged_map_says_nothing() -> None:
    log = RouteLog.begin(Commit(0), ["x"], whole=True).then(Commit(5, "v1:damaged"), ["x", "r"])
    assert past_of("r", log, Commit(9)) is None
