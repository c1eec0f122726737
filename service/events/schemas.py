"""The schemas of a registry that are known here: fetched once, kept, and waited for when it is away."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from service.errors import DecodeError, NotNow
from service.events.avro import AvroCodec
from service.events.codec import BytesFormat, Decoded, SchemaCodec
from service.events.framing import SchemaId
from service.events.json_schema import SchemaMistakeError
from service.events.json_schema_codec import JsonSchemaCodec
from service.events.strict_json import Limits
from service.telemetry.health import AWAY_SECONDS, Problem

FORMATS: Mapping[str, BytesFormat] = {"AVRO": "avro", "JSON": "json-schema"}
"""The formats of topics by what registries call the types of schemas."""

KEPT = 1_000
"""Schemas. A topic has few, and a version of one is another."""

UNKNOWN_SECONDS = 60.0
"""For how long the registry must have said that it does not know a schema, before that is believed: one that
was registered just now may not have reached each of its nodes."""


FORGOTTEN_SECONDS = 30.0
"""After that nobody waits for it any more: a record that does has it asked more often."""


class Reference(NamedTuple):
    """A schema that another one uses, under the name that it uses it by."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class RegisteredSchema:
    """A schema as a registry keeps it; `references` stand each after those that it uses itself."""

    type: str
    text: str
    references: Sequence[Reference] = ()


NamedCodec = AvroCodec | JsonSchemaCodec
"""Codecs that know the full names of their schema: of each branch, if it is a union."""


class UnknownSchema(Exception):  # noqa: N818 - an answer, not a fault
    """The registry itself says that it does not know it."""


class SchemaSource(Protocol):
    """Where schemas come from."""

    async def schema(self, schema_id: SchemaId) -> RegisteredSchema:
        """The schema of that id; the same for ever.

        Raises:
            UnknownSchema: The registry says that it knows none.
            NotNow: It does not answer, or not as a registry does.
        """
        ...


class SchemaNeeded(NotNow):
    """A schema is not known here yet: `Schemas.fetch` it, and decode again."""

    def __init__(self, schema_id: SchemaId) -> None:
        super().__init__(f"schema {schema_id} is not fetched yet")
        self.schema_id = schema_id


class SchemaNotKnown(NotNow):
    """The registry says that it does not know a schema, and has not said so for long enough yet."""


class Schemas:
    """The newest schemas that were used, by id. One request at a time for each.

    Args:
        source: The registry.
        limits: How large and how deep values may be.
        clock: Seconds that only grow.
    """

    def __init__(
        self, source: SchemaSource, limits: Limits, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._source = source
        self._limits = limits
        self._clock = clock
        self._codecs: OrderedDict[SchemaId, SchemaCodec] = OrderedDict()
        self._fetching: dict[SchemaId, asyncio.Task[None]] = {}
        self._unknown: OrderedDict[SchemaId, _Unknown] = OrderedDict()
        self._away: _Away | None = None

    def problems(self) -> Iterator[Problem]:
        """Whether the registry is away, as far as anyone has asked it lately; a part of `Health`."""
        if self._away and self._clock() - self._away.at < FORGOTTEN_SECONDS:
            yield Problem("schema registry", self._away.answer, patience_seconds=AWAY_SECONDS)

    def get(self, schema_id: SchemaId) -> SchemaCodec:
        """The codec of that schema.

        Raises:
            SchemaNeeded: It is not known here.
        """
        codec = self._codecs.get(schema_id)
        if codec is None:
            raise SchemaNeeded(schema_id)
        self._codecs.move_to_end(schema_id)
        return codec

    async def fetch(self, schema_id: SchemaId) -> None:
        """Ask for a schema, or wait for who asks; then `get` gives it.

        Raises:
            NotNow: The registry does not answer, or has not said for long enough that it knows none.
            DecodeError: It has said that for a minute.
        """
        if schema_id in self._codecs:
            return
        fetching = self._fetching.get(schema_id)
        if fetching is None:
            fetching = self._fetching[schema_id] = asyncio.create_task(self._fetch(schema_id))
            fetching.add_done_callback(lambda done: self._fetched(schema_id, done))
        # Who stops waiting, because its partition went, takes nothing from the others.
        await asyncio.shield(fetching)

    def _fetched(self, schema_id: SchemaId, done: "asyncio.Task[None]") -> None:
        del self._fetching[schema_id]
        if not done.cancelled():
            done.exception()  # seen, also where nobody waits any more

    async def _fetch(self, schema_id: SchemaId) -> None:
        try:
            registered = await self._source.schema(schema_id)
        except UnknownSchema as error:
            self._away = None
            raise self._not_known(schema_id, str(error)) from error
        except NotNow as error:
            self._away = _Away(str(error), self._clock())
            raise
        self._away = None
        self._unknown.pop(schema_id, None)
        self._codecs[schema_id] = compiled(registered, self._limits, f"schema {schema_id}")
        if len(self._codecs) > KEPT:
            self._codecs.popitem(last=False)

    def _not_known(self, schema_id: SchemaId, answer: str) -> NotNow | DecodeError:
        now, before = self._clock(), self._unknown.get(schema_id)
        since = before.since if before and now - before.last <= UNKNOWN_SECONDS else now
        self._unknown[schema_id] = _Unknown(since, now)
        self._unknown.move_to_end(schema_id)
        if len(self._unknown) > KEPT:
            self._unknown.popitem(last=False)
        if now - since < UNKNOWN_SECONDS:
            return SchemaNotKnown(
                f"the schema registry does not know schema {schema_id}, since {now - since:.0f} s"
            )
        return DecodeError(
            f"the schema registry does not know schema {schema_id}: {answer}",
            cure="register it, or point TURNOUT_REGISTRY__URL to the registry that its producer uses",
        )


class _Away(NamedTuple):
    """What was answered, or not, and when that was."""

    answer: str
    at: float


class _Unknown(NamedTuple):
    """Since when a registry says that it does not know a schema, and when it said so last."""

    since: float
    last: float


def compiled(registered: RegisteredSchema, limits: Limits, name: str) -> SchemaCodec:
    """The codec of a schema; of one that cannot be used it refuses everything, with the reason."""
    format_ = FORMATS.get(registered.type)
    if format_ is None:
        return _Unusable(f"{name} is of type {registered.type[:20]}, which is not read yet")
    try:
        return codec_of(format_, registered.text, registered.references, limits)
    except SchemaMistakeError as error:
        return _Unusable(f"{name} cannot be used: {error}")


def codec_of(
    format_: BytesFormat, text: str, references: Sequence[Reference] = (), limits: Limits | None = None
) -> NamedCodec:
    """The codec of the schema `text`. Here another format comes in.

    Raises:
        SchemaMistakeError: It is no schema of that format that can be used.
        ConfigurationError: The extra `registry` is not installed.
    """
    if format_ == "avro":
        return AvroCodec(text, [one.text for one in references], limits)
    return JsonSchemaCodec(text, {one.name: one.text for one in references}, limits)


class _Unusable:
    format: BytesFormat | None = None
    content_type = ""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def decode(self, payload: bytes, *, what: str = "value") -> Decoded:
        del payload
        raise DecodeError(f"the {what} cannot be read: {self._reason}")

    def encode(self, data: Any) -> bytes:
        del data
        raise ValueError(self._reason)
