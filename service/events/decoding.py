"""From a record to an event, as its topic declares it."""

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from service.errors import DecodeError, NotNow, RecordError, RouteError
from service.events.cloudevents import decode_cloudevent, is_tombstone
from service.events.codec import BytesFormat
from service.events.envelope import MappedEnvelope, TopicFormat
from service.events.event import Event
from service.events.mapping import decode_mapped
from service.events.schemas import SchemaNeeded, Schemas
from service.events.strict_json import Limits, parse_json
from service.events.values import GivenValues, JsonValues, RegistryValues, Values
from service.kafka.record import Record
from service.telemetry.health import Problem

SCHEMA_FORMATS: Sequence[BytesFormat] = ("avro", "json-schema")
"""Those of which a schema registry keeps the schemas."""


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A record with a null value that its topic declares to be skipped."""

    record: Record


class Decoder:
    """Decodes records; a record may be decoded again at any time.

    Args:
        formats: What each topic declares, by topic.
        limits: How large and how deep a value may be.
        cluster_id: Kafka's own, part of an event's key where the event has no id.
        schemas: Those of the registry, for topics that need one.
        given: Whether records are what a person wrote into a file: JSON is what the bytes of topics with
            schemas mean, too.
    """

    def __init__(
        self,
        formats: Mapping[str, TopicFormat],
        limits: Limits,
        cluster_id: str,
        schemas: Schemas | None = None,
        *,
        given: bool = False,
    ) -> None:
        self._formats = formats
        self._limits = limits
        self._cluster_id = cluster_id
        self._schemas = schemas
        self._values: dict[str, Values] = {"json": JsonValues(limits)}
        if schemas:
            for format_ in SCHEMA_FORMATS:
                values = RegistryValues(format_, schemas)
                self._values[format_] = GivenValues(limits, values) if given else values

    async def decode_with_registry(self, record: Record) -> Event | Tombstone:
        """As `decode`, once the schemas that it needs are fetched.

        Raises:
            DecodeError: Also a schema that the registry has not known for a minute.
            RouteError: See `decode`.
            NotNow: The registry does not answer.
        """
        while True:
            try:
                return self.decode(record)
            except SchemaNeeded as needed:
                if self._schemas is None:
                    raise
                await self._schemas.fetch(needed.schema_id)

    def problems(self) -> Iterable[Problem]:
        """What is wrong with the registry, if it was asked lately; a part of `Health`."""
        return self._schemas.problems() if self._schemas else ()

    async def prepare(self, record: Record) -> None:
        """Fetch the schemas that `record` needs, as far as they are to be had now: for `decode`."""
        with suppress(NotNow):
            await self.fetch_schemas(record)

    async def fetch_schemas(self, record: Record) -> None:
        """Fetch the schemas that `record` needs: then `decode` gives what it is.

        Raises:
            SchemaNotKnown: The registry knows one of them not, or not yet.
            NotNow: It does not answer.
        """
        declared = self._formats.get(record.topic)
        if declared and declared.needs_registry:
            with suppress(RecordError):
                await self.decode_with_registry(record)

    def decode(self, record: Record) -> Event | Tombstone:
        """The event in `record`, or a tombstone to skip; does not wait for anything.

        Raises:
            SchemaNeeded: A schema is needed that is not fetched yet: see `decode_with_registry`.
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
        values = self._values[declared.format]
        return decode_cloudevent(record, self._key(record, declared), values, self._limits)

    def _decode_mapped(
        self, record: Record, declared: TopicFormat, envelope: MappedEnvelope
    ) -> Event | Tombstone:
        if record.value is None and declared.tombstones != "event":
            return _tombstone(record, declared)
        key = self._key(record, declared)
        return decode_mapped(record, key, envelope, self._values[declared.format], self._cluster_id)

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
            case "avro" | "json-schema":
                return self._values[declared.key].decode(record.key, record.headers, "key").data


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
