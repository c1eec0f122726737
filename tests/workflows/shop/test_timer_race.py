"""Timer race: a payment against its deadline; whoever loses is not lost."""

import asyncio
from datetime import datetime, timedelta

import pytest
from temporalio.testing import WorkflowEnvironment

from activities.ports import ResultEvent
from tests.workflows.shop.shop_floor import ShopFloor
from workflows.shop.contracts import Invoice, Payment, PaymentStatus
from workflows.shop.payment_window import PaymentWindow

TERM = timedelta(days=14)


async def invoice(env: WorkflowEnvironment, term: timedelta = TERM) -> Invoice:
    now = await env.get_current_time()
    return Invoice(invoice_id="I-1", order_id="A-1", amount_cents=5_600, due_at=now + term)


def told(floor: ShopFloor) -> list[tuple[str, object]]:
    """The type of each event, and which payment it names."""
    return [
        (event.type, data["payment_id"]) for event in floor.published if isinstance(data := event.data, dict)
    ]


async def test_timer_race_won_by_the_payment(env: WorkflowEnvironment, floor: ShopFloor) -> None:
    async with floor.worked(PaymentWindow), asyncio.timeout(30):
        started = await floor.start(PaymentWindow.run, await invoice(env))
        await env.sleep(TERM - timedelta(minutes=1))
        await floor.handle().signal(PaymentWindow.paid, Payment(payment_id="P-1"))
        assert await started.result() == PaymentStatus(invoice_id="I-1", decided=True, payment_id="P-1")
    assert told(floor) == [("shop.invoice.settled", "P-1")]
    assert floor.published[0].subject == "A-1"


async def test_timer_race_won_by_the_deadline(env: WorkflowEnvironment, floor: ShopFloor) -> None:
    due = await invoice(env)
    async with floor.worked(PaymentWindow), asyncio.timeout(30):
        started = await floor.start(PaymentWindow.run, due)
        assert await started.result() == PaymentStatus(invoice_id="I-1", decided=True)
    assert told(floor) == [("shop.invoice.overdue", None)]
    assert datetime.fromisoformat(floor.published[0].time) >= due.due_at


async def test_timer_race_counts_from_the_invoice_and_not_from_the_start(
    env: WorkflowEnvironment, floor: ShopFloor
) -> None:
    long_due = await invoice(env, -TERM)
    started = await floor.start(PaymentWindow.run, long_due)
    before = await env.get_current_time()
    async with floor.worked(PaymentWindow), asyncio.timeout(30):
        await started.result()
    assert told(floor) == [("shop.invoice.overdue", None)]
    assert datetime.fromisoformat(floor.published[0].time) - before < TERM


async def test_timer_race_is_won_by_a_payment_that_is_there_when_the_race_begins(
    env: WorkflowEnvironment, floor: ShopFloor
) -> None:
    started = await floor.start(
        PaymentWindow.run,
        await invoice(env, -TERM),
        start_signal="paid",
        start_signal_args=[Payment(payment_id="P-1")],
    )
    async with floor.worked(PaymentWindow), asyncio.timeout(30):
        await started.result()
    assert told(floor) == [("shop.invoice.settled", "P-1")]


@pytest.mark.parametrize("paid", [True, False])
async def test_timer_race_gives_a_payment_back_that_comes_while_the_race_is_being_decided(
    env: WorkflowEnvironment, floor: ShopFloor, paid: bool
) -> None:
    async def pay_again(event: ResultEvent) -> None:
        await floor.handle().signal(PaymentWindow.paid, Payment(payment_id=f"after {event.type}"))

    async def pay_a_third_time(event: ResultEvent) -> None:
        del floor.during[event.type]
        await pay_again(event)

    decided = "shop.invoice.settled" if paid else "shop.invoice.overdue"
    floor.during = {decided: pay_again, "shop.payment.surplus": pay_a_third_time}
    async with floor.worked(PaymentWindow), asyncio.timeout(30):
        started = await floor.start(PaymentWindow.run, await invoice(env))
        if paid:
            await floor.handle().signal(PaymentWindow.paid, Payment(payment_id="P-1"))
        status = await started.result()
    surplus = [f"after {decided}", "after shop.payment.surplus"]
    assert told(floor) == [
        (decided, "P-1" if paid else None),
        *(("shop.payment.surplus", payment) for payment in surplus),
    ]
    assert list(status.surplus) == surplus
