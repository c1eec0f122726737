"""Avro both ways: what data become, held against fastavro; and what any bytes become, or why not."""

import datetime as dt
import io
import json
import math
import struct
import sys
import uuid
from decimal import Decimal
from typing import Any

import fastavro
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from service.errors import DecodeError
from service.events.avro import AvroCodec
from service.events.json_schema import SchemaMistakeError
from service.events.strict_json import Limits, parse_json

MARKER = "s3cr3t-Payload"
LIST = {"type": "record", "name": "L", "fields": [{"name": "next", "type": ["null", "L"]}]}


def codec(schema: Any, limits: Limits | None = None) -> AvroCodec:
    return AvroCodec(json.dumps(schema), limits=limits)


def logical(base: Any, name: str, **more: Any) -> dict[str, Any]:
    return {**(base if isinstance(base, dict) else {"type": base}), "logicalType": name, **more}


def record_of(**types: Any) -> dict[str, Any]:
    return {"type": "record", "name": "R", "fields": [{"name": n, "type": t} for n, t in types.items()]}


def long(number: int) -> bytes:
    out = bytearray()
    number = (number << 1) ^ (number >> 63)
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def refusal(schema: Any, payload: bytes, limits: Limits | None = None) -> str:
    with pytest.raises(DecodeError) as caught:
        codec(schema, limits).decode(payload)
    assert MARKER not in str(caught.value)
    return str(caught.value)


# --- data and schemas of any shape ---

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
SHORT = st.integers(-(2**31), 2**31 - 1)
LONG = st.integers(-(2**63), 2**63 - 1)
DOUBLES = st.floats(allow_nan=False, allow_infinity=False)
FLOATS = st.floats(allow_nan=False, allow_infinity=False, width=32)
BYTES = st.binary(max_size=20)
MOMENTS = st.datetimes(timezones=st.just(dt.UTC))

NINE_DIGITS = st.integers(-(10**9) + 1, 10**9 - 1)


def in_millis(moment: Any) -> Any:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


Pair = tuple[Any, st.SearchStrategy[Any]]
"""A schema, and data of it as fastavro takes them."""

PRIMITIVES: list[Pair] = [
    ("null", st.none()),
    ("boolean", st.booleans()),
    ("int", SHORT),
    ("long", LONG),
    ("float", FLOATS),
    ("double", DOUBLES),
    ("string", TEXTS),
    ("bytes", BYTES),
    (logical("int", "date"), st.dates()),
    (logical("int", "time-millis"), st.times().map(in_millis)),
    (logical("long", "time-micros"), st.times()),
    (logical("long", "timestamp-millis"), MOMENTS.map(in_millis)),
    (logical("long", "timestamp-micros"), MOMENTS),
    (logical("long", "local-timestamp-micros"), st.datetimes()),
    (logical("string", "uuid"), st.uuids()),
    (logical("bytes", "decimal", precision=9, scale=3), NINE_DIGITS.map(lambda n: Decimal(n).scaleb(-3))),
    (logical("bytes", "unheard-of"), BYTES),
]  # fmt: skip


@st.composite
def pairs(draw: st.DrawFn, depth: int = 3) -> Pair:
    kind = draw(st.sampled_from(["array", "map", "record", "union"]))
    if depth == 0 or draw(st.booleans()):
        return draw(st.sampled_from(PRIMITIVES) | named())
    if kind == "record":
        fields = draw(st.lists(pairs(depth - 1), max_size=3))
        types = {f"f{n}": one for n, (one, _) in enumerate(fields)}
        data = {f"f{n}": one for n, (_, one) in enumerate(fields)}
        return record_of(**types) | {"name": a_name(draw)}, st.fixed_dictionaries(data)
    return _around(kind, *draw(pairs(depth - 1)))


def a_name(draw: st.DrawFn) -> str:
    return f"N{draw(st.uuids()).hex}"


@st.composite
def named(draw: st.DrawFn) -> Pair:
    name = a_name(draw)
    if draw(st.booleans()):
        symbols = draw(st.lists(st.from_regex(r"[A-Z]{1,3}", fullmatch=True), min_size=1, unique=True))
        return {"type": "enum", "name": name, "symbols": symbols}, st.sampled_from(symbols)
    size = draw(st.integers(1, 8))
    return fixed(size) | {"name": name}, st.binary(min_size=size, max_size=size)


