import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from pydantic import ValidationError
from temporalio.api.enums.v1 import EventType
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import WorkflowFailureError, WorkflowHandle, WorkflowHistory
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.testing import ActivityEnvironment, WorkflowEnvironment
from temporalio.worker import Worker

from activities.ports import Published, ResultEvent
from activities.publishing import PublishingActivities
from activities.shop.orders import Bill, BillLine, check_order
from workflows.results import result_id
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
from workflows.shop.order_fulfilment import ANSWER_TIME_LIMIT, OrderFulfilment

Reaction = Callable[[ResultEvent], Awaitable[None]]
Handle = WorkflowHandle[OrderFulfilment, OrderResult]

TWO_LINES = (
    OrderLine(sku="PEN", quantity=2, price_cents=150),
    OrderLine(sku="INK", quantity=1, price_cents=700),
)


async def nothing(event: ResultEvent) -> None:
    """A neighbour that does not answer."""


class Shop:
    """An order, its fake publisher, and neighbours that answer as soon as they are asked.

    A neighbour answers while its request is still being published: earlier than any real one.
    """

    def __init__(self, env: WorkflowEnvironment, max_cached_workflows: int) -> None:
        self.env = env
        self.max_cached_workflows = max_cached_workflows
        self.task_queue = str(uuid4())
        self.order = Order(
            order_id=str(uuid4()),
            customer_id="C-1",
            lines=TWO_LINES,
            total_cents=1000,
            address="1 Main Street",
            card_token="card-good",
        )
        self.published: list[ResultEvent] = []
        self.attempts: list[ResultEvent] = []
        self.failures: Counter[str] = Counter()
        self.reactions: dict[str, Reaction] = {
            "shop.stock.requested": self.reserve,
            "shop.payment.requested": self.capture,
            "shop.shipping.requested": self.ship,
        }

    async def publish(self, event: ResultEvent) -> Published:
        self.attempts.append(event)
        if event not in self.attempts[:-1]:
            await self.reactions.get(event.type, nothing)(event)
        if self.failures[event.type] > 0:
            self.failures[event.type] -= 1
            raise ConnectionError("no broker")
        self.published.append(event)
        return Published(topic=event.topic, partition=0, offset=len(self.published))

    def worker(self) -> Worker:
        return Worker(
            self.env.client,
            task_queue=self.task_queue,
            workflows=[OrderFulfilment],
            activities=[check_order, PublishingActivities(self).publish],
            max_cached_workflows=self.max_cached_workflows,
        )

    @property
    def handle(self) -> Handle:
        """For neighbours and customers; awaiting its result does not skip time."""
        return self.env.client.get_workflow_handle_for(OrderFulfilment.run, f"order/{self.order.order_id}")

    async def start(self, **options: Any) -> Handle:
        self.started = await self.env.client.start_workflow(
            OrderFulfilment.run,
            self.order,
            id=f"order/{self.order.order_id}",
            task_queue=self.task_queue,
            **options,
        )
        return self.started

    async def result(self) -> OrderResult:
        async with asyncio.timeout(30):
            return await self.started.result()

    async def failure(self) -> BaseException | None:
        with pytest.raises(WorkflowFailureError) as failed:
            await self.result()
        return failed.value.cause

    async def reserve(self, event: ResultEvent) -> None:
        await self.answer_stock(event.id, reserved=True)

    async def lack(self, event: ResultEvent) -> None:
        await self.answer_stock(event.id, reserved=False)

    async def answer_stock(self, request_id: str, *, reserved: bool) -> None:
        await self.handle.signal(
            OrderFulfilment.stock_answered, StockAnswer(request_id=request_id, reserved=reserved)
        )

    async def capture(self, event: ResultEvent) -> None:
        await self.handle.signal(OrderFulfilment.payment_captured, PaymentAnswer(request_id=event.id))

    async def decline(self, event: ResultEvent) -> None:
        await self.handle.signal(OrderFulfilment.payment_declined, PaymentAnswer(request_id=event.id))

    async def ship(self, event: ResultEvent) -> None:
        await self.handle.signal(
            OrderFulfilment.order_shipped, ShippingAnswer(request_id=event.id, tracking="T-1")
        )

    async def withdraw(self, event: ResultEvent) -> None:
        await self.handle.cancel()

    def types(self) -> list[str]:
        return [event.type.removeprefix("shop.") for event in self.published]

    def of_type(self, type_: str) -> list[ResultEvent]:
        return [event for event in self.published if event.type == type_]

    def undone(self) -> list[tuple[str, str]]:
        """What was undone, in its order: the type and the request it names."""
        kinds = ("shop.stock.released", "shop.payment.refunded", "shop.shipping.withdrawn")
        return [(event.type, _field(event, "request_id")) for event in self.published if event.type in kinds]

    def stock_requests(self) -> dict[int, str]:
        """The id of the last request for each line."""
        return {_field(event, "line"): event.id for event in self.of_type("shop.stock.requested")}

    def released(self) -> list[tuple[str, str]]:
        """What it means to release all lines in reverse order."""
        requests = self.stock_requests()
        return [("shop.stock.released", requests[line]) for line in sorted(requests, reverse=True)]

    async def waits_after(self, type_: str) -> None:
        """Return once the workflow published `type_` and then started a timer."""
        async with asyncio.timeout(30):
            # Asked again and again, since the server that skips time cannot wait for new events.
            while not _waits_after(type_, await self.handle.fetch_history()):
                pass


