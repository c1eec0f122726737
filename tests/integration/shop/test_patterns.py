"""The patterns of docs/patterns.md between Kafka and Kafka, by the demo's own routes."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ActivityError, ApplicationError

from deploy.demo.orders import order
from service.local import LocalTemporal
from tests.integration.service import Site, headers_of
from tests.integration.shop.demo_site import demo_site, neighbours, pay, requests, results
from tests.workflows.shop.shop_floor import count


@pytest.fixture(scope="module")
async def shop(
    kafka: str, temporal: LocalTemporal, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    """A running service with its neighbours, which these tests share; each has ids of its own."""
    folder = tmp_path_factory.mktemp("patterns")
    async with demo_site(kafka, temporal.address, folder) as here, here.running():
        with neighbours(kafka, folder, "stock"):
            await withdraw_an_order_that_waits_for_its_payment(here)
            with neighbours(kafka, folder, "payment", "shipping"):
                # All at once, since one of them waits five seconds.
                for order_id, how in ORDERS.items():
                    await place(here, order_id, **how)
                yield here


WITHDRAWN, SENT, LACKING, DECLINED = "A-701", "A-702", "A-703", "A-704"
ORDERS: dict[str, dict[str, str]] = {
    SENT: {},
    LACKING: {"sku": "RARE-CLOCK"},
    DECLINED: {"card": "card-declined"},
}


async def place(here: Site, order_id: str, **how: str) -> None:
    await here.send("shop.order.placed", order(order_id, **how), key=order_id, to="shop.orders")


async def withdraw_an_order_that_waits_for_its_payment(here: Site) -> None:
    async def waits() -> bool:
        return "shop.payment.requested" in [one.type for one in await requests(here, WITHDRAWN)]

    await place(here, WITHDRAWN)
    await here.until(waits)
    await here.send("shop.order.withdrawn", {"order_id": WITHDRAWN}, key=WITHDRAWN, to="shop.orders")
    await results(here, 1, WITHDRAWN)


async def released(here: Site, order_id: str) -> list[int]:
    """The lines whose stock was released again."""
    asked = await requests(here, order_id)
    return sorted(one.data["line"] for one in asked if one.type == "shop.stock.released")


def handle(here: Site, id_: str) -> WorkflowHandle[Any, Any]:
    return here.client.get_workflow_handle(id_)


async def test_cancellation_cleans_up(shop: Site) -> None:
    (cancelled,) = await results(shop, 1, WITHDRAWN)
    assert (cancelled.type, cancelled.data["reason"]) == ("shop.order.cancelled", "withdrawn")
    assert await released(shop, WITHDRAWN) == [1, 2]


async def test_sequential_steps_wait_for_the_one_before(shop: Site) -> None:
    (fulfilled,) = await results(shop, 1, SENT)
    assert fulfilled.type == "shop.order.fulfilled"
    kinds = [one.type.removeprefix("shop.") for one in await requests(shop, SENT)]
    assert kinds == ["stock.requested", "stock.requested", "payment.requested", "shipping.requested"]


async def test_parallel_steps_are_asked_for_in_one_task(shop: Site) -> None:
    await results(shop, 1, SENT)
    history = await handle(shop, f"order/{SENT}").fetch_history()
    tasks = [
        event.activity_task_scheduled_event_attributes.workflow_task_completed_event_id
        for event in history.events
        if b"shop.stock.requested" in event.SerializeToString()
        and event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
    ]
    assert len(tasks) == 2
    assert len(set(tasks)) == 1


async def test_saga_undoes_what_was_done(shop: Site) -> None:
    (rejected,) = await results(shop, 1, DECLINED)
    assert (rejected.type, rejected.data["reason"]) == ("shop.order.rejected", "PaymentDeclined")
    assert await released(shop, DECLINED) == [1, 2]


async def test_query_answers_also_after_the_end(shop: Site) -> None:
    await results(shop, 1, SENT)
    assert (await handle(shop, f"order/{SENT}").query("status"))["step"] == "fulfilled"


async def test_entity_counts_each_receipt_once_in_fewer_signals_than_receipts(shop: Site) -> None:
    receipts = [
        shop.send(
            "till.receipt.printed",
            {"customer_id": "C-100", "total_cents": 150},
            key="C-100",
            id=f"receipt-{n % 200}",  # the last hundred are repeats
            to="till.receipts",
        )
        for n in range(300)
    ]
    await shop.past(*await asyncio.gather(*receipts))
    customer = handle(shop, "customer/C-100")
    status = await customer.query("status")
    assert (status["points"], status["purchases"]) == (200, 200)
    signals = count(await customer.fetch_history(), EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED)
    assert signals < 200


async def test_entity_counts_a_result_of_another_workflow_and_none_of_a_guest(shop: Site) -> None:
    fulfilled = {"order_id": "A-200", "total_cents": 5_600, "tracking": "T-1"}
    mine = {**fulfilled, "customer_id": "C-200"}
    guest = await shop.send("shop.order.fulfilled", fulfilled, key="A-200", to="shop.results")
    place = await shop.send("shop.order.fulfilled", mine, key="A-200", to="shop.results")
    await shop.past(guest, place)
    assert [said.kind for said in shop.said(guest)] == ["skipped"]
    assert (await handle(shop, "customer/C-200").query("status"))["points"] == 56


def invoice(name: str, *, due_in: timedelta) -> dict[str, Any]:
    due_at = (datetime.now(UTC) + due_in).isoformat()
    return {"invoice_id": name, "order_id": name, "amount_cents": 5_600, "due_at": due_at}


async def test_timer_race_is_won_by_a_payment_that_was_quicker_than_its_invoice(shop: Site) -> None:
    payment = {"invoice_id": "I-300", "order_id": "I-300", "payment_id": "P-1"}
    paid = await pay(shop, "invoice.paid", payment)
    assert [said.kind for said in await shop.outcomes(paid)] == ["parked"]
    await pay(shop, "invoice.issued", invoice("I-300", due_in=timedelta(days=14)))
    (settled,) = await results(shop, 1, "I-300")
    assert (settled.type, settled.data["payment_id"]) == ("shop.invoice.settled", "P-1")


async def test_timer_race_is_won_by_the_deadline_and_a_later_payment_is_a_letter(shop: Site) -> None:
    await pay(shop, "invoice.issued", invoice("I-301", due_in=timedelta(seconds=1)))
    (overdue,) = await results(shop, 1, "I-301")
    assert overdue.type == "shop.invoice.overdue"
    await handle(shop, "invoice/I-301").result()
    payment = {"invoice_id": "I-301", "order_id": "I-301", "payment_id": "P-1"}
    late = await pay(shop, "invoice.paid", payment)
    await shop.past(late)
    (letter,) = await shop.letters(late)
    assert headers_of(letter)["turnout-route"] == "invoice-paid"


async def test_child_workflow_of_each_parcel_is_told_by_its_own_id(shop: Site) -> None:
    parcels = [{"parcel_id": f"A-400-{n}", "address": "1 Station Road"} for n in (1, 2)]
    packed = {"order_id": "A-400", "parcels": parcels}
    await shop.send("stock.packed", packed, key="A-400", to="stock.events")
    for kind, parcel in (("delivered", "A-400-1"), ("lost", "A-400-2")):
        news = {"parcel_id": parcel}
        await shop.send(f"shipping.parcel.{kind}", news, key=parcel, to="shipping.events")
    (incomplete,) = await results(shop, 1, "A-400")
    assert incomplete.type == "shop.delivery.incomplete"
    assert incomplete.data == {"order_id": "A-400", "delivered": ["A-400-1"], "missing": ["A-400-2"]}


async def test_fan_out_reaches_each_customer(shop: Site) -> None:
    customers = [f"C-500-{n}" for n in range(30)]
    recall = {"recall_id": "R-500", "sku": "LAMP", "customers": customers}
    await shop.send("product.recalled", recall, key="R-500", to="shop.products")
    found = await results(shop, 31, "R-500", *customers)
    assert sorted(one.headers["ce_subject"] for one in found) == sorted([*customers, "R-500"])


async def test_error_propagation_from_an_activity_to_the_subscriber(shop: Site) -> None:
    wrong = {**order("A-600"), "total_cents": 1}
    await shop.send("shop.order.placed", wrong, key="A-600", id="wrong-total", to="shop.orders")

    # The subscriber gets the name that the activity gave the error, and what led to it.
    (rejected,) = await results(shop, 1, "A-600")
    assert rejected.type == "shop.order.rejected"
    assert rejected.data == {"order_id": "A-600", "reason": "OrderInvalid"}
    assert rejected.headers["ce_causationid"] == "wrong-total"
    assert rejected.headers["ce_correlationid"] == "order/A-600"

    # The workflow failed with the same name, and its failure says which activity raised it.
    with pytest.raises(WorkflowFailureError) as failed:
        await handle(shop, "order/A-600").result()
    error = failed.value.cause
    assert isinstance(error, ApplicationError)
    assert (error.type, error.non_retryable) == ("OrderInvalid", True)
    assert isinstance(error.cause, ActivityError)
    assert error.cause.activity_type == "check_order"
    assert isinstance(error.cause.cause, ApplicationError)
    assert error.cause.cause.type == "OrderInvalid"

    # A verdict is not tried again.
    history = await handle(shop, "order/A-600").fetch_history()
    (started,) = [
        event.activity_task_started_event_attributes
        for event in history.events
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED
    ][:1]
    assert started.attempt == 1


async def test_conditional_step_is_taken_by_the_order_that_needs_it(shop: Site) -> None:
    kinds = {order_id: (await results(shop, 1, order_id))[0].type for order_id in (SENT, LACKING)}
    assert kinds == {SENT: "shop.order.fulfilled", LACKING: "shop.order.backordered"}


async def test_loop_asks_again_until_the_stock_has_come(shop: Site) -> None:
    backordered, fulfilled = await results(shop, 2, LACKING)
    assert [backordered.type, fulfilled.type] == ["shop.order.backordered", "shop.order.fulfilled"]
    asked = await requests(shop, LACKING)
    assert [one.data["line"] for one in asked if one.type == "shop.stock.requested"] in ([1, 2, 1], [2, 1, 1])
