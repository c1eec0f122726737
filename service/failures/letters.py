"""Letters: records, or one route's part of them, given up on with the reason."""

from datetime import UTC, datetime

from service.errors import NotNow, RecordError
from service.kafka.record import Headers, Record, RecordSink, RecordTooLarge, Written

REASON_BYTES = 1024
HEADROOM_BYTES = 65_536
"""What a letter may be larger than its record; the letter topic must leave that much room."""


def letter_topic(group: str) -> str:
    """The topic that holds the letters of consumer group `group`."""
    return f"{group}.dead-letters"


DEFAULT_MAX_MESSAGE_BYTES = 1_048_588
"""What a topic takes where nobody said otherwise (`message.max.bytes`)."""


def letter_topic_settings(largest_record_bytes: int = DEFAULT_MAX_MESSAGE_BYTES) -> dict[str, str]:
    """Settings with which a letter topic takes the letter of a record of that size."""
    return {"cleanup.policy": "delete", "max.message.bytes": str(largest_record_bytes + HEADROOM_BYTES)}


class Letters:
    """Writes letters to the letter topic of `group`."""

    def __init__(self, sink: RecordSink, group: str) -> None:
        self._sink = sink
        self._group = group
        self._topic = letter_topic(group)

    async def write(self, record: Record, error: RecordError, *, route: str = "") -> Written:
        """Keep `record` byte for byte, with the reason in headers behind its own.

        Written with the time of now: a letter with the record's own timestamp would be deleted at
        once where that is older than the topic's retention. `route` is empty when no route ran.

        Raises:
            NotNow: The topic cannot be written to; nothing is lost as long as nothing is committed.
        """
        headers = (*record.headers, *_reasons(record, error, route, self._group))
        try:
            return await self._sink.send(self._topic, key=record.key, value=record.value, headers=headers)
        except RecordTooLarge as refused:
            # Waits, since a larger max.message.bytes on the topic heals it.
            raise NotNow(f"the letter does not fit: {refused}; raise its max.message.bytes") from refused


def _reasons(record: Record, error: RecordError, route: str, group: str) -> Headers:
    reason = str(error).encode(errors="replace")[:REASON_BYTES].decode(errors="ignore")
    name = type(error).__name__
    texts = {
        "__dlq.errors.topic": record.topic,
        "__dlq.errors.partition": str(record.partition),
        "__dlq.errors.offset": str(record.offset),
        "__dlq.errors.group": group,
        "__dlq.errors.message": reason,
        "kafka_dlt-original-topic": record.topic,
        "kafka_dlt-original-consumer-group": group,
        "kafka_dlt-exception-fqcn": name,
        "kafka_dlt-exception-message": reason,
        "x-original-topic": record.topic,
        "turnout-stage": error.stage.value,
        "turnout-route": route,
        "turnout-error": name,
        "turnout-failed-at": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }
    numbers = {
        # Spring's tools read these in binary form.
        "kafka_dlt-original-partition": record.partition.to_bytes(4, "big"),
        "kafka_dlt-original-offset": record.offset.to_bytes(8, "big"),
        "kafka_dlt-original-timestamp": record.timestamp_ms.to_bytes(8, "big", signed=True),
    }
    return (*((k, v.encode()) for k, v in texts.items()), *numbers.items())
