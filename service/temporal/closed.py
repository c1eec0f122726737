"""How runs of workflows ended, in one shape for each way to end, whatever language their worker is in."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, NamedTuple

from pydantic_core import from_json
from temporalio.api.common.v1 import Payloads
from temporalio.api.failure.v1 import Failure as RawFailure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import (
    Client,
    WorkflowExecution,
    WorkflowExecutionStatus,
    WorkflowHistoryEventFilterType,
)
from temporalio.converter import DataConverter
from temporalio.service import RPCError, RPCStatusCode

from service.errors import NotNow
from service.temporal.client import for_namespace
from workflows.encryption import EncryptionCodec, NotReadable

MEMO = "turnout"
"""The memo that a start of ours sets: which event led to it, and who is told how it ended."""

CLOSING = "closing"
"""Within that memo: the topic that is told."""

GROUP = "group"
"""Within that memo: the consumer group of the bridge that made the start: a namespace may have several."""

MOST_FAILURES = 20
MOST_CHARACTERS = 8_000
"""Of a failure's text: some programs put whole documents there, and a topic takes only so much."""

STATUS: Mapping[WorkflowExecutionStatus, str] = MappingProxyType(
    {
        WorkflowExecutionStatus.COMPLETED: "completed",
        WorkflowExecutionStatus.FAILED: "failed",
        WorkflowExecutionStatus.CANCELED: "canceled",
        WorkflowExecutionStatus.TERMINATED: "terminated",
        WorkflowExecutionStatus.TIMED_OUT: "timed-out",
    }
)
"""Ways to end. A run that continues as new is none: its chain goes on."""

FAILURE_NAMES: Mapping[str, str] = {
    "timeout_failure_info": "Timeout",
    "canceled_failure_info": "Canceled",
    "terminated_failure_info": "Terminated",
    "server_failure_info": "ServerFailure",
    "activity_failure_info": "ActivityFailure",
    "child_workflow_execution_failure_info": "ChildWorkflowFailure",
    "nexus_operation_execution_failure_info": "NexusOperationFailure",
    "nexus_handler_failure_info": "NexusHandlerFailure",
}
"""How failures are called that have no name of their own, by their field in Temporal's Failure."""

RESETTER = "history-resetter"
"""Who terminates a running run in whose place a reset puts a new one (Temporal Server 1.32.0). It calls
back only when the new one ends: until then the workflow has not closed."""


class Run(NamedTuple):
    """One run of a workflow."""

    namespace: str
    workflow_id: str
    run_id: str


class Failure(NamedTuple):
    """What failed: the error's name, and what it says."""

    type: str
    text: str


@dataclass(frozen=True, slots=True)
class Result:
    """What a workflow returned, as JSON; where that cannot be had, `left_out` says why."""

    value: Any = None
    left_out: str = ""


@dataclass(frozen=True, slots=True)
class Closed:
    """How a run ended.

    Attributes:
        run: Which.
        workflow: Its type.
        status: One of those in `STATUS`.
        at: When.
        start: What led to its start, as our memo has it; empty where it has no such memo.
        result: What it returned, if it completed.
        failures: What failed, then its cause, and the cause of that; empty if it completed.
    """

    run: Run
    workflow: str
    status: str
    at: datetime
    start: Mapping[str, Any]
    result: Result | None = None
    failures: Sequence[Failure] = ()


@dataclass(frozen=True, slots=True)
class Listed:
    """A run that has closed, as visibility lists it: without its end, which `how_it_closed` tells."""

    run: Run
    workflow: str
    status: str
    at: datetime
    start: Mapping[str, Any]


async def how_it_closed(client: Client, run: Run) -> Closed | None:
    """How `run` ended; None if it has not, if another run goes on in its place, or if it is gone.

    Raises:
        RPCError: Temporal does not say.
        NotNow: It is encrypted with a key that is not known here.
    """
    handle = for_namespace(client, run.namespace).get_workflow_handle(run.workflow_id, run_id=run.run_id)
    try:
        found = await handle.describe()
        if found.status is None or found.status not in STATUS or found.close_time is None:
            return None
        events = handle.fetch_history_events(event_filter_type=WorkflowHistoryEventFilterType.CLOSE_EVENT)
        end = [event async for event in events][-1]
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise
    if end.workflow_execution_terminated_event_attributes.identity == RESETTER:
        return None
    await _decrypt(client, end)
    return Closed(
        run,
        found.workflow_type,
        STATUS[found.status],
        found.close_time,
        start_of(found),
        result_of(end),
        list(failures_of(end)),
    )


