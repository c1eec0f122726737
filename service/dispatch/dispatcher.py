"""Carries one command to Temporal and says what became of it."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Protocol

from google.protobuf.message import DecodeError
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.errordetails.v1 import WorkflowExecutionAlreadyStartedFailure
from temporalio.client import (
    Client,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowHandle,
)
from temporalio.service import RPCError, RPCStatusCode

from activities.correlation import Seal
from service.dispatch.answers import Meaning, Outcome, OutcomeKind, meaning_of, said
from service.dispatch.callbacks import Callbacks
from service.dispatch.completing import Completing
from service.dispatch.contracts import Contracts
from service.dispatch.identity import Identity, command_id, identified_as, identity_of
from service.dispatch.links import NOWHERE, Links
from service.dispatch.lookup import Lookup
from service.dispatch.requests import AttributeNames, Requests
from service.errors import NotNow, RejectedError, TargetBusy, TargetMissing, Throttled
from service.routing.commands import Cancel, Command, Complete, OrStart, Rule, Signal, Start
from service.temporal.closed import start_of

RPC_TIMEOUT = timedelta(seconds=10)

Seeking = Signal | Cancel
"""What may look for its workflow."""


class Target(Protocol):
    """What names a workflow."""

    @property
    def namespace(self) -> str | None:
        """Its namespace; None is the client's own."""
        ...

    @property
    def workflow_id(self) -> str:
        """Its id there."""
        ...


