"""The way of a command: straight to its target, or into the park that holds others before it."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from service.dispatch.answers import OutcomeKind
from service.errors import GivenUpError, NotNow, RejectedError, TargetBusy, TargetMissing
from service.failures import parking
from service.failures.parking import BUSY_PATIENCE, BUSY_SECONDS, LOOKING_SECONDS, Parking
from service.failures.parks import TooLargeToPark
from service.intake.waiting import Assignment
from service.routing.commands import Cancel, Command, OrStart, Rule, Signal, Start
from tests.unit.fakes import FakeParks, ScriptedDispatcher, outage
from tests.unit.records import event

TARGET = "order/A-1"
PATIENCE = timedelta(minutes=15)


def missing() -> TargetMissing:
    return TargetMissing(f"workflow {TARGET} does not exist", PATIENCE)


def signal(number: int = 1, route: str = "note") -> Signal:
    return Signal(
        route=route,
        event=event(f"e-{number}"),
        workflow_id=TARGET,
        name="note",
        args=(number,),
        missing=PATIENCE,
    )


def start() -> Start:
    return Start(
        route="keep", event=event("e-0"), workflow_id=TARGET, workflow="Keep", task_queue="q", args=()
    )


class World:
    """A bridge between fakes; a new one for the same parks is one after a crash."""

    def __init__(self, dispatcher: ScriptedDispatcher, parks: FakeParks | None = None) -> None:
        self.dispatcher = dispatcher
        self.parks = parks or FakeParks()
        self.now = 0.0
        self.parking = Parking(dispatcher, self.parks, lambda: self.now)
        self.assignment = Assignment()

    async def go(self, command: Command, assignment: Assignment | None = None) -> OutcomeKind:
        return (await self.parking.way_of(command, assignment or self.assignment).go()).kind

    @property
    def parked(self) -> list[Command]:
        return [*self.parks.held.get(TARGET, [])]


async def test_a_command_whose_target_is_there_goes_straight() -> None:
    world = World(ScriptedDispatcher())
    assert await world.go(signal()) is OutcomeKind.ACCEPTED
    assert not world.parks.held


async def test_a_command_whose_target_is_missing_is_parked_for_as_long_as_its_route_says() -> None:
    world = World(ScriptedDispatcher(note=[missing()]))
    outcome = await world.parking.way_of(signal(), world.assignment).go()
    assert (outcome.kind, outcome.route, outcome.workflow_id) == (OutcomeKind.PARKED, "note", TARGET)
    assert (outcome.park, outcome.park_url) == (f"parked/g/{TARGET}", f"http://ui/parked/g/{TARGET}")
    assert outcome.detail == f"workflow {TARGET} does not exist"
    assert world.parks.answers == [(outcome.detail, PATIENCE)]
    assert world.parked == [signal()]


OTHERS = [
    replace(signal(2), missing=Rule.SKIP),
    replace(signal(2), missing=Rule.DEAD_LETTER, or_start=OrStart(workflow="Keep", task_queue="q")),
    Cancel(route="cancel", event=event("e-2"), workflow_id=TARGET),
]


@pytest.mark.parametrize("other", OTHERS, ids=["signal", "signal that may start", "cancel"])
async def test_whatever_its_rule_a_command_goes_behind_the_one_that_is_parked(other: Signal | Cancel) -> None:
    world = World(ScriptedDispatcher(note=[missing()]))
    await world.go(signal(1))
    assert await world.go(other) is OutcomeKind.PARKED
    assert world.parked == [signal(1), other]
    assert world.parks.answers[1] == ("others before it are parked", BUSY_PATIENCE)
    assert len(world.dispatcher.calls) == 1


async def test_a_start_passes_the_commands_that_wait_for_it() -> None:
    """Behind them it would wait for them, and they for it: variant C of the model."""
    world = World(ScriptedDispatcher(note=[missing()]))
    await world.go(signal())
    assert await world.go(start()) is OutcomeKind.ACCEPTED
    assert world.dispatcher.calls[-1] == start()
    assert world.parks.asked == [TARGET]


async def test_after_a_crash_a_command_goes_behind_what_the_bridge_before_has_parked() -> None:
    """Without asking it would pass them, once another starts the target: variant A of the model."""
    before = World(ScriptedDispatcher(note=[missing()]))
    await before.go(signal(1))
    after = World(ScriptedDispatcher(), before.parks)
    assert await after.go(signal(2)) is OutcomeKind.PARKED
    assert after.parked == [signal(1), signal(2)]
    assert after.parks.answers == [
        (str(missing()), PATIENCE),
        ("others before it are parked", PATIENCE),
    ]
    assert not after.dispatcher.calls


async def test_a_partition_that_comes_back_is_asked_about_anew() -> None:
    world = World(ScriptedDispatcher())
    await world.go(signal(1))
    other = World(ScriptedDispatcher(note=[missing()]), world.parks)
    await other.go(signal(2))
    assert await world.go(signal(3), Assignment()) is OutcomeKind.PARKED
    assert world.parked == [signal(2), signal(3)]


async def test_a_target_is_asked_about_once_as_long_as_nothing_is_parked_for_it() -> None:
    world = World(ScriptedDispatcher())
    for number in range(3):
        await world.go(signal(number))
    assert world.parks.asked == [TARGET]


async def test_an_open_park_is_asked_each_time_and_left_when_it_closes() -> None:
    world = World(ScriptedDispatcher(note=[missing()]))
    for number in (1, 2, 3):
        assert await world.go(signal(number)) is OutcomeKind.PARKED
    world.parks.close(TARGET)
    assert await world.go(signal(4)) is OutcomeKind.ACCEPTED
    assert await world.go(signal(5)) is OutcomeKind.ACCEPTED
    assert world.parks.asked == [TARGET] * 4


async def test_a_command_that_was_parked_by_a_call_that_failed_is_found_there() -> None:
    world = World(ScriptedDispatcher(note=[missing()]))

    class Deaf(FakeParks):
        async def put(self, *args: Any, **how: Any) -> None:
            await super().put(*args, **how)
            if len(self.answers) == 1:
                raise NotNow("no answer")

    world = World(ScriptedDispatcher(note=[missing()]), Deaf())
    way = world.parking.way_of(signal(), world.assignment)
    with pytest.raises(NotNow):
        await way.go()
    assert (await way.go()).kind is OutcomeKind.PARKED
    assert world.parked == [signal()]
    assert len(world.dispatcher.calls) == 1


async def test_what_temporal_does_not_answer_is_neither_sent_nor_parked() -> None:
    world = World(ScriptedDispatcher())
    world.parks.errors.extend(outage(1))
    way = world.parking.way_of(signal(), world.assignment)
    with pytest.raises(NotNow):
        await way.go()
    assert (world.dispatcher.calls, world.parks.held) == ([], {})
    assert (await way.go()).kind is OutcomeKind.ACCEPTED


async def test_a_command_for_a_full_park_waits() -> None:
    world = World(ScriptedDispatcher(note=[missing()]))
    await world.go(signal(1))
    world.parks.full = True
    with pytest.raises(NotNow, match="full"):
        await world.go(signal(2))
    assert (world.parked, len(world.dispatcher.calls)) == ([signal(1)], 1)


async def test_what_does_not_fit_its_workflow_is_refused_before_it_is_parked() -> None:
    class Strict(ScriptedDispatcher):
        def check(self, command: Command) -> None:
            raise RejectedError("the input does not fit")

    world = World(Strict(note=[missing()]))
    await world.go(signal(1))
    with pytest.raises(RejectedError):
        await world.go(signal(2))
    assert world.parked == [signal(1)]


async def test_a_command_for_a_busy_target_waits_half_a_minute_and_is_then_parked_for_a_day() -> None:
    world = World(ScriptedDispatcher(note=[TargetBusy("is busy")] * 5))
    way = world.parking.way_of(signal(), world.assignment)
    for world.now in (0, 10, BUSY_SECONDS - 0.1):
        with pytest.raises(TargetBusy):
            await way.go()
    world.now = BUSY_SECONDS
    assert (await way.go()).kind is OutcomeKind.PARKED
    assert world.parks.answers == [("is busy", BUSY_PATIENCE)]


async def test_temporals_own_trouble_never_parks_a_command() -> None:
    world = World(ScriptedDispatcher(note=outage(5)))
    way = world.parking.way_of(signal(), world.assignment)
    for world.now in (0, 100, 10_000, 1_000_000, 10_000_000):
        with pytest.raises(NotNow):
            await way.go()
    assert not world.parks.held


async def test_a_start_for_a_busy_target_is_never_parked() -> None:
    world = World(ScriptedDispatcher(keep=[TargetBusy("is busy")] * 2))
    way = world.parking.way_of(start(), world.assignment)
    for world.now in (0, 10_000):
        with pytest.raises(TargetBusy):
            await way.go()
    assert not world.parks.held


async def test_of_many_targets_the_one_used_longest_ago_is_asked_about_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parking, "REMEMBERED", 2)
    world = World(ScriptedDispatcher())
    for target in ("a", "b", "a", "c", "a", "b"):
        await world.go(replace(signal(), workflow_id=target))
    assert world.parks.asked == ["a", "b", "c", "b"]


async def test_a_command_that_is_too_large_to_be_parked_waits_as_long_as_it_might_be_parked() -> None:
    world = World(ScriptedDispatcher(note=[missing(), missing()]))
    world.parks.all_too_large = True
    way = world.parking.way_of(signal(), world.assignment)
    world.now = PATIENCE.total_seconds() - 1
    with pytest.raises(TooLargeToPark):
        await way.go()
    world.now += 1
    with pytest.raises(GivenUpError, match="waited for 0:15:00, then given up: is too large"):
        await way.go()


# --- workflows that are looked for ---

SOUGHT = "where/Order=A-1"


def seeking(number: int = 1, missing: Rule | timedelta = PATIENCE) -> Signal:
    return replace(signal(number), workflow_id="", where={"Order": "A-1"}, missing=missing)


async def test_a_workflow_that_is_found_is_signalled_by_its_id() -> None:
    world = World(ScriptedDispatcher())
    world.dispatcher.finds.append(TARGET)
    assert await world.go(seeking()) is OutcomeKind.ACCEPTED
    assert world.dispatcher.calls == [signal()]
    assert world.parks.asked == [SOUGHT, TARGET]


@pytest.mark.parametrize("missing", [PATIENCE, Rule.SKIP, Rule.DEAD_LETTER])
async def test_a_workflow_is_taken_for_missing_only_after_it_was_looked_for_for_a_while(
    missing: Rule | timedelta,
) -> None:
    """A workflow that was started just now is not visible yet."""
    world = World(ScriptedDispatcher())
    way = world.parking.way_of(seeking(missing=missing), world.assignment)
    for now in (0.0, 1.0, LOOKING_SECONDS - 0.1):
        world.now = now
        with pytest.raises(NotNow, match="not found yet"):
            await way.go()
    assert not world.parks.held
    world.now = LOOKING_SECONDS
    if missing is Rule.DEAD_LETTER:
        with pytest.raises(RejectedError, match="no workflow is found by Order"):
            await way.go()
        return
    outcome = await way.go()
    assert outcome.kind is (OutcomeKind.SKIPPED if missing is Rule.SKIP else OutcomeKind.PARKED)
    assert not world.dispatcher.calls


async def test_what_is_not_found_is_parked_under_what_is_looked_for_and_others_go_behind_it() -> None:
    world = World(ScriptedDispatcher())
    way = world.parking.way_of(seeking(1), world.assignment)
    with pytest.raises(NotNow):
        await way.go()
    world.now = LOOKING_SECONDS
    assert (await way.go()).park == f"parked/g/{SOUGHT}"
    world.dispatcher.finds.append(TARGET)  # by now it would be found: it must not pass the first
    assert await world.go(seeking(2, Rule.SKIP)) is OutcomeKind.PARKED
    assert world.parks.held == {SOUGHT: [seeking(1), seeking(2, Rule.SKIP)]}
    assert not world.dispatcher.calls


async def test_what_is_found_goes_behind_what_is_parked_for_that_workflow() -> None:
    world = World(ScriptedDispatcher(note=[missing()]))
    await world.go(signal(1))
    world.dispatcher.finds.append(TARGET)
    assert await world.go(seeking(2)) is OutcomeKind.PARKED
    assert world.parked == [signal(1), signal(2)]


async def test_a_call_that_may_have_arrived_is_repeated_to_the_same_workflow() -> None:
    """The next lookup might find another one."""
    world = World(ScriptedDispatcher(note=[NotNow("is away")]))
    world.dispatcher.finds += [TARGET, "order/B-2"]
    way = world.parking.way_of(seeking(), world.assignment)
    with pytest.raises(NotNow, match="is away"):
        await way.go()
    world.dispatcher._errors.clear()  # noqa: SLF001 - it is back
    assert (await way.go()).workflow_id == TARGET
    assert [call.workflow_id for call in world.dispatcher.calls] == [TARGET, TARGET]


async def test_what_is_found_and_busy_is_parked_for_that_workflow() -> None:
    world = World(ScriptedDispatcher(note=[TargetBusy("is busy"), TargetBusy("is busy")]))
    world.dispatcher.finds.append(TARGET)
    way = world.parking.way_of(seeking(), world.assignment)
    with pytest.raises(TargetBusy):
        await way.go()
    world.now = BUSY_SECONDS
    assert (await way.go()).kind is OutcomeKind.PARKED
    assert world.parks.held == {TARGET: [signal()]}


async def test_an_outage_of_visibility_is_no_missing_workflow() -> None:
    world = World(ScriptedDispatcher())
    way = world.parking.way_of(seeking(), world.assignment)
    world.dispatcher.finds += outage(2)
    for now in (0.0, 2 * LOOKING_SECONDS):
        world.now = now
        with pytest.raises(NotNow, match="is away"):
            await way.go()
    with pytest.raises(NotNow, match="not found yet"):
        await way.go()
    assert not world.parks.held


async def test_several_are_refused_and_never_parked() -> None:
    world = World(ScriptedDispatcher())
    world.dispatcher.finds.append(RejectedError("several"))
    with pytest.raises(RejectedError):
        await world.go(seeking())
    assert not world.parks.held
