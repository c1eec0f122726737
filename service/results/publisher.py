"""Publishes result events: the service's side of the activity `publish`."""

import asyncio
import time
from collections.abc import Mapping

import structlog

from activities.ports import Published, ResultEvent
from service.events.cloudevents import Encoding, encode_binary
from service.kafka.record import RecordSink
from service.results.looking_back import LookBack, Sought
from service.telemetry.metrics import Metrics
from service.telemetry.trace_context import with_context
from service.telemetry.traces import OFF, Traces

log = structlog.get_logger(__name__)


class KafkaResultPublisher:
    """Writes result events as CloudEvents in binary mode; the key is the subject.

    Data are JSON, or what `encodings` say for the topic.

    Implements `activities.ports.ResultPublisher`.
    """

    def __init__(
        self,
        sink: RecordSink,
        look_back: LookBack,
        metrics: Metrics | None = None,
        encodings: Mapping[str, Encoding] | None = None,
        traces: Traces = OFF,
    ) -> None:
        self._sink = sink
        self._look_back = look_back
        self._metrics = metrics or Metrics()
        self._encodings = encodings or {}
        self._traces = traces
        self._under_way: dict[tuple[str, str, str], asyncio.Task[Published]] = {}

    async def publish(self, event: ResultEvent) -> Published:
        """Write `event`; see `ResultPublisher.publish`.

        Raises:
            NotNow: Kafka did not acknowledge it, or not say whether it is there; Temporal tries again.
            ValueError: It can never be a CloudEvent, whatever one tries.
            RecordTooLarge: The topic does not take it.
        """
        # An attempt that Temporal has given up on may still be writing, here. What it writes is not there
        # yet for a look, so the next attempt ends as it does.
        name = (event.topic, event.source, event.id)
        publishing = self._under_way.get(name)
        if publishing is None:
            publishing = self._under_way[name] = asyncio.create_task(self._publish(event))
            publishing.add_done_callback(lambda _: self._under_way.pop(name))
        return await asyncio.shield(publishing)

    async def _publish(self, event: ResultEvent) -> Published:
        with self._traces.send(event.topic, event.headers) as context:
            if context:
                event = event.model_copy(update={"headers": with_context(event.headers, context)})
            published = await self._write(event)
            place = {"messaging.destination.partition.id": str(published.partition)}
            self._traces.note(
                {**place, "messaging.kafka.offset": published.offset, "messaging.message.id": event.id}
            )
            return published

    async def _write(self, event: ResultEvent) -> Published:
        key, value, headers = encode_binary(event, self._encodings.get(event.topic))
        if event.tried_since:
            sought = Sought(event.topic, key, event.source, event.id, event.tried_since)
            if found := await self._look_back.find(sought):
                log.info(
                    "result of an earlier attempt found",
                    id=event.id,
                    topic=found.topic,
                    partition=found.partition,
                    offset=found.offset,
                )
                return Published(topic=found.topic, partition=found.partition, offset=found.offset)
        begun = time.monotonic()
        try:
            written = await self._sink.send(event.topic, key=key, value=value, headers=headers)
        finally:
            self._metrics.published(time.monotonic() - begun)
        return Published(topic=written.topic, partition=written.partition, offset=written.offset)
