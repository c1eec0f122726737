"""The dispatcher, by the requests that the real client puts on the wire and the answers it gets."""

import asyncio
import json
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID, uuid4, uuid5

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st
from temporalio.api.common.v1 import GrpcStatus, Memo, Payload
from temporalio.api.enums.v1 import IndexedValueType, WorkflowExecutionStatus, WorkflowIdReusePolicy
from temporalio.api.errordetails.v1 import WorkflowExecutionAlreadyStartedFailure
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionResponse,
    StartWorkflowExecutionRequest,
    StartWorkflowExecutionResponse,
)
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import decode_typed_search_attributes
from temporalio.service import ConnectConfig, RPCError, RPCStatusCode, ServiceClient

from service.dispatch.answers import Outcome, OutcomeKind
from service.dispatch.callbacks import Callbacks
from service.dispatch.contracts import Contracts
from service.dispatch.dispatcher import Dispatcher
from service.dispatch.identity import TURNOUT, IdentityPlugin, command_id, derived_id
from service.dispatch.links import NOWHERE, Links
from service.dispatch.requests import AttributeNames
from service.errors import NotNow, RejectedError, TargetMissing
from service.routing.commands import Cancel, Command, OrStart, Rule, Signal, Start, StartOptions
from service.temporal.closed import MEMO
from tests.unit.records import event, record

Response = TypeVar("Response", bound=Message)

START, SIGNAL, CANCEL = (
    "start_workflow_execution",
    "signal_workflow_execution",
    "request_cancel_workflow_execution",
)
SIGNAL_WITH_START, DESCRIBE = "signal_with_start_workflow_execution", "describe_workflow_execution"
MISSING = RPCError("workflow not found for ID: order/A-1", RPCStatusCode.NOT_FOUND, b"")
CLOSED = RPCError("workflow execution already completed", RPCStatusCode.NOT_FOUND, b"")
TYPES = {
    "Word": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    "Prose": IndexedValueType.INDEXED_VALUE_TYPE_TEXT,
    "Count": IndexedValueType.INDEXED_VALUE_TYPE_INT,
    "Share": IndexedValueType.INDEXED_VALUE_TYPE_DOUBLE,
    "Flag": IndexedValueType.INDEXED_VALUE_TYPE_BOOL,
    "Moment": IndexedValueType.INDEXED_VALUE_TYPE_DATETIME,
    "Words": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST,
}


class Wire(ServiceClient):
    """Records requests; answers as scripted, else as a server to which all is new."""

    def __init__(self) -> None:
        super().__init__(ConnectConfig(target_host="nowhere"))
        self.requests: list[tuple[str, Any]] = []
        self.retried: list[bool] = []
        self.answers: defaultdict[str, deque[Any]] = defaultdict(deque)

    async def _rpc_call(
        self,
        rpc: str,
        req: Message,
        resp_type: type[Response],
        *,
        service: str,
        retry: bool,
        metadata: Mapping[str, str | bytes],
        timeout: timedelta | None,  # noqa: ASYNC109 - the SDK's word
    ) -> Response:
        assert timeout, "without one, the SDK waits 30 s"
        self.retried.append(retry)
        await asyncio.sleep(0)
        self.requests.append((rpc, req))
        if scripted := self.answers[rpc]:
            answer = scripted.popleft()
            if isinstance(answer, Exception):
                raise answer
            assert isinstance(answer, resp_type)
            return answer
        return resp_type(run_id=run_id()) if "run_id" in resp_type.DESCRIPTOR.fields_by_name else resp_type()

    @property
    def calls(self) -> list[str]:
        return [rpc for rpc, _ in self.requests]

    @property
    def request(self) -> Any:
        """The only one."""
        ((_, request),) = self.requests
        return request

    @property
    def worker_service_client(self) -> Any:
        raise NotImplementedError

    def update_rpc_metadata(self, metadata: Mapping[str, str | bytes]) -> None:
        raise NotImplementedError

    def update_api_key(self, api_key: str | None) -> None:
        raise NotImplementedError