def _around(kind: str, inner: Any, data: st.SearchStrategy[Any]) -> Pair:
    if kind == "map":
        return {"type": "map", "values": inner}, st.dictionaries(TEXTS, data, max_size=3)
    if isinstance(inner, list) or inner == "null":
        return inner, data
    if kind == "union":
        return ["null", inner], st.none() | data
    # Items that take no bytes are refused, see below: each of ours takes one.
    return {"type": "array", "items": ["null", inner]}, st.lists(st.none() | data, max_size=3)


@st.composite
def written(draw: st.DrawFn) -> tuple[Any, Any]:
    schema, data = draw(pairs())
    return schema, draw(data)


def as_fastavro_reads(schema: Any, payload: bytes) -> Any:
    return fastavro.schemaless_reader(io.BytesIO(payload), fastavro.parse_schema(schema), None)


def as_fastavro_writes(schema: Any, data: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), data)
    return out.getvalue()


@given(written())
def test_what_another_library_writes_is_read_and_written_back_alike(case: tuple[Any, Any]) -> None:
    schema, data = case
    try:
        payload = as_fastavro_writes(schema, data)
    except ValueError:
        assume(False)
    ours = codec(schema, Limits(depth=20))
    read = ours.decode(payload).data
    parse_json(json.dumps(read).encode(), Limits(depth=40))
    again = ours.encode(read)
    assert as_fastavro_reads(schema, again) == as_fastavro_reads(schema, payload)
    assert ours.decode(again).data == read


@given(pairs(), st.binary(max_size=200))
@settings(max_examples=150)
def test_any_bytes_are_plain_json_or_refused(case: Pair, payload: bytes) -> None:
    try:
        data = codec(case[0]).decode(payload).data
    except DecodeError as error:
        assert error.reason  # noqa: PT017 - either is right
    else:
        parse_json(json.dumps(data, allow_nan=False).encode(), Limits())


@given(st.binary(max_size=50))
@example(long(1) * 10_000)
def test_any_bytes_of_a_type_that_holds_itself_are_read_or_refused(payload: bytes) -> None:
    try:
        codec(LIST).decode(payload)
    except DecodeError as error:
        assert error.reason  # noqa: PT017 - either is right


# --- what each type becomes ---


def fixed(size: int) -> dict[str, Any]:
    return {"type": "fixed", "name": "F", "size": size}


INTS = {"type": "array", "items": "int"}
NULLS = {"type": "array", "items": "null"}
MEANT: list[tuple[Any, bytes, Any]] = [
    ("null", b"", None),
    ("long", long(2**63 - 1), 2**63 - 1),
    ("long", long(-(2**63)), -(2**63)),
    ("bytes", long(3) + b"\0\xff\x10", "AP8Q"),
    ({"type": "fixed", "name": "F", "size": 2}, b"\0\xff", "AP8="),
    ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, long(1), "B"),
    (["null", "string"], long(1) + long(1) + b"a", "a"),
    (logical("bytes", "decimal", precision=6, scale=2), long(2) + b"\x04\xe2", "12.50"),
    (logical("bytes", "decimal", precision=6, scale=2), long(1) + b"\xfb", "-0.05"),
    (logical("bytes", "decimal", precision=6, scale=2), long(4) + b"\0\0\0\1", "0.01"),
    (logical("bytes", "decimal", precision=3), long(1) + b"\x7b", "123"),
    (logical(fixed(4), "decimal", precision=6, scale=2), b"\xff\xff\xff\xfb", "-0.05"),
    (logical("bytes", "decimal", precision=2_000, scale=2), long(1) + b"\5", "BQ=="),
    (logical(fixed(16), "uuid"), uuid.UUID(int=7).bytes, str(uuid.UUID(int=7))),
    (logical("int", "date"), long(-1), "1969-12-31"),
    (logical("int", "time-millis"), long(86_399_999), "23:59:59.999"),
    (logical("long", "time-micros"), long(1), "00:00:00.000001"),
    (logical("long", "timestamp-millis"), long(-1), "1969-12-31T23:59:59.999Z"),
    (logical("long", "timestamp-micros"), long(1_769_860_800_123_456), "2026-01-31T12:00:00.123456Z"),
    (logical("long", "timestamp-nanos"), long(1_769_860_800_123_456_789), "2026-01-31T12:00:00.123456789Z"),
    (logical("long", "local-timestamp-millis"), long(1_769_860_800_123), "2026-01-31T12:00:00.123"),
    (logical("string", "date"), long(1) + b"x", "x"),
    (logical("long", "unheard-of"), long(7), 7),
    (INTS, long(-2) + long(2) + long(1) + long(2) + long(1) + long(3) + b"\0", [1, 2, 3]),
    ({"type": "map", "values": "int"}, long(1) + long(1) + b"a" + long(2) + b"\0", {"a": 2}),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "payload", "data"), MEANT)
