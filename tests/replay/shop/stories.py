"""What the sample's recorded workflows went through: one story for each way that one of them takes."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

from temporalio.api.enums.v1 import EventType
from temporalio.client import AsyncActivityHandle, Client, WorkflowFailureError, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from activities.correlation import HEADER, Seal
from activities.ports import Published, ResultEvent
from service.temporal.worker import Capacity, find, make_worker
from tests.replay.stories import Handle, Play
from tests.telling import id_of, tell
from tests.workflows.shop.shop_floor import count
from workflows.shop import delivery, order_fulfilment
from workflows.shop.contracts import (
    CustomerPoints,
    Invoice,
    NewAddress,
    Order,
    OrderLine,
    PackedOrder,
    PackedParcel,
    ParcelNews,
    Payment,
    Purchase,
    RecallList,
    Redemption,
)
from workflows.shop.customer import Customer
from workflows.shop.delivery import Delivery, Parcel
from workflows.shop.order_fulfilment import OrderFulfilment
from workflows.shop.payment_window import PaymentWindow
from workflows.shop.product_recall import PER_RUN, ProductRecall

SEAL = Seal(["any"])
SOON = timedelta(seconds=2)
LONG = timedelta(days=14)

STOCK = "shop.stock.requested"
PAYMENT = "shop.payment.requested"
SHIPPING = "shop.shipping.requested"
RELEASED = "shop.stock.released"
RECALLED = "shop.parcel.recalled"
NOTICE = "shop.recall.notice"

ORDER = Order(
    order_id="A-1",
    customer_id="ada",
    lines=(
        OrderLine(sku="tea", quantity=2, price_cents=450),
        OrderLine(sku="cup", quantity=1, price_cents=700),
    ),
    total_cents=1_600,
    address="12 Rail Street",
    card_token="card-1",
)

Reaction = Callable[[ResultEvent], Awaitable[None]]


async def nothing(event: ResultEvent) -> None:
    """A neighbour that keeps silent."""


class Shop:
    """The sample on a task queue of its own.

    `when` says what happens while an event of a type is published; neighbours say yes, unless a story has it
    otherwise.
    """

    def __init__(self, client: Client, queue: str) -> None:
        self.client = client
        self.when: dict[str, Reaction] = {STOCK: self.reserve, PAYMENT: self.capture, SHIPPING: self.ship}
        self._queue = queue
        self._published: list[ResultEvent] = []

    async def publish(self, event: ResultEvent) -> Published:
        """Note `event`, as Kafka would."""
        if event.id not in {one.id for one in self._published}:  # neighbours drop a repeat
            self._published.append(event)
            await self.when.get(event.type, nothing)(event)
        return Published(topic=event.topic, partition=0, offset=len(self._published) - 1)

    async def start(self, kind: str, workflow: Any, given: object, **options: Any) -> Handle:
        """Start a workflow; there is one of each kind."""
        return await self.client.start_workflow(
            workflow, given, id=f"{kind}/{self._queue}", task_queue=self._queue, **options
        )

    async def order(self, order: Order = ORDER, **options: Any) -> Handle:
        """Place an order."""
        return await self.start("order", OrderFulfilment.run, order, **options)

    async def issue(self, term: timedelta, **options: Any) -> Handle:
        """Issue an invoice."""
        due_at = datetime.now(UTC) + term
        invoice = Invoice(invoice_id="I-1", order_id="A-1", amount_cents=1_600, due_at=due_at)
        return await self.start("invoice", PaymentWindow.run, invoice, **options)

    async def deliver(self) -> tuple[Handle, Handle, Handle]:
        """Send an order in two parcels, and see both on their way."""
        packed = tuple(
            PackedParcel(parcel_id=f"{self._queue}-{number}", address=ORDER.address) for number in (1, 2)
        )
        order = await self.start("delivery", Delivery.run, PackedOrder(order_id="A-1", parcels=packed))
        await until(order, EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED, len(packed))
        first, second = (self.client.get_workflow_handle(f"parcel/{one.parcel_id}") for one in packed)
        return order, first, second

    async def send(self) -> Handle:
        """Send a parcel alone, and see it on its way."""
        packed = PackedParcel(parcel_id="P-1", address=ORDER.address)
        parcel = await self.start("parcel", Parcel.run, packed)
        await until(parcel, EventType.EVENT_TYPE_TIMER_STARTED)
        return parcel

    async def recall(self, customers: int) -> Handle:
        """Recall a product that so many have bought."""
        recalled = RecallList(
            recall_id="R-1", sku="cup", customers=tuple(f"C-{number}" for number in range(customers))
        )
        return await self.start("recall", ProductRecall.run, recalled)

    async def ended(self, workflow: Handle, *published: str) -> Handle:
        """Wait for its end, and see that it published these last."""
        with suppress(WorkflowFailureError):
            await workflow.result()
        types = [event.type for event in self._published]
        assert types[len(types) - len(published) :] == [*published], types
        return workflow

    def whose(self, event: ResultEvent) -> Handle:
        """The workflow that publishes it."""
        return self.client.get_workflow_handle(event.headers["ce_correlationid"])

    async def withdraw(self, event: ResultEvent) -> None:
        """Cancel the workflow that publishes it."""
        await self.whose(event).cancel()

    async def reserve(self, event: ResultEvent) -> None:
        """The stock has it."""
        await self._answer(event, {"reserved": True})

    async def capture(self, event: ResultEvent) -> None:
        """The card is charged."""
        await self._answer(event, {})

    async def ship(self, event: ResultEvent) -> None:
        """The parcel is on its way."""
        await self._answer(event, {"tracking": "T-1"})

    async def decline(self, event: ResultEvent) -> None:
        """The card is declined."""
        no = ApplicationError("the bank says no", type="PaymentDeclined", non_retryable=True)
        await self._waiting(event).fail(no)

    def lack(self, times: int) -> Reaction:
        """The stock lacks the second line at first, so many times."""
        asked = 0

        async def lack(event: ResultEvent) -> None:
            nonlocal asked
            assert isinstance(event.data, dict)
            lacks = event.data["line"] == 2 and asked < times
            asked += lacks
            await self._answer(event, {"reserved": not lacks})

        return lack

    async def _answer(self, event: ResultEvent, data: dict[str, Any]) -> None:
        await self._waiting(event).complete({"request_id": event.id, **data})

    def _waiting(self, event: ResultEvent) -> AsyncActivityHandle:
        to = SEAL.opened(event.headers[HEADER])
        return self.client.get_async_activity_handle(
            workflow_id=to.workflow_id, run_id=None, activity_id=to.activity_id
        )


async def until(workflow: Handle, kind: EventType.ValueType, times: int = 1) -> None:
    """Wait until so many events of `kind` are in its history."""
    while count(await workflow.fetch_history(), kind) < times:
        pass


def soon(module: ModuleType, name: str) -> AbstractContextManager[object]:
    """Take no longer than tests may; a replay does not look at how long a time was."""
    return patch.object(module, name, SOON)


@asynccontextmanager
async def _shop(client: Client, group: str) -> AsyncIterator[Shop]:
    shop = Shop(client, group)
    found = find(["workflows.shop", "activities.shop"])
    # From outside of the sandbox, so that `soon` reaches them.
    capacity = Capacity(pass_through=["workflows.shop"])
    async with make_worker(
        client, group, found, shop, grace=timedelta(seconds=1), capacity=capacity, seal=SEAL
    ):
        yield shop


async def order_rejected_as_invalid(shop: Shop) -> Handle:
    """Its lines do not sum up to the total, so nobody is asked for anything."""
    order = await shop.order(ORDER.model_copy(update={"total_cents": 1_601}))
    return await shop.ended(order, "shop.order.rejected")


async def order_fulfilled(shop: Shop) -> Handle:
    """All neighbours say yes."""
    return await shop.ended(await shop.order(), STOCK, STOCK, PAYMENT, SHIPPING, "shop.order.fulfilled")


async def order_fulfilled_after_a_back_order(shop: Shop) -> Handle:
    """A line lacks stock twice."""
    shop.when[STOCK] = shop.lack(2)
    with soon(order_fulfilment, "FIRST_BACKORDER_WAIT"):
        return await shop.ended(
            await shop.order(),
            "shop.order.backordered",
            STOCK,
            STOCK,
            PAYMENT,
            SHIPPING,
            "shop.order.fulfilled",
        )


async def order_declined(shop: Shop) -> Handle:
    """The card is declined, so what is set aside is released."""
    shop.when[PAYMENT] = shop.decline
    return await shop.ended(await shop.order(), PAYMENT, RELEASED, RELEASED, "shop.order.rejected")


async def order_cancelled_before_its_first_task(shop: Shop) -> Handle:
    """The customer withdraws it at once."""
    order = await shop.order(start_delay=SOON)
    await order.cancel()
    return await shop.ended(order, "shop.order.cancelled")


async def order_cancelled_while_back_ordered(shop: Shop) -> Handle:
    """The customer withdraws it while one of two lines lacks stock."""
    shop.when[STOCK] = shop.lack(2)
    order = await shop.order()
    await until(order, EventType.EVENT_TYPE_TIMER_STARTED)
    await order.cancel()
    return await shop.ended(order, "shop.order.backordered", RELEASED, "shop.order.cancelled")


async def order_cancelled_while_the_payment_is_silent(shop: Shop) -> Handle:
    """The customer withdraws it, so its request for a payment is taken back."""
    shop.when[PAYMENT] = shop.withdraw
    return await shop.ended(
        await shop.order(), f"{PAYMENT}.cancelled", RELEASED, RELEASED, "shop.order.cancelled"
    )


async def order_cancelled_too_late(shop: Shop) -> Handle:
    """The customer withdraws it when its parcel may be on its way."""

    async def withdraw_first(event: ResultEvent) -> None:
        await shop.withdraw(event)
        await shop.ship(event)

    shop.when[SHIPPING] = withdraw_first
    return await shop.ended(await shop.order(), SHIPPING, "shop.order.fulfilled")


async def order_not_answered(shop: Shop) -> Handle:
    """The shipping keeps silent, so all that was done is undone."""
    shop.when[SHIPPING] = nothing
    with soon(order_fulfilment, "ANSWER_TIME_LIMIT"):
        return await shop.ended(
            await shop.order(),
            f"{SHIPPING}.cancelled",
            "shop.payment.refunded",
            RELEASED,
            RELEASED,
            "shop.order.failed",
        )


async def order_with_a_line_not_answered(shop: Shop) -> Handle:
    """The stock keeps silent about one of two lines, so the other one is released."""

    async def answer_the_first(event: ResultEvent) -> None:
        assert isinstance(event.data, dict)
        if event.data["line"] == 1:
            await shop.reserve(event)

    shop.when[STOCK] = answer_the_first
    with soon(order_fulfilment, "ANSWER_TIME_LIMIT"):
        return await shop.ended(await shop.order(), f"{STOCK}.cancelled", RELEASED, "shop.order.failed")


async def order_with_a_new_address(shop: Shop) -> Handle:
    """The customer moves before the parcel is on its way, and once more when it is too late."""

    async def move_first(event: ResultEvent) -> None:
        await shop.whose(event).execute_update(
            OrderFulfilment.change_address, NewAddress(address="3 Side Street")
        )
        await shop.capture(event)

    async def move_too_late(event: ResultEvent) -> None:
        with suppress(WorkflowUpdateFailedError):
            await shop.whose(event).execute_update(
                OrderFulfilment.change_address, NewAddress(address="5 Back Street")
            )
        await shop.ship(event)

    shop.when |= {PAYMENT: move_first, SHIPPING: move_too_late}
    return await shop.ended(await shop.order(), SHIPPING, "shop.order.fulfilled")


async def customer_continued(shop: Shop) -> Handle:
    """Batches, some of what is in them repeated, and redemptions; also in a later run."""

    async def earn(*numbers: int) -> None:
        purchases = [Purchase(total_cents=1_000) for _ in numbers]
        await tell(
            shop.client, customer.id, "points_earned", purchases, *(id_of(f"{number}") for number in numbers)
        )

    async def redeem(id_: str, points: int) -> int:
        redemption = Redemption(redemption_id=id_, points=points)
        left: int = await customer.execute_update(Customer.redeem, redemption)
        return left

    started = await shop.start("customer", Customer.run, CustomerPoints(customer_id="ada"))
    customer: Handle = shop.client.get_workflow_handle(started.id)
    await earn(1, 2, 3)
    await earn(3, 4)
    assert await redeem("tea", 30) == 10
    with suppress(WorkflowUpdateFailedError):
        await redeem("too much", 11)
    while (await customer.describe()).run_id == started.result_run_id:
        await redeem("tea", 30)
    assert await redeem("tea", 30) == 10
    await earn(4, 5)
    assert await redeem("cup", 15) == 5
    return customer


async def invoice_paid(shop: Shop) -> Handle:
    """The payment comes in time."""
    invoice = await shop.issue(LONG)
    await until(invoice, EventType.EVENT_TYPE_TIMER_STARTED)
    await invoice.signal(PaymentWindow.paid, Payment(payment_id="P-1"))
    return await shop.ended(invoice, "shop.invoice.settled")


async def invoice_paid_before_its_first_task(shop: Shop) -> Handle:
    """The payment is there when the race begins, and wins it, although the time is over too."""
    payment = Payment(payment_id="P-1")
    invoice = await shop.issue(-LONG, start_signal="paid", start_signal_args=[payment])
    return await shop.ended(invoice, "shop.invoice.settled")


async def invoice_paid_twice(shop: Shop) -> Handle:
    """A second payment comes while the first one is published."""

    async def pay_again(event: ResultEvent) -> None:
        await shop.whose(event).signal(PaymentWindow.paid, Payment(payment_id="P-2"))

    shop.when["shop.invoice.settled"] = pay_again
    invoice = await shop.issue(LONG)
    await until(invoice, EventType.EVENT_TYPE_TIMER_STARTED)
    await invoice.signal(PaymentWindow.paid, Payment(payment_id="P-1"))
    return await shop.ended(invoice, "shop.invoice.settled", "shop.payment.surplus")


async def invoice_expired(shop: Shop) -> Handle:
    """No payment comes in time."""
    invoice = await shop.issue(SOON)
    await until(invoice, EventType.EVENT_TYPE_TIMER_STARTED)
    return await shop.ended(invoice, "shop.invoice.overdue")


async def invoice_paid_late(shop: Shop) -> Handle:
    """The payment comes while it is published that none came in time."""

    async def pay(event: ResultEvent) -> None:
        await shop.whose(event).signal(PaymentWindow.paid, Payment(payment_id="P-1"))

    shop.when["shop.invoice.overdue"] = pay
    invoice = await shop.issue(SOON)
    await until(invoice, EventType.EVENT_TYPE_TIMER_STARTED)
    return await shop.ended(invoice, "shop.invoice.overdue", "shop.payment.surplus")


async def invoice_due_before_its_start(shop: Shop) -> Handle:
    """It begins when its time is over."""
    return await shop.ended(await shop.issue(-LONG), "shop.invoice.overdue")


async def delivery_completed(shop: Shop) -> Handle:
    """Both parcels arrive."""
    order, *parcels = await shop.deliver()
    for parcel in parcels:
        await parcel.signal(Parcel.delivered, ParcelNews(parcel_id="P-1"))
    return await shop.ended(order, "shop.delivery.completed")


async def delivery_incomplete(shop: Shop) -> Handle:
    """One parcel is lost, the other one arrives."""
    order, first, second = await shop.deliver()
    await first.signal(Parcel.lost, ParcelNews(parcel_id="P-1"))
    await second.signal(Parcel.delivered, ParcelNews(parcel_id="P-2"))
    return await shop.ended(order, "shop.delivery.incomplete")


async def delivery_cancelled(shop: Shop) -> Handle:
    """Someone cancels it with both parcels on their way."""
    order, *_ = await shop.deliver()
    await order.cancel()
    return await shop.ended(order, RECALLED, RECALLED)


async def parcel_delivered(shop: Shop) -> Handle:
    """It arrives."""
    parcel = await shop.send()
    await parcel.signal(Parcel.delivered, ParcelNews(parcel_id="P-1"))
    return await shop.ended(parcel)


async def parcel_lost(shop: Shop) -> Handle:
    """The courier loses it."""
    parcel = await shop.send()
    await parcel.signal(Parcel.lost, ParcelNews(parcel_id="P-1"))
    return await shop.ended(parcel)


async def parcel_unheard_of(shop: Shop) -> Handle:
    """Nothing is heard of it."""
    with soon(delivery, "LONGEST_WAY"):
        return await shop.ended(await shop.send())


async def parcel_called_back(shop: Shop) -> Handle:
    """It is cancelled with the delivery that it belongs to."""
    order, parcel, _ = await shop.deliver()
    await order.cancel()
    await shop.ended(order, RECALLED, RECALLED)
    return parcel


async def parcel_delivered_when_it_is_cancelled(shop: Shop) -> Handle:
    """The news comes together with the cancellation, so nobody is called back."""
    parcel = await shop.start(
        "parcel",
        Parcel.run,
        PackedParcel(parcel_id="P-1", address=ORDER.address),
        start_delay=SOON,
        start_signal="delivered",
        start_signal_args=[ParcelNews(parcel_id="P-1")],
    )
    await parcel.cancel()
    return await shop.ended(parcel)


async def recall_told(shop: Shop) -> Handle:
    """All are told in one run."""
    return await shop.ended(await shop.recall(3), NOTICE, NOTICE, NOTICE, "shop.recall.completed")


async def recall_cancelled(shop: Shop) -> Handle:
    """Someone cancels it with two notices on their way."""
    shop.when[NOTICE] = shop.withdraw
    return await shop.ended(await shop.recall(2), NOTICE, NOTICE)


async def recall_continued(shop: Shop) -> Handle:
    """One more than a run tells."""
    return await shop.ended(await shop.recall(PER_RUN + 1), NOTICE, "shop.recall.completed")


SHOP = Play(
    Path(__file__).parent,
    (
        order_rejected_as_invalid,
        order_fulfilled,
        order_fulfilled_after_a_back_order,
        order_declined,
        order_cancelled_before_its_first_task,
        order_cancelled_while_back_ordered,
        order_cancelled_while_the_payment_is_silent,
        order_cancelled_too_late,
        order_not_answered,
        order_with_a_line_not_answered,
        order_with_a_new_address,
        customer_continued,
        invoice_paid,
        invoice_paid_before_its_first_task,
        invoice_paid_twice,
        invoice_expired,
        invoice_paid_late,
        invoice_due_before_its_start,
        delivery_completed,
        delivery_incomplete,
        delivery_cancelled,
        parcel_delivered,
        parcel_lost,
        parcel_unheard_of,
        parcel_called_back,
        parcel_delivered_when_it_is_cancelled,
        recall_told,
        recall_cancelled,
        recall_continued,
    ),
    _shop,
)
"""Of the workflows of the sample."""