def run_id(age: timedelta = timedelta(seconds=-1)) -> str:
    """A UUIDv7 as the server makes them; by default a little in the future."""
    ms = int((datetime.now(UTC) - age).timestamp() * 1000)
    return str(UUID(int=(ms << 80) | (7 << 76) | (2 << 62) | (uuid4().int & ((1 << 62) - 1))))


def already_started() -> RPCError:
    raw = GrpcStatus(code=6, message="already started")
    raw.details.add().Pack(WorkflowExecutionAlreadyStartedFailure(run_id=run_id()))
    return RPCError("already started", RPCStatusCode.ALREADY_EXISTS, raw.SerializeToString())


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
async def dispatcher(wire: Wire) -> Dispatcher:
    return await connected(wire)


async def connected(
    wire: Wire,
    names: AttributeNames | None = None,
    eager_queues: frozenset[str] = frozenset(),
    callbacks: Callbacks | None = None,
    links: Links = NOWHERE,
) -> Dispatcher:
    async def connect(_config: ConnectConfig) -> ServiceClient:
        return wire

    service_client = await IdentityPlugin().connect_service_client(wire.config, connect)

    def client(namespace: str | None) -> Client:
        return Client(
            service_client, namespace=namespace or "default", data_converter=pydantic_data_converter
        )

    return Dispatcher(
        client,
        Contracts([]),
        names=names,
        attribute_types=TYPES,
        eager_queues=eager_queues,
        callbacks=callbacks,
        links=links,
        group="shop",
    )


EVENT = event(of=record(1042, partition=2))


def start(options: StartOptions | None = None) -> Start:
    return Start(
        route="order-placed",
        event=EVENT,
        workflow_id="order/A-1",
        workflow="OrderFulfilment",
        task_queue="orders",
        args=({"total": 12},),
        options=options or StartOptions(),
    )


def signal(or_start: OrStart | None = None) -> Signal:
    return Signal(
        route="order-placed",
        event=EVENT,
        workflow_id="order/A-1",
        name="paid",
        args=({"total": 12},),
        or_start=or_start,
    )


def cancel() -> Cancel:
    return Cancel(route="order-placed", event=EVENT, workflow_id="order/A-1", reason="withdrawn")


def skipping(command: Command, rule: str) -> Command:
    options: dict[str, Any] = {rule: Rule.SKIP}
    return replace(command, **options)


OR_START = OrStart(workflow="Customer", task_queue="customers", args=("c-7",))


async def memo_of(request: StartWorkflowExecutionRequest) -> dict[str, Any]:
    (memo,) = await pydantic_data_converter.decode([request.memo.fields[MEMO]])
    assert isinstance(memo, dict)
    return memo


def described(memo: Memo | None, *, running: bool = True) -> DescribeWorkflowExecutionResponse:
    response = DescribeWorkflowExecutionResponse()
    response.workflow_execution_info.execution.workflow_id = "order/A-1"
    response.workflow_execution_info.type.name = "OrderFulfilment"
    response.workflow_execution_info.status = (
        WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING
        if running
        else WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_COMPLETED
    )
    if memo:
        response.workflow_execution_info.memo.CopyFrom(memo)
    return response


# --- ids ---


def test_ids_stay_what_they_were_in_earlier_releases() -> None:
    """They may never change: every redelivered event would take effect again."""
    placed = derived_id(("/shop", "e-1"), "order-placed", "start")
    mapped = derived_id(("cluster-1", "payments", 2, 1042, 1_790_000_000_000), "bezahlt-ä", "signal")
    assert str(placed) == "6c18b749-4057-5392-8ae3-74df8b822ff0"
    assert str(mapped) == "046a54d1-1268-595d-8ab3-8d8d66b65a81"


# Offsets and times fit 64 bits; what is not UTF-8 was refused when it was decoded.
EVENT_KEYS = st.lists(st.text() | st.integers(-(2**63), 2**63 - 1), max_size=5).map(tuple)


