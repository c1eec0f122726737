"""The reference of all keys and settings, as a page in Markdown: written from the models that read them."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Any, Literal, NamedTuple, get_args, get_origin

from pydantic import BaseModel

from service.documents.descriptions import descriptions
from service.documents.route_schema import route_schema
from service.settings import PREFIX, Settings

_HEAD = """\
# Reference

All keys of [route files](routes.md), and all settings. `make reference` writes this page from the models that
read them; editors get the same from [`turnout docs schema`](routes-lab.md#schema).
"""


class _Part(NamedTuple):
    """A map in a route file: where it stands, and its schema."""

    place: str
    schema: Mapping[str, Any]


def reference() -> str:
    """The page as a whole."""
    return "\n".join([_HEAD, *_keys(), *_settings()])


# --- keys ---


def _keys() -> Iterator[str]:
    schema = route_schema()
    yield "## Route files\n"
    for part in _parts(_Part("", schema), schema["$defs"]):
        yield f"### {_heading(part.place)}\n\n{part.schema['description']}\n"
        yield "| key | value | default | |\n|---|---|---|---|"
        needed = part.schema.get("required", ())
        for key, value in part.schema["properties"].items():
            default = "*needed*" if key in needed else _code(value.get("default"))
            place = next((below.place for below in _below(part.place, key, value, schema["$defs"])), "")
            kind = f"[{_kind(value)}](#{_anchor(place)})" if place else _kind(value)
            yield _row(f"`{key}`", kind, default, value["description"])
        yield ""


def _parts(part: _Part, definitions: Mapping[str, Any]) -> Iterator[_Part]:
    yield part
    for key, value in part.schema["properties"].items():
        for below in _below(part.place, key, value, definitions):
            yield from _parts(below, definitions)


def _below(place: str, key: str, value: Mapping[str, Any], definitions: Mapping[str, Any]) -> Iterator[_Part]:
    """The maps that a key may hold: itself, in a list, or by name."""
    here = f"{place}.{key}" if place else key
    named = value.get("additionalProperties")
    inside = [
        (here, value),
        *((here, choice) for choice in value.get("anyOf", ())),
        *([(f"{here}[]", value["items"])] if "items" in value else []),
        *([(f"{here}.NAME", named)] if isinstance(named, dict) else []),
    ]
    for where, schema in inside:
        if "$ref" in schema:
            yield _Part(where, definitions[schema["$ref"].rpartition("/")[2]])


def _heading(place: str) -> str:
    return f"`{place}`" if place else "A file"


def _anchor(place: str) -> str:
    """The link to a heading, as GitHub makes it."""
    return "".join(one for one in place.lower() if one.isalnum() or one in "-_ ").replace(" ", "-")


def _kind(value: Mapping[str, Any]) -> str:  # noqa: C901, PLR0911 - a table
    """What a value is, in a few words."""
    match value:
        case {"title": title}:
            return str(title)
        case {"const": one}:
            return _code(one)
        case {"enum": choices}:
            return " or ".join(map(_code, choices))
        case {"anyOf": choices}:
            return " or ".join(map(_kind, choices))
        case {"minimum": least, "maximum": most}:
            return f"{least} to {most}"
        case {"type": "array", "items": _}:
            return "a list"
        case {"type": "object", "additionalProperties": _}:
            return "a map, by name"
        case {"$ref": _}:
            return "a map"
        case {"type": "boolean"}:
            return "`true` or `false`"
        case {"type": str(kind)}:
            return {"integer": "a whole number", "string": "text"}.get(kind, f"a {kind}")
    return "any value"


# --- settings ---


def _settings() -> Iterator[str]:
    yield "## Settings\n\nEnvironment variables; an unknown `TURNOUT_` name is refused.\n"
    yield "| setting | value | default | |\n|---|---|---|---|"
    yield from _settings_of(Settings, PREFIX)
    yield ""


def _settings_of(model: type[BaseModel], prefix: str) -> Iterator[str]:
    parts, means = [], descriptions(model)
    for name, field in model.model_fields.items():
        setting, kind = f"{prefix}{name.upper()}", field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            parts.append((kind, f"{setting}__"))
        else:
            default = (
                "*needed*" if field.is_required() else _code(field.get_default(call_default_factory=True))
            )
            yield _row(f"`{setting}`", _setting_kind(kind), default, means.get(name, ""))
    for part, longer in parts:
        yield from _settings_of(part, longer)


_WORDS: Mapping[str, str] = {
    "str": "text",
    "SecretStr": "text, secret",
    "Path": "a path",
    "bool": "`true` or `false`",
    "int": "a whole number",
    "timedelta": "a time span",
}


def _setting_kind(kind: Any) -> str:
    choices = [one for one in get_args(kind) if one is not type(None)]
    if get_origin(kind) is Literal:
        return " or ".join(map(_code, choices))
    if choices:
        return _setting_kind(choices[0])
    return _WORDS.get(kind.__name__, kind.__name__)


# --- Markdown ---


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _code(value: Any) -> str:
    match value:
        case None | "":
            return ""
        case bool():
            return f"`{str(value).lower()}`"
        case timedelta():
            return f"`{_span(value)}`"
        case StrEnum():
            return f"`{value.value}`"
    return f"`{value}`"


def _span(value: timedelta) -> str:
    seconds = int(value.total_seconds())
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
