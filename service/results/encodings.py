"""How results are written where their topic says so: by schemas of a registry, seen to fit before a start."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from service.errors import ConfigurationError, NotNow, Unreachable
from service.events.cloudevents import Encoding
from service.events.codec import SchemaCodec
from service.events.framing import framed
from service.events.registry import TYPES, Registry
from service.events.schemas import NamedCodec, UnknownSchema, codec_of, compiled
from service.events.strict_json import Limits
from service.routing.table import OutFormat


class _Written(NamedTuple):
    """By which schema something is written, and the id that the registry has for it."""

    schema_id: int
    codec: SchemaCodec


class DoesNotFit(ValueError):  # noqa: N818 - of data, as one says it of them
    """Data do not fit the schema of their topic."""


class SchemaEncoding:
    """Writes data by the schema of their event's type, with its id before it; implements `Encoding`."""

    def __init__(self, topic: str, content_type: str, by_type: Mapping[str, _Written]) -> None:
        self.content_type = content_type
        self._topic = topic
        self._by_type = by_type

    def encode(self, event_type: str, data: object) -> bytes:
        """See `Encoding.encode`."""
        written = self._by_type.get(event_type) or self._by_type.get("")
        if written is None:
            raise ValueError(f"topic {self._topic} has no schema for events of type {event_type}")
        try:
            return framed(written.schema_id, written.codec.encode(data))
        except ValueError as error:
            raise DoesNotFit(f"data of an event of type {event_type} for {self._topic}: {error}") from error


async def make_encodings(
    registry: Registry, formats: Iterable[OutFormat], limits: Limits
) -> Mapping[str, Encoding]:
    """The encoding of each topic, once the registry has all of their schemas, and takes them.

    May be repeated, and by several at once: registering what is registered changes nothing.

    Raises:
        ConfigurationError: A schema is not there, or does not fit what is; the text says what of it.
        Unreachable: The registry does not answer.
    """
    try:
        return {one.topic: await _encoding(registry, one, limits) for one in formats}
    except NotNow as error:
        raise Unreachable(str(error)) from error


async def _encoding(registry: Registry, out: OutFormat, limits: Limits) -> Encoding:
    if not out.schemas:
        written = await _latest(registry, out, limits)
        return SchemaEncoding(out.topic, written.codec.content_type, {"": written})
    by_type = {}
    for type_, text in out.schemas.items():
        codec = codec_of(out.format, text, limits=limits)
        by_type[type_] = _Written(await _id_of(registry, out, _subject(out, codec), text), codec)
    return SchemaEncoding(out.topic, next(iter(by_type.values())).codec.content_type, by_type)


def _subject(out: OutFormat, codec: NamedCodec) -> str:
    match out.subject:
        case "topic-name":
            return f"{out.topic}-value"
        case "record-name":
            return codec.names[0]
        case "topic-record-name":
            return f"{out.topic}-{codec.names[0]}"


async def _latest(registry: Registry, out: OutFormat, limits: Limits) -> _Written:
    subject = f"{out.topic}-value"
    try:
        schema_id, registered = await registry.latest(subject)
    except UnknownSchema:
        raise ConfigurationError(
            f"{registry} has no schema for subject {subject}, by which results are to be written to topic "
            f"{out.topic}; register one, or write schema: FILE and register: true for the topic"
        ) from None
    codec = compiled(registered, limits, f"schema {schema_id}")
    if codec.format != out.format:
        raise ConfigurationError(
            f"topic {out.topic} is declared as {out.format}, and the newest schema of subject {subject} is "
            f"{f'of format {codec.format}' if codec.format else 'none that can be used'}; declare what it is"
        )
    return _Written(schema_id, codec)


async def _id_of(registry: Registry, out: OutFormat, subject: str, text: str) -> int:
    type_ = TYPES[out.format]
    if misfits := await registry.misfits(subject, type_, text):
        raise ConfigurationError(
            f"the schema for topic {out.topic} does not fit the newest one of subject {subject}: "
            f"{'; '.join(misfits)}; change it so that who reads the topic can go on, or name another subject"
        )
    if out.register:
        return await registry.register(subject, type_, text)
    try:
        return await registry.id_in_subject(subject, type_, text)
    except UnknownSchema:
        raise ConfigurationError(
            f"subject {subject} of {registry} does not hold the schema for topic {out.topic}; register it, "
            "or write register: true for the topic"
        ) from None
