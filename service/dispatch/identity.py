"""Ids that make a repeated command the same command, and the plugin that puts them on the wire.

The server drops a call whose request id it has seen for that run, but the SDK sets a random one
and offers no parameter for it. The plugin swaps the workflow service of the connection for one
that writes the id of the command being dispatched into the request, whether we made that (starts and
signals, see `requests`) or the SDK's typed client did.

Calls of a command are made once, but for eager starts (see `dispatcher`): its lane repeats them, with the
same id, and can be told to stop meanwhile, which the SDK's own retry cannot.
"""

import hashlib
import json
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import orjson
from temporalio.api.common.v1 import Callback
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
    ListWorkflowExecutionsRequest,
    ListWorkflowExecutionsResponse,
    RequestCancelWorkflowExecutionRequest,
    RequestCancelWorkflowExecutionResponse,
    RespondActivityTaskCompletedByIdRequest,
    RespondActivityTaskCompletedByIdResponse,
    RespondActivityTaskFailedByIdRequest,
    RespondActivityTaskFailedByIdResponse,
    SignalWithStartWorkflowExecutionRequest,
    SignalWithStartWorkflowExecutionResponse,
    SignalWorkflowExecutionRequest,
    SignalWorkflowExecutionResponse,
    StartWorkflowExecutionRequest,
    StartWorkflowExecutionResponse,
)
from temporalio.plugin import SimplePlugin
from temporalio.service import ConnectConfig, ServiceClient, WorkflowService

from service.events.event import EventKey
from service.routing.commands import Cancel, Command, Complete, Signal, Start
from service.telemetry.trace_context import Context, context_in

TURNOUT = uuid.UUID("8d0a8bd4-5c3f-5a0e-9c29-2f2f0f1f7e11")
"""The namespace of all ids derived here. It never changes: redelivered events would act again."""

_OF_TURNOUT = TURNOUT.bytes

INBOX_HEADER = "turnout-id"
"""The header by which a workflow's inbox knows the events of a signal: 16 raw bytes each.

The contract with workers in any language is in `workflows/inbox.py`, which has the same name.
"""


TRACE_HEADER = "_tracer-data"
"""The header by which workers go on with a trace: that of Temporal's own interceptors, in all of its SDKs."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a call carries that the SDK offers no parameter for.

    Attributes:
        request: Its request id.
        events: The ids of its events for the inbox, if it has one.
        callbacks: What is to be called when the workflow that it starts has closed.
        context: Of which trace it is a part.
    """

    request: uuid.UUID
    events: Sequence[uuid.UUID] = ()
    callbacks: Sequence[Callback] = ()
    context: Context = field(default_factory=dict)


_current: ContextVar[Identity] = ContextVar("turnout_identity")


@lru_cache(maxsize=1024)  # asked several times for each call
def derived_id(event_key: EventKey, route: str, kind: str) -> uuid.UUID:
    """uuid5 over the JSON array [event key, route, kind]: the same whenever the event comes again.

    Always a UUID, since Cassandra stores signal request ids as such.
    """
    # As `uuid.uuid5` does, which takes twice as long.
    name = _OF_TURNOUT + orjson.dumps([event_key, route, kind])
    return uuid.UUID(bytes=hashlib.sha1(name, usedforsecurity=False).digest()[:16], version=5)


def event_ids(command: Command) -> Sequence[uuid.UUID]:
    """One id per event that `command` tells of; a signal has the same with and without `or_start`."""
    match command:
        case Start():
            kind = "start"
        case Signal():
            kind = "signal"
        case Cancel():
            kind = "cancel"
        case Complete():
            kind = "complete"
        case _:
            msg = f"{type(command).__name__} is not a command"
            raise TypeError(msg)
    return [derived_id(event.key, command.route, kind) for event in command.events]


def command_id(command: Command) -> uuid.UUID:
    """The id of `command`: that of its event, or for a batch one made of those of its events."""
    return _id_of_all(event_ids(command))


def _id_of_all(ids: Sequence[uuid.UUID]) -> uuid.UUID:
    return ids[0] if len(ids) == 1 else uuid.uuid5(TURNOUT, " ".join(map(str, ids)))


def identity_of(command: Command) -> Identity:
    """What the call carries that `command` stands for."""
    ids = event_ids(command)
    return Identity(_id_of_all(ids), ids, context=context_in(command.event.headers))


def parking_identity(command: Command) -> Identity:
    """What the call carries that parks `command`; a park needs no inbox, it knows commands by their ids."""
    return Identity(uuid.uuid5(TURNOUT, f"park {command_id(command)}"))


@contextmanager
def identified_as(identity: Identity) -> Iterator[None]:
    """Calls made in this block, by this task, carry `identity`; all but eager starts are made once."""
    token = _current.set(identity)
    try:
        yield
    finally:
        _current.reset(token)