@given(EVENT_KEYS, st.text(), st.sampled_from(["start", "signal", "cancel", "complete"]))
def test_an_id_is_uuid5_over_json_without_spaces(key: Any, route: str, kind: str) -> None:
    text = json.dumps([list(key), route, kind], ensure_ascii=False, separators=(",", ":"))
    assert derived_id(key, route, kind) == uuid5(TURNOUT, text)


@given(
    st.lists(
        st.tuples(EVENT_KEYS, st.text(), st.text()),
        unique=True,
        min_size=2,
        max_size=2,
    )
)
def test_other_events_routes_or_kinds_have_other_ids(parts: list[tuple[Any, str, str]]) -> None:
    one, other = (derived_id(*three) for three in parts)
    assert one != other


@pytest.mark.parametrize(
    ("command", "rpc", "kind"),
    [(start(), START, "start"), (signal(), SIGNAL, "signal"), (cancel(), CANCEL, "cancel")],
)
async def test_the_id_of_a_command_is_the_request_id_of_its_call_each_time(
    wire: Wire, dispatcher: Dispatcher, command: Command, rpc: str, kind: str
) -> None:
    for _ in range(2):
        await dispatcher.dispatch(command)
    sent = [request.request_id for called, request in wire.requests if called == rpc]
    assert sent == [str(derived_id(EVENT.key, "order-placed", kind))] * 2


async def test_a_signal_has_one_id_whether_it_starts_or_not(wire: Wire, dispatcher: Dispatcher) -> None:
    wire.answers[SIGNAL].append(MISSING)
    outcome = await dispatcher.dispatch(signal(OR_START))
    assert wire.calls == [SIGNAL, SIGNAL_WITH_START]
    assert {request.request_id for _, request in wire.requests} == {str(command_id(signal()))}
    assert outcome.kind is OutcomeKind.ACCEPTED


async def test_concurrent_commands_do_not_mix_their_ids(wire: Wire, dispatcher: Dispatcher) -> None:
    commands: list[Command] = []
    for n in range(20):
        fact = event(f"e-{n}")
        commands += [
            replace(start(), event=fact, workflow_id=f"start/{n}"),
            replace(signal(OR_START), event=fact, workflow_id=f"signal/{n}"),
        ]
    wire.answers[SIGNAL].extend([MISSING] * 20)
    await asyncio.gather(*map(dispatcher.dispatch, commands))
    wanted = {command.workflow_id: str(command_id(command)) for command in commands}
    for rpc, request in wire.requests:
        target = request.workflow_execution.workflow_id if rpc == SIGNAL else request.workflow_id
        assert request.request_id == wanted[target]
    assert len(wire.requests) == 60


async def test_calls_outside_a_dispatch_keep_their_random_ids(wire: Wire, dispatcher: Dispatcher) -> None:
    await dispatcher.dispatch(signal())
    client = Client(wire, data_converter=pydantic_data_converter)
    await client.get_workflow_handle("order/A-1").signal("paid", rpc_timeout=timedelta(seconds=1))
    (_, ours), (_, other) = wire.requests
    assert ours.request_id != other.request_id != ""


# --- what a call carries ---


async def test_a_start_carries_what_the_operator_and_the_next_attempt_need(
    wire: Wire, dispatcher: Dispatcher
) -> None:
    given = start(StartOptions(memo={"team": "shop"}, priority=2, execution_timeout=timedelta(days=1)))
    outcome = await dispatcher.dispatch(given)
    request = wire.request
    assert outcome == Outcome(OutcomeKind.ACCEPTED, "order-placed", "order/A-1")
    assert (request.workflow_id, request.workflow_type.name) == ("order/A-1", "OrderFulfilment")
    assert request.task_queue.name == "orders"
    assert request.priority.priority_key == 2
    assert request.workflow_execution_timeout.ToTimedelta() == timedelta(days=1)
    memo = await memo_of(request)
    assert memo.pop("by").endswith(" shop.orders[2]@1042")
    assert memo == {
        "id": str(command_id(given)),
        "event": "e-1",
        "source": "/shop",
        "type": "shop.order.placed",
        "route": "order-placed",
        "record": "shop.orders[2]@1042",
    }
    assert await pydantic_data_converter.decode([request.memo.fields["team"]]) == ["shop"]
    summary, details = await texts(request)
    assert summary == "shop.order.placed from shop.orders[2]@1042"
    assert details.splitlines() == [
        "- **event**: `e-1`",
        "- **source**: `/shop`",
        "- **route**: `order-placed`",
        "- **record**: `shop.orders[2]@1042`",
    ]


