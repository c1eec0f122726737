"""Gives calls their replies: an activity that waits is completed, by its workflow's id and its own."""

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryReverseRequest
from temporalio.client import AsyncActivityHandle, Client
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError

from activities.correlation import Seal
from activities.signing import NotOurs
from service.dispatch.answers import Meaning, Outcome, OutcomeKind, meaning_of, said
from service.dispatch.identity import command_id, completed_by
from service.errors import Answered, NotNow, RejectedError
from service.routing.commands import Complete, Rule

RPC_TIMEOUT = timedelta(seconds=10)

EARLY = timedelta(seconds=30)
"""For so long a reply waits for its call: after a reset the workflow has yet to come to it again."""

CURE = "TURNOUT_CALLS__SECRET of this bridge and of the workers that call must be the same"

PAGE_EVENTS = 1_000
MOST_PAGES = 20
"""How far back it is looked who completed a call."""


def check_correlation(complete: Complete, seal: Seal) -> None:
    """Pass `complete`, or refuse it.

    Raises:
        RejectedError: Its correlation is not signed by us.
    """
    try:
        seal.opened(complete.correlation)
    except NotOurs as error:
        raise RejectedError(f"correlation: {error}", cure=CURE) from None


class Completing:
    """Completes calls.

    Args:
        client: Given a namespace, the client that carries identified calls.
        seal: Tells whose correlations are ours; None: nobody said a secret.
    """

    def __init__(self, client: Callable[[str | None], Client], seal: Seal | None) -> None:
        self._client = client
        self._seal = seal

    def check(self, complete: Complete) -> None:
        """Pass `complete`, or refuse it, without a call.

        Raises:
            RejectedError: The correlation is not signed by us.
        """
        if self._seal is None:
            raise RejectedError("correlation: there is no secret to tell who signed it", cure=CURE)
        check_correlation(complete, self._seal)

    async def complete(self, complete: Complete) -> Outcome:
        """Give the call its reply; may be repeated.

        Raises:
            RejectedError: Nobody waits for it any more, and the route's rule makes a letter of it.
            NotNow: Nobody waits for it yet.
            RPCError: Any other answer of Temporal.
        """
        try:
            await self._reply(complete)
        except RPCError as error:
            if meaning_of(error) not in {Meaning.NO_CALL, Meaning.CLOSED, Meaning.MISSING}:
                raise
            return await self._nobody_waits(complete, error)
        return Outcome(OutcomeKind.ACCEPTED, complete.route, complete.workflow_id)

    async def _reply(self, complete: Complete) -> None:
        # Without a run: also the run that a reset has begun finds its reply.
        handle: AsyncActivityHandle = self._client(complete.namespace).get_async_activity_handle(
            workflow_id=complete.workflow_id, run_id=None, activity_id=complete.activity_id
        )
        if error := complete.error:
            failure = ApplicationError(error.text, type=error.type, non_retryable=True)
            await handle.fail(failure, rpc_timeout=RPC_TIMEOUT)
        else:
            await handle.complete(complete.result, rpc_timeout=RPC_TIMEOUT)

    async def _nobody_waits(self, complete: Complete, error: RPCError) -> Outcome:
        """It came again, too early, or late."""
        call = await self._look_up(complete)
        if call.ended_by == completed_by(command_id(complete)):
            return Outcome(OutcomeKind.ACCEPTED, complete.route, complete.workflow_id, "by an earlier try")
        if meaning_of(error) is Meaning.NO_CALL and (call.waits or (not call.seen and _is_young(complete))):
            why = f"workflow {complete.workflow_id} does not call {complete.activity_id} yet"
            raise NotNow(why, of=Answered.NOT_THERE)
        if meaning_of(error) is Meaning.CLOSED and call.run_is_open:
            # A reset closed the run that was asked, and began this one, which may make the same call.
            why = f"workflow {complete.workflow_id} began a new run just now"
            raise NotNow(why, of=Answered.NOT_THERE)
        if complete.late is Rule.SKIP:
            return Outcome(
                OutcomeKind.SKIPPED, complete.route, complete.workflow_id, "the reply is late", rule="late"
            )
        raise RejectedError(
            f"the reply is late: workflow {complete.workflow_id} does not wait for it any more",
            cure=f"write `late: skip` in route {complete.route} if that is nothing to keep",
            rule="late",
        )

    async def _look_up(self, complete: Complete) -> "_Call":
        """What the history holds of the call."""
        ended_by: dict[int, str] = {}
        left_behind = False
        run_is_open: bool | None = None
        try:
            async for event in self._events(complete):
                if run_is_open is None:
                    run_is_open = event.event_type not in _CLOSED
                if event.event_type in _ENDS:
                    end = getattr(event, _ENDS[event.event_type])
                    ended_by[end.scheduled_event_id] = getattr(end, "identity", "")
                elif event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
                    scheduled = event.activity_task_scheduled_event_attributes
                    if scheduled.activity_id == complete.activity_id:
                        nobody = "" if left_behind else None
                        ended = ended_by.get(event.event_id, nobody)
                        return _Call(seen=True, ended_by=ended, run_is_open=run_is_open)
                elif event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
                    # What comes now is of a run that continued as new: no call of it waits any more.
                    ended_by, left_behind = {}, True
        except RPCError as problem:
            meaning = meaning_of(problem)
            if meaning is Meaning.REJECTED:  # it asks about the workflow: nothing speaks of the reply
                raise NotNow(said(problem)) from problem
            if meaning is not Meaning.MISSING:
                raise
        return _Call(seen=False, run_is_open=bool(run_is_open))

    async def _events(self, complete: Complete) -> AsyncIterator[HistoryEvent]:
        """The newest events of the workflow first, through the runs that it continued from."""
        client = self._client(complete.namespace)
        request = GetWorkflowExecutionHistoryReverseRequest(
            namespace=client.namespace,
            execution=WorkflowExecution(workflow_id=complete.workflow_id),
            maximum_page_size=PAGE_EVENTS,
        )
        for _ in range(MOST_PAGES):
            answer = await client.workflow_service.get_workflow_execution_history_reverse(
                request, timeout=RPC_TIMEOUT
            )
            started = None
            for event in answer.history.events:
                yield event
                if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
                    started = event.workflow_execution_started_event_attributes
            request.next_page_token = answer.next_page_token
            if not answer.next_page_token:
                if not started or not started.continued_execution_run_id:
                    return
                request.execution.run_id = started.continued_execution_run_id


@dataclass(frozen=True, slots=True)
class _Call:
    """What is known of a call; `ended_by` is whose answer, or other end, it had (None: it has none).

    `run_is_open` is of the workflow's newest run, whether it makes the call or not.
    """

    seen: bool
    run_is_open: bool
    ended_by: str | None = None

    @property
    def waits(self) -> bool:
        return self.seen and self.ended_by is None


_ENDS = {
    EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED: "activity_task_completed_event_attributes",
    EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED: "activity_task_failed_event_attributes",
    EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT: "activity_task_timed_out_event_attributes",
    EventType.EVENT_TYPE_ACTIVITY_TASK_CANCELED: "activity_task_canceled_event_attributes",
}

_CLOSED = {
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW,
}


def _is_young(complete: Complete) -> bool:
    # Either way: the clock of who wrote it may be ahead of ours by days, and a lane must not wait for that.
    age_ms = time.time() * 1000 - complete.event.record.timestamp_ms
    return abs(age_ms) < EARLY / timedelta(milliseconds=1)
