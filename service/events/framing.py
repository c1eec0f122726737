"""How bytes say which schema of a registry they were written by: before themselves, or in a header.

Before them: the byte 0, then the id in four bytes, big-endian. In a header of their record: the byte 1,
then the schema's GUID, with the bytes themselves bare; also the byte 0 and an id. The header counts
where both are there.
Source: `dual_schema_id_deserializer` and `SchemaId` of confluent-kafka-python 2.16.
"""

import struct
from collections.abc import Sequence
from typing import Literal
from uuid import UUID

from service.errors import DecodeError
from service.kafka.record import Headers

SchemaId = int | UUID
"""What a registry calls a schema: a number of its own, or what it is called everywhere."""

Part = Literal["key", "value"]

PREFIX_BYTES = 5
_PREFIX = struct.Struct(">BI")
_MOST_ID = 2**31 - 1
"""Registries count in signed integers of 32 bits."""


def header_of(part: Part) -> str:
    """The name of the header that names the schema of a record's key or value."""
    return f"__{part}_schema_id"


def framed(schema_id: int, payload: bytes) -> bytes:
    """`payload` with its schema's id before it."""
    return _PREFIX.pack(0, schema_id) + payload


def is_framed(encoded: bytes) -> bool:
    """Whether `encoded` may begin with a schema's id; no JSON does."""
    return encoded[:1] == b"\0"


def unframed(encoded: bytes, headers: Headers, part: Part) -> tuple[SchemaId, bytes]:
    """The id of the schema that `encoded` was written by, and the bytes without it.

    Raises:
        DecodeError: They do not say it.
    """
    name = header_of(part)
    given = [value for header, value in headers if header == name]
    if given:
        return _id_in_header(name, given), encoded
    if len(encoded) < PREFIX_BYTES or not is_framed(encoded):
        raise DecodeError(
            f"the {part} does not begin with the id of a schema",
            cure="send it with a serializer of a schema registry, or declare the format that it has",
        )
    return _number(encoded, f"the {part}"), encoded[PREFIX_BYTES:]


def _id_in_header(name: str, given: Sequence[bytes | None]) -> SchemaId:
    if len(given) > 1:
        raise DecodeError(f"header {name} is repeated")
    value = given[0] or b""
    if value[:1] == b"\1" and len(value) == 17:
        return UUID(bytes=value[1:])
    if value[:1] == b"\0" and len(value) == PREFIX_BYTES:
        return _number(value, f"header {name}")
    raise DecodeError(f"header {name} is no id of a schema")


def _number(encoded: bytes, what: str) -> int:
    number = int(_PREFIX.unpack_from(encoded)[1])
    if number > _MOST_ID:
        raise DecodeError(f"{what} names schema {number}, and registries have none beyond {_MOST_ID}")
    return number
