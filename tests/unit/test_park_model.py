"""The rules of parking keep order wherever a crash, a rebalance or a closing park falls; others do not."""

import pytest

from tests.park_model import Rules, check

SIGNALS = ("signal 1", "signal 2", "signal 3")
WITH_START = ("signal 1", "start", "signal 2", "signal 3")


@pytest.mark.parametrize(
    ("events", "rules", "faults"),
    [
        (SIGNALS, Rules(), 2),
        (WITH_START, Rules(started_by_others=False), 2),
        (WITH_START, Rules(), 2),
        (WITH_START, Rules(forgets=True), 1),
        (WITH_START, Rules(gives_up=True), 1),
    ],
    ids=["signals", "and a start", "and another start", "what is known is forgotten", "a park that gives up"],
)
def test_nothing_is_lost_reordered_or_stuck(events: tuple[str, ...], rules: Rules, faults: int) -> None:
    verdict = check(events, rules, faults=faults)
    assert (verdict.problem, verdict.way) == ("", ())
    assert verdict.states > 1_000


def test_a_bridge_that_does_not_ask_passes_what_the_one_before_it_has_parked() -> None:
    verdict = check(SIGNALS, Rules(asks=False, zombies=False), faults=1)
    assert verdict.problem == "reordered: signal 2 signal 1"
    assert verdict.way == (
        "bridge 0 sends signal 1",
        "bridge 0: signal 1 finds no target",
        "bridge 0 parks signal 1",
        "bridge 0 commits 1",
        "someone else starts the target",
        "a crash; another bridge begins at the commit point",
        "bridge 1 sends signal 2",
        "bridge 1: signal 2 is accepted",
        "the park delivers signal 1",
    )


def test_a_start_behind_the_park_waits_for_what_waits_for_it() -> None:
    verdict = check(WITH_START, Rules(start_passes=False, started_by_others=False), faults=0)
    assert verdict.problem.startswith("stuck without signal 1")
    assert "bridge 0: start goes behind the park" in verdict.way


def test_a_handler_that_takes_its_time_loses_what_comes_when_the_park_closes() -> None:
    verdict = check(SIGNALS, Rules(slow_handler=True, zombies=False), faults=0)
    assert verdict.problem.startswith("stuck without signal")
    assert "the park closes" in verdict.way
