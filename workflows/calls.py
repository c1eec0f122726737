"""Calls to other services over Kafka: a request event goes out, and a `complete` route brings the reply."""

import asyncio
from datetime import timedelta
from typing import TypeVar

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from pydantic import BaseModel, JsonValue, ValidationError

    from activities.calling import Call, CallingActivities
    from activities.heartbeats import HEARTBEAT_TIMEOUT
    from activities.policies import EVERY_SECOND, WITHOUT_LIMIT, ever_more_seldom
    from workflows.results import Results, to_the_end

Reply = TypeVar("Reply")

ASK_AGAIN_AFTER = timedelta(minutes=1)


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
        data: BaseModel | JsonValue,
        *,
        reply: type[Reply],
        limit: timedelta,
        ask_again_after: timedelta | None = None,
        summary: str | None = None,
    ) -> Reply:
        """Ask, and wait for the answer.

        The request carries the header `correlation`, which whoever answers copies into the reply. Asked
        again, it has the same id, so that the other side can drop what it has seen. When a call ends without
        a reply of use, an event of the type with `.cancelled` behind it tells the other side to undo what it
        did, or will find to do, for `request_id`; the call ends once that is published.

        Args:
            type_: The type of the request.
            subject: What it is about; becomes the record's key.
            data: What is asked: a pydantic model, or what JSON can say.
            reply: The type that the route's `result` is read as.
            limit: After so long without a reply the call fails; by default up to a hundredth earlier.
            ask_again_after: Publish the request again each time after so long. By default after a minute,
                then at longer intervals: the worker may have died before it was published.
            summary: What people read in the timeline.

        Raises:
            ApplicationError: The other side says no, by the name in the route's `error`; or says nothing in
                time, `NoAnswer`; or what it says is no `reply`, `ReplyInvalid`. None of it is tried again.
            CancelledError: The workflow was asked to cancel.
        """
        call = Call(
            request=(request := self._requests.event(type_, subject, _plain(data))),
            cancelled=self._requests.event(f"{type_}.cancelled", subject, {"request_id": request.id}),
            original_run=workflow.info().original_execution_run_id,
        )
        summary = summary or f"{type_} → {request.topic}"
        try:
            answer: RawValue = await workflow.execute_activity(
                CallingActivities.call.__name__,
                call,
                result_type=RawValue,
                activity_id=request.id,
                summary=summary,
                schedule_to_close_timeout=limit,
                start_to_close_timeout=ask_again_after or min(limit, ASK_AGAIN_AFTER),
                retry_policy=EVERY_SECOND if ask_again_after else ever_more_seldom(limit),
                # Nobody waits for it any more; the other side is told below.
                cancellation_type=workflow.ActivityCancellationType.TRY_CANCEL,
            )
        # Both: a cancellation that comes together with the reply is raised bare, and the reply is lost.
        except (ActivityError, asyncio.CancelledError) as error:
            no = error.__cause__
            # One that could be tried again tells of our last attempt, not of the other side: as silence does.
            if isinstance(no, ApplicationError) and no.non_retryable:
                # A new error, since raising the cause from its own effect would close a circle.
                raise ApplicationError(no.message, *no.details, type=no.type, non_retryable=True) from error
            await to_the_end(_take_back(call, summary))
            if is_cancelled_exception(error):
                raise asyncio.CancelledError from error
            raise ApplicationError(
                f"no answer to {type_} within {limit}", type="NoAnswer", non_retryable=True
            ) from error
        try:
            return _read(answer, reply)
        except ApplicationError:
            await to_the_end(_take_back(call, summary))
            raise


def _read(answer: RawValue, reply: type[Reply]) -> Reply:
    """`answer` as a `reply`; what does not fit is named by its place alone, since logs tell of errors."""
    try:
        return workflow.payload_converter().from_payload(answer.payload, reply)
    except ValidationError as error:
        places = {".".join(map(str, one["loc"])): one["type"] for one in error.errors(include_input=False)}
        why = "; ".join(f"{place or 'it'}: {kind}" for place, kind in places.items())
    except Exception as error:  # noqa: BLE001 - of whatever converter the worker has
        why = type(error).__name__
    raise ApplicationError(
        f"the reply is no {reply.__name__}: {why}", type="ReplyInvalid", non_retryable=True
    ) from None


def _plain(data: BaseModel | JsonValue) -> JsonValue:
    plain: JsonValue = data.model_dump(mode="json") if isinstance(data, BaseModel) else data
    return plain


async def _take_back(call: Call, summary: str) -> None:
    await workflow.execute_activity_method(
        CallingActivities.take_back,
        call,
        summary=f"take back {summary}",
        retry_policy=WITHOUT_LIMIT,
        start_to_close_timeout=timedelta(minutes=10),
        heartbeat_timeout=HEARTBEAT_TIMEOUT,
    )
