"""Result events that tell how workflows ended: one per run, with one id, however it is learned."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid5

import structlog
from temporalio.client import Client

from activities.ports import Published, ResultEvent, ResultPublisher
from service.events.attributes import is_attribute_text
from service.kafka.record import RecordTooLarge
from service.results.encodings import DoesNotFit
from service.routing.consistency import CLOSING_TYPE
from service.telemetry.metrics import Metrics
from service.temporal.closed import Closed, Failure, Result, Run, how_it_closed
from workflows.results import headers_of

log = structlog.get_logger(__name__)

TYPE = CLOSING_TYPE

_CLOSINGS = UUID("5b0c7e0a-6f43-5d0e-8a55-0d9c1f3f2a11")
"""The uuid5 namespace of their ids. Another value would publish again what was published before."""


def closing_id(run: Run) -> str:
    """The id of the event that tells how `run` ended; run ids are unique in themselves."""
    return str(uuid5(_CLOSINGS, json.dumps([run.workflow_id, run.run_id])))


def closing_event(closed: Closed, topic: str) -> ResultEvent:
    """The event that tells `topic` how a run ended; its subject, and so its key, is the workflow's id."""
    run = closed.run
    headers = headers_of(run.workflow_id, closed.start)
    return ResultEvent(
        topic=topic,
        id=closing_id(run),
        source=f"temporal/{run.namespace}",
        type=TYPE,
        subject=run.workflow_id,
        time=closed.at.isoformat(),
        data={
            "workflow_id": run.workflow_id,
            "run_id": run.run_id,
            "namespace": run.namespace,
            "workflow": closed.workflow,
            "status": closed.status,
            "closed_at": closed.at.isoformat(),
            **_end(closed),
        },
        # What a producer of events that are mapped wrote as their id may be anything.
        headers={name: text for name, text in headers.items() if is_attribute_text(text)},
    )


def _end(closed: Closed) -> Mapping[str, Any]:
    if closed.result is None:
        failure, *causes = closed.failures
        return {"failure": {**_told(failure), "causes": [_told(cause) for cause in causes]}}
    if closed.result.left_out:
        return {"result_left_out": closed.result.left_out}
    return {"result": closed.result.value}


def _told(failure: Failure) -> dict[str, str]:
    return {"type": failure.type, "text": failure.text}


class Closings:
    """Publishes how runs ended, as Temporal tells it.

    May be repeated, and by several at once: a repeat writes another record with the same id.

    Args:
        client: Knows how they ended.
        publisher: Takes the events.
        metrics: Counts them.
    """

    def __init__(self, client: Client, publisher: ResultPublisher, metrics: Metrics) -> None:
        self._client = client
        self._publisher = publisher
        self._metrics = metrics

    async def publish(self, run: Run, topic: str, *, by: str) -> Published | None:
        """Tell `topic` how `run` ended; None if it has not, or is gone. Suspends until Kafka acknowledged.

        Args:
            run: Which.
            topic: Whom to tell.
            by: How we learned of it; for log and metrics.

        Raises:
            NotNow: Kafka did not acknowledge it.
            RPCError: Temporal does not say how it ended.
            ValueError: It can never be an event.
            RecordTooLarge: The topic does not even take it without its result.
        """
        closed = await how_it_closed(self._client, run)
        if closed is None:
            return None
        published = await self._publish(closed, topic)
        self._metrics.closing(by)
        log.info(
            "closing published",
            by=by,
            workflow_id=run.workflow_id,
            run_id=run.run_id,
            status=closed.status,
            place=f"{published.topic}[{published.partition}]@{published.offset}",
        )
        return published

    async def _publish(self, closed: Closed, topic: str) -> Published:
        try:
            return await self._publisher.publish(closing_event(closed, topic))
        except (ValueError, RecordTooLarge) as error:
            if closed.result is None or closed.result.left_out:
                raise
            # That it ended is worth more than what it returned.
            match error:
                case RecordTooLarge():
                    reason = "the topic does not take a record of its size"
                case DoesNotFit():
                    reason = "it does not fit the schema of the topic"
                case _:
                    reason = "it is no JSON that all read"
            told = replace(closed, result=Result(left_out=reason))
            return await self._publisher.publish(closing_event(told, topic))
