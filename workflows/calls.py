"""Calls to other services over Kafka: a request event goes out, and a `complete` route brings the reply."""

from datetime import timedelta
from typing import TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from pydantic import JsonValue

    from activities.calling import Call, CallingActivities
    from workflows.results import Results, to_the_end

Reply = TypeVar("Reply")


class Calls:
    """The calls of one workflow by requests on one topic; make it in `@workflow.init`.

    A call is an activity, whose id is that of the request: a bar in the timeline of the Temporal UI, with its
    time limit and its attempts.

    Args:
        topic: Where requests go; the routes declare it with `out: true`.
        source: The CloudEvents source: who asks, e.g. `shop/orders`.
    """

    def __init__(self, topic: str, source: str) -> None:
        self._requests = Results(topic, source)

    async def call(
        self,
        type_: str,
        subject: str,
        data: JsonValue,
        *,
        reply: type[Reply],
        limit: timedelta,
        ask_again_after: timedelta | None = None,
        summary: str | None = None,
    ) -> Reply:
        """Ask, and wait for the answer.

        The request carries the header `correlation`, which whoever answers copies into the reply. Asked
        again, it has the same id, so that the other side can drop what it has seen. When the workflow is
        asked to cancel meanwhile, an event of the type with `.cancelled` behind it goes after the request.

        Args:
            type_: The type of the request.
            subject: What it is about; becomes the record's key.
            data: What is asked.
            reply: The type that the route's `result` is read as.
            limit: After so long without a reply the call fails.
            ask_again_after: Publish the request again after so long; by default it is asked once.
            summary: What people read in the timeline.

        Raises:
            ApplicationError: The other side says no; its `type` is that of the route's `error`.
            ActivityError: There was no reply in time; its cause is a TimeoutError.
            CancelledError: The workflow was asked to cancel; the other side is told.
        """
        request = self._requests.event(type_, subject, data)
        call = Call(request=request, original_run=workflow.info().original_execution_run_id)
        try:
            answer: Reply = await workflow.execute_activity(
                CallingActivities.call.__name__,
                call,
                result_type=reply,
                activity_id=request.id,
                summary=summary or f"{type_} → {request.topic}",
                schedule_to_close_timeout=limit,
                start_to_close_timeout=ask_again_after or limit,
                retry_policy=RetryPolicy(backoff_coefficient=1),
                # Nobody waits for it any more; it is told by the event below.
                cancellation_type=workflow.ActivityCancellationType.TRY_CANCEL,
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                taken_back = self._requests.event(f"{type_}.cancelled", subject, {"request": request.id})
                await to_the_end(self._requests.send(taken_back))
            elif isinstance(error.cause, ApplicationError):
                raise error.cause from error
            raise
        return answer
