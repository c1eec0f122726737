"""One order, from the moment it is placed until it is shipped or undone."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from pydantic import JsonValue

    from activities.policies import STANDARD
    from activities.ports import ResultEvent
    from activities.shop.orders import Bill, BillLine, check_order
    from workflows.results import Results, to_the_end
    from workflows.shop.contracts import (
        Order,
        OrderLine,
        OrderResult,
        OrderStatus,
        PaymentAnswer,
        ShippingAnswer,
        Step,
        StockAnswer,
    )

REQUESTS = "shop.requests"
RESULTS = "shop.results"
SOURCE = "shop/orders"

ANSWER_TIME_LIMIT = timedelta(minutes=15)
"""How long a neighbour may take, from the moment its request is in Kafka."""

FIRST_BACKORDER_WAIT = timedelta(seconds=5)
LONGEST_BACKORDER_WAIT = timedelta(hours=1)
"""A back-order asks again after 5 s, then after twice as long each time, at most an hour: a customer
may wait for months before the history of the workflow becomes too long."""

REJECTIONS = frozenset({"OrderInvalid", "PaymentDeclined"})
"""Errors that are a verdict on this order; all others are troubles of ours."""

T = TypeVar("T")


@workflow.defn
class OrderFulfilment:
    """Reserves stock for each line, charges the card and ships; undoes all of it when a step fails.

    It talks to its neighbours by events alone. What it asks for goes to `shop.requests`; the id of
    that event is the id of the request, so that a neighbour can drop a repeat. Answers come back as
    signals that name the request. What became of the order goes to `shop.results`.

    Ends: completed (`shop.order.fulfilled`); cancelled (`shop.order.cancelled`); failed with type
    `OrderInvalid` or `PaymentDeclined` (`shop.order.rejected`), or with `NoAnswer` or another
    trouble (`shop.order.failed`).
    """

    @workflow.init
    def __init__(self, order: Order) -> None:
        self._order = order
        self._requests = Results(REQUESTS, SOURCE)
        self._results = Results(RESULTS, SOURCE)
        self._step = Step.CHECKING
        self._waits_for = ""
        self._reserved: set[int] = set()
        # What undoes each request, in the order in which they were made.
        self._undo: dict[str, tuple[str, dict[str, JsonValue]]] = {}
        # Answers by request id: the first one counts. They are kept even when nobody has asked
        # (yet): after a reset, signals come before the request that they answer is made again.
        self._stock: dict[str, StockAnswer] = {}
        self._captured: dict[str, bool] = {}
        self._shipped: dict[str, ShippingAnswer] = {}

    @workflow.run
    async def run(self, order: Order) -> OrderResult:  # noqa: ARG002 - @workflow.init took it
        """Fulfil the order, or undo what was done and say why."""
        try:
            await self._check()
            await self._reserve()
            await self._charge()
            if workflow.cancellation_reason() is not None:
                # It came together with the answer: Python 3.11's `wait_for` then forgets it.
                raise asyncio.CancelledError  # noqa: TRY301
            # From here a cancellation comes too late and is dropped: the parcel may be on its way.
            shipped = await to_the_end(self._ship())
        except (asyncio.CancelledError, ActivityError, ApplicationError) as error:
            await to_the_end(self._give_up(error))
            raise
        return await to_the_end(self._close(shipped))

    @workflow.signal(description="The stock of one line is set aside, or lacks.")
    def stock_answered(self, answer: StockAnswer) -> None:
        """Take the answer to a stock request."""
        self._stock.setdefault(answer.request_id, answer)

    @workflow.signal(description="The card was charged.")
    def payment_captured(self, answer: PaymentAnswer) -> None:
        """Take the good answer to a payment request."""
        self._captured.setdefault(answer.request_id, True)

    @workflow.signal(description="The card was declined.")
    def payment_declined(self, answer: PaymentAnswer) -> None:
        """Take the bad answer to a payment request."""
        self._captured.setdefault(answer.request_id, False)

    @workflow.signal(description="The parcel is on its way.")
    def order_shipped(self, answer: ShippingAnswer) -> None:
        """Take the answer to a shipping request."""
        self._shipped.setdefault(answer.request_id, answer)

    @workflow.query(description="Where the order is on its way, and what it waits for.")
    def status(self) -> OrderStatus:
        """Tell where the order is."""
        return OrderStatus(
            order_id=self._order.order_id,
            step=self._step,
            waits_for=self._waits_for,
            reserved=tuple(sorted(self._reserved)),
        )

    async def _check(self) -> None:
        self._enter(Step.CHECKING)
        lines = tuple(
            BillLine(quantity=line.quantity, price_cents=line.price_cents) for line in self._order.lines
        )
        try:
            await workflow.execute_activity(
                check_order,
                Bill(lines=lines, total_cents=self._order.total_cents),
                summary="the lines sum up to the total",
                retry_policy=STANDARD,
                start_to_close_timeout=timedelta(seconds=10),
                schedule_to_close_timeout=timedelta(minutes=5),
            )
        except ActivityError as error:
            if not isinstance(error.cause, ApplicationError):
                raise
            # The name goes to the top of the failure, where operators and subscribers look for it.
            # A new error, since raising the cause from its own effect would close a circle.
            raise ApplicationError(error.cause.message, type=error.cause.type, non_retryable=True) from error

    async def _reserve(self) -> None:
        """Ask for the stock of all lines at once; ask again for those that lack, until none does."""
        lacking = await self._ask_for_stock(dict(enumerate(self._order.lines, start=1)))
        if not lacking:
            return
        await self._publish_result("shop.order.backordered", lines=_pieces(lacking))
        wait = FIRST_BACKORDER_WAIT
        while lacking:
            self._enter(Step.BACK_ORDERED, f"stock of {_names(lacking)}, asks again after {wait}")
            await workflow.sleep(wait, summary="back-order")
            wait = min(wait * 2, LONGEST_BACKORDER_WAIT)
            lacking = await self._ask_for_stock(lacking)

    async def _ask_for_stock(self, lines: Mapping[int, OrderLine]) -> dict[int, OrderLine]:
        """Return those of `lines` that lack stock."""
        self._enter(Step.RESERVING, f"the stock's answer for {_names(lines)}")
        asked = {
            number: self._request("shop.stock.requested", undo="shop.stock.released", **_piece(number, line))
            for number, line in lines.items()
        }
        await self._requests.send_all(asked.values())
        await self._answer("stock", self._stock, *asked.values())
        lacking = {number for number, request in asked.items() if not self._stock[request.id].reserved}
        for number in lacking:
            del self._undo[asked[number].id]
        self._reserved |= asked.keys() - lacking
        return {number: line for number, line in lines.items() if number in lacking}

    async def _charge(self) -> None:
        self._enter(Step.CHARGING, "the payment's answer")
        request = self._request(
            "shop.payment.requested",
            undo="shop.payment.refunded",
            customer_id=self._order.customer_id,
            amount_cents=self._order.total_cents,
            card_token=self._order.card_token,
        )
        await self._requests.send(request)
        await self._answer("payment", self._captured, request)
        if not self._captured[request.id]:
            del self._undo[request.id]
            raise ApplicationError("the card was declined", type="PaymentDeclined", non_retryable=True)

    async def _ship(self) -> ShippingAnswer:
        self._enter(Step.SHIPPING, "the shipping's answer")
        request = self._request(
            "shop.shipping.requested",
            undo="shop.shipping.withdrawn",
            address=self._order.address,
            lines=_pieces(dict(enumerate(self._order.lines, start=1))),
        )
        await self._requests.send(request)
        await self._answer("shipping", self._shipped, request)
        return self._shipped[request.id]

    async def _close(self, shipped: ShippingAnswer) -> OrderResult:
        self._enter(Step.FULFILLED)
        order = self._order
        await self._publish_result(
            "shop.order.fulfilled", total_cents=order.total_cents, tracking=shipped.tracking
        )
        return OrderResult(order_id=order.order_id, total_cents=order.total_cents, tracking=shipped.tracking)

    def _request(self, type_: str, *, undo: str, **data: JsonValue) -> ResultEvent:
        """Make a request and note what undoes it.

        Noted before it is sent, not once it is answered: a neighbour whose answer does not come may
        have done what it was asked for, or may do it yet.
        """
        order_id = self._order.order_id
        request = self._requests.event(type_, order_id, {"order_id": order_id, **data})
        self._undo[request.id] = (undo, data)
        return request

    async def _answer(self, who: str, answers: Mapping[str, T], *requests: ResultEvent) -> None:
        """Wait until all of `requests` are answered."""
        try:
            await workflow.wait_condition(
                lambda: all(request.id in answers for request in requests),
                timeout=ANSWER_TIME_LIMIT,
                timeout_summary=f"{who} answers",
            )
        except TimeoutError:
            raise ApplicationError(
                f"{who} did not answer within {ANSWER_TIME_LIMIT}", type="NoAnswer", non_retryable=True
            ) from None

    async def _give_up(self, error: BaseException) -> None:
        """Undo all requests in reverse order, then publish why."""
        self._enter(Step.COMPENSATING)
        order_id = self._order.order_id
        for request_id, (type_, data) in reversed(self._undo.items()):
            await self._requests.publish(
                type_, order_id, {"order_id": order_id, "request_id": request_id, **data}
            )
        self._reserved.clear()
        if is_cancelled_exception(error):
            await self._end(Step.CANCELLED, workflow.cancellation_reason() or "")
        elif _name(error) in REJECTIONS:
            await self._end(Step.REJECTED, _name(error))
        else:
            await self._end(Step.FAILED, _name(error))

    async def _end(self, step: Step, reason: str) -> None:
        await self._publish_result(f"shop.order.{step}", reason=reason)
        self._enter(step)

    async def _publish_result(self, type_: str, **data: JsonValue) -> None:
        order_id = self._order.order_id
        await self._results.publish(type_, order_id, {"order_id": order_id, **data})

    def _enter(self, step: Step, waits_for: str = "") -> None:
        self._step, self._waits_for = step, waits_for
        workflow.set_current_details(f"{step}: waits for {waits_for}" if waits_for else step)


def _name(error: BaseException) -> str:
    """Name an error as subscribers know it: by the type of what failed, not by who reported it."""
    named = error.cause if isinstance(error, ActivityError) and error.cause else error
    type_ = named.type if isinstance(named, ApplicationError) else None
    return type_ or type(named).__name__


def _piece(number: int, line: OrderLine) -> dict[str, JsonValue]:
    return {"line": number, "sku": line.sku, "quantity": line.quantity}


def _pieces(lines: Mapping[int, OrderLine]) -> list[JsonValue]:
    return [_piece(number, line) for number, line in lines.items()]


def _names(lines: Mapping[int, OrderLine]) -> str:
    return f"line {', '.join(map(str, lines))}"
