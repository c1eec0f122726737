"""A park delivers what it holds in order, and makes letters of what it gives up on, against a server."""

import asyncio
from datetime import timedelta

import pytest
from temporalio import workflow
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import CancelledError
from temporalio.testing import WorkflowEnvironment

from activities.heartbeats import HEARTBEAT_INTERVAL
from activities.ports import Refused
from tests.workflows.yard import (
    GIVEN_UP,
    PATIENCE,
    AsyncPark,
    World,
    Yard,
    complete_try,
    end_try,
    parked,
)
from workflows.park import REMEMBERED, Carried, Park


async def test_commands_are_delivered_in_the_order_they_came_once_their_target_is_there(
    env: WorkflowEnvironment, max_cached_workflows: int
) -> None:
    world = World()
    yard = Yard(env.client, world)
    async with yard.worked(max_cached_workflows):
        await yard.put(*map(parked, range(5)))
        await world.tried.wait()
        assert not world.delivered
        world.there = True
        await yard.handle.result()
    assert world.delivered == [0, 1, 2, 3, 4]
    assert not world.letters


async def test_a_command_that_comes_again_is_delivered_once(
    env: WorkflowEnvironment, max_cached_workflows: int
) -> None:
    world = World()
    yard = Yard(env.client, world)

    async def again() -> None:
        if world.delivered[-1] == 2:
            await yard.put(parked(0), parked(1))

    world.before_answer = again
    async with yard.worked(max_cached_workflows):
        await yard.put(*map(parked, (0, 1, 0, 2, 1)))
        world.there = True
        await yard.handle.result()
    assert world.delivered == [0, 1, 2]


async def test_what_is_given_up_on_becomes_a_letter_and_the_next_has_its_turn(
    env: WorkflowEnvironment, max_cached_workflows: int
) -> None:
    world = World(there=True, refused={1: [Refused(event=0, error="RejectedError", reason="has closed")]})
    yard = Yard(env.client, world)
    async with yard.worked(max_cached_workflows):
        await yard.put(*map(parked, range(3)))
        await yard.handle.result()
    assert world.delivered == [0, 2]
    assert world.letters == [(1, "RejectedError", "has closed")]


async def test_each_record_of_a_batch_that_is_given_up_on_becomes_a_letter(
    env: WorkflowEnvironment, max_cached_workflows: int
) -> None:
    world = World(refused={0: [Refused(event=n, error=GIVEN_UP, reason="late") for n in (0, 2)]}, there=True)
    yard = Yard(env.client, world)
    async with yard.worked(max_cached_workflows):
        await yard.put(parked(0, events=3), parked(3))
        await yard.handle.result()
    assert world.letters == [(0, GIVEN_UP, "late"), (2, GIVEN_UP, "late")]
    assert world.delivered == [3]


async def test_a_command_whose_time_is_up_is_given_up_on_by_an_answer(
    env: WorkflowEnvironment, max_cached_workflows: int
) -> None:
    world = World()
    yard = Yard(env.client, world)
    async with yard.worked(max_cached_workflows):
        await yard.put(parked(0), parked(1))
        await yard.handle.result()
    assert world.letters == [(0, GIVEN_UP, "too long"), (1, GIVEN_UP, "too long")]
    # Each second, not less and less often: a target that comes late is served at once.
    assert len(world.waited) > PATIENCE.total_seconds() * 2 / 3


async def test_letters_are_written_however_long_kafka_is_away(
    env: WorkflowEnvironment, max_cached_workflows: int
) -> None:
    world = World(there=True, refused={0: [Refused(event=0, error=GIVEN_UP, reason="late")]}, kafka_away=20)
    yard = Yard(env.client, world)
    async with yard.worked(max_cached_workflows):
        await yard.put(parked(0), parked(1))
        await yard.handle.result()
    assert (world.lettered, world.delivered) == ([0], [1])
    events = (await yard.handle.fetch_history()).events
    kinds = [one.activity_task_scheduled_event_attributes.activity_type.name for one in events]
    assert kinds.count("write_letters") == 1


