"""How commands get into parks, by the requests on the wire and what Temporal answers to them."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from temporalio.api.common.v1 import GrpcStatus
from temporalio.api.enums.v1 import (
    ResourceExhaustedCause,
    WorkflowExecutionStatus,
    WorkflowIdConflictPolicy,
    WorkflowIdReusePolicy,
)
from temporalio.api.errordetails.v1 import ResourceExhaustedFailure
from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsResponse,
    DescribeWorkflowExecutionResponse,
    ListWorkflowExecutionsResponse,
)
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError, RPCStatusCode

from activities.parked import Parked
from service.dispatch.identity import IdentityPlugin, command_id
from service.dispatch.links import Links
from service.errors import NotNow, RejectedError, TargetBusy, Throttled
from service.failures.parks import (
    LARGEST_HISTORY_BYTES,
    LARGEST_SIGNAL_BYTES,
    LONGEST_HISTORY,
    MOST_BYTES,
    MOST_COMMANDS,
    Parks,
    TooLargeToPark,
)
from service.routing.commands import Signal
from tests.unit.records import event, record
from tests.unit.test_dispatcher import DESCRIBE, MISSING, SIGNAL_WITH_START, Wire
from workflows.park import MEMO, ParkStatus

RUNNING = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING
CLOSED = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_COMPLETED
PATIENCE = timedelta(minutes=15)


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
async def parks(wire: Wire) -> Parks:
    async def connect(_config: Any) -> Wire:
        return wire

    service_client = await IdentityPlugin().connect_service_client(wire.config, connect)
    client = Client(service_client, namespace="default", data_converter=pydantic_data_converter)
    return Parks(client, "shop", Links(ui_url="http://ui", runbook_url="http://run/{route}"))


def signal(size_bytes: int = 2) -> Signal:
    fact = event(of=record(1042, value=b"x" * size_bytes))
    return Signal(route="note", event=fact, workflow_id="order/A-1", name="note", args=(1,), missing=PATIENCE)


async def described(
    status: "WorkflowExecutionStatus.ValueType" = RUNNING,
    memo: ParkStatus | None = None,
    *,
    events: int = 10,
    size_bytes: int = 1_000,
) -> DescribeWorkflowExecutionResponse:
    response = DescribeWorkflowExecutionResponse()
    info = response.workflow_execution_info
    info.status = status
    info.history_length = events
    info.history_size_bytes = size_bytes
    if memo:
        (payload,) = await pydantic_data_converter.encode([memo])
        info.memo.fields[MEMO].CopyFrom(payload)
    return response


@pytest.mark.parametrize(
    ("changes", "park"),
    [
        ({}, "parked/shop/order/A-1"),
        ({"namespace": "default"}, "parked/shop/order/A-1"),
        ({"namespace": "payments"}, "parked@payments/shop/order/A-1"),
        ({"workflow_id": "", "where": {"Order": "A-1", "Kind": "x"}}, "parked/shop/where/Kind=x,Order=A-1"),
    ],
)
async def test_a_park_is_named_for_its_group_and_its_target(
    wire: Wire, parks: Parks, changes: dict[str, Any], park: str
) -> None:
    command = replace(signal(), **changes)
    assert parks.id_for(command) == park
    await parks.put(command, answer="", patience=PATIENCE)
    assert (wire.request.namespace, wire.request.workflow_id) == ("default", park)


@pytest.mark.parametrize("namespace", [None, "payments"])
@pytest.mark.parametrize("letter", ["a", "ä"])
async def test_the_name_of_a_park_fits_into_temporals_tables_however_long_that_of_its_target_is(
    parks: Parks, namespace: str | None, letter: str
) -> None:
    targets = [letter * length + end for length in (100, 210, 231, 242, 243) for end in ("x", "y")]
    ids = [parks.id_for(replace(signal(), workflow_id=one, namespace=namespace)) for one in targets]
    assert len(set(ids)) == len(targets)
    assert max(map(len, ids)) <= 255
    begin = "parked/shop/" if namespace is None else "parked@payments/shop/"
    assert all(one.startswith(begin + letter * 80) for one in ids)
    assert ids[0] == f"{begin}{targets[0]}"


async def test_a_command_is_put_into_its_park_whether_that_is_open_closed_or_was_never_there(
    wire: Wire, parks: Parks
) -> None:
    await parks.put(signal(), answer="is not there", patience=PATIENCE)
    assert wire.calls == [SIGNAL_WITH_START]
    request = wire.request
    assert (request.workflow_type.name, request.task_queue.name) == ("Park", "turnout.shop")
    assert (
        request.workflow_id_conflict_policy
        == WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING
    )
    assert request.workflow_id_reuse_policy == WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE
    assert not request.workflow_execution_timeout.seconds
    assert request.signal_name == "park"
    (parked,) = await pydantic_data_converter.decode(request.signal_input.payloads, [Parked])
    assert (parked.id, parked.answer, parked.patience) == (
        str(command_id(signal())),
        "is not there",
        PATIENCE,
    )
    metadata = request.user_metadata
    summary, details = await pydantic_data_converter.decode([metadata.summary, metadata.details])
    assert summary == "Holds commands for order/A-1"
    assert details.splitlines() == [
        "- [target](http://ui/namespaces/default/workflows/order%2FA-1)",
        "- [runbook](http://run/note)",
    ]


async def test_a_command_that_is_put_again_has_the_same_id_and_no_other_has(wire: Wire, parks: Parks) -> None:
    other = replace(signal(), event=event("e-2"))
    for command in (signal(), signal(), other):
        await parks.put(command, answer="", patience=PATIENCE)
    one, again, another = (request.request_id for _, request in wire.requests)
    assert one == again
    assert len({one, another, str(command_id(signal()))}) == 3


async def test_what_is_put_tells_no_inbox(wire: Wire, parks: Parks) -> None:
    await parks.put(signal(), answer="", patience=PATIENCE)
    assert not wire.request.header.fields


async def test_a_command_that_is_too_large_for_a_signal_is_not_put(wire: Wire, parks: Parks) -> None:
    await parks.put(signal(LARGEST_SIGNAL_BYTES * 2 // 3), answer="", patience=PATIENCE)
    wire.requests.clear()
    with pytest.raises(TooLargeToPark, match=r"^is not there; it is too large to be parked, with \d+ bytes"):
        await parks.put(signal(LARGEST_SIGNAL_BYTES), answer="is not there", patience=PATIENCE)
    assert not wire.requests


@pytest.mark.parametrize(("status", "is_open"), [(RUNNING, True), (CLOSED, False), (None, False)])
async def test_a_park_is_open_while_its_workflow_runs(
    wire: Wire, parks: Parks, status: "WorkflowExecutionStatus.ValueType | None", *, is_open: bool
) -> None:
    wire.answers[DESCRIBE].append(MISSING if status is None else await described(status))
    assert await parks.is_open(signal()) is is_open
    assert wire.request.execution.workflow_id == "parked/shop/order/A-1"


@pytest.mark.parametrize(
    ("memo", "history", "full"),
    [
        (ParkStatus(commands=MOST_COMMANDS - 1, size_bytes=MOST_BYTES - 1), {}, ""),
        (ParkStatus(commands=MOST_COMMANDS), {}, "500 commands"),
        (ParkStatus(commands=5, size_bytes=MOST_BYTES), {}, "8 MiB"),
        (None, {"events": LONGEST_HISTORY}, "a history of 10000 events"),
        (ParkStatus(commands=1), {"size_bytes": LARGEST_HISTORY_BYTES}, "and 24 MiB"),
    ],
)
async def test_an_open_park_says_when_it_is_full(
    wire: Wire, parks: Parks, memo: ParkStatus | None, history: dict[str, Any], full: str
) -> None:
    wire.answers[DESCRIBE].append(await described(memo=memo, **history))
    if not full:
        assert await parks.is_open(signal())
        return
    with pytest.raises(NotNow, match=rf"^parked/shop/order/A-1 is full: it holds .*{full}"):
        await parks.is_open(signal())


async def test_a_closed_park_is_not_full_of_what_it_held(wire: Wire, parks: Parks) -> None:
    wire.answers[DESCRIBE].append(await described(CLOSED, ParkStatus(commands=MOST_COMMANDS)))
    assert not await parks.is_open(signal())


ANSWERS = [
    (RPCStatusCode.UNAVAILABLE, "tcp connect error", NotNow),
    (RPCStatusCode.NOT_FOUND, "Namespace default is not found.", NotNow),
    (RPCStatusCode.UNIMPLEMENTED, "mapped from HTTP status code 404", NotNow),
    # Of the park, not of the command's target or its input.
    (RPCStatusCode.RESOURCE_EXHAUSTED, "Workflow is busy.", NotNow),
    (RPCStatusCode.INVALID_ARGUMENT, "exceeded workflow execution limit for signal events", NotNow),
    (RPCStatusCode.INVALID_ARGUMENT, "Blob data size exceeds limit.", NotNow),
]


@pytest.mark.parametrize(("status", "text", "kind"), ANSWERS)
async def test_no_answer_about_a_park_speaks_of_the_command(
    wire: Wire, parks: Parks, status: RPCStatusCode, text: str, kind: type[NotNow]
) -> None:
    for rpc in (DESCRIBE, SIGNAL_WITH_START):
        wire.answers[rpc].append(RPCError(text, status, b""))
    with pytest.raises(kind) as asked:
        await parks.is_open(signal())
    with pytest.raises(kind) as put:
        await parks.put(signal(), answer="", patience=PATIENCE)
    for one in (asked, put):
        assert not isinstance(one.value, TargetBusy | RejectedError)


async def test_an_answer_that_asks_for_fewer_calls_is_told_apart(wire: Wire, parks: Parks) -> None:
    details = ResourceExhaustedFailure(cause=ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_RPS_LIMIT)
    raw = GrpcStatus(code=RPCStatusCode.RESOURCE_EXHAUSTED, message="rate limit exceeded")
    raw.details.add().Pack(details)
    too_fast = RPCError(raw.message, RPCStatusCode.RESOURCE_EXHAUSTED, raw.SerializeToString())
    wire.answers[SIGNAL_WITH_START].append(too_fast)
    with pytest.raises(Throttled):
        await parks.put(signal(), answer="", patience=PATIENCE)


@pytest.mark.parametrize(("tried", "answer"), [("is busy", "is busy"), ("", "is not there")])
async def test_open_parks_of_this_group_are_listed_with_the_last_answer_that_they_got(
    wire: Wire, parks: Parks, tried: str, answer: str
) -> None:
    listed = ListWorkflowExecutionsResponse()
    listed.executions.add().execution.workflow_id = "parked/shop/order/A-1"
    found = await described(memo=ParkStatus(commands=2, answer="is not there"))
    found.workflow_execution_info.execution.workflow_id = "parked/shop/order/A-1"
    found.pending_activities.add().last_failure.message = tried
    wire.answers["list_workflow_executions"].append(listed)
    wire.answers[DESCRIBE].append(found)
    (park,) = [one async for one in parks.open_ones()]
    assert (park.id, park.status.commands, park.answer) == ("parked/shop/order/A-1", 2, answer)
    query = wire.requests[0][1].query
    assert query == "WorkflowType = 'Park' AND TaskQueue = 'turnout.shop' AND ExecutionStatus = 'Running'"


async def test_open_parks_are_counted_without_a_look_at_each(wire: Wire, parks: Parks) -> None:
    wire.answers["count_workflow_executions"] += [
        CountWorkflowExecutionsResponse(count=7),
        RPCError("is away", RPCStatusCode.UNAVAILABLE, GrpcStatus().SerializeToString()),
    ]
    assert await parks.count() == 7
    ((_, request),) = wire.requests
    assert "ExecutionStatus = 'Running'" in request.query
    with pytest.raises(NotNow, match="is away"):
        await parks.count()


async def test_a_park_that_has_closed_meanwhile_is_not_listed(wire: Wire, parks: Parks) -> None:
    listed = ListWorkflowExecutionsResponse()
    listed.executions.add().execution.workflow_id = "parked/shop/order/A-1"
    wire.answers["list_workflow_executions"].append(listed)
    wire.answers[DESCRIBE].append(await described(CLOSED))
    assert not [one async for one in parks.open_ones()]