async def _decrypt(client: Client, end: HistoryEvent) -> None:
    codec = client.data_converter.payload_codec
    if not isinstance(codec, EncryptionCodec):
        return  # what others have encrypted is theirs
    try:
        match end.WhichOneof("attributes"):
            case "workflow_execution_completed_event_attributes":
                await codec.decode_wrapper(end.workflow_execution_completed_event_attributes.result)
            case "workflow_execution_failed_event_attributes":
                await codec.decode_failure(end.workflow_execution_failed_event_attributes.failure)
    except NotReadable as error:
        raise NotNow(f"how a workflow ended is not known: {error}") from error


async def closed_since(client: Client, namespace: str, since: datetime, marked: str) -> AsyncIterator[Listed]:
    """The runs that closed at `since` or later, as far as visibility knows by now, the latest first.

    With the name of a search attribute as `marked`, only those in which it is set.

    Raises:
        RPCError: Temporal does not say.
    """
    # In UTC, with a Z: SQL stores compare the moment as it is written.
    query = f"CloseTime >= '{since.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}'"
    query += " AND ExecutionStatus != 'ContinuedAsNew'"
    query += f" AND `{marked}` IS NOT NULL" if marked else ""
    async for found in for_namespace(client, namespace).list_workflows(query):
        if found.status and found.status in STATUS and found.close_time:
            run = Run(namespace, found.id, found.run_id)
            start = start_of(found)
            yield Listed(run, found.workflow_type, STATUS[found.status], found.close_time, start)


def start_of(found: WorkflowExecution) -> Mapping[str, Any]:
    """What the memo of `found` says of its start; empty where it says nothing, or nothing of ours.

    Ours is plain JSON, and never encrypted: see `service.dispatch.requests`.
    """
    kept = found.raw_info.memo.fields.get(MEMO)
    if kept is None or kept.metadata.get("encoding") != b"json/plain":
        return {}
    try:
        start = from_json(kept.data)
    except ValueError:
        return {}
    return start if isinstance(start, dict) else {}


def result_of(end: HistoryEvent) -> Result | None:
    """What the workflow returned, by its last event; None if it did not complete."""
    if not end.HasField("workflow_execution_completed_event_attributes"):
        return None
    try:
        return Result(_json(end.workflow_execution_completed_event_attributes.result))
    except ValueError as error:
        return Result(left_out=str(error))


def _json(payloads: Payloads) -> Any:
    values: list[Any] = []
    for payload in payloads.payloads:
        encoding = payload.metadata.get("encoding", b"").decode(errors="replace")
        if encoding == "binary/null":
            values.append(None)
        elif encoding.startswith("json/"):
            try:
                values.append(json.loads(payload.data))
            except (ValueError, RecursionError):
                raise ValueError("it is no JSON") from None
        else:
            raise ValueError(f"it is no JSON but {encoding or 'of no known encoding'}")
    # Go and Java return one value or none; only a list of arguments is longer.
    return values[0] if len(values) == 1 else values or None


def failures_of(end: HistoryEvent) -> Iterator[Failure]:
    """What failed, and why, by the last event; nothing if the workflow completed."""
    match end.WhichOneof("attributes"):
        case "workflow_execution_failed_event_attributes":
            yield from _chain(end.workflow_execution_failed_event_attributes.failure)
        case "workflow_execution_timed_out_event_attributes":
            yield Failure("Timeout", "the workflow ran out of time")
        case "workflow_execution_canceled_event_attributes":
            yield Failure("Canceled", "the workflow was cancelled")
        case "workflow_execution_terminated_event_attributes":
            yield Failure("Terminated", end.workflow_execution_terminated_event_attributes.reason)


def _chain(failure: RawFailure) -> Iterator[Failure]:
    for _ in range(MOST_FAILURES):
        kind = failure.WhichOneof("failure_info") or ""
        name = failure.application_failure_info.type or FAILURE_NAMES.get(kind, "ApplicationFailure")
        yield Failure(name, _text_of(failure)[:MOST_CHARACTERS])
        if not failure.HasField("cause"):
            return
        failure = failure.cause


def _text_of(failure: RawFailure) -> str:
    # A worker that encrypts puts what failures say into a payload, and a few words for all in its place.
    if failure.HasField("encoded_attributes"):
        try:
            text = json.loads(failure.encoded_attributes.data)["message"]
        except (ValueError, RecursionError, TypeError, KeyError):
            return str(failure.message)
        return str(text)
    return str(failure.message)


async def text_of(converter: DataConverter, failure: RawFailure) -> str:
    """What `failure` says, decrypted where `converter` has the key, and else why it is not told."""
    copy = RawFailure()
    copy.CopyFrom(failure)
    if codec := converter.payload_codec:
        try:
            await codec.decode_failure(copy)
        except NotReadable as error:
            return f"{failure.message} ({error})"
    return _text_of(copy)