async def texts(request: StartWorkflowExecutionRequest) -> list[Any]:
    metadata = request.user_metadata
    return await pydantic_data_converter.decode([metadata.summary, metadata.details])


async def test_a_closed_id_is_never_started_again(wire: Wire, dispatcher: Dispatcher) -> None:
    wire.answers[SIGNAL].append(MISSING)
    await dispatcher.dispatch(start())
    await dispatcher.dispatch(signal(OR_START))
    policies = {rpc: request.workflow_id_reuse_policy for rpc, request in wire.requests if rpc != SIGNAL}
    rejecting = WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE
    assert policies == {START: rejecting, SIGNAL_WITH_START: rejecting}


@given(st.text("aé😀", min_size=60, max_size=400))
async def test_a_summary_is_cut_to_200_bytes_between_characters(summary: str) -> None:
    wire = Wire()
    await (await connected(wire)).dispatch(start(StartOptions(summary=summary)))
    sent = (await texts(wire.request))[0]
    assert summary.startswith(sent)
    assert len(sent.encode()) <= 200
    assert sent == summary or len(sent.encode()) > 196


async def test_a_signal_that_may_start_is_a_plain_signal_first(wire: Wire, dispatcher: Dispatcher) -> None:
    await dispatcher.dispatch(signal(OR_START))
    assert wire.calls == [SIGNAL]
    assert (wire.request.signal_name, len(wire.request.input.payloads)) == ("paid", 1)


async def test_a_signal_that_starts_carries_both_inputs(wire: Wire, dispatcher: Dispatcher) -> None:
    wire.answers[SIGNAL].append(MISSING)
    await dispatcher.dispatch(signal(OR_START))
    request = wire.requests[-1][1]
    assert (request.workflow_type.name, request.task_queue.name) == ("Customer", "customers")
    assert await pydantic_data_converter.decode(request.signal_input.payloads) == [{"total": 12}]
    assert await pydantic_data_converter.decode(request.input.payloads) == ["c-7"]


async def test_a_cancel_carries_its_reason(wire: Wire, dispatcher: Dispatcher) -> None:
    await dispatcher.dispatch(cancel())
    assert wire.calls == [CANCEL, DESCRIBE]
    request = wire.requests[0][1]
    assert (request.reason, request.workflow_execution.workflow_id) == ("withdrawn", "order/A-1")


async def test_a_command_goes_to_its_namespace(wire: Wire, dispatcher: Dispatcher) -> None:
    await dispatcher.dispatch(replace(signal(), namespace="payments"))
    assert wire.request.namespace == "payments"


@pytest.mark.parametrize(
    ("start_at", "least", "most"),
    [(timedelta(hours=-1), 0, 0), (timedelta(0), 0, 0), (timedelta(hours=1), 3_590, 3_600)],
)
async def test_a_start_in_the_past_is_a_start_now(
    wire: Wire, dispatcher: Dispatcher, start_at: timedelta, least: int, most: int
) -> None:
    await dispatcher.dispatch(start(StartOptions(start_at=datetime.now(UTC) + start_at)))
    delay = wire.request.workflow_start_delay.ToTimedelta().total_seconds()
    assert least <= delay <= most
    assert wire.request.HasField("workflow_start_delay") == (most > 0)


