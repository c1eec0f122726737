"""What a command would meet in Temporal now: its target, its task queue, a handler of its name."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from temporalio.client import (
    Client,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowHandle,
    WorkflowQueryFailedError,
)
from temporalio.service import RPCError

from service.dispatch.answers import Meaning, meaning_of, said
from service.dispatch.identity import command_id
from service.dispatch.lookup import Lookup
from service.errors import RejectedError, Unreachable
from service.routing.commands import Cancel, Command, Complete, OrStart, Signal, Start
from service.routing.lookups import SYSTEM
from service.temporal.client import search_attributes
from service.temporal.closed import start_of
from service.temporal.workers import RPC_TIMEOUT, pollers, signal_names
from workflows.encryption import NotReadable


async def met_by(command: Command, client: Client) -> AsyncIterator[str]:
    """What `command` would meet, one sentence each; `client` is of its namespace.

    What Temporal does not answer is said to be not known.
    """
    if isinstance(command, Signal | Cancel) and command.where:
        found_id, sentence = await _looked_for(command, command.where, client)
        yield sentence
        if not found_id:
            return
        command = replace(command, workflow_id=found_id, where=None)
    handle = client.get_workflow_handle(command.workflow_id)
    try:
        found = await handle.describe(rpc_timeout=RPC_TIMEOUT)
    except RPCError as error:
        if meaning_of(error) is not Meaning.MISSING:
            yield f"the state of {command.workflow_id} is not known: {said(error)}"
            return
        yield f"there is no workflow {command.workflow_id}{_rule(command, 'missing')}"
        if starting := _starting(command):
            yield await _pollers(client, starting.task_queue)
        return
    yield await _state(command, found)
    if found.status is WorkflowExecutionStatus.RUNNING:
        yield await _pollers(client, found.task_queue)
        if isinstance(command, Signal):
            yield await _handler(handle, command.name)
        if isinstance(command, Complete):
            yield _call(command, found)


async def _looked_for(command: Signal | Cancel, where: Mapping[str, str], client: Client) -> tuple[str, str]:
    """The id of the workflow that fits, or nothing; and what there is to say of it."""
    try:
        registered = await search_attributes(client, client.namespace)
        if lacking := sorted(where.keys() - registered.keys() - SYSTEM):
            return "", f"namespace {client.namespace} lacks search attribute {lacking[0]}"
        ids = await Lookup(registered).ids(client, where)
    except (RPCError, Unreachable, RejectedError) as error:
        why = said(error) if isinstance(error, RPCError) else str(error)
        return "", f"which workflow it is for is not known: {why}"
    if len(ids) > 1:
        return "", f"several workflows fit, {ids[0]} and {ids[1]} among them: it would become a letter"
    if not ids:
        return "", f"no workflow fits{_rule(command, 'missing')}"
    return ids[0], f"it is for {ids[0]}"


def _starting(command: Command) -> Start | OrStart | None:
    if isinstance(command, Signal):
        return command.or_start
    return command if isinstance(command, Start) else None


async def _state(command: Command, found: WorkflowExecutionDescription) -> str:
    if isinstance(command, Start) and start_of(found).get("id") == str(command_id(command)):
        return f"this event has started {command.workflow_id} already: it would be a duplicate"
    name = found.status.name.lower() if found.status else "in a state without name"
    if found.status is WorkflowExecutionStatus.RUNNING:
        rule = _rule(command, "running")
        return (
            f"{command.workflow_id} is running since {_time(found.start_time)}, a {found.workflow_type}{rule}"
        )
    ended = f" since {_time(found.close_time)}" if found.close_time else ""
    return f"{command.workflow_id} is {name}{ended}, a {found.workflow_type}{_rule(command, 'closed')}"


def _call(complete: Complete, found: WorkflowExecutionDescription) -> str:
    waiting = (one.activity_id for one in found.raw_description.pending_activities)
    if complete.activity_id in waiting:
        return "its call waits for that reply"
    return f"it has no call that waits for that reply; late: {complete.late}"


def _rule(command: Command, name: str) -> str:
    """What the route says of a target in that state."""
    match command, name:
        case Start(), "missing":
            return ""
        case Signal(or_start=OrStart() as or_start), "missing":
            return f"; it would be started, a {or_start.workflow}"
        case ((Signal() | Cancel()), "running"):
            return ""
        case Complete(), _:
            return "" if name == "running" else f"; late: {command.late}"
    rule = getattr(command, name)
    return f"; {name}: {f'park for {rule}' if isinstance(rule, timedelta) else rule}"


async def _pollers(client: Client, task_queue: str) -> str:
    try:
        count = await pollers(client, task_queue)
    except RPCError as error:
        return f"who works on task queue {task_queue} is not known: {said(error)}"
    return f"{count or 'no'} worker{'s' * (count != 1)} poll{'s' * (count == 1)} task queue {task_queue}"


async def _handler(handle: WorkflowHandle, name: str) -> str:  # type: ignore[type-arg]
    try:
        names = await signal_names(handle)
    except (RPCError, WorkflowQueryFailedError, NotReadable) as error:
        why = said(error) if isinstance(error, RPCError) else "its worker does not say"
        return f"whether its worker has a handler for signal {name} is not known: {why}"
    if name in names or "" in names:  # the one without a name takes all others
        return f"its worker has a handler for signal {name}"
    known = f"; it has {', '.join(sorted(names))}" if names else ""
    return f"its worker has no handler for signal {name}, which would wait in vain{known}"


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
