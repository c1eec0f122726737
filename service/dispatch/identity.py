"""Ids that make a repeated command the same command, and the plugin that puts them on the wire.

The server drops a call whose request id it has seen for that run, but the SDK sets a random one
and offers no parameter for it. The plugin swaps the workflow service of the connection for one
that writes the id of the command being dispatched into the request: codecs, interceptors and the
typed client all keep working.
"""

import json
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from temporalio.api.workflowservice.v1 import (
    RequestCancelWorkflowExecutionRequest,
    RequestCancelWorkflowExecutionResponse,
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
from service.routing.commands import Cancel, Command, Signal, Start

TURNOUT = uuid.UUID("8d0a8bd4-5c3f-5a0e-9c29-2f2f0f1f7e11")
"""The namespace of all ids derived here. It never changes: redelivered events would act again."""

_current: ContextVar[str] = ContextVar("turnout_command_id")


def derived_id(event_key: EventKey, route: str, kind: str) -> uuid.UUID:
    """uuid5 over the JSON array [event key, route, kind]: the same whenever the event comes again.

    Always a UUID, since Cassandra stores signal request ids as such.
    """
    name = json.dumps([list(event_key), route, kind], ensure_ascii=False, separators=(",", ":"))
    return uuid.uuid5(TURNOUT, name)


def command_id(command: Command) -> uuid.UUID:
    """The id of `command`; a signal has the same one with and without `or_start`."""
    match command:
        case Start():
            kind = "start"
        case Signal():
            kind = "signal"
        case Cancel():
            kind = "cancel"
        case _:
            msg = f"{type(command).__name__} is not a command"
            raise TypeError(msg)
    return derived_id(command.event.key, command.route, kind)


@contextmanager
def identified_as(request_id: uuid.UUID) -> Iterator[None]:
    """Calls made in this block, by this task, carry `request_id`."""
    token = _current.set(str(request_id))
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
        req.request_id = _current.get(req.request_id)
        return await super().start_workflow_execution(req, *args, **options)

    async def signal_workflow_execution(
        self, req: SignalWorkflowExecutionRequest, *args: Any, **options: Any
    ) -> SignalWorkflowExecutionResponse:
        req.request_id = _current.get(req.request_id)
        return await super().signal_workflow_execution(req, *args, **options)

    async def signal_with_start_workflow_execution(
        self, req: SignalWithStartWorkflowExecutionRequest, *args: Any, **options: Any
    ) -> SignalWithStartWorkflowExecutionResponse:
        req.request_id = _current.get(req.request_id)
        return await super().signal_with_start_workflow_execution(req, *args, **options)

    async def request_cancel_workflow_execution(
        self, req: RequestCancelWorkflowExecutionRequest, *args: Any, **options: Any
    ) -> RequestCancelWorkflowExecutionResponse:
        req.request_id = _current.get(req.request_id)
        return await super().request_cancel_workflow_execution(req, *args, **options)