async def test_letters_whose_bridge_was_killed_are_missed_after_seconds(
    env: WorkflowEnvironment, max_cached_workflows: int
) -> None:
    world = World(there=True, refused={0: [Refused(event=0, error=GIVEN_UP, reason="late")]})
    yard = Yard(env.client, world)
    async with yard.worked(max_cached_workflows):
        await yard.put(parked(0))
        await yard.handle.result()
    scheduled = [
        event.activity_task_scheduled_event_attributes
        for event in (await yard.handle.fetch_history()).events
        if event.HasField("activity_task_scheduled_event_attributes")
    ]
    (writing,) = [one for one in scheduled if one.activity_type.name == "write_letters"]
    assert 2 * HEARTBEAT_INTERVAL <= writing.heartbeat_timeout.ToTimedelta() <= timedelta(seconds=20)


async def test_tries_that_someone_ends_make_a_letter_and_the_next_has_its_turn(
    env: WorkflowEnvironment, max_cached_workflows: int
) -> None:
    world = World(there=True)
    yard = Yard(env.client, world)

    async def end() -> None:
        world.during_try = None
        await end_try(env.client, yard.handle.id)

    async def end_once_both_are_held() -> None:
        await both_are_held.wait()
        await end()
        # A letter is made in the end, also where someone ends its tries.
        world.during_try = end

    both_are_held = asyncio.Event()
    world.during_try = end_once_both_are_held
    async with yard.worked(max_cached_workflows):
        await yard.put(parked(0), parked(1))
        both_are_held.set()
        await yard.handle.result()
    assert world.delivered[-1] == 1
    assert {(offset, error) for offset, error, _ in world.letters} == {(0, GIVEN_UP)}
    assert "then ended by hand: no more; order/A-1 is not there" in world.letters[-1][2]


@pytest.mark.parametrize("result", ["done", None, [1], {"event": 0}])
async def test_a_delivery_that_someone_completes_with_whatever_makes_a_letter(
    env: WorkflowEnvironment, max_cached_workflows: int, result: object
) -> None:
    world = World(there=True)
    yard = Yard(env.client, world)
    both_are_held = asyncio.Event()

    async def complete() -> None:
        world.during_try = None
        await both_are_held.wait()
        await complete_try(env.client, yard.handle.id, result)

    world.during_try = complete
    async with yard.worked(max_cached_workflows):
        await yard.put(parked(0), parked(1))
        both_are_held.set()
        await yard.handle.result()
    assert world.delivered[-1] == 1
    ((offset, error, reason),) = world.letters
    assert (offset, error) == (0, GIVEN_UP)
    assert "then ended by hand with a result that is none; order/A-1 is not there" in reason


async def test_cancelling_it_makes_letters_of_all_that_it_holds(
    env: WorkflowEnvironment, max_cached_workflows: int
) -> None:
    world = World()
    yard = Yard(env.client, world)
    async with yard.worked(max_cached_workflows):
        await yard.put(*map(parked, range(3)))
        await world.tried.wait()
        await yard.handle.cancel()
        await ends_as_cancelled(yard)
    assert (world.lettered, world.delivered) == ([0, 1, 2], [])
    for _, error, reason in world.letters:
        assert error == GIVEN_UP
        assert reason.startswith("parked for 0:00:")
        assert reason.endswith("then someone cancelled its park; order/A-1 is not there")


async def test_what_is_delivered_while_someone_cancels_makes_no_letter(
    env: WorkflowEnvironment, max_cached_workflows: int
) -> None:
    world = World(there=True)
    yard = Yard(env.client, world)
    both_are_held = asyncio.Event()

    async def cancel() -> None:
        await both_are_held.wait()
        world.there = False
        await yard.handle.cancel()

        async def is_told() -> bool:
            events = (await yard.handle.fetch_history()).events
            return any(e.HasField("activity_task_cancel_requested_event_attributes") for e in events)

        await yard.until(is_told)

    world.before_answer = cancel
    async with yard.worked(max_cached_workflows):
        await yard.put(parked(0), parked(1))
        both_are_held.set()
        await ends_as_cancelled(yard)
    assert (world.delivered, world.lettered) == ([0], [1])