def test_each_type_becomes_plain_json_and_back(schema: Any, payload: bytes, data: Any) -> None:
    ours = codec(schema)
    assert ours.decode(payload).data == data
    assert ours.decode(ours.encode(data)).data == data


@pytest.mark.parametrize(
    ("schema", "payload", "reason"),
    [
        ("long", b"", "ends in the midst"),
        ("long", b"\x80", "ends in the midst"),
        ("long", b"\xff" * 9 + b"\x02", "is no number of at most 64 bits"),
        ("long", b"\xff" * 20, "is no number of at most 64 bits"),
        ("int", long(2**31), "is beyond 32 bits"),
        ("boolean", b"\2", "is neither true nor false"),
        ("double", struct.pack("<d", math.nan), "is NaN or infinite"),
        ("float", struct.pack("<f", math.inf), "is NaN or infinite"),
        ("string", long(2**40) + b"abc", "is longer than the bytes that are left"),
        ("string", long(-3) + b"abc", "is longer than the bytes that are left"),
        ("string", long(2) + b"\xff\xfe", "is not UTF-8"),
        (["null", "string"], long(2), "names a branch that its union has not"),
        (["null", "string"], long(-1) + long(1) + b"a", "names a branch that its union has not"),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, long(-1), "names a symbol that its enum has not"),
        (NULLS, long(2**40), "has more items than there are bytes left"),
        (NULLS, long(-(2**63)) + long(1), "has more items than there are bytes left"),
        ({"type": "map", "values": "null"}, long(2**62), "has more items than there are bytes left"),
        ("int", long(1) + MARKER.encode(), f"{len(MARKER)} bytes more than its Avro schema int says"),
        (logical("bytes", "decimal", precision=2), long(1) + b"\x7f", "is no decimal of 2 digits"),
        (logical("bytes", "decimal", precision=2), long(0), "is no decimal of 2 digits"),
        (logical("bytes", "decimal", precision=2), long(2000) + b"\x7f" * 2000, "is no decimal of 2 digits"),
        (logical("int", "date"), long(2**31 - 1), "is no date of the years 1 to 9999"),
        (logical("int", "time-millis"), long(86_400_000), "is no time of a day"),
        (logical("int", "time-millis"), long(-1), "is no time of a day"),
        (logical("long", "timestamp-millis"), long(2**62), "is no time of the years 1 to 9999"),
        (logical("long", "timestamp-micros"), long(-(2**62)), "is no time of the years 1 to 9999"),
        (LIST, long(1) * 10_000, "is nested deeper than 64 levels"),
    ],
)  # fmt: skip
def test_what_the_schema_does_not_say_is_refused(schema: Any, payload: bytes, reason: str) -> None:
    assert reason in refusal(schema, payload)


def test_a_refusal_names_the_field_and_none_of_the_keys_of_maps() -> None:
    schema = record_of(lines={"type": "array", "items": {"type": "map", "values": "boolean"}})
    payload = long(1) + long(1) + long(len(MARKER)) + MARKER.encode() + b"\7" + b"\0\0"
    with pytest.raises(DecodeError) as caught:
        codec(schema).decode(payload)
    assert caught.value.position == "lines.0.[value]"
    assert str(caught.value) == (
        "the value is not what its Avro schema R says: lines.0.[value]: is neither true nor false"
    )


def test_sizes_are_limited_in_bytes_and_in_what_they_mean() -> None:
    assert "has 11 bytes, more than 10" in refusal("string", long(10) + b"a" * 10, Limits(value_bytes=10))
    wordy = record_of(**{"a" * 1_000: "boolean"})
    many = long(1_000) + b"\0" * 1_001
    assert "more in it than may be in a value" in refusal(
        {"type": "array", "items": wordy}, many, Limits(value_bytes=100_000)
    )
    assert (
        len(codec({"type": "array", "items": wordy}, Limits(value_bytes=2_000_000)).decode(many).data)
        == 1_000
    )


