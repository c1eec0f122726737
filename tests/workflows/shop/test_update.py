"""Update with validator: points are spent by a caller who waits, and refused when there are too few."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from tests.workflows.shop.shop_floor import ShopFloor, count
from workflows.shop.contracts import CustomerPoints, Redemption
from workflows.shop.customer import REMEMBERED, Customer


@pytest_asyncio.fixture(loop_scope="session")
async def customer(floor: ShopFloor) -> AsyncIterator[ShopFloor]:
    """A customer with 50 points."""
    async with floor.worked(Customer), asyncio.timeout(30):
        await floor.start(Customer.run, CustomerPoints(customer_id="C-7", points=50))
        yield floor
        await floor.handle().terminate()


async def redeem(customer: ShopFloor, id_: str, points: int) -> int:
    left: int = await customer.handle().execute_update(
        Customer.redeem, Redemption(redemption_id=id_, points=points)
    )
    return left


async def test_update_spends_points_and_answers_what_is_left(customer: ShopFloor) -> None:
    assert await redeem(customer, "first", 30) == 20
    assert await redeem(customer, "second", 20) == 0
    status = await customer.handle().query(Customer.status)
    assert status == CustomerPoints(customer_id="C-7", points=0, redeemed=("first", "second"))


async def test_update_that_its_validator_refuses_leaves_nothing_behind(customer: ShopFloor) -> None:
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await redeem(customer, "too much", 51)
    assert isinstance(refused.value.cause, ApplicationError)
    assert refused.value.cause.type == "NotEnoughPoints"
    assert (await customer.handle().query(Customer.status)).points == 50
    history = await customer.handle().fetch_history()
    assert count(history, EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED) == 0


async def test_update_that_is_asked_again_takes_effect_once_also_in_a_later_run(
    real_server: Client, max_cached_workflows: int
) -> None:
    customer = ShopFloor(real_server, max_cached_workflows)
    async with customer.worked(Customer), asyncio.timeout(30):
        started = await customer.start(Customer.run, CustomerPoints(customer_id="C-7", points=50))
        assert await redeem(customer, "once", 50) == 0
        while (await customer.handle().describe()).run_id == started.result_run_id:
            assert await redeem(customer, "once", 50) == 0
        assert await redeem(customer, "once", 50) == 0
        await customer.handle().terminate()


async def test_update_that_is_no_redemption_is_refused(customer: ShopFloor) -> None:
    with pytest.raises(WorkflowUpdateFailedError):
        await customer.handle().execute_update("redeem", {"redemption_id": "R", "points": 0})
    assert (await customer.handle().query(Customer.status)).points == 50


async def test_update_ids_are_remembered_within_bounds(customer: ShopFloor) -> None:
    before = [str(number) for number in range(REMEMBERED)]
    known = CustomerPoints(customer_id="C-8", points=1, redeemed=tuple(before))
    handle = await customer.client.start_workflow(
        Customer.run, known, id=f"{customer.name}-8", task_queue=customer.name
    )
    await handle.execute_update(Customer.redeem, Redemption(redemption_id="new", points=1))
    assert (await handle.query(Customer.status)).redeemed == (*before[1:], "new")
    await customer.handle(handle.id).terminate()
