"""A decoded record: a fact in the past tense."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from service.kafka.record import Record

EventKey = tuple[str | int, ...]
"""What makes an event this one and no other; the base of all ids derived from it.

[source, id] of a CloudEvent, else [topic, mapped id], else
[cluster id, topic, partition, offset, timestamp in ms].
"""


@dataclass(frozen=True, slots=True)
class Event:
    """CloudEvents attributes and data; absent optional attributes are `""`.

    `data` is plain JSON (None, bool, int within 64 bits, float, str, list, dict);
    `has_data` tells an event without data from one whose data is `null`.
    `time` is RFC 3339, the record's timestamp where the event has none of its own.
    `ext` holds extension attributes as text. `headers` holds the record's text headers
    (a binary header is left out, the last of a repeated one wins).
    `record_key` is the key in the topic's declared key format.
    """

    key: EventKey
    id: str
    source: str
    type: str
    subject: str
    time: str
    data: Any
    has_data: bool
    record: Record
    ext: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    record_key: Any = ""
    schema: str = ""

    def variables(self) -> dict[str, Any]:
        """The event as expressions see it: one entry per dotted name of design 5.

        `data` is absent from the record only when the event has none: then it is None.
        """
        return {
            "event.id": self.id,
            "event.source": self.source,
            "event.type": self.type,
            "event.subject": self.subject,
            "event.time": self.time,
            "event.ext": self.ext,
            "data": self.data,
            "headers": self.headers,
            "record.topic": self.record.topic,
            "record.partition": self.record.partition,
            "record.offset": self.record.offset,
            "record.key": self.record_key,
            "record.timestamp": self.record.timestamp_ms,
            "record.schema": self.schema,
        }