@pytest.mark.parametrize(
    ("command", "eager"),
    [
        (start(), True),
        (replace(start(), task_queue="elsewhere"), False),
        (replace(start(), namespace="payments"), False),
        (start(StartOptions(start_delay=timedelta(minutes=1))), False),
    ],
)
async def test_a_start_is_eager_where_our_worker_polls_its_queue_now(
    wire: Wire, command: Start, eager: bool
) -> None:
    await (await connected(wire, eager_queues=frozenset({"orders"}))).dispatch(command)
    assert wire.request.request_eager_execution is eager
    # What the SDK calls once, it calls past the client that takes up the task of an eager start.
    assert wire.retried == [eager]


async def test_a_call_of_a_command_is_made_once_since_its_lane_repeats_it(
    wire: Wire, dispatcher: Dispatcher
) -> None:
    for command in (start(), signal(), cancel()):
        await dispatcher.dispatch(command)
    wire.answers[SIGNAL].append(MISSING)
    await dispatcher.dispatch(signal(or_start=OrStart(workflow="Customer", task_queue="customers")))
    assert wire.calls == [START, SIGNAL, CANCEL, DESCRIBE, SIGNAL, SIGNAL_WITH_START]
    assert not any(wire.retried)


# --- search attributes ---


async def test_each_search_attribute_goes_in_its_registered_type(wire: Wire, dispatcher: Dispatcher) -> None:
    values = {
        "Word": "w",
        "Prose": "some prose",
        "Count": 3,
        "Share": 3,
        "Flag": True,
        "Moment": "2026-01-31T12:00:00Z",
        "Words": ["a", "b"],
    }
    await dispatcher.dispatch(start(StartOptions(search_attributes=values)))
    sent = decode_typed_search_attributes(wire.request.search_attributes)
    assert {pair.key.name: (pair.key.indexed_value_type.name, pair.value) for pair in sent} == {
        "Word": ("KEYWORD", "w"),
        "Prose": ("TEXT", "some prose"),
        "Count": ("INT", 3),
        "Share": ("DOUBLE", 3.0),
        "Flag": ("BOOL", True),
        "Moment": ("DATETIME", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        "Words": ("KEYWORD_LIST", ["a", "b"]),
    }


WRONG: list[tuple[str, Any]] = [
    ("Word", 1),
    ("Word", ["a"]),
    ("Prose", True),
    ("Count", "1"),
    ("Count", 1.5),
    ("Count", True),
    ("Share", "1"),
    ("Flag", 1),
    ("Moment", "MARKER"),
    ("Moment", "2026-01-31T12:00:00"),
    ("Moment", 1_790_000_000),
    ("Words", "a"),
    ("Words", ["a", 1]),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
async def test_a_value_that_does_not_fit_its_registered_type_is_refused(
    wire: Wire, dispatcher: Dispatcher, name: str, value: object
) -> None:
    with pytest.raises(RejectedError, match=f"search attribute {name} is registered as") as refused:
        await dispatcher.dispatch(start(StartOptions(search_attributes={name: value})))
    assert wire.requests == []
    assert "MARKER" not in str(refused.value)


async def test_our_own_attributes_are_keywords_that_fit_their_column(wire: Wire) -> None:
    dispatcher = await connected(wire, AttributeNames(event_id="ShopEventId"))
    await dispatcher.dispatch(replace(start(), event=event("é" * 300 + "\n", of=EVENT.record)))
    sent = decode_typed_search_attributes(wire.request.search_attributes)
    assert {pair.key.name: (pair.key.indexed_value_type.name, pair.value) for pair in sent} == {
        "TurnoutRoute": ("KEYWORD", "order-placed"),
        "TurnoutEventType": ("KEYWORD", "shop.order.placed"),
        "ShopEventId": ("KEYWORD", "é" * 255),
        "TurnoutRecord": ("KEYWORD", "shop.orders[2]@1042"),
    }


# --- answers and rules ---


@pytest.mark.parametrize(
    ("command", "state"),
    [
        (signal(), MISSING),
        (signal(), CLOSED),
        (signal(OR_START), CLOSED),
        (cancel(), MISSING),
        (cancel(), CLOSED),
    ],
)
async def test_a_target_that_is_not_as_expected_is_a_letter_unless_its_rule_says_skip(
    wire: Wire, dispatcher: Dispatcher, command: Signal | Cancel, state: RPCError
) -> None:
    wire.answers[SIGNAL].extend([state] * 3)
    wire.answers[CANCEL].extend([state] * 3)
    rule, other = ("missing", "closed") if state is MISSING else ("closed", "missing")
    with pytest.raises(RejectedError, match=f"write `{rule}: skip` in route order-placed") as refused:
        await dispatcher.dispatch(command)
    assert refused.value.rule == rule
    with pytest.raises(RejectedError):
        await dispatcher.dispatch(skipping(command, other))
    outcome = await dispatcher.dispatch(skipping(command, rule))
    assert (outcome.kind, outcome.rule) == (OutcomeKind.SKIPPED, rule)
    assert SIGNAL_WITH_START not in wire.calls


@pytest.mark.parametrize("command", [signal(), cancel()])
async def test_a_target_that_is_missing_is_waited_for_as_long_as_its_rule_says(
    wire: Wire, dispatcher: Dispatcher, command: Signal | Cancel
) -> None:
    for rpc in (SIGNAL, CANCEL):
        wire.answers[rpc].extend([MISSING, CLOSED])
    parking = replace(command, missing=timedelta(minutes=15))
    with pytest.raises(TargetMissing, match="order/A-1 does not exist") as missing:
        await dispatcher.dispatch(parking)
    assert missing.value.park_for == timedelta(minutes=15)
    with pytest.raises(RejectedError, match="has closed"):
        await dispatcher.dispatch(parking)


async def test_a_signal_that_finds_its_target_closed_only_when_it_starts_follows_the_rule(
    wire: Wire, dispatcher: Dispatcher
) -> None:
    wire.answers[SIGNAL].append(MISSING)
    wire.answers[SIGNAL_WITH_START].append(already_started())
    outcome = await dispatcher.dispatch(skipping(signal(OR_START), "closed"))
    assert outcome.kind is OutcomeKind.SKIPPED


@pytest.mark.parametrize(("rule", "running"), [("running", True), ("closed", False)])
async def test_a_workflow_that_another_event_started_is_a_letter_unless_its_rule_says_skip(
    wire: Wire, dispatcher: Dispatcher, rule: str, *, running: bool
) -> None:
    other = "closed" if running else "running"
    wire.answers[START].extend([already_started()] * 3)
    wire.answers[DESCRIBE].extend([described(None, running=running)] * 3)
    with pytest.raises(RejectedError, match=f"write `{rule}: skip`"):
        await dispatcher.dispatch(start())
    with pytest.raises(RejectedError):
        await dispatcher.dispatch(skipping(start(), other))
    outcome = await dispatcher.dispatch(skipping(start(), rule))
    assert (outcome.kind, outcome.rule) == (OutcomeKind.SKIPPED, rule)


@pytest.mark.parametrize("answer", ["already started", "the run of the first call"])
@pytest.mark.parametrize("running", [True, False])
async def test_a_repeated_start_is_told_apart_by_the_memo(
    wire: Wire, dispatcher: Dispatcher, answer: str, *, running: bool
) -> None:
    await dispatcher.dispatch(start())
    memo = wire.request.memo
    refused = already_started() if answer == "already started" else None
    first_run = StartWorkflowExecutionResponse(run_id=run_id(timedelta(seconds=10)))

    async def again(by: Dispatcher) -> Outcome:
        wire.answers[START].append(refused or first_run)
        wire.answers[DESCRIBE].append(described(memo, running=running))
        return await by.dispatch(start())

    # This process, for this record: an attempt whose answer was lost.
    assert (await again(dispatcher)).kind is OutcomeKind.ACCEPTED
    duplicate = await again(await connected(wire))
    assert (duplicate.kind, duplicate.of_other) == (OutcomeKind.DUPLICATE, False)


async def test_the_same_event_in_another_record_is_a_duplicate(wire: Wire, dispatcher: Dispatcher) -> None:
    await dispatcher.dispatch(start())
    memo = wire.request.memo
    wire.answers[START].append(already_started())
    wire.answers[DESCRIBE].append(described(memo))
    repeated = replace(start(), event=event(of=record(2000, partition=2)))
    outcome = await dispatcher.dispatch(repeated)
    assert (outcome.kind, outcome.of_other) == (OutcomeKind.DUPLICATE, True)
    assert "shop.orders[2]@1042" in outcome.detail


def of_a_later_run() -> DescribeWorkflowExecutionResponse:
    """As the Java SDK leaves it behind: without the memo that the first run was started with."""
    response = described(None)
    response.workflow_execution_info.execution.run_id = "second"
    response.workflow_execution_info.first_run_id = "first"
    return response


async def test_what_a_later_run_does_not_know_of_its_start_the_first_run_does(
    wire: Wire, dispatcher: Dispatcher
) -> None:
    await dispatcher.dispatch(start())
    memo = wire.request.memo
    wire.answers[START].append(already_started())
    wire.answers[DESCRIBE] += [of_a_later_run(), described(memo)]
    assert (await (await connected(wire)).dispatch(start())).kind is OutcomeKind.DUPLICATE
    assert wire.requests[-1][1].execution.run_id == "first"


async def test_the_answer_of_the_first_call_is_known_again_by_the_first_run(
    wire: Wire, dispatcher: Dispatcher
) -> None:
    await dispatcher.dispatch(start())
    memo = wire.request.memo
    wire.answers[START].append(StartWorkflowExecutionResponse(run_id=run_id(timedelta(seconds=10))))
    wire.answers[DESCRIBE] += [of_a_later_run(), described(memo)]
    assert (await dispatcher.dispatch(start())).kind is OutcomeKind.ACCEPTED


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("json/plain", b'"hello"'),
        ("json/plain", b"[1]"),
        ("json/plain", b"{"),
        ("json/plain", b"[" * 100_000),
        ("binary/null", b""),
        ("binary/encrypted", b"?"),
        ("of/somebody", b"{}"),
    ],
)
async def test_what_another_keeps_in_a_memo_of_our_name_is_none_of_ours(
    wire: Wire, dispatcher: Dispatcher, encoding: str, data: bytes
) -> None:
    memo = Memo(fields={MEMO: Payload(metadata={"encoding": encoding.encode()}, data=data)})
    wire.answers[START].append(already_started())
    wire.answers[DESCRIBE].append(described(memo))
    with pytest.raises(RejectedError, match="write `running: skip`"):
        await dispatcher.dispatch(start())