def _waits_after(type_: str, history: WorkflowHistory) -> bool:
    started = [
        event.event_id for event in history.events if event.event_type == EventType.EVENT_TYPE_TIMER_STARTED
    ]
    published = _published(history, type_)
    return bool(published and started and max(started) > min(published))


def _published(history: WorkflowHistory, type_: str) -> list[int]:
    """The ids of the history's events that schedule the publication of `type_`."""
    return [
        event.event_id
        for event in history.events
        for payload in event.activity_task_scheduled_event_attributes.input.payloads
        if f'"{type_}"'.encode() in payload.data
    ]


def _field(event: ResultEvent, name: str) -> Any:
    assert isinstance(event.data, dict)
    return event.data[name]


def _named(error: BaseException | None) -> str | None:
    assert isinstance(error, ApplicationError)
    return error.type


@pytest.fixture
def idle_shop(env: WorkflowEnvironment, max_cached_workflows: int) -> Shop:
    """A shop whose worker the test starts itself."""
    return Shop(env, max_cached_workflows)


@pytest_asyncio.fixture(loop_scope="session")
async def shop(idle_shop: Shop) -> AsyncIterator[Shop]:
    async with idle_shop.worker():
        yield idle_shop


async def test_an_order_is_reserved_charged_shipped_and_published(shop: Shop) -> None:
    await shop.start()

    assert await shop.result() == OrderResult(order_id=shop.order.order_id, total_cents=1000, tracking="T-1")
    assert shop.types() == [
        "stock.requested",
        "stock.requested",
        "payment.requested",
        "shipping.requested",
        "order.fulfilled",
    ]
    assert [event.topic for event in shop.published] == ["shop.requests"] * 4 + ["shop.results"]
    assert {event.subject for event in shop.published} == {shop.order.order_id}
    assert len({event.id for event in shop.published}) == 5


async def test_results_say_what_led_to_them_and_which_trace_they_belong_to(shop: Shop) -> None:
    await shop.start(memo={"turnout": {"id": "1", "event": "E-7", "traceparent": "00-a-b-01"}})
    await shop.result()

    assert shop.published[-1].headers == {
        "ce_causationid": "E-7",
        "ce_correlationid": f"order/{shop.order.order_id}",
        "traceparent": "00-a-b-01",
    }


@pytest.mark.parametrize("memo", [{}, {"turnout": "text"}, {"turnout": {"event": 7, "traceparent": None}}])
async def test_a_workflow_started_by_hand_publishes_without_a_cause(shop: Shop, memo: dict[str, Any]) -> None:
    await shop.start(memo=memo)
    await shop.result()

    assert shop.published[-1].headers == {"ce_correlationid": f"order/{shop.order.order_id}"}


async def test_the_stock_of_all_lines_is_asked_for_at_once(shop: Shop) -> None:
    both_asked = asyncio.Barrier(2)

    async def wait_for_the_other(event: ResultEvent) -> None:
        await both_asked.wait()
        await shop.reserve(event)

    shop.reactions["shop.stock.requested"] = wait_for_the_other
    await shop.start()

    await shop.result()


