"""From commands to the requests that ask Temporal for them, and what those tell of where they come from."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio.api.common.v1 import Payloads
from temporalio.api.enums.v1 import IndexedValueType, WorkflowIdConflictPolicy, WorkflowIdReusePolicy
from temporalio.api.workflowservice.v1 import (
    SignalWithStartWorkflowExecutionRequest,
    SignalWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
)
from temporalio.client import Client
from temporalio.common import TypedSearchAttributes
from temporalio.converter import encode_search_attributes

from service.cutting import cut
from service.dispatch.attributes import keyword_text, typed_pair
from service.dispatch.identity import command_id
from service.dispatch.links import Links
from service.events.event import Event
from service.routing.commands import SUMMARY_BYTES, OrStart, Signal, Start, StartOptions
from service.telemetry.trace_context import context_in
from service.temporal.closed import CLOSING, GROUP, MEMO
from service.temporal.payloads import encrypt, write, write_keyword

REJECT_DUPLICATE = WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE
FAIL = WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_FAIL

_Starting = StartWorkflowExecutionRequest | SignalWithStartWorkflowExecutionRequest


@dataclass(frozen=True, slots=True)
class AttributeNames:
    """The names of the four keyword search attributes set at each start."""

    route: str = "TurnoutRoute"
    event_type: str = "TurnoutEventType"
    event_id: str = "TurnoutEventId"
    record: str = "TurnoutRecord"

    @property
    def all(self) -> tuple[str, ...]:
        """All four."""
        return (self.route, self.event_type, self.event_id, self.record)


class Requests:
    """Makes the requests of starts and signals, which are most of what is asked.

    They are those that the SDK's client makes, which takes more time for a start than any other step of a
    record's way (docs/adr/0012-requests-of-our-own.md).

    Args:
        names: Names of our search attributes, or None to set none.
        attribute_types: Registered search attributes by name, for those that routes set.
        links: Where the Temporal UI, traces and the runbook are.
        group: The consumer group that we are of; whoever is to tell how our workflows ended goes by it.
    """

    def __init__(
        self,
        names: AttributeNames | None,
        attribute_types: Mapping[str, "IndexedValueType.ValueType"],
        links: Links,
        group: str,
    ) -> None:
        self._names = names
        self._attribute_types = attribute_types
        self._links = links
        self._group = group
        self._self = uuid.uuid4().hex[:12]

    def by(self, event: Event) -> str:
        """Tells a start of this process for this record from any other."""
        return f"{self._self} {event.record}"

    async def start(self, client: Client, start: Start, *, eager: bool) -> StartWorkflowExecutionRequest:
        """Start a workflow, once for its id; with `eager`, its first task may come with the answer."""
        request = StartWorkflowExecutionRequest(workflow_id_conflict_policy=FAIL)
        await self._fill(request, client, start, start)
        request.request_eager_execution = eager and not request.HasField("workflow_start_delay")
        return request

    async def signal(self, client: Client, signal: Signal) -> SignalWorkflowExecutionRequest:
        """Signal the workflow of that id."""
        request = SignalWorkflowExecutionRequest(
            namespace=client.namespace, identity=client.identity, signal_name=signal.name
        )
        request.workflow_execution.workflow_id = signal.workflow_id
        _write_all(request.input, signal.args)
        await encrypt(request.input.payloads, client.data_converter)
        return request

    async def signal_with_start(
        self, client: Client, signal: Signal, or_start: OrStart
    ) -> SignalWithStartWorkflowExecutionRequest:
        """Signal the workflow of that id, and start it first if there never was one."""
        request = SignalWithStartWorkflowExecutionRequest(signal_name=signal.name)
        _write_all(request.signal_input, signal.args)
        await encrypt(request.signal_input.payloads, client.data_converter)
        await self._fill(request, client, signal, or_start)
        return request

    async def _fill(
        self, request: _Starting, client: Client, command: Start | Signal, what: Start | OrStart
    ) -> None:
        options, place = what.options, str(command.event.record)
        request.namespace = client.namespace
        request.identity = client.identity
        request.workflow_id = command.workflow_id
        request.workflow_type.name = what.workflow
        request.task_queue.name = what.task_queue
        request.workflow_id_reuse_policy = REJECT_DUPLICATE
        told, memo = request.user_metadata, request.memo.fields
        write(told.summary, cut(options.summary or f"{command.event.type} from {place}", SUMMARY_BYTES))
        write(told.details, self._details(command, place))
        for name, value in options.memo.items():
            write(memo[name], value)
        _write_all(request.input, what.args)
        secret = (told.summary, told.details, *memo.values(), *request.input.payloads)
        await encrypt(secret, client.data_converter)
        # After that: who meets a workflow of ours has to know which event led to it, also without its keys.
        # It holds ids and names, as search attributes do.
        write(memo[MEMO], self._memo(command, place))
        self._tell_attributes(request, command, options, place)
        _set_times(request, options)
        _set_priority(request, options)

    def _memo(self, command: Start | Signal, place: str) -> dict[str, str]:
        event = command.event
        memo = {
            "id": str(command_id(command)),
            "event": event.id,
            "source": event.source,
            "type": event.type,
            "route": command.route,
            "record": place,
            "by": self.by(event),
            **context_in(event.headers),
        }
        if isinstance(command, Start) and command.publish_closing:
            memo |= {CLOSING: command.publish_closing, GROUP: self._group}
        return memo

    def _details(self, command: Start | Signal, place: str) -> str:
        event, route = command.event, command.route
        links = {
            "trace": self._links.trace(context_in(event.headers)),
            "runbook": self._links.runbook(route),
        }
        return (
            f"- **event**: `{_line(event.id)}`\n- **source**: `{_line(event.source)}`\n"
            f"- **route**: `{_line(route)}`\n- **record**: `{_line(place)}`"
        ) + "".join(f"\n- [{name}]({address})" for name, address in links.items() if address)

    def _tell_attributes(
        self, request: _Starting, command: Start | Signal, options: StartOptions, place: str
    ) -> None:
        if options.search_attributes:
            pairs = [
                typed_pair(name, self._attribute_types[name], value)
                for name, value in options.search_attributes.items()
            ]
            encode_search_attributes(TypedSearchAttributes(pairs), request.search_attributes)
        if names := self._names:
            fields = request.search_attributes.indexed_fields
            write_keyword(fields[names.route], keyword_text(command.route))
            write_keyword(fields[names.event_type], keyword_text(command.event.type))
            write_keyword(fields[names.event_id], keyword_text(command.event.id))
            write_keyword(fields[names.record], keyword_text(place))


def _write_all(payloads: Payloads, values: Sequence[Any]) -> None:
    for value in values:
        write(payloads.payloads.add(), value)


def _set_times(request: _Starting, options: StartOptions) -> None:
    if options.execution_timeout is not None:
        request.workflow_execution_timeout.FromTimedelta(options.execution_timeout)
    if options.run_timeout is not None:
        request.workflow_run_timeout.FromTimedelta(options.run_timeout)
    if options.task_timeout is not None:
        request.workflow_task_timeout.FromTimedelta(options.task_timeout)
    if (delay := _delay(options)) is not None:
        request.workflow_start_delay.FromTimedelta(delay)


def _delay(options: StartOptions) -> timedelta | None:
    if options.start_at is None:
        return options.start_delay
    return max(options.start_at - datetime.now(UTC), timedelta()) or None


def _set_priority(request: _Starting, options: StartOptions) -> None:
    if options.priority is not None:
        request.priority.priority_key = options.priority
    if options.fairness_key is not None:
        request.priority.fairness_key = options.fairness_key
    if options.fairness_weight is not None:
        request.priority.fairness_weight = options.fairness_weight


def _line(text: str) -> str:
    """A text of someone else's in a line for people."""
    return cut(text, SUMMARY_BYTES)
