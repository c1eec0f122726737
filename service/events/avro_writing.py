"""From plain JSON to Avro's binary encoding: the other half of `avro_reading`.

Source: Avro 1.12 specification, sections Binary Encoding and Complex Types (defaults of fields).
"""

import struct
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from math import isfinite
from typing import Any

from service.events.avro_logical import logical_of
from service.events.avro_reading import Named
from service.events.codec import SchemaMisfit

_FLOAT, _DOUBLE = struct.Struct("<f"), struct.Struct("<d")
_INTS, _LONGS = range(-(2**31), 2**31), range(-(2**63), 2**63)
_EXACT = 2**53

Writer = Callable[[bytearray, Any, int], None]
"""Writes one value, so many levels down."""


class Writers:
    """Makes writers for parsed schemas; each named type has one.

    Args:
        named: The named types.
        depth: How many records, arrays and maps may lie inside each other.
        defaults: Whether they write what schemas say as defaults: there logical types are the types that
            they are of, and bytes are text with a character for each.
    """

    def __init__(self, named: Named, depth: int, *, defaults: bool = False) -> None:
        self._named = named
        self._depth = depth
        self._defaults = self if defaults else Writers(named, depth, defaults=True)
        self._bytes = _latin_1 if defaults else _base64
        self._primitives = {**_PRIMITIVES, "bytes": _converted(_raw, self._bytes)}
        self._made: dict[str, Writer] = {}

    def of(self, schema: Any) -> Writer:
        """The writer for `schema`, as fastavro parsed it."""
        if isinstance(schema, list):
            return _union([self.of(branch) for branch in schema])
        if isinstance(schema, str):
            return self._primitives.get(schema) or self._named_type(schema)
        logical = None if self._defaults is self else logical_of(schema)
        if logical is None:
            return self._of_type(schema)
        return _converted(_raw_of(schema) or self._of_type(schema), logical.from_json)

    def _of_type(self, schema: Mapping[str, Any]) -> Writer:
        match schema["type"]:
            case "record" | "error":
                return self._record(schema)
            case "array":
                return self._array(self.of(schema["items"]))
            case "map":
                return self._map(self.of(schema["values"]))
            case "enum":
                return _enum(schema["symbols"])
            case "fixed":
                return _converted(_fixed(schema["size"]), self._bytes)
            case other:
                return self.of(other)

    def _named_type(self, name: str) -> Writer:
        made = self._made

        def write(out: bytearray, value: Any, depth: int) -> None:
            writer = made.get(name)
            if writer is None:
                writer = made[name] = self.of(self._named[name])
            writer(out, value, depth)

        return write

    def _record(self, schema: Mapping[str, Any]) -> Writer:
        fields = [(field["name"], self.of(field["type"]), self._default(field)) for field in schema["fields"]]
        names, deepest = {name for name, *_ in fields}, self._depth

        def write(out: bytearray, value: Any, depth: int) -> None:
            if not isinstance(value, dict):
                raise SchemaMisfit("is no object")
            if depth >= deepest:
                raise SchemaMisfit(f"is nested deeper than {deepest} levels")
            if unknown := value.keys() - names:
                raise SchemaMisfit(f"has {len(unknown)} fields that the schema has not")
            for name, field, default in fields:
                try:
                    if name in value:
                        field(out, value[name], depth + 1)
                    else:
                        out += default()
                except SchemaMisfit as misfit:
                    misfit.path.insert(0, name)
                    raise

        return write

    def _default(self, field: Mapping[str, Any]) -> Callable[[], bytes]:
        @cache
        def default() -> bytes:
            if "default" not in field:
                raise SchemaMisfit("is missing, and has no default")
            out = bytearray()
            self._defaults.of(field["type"])(out, field["default"], 0)
            return bytes(out)

        return default

    def _array(self, item: Writer) -> Writer:
        deepest = self._depth

        def write(out: bytearray, value: Any, depth: int) -> None:
            if not isinstance(value, list):
                raise SchemaMisfit("is no array")
            if depth >= deepest:
                raise SchemaMisfit(f"is nested deeper than {deepest} levels")
            if value:
                _put_long(out, len(value))
            for index, one in enumerate(value):
                try:
                    item(out, one, depth + 1)
                except SchemaMisfit as misfit:
                    misfit.path.insert(0, str(index))
                    raise
            out.append(0)

        return write

    def _map(self, item: Writer) -> Writer:
        deepest = self._depth

        def write(out: bytearray, value: Any, depth: int) -> None:
            if not isinstance(value, dict):
                raise SchemaMisfit("is no object")
            if depth >= deepest:
                raise SchemaMisfit(f"is nested deeper than {deepest} levels")
            if value:
                _put_long(out, len(value))
            for name, one in value.items():
                _string(out, name, depth)
                try:
                    item(out, one, depth + 1)
                except SchemaMisfit as misfit:
                    misfit.path.insert(0, "[value]")
                    raise
            out.append(0)

        return write