async def test_a_line_that_lacks_stock_is_asked_for_again_until_it_arrives(shop: Shop) -> None:
    asked: Counter[int] = Counter()

    async def lack_the_second_line_twice(event: ResultEvent) -> None:
        asked[_field(event, "line")] += 1
        await shop.answer_stock(event.id, reserved=_field(event, "line") == 1 or asked[2] == 3)

    shop.reactions["shop.stock.requested"] = lack_the_second_line_twice
    await shop.start()
    await shop.result()

    assert asked == {1: 1, 2: 3}
    assert shop.types()[-3:] == ["payment.requested", "shipping.requested", "order.fulfilled"]
    (backordered,) = shop.of_type("shop.order.backordered")
    assert _field(backordered, "lines") == [{"line": 2, "sku": "INK", "quantity": 1}]
    requests = [event for event in shop.of_type("shop.stock.requested") if _field(event, "line") == 2]
    assert len({event.id for event in requests}) == 3
    first, second, third = (datetime.fromisoformat(event.time) for event in requests)
    assert second - first >= timedelta(seconds=5)
    assert third - second >= timedelta(seconds=10)


async def test_a_customer_may_withdraw_an_order_that_waits_for_stock(shop: Shop) -> None:
    async def lack_the_second_line(event: ResultEvent) -> None:
        await shop.answer_stock(event.id, reserved=_field(event, "line") == 1)

    shop.reactions["shop.stock.requested"] = lack_the_second_line
    await shop.start()
    await shop.waits_after("shop.order.backordered")
    await shop.handle.cancel()

    assert isinstance(await shop.failure(), CancelledError)
    # The second line has nothing to release.
    assert shop.undone() == [("shop.stock.released", shop.stock_requests()[1])]
    assert shop.types()[-1] == "order.cancelled"


async def test_a_withdrawal_during_the_payment_undoes_all_in_reverse_order(shop: Shop) -> None:
    shop.reactions["shop.payment.requested"] = nothing
    await shop.start()
    await shop.waits_after("shop.payment.requested")
    await shop.handle.cancel()

    assert isinstance(await shop.failure(), CancelledError)
    (payment,) = shop.of_type("shop.payment.requested")
    assert shop.undone() == [("shop.payment.refunded", payment.id), *shop.released()]
    assert shop.types()[-1] == "order.cancelled"


@pytest.mark.parametrize(
    "type_", ["shop.stock.requested", "shop.payment.requested", "shop.order.backordered"]
)
async def test_what_is_being_published_when_the_order_is_withdrawn_is_not_lost(
    shop: Shop, type_: str
) -> None:
    shop.reactions["shop.stock.requested"] = shop.lack if "backordered" in type_ else shop.reserve
    shop.reactions[type_] = shop.withdraw
    shop.failures[type_] = 2
    await shop.start()

    assert isinstance(await shop.failure(), CancelledError)
    wanted = {event.id for event in shop.attempts if event.type == type_}
    assert {event.id for event in shop.of_type(type_)} == wanted
    assert shop.types()[-1] == "order.cancelled"
    # Nothing that undoes a request overtakes it.
    order = [event.id for event in shop.published]
    undoing = [event for event in shop.published if "request_id" in str(event.data)]
    assert all(order.index(_field(event, "request_id")) < order.index(event.id) for event in undoing)


async def test_a_request_that_is_slow_to_publish_is_not_overtaken_by_what_undoes_it(shop: Shop) -> None:
    seen: list[WorkflowHistory] = []

    async def withdraw_during_the_first_and_hold_the_second(event: ResultEvent) -> None:
        if _field(event, "line") == 1:
            await shop.withdraw(event)
            return
        while not _moved_on_after_publishing(history := await shop.handle.fetch_history()):
            pass
        seen.append(history)

    shop.reactions["shop.stock.requested"] = withdraw_during_the_first_and_hold_the_second
    await shop.start()

    assert isinstance(await shop.failure(), CancelledError)
    (history,) = seen
    assert not _published(history, "shop.stock.released")
    assert shop.undone() == shop.released()


def _moved_on_after_publishing(history: WorkflowHistory) -> bool:
    """Whether the workflow ran after the check of the order and one more activity were done."""
    types = [event.event_type for event in history.events]
    done = [
        place for place, type_ in enumerate(types) if type_ == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED
    ]
    return len(done) >= 2 and EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED in types[done[1] :]


async def test_a_withdrawal_together_with_the_payment_undoes_the_payment(shop: Shop) -> None:
    async def capture_and_withdraw(event: ResultEvent) -> None:
        await shop.capture(event)
        await shop.withdraw(event)

    shop.reactions["shop.payment.requested"] = capture_and_withdraw
    await shop.start()

    assert isinstance(await shop.failure(), CancelledError)
    assert [type_ for type_, _ in shop.undone()] == [
        "shop.payment.refunded",
        "shop.stock.released",
        "shop.stock.released",
    ]


