"""Events of producers that do not send CloudEvents."""

from typing import Any

import pytest
from cel_expr_python import cel
from hypothesis import given
from hypothesis import strategies as st

from service.errors import DecodeError, RouteError
from service.events.decoding import Decoder
from service.events.envelope import MappedEnvelope, TopicFormat
from service.events.event import Event
from service.events.strict_json import Limits
from service.expressions import Template, Variables
from service.kafka.record import Headers, Record

TOPIC = "payments.events"
VARIABLES = Variables(
    {
        "data": cel.Type.DYN,
        "headers": cel.Type.Map(cel.Type.STRING, cel.Type.STRING),
        "record.topic": cel.Type.STRING,
        "record.partition": cel.Type.INT,
        "record.offset": cel.Type.INT,
        "record.key": cel.Type.DYN,
        "record.timestamp": cel.Type.INT,
        "record.schema": cel.Type.STRING,
    }
)


def template(text: str | None) -> Template | None:
    return None if text is None else Template.parse(text, VARIABLES)


def decode(
    value: bytes | None,
    headers: Headers = (),
    *,
    key: bytes | None = None,
    timestamp_ms: int = 1_700_000_000_123,
    tombstones: Any = None,
    mapping_type: str = "payment.captured",
    **mapping: str | None,
) -> Event:
    others = {name: template(text) for name, text in mapping.items()}
    envelope = MappedEnvelope(Template.parse(mapping_type, VARIABLES), **others)
    decoder = Decoder({TOPIC: TopicFormat(TOPIC, envelope, tombstones=tombstones)}, Limits(), "cluster")
    event = decoder.decode(Record(TOPIC, 2, 1042, key, value, headers, timestamp_ms))
    assert isinstance(event, Event)
    return event


def test_attributes_come_from_data_headers_and_the_record() -> None:
    event = decode(
        b'{"event_id": 17, "order_id": "A-1001", "at": "2026-01-31T12:00:00+01:00"}',
        (("event-type", b"payment.captured"),),
        key=b"A-1001",
        mapping_type='${headers["event-type"]}',
        id="${data.event_id}",
        subject="order/${record.key}",
        source="${record.topic}/${record.partition}",
        time="${data.at}",
    )
    assert event.type == "payment.captured"
    assert event.id == "17"
    assert event.subject == "order/A-1001"
    assert event.source == "payments.events/2"
    assert event.time == "2026-01-31T12:00:00+01:00"
    assert event.key == (TOPIC, "17")


def test_without_mapped_id_the_place_and_time_of_the_record_are_its_identity() -> None:
    event = decode(b"{}")
    assert event.key == ("cluster", TOPIC, 2, 1042, 1_700_000_000_123)
    assert event.id == "payments.events/2/1042"


def test_what_is_not_mapped_has_its_default() -> None:
    event = decode(b"{}")
    assert event.source == TOPIC
    assert event.subject == ""
    assert event.time == "2023-11-14T22:13:20.123Z"
    assert event.ext == {}


@pytest.mark.parametrize(
    ("timestamp_ms", "time"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        (253_402_300_800_000, ""),
        (1_700_000_000_123_456_789, ""),
        (-1, ""),
    ],
)
def test_a_timestamp_that_is_none_gives_no_time_and_harms_nothing(timestamp_ms: int, time: str) -> None:
    assert decode(b"{}", timestamp_ms=timestamp_ms).time == time


@given(st.integers(0, 253_402_300_799_999))
def test_a_timestamp_keeps_its_milliseconds(timestamp_ms: int) -> None:
    assert decode(b"{}", timestamp_ms=timestamp_ms).time[-5:-1] == f".{timestamp_ms % 1000:03}"


@pytest.mark.parametrize("attribute", ["id", "subject", "source", "time"])
@pytest.mark.parametrize("value", [b"{}", b'{"x": null}', b'{"x": ""}', b'{"x": {}}', b'{"x": "a\\u0000b"}'])
def test_a_mapped_attribute_without_a_usable_value_is_a_fault_of_the_mapping(
    attribute: str, value: bytes
) -> None:
    mapping: Any = {attribute: "${data.x}"}
    with pytest.raises(RouteError, match=rf"^event\.{attribute}"):
        decode(value, **mapping)


def test_a_type_that_is_missing_is_named() -> None:
    with pytest.raises(RouteError, match=r"^event\.type: "):
        decode(b"{}", mapping_type='${headers["event-type"]}')


@pytest.mark.parametrize("text", ["a\\nb", "a\\u007f", "\\ufdd0"])
def test_a_mapped_attribute_holds_no_control_characters(text: str) -> None:
    with pytest.raises(RouteError, match="control character or a noncharacter"):
        decode(f'{{"x": "{text}"}}'.encode(), id="${data.x}")


def test_a_mapped_time_must_be_rfc_3339() -> None:
    with pytest.raises(RouteError, match=r"event\.time is not RFC 3339; map a text like"):
        decode(b'{"at": 1700000000}', time="${data.at}")


def test_a_null_value_can_be_an_event_without_data() -> None:
    event = decode(None, key=b"A-1001", tombstones="event", subject="${record.key}")
    assert (event.has_data, event.data, event.subject) == (False, None, "A-1001")


def test_json_null_is_data_and_no_tombstone() -> None:
    event = decode(b"null")
    assert (event.has_data, event.data) == (True, None)


def test_an_empty_value_is_not_json() -> None:
    with pytest.raises(DecodeError, match="not JSON"):
        decode(b"", tombstones="event")


def test_expressions_see_text_headers_only_and_the_last_of_a_repeated_one() -> None:
    headers = (("a", b"1"), ("b", b"\xff"), ("a", b"2"), ("c", None), ("d", "ü".encode()), ("a", b"\xff"))
    assert decode(b"1", headers).headers == {"a": "2", "d": "ü"}


@pytest.mark.parametrize("name", ["content-type", "Content-Type"])
@pytest.mark.parametrize("content_type", [b"text/plain", b"application/avro", b"application/jsonl", b"json"])
def test_a_content_type_of_another_format_is_refused(name: str, content_type: bytes) -> None:
    with pytest.raises(DecodeError, match="the content type names another format"):
        decode(b"1", ((name, content_type),))


@pytest.mark.parametrize(
    "content_type",
    [b"application/json", b"Application/JSON; charset=utf-8", b"application/vnd.shop.v1+json", b""],
)
def test_a_content_type_of_json_is_read(content_type: bytes) -> None:
    assert decode(b"1", (("content-type", content_type),)).data == 1
