"""JSON that its schema in a registry vouches for."""

import json
from collections.abc import Mapping
from itertools import islice
from typing import Any

from service.errors import DecodeError
from service.events.codec import BytesFormat, Decoded
from service.events.json_schema import MOST_PROBLEMS, Problem, Schema, SchemaMistakeError, path_of
from service.events.strict_json import Limits, encode_json, parse_json


class JsonSchemaCodec:
    """One JSON Schema; implements `SchemaCodec`. What does not fit it is refused, as it is in both ways.

    Its full name is its `title`, as in subjects that are named for records, or else its `$id`.

    Args:
        text: The schema in JSON.
        references: Schemas that it refers to, by name.
        limits: How large and how deep a value may be.

    Raises:
        SchemaMistakeError: It is no JSON Schema that can be used.
    """

    format: BytesFormat | None = "json-schema"
    content_type = "application/json"

    def __init__(
        self, text: str, references: Mapping[str, str] | None = None, limits: Limits | None = None
    ) -> None:
        self._limits = limits or Limits()
        schema = _object(text)
        others = {name: _object(other) for name, other in (references or {}).items()}
        self._schema = Schema(schema, {n: one for n, one in others.items() if isinstance(one, dict)})
        named = schema if isinstance(schema, dict) else {}
        self.names = [str(named.get("title") or named.get("$id") or "")]

    def decode(self, payload: bytes, *, what: str = "value") -> Decoded:
        """See `SchemaCodec.decode`."""
        data = parse_json(payload, self._limits, what=what)
        if problems := self._problems(data):
            place = path_of(problems[0].place)
            raise DecodeError(
                f"the {what} does not fit its JSON Schema: {_told(problems)}",
                position=place if what == "value" or not place else f"{place} of the {what}",
            )
        return Decoded(data, self.names[0])

    def encode(self, data: Any) -> bytes:
        """See `SchemaCodec.encode`."""
        encoded = encode_json(data)
        if problems := self._problems(data):
            raise ValueError(f"it does not fit its JSON Schema: {_told(problems)}")
        return encoded

    def _problems(self, data: Any) -> list[Problem]:
        return list(islice(self._schema.problems(data), MOST_PROBLEMS))


def _told(problems: list[Problem]) -> str:
    return "; ".join(map(str, problems))


def _object(text: str) -> dict[str, Any] | bool:
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SchemaMistakeError(f"is no JSON: {type(error).__name__}") from error
    if not isinstance(schema, dict | bool):
        raise SchemaMistakeError("is no JSON object")
    return schema