async def test_a_first_run_that_temporal_has_forgotten_leaves_it_to_the_rule(
    wire: Wire, dispatcher: Dispatcher
) -> None:
    wire.answers[START].append(already_started())
    wire.answers[DESCRIBE] += [of_a_later_run(), MISSING]
    with pytest.raises(RejectedError, match="write `running: skip`"):
        await dispatcher.dispatch(start())


async def test_a_first_run_that_cannot_be_asked_now_is_asked_again(
    wire: Wire, dispatcher: Dispatcher
) -> None:
    wire.answers[START].append(already_started())
    wire.answers[DESCRIBE] += [of_a_later_run(), RPCError("away", RPCStatusCode.UNAVAILABLE, b"")]
    with pytest.raises(NotNow, match="UNAVAILABLE"):
        await dispatcher.dispatch(start())


async def test_a_fresh_start_asks_nothing_more(wire: Wire, dispatcher: Dispatcher) -> None:
    await dispatcher.dispatch(start())
    assert wire.calls == [START]


@pytest.mark.parametrize("command", [start(), signal(), signal(OR_START), cancel()])
@pytest.mark.parametrize(
    "status", [s for s in RPCStatusCode if s not in (RPCStatusCode.OK, RPCStatusCode.NOT_FOUND)]
)
async def test_an_answer_that_the_table_does_not_name_is_not_now(
    wire: Wire, dispatcher: Dispatcher, command: Command, status: RPCStatusCode
) -> None:
    for rpc in (START, SIGNAL, CANCEL):
        wire.answers[rpc].append(RPCError("who knows", status, b""))
    with pytest.raises(NotNow, match=status.name):
        await dispatcher.dispatch(command)