async def test_what_was_delivered_before_it_hears_of_the_cancel_makes_no_letter(
    env: WorkflowEnvironment,
) -> None:
    # Nothing cached: a worker that goes leaves no queue of its own behind, in which tasks wait for it.
    world = World(there=True)
    yard = Yard(env.client, world)
    trying, go_on = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        trying.set()
        await go_on.wait()

    world.before_answer = wait
    async with yard.delivering():
        async with yard.worked(0, delivers=False):
            await yard.put(parked(0), parked(1))
            await trying.wait()
        # Now nobody works on the park. Both, the answer and the cancel, wait for it.
        await yard.handle.cancel()
        go_on.set()

        async def is_answered() -> bool:
            return not (await yard.handle.describe()).raw_description.pending_activities

        await yard.until(is_answered)
        world.there = False
    async with yard.worked(0):
        await ends_as_cancelled(yard)
    assert (world.delivered, world.lettered) == ([0], [1])


async def test_a_park_that_is_cancelled_before_its_first_task_makes_letters_too(
    env: WorkflowEnvironment, max_cached_workflows: int
) -> None:
    world = World()
    yard = Yard(env.client, world)
    await yard.put(parked(0), parked(1))
    await yard.handle.cancel()
    async with yard.worked(max_cached_workflows):
        await ends_as_cancelled(yard)
    assert world.lettered == [0, 1]


async def test_what_comes_while_letters_are_made_becomes_one_too(
    env: WorkflowEnvironment, max_cached_workflows: int
) -> None:
    world = World(kafka_away=1)
    yard = Yard(env.client, world)
    async with yard.worked(max_cached_workflows):
        await yard.put(parked(0))
        await yard.until_it_waits_for_its_next_try()
        await yard.handle.cancel()

        async def is_writing() -> bool:
            return world.kafka_away == 0

        await yard.until(is_writing)
        await yard.put(parked(1))
        await ends_as_cancelled(yard)
    assert world.lettered == [0, 1]