class Dispatcher:
    """Sends commands with ids of their own, so that a repeated one takes effect once.

    Args:
        client: Given a namespace (None: the default one), the client that carries identified calls.
        contracts: What known workflows accept.
        names: Names of our search attributes, or None to set none.
        attribute_types: Registered search attributes by name, for those that routes set or look for.
        links: Where the Temporal UI, traces and the runbook are.
        eager_queues: Task queues, in the default namespace, of a worker on the same connection.
        seal: Tells whose replies to calls are ours; without it none is.
        callbacks: How Temporal is asked to call when a workflow has closed; None: it is not asked.
        group: The consumer group that we are of; whoever is to tell how our workflows ended goes by it.
    """

    def __init__(
        self,
        client: Callable[[str | None], Client],
        contracts: Contracts,
        *,
        names: AttributeNames | None,
        attribute_types: Mapping[str, "IndexedValueType.ValueType"],
        links: Links = NOWHERE,
        eager_queues: frozenset[str] = frozenset(),
        seal: Seal | None = None,
        callbacks: Callbacks | None = None,
        group: str = "",
    ) -> None:
        self._client = client
        self._contracts = contracts
        self._requests = Requests(names, attribute_types, links, group)
        self._lookup = Lookup(attribute_types)
        self._links = links
        self._eager_queues = eager_queues
        self._completing = Completing(client, seal)
        self._callbacks = callbacks

    async def dispatch(self, command: Command) -> Outcome:
        """Make the call that `command` stands for; may be repeated as often as one likes.

        Raises:
            RejectedError: It can never be accepted, or the route's rule makes a letter of it.
            TargetMissing: Its target is not there yet, and the route says to park it.
            NotNow: It may or may not have been accepted; repeat it.
        """
        self.check(command)
        if isinstance(command, Seeking) and command.where:
            found = await self.find(command)
            if found is None:
                return self.none_found(command)
            command = found
        try:
            with identified_as(self._identity(command)):
                match command:
                    case Start():
                        return await self._start(command)
                    case Signal():
                        return await self._signal(command)
                    case Cancel():
                        return await self._cancel(command)
                    case Complete():
                        return await self._completing.complete(command)
        except RPCError as error:
            raise _not_now_or_rejected(error) from error
        except DecodeError as error:
            raise _unreadable() from error
        msg = f"{type(command).__name__} is not a command"
        raise TypeError(msg)

    async def find(self, command: Seeking) -> Seeking | None:
        """`command` for the workflow that it looks for, by its id; None where no workflow fits.

        Raises:
            RejectedError: Several fit, or none ever can.
            NotNow: Visibility does not answer.
        """
        where = command.where or {}
        try:
            with identified_as(self._identity(command)):
                ids = await self._lookup.ids(self._client(command.namespace), where)
        except RPCError as error:
            # Not as throttled: visibility has a quota of its own, and calls of others go on.
            raise NotNow(f"looking for a workflow by {_names(command)}: {said(error)}") from error
        except DecodeError as error:
            raise _unreadable() from error
        if len(ids) > 1:
            raise RejectedError(
                f"several workflows are found by {_names(command)}, {ids[0]} and {ids[1]} among them",
                cure="look for what one workflow alone has",
                retriable=True,
            )
        return replace(command, workflow_id=ids[0], where=None) if ids else None

    def none_found(self, command: Seeking) -> Outcome:
        """What becomes of `command`, whose workflow was looked for in vain.

        Raises:
            RejectedError: The route's rule makes a letter of it.
            TargetMissing: The route says to park it.
        """
        why = f"no workflow is found by {_names(command)}"
        if isinstance(command.missing, timedelta):
            raise TargetMissing(why, command.missing)
        return _ruled(command, command.missing, "missing", detail=why, reason=why)

    def check(self, command: Command) -> None:
        """Pass `command`, or refuse it, without a call.

        Raises:
            RejectedError: Its input does not fit the workflow it is for, or its correlation is forged.
        """
        self._contracts.check(command)
        if isinstance(command, Complete):
            self._completing.check(command)

    def check_update(self, name: str, args: Sequence[Any]) -> None:
        """Pass an update, or refuse it, without a call.

        Raises:
            RejectedError: No workflow that we know takes it so.
        """
        self._contracts.check_update(name, args)

    def link(self, to: Target) -> str:
        """The address of a command's target in the Temporal UI, or nothing."""
        if not to.workflow_id:  # it has to be looked for
            return ""
        return self._links.workflow(self._client(to.namespace).namespace, to.workflow_id)

    def _identity(self, command: Command) -> Identity:
        identity = identity_of(command)
        if self._callbacks is None or not isinstance(command, Start) or command.publish_closing is None:
            return identity
        namespace = self._client(command.namespace).namespace
        called = self._callbacks.asked_for(namespace, command.workflow_id, command.publish_closing)
        return replace(identity, callbacks=[called])

    async def _start(self, start: Start) -> Outcome:
        client, called = self._client(start.namespace), time.time()
        eager = start.namespace is None and start.task_queue in self._eager_queues
        request = await self._requests.start(client, start, eager=eager)
        try:
            # The first task that an eager start's answer brings along is taken up by the SDK's repeating
            # client alone. Past it, it would be lost until its time limit of ten seconds.
            answer = await client.workflow_service.start_workflow_execution(
                request, retry=request.request_eager_execution, timeout=RPC_TIMEOUT
            )
        except RPCError as error:
            if not _is_already_started(error):
                raise
            return await self._already_there(start)
        if not _is_older(answer.run_id, called):
            return _outcome(start, OutcomeKind.ACCEPTED)
        # The server answers a repeated request id with the run of the first call.
        return await self._accepted_before(start)

    async def _already_there(self, start: Start) -> Outcome:
        found = await self._describe(start)
        memo = await self._memo_at_start(start, found)
        if memo.get("id") == str(command_id(start)):
            return self._told_apart(start, memo)
        if found.status is WorkflowExecutionStatus.RUNNING:
            return _by_rule(start, start.running, "is already running, started by another event", "running")
        return _by_rule(start, start.closed, "has closed; a closed id is never started again", "closed")

    async def _accepted_before(self, start: Start) -> Outcome:
        found = await self._describe(start)
        return self._told_apart(start, await self._memo_at_start(start, found))

    def _told_apart(self, start: Start, memo: Mapping[str, Any]) -> Outcome:
        if memo.get("by") == self._requests.by(start.event):
            return _outcome(start, OutcomeKind.ACCEPTED)
        by = memo.get("record", "this event")
        of_other = memo.get("record", str(start.event.record)) != str(start.event.record)
        return replace(_outcome(start, OutcomeKind.DUPLICATE, f"started by {by}"), of_other=of_other)

    async def _memo_at_start(self, start: Start, found: WorkflowExecutionDescription) -> Mapping[str, Any]:
        """What `found` was started with, or its first run; empty if that is not to be known."""
        memo = start_of(found)
        first = found.raw_info.first_run_id
        if memo or first in {"", found.run_id}:
            return memo
        # The Java SDK takes no memo along when a workflow continues as new.
        handle = self._client(start.namespace).get_workflow_handle(start.workflow_id, run_id=first)
        try:
            memo = start_of(await handle.describe(rpc_timeout=RPC_TIMEOUT))
        except RPCError as error:
            if meaning_of(error) is not Meaning.MISSING:
                raise _not_now(error) from error
        return memo

    async def _describe(self, command: Command) -> WorkflowExecutionDescription:
        try:
            return await self._handle(command).describe(rpc_timeout=RPC_TIMEOUT)
        except RPCError as error:
            # It asks about the workflow: no answer to it speaks of the command's own input.
            raise _not_now(error) from error

    async def _signal(self, signal: Signal) -> Outcome:
        client = self._client(signal.namespace)
        request = await self._requests.signal(client, signal)
        try:
            await client.workflow_service.signal_workflow_execution(request, timeout=RPC_TIMEOUT)
        except RPCError as error:
            if meaning_of(error) is Meaning.MISSING and signal.or_start:
                return await self._signal_with_start(client, signal, signal.or_start)
            return _by_target(signal, signal.missing, signal.closed, error)
        return _outcome(signal, OutcomeKind.ACCEPTED)

    async def _signal_with_start(self, client: Client, signal: Signal, or_start: OrStart) -> Outcome:
        request = await self._requests.signal_with_start(client, signal, or_start)
        try:
            await client.workflow_service.signal_with_start_workflow_execution(request, timeout=RPC_TIMEOUT)
        except RPCError as error:
            if not _is_already_started(error):
                raise
            return _by_rule(signal, signal.closed, "has closed", "closed")
        return _outcome(signal, OutcomeKind.ACCEPTED, "started by it")

    async def _cancel(self, cancel: Cancel) -> Outcome:
        try:
            await self._handle(cancel).cancel(reason=cancel.reason, rpc_timeout=RPC_TIMEOUT)
            found = await self._describe(cancel)
        except RPCError as error:
            return _by_target(cancel, cancel.missing, cancel.closed, error)
        # The server answers OK for a closed workflow too, and does nothing. Asked *after* the call,
        # so that a repeat of one that did reach it is told apart from one that came too late.
        asked = found.raw_description.workflow_extended_info.cancel_requested
        if asked or found.close_time is None:
            return _outcome(cancel, OutcomeKind.ACCEPTED)
        return _by_rule(cancel, cancel.closed, "has closed", "closed")

    def _handle(self, command: Command) -> WorkflowHandle[Any, Any]:
        return self._client(command.namespace).get_workflow_handle(command.workflow_id)