def test_a_limit_of_levels_beyond_the_interpreters_own_ends_in_a_refusal_too() -> None:
    deep = Limits(depth=sys.getrecursionlimit() * 10)
    assert "nested too deep" in refusal(LIST, long(1) * 50_000, deep)
    data: Any = {"next": None}
    for _ in range(sys.getrecursionlimit()):
        data = {"next": data}
    with pytest.raises(ValueError, match="nested"):
        codec(LIST, deep).encode(data)


# --- what is written ---


@pytest.mark.parametrize(
    ("schema", "data", "reason"),
    [
        ("int", 2**31, "is no integer of 32 bits"),
        ("long", 2**63, "is no integer of 64 bits"),
        ("long", True, "is no integer of 64 bits"),
        ("long", 1.0, "is no integer of 64 bits"),
        ("double", math.nan, "is no number"),
        ("double", 2**60, "is no number"),
        ("float", 1e300, "is beyond what a float can be"),
        ("boolean", 0, "is neither true nor false"),
        ("null", 0, "is not null"),
        ("string", 1, "is no text"),
        ("string", "\ud800", "half of a surrogate pair"),
        ("bytes", MARKER, "is no Base64"),
        ({"type": "fixed", "name": "F", "size": 2}, "AAAA", "has not 2 bytes"),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, MARKER, "is no symbol of its enum"),
        ({"type": "array", "items": "int"}, {}, "is no array"),
        ({"type": "array", "items": "int"}, [1, MARKER], "1: is no integer"),
        ({"type": "map", "values": "int"}, {MARKER: "x"}, "[value]: is no integer"),
        (record_of(a="int"), {}, "a: is missing, and has no default"),
        (record_of(a="int"), {"a": 1, MARKER: 2}, "has 1 fields that the schema has not"),
        (["null", record_of(a="int")], {"a": MARKER}, "a: is no integer"),
        (["null", "int"], MARKER, "fits no branch of its union"),
        (logical("bytes", "decimal", precision=4, scale=2), "12.505", "has more than 2 decimal places"),
        (logical("bytes", "decimal", precision=4, scale=2), "123.00", "has more than 4 digits"),
        (logical("bytes", "decimal", precision=4, scale=2), 12.5, "is no decimal; write it as text"),
        (logical("bytes", "decimal", precision=4, scale=2), "1e5", "is no decimal"),
        (logical("string", "uuid"), MARKER, "is no UUID"),
        (logical("int", "date"), "2026-02-30", "is no date"),
        (logical("int", "time-millis"), "24:00:00", "is no time of a day"),
        (logical("long", "timestamp-millis"), "2026-01-31T12:00:00", "is no time in RFC 3339"),
        (logical("long", "timestamp-millis"), "2026-02-30T12:00:00Z", "is no date"),
        (logical("long", "local-timestamp-millis"), "2026-01-31T12:00:00Z", "is no time without a zone"),
        (logical("long", "timestamp-nanos"), "9999-01-31T12:00:00Z", "is no integer of 64 bits"),
    ],
)  # fmt: skip
def test_data_that_do_not_fit_are_refused_by_field_and_without_values(
    schema: Any, data: Any, reason: str
) -> None:
    with pytest.raises(ValueError, match="does not fit the Avro schema") as caught:
        codec(schema).encode(data)
    assert reason in str(caught.value)
    assert MARKER not in str(caught.value)


@pytest.mark.parametrize(
    ("schema", "data", "read"),
    [
        ("double", 3, 3.0),
        (logical("bytes", "decimal", precision=6, scale=2), 12, "12.00"),
        (logical("bytes", "decimal", precision=6, scale=2), "12.5000", "12.50"),
        (logical("long", "timestamp-millis"), "2026-01-31T13:00:00.123999+01:00", "2026-01-31T12:00:00.123Z"),
        (logical("long", "timestamp-micros"), "1969-12-31 23:59:59.9z", "1969-12-31T23:59:59.900000Z"),
        (["null", "long", logical("bytes", "decimal", precision=6, scale=2), "string"], "1.5", "1.50"),
        (["null", "long", logical("bytes", "decimal", precision=6, scale=2), "string"], "abc", "abc"),
    ],
)
def test_what_means_the_same_is_written_in_one_way(schema: Any, data: Any, read: Any) -> None:
    ours = codec(schema)
    assert ours.decode(ours.encode(data)).data == read


