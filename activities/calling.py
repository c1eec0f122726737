"""The activity by which a workflow calls another service: a request goes out, and its reply completes it."""

from pydantic import BaseModel, ConfigDict
from temporalio import activity
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.client import Client
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from activities.correlation import HEADER, Correlation, Seal
from activities.heartbeats import heartbeats
from activities.ports import ResultEvent, ResultPublisher
from activities.publishing import published, with_its_past

MOST_RUNS = 10
"""Of the runs before a reset, so many are looked through for a reply that came already."""


class Call(BaseModel):
    """A request, whole before its first attempt; its id is that of the activity, too.

    `cancelled` is what takes it back. `original_run` is that of the run in which the workflow began: another
    one than that of the attempt means that the workflow was reset.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    request: ResultEvent
    cancelled: ResultEvent
    original_run: str


class CallingActivities:
    """Activities that publish requests by `publisher`, and wait for their replies.

    Args:
        publisher: Where to.
        seal: Signs what replies are told by; None: nobody said a secret.
    """

    def __init__(self, publisher: ResultPublisher, seal: Seal | None) -> None:
        self._publisher = publisher
        self._seal = seal

    @activity.defn
    async def call(self, call: Call) -> RawValue:
        """Publish the request; a route completes this with the reply, which is not among its own answers.

        Each attempt publishes the same request with the same id, so that who answers can drop repeats. In a
        workflow that was reset, a reply that an earlier run had is taken instead.

        Raises:
            ApplicationError: `NoSecret`, to be tried again once there is one. `ResultInvalid`, for good: the
                request can never be an event. The other side's no, where an earlier run had that.
        """
        info = activity.info()
        assert info.workflow_id is not None
        assert info.workflow_run_id is not None
        if info.workflow_run_id != call.original_run:
            reply = await _earlier_reply(
                activity.client(), info.workflow_id, info.workflow_run_id, info.activity_id
            )
            if isinstance(reply, Failure):
                raise await activity.client().data_converter.decode_failure(reply)
            if reply:
                return RawValue(await _decrypted(reply, activity.client()))
        # Without heartbeats: none would come while only the reply is waited for.
        await published(self._publisher, self._sealed(call))
        return activity.raise_complete_async()

    @activity.defn
    async def take_back(self, call: Call) -> None:
        """Publish that nobody waits for the reply any more.

        The request goes before that once more, since an attempt to publish it may have failed, or not be over
        yet: so nobody reads of an end before the beginning.

        Raises:
            ApplicationError: As `call` does.
        """
        async with heartbeats():
            await published(self._publisher, self._sealed(call))
            await published(self._publisher, with_its_past(call.cancelled))

    def _sealed(self, call: Call) -> ResultEvent:
        """The request with the correlation of its call."""
        info = activity.info()
        assert info.workflow_id is not None
        assert info.workflow_namespace is not None
        if self._seal is None:
            raise ApplicationError("calls need TURNOUT_CALLS__SECRET on this worker", type="NoSecret")
        correlation = Correlation(info.workflow_namespace, info.workflow_id, call.request.id)
        headers = {**call.request.headers, HEADER: self._seal.sealed(correlation)}
        return call.request.model_copy(update={"headers": headers})


async def _decrypted(payload: Payload, client: Client) -> Payload:
    """`payload` as it was before the client's codec; it is on its way through that once more."""
    codec = client.data_converter.payload_codec
    return (await codec.decode([payload]))[0] if codec else payload


async def _earlier_reply(
    client: Client, workflow_id: str, run_id: str, activity_id: str
) -> Payload | Failure | None:
    """The reply that a run before the reset, or the resets, of this one had to the same call."""
    try:
        for _ in range(MOST_RUNS):
            reply, run_id = await _reply_in(client, workflow_id, run_id, activity_id)
            if reply or not run_id:
                return reply
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:  # it is gone, as old ones are
            raise
    return None


async def _reply_in(
    client: Client, workflow_id: str, run_id: str, activity_id: str
) -> tuple[Payload | Failure | None, str]:
    """The reply to a call in one run, and the run that this one was made of by a reset."""
    called: set[int] = set()
    reset_of = ""
    handle = client.get_workflow_handle(workflow_id, run_id=run_id)
    async for event in handle.fetch_history_events():
        if event.HasField("activity_task_scheduled_event_attributes"):
            if event.activity_task_scheduled_event_attributes.activity_id == activity_id:
                called.add(event.event_id)
        elif event.HasField("activity_task_completed_event_attributes"):
            completed = event.activity_task_completed_event_attributes
            if completed.scheduled_event_id in called and completed.result.payloads:
                return completed.result.payloads[0], ""
        elif event.HasField("activity_task_failed_event_attributes"):
            failed = event.activity_task_failed_event_attributes
            # One that could be tried again tells of our last attempt, not of the other side.
            if failed.scheduled_event_id in called and failed.failure.application_failure_info.non_retryable:
                return failed.failure, ""
        elif event.HasField("workflow_task_failed_event_attributes"):
            # A reset begins with this; its history also holds those of earlier ones, before it.
            reset_of = event.workflow_task_failed_event_attributes.base_run_id or reset_of
    return None, reset_of
