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
from temporalio.client import (
    AsyncActivityHandle,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowHistory,
    WorkflowUpdateFailedError,
)
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.testing import ActivityEnvironment, WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from activities.calling import CallingActivities
from activities.correlation import HEADER, Seal
from activities.ports import Published, ResultEvent
from activities.publishing import PublishingActivities
from activities.shop.orders import Bill, BillLine, check_order
from workflows.shop import order_fulfilment
from workflows.shop.contracts import NewAddress, Order, OrderLine, OrderResult, OrderStatus, Step
from workflows.shop.order_fulfilment import OrderFulfilment

SEAL = Seal(["secret"])
TAKEN_BACK = tuple(f"shop.{what}.requested.cancelled" for what in ("stock", "payment", "shipping"))

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
        self.calling = CallingActivities(self, SEAL)
        self.reactions: dict[str, Reaction] = {
            "shop.stock.requested": self.reserve,
            "shop.payment.requested": self.capture,
            "shop.shipping.requested": self.ship,
        }

    async def publish(self, event: ResultEvent) -> Published:
        self.attempts.append(event)
        if event not in self.attempts[:-1]:  # a repeat has the same id, by which neighbours drop it
            await self.reactions.get(event.type, nothing)(event)
        if self.failures[event.type] > 0:
            self.failures[event.type] -= 1
            raise ConnectionError("no broker")
        if event.id not in {known.id for known in self.published}:
            self.published.append(event)
        return Published(topic=event.topic, partition=0, offset=len(self.published))

    def worker(self, **options: Any) -> Worker:
        return Worker(
            self.env.client,
            task_queue=self.task_queue,
            workflows=[OrderFulfilment],
            activities=[
                check_order,
                PublishingActivities(self).publish,
                self.calling.call,
                self.calling.take_back,
            ],
            max_cached_workflows=self.max_cached_workflows,
            **options,
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
        await self.answer(event, {"reserved": True})

    async def lack(self, event: ResultEvent) -> None:
        await self.answer(event, {"reserved": False})

    async def capture(self, event: ResultEvent) -> None:
        await self.answer(event, {})

    async def decline(self, event: ResultEvent) -> None:
        no = ApplicationError("the bank says no", type="PaymentDeclined", non_retryable=True)
        await self.waiting(event).fail(no)

    async def ship(self, event: ResultEvent) -> None:
        await self.answer(event, {"tracking": "T-1"})

    async def answer(self, event: ResultEvent, data: dict[str, Any]) -> None:
        """As a `complete` route does."""
        await self.waiting(event).complete({"request_id": event.id, **data})

    def waiting(self, event: ResultEvent) -> AsyncActivityHandle:
        """The call that waits for the answer to a request."""
        to = SEAL.opened(event.headers[HEADER])
        return self.env.client.get_async_activity_handle(
            workflow_id=to.workflow_id, run_id=None, activity_id=to.activity_id
        )

    async def withdraw(self, event: ResultEvent) -> None:
        await self.handle.cancel()

    def types(self) -> list[str]:
        return [event.type.removeprefix("shop.") for event in self.published]

    def of_type(self, type_: str) -> list[ResultEvent]:
        return [event for event in self.published if event.type == type_]

    def undone(self) -> list[tuple[str, str]]:
        """What was undone or taken back, in its order: the type and the request it names."""
        kinds = ("shop.stock.released", "shop.payment.refunded", *TAKEN_BACK)
        return [(event.type, _field(event, "request_id")) for event in self.published if event.type in kinds]

    def stock_requests(self) -> dict[int, str]:
        """The id of the last request for each line."""
        return {_field(event, "line"): event.id for event in self.of_type("shop.stock.requested")}

    def released(self) -> set[tuple[str, str]]:
        """What it means to release all lines; the last that was reserved comes first."""
        return {("shop.stock.released", request) for request in self.stock_requests().values()}

    async def is_asked(self, type_: str) -> None:
        """Return once `type_` is published."""
        async with asyncio.timeout(30):
            while not self.of_type(type_):
                await self.handle.describe()

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
        await shop.answer(event, {"reserved": _field(event, "line") == 1 or asked[2] == 3})

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
        await shop.answer(event, {"reserved": _field(event, "line") == 1})

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
    await shop.is_asked("shop.payment.requested")
    await shop.handle.cancel()

    assert isinstance(await shop.failure(), CancelledError)
    (payment,) = shop.of_type("shop.payment.requested")
    first, *others = shop.undone()
    assert first == ("shop.payment.requested.cancelled", payment.id)
    assert set(others) == shop.released()
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


async def test_a_request_that_is_slow_to_publish_is_not_overtaken_by_what_takes_it_back(shop: Shop) -> None:
    taken_back = asyncio.Event()

    async def withdraw_during_the_first_and_hold_the_second(event: ResultEvent) -> None:
        if _field(event, "line") == 1:
            await shop.withdraw(event)
        else:
            await taken_back.wait()

    async def let_go(event: ResultEvent) -> None:
        taken_back.set()

    shop.reactions["shop.stock.requested"] = withdraw_during_the_first_and_hold_the_second
    shop.reactions["shop.order.cancelled"] = let_go
    await shop.start()

    assert isinstance(await shop.failure(), CancelledError)
    requests = shop.stock_requests()
    assert {id_ for _, id_ in shop.undone()} == set(requests.values())
    order = [event.id for event in shop.published]
    for event in shop.of_type("shop.stock.requested.cancelled"):
        assert order.index(_field(event, "request_id")) < order.index(event.id)


async def test_a_withdrawal_together_with_the_payment_undoes_the_payment(idle_shop: Shop) -> None:
    shop = idle_shop
    shop.reactions["shop.payment.requested"] = nothing
    await shop.start()
    cached, shop.max_cached_workflows = shop.max_cached_workflows, 0  # so that the next worker takes over
    async with shop.worker():
        await shop.is_asked("shop.payment.requested")
    shop.max_cached_workflows = cached
    (payment,) = shop.of_type("shop.payment.requested")
    attempt = next(event for event in shop.attempts if event.id == payment.id)
    await shop.capture(attempt)
    await shop.handle.cancel()

    async with shop.worker():
        assert isinstance(await shop.failure(), CancelledError)
    first, *others = shop.undone()
    assert first in {("shop.payment.refunded", payment.id), ("shop.payment.requested.cancelled", payment.id)}
    assert set(others) == shop.released()


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
    assert set(shop.undone()) == shop.released()
    assert shop.types()[-1] == "order.rejected"
    assert _field(shop.published[-1], "reason") == "PaymentDeclined"


@pytest.mark.parametrize("type_", ["shop.stock.released", "shop.order.rejected"])
async def test_a_withdrawal_does_not_break_the_compensation(shop: Shop, type_: str) -> None:
    shop.reactions["shop.payment.requested"] = shop.decline
    shop.reactions[type_] = shop.withdraw
    await shop.start()

    assert _named(await shop.failure()) == "PaymentDeclined"
    assert set(shop.undone()) == shop.released()
    assert shop.types()[-1] == "order.rejected"


@pytest.mark.parametrize("silent", ["stock", "payment", "shipping"])
async def test_a_neighbour_that_does_not_answer_in_time_ends_the_order(
    idle_shop: Shop, silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Real time, since the server skips none while an activity waits; and the module as this test has it.
    monkeypatch.setattr(order_fulfilment, "ANSWER_TIME_LIMIT", timedelta(milliseconds=500))
    shop = idle_shop
    shop.reactions[f"shop.{silent}.requested"] = nothing
    await shop.start()

    async with shop.worker(workflow_runner=UnsandboxedWorkflowRunner()):
        assert _named(await shop.failure()) == "NoAnswer"
    asked = [event.id for event in shop.of_type(f"shop.{silent}.requested")]
    taken_back = [(f"shop.{silent}.requested.cancelled", id_) for id_ in asked]
    assert sorted(shop.undone()[: len(asked)]) == sorted(taken_back)
    others = {type_ for type_, _ in shop.undone()[len(asked) :]}
    done_before = {"stock": set(), "payment": {"shop.stock.released"}}
    assert others == done_before.get(silent, {"shop.payment.refunded", "shop.stock.released"})
    assert shop.types()[-1] == "order.failed"
    assert _field(shop.published[-1], "reason") == "NoAnswer"


async def test_the_address_changes_until_the_parcel_is_on_its_way(shop: Shop) -> None:
    async def move_first(event: ResultEvent) -> None:
        await change_to("2 Side Street")
        await shop.capture(event)

    async def move_too_late(event: ResultEvent) -> None:
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await change_to("3 Back Street")
        refusals.append(refused.value.cause)
        await shop.ship(event)

    async def change_to(address: str) -> None:
        await shop.handle.execute_update(OrderFulfilment.change_address, NewAddress(address=address))

    refusals: list[BaseException] = []
    shop.reactions |= {"shop.payment.requested": move_first, "shop.shipping.requested": move_too_late}
    await shop.start()

    await shop.result()
    (parcel,) = shop.of_type("shop.shipping.requested")
    assert _field(parcel, "address") == "2 Side Street"
    assert [(_named(refusal), str(refusal)) for refusal in refusals] == [
        ("TooLate", "TooLate: the order is shipping already")
    ]


async def test_each_attempt_to_publish_has_the_same_id(shop: Shop) -> None:
    shop.failures["shop.order.fulfilled"] = 2
    await shop.start()
    await shop.result()

    attempts = [event for event in shop.attempts if event.type == "shop.order.fulfilled"]
    assert len(attempts) == 3
    # Each but the first says that there was one before.
    assert [bool(event.tried_since) for event in attempts] == [False, True, True]
    assert len({event.model_dump_json(exclude={"tried_since"}) for event in attempts}) == 1
    assert len(shop.published) == 5


async def test_an_order_whose_lines_do_not_sum_up_is_rejected_before_anything_is_asked(shop: Shop) -> None:
    shop.order = shop.order.model_copy(update={"total_cents": 999})
    await shop.start()

    assert _named(await shop.failure()) == "OrderInvalid"
    assert shop.types() == ["order.rejected"]
    assert _field(shop.published[0], "reason") == "OrderInvalid"


async def test_the_status_says_where_an_order_is_and_what_it_waits_for(shop: Shop) -> None:
    async def lack_the_second_line(event: ResultEvent) -> None:
        await shop.answer(event, {"reserved": _field(event, "line") == 1})

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


async def test_every_update_and_query_has_a_description(shop: Shop) -> None:
    await shop.start()
    await shop.result()

    metadata = await shop.handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    definition = metadata.definition
    handlers = [*definition.update_definitions, *definition.query_definitions]
    own = [handler for handler in handlers if not handler.name.startswith("__")]
    assert {handler.name for handler in own} == {"change_address", "status"}
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
