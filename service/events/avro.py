"""Avro: schemas as a registry keeps them, and the codec that each makes."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from service.errors import ConfigurationError, DecodeError
from service.events.avro_reading import Cursor, Readers, read_long
from service.events.avro_writing import Writers
from service.events.codec import BytesFormat, Decoded, SchemaMisfit
from service.events.json_schema import SchemaMistakeError
from service.events.strict_json import Limits, check_size


class AvroCodec:
    """One Avro schema; implements `SchemaCodec`.

    Records, maps and arrays become objects and arrays, enums text, bytes and fixed Base64, decimals and
    times text (see `avro_logical`), and unions whatever of them it is. Numbers are never rounded when they
    are read; NaN and infinities are refused.

    Args:
        text: The schema in JSON.
        references: Schemas with named types that it uses, each after those that it uses itself.
        limits: How large and how deep a value may be, both as bytes and as JSON.

    Raises:
        SchemaMistakeError: It is no Avro schema.
        ConfigurationError: The extra `registry` is not installed.
    """

    format: BytesFormat | None = "avro"
    content_type = "application/avro"

    def __init__(self, text: str, references: Sequence[str] = (), limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        named: dict[str, Any] = {}
        schema = None
        try:
            for one in (*references, text):
                schema = _parsed(one, named)
            # The branches of a union are types of their own here: what is read is of one of them.
            self._branches = schema if isinstance(schema, list) else None
            self.names = [_name(branch) for branch in self._branches or [schema]]
            readers = Readers(named, self._limits.depth)
            self._read = readers.of(schema)
            self._write = Writers(named, self._limits.depth).of(schema)
        except RecursionError:
            raise SchemaMistakeError("is nested too deep") from None

    def decode(self, payload: bytes, *, what: str = "value") -> Decoded:
        """See `SchemaCodec.decode`."""
        check_size(payload, self._limits, what=what)
        at = Cursor(payload, self._limits.value_bytes)
        try:
            name = self.names[0] if self._branches is None else self._branch(at)
            data = self._read(at, 0)
        except SchemaMisfit as misfit:
            reason = f"the {what} is not what its Avro schema {self.names[0]} says: {misfit}"
            position = misfit.place or f"byte {at.position}"
            raise DecodeError(reason, position=_position(what, position)) from misfit
        except RecursionError:
            raise DecodeError(f"the {what} is nested too deep") from None
        if at.left():
            reason = f"the {what} has {at.left()} bytes more than its Avro schema {name} says"
            raise DecodeError(reason, position=_position(what, f"byte {at.position}"))
        return Decoded(data, name)

    def encode(self, data: Any) -> bytes:
        """See `SchemaCodec.encode`; a field that is missing has its default."""
        out = bytearray()
        try:
            self._write(out, data, 0)
        except SchemaMisfit as misfit:
            # Not from it: what was tried first in a union may say values.
            raise ValueError(f"it does not fit the Avro schema {self.names[0]}: {misfit}") from None
        except RecursionError:
            raise ValueError("it is nested too deep") from None
        return bytes(out)

    def _branch(self, at: Cursor) -> str:
        """The name of the branch that the bytes begin with, without taking them."""
        index = read_long(at)
        at.position = 0
        return self.names[index] if 0 <= index < len(self.names) else ""


def _parsed(text: str, named: dict[str, Any]) -> Any:
    try:
        import fastavro
    except ImportError as error:
        raise ConfigurationError(MISSING_EXTRA) from error
    try:
        return fastavro.parse_schema(json.loads(text), named_schemas=named)
    except RecursionError:
        raise
    except Exception as error:
        # The library raises errors of many kinds for what is no schema.
        raise SchemaMistakeError(f"is no Avro schema: {type(error).__name__}: {error}") from error


MISSING_EXTRA = (
    "topics in Avro, and schema registries, need packages that are not installed; install turnout with the "
    "extra: pip install 'turnout[registry]'"
)


def _name(schema: Any) -> str:
    if isinstance(schema, Mapping):
        return str(schema.get("name") or schema["type"])
    return "union" if isinstance(schema, list) else str(schema)


def _position(what: str, place: str) -> str:
    return place if what == "value" else f"{place} of the {what}"