async def test_a_workflow_that_vanished_before_it_was_described_is_asked_again(
    wire: Wire, dispatcher: Dispatcher
) -> None:
    wire.answers[START].append(already_started())
    wire.answers[DESCRIBE].append(MISSING)
    with pytest.raises(NotNow):
        await dispatcher.dispatch(start())


async def test_an_answer_of_the_closed_list_is_a_letter(wire: Wire, dispatcher: Dispatcher) -> None:
    wire.answers[START].append(RPCError("Blob data size exceeds limit.", RPCStatusCode.INVALID_ARGUMENT, b""))
    with pytest.raises(RejectedError, match="Blob data size"):
        await dispatcher.dispatch(start())


# --- what the inbox is told ---


@pytest.mark.parametrize("or_start", [None, OrStart(workflow="Customer", task_queue="customers")])
async def test_a_signal_tells_the_inbox_its_ids_as_raw_bytes(
    wire: Wire, dispatcher: Dispatcher, or_start: OrStart | None
) -> None:
    if or_start:
        wire.answers[SIGNAL].append(MISSING)
    events = [event(f"e-{n}") for n in range(3)]
    batch = Signal(
        route="points", event=events[0], workflow_id="c", name="earned", args=([1, 2, 3],), batch=True,
        others=events[1:], or_start=or_start,
    )  # fmt: skip
    await dispatcher.dispatch(batch)
    ids = [derived_id(e.key, "points", "signal") for e in events]
    for rpc, request in wire.requests:
        assert rpc in {SIGNAL, SIGNAL_WITH_START}
        assert request.header.fields["turnout-id"].data == b"".join(i.bytes for i in ids)
        assert request.request_id == str(command_id(batch))


