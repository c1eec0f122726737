"""Fan-out: one event to each of a thousand customers, with short histories and few at once."""

import asyncio

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import CancelledError

from activities.ports import ResultEvent
from tests.workflows.shop.shop_floor import ShopFloor
from workflows.shop.contracts import RecallList, RecallResult
from workflows.shop.product_recall import AT_ONCE, PER_RUN, ProductRecall

MOST_EVENTS = 6 * PER_RUN + 20


def recall(customers: int) -> RecallList:
    return RecallList(recall_id="R-1", sku="LAMP", customers=tuple(f"C-{n}" for n in range(customers)))


async def test_fan_out_over_a_thousand_customers_keeps_each_history_short_and_few_at_once(
    floor: ShopFloor, max_cached_workflows: int
) -> None:
    # Replayed at each task, a thousand take a minute; three runs show the same.
    many = recall(1_000 if max_cached_workflows else 3 * PER_RUN)
    group = asyncio.Barrier(AT_ONCE)

    async def wait_for_the_group(event: ResultEvent) -> None:
        await group.wait()

    floor.during["shop.recall.notice"] = wait_for_the_group
    async with floor.worked(ProductRecall), asyncio.timeout(60):
        started = await floor.start(ProductRecall.run, many)
        assert await started.result() == RecallResult(recall_id="R-1", told=len(many.customers))
    *notices, completed = floor.published
    assert sorted(notice.subject for notice in notices) == sorted(many.customers)
    assert len({notice.id for notice in notices}) == len(many.customers)
    assert completed.type == "shop.recall.completed"
    assert completed.data == {"recall_id": "R-1", "told": len(many.customers)}
    assert floor.most_at_once == AT_ONCE
    lengths = [len(history.events) for history in await floor.histories()]
    assert len(lengths) == len(many.customers) / PER_RUN
    assert max(lengths) <= MOST_EVENTS


@pytest.mark.parametrize("customers", [0, 1, AT_ONCE + 1, PER_RUN + 1])
async def test_fan_out_tells_each_once_whatever_their_number(floor: ShopFloor, customers: int) -> None:
    floor.failures["shop.recall.notice"] = min(customers, 2)
    async with floor.worked(ProductRecall), asyncio.timeout(30):
        started = await floor.start(ProductRecall.run, recall(customers))
        assert (await started.result()).told == customers
    notices = [event.subject for event in floor.published if event.type == "shop.recall.notice"]
    assert sorted(notices) == sorted(recall(customers).customers)
    assert floor.types()[-1] == "recall.completed"


async def test_fan_out_that_is_cancelled_stops_after_those_on_their_way(floor: ShopFloor) -> None:
    async def cancel_with_the_second_group(event: ResultEvent) -> None:
        if event.subject == f"C-{AT_ONCE}":
            await floor.handle().cancel()

    floor.during["shop.recall.notice"] = cancel_with_the_second_group
    async with floor.worked(ProductRecall), asyncio.timeout(30):
        started = await floor.start(ProductRecall.run, recall(PER_RUN))
        with pytest.raises(WorkflowFailureError) as ended:
            await started.result()
        assert isinstance(ended.value.cause, CancelledError)
        assert len(floor.published) == 2 * AT_ONCE
        assert (await floor.handle().query(ProductRecall.status)).told == AT_ONCE
