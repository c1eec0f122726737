"""Schemas of payloads as components of an AsyncAPI document, each by a name of its own."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.json_schema import GenerateJsonSchema

_ROOT = "#/components/schemas/"
_OLD_DRAFTS = re.compile(r"draft-0?[34]\b")
"""In them some keywords have another meaning than in AsyncAPI's own dialect, which is that of draft 7."""

_NAMED = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
"""Keywords whose value holds schemas by name: what stands there as a key is no keyword."""

_VALUES = frozenset({"const", "enum", "default", "examples", "required"})
"""Keywords whose value is no schema."""


class Untitled(GenerateJsonSchema):
    """As pydantic does it, but for titles that say a key in other words."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's own
        """Never."""
        return False


class Schemas:
    """Collects schemas; what was collected is in `components`."""

    def __init__(self) -> None:
        self.components: dict[str, Any] = {}

    def of_type(self, adapter: TypeAdapter[Any], *, items: bool = False) -> Mapping[str, Any] | None:
        """A reference to what `adapter` takes, or its items; None where that is anything, or not known."""
        try:
            schema = adapter.json_schema(schema_generator=Untitled)
        except PydanticInvalidForJsonSchema:
            return None
        if items:
            schema = {**_items(schema), **{key: schema[key] for key in ("$defs",) if key in schema}}
        name = str(schema.get("title") or schema.get("$ref", "").rpartition("/")[2])
        return self.add(schema, name or "value")

    def add(self, schema: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
        """A reference to `schema`; None where it says nothing, or cannot stand in such a document."""
        if not schema.keys() - {"$schema", "$id", "title", "$defs"}:
            return None
        if _OLD_DRAFTS.search(str(schema.get("$schema", ""))):
            return None
        inner = _flat({key: value for key, value in schema.items() if key not in {"$schema", "$id"}})
        for key in unused_names(name):
            try:
                moved = _moved(inner, f"{_ROOT}{key}")
            except LookupError:
                return None
            if self.components.setdefault(key, moved) == moved:
                return {"$ref": f"{_ROOT}{key}"}
        raise AssertionError("names never end")  # pragma: no cover


def unused_names(text: str) -> Iterable[str]:
    """Names made of `text` that may be keys of a component: letters, digits, `.`, `_` and `-`."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-") or "unnamed"
    yield name
    number = 2
    while True:
        yield f"{name}-{number}"
        number += 1


def all_of(schemas: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    """One schema for what fits each of `schemas`."""
    return _joined("allOf", schemas)


def any_of(schemas: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    """One schema for what fits at least one of `schemas`."""
    return _joined("anyOf", schemas)


def _joined(keyword: str, schemas: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    different: list[Mapping[str, Any]] = []
    for schema in schemas:
        if schema and schema not in different:
            different.append(schema)
    return different[0] if len(different) == 1 else {keyword: different} if different else {}


def _flat(schema: dict[str, Any]) -> dict[str, Any]:
    """`schema` without a reference at its top, beside which others would not be looked at."""
    if "$ref" not in schema:
        return schema
    others = {key: value for key, value in schema.items() if key != "$ref"}
    defined = dict(others.pop("$defs", {}))
    place = str(schema["$ref"])
    here = defined.pop(place.removeprefix("#/$defs/"), None)
    if here is None or others or place in _references([here, defined]):
        return {"allOf": [{"$ref": place}], **{key: value for key, value in schema.items() if key != "$ref"}}
    return {**here, **({"$defs": defined} if defined else {})}


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict) and isinstance(schema.get("$ref"), str):
        yield schema["$ref"]
    for below in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from _references(below)


def _items(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    items = schema.get("items")
    return items if isinstance(items, dict) else {}


def _moved(schema: Any, to: str) -> Any:
    """`schema` with references within it that hold where it stands now.

    Raises:
        LookupError: It refers to something by other means than its place, or seems to.
    """
    if isinstance(schema, list):
        return [_moved(one, to) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _moved_keyword(key, value, to) for key, value in schema.items() if not _foreign(key, value)}


def _moved_keyword(key: str, value: Any, to: str) -> Any:
    if key == "$ref":
        if value != "#" and not str(value).startswith("#/"):
            raise LookupError(value)
        return to + str(value).removeprefix("#")
    if key in _NAMED and isinstance(value, dict):
        if "$ref" in value:  # a name, which AsyncAPI's parser takes for a reference
            raise LookupError(key)
        return {name: _moved(one, to) for name, one in value.items()}
    return value if key in _VALUES else _moved(value, to)


def _foreign(key: str, value: Any) -> bool:
    """Whether it means something else in AsyncAPI: there a discriminator is text, in OpenAPI a map."""
    return key == "discriminator" and isinstance(value, dict)
