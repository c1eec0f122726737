"""From a record to an event, as its topic declares it."""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from service.errors import DecodeError, RouteError
from service.events.cloudevents import decode_cloudevent, is_tombstone
from service.events.envelope import MappedEnvelope, TopicFormat
from service.events.event import Event
from service.events.mapping import decode_mapped
from service.events.strict_json import Limits, parse_json
from service.kafka.record import Record


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A record with a null value that its topic declares to be skipped."""

    record: Record


class Decoder:
    """Decodes records; holds no state, so a record may be decoded again at any time.

    Args:
        formats: What each topic declares, by topic.
        limits: How large and how deep a value may be.
        cluster_id: Kafka's own, part of an event's key where the event has no id.
    """

    def __init__(self, formats: Mapping[str, TopicFormat], limits: Limits, cluster_id: str) -> None:
        self._formats = formats
        self._limits = limits
        self._cluster_id = cluster_id

    def decode(self, record: Record) -> Event | Tombstone:
        """The event in `record`, or a tombstone to skip.

        Raises:
            DecodeError: The bytes are not what the topic declares.
            RouteError: The topic is not declared, or a mapped attribute has no result.
        """
        declared = self._formats.get(record.topic)
        if declared is None:
            raise RouteError(f"topic {record.topic} is not declared", cure="write it under `topics`")
        if isinstance(declared.envelope, MappedEnvelope):
            return self._decode_mapped(record, declared, declared.envelope)
        if is_tombstone(record):
            return _tombstone(record, declared)
        return decode_cloudevent(record, self._key(record, declared), self._limits)

    def _decode_mapped(
        self, record: Record, declared: TopicFormat, envelope: MappedEnvelope
    ) -> Event | Tombstone:
        if record.value is None and declared.tombstones != "event":
            return _tombstone(record, declared)
        key = self._key(record, declared)
        return decode_mapped(record, key, envelope, self._limits, self._cluster_id)

    def _key(self, record: Record, declared: TopicFormat) -> Any:
        """The key as expressions see it; `""` if there is none, Base64 text if it is bytes."""
        if record.key is None:
            return ""
        match declared.key:
            case "bytes":
                return b64encode(record.key).decode()
            case "json":
                return parse_json(record.key, self._limits, what="key")
            case "text":
                return _key_text(record.key, declared.topic)


def _key_text(key: bytes, topic: str) -> str:
    try:
        return key.decode()
    except UnicodeDecodeError as error:
        raise DecodeError(
            f"the key is not UTF-8 at byte {error.start}",
            cure=f"write `key: bytes` for topic {topic}",
            position=f"byte {error.start} of the key",
        ) from error


def _tombstone(record: Record, declared: TopicFormat) -> Tombstone:
    if declared.tombstones == "skip":
        return Tombstone(record)
    # A null value without ce_ headers has no attributes: it cannot be an event.
    cloudevents = declared.envelope == "cloudevents"
    rule = "`tombstones: skip`" if cloudevents else "`tombstones: skip` or `tombstones: event`"
    raise DecodeError("the value is null", cure=f"write {rule} for topic {declared.topic}")