async def test_an_order_withdrawn_before_a_worker_took_it_is_cancelled_with_nothing_to_undo(
    idle_shop: Shop,
) -> None:
    await idle_shop.start()
    await idle_shop.handle.cancel()

    async with idle_shop.worker():
        assert isinstance(await idle_shop.failure(), CancelledError)
    assert idle_shop.types() == ["order.cancelled"]


@pytest.mark.parametrize("type_", ["shop.shipping.requested", "shop.order.fulfilled"])
async def test_a_withdrawal_comes_too_late_once_shipping_is_asked_for(shop: Shop, type_: str) -> None:
    usual = shop.reactions.get(type_, nothing)

    async def withdraw_first(event: ResultEvent) -> None:
        await shop.withdraw(event)
        await usual(event)

    shop.reactions[type_] = withdraw_first
    await shop.start()

    assert (await shop.result()).tracking == "T-1"
    assert shop.undone() == []
    assert shop.types()[-1] == "order.fulfilled"


async def test_a_declined_card_releases_the_stock_and_fails_by_name(shop: Shop) -> None:
    shop.reactions["shop.payment.requested"] = shop.decline
    await shop.start()

    assert _named(await shop.failure()) == "PaymentDeclined"
    assert shop.undone() == shop.released()
    assert shop.types()[-1] == "order.rejected"
    assert _field(shop.published[-1], "reason") == "PaymentDeclined"


@pytest.mark.parametrize("type_", ["shop.stock.released", "shop.order.rejected"])
async def test_a_withdrawal_does_not_break_the_compensation(shop: Shop, type_: str) -> None:
    shop.reactions["shop.payment.requested"] = shop.decline
    shop.reactions[type_] = shop.withdraw
    await shop.start()

    assert _named(await shop.failure()) == "PaymentDeclined"
    assert shop.undone() == shop.released()
    assert shop.types()[-1] == "order.rejected"


@pytest.mark.parametrize(
    ("asked", "undone"),
    [
        ("stock.requested", ["stock.released", "stock.released"]),
        ("payment.requested", ["payment.refunded", "stock.released", "stock.released"]),
        (
            "shipping.requested",
            ["shipping.withdrawn", "payment.refunded", "stock.released", "stock.released"],
        ),
    ],
)
async def test_a_neighbour_that_does_not_answer_in_time_ends_the_order(
    shop: Shop, asked: str, undone: list[str]
) -> None:
    shop.reactions[f"shop.{asked}"] = nothing
    await shop.start()

    assert _named(await shop.failure()) == "NoAnswer"
    last = shop.types().index(undone[0])
    assert shop.types()[last - 1] == asked
    assert shop.types()[last:] == [*undone, "order.failed"]
    request, first_undone = shop.published[last - 1 : last + 1]
    waited = datetime.fromisoformat(first_undone.time) - datetime.fromisoformat(request.time)
    assert waited >= ANSWER_TIME_LIMIT


async def test_the_first_answer_counts_and_answers_to_other_requests_do_not(shop: Shop) -> None:
    async def answer_often(event: ResultEvent) -> None:
        await shop.answer_stock("somebody else's", reserved=False)
        await shop.answer_stock(event.id, reserved=True)
        await shop.answer_stock(event.id, reserved=False)

    async def capture_then_decline(event: ResultEvent) -> None:
        for request_id in shop.stock_requests().values():
            await shop.answer_stock(request_id, reserved=False)
        await shop.decline(event.model_copy(update={"id": "somebody else's"}))
        await shop.capture(event)
        await shop.decline(event)

    shop.reactions |= {
        "shop.stock.requested": answer_often,
        "shop.payment.requested": capture_then_decline,
    }
    await shop.start()

    await shop.result()
    assert shop.undone() == []
    assert len(shop.of_type("shop.payment.requested")) == 1