async def test_a_batch_of_one_has_the_id_of_its_event(wire: Wire, dispatcher: Dispatcher) -> None:
    one = Signal(route="points", event=event(), workflow_id="c", name="earned", args=([1],), batch=True)
    await dispatcher.dispatch(one)
    assert wire.request.request_id == str(derived_id(event().key, "points", "signal"))


async def test_a_start_tells_no_inbox(wire: Wire, dispatcher: Dispatcher) -> None:
    await dispatcher.dispatch(
        Start(route="placed", event=event(), workflow_id="o", workflow="Order", task_queue="q", args=())
    )
    assert not wire.request.header.fields


# --- being told how it ended ---


@pytest.mark.parametrize("namespace", [None, "payments"])
async def test_a_start_that_is_to_be_told_of_asks_for_a_callback_and_notes_the_topic(
    wire: Wire, namespace: str | None
) -> None:
    callbacks = Callbacks("http://here/", ["s3cret"])
    dispatcher = await connected(wire, callbacks=callbacks)
    await dispatcher.dispatch(replace(start(), publish_closing="shop.results", namespace=namespace))
    asked = callbacks.asked_for(namespace or "default", "order/A-1", "shop.results")
    assert list(wire.request.completion_callbacks) == [asked]
    memo = await memo_of(wire.request)
    assert (memo["closing"], memo["group"]) == ("shop.results", "shop")


async def test_without_callbacks_only_the_topic_is_noted(wire: Wire) -> None:
    dispatcher = await connected(wire)
    await dispatcher.dispatch(replace(start(), publish_closing="shop.results"))
    assert not wire.request.completion_callbacks
    assert (await memo_of(wire.request))["closing"] == "shop.results"


async def test_other_commands_ask_for_no_callback(wire: Wire) -> None:
    dispatcher = await connected(wire, callbacks=Callbacks("http://here/", ["s3cret"]))
    for command in (start(), signal(), replace(cancel(), closed=Rule.SKIP)):
        await dispatcher.dispatch(command)
    asked = [getattr(request, "completion_callbacks", ()) for _, request in wire.requests]
    assert not any(asked)
    assert "closing" not in await memo_of(wire.requests[0][1])