def _names(command: Seeking) -> str:
    # Without the values: they are payload.
    return " and ".join(command.where or ())


def _unreadable() -> NotNow:
    return NotNow("the answer for Temporal is none of Temporal's: it cannot be read")


def _outcome(command: Command, kind: OutcomeKind, detail: str = "") -> Outcome:
    return Outcome(kind, command.route, command.workflow_id, detail)


def _by_target(command: Command, missing: Rule | timedelta, closed: Rule, error: RPCError) -> Outcome:
    meaning = meaning_of(error)
    if meaning is Meaning.CLOSED:
        return _by_rule(command, closed, "has closed", "closed")
    if meaning is not Meaning.MISSING:
        raise error
    if isinstance(missing, timedelta):
        raise TargetMissing(f"workflow {command.workflow_id} does not exist", missing) from error
    return _by_rule(command, missing, "does not exist", "missing")


def _by_rule(command: Command, rule: Rule, state: str, name: str) -> Outcome:
    reason = f"workflow {command.workflow_id} {state}"
    return _ruled(command, rule, name, detail=f"the workflow {state}", reason=reason)


def _ruled(command: Command, rule: Rule, name: str, *, detail: str, reason: str) -> Outcome:
    if rule is Rule.SKIP:
        return replace(_outcome(command, OutcomeKind.SKIPPED, detail), rule=name)
    raise RejectedError(
        reason,
        cure=f"write `{name}: skip` in route {command.route} if that is nothing to keep",
        retriable=True,
        rule=name,
    )


def _not_now_or_rejected(error: RPCError) -> NotNow | RejectedError:
    return RejectedError(said(error)) if meaning_of(error) is Meaning.REJECTED else _not_now(error)


def _not_now(error: RPCError) -> NotNow:
    match meaning_of(error):
        case Meaning.THROTTLED:
            return Throttled(said(error))
        case Meaning.TARGET_BUSY:
            return TargetBusy(said(error))
        case _:
            return NotNow(said(error))


def _is_already_started(error: RPCError) -> bool:
    """Whether that id is taken; any other ALREADY_EXISTS is none of these words."""
    if error.status is not RPCStatusCode.ALREADY_EXISTS:
        return False
    return any(one.Is(WorkflowExecutionAlreadyStartedFailure.DESCRIPTOR) for one in error.grpc_status.details)


def _is_older(run_id: str, called: float) -> bool:
    """Whether the run may be older than the call; run ids of starts are UUIDv7, which hold the time.

    A server whose clock is behind ours costs one describe more per start. With one that is ahead, a repeat
    within that time counts as accepted, not as a duplicate; it has no effect either way.

    Source: RFC 9562, 5.7: 48 bits of milliseconds, then the version.
    """
    if run_id[14:15] != "7":
        return True
    return int(run_id[:8] + run_id[9:13], 16) < called * 1000 - 1
