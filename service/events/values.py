"""The codec of a topic's values or keys: what its format says of bytes, headers and content types."""

from typing import Any, Protocol

import orjson

from service.errors import DecodeError
from service.events.codec import BytesFormat, Decoded
from service.events.framing import Part, is_framed, unframed
from service.events.headers import require_avro, require_json
from service.events.schemas import Schemas
from service.events.strict_json import Limits, parse_json
from service.kafka.record import Headers


class Values(Protocol):
    """Decodes the values of records, or their keys."""

    def require(self, content_type: str) -> None:
        """Refuse a content type that names another format; `""` declares none and passes.

        Raises:
            DecodeError: It does.
        """
        ...

    def decode(self, encoded: bytes, headers: Headers, part: Part = "value") -> Decoded:
        """What a value, or a key, of a record with `headers` means.

        Raises:
            DecodeError: It is not of this format.
            SchemaNeeded: A schema is needed that is not fetched yet.
        """
        ...


class JsonValues:
    """JSON as it is."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def require(self, content_type: str) -> None:
        """See `Values.require`."""
        require_json(content_type)

    def decode(self, encoded: bytes, headers: Headers, part: Part = "value") -> Decoded:
        """See `Values.decode`."""
        del headers
        return Decoded(parse_json(encoded, self._limits, what=part))


class RegistryValues:
    """Bytes that name the schema they were written by.

    Args:
        format: The declared one: a schema of another is refused.
        schemas: Those of the registry.
    """

    def __init__(self, format: BytesFormat, schemas: Schemas) -> None:  # noqa: A002
        self._format = format
        self._schemas = schemas

    def require(self, content_type: str) -> None:
        """See `Values.require`."""
        (require_avro if self._format == "avro" else require_json)(content_type)

    def decode(self, encoded: bytes, headers: Headers, part: Part = "value") -> Decoded:
        """See `Values.decode`."""
        schema_id, payload = unframed(encoded, headers, part)
        codec = self._schemas.get(schema_id)
        if codec.format not in {self._format, None}:
            raise DecodeError(
                f"the {part} is written by schema {schema_id}, which is of format {codec.format}",
                cure=f"send {self._format}, or declare the topic's format",
            )
        return codec.decode(payload, what=part)


class GivenValues:
    """What a person wrote into a file: JSON that stands for decoded data; or bytes of `others` after all.

    A key may also be text that is no JSON.
    """

    def __init__(self, limits: Limits, others: Values) -> None:
        self._limits = limits
        self._others = others

    def require(self, content_type: str) -> None:
        """See `Values.require`; JSON is taken, too."""
        try:
            require_json(content_type)
        except DecodeError:
            self._others.require(content_type)

    def decode(self, encoded: bytes, headers: Headers, part: Part = "value") -> Decoded:
        """See `Values.decode`."""
        if is_framed(encoded):
            return self._others.decode(encoded, headers, part)
        if part == "key" and (text := _text_that_is_no_json(encoded)) is not None:
            return Decoded(text)
        return Decoded(parse_json(encoded, self._limits, what=part))


def _text_that_is_no_json(encoded: bytes) -> Any:
    try:
        orjson.loads(encoded)
    except orjson.JSONDecodeError:
        try:
            return encoded.decode()
        except UnicodeDecodeError:
            return None
    return None
