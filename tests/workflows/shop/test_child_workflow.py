"""Child workflow: one per parcel, which hears of it when its parent is gone."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime

import pytest
import pytest_asyncio
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.exceptions import CancelledError
from temporalio.testing import WorkflowEnvironment

from tests.workflows.shop.shop_floor import ShopFloor
from workflows.shop.contracts import DeliveryResult, PackedOrder, PackedParcel, ParcelNews
from workflows.shop.delivery import LONGEST_WAY, Delivery, Parcel


class Van(ShopFloor):
    """An order in three parcels."""

    @property
    def parcels(self) -> list[str]:
        return [f"{self.name}-{number}" for number in (1, 2, 3)]

    @property
    def order(self) -> PackedOrder:
        packed = tuple(PackedParcel(parcel_id=id_, address="1 Station Road") for id_ in self.parcels)
        return PackedOrder(order_id=self.name, parcels=packed)

    @property
    def children(self) -> list[str]:
        return [f"parcel/{id_}" for id_ in self.parcels]

    async def tell(self, parcel: int, news: str) -> None:
        """Say what became of a parcel, by its number from 1."""
        id_ = self.parcels[parcel - 1]
        await self.handle(f"parcel/{id_}").signal(news, ParcelNews(parcel_id=id_))

    def called_back(self) -> list[str]:
        """Which parcels couriers were told to bring back."""
        return sorted(event.subject for event in self.published if event.type == "shop.parcel.recalled")

    async def until_closed(self, *ids: str) -> list[WorkflowExecutionStatus | None]:
        async def closed() -> bool:
            return WorkflowExecutionStatus.RUNNING not in await self.statuses(*ids)

        await self.until(closed)
        return await self.statuses(*ids)

    async def statuses(self, *ids: str) -> list[WorkflowExecutionStatus | None]:
        return [(await self.handle(id_).describe()).status for id_ in ids]


@pytest_asyncio.fixture(loop_scope="session")
async def van(env: WorkflowEnvironment, max_cached_workflows: int) -> AsyncIterator[Van]:
    van = Van(env.client, max_cached_workflows)
    async with van.worked(Delivery, Parcel), asyncio.timeout(30):
        yield van


async def test_child_workflow_for_each_parcel_side_by_side(van: Van) -> None:
    started = await van.start(Delivery.run, van.order)
    await van.until_open(*van.children)
    for parcel in (3, 1, 2):
        await van.tell(parcel, "delivered")
    assert await started.result() == DeliveryResult(
        order_id=van.name, delivered=tuple(van.parcels), missing=()
    )
    (completed,) = van.published
    assert (completed.type, completed.subject) == ("shop.delivery.completed", van.name)


async def test_child_workflow_that_fails_does_not_end_the_others(van: Van) -> None:
    started = await van.start(Delivery.run, van.order)
    await van.until_open(*van.children)
    await van.tell(1, "lost")
    await van.tell(1, "delivered")  # the first news count
    await van.tell(2, "delivered")
    assert van.types() == []
    # Nothing is heard of the third.
    result = await started.result()
    first, second, third = van.parcels
    assert (result.delivered, result.missing) == ((second,), (first, third))
    (incomplete,) = van.published
    assert incomplete.type == "shop.delivery.incomplete"
    assert incomplete.data == {"order_id": van.name, "delivered": [second], "missing": [first, third]}
    begun = (await van.handle().describe()).start_time
    assert datetime.fromisoformat(incomplete.time) - begun >= LONGEST_WAY


async def test_child_workflow_hears_that_its_parent_is_cancelled_and_calls_its_courier_back(van: Van) -> None:
    started = await van.start(Delivery.run, van.order)
    await van.until_open(*van.children)
    await van.tell(1, "delivered")
    await van.until_closed(van.children[0])
    await van.handle().cancel()
    with pytest.raises(WorkflowFailureError) as ended:
        await started.result()
    assert isinstance(ended.value.cause, CancelledError)
    # It ended after them: nobody is on the way any more.
    assert await van.statuses(*van.children) == [
        WorkflowExecutionStatus.COMPLETED,
        WorkflowExecutionStatus.CANCELED,
        WorkflowExecutionStatus.CANCELED,
    ]
    assert van.called_back() == van.parcels[1:]


async def test_child_workflow_outlives_a_parent_that_is_terminated_until_its_courier_is_called_back(
    real_server: Client, max_cached_workflows: int
) -> None:
    van = Van(real_server, max_cached_workflows)
    async with van.worked(Delivery, Parcel):
        await van.start(Delivery.run, van.order)
        await van.until_open(*van.children)
        await van.handle().terminate()
        assert await van.until_closed(*van.children) == [WorkflowExecutionStatus.CANCELED] * 3
    assert van.called_back() == van.parcels


async def test_child_workflow_that_is_called_back_by_hand_is_missing(van: Van) -> None:
    started = await van.start(Delivery.run, van.order)
    await van.until_open(*van.children)
    await van.handle(van.children[1]).cancel()
    for parcel in (1, 3):
        await van.tell(parcel, "delivered")
    assert (await started.result()).missing == (van.parcels[1],)


async def test_child_workflow_whose_parcel_was_delivered_when_it_is_cancelled_calls_nobody_back(
    env: WorkflowEnvironment, max_cached_workflows: int
) -> None:
    van = Van(env.client, max_cached_workflows)
    parcel = PackedParcel(parcel_id=van.name, address="1 Station Road")
    news = ParcelNews(parcel_id=van.name)
    started = await van.start(Parcel.run, parcel, start_signal="delivered", start_signal_args=[news])
    await van.handle().cancel()
    async with van.worked(Parcel), asyncio.timeout(30):
        await started.result()
    assert van.published == []
