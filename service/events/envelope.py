"""What a topic declares about its records: the envelope, the key, what a null value means."""

from dataclasses import dataclass
from typing import Literal

from service.events.codec import BytesFormat
from service.expressions import Template

KeyFormat = Literal["text", "json", "bytes", "avro", "json-schema"]
"""How keys are written."""


@dataclass(frozen=True, slots=True)
class MappedEnvelope:
    """Where the attributes of an event come from when its producer does not send CloudEvents.

    The templates see `data`, `headers` and `record.*`. None: no `id` means that the record's
    place is its identity, no `subject` is `""`, no `source` is the topic, no `time` is the
    record's timestamp.
    """

    type: Template
    id: Template | None = None
    subject: Template | None = None
    source: Template | None = None
    time: Template | None = None


@dataclass(frozen=True, slots=True)
class TopicFormat:
    """How the records of `topic` are read.

    `tombstones` says what a null value is: to be skipped, or an event without data. None: nobody
    said, so a null value is refused.
    """

    topic: str
    envelope: Literal["cloudevents"] | MappedEnvelope = "cloudevents"
    key: KeyFormat = "text"
    tombstones: Literal["skip", "event"] | None = None
    format: BytesFormat = "json"

    @property
    def needs_registry(self) -> bool:
        """Whether its bytes say nothing without a schema registry."""
        return self.format != "json" or self.key in {"avro", "json-schema"}
