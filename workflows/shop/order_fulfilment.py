"""One order, from the moment it is placed until it is shipped or undone."""

import asyncio
from collections.abc import Coroutine, Iterable, Mapping
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from pydantic import JsonValue

    from activities.policies import STANDARD
    from activities.shop.orders import Bill, BillLine, check_order
    from workflows.calls import Calls
    from workflows.results import Results, to_the_end
    from workflows.shop.contracts import (
        NewAddress,
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
"""How long a neighbour may take, from the moment it is to be asked."""

FIRST_BACKORDER_WAIT = timedelta(seconds=5)
LONGEST_BACKORDER_WAIT = timedelta(hours=1)
"""A back-order asks again after 5 s, then after twice as long each time, at most an hour: a customer
may wait for months before the history of the workflow becomes too long."""

REJECTIONS = frozenset({"OrderInvalid", "PaymentDeclined"})
"""Errors that are a verdict on this order; all others are troubles of ours."""

TOO_LATE = frozenset({Step.SHIPPING, Step.FULFILLED, Step.REJECTED, Step.CANCELLED, Step.FAILED})
"""The steps from which on the address of an order cannot change any more."""

Reply = TypeVar("Reply")


@workflow.defn
class OrderFulfilment:
    """Reserves stock for each line, charges the card and ships; undoes all of it when a step fails.

    It talks to its neighbours by events alone: it calls them by requests on `shop.requests`. What a neighbour
    did is undone by an event that names the request; a call without an answer takes itself back. What became
    of the order goes to `shop.results`.

    Ends: completed (`shop.order.fulfilled`); cancelled (`shop.order.cancelled`); failed with type
    `OrderInvalid` or `PaymentDeclined` (`shop.order.rejected`), or with `NoAnswer` or another
    trouble (`shop.order.failed`).
    """

    @workflow.init
    def __init__(self, order: Order) -> None:
        self._order = order
        self._calls = Calls(REQUESTS, SOURCE)
        self._undoing = Results(REQUESTS, SOURCE)
        self._results = Results(RESULTS, SOURCE)
        self._step = Step.CHECKING
        self._waits_for = ""
        self._reserved: set[int] = set()
        # What undoes each thing that was done, in the order in which they were.
        self._undo: list[tuple[str, dict[str, JsonValue]]] = []

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

    @workflow.update(description="Ship to another address; refused once the parcel is on its way.")
    def change_address(self, new: NewAddress) -> None:
        """Ship to `new` instead."""
        self._order = self._order.model_copy(update={"address": new.address})

    @change_address.validator
    def _may_change_address(self, new: NewAddress) -> None:  # noqa: ARG002 - any address will do
        if self._step in TOO_LATE:
            raise ApplicationError(f"the order is {self._step} already", type="TooLate")

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
        await _all(self._ask_for_line(number, line) for number, line in lines.items())
        return {number: line for number, line in lines.items() if number not in self._reserved}

    async def _ask_for_line(self, number: int, line: OrderLine) -> None:
        piece = _piece(number, line)
        answer = await self._ask("shop.stock.requested", piece, reply=StockAnswer)
        if answer.reserved:
            self._reserved.add(number)
            self._undo_by("shop.stock.released", answer.request_id, piece)

    async def _charge(self) -> None:
        self._enter(Step.CHARGING, "the payment's answer")
        charge: dict[str, JsonValue] = {
            "customer_id": self._order.customer_id,
            "amount_cents": self._order.total_cents,
            "card_token": self._order.card_token,
        }
        answer = await self._ask("shop.payment.requested", charge, reply=PaymentAnswer)
        self._undo_by("shop.payment.refunded", answer.request_id, charge)

    async def _ship(self) -> ShippingAnswer:
        self._enter(Step.SHIPPING, "the shipping's answer")
        parcel: dict[str, JsonValue] = {
            "address": self._order.address,
            "lines": _pieces(dict(enumerate(self._order.lines, start=1))),
        }
        return await self._ask("shop.shipping.requested", parcel, reply=ShippingAnswer)

    async def _close(self, shipped: ShippingAnswer) -> OrderResult:
        self._enter(Step.FULFILLED)
        order = self._order
        await self._publish_result(
            "shop.order.fulfilled",
            customer_id=order.customer_id,
            total_cents=order.total_cents,
            tracking=shipped.tracking,
        )
        return OrderResult(order_id=order.order_id, total_cents=order.total_cents, tracking=shipped.tracking)

    async def _ask(self, type_: str, data: dict[str, JsonValue], *, reply: type[Reply]) -> Reply:
        order_id = self._order.order_id
        return await self._calls.call(
            type_, order_id, {"order_id": order_id, **data}, reply=reply, limit=ANSWER_TIME_LIMIT
        )

    def _undo_by(self, type_: str, request_id: str, data: dict[str, JsonValue]) -> None:
        """Note which event undoes what was done for a request."""
        self._undo.append((type_, {"order_id": self._order.order_id, "request_id": request_id, **data}))

    async def _give_up(self, error: BaseException) -> None:
        """Undo all that was done, in reverse order, then publish why."""
        self._enter(Step.COMPENSATING)
        for type_, data in reversed(self._undo):
            await self._undoing.publish(type_, self._order.order_id, data)
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


async def _all(calls: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Make all `calls` at once; ends once each has, and only then raises."""
    # A plain `gather` would raise as soon as the first has, and what undoes it would overtake the others.
    for end in await asyncio.gather(*calls, return_exceptions=True):
        if isinstance(end, BaseException):
            raise end


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