class IdentityPlugin(SimplePlugin):
    """A client plugin under which `identified_as` sets the request id of start, signal and cancel."""

    def __init__(self) -> None:
        super().__init__("turnout.identity")

    async def connect_service_client(
        self,
        config: ConnectConfig,
        next: Callable[[ConnectConfig], Awaitable[ServiceClient]],  # noqa: A002
    ) -> ServiceClient:
        """Connect, then put our workflow service in the place of the SDK's."""
        service_client = await next(config)
        service_client.workflow_service = _IdentifiedWorkflowService(service_client)
        return service_client


class _IdentifiedWorkflowService(WorkflowService):
    """Writes the current command's id over the random one."""

    async def start_workflow_execution(
        self, req: StartWorkflowExecutionRequest, *args: Any, **options: Any
    ) -> StartWorkflowExecutionResponse:
        _identify(req)
        _tell_trace(req)
        if identity := _current.get(None):
            req.completion_callbacks.extend(identity.callbacks)
        return await super().start_workflow_execution(req, *args, **options)

    async def signal_workflow_execution(
        self, req: SignalWorkflowExecutionRequest, *args: Any, **options: Any
    ) -> SignalWorkflowExecutionResponse:
        _identify(req)
        _tell_inbox(req)
        _tell_trace(req)
        return await super().signal_workflow_execution(req, *args, **_once(options))

    async def signal_with_start_workflow_execution(
        self, req: SignalWithStartWorkflowExecutionRequest, *args: Any, **options: Any
    ) -> SignalWithStartWorkflowExecutionResponse:
        _identify(req)
        _tell_inbox(req)
        _tell_trace(req)
        return await super().signal_with_start_workflow_execution(req, *args, **_once(options))

    async def request_cancel_workflow_execution(
        self, req: RequestCancelWorkflowExecutionRequest, *args: Any, **options: Any
    ) -> RequestCancelWorkflowExecutionResponse:
        _identify(req)
        return await super().request_cancel_workflow_execution(req, *args, **_once(options))

    async def respond_activity_task_completed_by_id(
        self, req: RespondActivityTaskCompletedByIdRequest, *args: Any, **options: Any
    ) -> RespondActivityTaskCompletedByIdResponse:
        _sign(req)
        return await super().respond_activity_task_completed_by_id(req, *args, **_once(options))

    async def respond_activity_task_failed_by_id(
        self, req: RespondActivityTaskFailedByIdRequest, *args: Any, **options: Any
    ) -> RespondActivityTaskFailedByIdResponse:
        _sign(req)
        return await super().respond_activity_task_failed_by_id(req, *args, **_once(options))

    async def describe_workflow_execution(
        self, req: DescribeWorkflowExecutionRequest, *args: Any, **options: Any
    ) -> DescribeWorkflowExecutionResponse:
        return await super().describe_workflow_execution(req, *args, **_once(options))

    async def list_workflow_executions(
        self, req: ListWorkflowExecutionsRequest, *args: Any, **options: Any
    ) -> ListWorkflowExecutionsResponse:
        return await super().list_workflow_executions(req, *args, **_once(options))


_Request = (
    StartWorkflowExecutionRequest
    | SignalWorkflowExecutionRequest
    | SignalWithStartWorkflowExecutionRequest
    | RequestCancelWorkflowExecutionRequest
)


def _identify(request: _Request) -> None:
    if identity := _current.get(None):
        request.request_id = str(identity.request)


def _sign(
    request: RespondActivityTaskCompletedByIdRequest | RespondActivityTaskFailedByIdRequest,
) -> None:
    # These have no request id. Who completed it is kept in the history, where a repeat finds itself.
    if identity := _current.get(None):
        request.identity = completed_by(identity.request)


def completed_by(command: uuid.UUID) -> str:
    """The identity under which the reply of that command completes its call."""
    return f"turnout {command}"


def _tell_inbox(request: SignalWorkflowExecutionRequest | SignalWithStartWorkflowExecutionRequest) -> None:
    if (identity := _current.get(None)) and identity.events:
        header = request.header.fields[INBOX_HEADER]
        header.metadata["encoding"] = b"binary/plain"
        header.data = b"".join(id_.bytes for id_ in identity.events)


def _tell_trace(
    request: StartWorkflowExecutionRequest
    | SignalWorkflowExecutionRequest
    | SignalWithStartWorkflowExecutionRequest,
) -> None:
    if (identity := _current.get(None)) and identity.context:
        header = request.header.fields[TRACE_HEADER]
        header.metadata["encoding"] = b"json/plain"
        header.data = json.dumps(identity.context, separators=(",", ":")).encode()


def _once(options: dict[str, Any]) -> dict[str, Any]:
    return {**options, "retry": False} if _current.get(None) else options
