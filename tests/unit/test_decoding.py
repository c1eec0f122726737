"""Bytes to JSON, keys, tombstones, limits: what a record must be to become an event at all."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from cel_expr_python import cel
from hypothesis import assume, example, given
from hypothesis import strategies as st

from service.errors import DecodeError, RecordError, RouteError
from service.events.decoding import Decoder, Tombstone
from service.events.envelope import MappedEnvelope, TopicFormat
from service.events.event import Event
from service.events.strict_json import Limits, parse_json
from service.expressions import Template, Variables
from service.kafka.record import Headers, Record

LIMITS = Limits()
MARKER = "s3cr3t-Payload"
VARIABLES = Variables(
    {
        "data": cel.Type.DYN,
        "headers": cel.Type.Map(cel.Type.STRING, cel.Type.STRING),
        "record.key": cel.Type.DYN,
        "record.topic": cel.Type.STRING,
    }
)
ATTRIBUTES = (("ce_specversion", b"1.0"), ("ce_id", b"1"), ("ce_source", b"/s"), ("ce_type", b"t"))
STRUCTURED = ("content-type", b"application/cloudevents+json")

INTEGERS = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
)

MAPPED = MappedEnvelope(
    type=Template.parse('${headers["event-type"]}', VARIABLES),
    id=Template.parse("${data.id}", VARIABLES),
    subject=Template.parse("key/${record.key}", VARIABLES),
    time=Template.parse("${data.time}", VARIABLES),
)
LITERAL = MappedEnvelope(type=Template.parse("thing.happened", VARIABLES))
FORMATS = [
    TopicFormat("topic", envelope, key, tombstones)
    for envelope in ("cloudevents", MAPPED, LITERAL)
    for key in ("text", "json", "bytes")
    for tombstones in (None, "skip", "event")
]


def record(
    value: bytes | None,
    headers: Headers = (),
    *,
    key: bytes | None = None,
    timestamp_ms: int = 1_700_000_000_123,
) -> Record:
    return Record("topic", 2, 1042, key, value, headers, timestamp_ms)


def decode(declared: TopicFormat, delivered: Record) -> Event | Tombstone:
    return Decoder({declared.topic: declared}, LIMITS, "cluster").decode(delivered)


def event_of(declared: TopicFormat, delivered: Record) -> Event:
    event = decode(declared, delivered)
    assert isinstance(event, Event)
    return event


def refusal_of(act: Callable[[], object]) -> RecordError | None:
    try:
        act()
    except (DecodeError, RouteError) as error:
        return error
    return None


# --- any bytes at all ---

HEADER_NAMES = TEXTS | st.sampled_from(
    [
        "content-type",
        "Content-Type",
        "event-type",
        *(name for name, _ in ATTRIBUTES),
        "ce_time",
        "ce_subject",
        "ce_x",
    ]
)
CONTENT_TYPES = st.sampled_from(
    [
        b"application/json",
        b"APPLICATION/CloudEvents+JSON; charset=UTF-8",
        b"application/cloudevents+avro",
        b"text/xml",
    ]
)
HEADERS = st.lists(
    st.tuples(HEADER_NAMES, st.none() | st.binary() | CONTENT_TYPES | st.sampled_from([b"1.0", b"1"]))
).map(tuple)
JSON_BYTES = JSON.map(lambda value: json.dumps(value).encode())
ENVELOPES = st.dictionaries(
    st.sampled_from(["specversion", "id", "source", "type", "subject", "time", "ext", "data", "data_base64"])
    | TEXTS,
    JSON | st.just("1.0"),
).map(lambda value: json.dumps(value).encode())
VALUES = st.none() | st.binary() | JSON_BYTES | ENVELOPES
FULL_HEADERS = HEADERS.map(lambda headers: (*ATTRIBUTES, *headers)) | HEADERS.map(
    lambda headers: (STRUCTURED, *headers)
)


@given(
    declared=st.sampled_from(FORMATS),
    value=VALUES,
    key=st.none() | st.binary() | JSON_BYTES,
    headers=HEADERS | FULL_HEADERS,
    timestamp_ms=st.integers(-(2**63), 2**63 - 1),
)
def test_arbitrary_bytes_become_an_event_or_are_refused_with_a_reason(
    declared: TopicFormat, value: bytes | None, key: bytes | None, headers: Headers, timestamp_ms: int
) -> None:
    delivered = record(value, headers, key=key, timestamp_ms=timestamp_ms)
    refusal = refusal_of(lambda: decode(declared, delivered))
    assert refusal is None or refusal.reason


@given(value=st.binary())
def test_arbitrary_bytes_are_parsed_or_refused(value: bytes) -> None:
    refusal = refusal_of(lambda: parse_json(value, LIMITS))
    assert refusal is None or refusal.reason


def test_a_record_of_an_undeclared_topic_is_refused_with_the_cure() -> None:
    decoder = Decoder({}, LIMITS, "cluster")
    with pytest.raises(RouteError, match=r"topic topic is not declared; write it under `topics`"):
        decoder.decode(record(b"1"))


# --- JSON ---


@given(JSON)
@example(-0.0)
@example(1e16)
@example({"a": "\0"})
def test_any_json_value_survives(value: Any) -> None:
    text = json.dumps(value)
    assert json.dumps(parse_json(text.encode(), LIMITS)) == text


@given(INTEGERS | st.sampled_from([-(2**63), 2**63 - 1]))
def test_integers_of_64_bits_are_kept_exactly(integer: int) -> None:
    kept = parse_json(b'{"n": [%d]}' % integer, LIMITS)["n"][0]
    assert type(kept) is int
    assert kept == integer


@given(st.integers(min_value=2**63) | st.integers(max_value=-(2**63) - 1))
@example(2**63)
@example(2**64 - 1)
@example(2**64)
@example(-(2**63) - 1)
def test_an_integer_beyond_64_bits_is_refused_never_rounded(integer: int) -> None:
    with pytest.raises(DecodeError, match="an integer of the value at byte 6 is beyond 64 bits"):
        parse_json(b'{"n": %d}' % integer, LIMITS)


def test_an_integer_of_a_million_digits_is_refused() -> None:
    with pytest.raises(DecodeError, match="beyond 64 bits"):
        parse_json(b"9" * 1_000_000, LIMITS)


@pytest.mark.parametrize(
    "number", [b"12345678901234567890.5", b"1e20", b"0.12345678901234567890", b"1234567890123456789e2"]
)
def test_a_number_with_a_fraction_or_an_exponent_is_a_float(number: bytes) -> None:
    assert parse_json(number, LIMITS) == float(number)


@given(st.text(alphabet='0123456789"\\[]{}:,', max_size=80))
@example('"99999999999999999999')
@example('\\"99999999999999999999')
def test_digits_and_brackets_inside_a_string_are_text(text: str) -> None:
    value = [text, text * 20]
    assert parse_json(json.dumps(value).encode(), LIMITS) == value


def test_a_long_fraction_does_not_make_an_integer_of_a_string() -> None:
    assert parse_json(b'["99999999999999999999", 0.1234567890123456789]', LIMITS)[0] == "9" * 20


def nested(depth: int, opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    return opening * depth + b"0" * (opening != b"[") + closing * depth


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_64_levels_pass_and_65_do_not(opening: bytes, closing: bytes) -> None:
    parse_json(nested(64, opening, closing), LIMITS)
    with pytest.raises(DecodeError, match="the value is nested deeper than 64 levels"):
        parse_json(nested(65, opening, closing), LIMITS)


def test_64_levels_pass_also_among_many_brackets() -> None:
    siblings = b"[{},{}," * 63 + b"{}" + b"]" * 63
    parse_json(siblings, LIMITS)
    with pytest.raises(DecodeError, match="deeper than 64"):
        parse_json(b"[" + siblings + b"]", LIMITS)


def test_many_brackets_side_by_side_are_not_deep() -> None:
    assert len(parse_json(b"[" + b",".join([b"{}"] * 1000) + b"]", LIMITS)) == 1000


def test_brackets_in_a_string_do_not_hide_depth() -> None:
    hidden = b'["]]]]]]]]",' * 65 + b"0" + b"]" * 65
    with pytest.raises(DecodeError, match="deeper"):
        parse_json(hidden, LIMITS)


def test_depth_is_checked_before_parsing() -> None:
    with pytest.raises(DecodeError, match="deeper"):
        parse_json(b"[" * 500_000, LIMITS)


def test_a_value_at_the_size_limit_passes_and_one_byte_more_does_not() -> None:
    limits = Limits(value_bytes=10)
    assert parse_json(b'"12345678"', limits) == "12345678"
    with pytest.raises(DecodeError, match="the value has 11 bytes, more than 10"):
        parse_json(b'"123456789"', limits)


def test_size_is_checked_before_parsing() -> None:
    with pytest.raises(DecodeError, match="more than 1048576"):
        parse_json(b"{" + b" " * 1_048_576, LIMITS)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "not JSON.*empty"),
        (b" ", "not JSON.*empty"),
        (b"NaN", "not JSON.*line 1 column 1"),
        (b"[1,\nInfinity]", "not JSON.*line 2 column 1"),
        (b"-Infinity", "not JSON"),
        (b"1e400", "not JSON.*infinity"),
        (b"[1,]", "not JSON.*line 1 column 3"),
        (b"{'a': 1}", "not JSON"),
        (b"1 2", "not JSON"),
        (b"01", "not JSON"),
        (b'"\x01"', "not JSON"),
        (rb'"\ud800"', "not JSON.*surrogate"),
        (rb'{"\udc00": 1}', "not JSON.*surrogate"),
        (rb'"\udc00\ud800"', "not JSON.*surrogate"),
        (b'"\xed\xa0\x80"', "not UTF-8 at byte 1"),
        (b'{"a": "b\xff"}', "not UTF-8 at byte 8"),
        (b"\xef\xbb\xbf{}", "not JSON.*byte order mark"),
        ("{}".encode("utf-16"), "not UTF-8 at byte 0"),
    ],
)
def test_what_is_not_strict_json_is_refused_and_the_error_says_where(text: bytes, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        parse_json(text, LIMITS)


@pytest.mark.parametrize(
    ("text", "position"),
    [
        (b"[1,]", "byte 2"),
        ('["é",]'.encode(), "byte 5"),
        (b'{"a": "b\xff"}', "byte 8"),
        (b"[1, 9223372036854775808]", "byte 4"),
        (b"[" * 65 + b"]" * 65, ""),
    ],
)
def test_the_error_tells_programs_the_byte_too(text: bytes, position: str) -> None:
    with pytest.raises(DecodeError) as refused:
        parse_json(text, LIMITS)
    assert refused.value.position == position
    if position:
        with pytest.raises(DecodeError) as refused:
            parse_json(text, LIMITS, what="key")
        assert refused.value.position == f"{position} of the key"


def test_a_pair_of_surrogates_is_one_character() -> None:
    assert parse_json(rb'"\ud83d\ude00"', LIMITS) == "\U0001f600"


def test_of_members_of_one_name_the_last_counts() -> None:
    assert parse_json(b'{"a": 1, "a": 2}', LIMITS) == {"a": 2}


# --- keys ---


@pytest.mark.parametrize(
    ("key_format", "key", "expected"),
    [
        ("text", b"A-1001", "A-1001"),
        ("text", "Zoë".encode(), "Zoë"),
        ("text", b"", ""),
        ("json", b'{"id": 1}', {"id": 1}),
        ("json", b'"a"', "a"),
        ("bytes", b"\xff\x00", "/wA="),
        ("text", None, ""),
        ("json", None, ""),
        ("bytes", None, ""),
    ],
)
def test_a_key_is_read_in_its_declared_format(key_format: Any, key: bytes | None, expected: Any) -> None:
    declared = TopicFormat("topic", LITERAL, key_format)
    assert event_of(declared, record(b"1", key=key)).record_key == expected


def test_a_key_that_is_not_utf_8_is_refused_with_the_cure() -> None:
    with pytest.raises(
        DecodeError, match="the key is not UTF-8 at byte 1; write `key: bytes` for topic topic"
    ):
        decode(TopicFormat("topic", LITERAL), record(b"1", key=b"a\xff"))


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (b"{", "the key is not JSON"),
        (b"9" * 20, "an integer of the key"),
        (b"[" * 65, "the key is nested deeper"),
    ],
)
def test_a_json_key_is_as_strict_as_a_value(key: bytes, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        decode(TopicFormat("topic", LITERAL, "json"), record(b"1", key=key))


# --- null values ---

ENVELOPES_OF_TOPICS = pytest.mark.parametrize(
    "envelope", ["cloudevents", LITERAL], ids=["cloudevents", "mapped"]
)


@ENVELOPES_OF_TOPICS
def test_a_tombstone_is_skipped_where_someone_wrote_so_whatever_its_key(envelope: Any) -> None:
    delivered = record(None, key=b"\xff")
    assert decode(TopicFormat("topic", envelope, tombstones="skip"), delivered) == Tombstone(delivered)


@ENVELOPES_OF_TOPICS
def test_a_tombstone_that_nobody_expected_is_refused_with_the_cure(envelope: Any) -> None:
    with pytest.raises(DecodeError, match=r"the value is null; write `tombstones: skip`.* for topic topic"):
        decode(TopicFormat("topic", envelope), record(None))


def test_a_null_value_without_attributes_cannot_be_a_cloudevent() -> None:
    with pytest.raises(DecodeError, match="write `tombstones: skip` for topic topic"):
        decode(TopicFormat("topic", tombstones="event"), record(None))


@pytest.mark.parametrize("tombstones", [None, "skip", "event"])
def test_a_binary_cloudevent_without_a_value_is_an_event_without_data(tombstones: Any) -> None:
    event = event_of(TopicFormat("topic", tombstones=tombstones), record(None, ATTRIBUTES))
    assert (event.has_data, event.data) == (False, None)


def test_a_structured_cloudevent_without_a_value_is_a_tombstone() -> None:
    delivered = record(None, (*ATTRIBUTES, STRUCTURED))
    assert decode(TopicFormat("topic", tombstones="skip"), delivered) == Tombstone(delivered)


# --- what errors say ---


def attributes_with(name: str, value: str) -> Headers:
    return tuple((header, value.encode() if header == name else text) for header, text in ATTRIBUTES)


def structured(**members: Any) -> Record:
    attributes = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", **members}
    return record(json.dumps(attributes).encode(), (STRUCTURED,))


CLOUDEVENTS = TopicFormat("topic")
LEAKS: Mapping[str, Callable[[], object]] = {
    "cut short": lambda: parse_json(f'{{"a": "{MARKER}'.encode(), LIMITS),
    "bare word": lambda: parse_json(MARKER.encode(), LIMITS),
    "not utf-8": lambda: parse_json(f'"{MARKER}'.encode() + b'\xff"', LIMITS),
    "large integer": lambda: parse_json(f'["{MARKER}", {10**30}]'.encode(), LIMITS),
    "deep": lambda: parse_json(f'["{MARKER}",'.encode() * 65, LIMITS),
    "key": lambda: decode(CLOUDEVENTS, record(b"1", ATTRIBUTES, key=MARKER.encode() + b"\xff")),
    "version": lambda: decode(CLOUDEVENTS, record(b"1", attributes_with("ce_specversion", MARKER))),
    "control": lambda: decode(CLOUDEVENTS, record(b"1", attributes_with("ce_id", f"{MARKER}\n"))),
    "time": lambda: decode(CLOUDEVENTS, record(b"1", (*ATTRIBUTES, ("ce_time", MARKER.encode())))),
    "content type": lambda: decode(
        CLOUDEVENTS, record(b"1", (*ATTRIBUTES, ("content-type", MARKER.encode())))
    ),
    "no envelope": lambda: decode(CLOUDEVENTS, record(MARKER.encode(), (("other", MARKER.encode()),))),
    "repeated": lambda: decode(CLOUDEVENTS, record(b"1", (*ATTRIBUTES, ("ce_id", MARKER.encode())))),
    "list": lambda: decode(CLOUDEVENTS, structured(extension=[MARKER])),
    "core": lambda: decode(CLOUDEVENTS, structured(subject={"a": MARKER})),
    "member name": lambda: decode(CLOUDEVENTS, structured(**{MARKER: 1})),
    "base64": lambda: decode(CLOUDEVENTS, structured(data_base64=MARKER, datacontenttype="application/json")),
    "both": lambda: decode(CLOUDEVENTS, structured(data_base64=MARKER, data=MARKER)),
    "mapped": lambda: decode(TopicFormat("topic", MAPPED), record(json.dumps({"id": [MARKER]}).encode())),
    "mapped time": lambda: decode(
        TopicFormat("topic", MAPPED),
        record(json.dumps({"id": "1", "time": MARKER}).encode(), (("event-type", b"t"),), key=b"k"),
    ),
}


@pytest.mark.parametrize("case", LEAKS)
def test_an_error_never_shows_what_the_record_holds(case: str) -> None:
    with pytest.raises((DecodeError, RouteError)) as caught:
        LEAKS[case]()
    assert MARKER not in str(caught.value)
    assert str(10**30) not in str(caught.value)


@given(position=st.integers(0, 200), broken=st.binary(min_size=1, max_size=3))
def test_json_broken_anywhere_shows_nothing_of_itself(position: int, broken: bytes) -> None:
    whole = json.dumps({"a": [MARKER, {"b": MARKER}] * 3}).encode()
    assume(position <= len(whole))
    refusal = refusal_of(lambda: parse_json(whole[:position] + broken + whole[position:], LIMITS))
    assert MARKER not in str(refusal)