async def test_answers_that_come_before_the_order_asks_are_kept(idle_shop: Shop) -> None:
    shop = idle_shop
    shop.reactions.clear()
    handle = await shop.start(
        start_signal="stock_answered",
        start_signal_args=[StockAnswer(request_id="another run's", reserved=False)],
    )
    run_id = (await handle.describe()).run_id

    def asked(type_: str, nth: int, data: dict[str, Any]) -> ResultEvent:
        id_ = result_id(
            handle.id,
            run_id,
            type_,
            nth,
            subject=shop.order.order_id,
            data={"order_id": shop.order.order_id, **data},
        )
        return ResultEvent(topic="", id=id_, source="", type=type_, subject="", time="", data=data)

    pen = {"line": 1, "sku": "PEN", "quantity": 2}
    ink = {"line": 2, "sku": "INK", "quantity": 1}
    await shop.reserve(asked("shop.stock.requested", 0, pen))
    await shop.reserve(asked("shop.stock.requested", 1, ink))
    await shop.capture(
        asked(
            "shop.payment.requested",
            0,
            {"customer_id": "C-1", "amount_cents": 1000, "card_token": "card-good"},
        )
    )
    await shop.ship(asked("shop.shipping.requested", 0, {"address": "1 Main Street", "lines": [pen, ink]}))
    async with shop.worker():
        assert (await shop.result()).tracking == "T-1"


async def test_each_attempt_to_publish_has_the_same_id(shop: Shop) -> None:
    shop.failures["shop.order.fulfilled"] = 2
    await shop.start()
    await shop.result()

    attempts = [event for event in shop.attempts if event.type == "shop.order.fulfilled"]
    assert len(attempts) == 3
    assert len({event.model_dump_json() for event in attempts}) == 1
    assert len(shop.published) == 5


async def test_an_order_whose_lines_do_not_sum_up_is_rejected_before_anything_is_asked(shop: Shop) -> None:
    shop.order = shop.order.model_copy(update={"total_cents": 999})
    await shop.start()

    assert _named(await shop.failure()) == "OrderInvalid"
    assert shop.types() == ["order.rejected"]
    assert _field(shop.published[0], "reason") == "OrderInvalid"


async def test_the_status_says_where_an_order_is_and_what_it_waits_for(shop: Shop) -> None:
    async def lack_the_second_line(event: ResultEvent) -> None:
        await shop.answer_stock(event.id, reserved=_field(event, "line") == 1)

    shop.reactions["shop.stock.requested"] = lack_the_second_line
    await shop.start()
    await shop.waits_after("shop.order.backordered")

    assert await shop.handle.query(OrderFulfilment.status) == OrderStatus(
        order_id=shop.order.order_id,
        step=Step.BACK_ORDERED,
        waits_for="stock of line 2, asks again after 0:00:05",
        reserved=(1,),
    )
    metadata = await shop.handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    assert metadata.current_details.startswith("back-ordered: waits for stock of line 2")
    await shop.handle.cancel()
    await shop.failure()
    assert (await shop.handle.query(OrderFulfilment.status)).step == Step.CANCELLED


async def test_every_signal_and_query_has_a_description(shop: Shop) -> None:
    await shop.start()
    await shop.result()

    metadata = await shop.handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    definition = metadata.definition
    handlers = [*definition.signal_definitions, *definition.query_definitions]
    own = [handler for handler in handlers if not handler.name.startswith("__")]
    assert {handler.name for handler in own} == {
        "stock_answered",
        "payment_captured",
        "payment_declined",
        "order_shipped",
        "status",
    }
    assert all(handler.description for handler in own)


async def test_a_bill_that_sums_up_passes() -> None:
    line = BillLine(quantity=2, price_cents=150)

    await ActivityEnvironment().run(check_order, Bill(lines=(line, line), total_cents=600))


@pytest.mark.parametrize(
    "change",
    [
        {"total_cents": "1000"},
        {"total_cents": 1000.0},
        {"total_cents": True},
        {"total_cents": -1},
        {"lines": []},
        {"lines": [{"sku": "PEN", "quantity": 0, "price_cents": 1}]},
        {"lines": [{"sku": "PEN", "quantity": 1, "price_cents": -1}]},
    ],
)
def test_what_is_no_order_is_refused(change: dict[str, Any]) -> None:
    order = {
        "order_id": "A-1",
        "customer_id": "C-1",
        "lines": [{"sku": "PEN", "quantity": 1, "price_cents": 1000, "colour": "blue"}],
        "total_cents": 1000,
        "address": "1 Main Street",
        "card_token": "card-good",
        "later": "events are extended",
    }
    assert Order.model_validate(order).total_cents == 1000

    with pytest.raises(ValidationError):
        Order.model_validate(order | change)
