"""Changes of the sample's workflows that must not go through."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from temporalio import workflow
from temporalio.worker import UnsandboxedWorkflowRunner

from service.temporal.worker import find
from tests.replay.shop.stories import SHOP
from tests.replay.test_histories import read, replay
from workflows.shop.customer import Customer
from workflows.shop.delivery import Delivery, Parcel
from workflows.shop.order_fulfilment import OrderFulfilment
from workflows.shop.payment_window import PaymentWindow
from workflows.shop.product_recall import ProductRecall


async def _does_nothing(self: Any, *given: Any) -> None:
    await asyncio.sleep(0)


async def _asks_for_one_line_after_the_other(self: Any) -> None:
    for number, line in enumerate(self._order.lines, start=1):
        await self._ask_for_line(number, line)


async def _asks_once(self: Any) -> None:
    await self._ask_for_stock(dict(enumerate(self._order.lines, start=1)))


async def _undoes_nothing(self: Any, error: BaseException) -> None:
    await self._publish_result("shop.order.failed", reason="")


def _takes_its_time(self: Any, **changes: object) -> None:
    self._known = self._known.model_copy(update=changes)
    self._later = asyncio.ensure_future(asyncio.sleep(1))


async def _pays_twice(self: Any, payment: object) -> None:
    await self._publish("shop.invoice.settled", None)
    await self._publish("shop.invoice.settled", None)


async def _tells_one_after_the_other(self: Any, customers: Sequence[str]) -> None:
    for customer in customers:
        await self._results.publish("shop.recall.notice", customer, {})


CHANGES: Sequence[tuple[type, str, Callable[..., Any], str]] = [
    (OrderFulfilment, "_check", _does_nothing, "order-rejected-as-invalid"),
    (OrderFulfilment, "_reserve", _asks_for_one_line_after_the_other, "order-fulfilled"),
    (OrderFulfilment, "_charge", _does_nothing, "order-cancelled-too-late"),
    (OrderFulfilment, "_charge", _does_nothing, "order-with-a-new-address"),
    (OrderFulfilment, "_reserve", _asks_once, "order-fulfilled-after-a-back-order"),
    (OrderFulfilment, "_give_up", _undoes_nothing, "order-declined"),
    (OrderFulfilment, "_give_up", _undoes_nothing, "order-cancelled-while-back-ordered"),
    (OrderFulfilment, "_give_up", _undoes_nothing, "order-cancelled-while-the-payment-is-silent"),
    (OrderFulfilment, "_give_up", _undoes_nothing, "order-not-answered"),
    (OrderFulfilment, "_give_up", _undoes_nothing, "order-with-a-line-not-answered"),
    (OrderFulfilment, "_give_up", _does_nothing, "order-cancelled-before-its-first-task"),
    (Customer, "_become", _takes_its_time, "customer-continued.1"),
    (Customer, "_become", _takes_its_time, "customer-continued.2"),
    (PaymentWindow, "_decide", _does_nothing, "invoice-paid"),
    (PaymentWindow, "_decide", _does_nothing, "invoice-paid-before-its-first-task"),
    (PaymentWindow, "_decide", _pays_twice, "invoice-expired"),
    (PaymentWindow, "_decide", _does_nothing, "invoice-due-before-its-start"),
    (PaymentWindow, "_give_back", _does_nothing, "invoice-paid-twice"),
    (PaymentWindow, "_give_back", _does_nothing, "invoice-paid-late"),
    (Delivery, "_follow", _does_nothing, "delivery-completed"),
    (Delivery, "_follow", _does_nothing, "delivery-incomplete"),
    (Delivery, "_follow", _does_nothing, "delivery-cancelled"),
    (Parcel, "_call_back", _does_nothing, "parcel-called-back"),
    (ProductRecall, "_tell", _tells_one_after_the_other, "recall-told"),
    (ProductRecall, "_tell", _does_nothing, "recall-cancelled"),
    (ProductRecall, "_tell", _does_nothing, "recall-continued.1"),
]


def test_no_workflow_of_the_sample_is_left_out() -> None:
    assert {changed for changed, *_ in CHANGES} == {*find(["workflows.shop"]).workflows}


@pytest.mark.parametrize(("changed", "method", "instead", "story"), CHANGES)
async def test_a_workflow_that_does_other_things_than_before_does_not_go_through(
    monkeypatch: pytest.MonkeyPatch, changed: type, method: str, instead: Callable[..., Any], story: str
) -> None:
    monkeypatch.setattr(changed, method, instead)
    # The sandbox would load the class anew.
    failure = await replay(read(SHOP.recorded / f"{story}.json"), UnsandboxedWorkflowRunner())
    assert isinstance(failure, workflow.NondeterminismError)
