"""Publishing result events from a workflow, each with an id that retries and resets keep."""

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Coroutine, Iterable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID, uuid5

from temporalio import workflow
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from pydantic import JsonValue

    from activities.heartbeats import HEARTBEAT_TIMEOUT
    from activities.policies import ONCE, WITHOUT_LIMIT
    from activities.ports import Published, ResultEvent
    from activities.publishing import PublishingActivities

T = TypeVar("T")

_RESULTS = UUID("b6d7a3c4-2f0e-5b1c-9f57-6a0f6f0f7b11")
"""The uuid5 namespace of result ids. Another value would give every result of a running workflow a new id."""

LOCAL_PATIENCE = timedelta(seconds=5)
"""Below a workflow task's time limit (10 s): Kafka away must not hold the task."""

_MEMO_KEY = "turnout"
"""The memo under which the bridge says which event started a workflow."""


class Results:
    """The result events of one workflow on one topic; make it in `@workflow.init`.

    The id of a result is made of the workflow, its type, how many of that type came before it, and
    its content. So a retry and a reset give it the same id, and a reset that decides otherwise gives
    it another: a subscriber can drop what it has seen. Use one `Results` per topic, since two for
    one topic would both count from zero.

    Args:
        topic: Where the results go; the routes declare it with `out: true`.
        source: The CloudEvents source: who says so, e.g. `shop/orders`.
        local: Try once within the worker first, as a local activity: a short workflow then ends in one
            task, without the server's rounds for an activity. What is not acknowledged within seconds
            goes the usual way, with the same id. In the timeline of the Temporal UI it is a marker
            instead of a bar. Changing it for running workflows needs a patch. When the worker is killed
            within that task, all of it is done anew, as if for the first time: a result of it may then be
            in the log twice.
    """

    def __init__(self, topic: str, source: str, *, local: bool = False) -> None:
        self._topic = topic
        self._source = source
        self._local = local
        self._count: Counter[str] = Counter()
        self._headers = _headers_from_start()

    def event(self, type_: str, subject: str, data: JsonValue) -> ResultEvent:
        """Make the next event of `type_` without publishing it, for who needs its id beforehand.

        `subject` becomes the record's key, so that the results of one subject keep their order.
        """
        nth = self._count[type_]
        self._count[type_] += 1
        info = workflow.info()
        return ResultEvent(
            topic=self._topic,
            id=result_id(
                info.workflow_id, info.original_execution_run_id, type_, nth, subject=subject, data=data
            ),
            source=self._source,
            type=type_,
            subject=subject,
            time=workflow.now().isoformat(),
            data=data,
            headers=self._headers,
        )

    async def publish(
        self,
        type_: str,
        subject: str,
        data: JsonValue,
        *,
        summary: str | None = None,
    ) -> Published:
        """Publish a result and say where it lies; see `send`."""
        return await self.send(self.event(type_, subject, data), summary=summary)

    async def send(self, event: ResultEvent, *, summary: str | None = None) -> Published:
        """Publish `event`, however long it takes, and say where it lies.

        A cancellation that comes meanwhile is raised once the event is published, not before.

        Raises:
            CancelledError: The event is published and the workflow was asked to cancel meanwhile.
            ActivityError: The publisher gave the event up as one that can never be published.
        """
        summary = summary or f"{event.type} → {event.topic}"
        publishing = asyncio.create_task(_publish(event, summary, local=self._local))
        cancelled = await _done(publishing)
        published = publishing.result()
        if cancelled:
            raise asyncio.CancelledError
        return published

    async def publish_all(self, events: Iterable[ResultEvent]) -> list[Published]:
        """Publish `events` side by side, in no order, and say where each lies, in the order given.

        Make them with `event`. Ends once each is published, and only then raises; see `send`.
        """
        # A plain `gather` would raise as soon as the first of them is done after a cancellation, and
        # leave the others on their way: what is published next would overtake them.
        ends = await asyncio.gather(*map(self.send, events), return_exceptions=True)
        published: list[Published] = []
        for end in ends:
            if isinstance(end, BaseException):
                raise end
            published.append(end)
        return published


async def _publish(event: ResultEvent, summary: str, *, local: bool) -> Published:
    if local:
        began = workflow.now()
        with suppress(FailureError):  # not ActivityError, in which a local activity's failure does not come
            return await workflow.execute_local_activity_method(
                PublishingActivities.publish,
                event,
                summary=summary,
                retry_policy=ONCE,
                schedule_to_close_timeout=LOCAL_PATIENCE,
            )
        event = event.model_copy(update={"tried_since": began})
    return await workflow.execute_activity_method(
        PublishingActivities.publish,
        event,
        summary=summary,
        retry_policy=WITHOUT_LIMIT,
        # No schedule_to_close_timeout: giving up would lose a result that the workflow moved past.
        start_to_close_timeout=timedelta(minutes=10),
        heartbeat_timeout=HEARTBEAT_TIMEOUT,
        # Nothing here cancels it, but if someone does: never move on while an attempt may still write.
        cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    )


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end; a cancellation that comes meanwhile is dropped.

    For what must not be left half done: a compensation, and what comes after the point of no return.
    """
    task = asyncio.create_task(work)
    await _done(task)
    return task.result()


async def _done(task: asyncio.Task[Any]) -> bool:
    """Wait until `task` is done, and say whether a cancellation came meanwhile.

    `workflow.wait` leaves the task alone when its waiter is cancelled. `asyncio.shield` does so too,
    but mixes the task's own error with the cancellation of the waiter.
    """
    cancelled = False
    while not task.done():
        try:
            await workflow.wait([task])
        except asyncio.CancelledError:
            cancelled = True
    return cancelled


def result_id(
    workflow_id: str,
    original_run_id: str,
    type_: str,
    nth: int,
    *,
    subject: str,
    data: JsonValue,
) -> str:
    """Make the id of the `nth` result of `type_`: the same for the same parts, in whatever order keys stand.

    `original_run_id` is `original_execution_run_id`: the run id would change at a reset, and the
    first run id is shared by a whole chain of continue-as-new.
    """
    content = hashlib.sha256(_canonical([subject, data]).encode()).hexdigest()
    return str(uuid5(_RESULTS, _canonical([workflow_id, original_run_id, type_, nth, content])))


def _canonical(value: JsonValue) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _headers_from_start() -> dict[str, str]:
    """Tell what led here; see `headers_of`.

    A workflow that someone started by hand has no such memo, or one that means something else.
    """
    start = workflow.memo_value(_MEMO_KEY, None)
    return headers_of(workflow.info().workflow_id, start if isinstance(start, Mapping) else {})


def headers_of(workflow_id: str, known: Mapping[str, Any]) -> dict[str, str]:
    """What is known of a workflow's start as CloudEvents extension attributes, and its trace."""
    headers = {
        "ce_correlationid": workflow_id,
        "ce_causationid": known.get("event"),
        "traceparent": known.get("traceparent"),
        "tracestate": known.get("tracestate"),
    }
    return {name: value for name, value in headers.items() if isinstance(value, str) and value}
