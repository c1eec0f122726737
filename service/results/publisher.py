"""Publishes result events: the service's side of the activity `publish`."""

from activities.ports import Published, ResultEvent
from service.events.cloudevents import encode_binary
from service.kafka.record import RecordSink


class KafkaResultPublisher:
    """Writes result events as CloudEvents in binary mode; the key is the subject.

    Implements `activities.ports.ResultPublisher`.
    """

    def __init__(self, sink: RecordSink) -> None:
        self._sink = sink

    async def publish(self, event: ResultEvent) -> Published:
        """Write `event`; see `ResultPublisher.publish`.

        Raises:
            NotNow: Kafka did not acknowledge it; Temporal tries again.
            ValueError: It can never be a CloudEvent, whatever one tries.
            RecordTooLarge: The topic does not take it.
        """
        key, value, headers = encode_binary(event)
        written = await self._sink.send(event.topic, key=key, value=value, headers=headers)
        return Published(topic=written.topic, partition=written.partition, offset=written.offset)
