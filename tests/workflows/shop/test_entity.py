"""Entity: a customer counts points for years, run after run, and loses none and counts none twice."""

import asyncio

import pytest
from temporalio import workflow
from temporalio.api.enums.v1 import EventType
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from tests.telling import id_of, tell
from tests.workflows.shop.conftest import LONG
from tests.workflows.shop.shop_floor import ShopFloor, count
from workflows.shop.contracts import CustomerPoints, Purchase
from workflows.shop.customer import Customer

NEWCOMER = CustomerPoints(customer_id="C-7")


async def earn(env: WorkflowEnvironment, floor: ShopFloor, *numbers: int) -> None:
    """One batch, as the bridge sends it: of a purchase of so many euros for each number, which is its id."""
    purchases = [Purchase(total_cents=100 * number) for number in numbers]
    ids = [id_of(str(number)) for number in numbers]
    await tell(env.client, floor.handle().id, "points_earned", purchases, *ids)


async def test_entity_counts_each_purchase_of_a_batch(floor: ShopFloor) -> None:
    async with floor.worked(Customer):
        await floor.start(Customer.run, NEWCOMER)
        await floor.handle().signal(
            Customer.points_earned, [Purchase(total_cents=cents) for cents in (0, 99, 100, 1_250)]
        )
        await floor.handle().signal(Customer.points_earned, [])
        status = await floor.handle().query(Customer.status)
        metadata = await floor.handle().query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
        await floor.handle().terminate()
    assert status == CustomerPoints(customer_id="C-7", points=13, purchases=4)
    assert metadata.current_details == "13 points, 4 purchases"


async def test_entity_tells_how_many_repeats_were_dropped(env: WorkflowEnvironment, floor: ShopFloor) -> None:
    async with floor.worked(Customer):
        await floor.start(Customer.run, NEWCOMER)
        for number in (1, 1, 2):
            await earn(env, floor, number)
        metadata = await floor.handle().query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
        await floor.handle().terminate()
    assert metadata.current_details == "3 points, 2 purchases; 1 repeats dropped"


async def test_entity_counts_what_came_with_its_start(floor: ShopFloor) -> None:
    await floor.start(
        Customer.run,
        NEWCOMER,
        start_signal="points_earned",
        start_signal_args=[[Purchase(total_cents=500)]],
    )
    async with floor.worked(Customer):
        assert (await floor.handle().query(Customer.status)).points == 5
        await floor.handle().terminate()


async def test_entity_goes_on_in_a_new_run_and_still_knows_what_it_has_counted(
    env: WorkflowEnvironment, floor: ShopFloor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        workflow.Info, "is_continue_as_new_suggested", lambda info: info.get_current_history_length() > LONG
    )
    batches = [range(start, start + 5) for start in range(0, 100, 5)]
    async with floor.worked(Customer), asyncio.timeout(30):
        await floor.start(Customer.run, NEWCOMER)
        for batch in batches:
            # All of it again together with something new, and one of long ago that comes back alone.
            for numbers in (batch, (*batch, 1_000 + batch[0]), (0,)):
                await earn(env, floor, *numbers)
                await floor.until_idle()  # only the real server bears a signal while a run ends
        status = await floor.handle().query(Customer.status)
        await floor.handle().terminate()
    expected = [*range(100), *(1_000 + batch[0] for batch in batches)]
    assert (status.points, status.purchases) == (sum(expected), len(expected))
    histories = await floor.histories()
    assert len(histories) > 2


async def test_entity_loses_no_signal_while_it_continues_as_new_under_load(
    real_server: Client, max_cached_workflows: int
) -> None:
    floor = ShopFloor(real_server, max_cached_workflows)
    batches = iter([range(start, start + 5) for start in range(0, 2_000, 5)])

    async def till() -> None:
        for batch in batches:
            purchases = [Purchase(total_cents=100 * number) for number in batch]
            await floor.handle().signal(Customer.points_earned, purchases)

    async with floor.worked(Customer), asyncio.timeout(60):
        await floor.start(Customer.run, NEWCOMER)
        await asyncio.gather(*(till() for _ in range(8)))
        status = await floor.handle().query(Customer.status)
        histories = await floor.histories()
        await floor.handle().terminate()
    assert (status.points, status.purchases) == (sum(range(2_000)), 2_000)
    assert len(histories) > 2
    signalled = [count(one, EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED) for one in histories]
    assert sum(signalled) == 400
