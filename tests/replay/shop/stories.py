"""What the sample's recorded workflows went through."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from temporalio.client import Client, WorkflowFailureError

from activities.ports import Published, ResultEvent
from service.temporal.worker import find, make_worker
from tests.replay.stories import Handle, Play
from workflows.shop.contracts import Order, OrderLine

ORDER = Order(
    order_id="A-1",
    customer_id="ada",
    lines=(OrderLine(sku="tea", quantity=2, price_cents=450),),
    total_cents=900,
    address="12 Rail Street",
    card_token="card-1",
)


class Shelf:
    """Takes all that is published."""

    def __init__(self) -> None:
        self._published: list[ResultEvent] = []

    async def publish(self, event: ResultEvent) -> Published:
        self._published.append(event)
        return Published(topic=event.topic, partition=0, offset=len(self._published) - 1)


@dataclass(frozen=True)
class Shop:
    """A worker of the sample on `queue`."""

    client: Client
    queue: str

    async def order(self, order: Order) -> Handle:
        """Place an order."""
        return await self.client.start_workflow(
            "OrderFulfilment", order, id=f"order/{self.queue}", task_queue=self.queue
        )


@asynccontextmanager
async def _shop(client: Client, group: str) -> AsyncIterator[Shop]:
    found = find(["workflows.shop", "activities.shop"])
    async with make_worker(client, group, found, Shelf(), grace=timedelta(seconds=1)):
        yield Shop(client, group)


async def order_rejected_as_invalid(shop: Shop) -> Handle:
    """Its lines do not sum up to the total, so nobody is asked for anything."""
    order = await shop.order(ORDER.model_copy(update={"total_cents": 901}))
    with suppress(WorkflowFailureError):
        await order.result()
    return order


SHOP = Play(Path(__file__).parent, (order_rejected_as_invalid,), _shop)