def test_a_missing_field_has_its_default() -> None:
    inner = {
        "type": "record",
        "name": "I",
        "fields": [{"name": "x", "type": "int", "default": 7}, {"name": "y", "type": "int"}],
    }
    defaults: list[tuple[Any, Any, Any]] = [
        (["null", "string"], None, None),
        (["string", "null"], "a", "a"),
        ("bytes", "\u00ff\u0000", "/wA="),
        (logical("bytes", "decimal", precision=4, scale=2), "\u0004\u00e2", "12.50"),
        (logical("long", "timestamp-millis"), -1, "1969-12-31T23:59:59.999Z"),
        (logical("string", "uuid"), "x", "x"),
        ({"type": "array", "items": "int"}, [1, 2], [1, 2]),
        ({"type": "map", "values": "bytes"}, {"a": "\u0001"}, {"a": "AQ=="}),
        ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, "B", "B"),
        (inner, {"y": 1}, {"x": 7, "y": 1}),
    ]
    fields = [{"name": f"f{n}", "type": t, "default": d} for n, (t, d, _) in enumerate(defaults)]
    ours = codec({"type": "record", "name": "R", "fields": fields})
    assert ours.decode(ours.encode({})).data == {f"f{n}": read for n, (*_, read) in enumerate(defaults)}


# --- schemas ---


@pytest.mark.parametrize(
    "text",
    ["", "{", "7", '"nothing"', '{"type": "record"}', "[" * 100_000, '{"type": "fixed", "name": "F"}'],
)
def test_what_is_no_schema_is_said_to_be_none(text: str) -> None:
    with pytest.raises(SchemaMistakeError):
        AvroCodec(text)


def test_a_schema_uses_the_named_types_of_others() -> None:
    item = json.dumps({"type": "record", "name": "shop.Item", "fields": [{"name": "n", "type": "int"}]})
    order = json.dumps({"type": "array", "items": "shop.Item"})
    ours = AvroCodec(order, [item])
    assert ours.decode(ours.encode([{"n": 1}])).data == [{"n": 1}]
    with pytest.raises(SchemaMistakeError):
        AvroCodec(order)


@pytest.mark.parametrize(
    ("schema", "data", "name"),
    [
        ("string", "a", "string"),
        ({"type": "record", "name": "R", "namespace": "a.b", "fields": []}, {}, "a.b.R"),
        ([record_of(a="int") | {"name": "A"}, record_of(b="int") | {"name": "x.B"}], {"b": 1}, "x.B"),
        ({"type": "array", "items": "int"}, [], "array"),
        ([record_of(**{f"f{n}": "int"}) | {"name": f"R{n}"} for n in range(200)], {"f150": 1}, "R150"),
    ],
)
def test_what_is_decoded_says_the_full_name_of_its_schema(schema: Any, data: Any, name: str) -> None:
    ours = codec(schema)
    assert ours.decode(ours.encode(data)).schema == name


def test_a_named_type_is_found_by_its_short_name_in_its_namespace() -> None:
    inner = {"type": "record", "name": "S", "fields": [{"name": "n", "type": "int"}]}
    ours = codec(record_of(x=inner, y="S", z=["null", "a.b.S"]) | {"name": "a.b.R"})
    data = {"x": {"n": 1}, "y": {"n": 2}, "z": {"n": 3}}
    assert ours.decode(ours.encode(data)) == (data, "a.b.R")


def test_a_type_that_holds_itself_is_read_and_written() -> None:
    data = {"next": {"next": {"next": None}}}
    ours = codec(LIST)
    assert ours.decode(ours.encode(data)).data == data


def test_the_library_that_is_not_used_for_reading_would_not_do() -> None:
    """Why there is code of our own: what fastavro makes of bytes that mean nothing."""
    cases: list[tuple[Any, bytes, Any]] = [
        (["null", "string"], long(-1) + long(1) + b"a", "a"),
        (
            logical("bytes", "decimal", precision=4, scale=2),
            long(4) + b"\x7f\xff\xff\xff",
            Decimal("2.147E+7"),
        ),
    ]
    for schema, payload, read in cases:
        assert as_fastavro_reads(schema, payload) == read
        assert refusal(schema, payload)