@pytest.fixture
def long_history(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if it were time for a new run at any time; else it takes 4,096 events."""
    monkeypatch.setattr(workflow.Info, "is_continue_as_new_suggested", lambda _info: True)


@pytest.mark.usefixtures("long_history")
async def test_a_new_run_goes_on_where_the_one_before_ended(
    env: WorkflowEnvironment, max_cached_workflows: int
) -> None:
    world = World()
    yard = Yard(env.client, world)

    async def again() -> None:
        if world.delivered[-1] == 2:
            await yard.put(parked(0))

    world.before_answer = again
    async with yard.worked(max_cached_workflows):
        await yard.put(*map(parked, range(3)))
        await world.tried.wait()
        world.there = True
        await yard.handle.result()
    assert world.delivered == [0, 1, 2]
    first, second = await yard.continued()
    assert [held.parked.id for held in first.held] == ["id-1", "id-2"]
    assert (first.done, second.done) == (("id-0",), ("id-0", "id-1"))
    assert second.held == first.held[1:]


@pytest.mark.usefixtures("long_history")
async def test_a_cancelled_park_makes_its_letters_in_the_run_that_was_cancelled(
    env: WorkflowEnvironment, max_cached_workflows: int
) -> None:
    world = World()
    yard = Yard(env.client, world)
    async with yard.worked(max_cached_workflows):
        await yard.put(*map(parked, range(3)))
        await world.tried.wait()
        await yard.handle.cancel()
        await ends_as_cancelled(yard)
    assert world.lettered == [0, 1, 2]
    assert not await yard.continued()


@pytest.mark.usefixtures("long_history")
async def test_a_new_run_begins_once_what_is_held_fits_into_its_input(
    env: WorkflowEnvironment, max_cached_workflows: int
) -> None:
    world = World()
    yard = Yard(env.client, world)
    async with yard.worked(max_cached_workflows):
        await yard.put(*(parked(n, padding="x" * 400_000) for n in range(4)))
        await world.tried.wait()
        world.there = True
        await yard.handle.result()
    assert world.delivered == [0, 1, 2, 3]
    assert [len(carried.held) for carried in await yard.continued()] == [2, 1]


@pytest.mark.usefixtures("long_history")
async def test_of_what_was_delivered_it_remembers_the_newest(
    env: WorkflowEnvironment, max_cached_workflows: int
) -> None:
    world = World()
    yard = Yard(env.client, world)
    known = tuple(f"old-{n}" for n in range(REMEMBERED))
    async with yard.worked(max_cached_workflows):
        await yard.put(parked(0), parked(1), carried=Carried(done=known))
        await world.tried.wait()
        world.there = True
        await yard.handle.result()
    (carried,) = await yard.continued()
    assert carried.done == (*known[1:], "id-0")


async def test_what_it_says_is_new_after_each_delivery(
    env: WorkflowEnvironment, max_cached_workflows: int
) -> None:
    world = World()
    yard = Yard(env.client, world)

    async def leave() -> None:
        world.there = False

    world.before_answer = leave
    async with yard.worked(max_cached_workflows):
        await yard.put(*map(parked, range(2)))
        await world.tried.wait()
        world.there = True

        async def is_told() -> bool:
            return (await yard.memo()).commands == 1

        await yard.until(is_told)
        world.there = True
        await yard.handle.result()


async def test_it_says_how_full_it_is_and_what_for(
    env: WorkflowEnvironment, max_cached_workflows: int
) -> None:
    world = World()
    yard = Yard(env.client, world)
    async with yard.worked(max_cached_workflows):
        await yard.put(*map(parked, range(3)))

        async def is_told() -> bool:
            return (await yard.memo()).commands == 3

        await yard.until(is_told)
        memo = await yard.memo()
        assert memo.since
        assert (memo.size_bytes, memo.gives_up_at) == (3_000, memo.since + PATIENCE)
        assert memo.answer == "order/A-1 is not there"
        assert await yard.handle.query(Park.status) == memo
        metadata = await yard.handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
        details = metadata.current_details
        assert details.startswith("Holds **3** for workflow `order/A-1`, delivered in order.\n")
        assert "- **next**: signal note, route `note`, event `e-0`" in details
        assert f"- **gives up at**: {memo.gives_up_at:%Y-%m-%d %H:%M:%S} UTC" in details
        described = {one.name: one.description for one in metadata.definition.query_definitions}
        assert described["status"] == "How full it is, and what its first command waits for"
        world.there = True
        await yard.handle.result()


@pytest.mark.parametrize(("park", "delivered"), [(Park, [0]), (AsyncPark, [])])
async def test_a_handler_that_takes_its_time_loses_the_command(
    env: WorkflowEnvironment, park: type, delivered: list[int]
) -> None:
    world = World(there=True)
    yard = Yard(env.client, world, park)
    async with yard.worked(cached=1000):
        await yard.put(parked(0))
        await yard.handle.result()
    assert world.delivered == delivered


async def test_a_signal_that_it_cannot_read_is_not_lost(env: WorkflowEnvironment) -> None:
    """It fails the task, which is tried again until a release comes that can read it."""
    world = World(there=True)
    yard = Yard(env.client, world)
    async with yard.worked(cached=1000):
        await yard.put({"id": "from a later release"})

        async def is_stuck() -> bool:
            events = (await yard.handle.fetch_history()).events
            return any(e.HasField("workflow_task_failed_event_attributes") for e in events)

        await yard.until(is_stuck)
        await yard.handle.terminate()


async def ends_as_cancelled(yard: Yard) -> None:
    with pytest.raises(WorkflowFailureError) as ended:
        await yard.handle.result()
    assert isinstance(ended.value.cause, CancelledError)