def _put_long(out: bytearray, number: int) -> None:
    number = (number << 1) ^ (number >> 63)
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def _union(branches: Sequence[Writer]) -> Writer:
    """The first branch that the value fits, in the schema's order."""

    def write(out: bytearray, value: Any, depth: int) -> None:
        start, nearest = len(out), SchemaMisfit("fits no branch of its union")
        for index, branch in enumerate(branches):
            _put_long(out, index)
            try:
                branch(out, value, depth)
            except SchemaMisfit as misfit:
                del out[start:]
                # What went wrong within a branch says more than what it is not.
                nearest = misfit if misfit.path else nearest
            else:
                return
        raise nearest

    return write


def _enum(symbols: Sequence[str]) -> Writer:
    index = {symbol: number for number, symbol in enumerate(symbols)}

    def write(out: bytearray, value: Any, _depth: int) -> None:
        if not isinstance(value, str) or value not in index:
            raise SchemaMisfit("is no symbol of its enum")
        _put_long(out, index[value])

    return write


def _fixed(size: int) -> Writer:
    def write(out: bytearray, value: Any, _depth: int) -> None:
        if len(value) != size:
            raise SchemaMisfit(f"has not {size} bytes")
        out += value

    return write


def _raw_of(schema: Mapping[str, Any]) -> Writer | None:
    """What logical types of bytes are made of; None for those of other types."""
    match schema["type"]:
        case "bytes":
            return _raw
        case "fixed":
            return _fixed(schema["size"])
    return None


def _converted(write: Writer, from_json: Callable[[Any], Any]) -> Writer:
    return lambda out, value, depth: write(out, from_json(value), depth)


def _base64(value: Any) -> bytes:
    try:
        return b64decode(value, validate=True)
    except (TypeError, ValueError):
        raise SchemaMisfit("is no Base64, as bytes are") from None


def _latin_1(value: Any) -> bytes:
    try:
        return str(value).encode("latin-1")
    except UnicodeEncodeError:
        raise SchemaMisfit("has a default that is no bytes") from None


# --- primitives ---


def _null(_out: bytearray, value: Any, _depth: int) -> None:
    if value is not None:
        raise SchemaMisfit("is not null")


def _boolean(out: bytearray, value: Any, _depth: int) -> None:
    if not isinstance(value, bool):
        raise SchemaMisfit("is neither true nor false")
    out.append(value)


def _int(out: bytearray, value: Any, _depth: int) -> None:
    if type(value) is not int or value not in _INTS:
        raise SchemaMisfit("is no integer of 32 bits")
    _put_long(out, value)


def _long(out: bytearray, value: Any, _depth: int) -> None:
    if type(value) is not int or value not in _LONGS:
        raise SchemaMisfit("is no integer of 64 bits")
    _put_long(out, value)


def _float(out: bytearray, value: Any, _depth: int) -> None:
    try:
        packed = _FLOAT.pack(_number(value))
    except OverflowError:
        raise SchemaMisfit("is beyond what a float can be") from None
    out += packed


def _double(out: bytearray, value: Any, _depth: int) -> None:
    out += _DOUBLE.pack(_number(value))


def _number(value: Any) -> float:
    if type(value) is int and -_EXACT <= value <= _EXACT:
        return float(value)
    if not isinstance(value, float) or not isfinite(value):
        raise SchemaMisfit("is no number, or an integer that a double cannot hold")
    return value


def _raw(out: bytearray, value: Any, _depth: int) -> None:
    _put_long(out, len(value))
    out += value


def _string(out: bytearray, value: Any, depth: int) -> None:
    if not isinstance(value, str):
        raise SchemaMisfit("is no text")
    try:
        raw = value.encode()
    except UnicodeEncodeError:
        raise SchemaMisfit("has half of a surrogate pair") from None
    _raw(out, raw, depth)


_PRIMITIVES: Mapping[str, Writer] = {
    "null": _null,
    "boolean": _boolean,
    "int": _int,
    "long": _long,
    "float": _float,
    "double": _double,
    "string": _string,
}
