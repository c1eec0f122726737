"""CloudEvents 1.0 as the Kafka protocol binding and the JSON format say."""

import json
import re
import sys
from base64 import b64encode
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities.ports import ResultEvent
from service.errors import DecodeError
from service.events.attributes import is_attribute_text
from service.events.cloudevents import encode_binary, type_by_headers
from service.events.decoding import Decoder
from service.events.envelope import TopicFormat
from service.events.event import Event
from service.events.strict_json import Limits
from service.events.timestamps import is_rfc_3339
from service.kafka.record import Headers, Record

REQUIRED = {"specversion": "1.0", "id": "1234", "source": "/mycontext", "type": "com.example.someevent"}
STRUCTURED = ("content-type", b"application/cloudevents+json; charset=UTF-8")
NOT_JSON = [
    "text/plain",
    "application/xml",
    "application/avro",
    "application/octet-stream",
    "json",
    "text/json5",
]


def decode(value: bytes | None, headers: Headers, *, key: bytes | None = None) -> Event:
    decoder = Decoder({"orders": TopicFormat("orders")}, Limits(), "cluster")
    event = decoder.decode(Record("orders", 0, 7, key, value, headers, 1_700_000_000_123))
    assert isinstance(event, Event)
    return event


def ce(*others: tuple[str, bytes | None], **changes: str | None) -> Headers:
    attributes = {**REQUIRED, **changes}
    return (
        *((f"ce_{name}", text.encode()) for name, text in attributes.items() if text is not None),
        *others,
    )


def decode_structured(content_type: bytes = STRUCTURED[1], **members: Any) -> Event:
    return decode(json.dumps({**REQUIRED, **members}).encode(), (("content-type", content_type),))


# --- binary mode ---


def test_binary_mode_takes_attributes_from_headers_and_data_from_the_value() -> None:
    headers = ce(
        ("content-type", b"application/json"), subject="A-1", time="2018-04-05T03:56:24Z", traceparent="00-x"
    )
    event = decode(b'{"appinfoA": "abc"}', headers, key=b"mykey")
    assert event.id == "1234"
    assert event.source == "/mycontext"
    assert event.type == "com.example.someevent"
    assert event.subject == "A-1"
    assert event.time == "2018-04-05T03:56:24Z"
    assert event.ext == {"traceparent": "00-x"}
    assert event.data == {"appinfoA": "abc"}
    assert event.record_key == "mykey"
    assert event.key == ("/mycontext", "1234")
    assert event.headers["ce_subject"] == "A-1"


def test_absent_optional_attributes_are_empty_and_the_time_is_that_of_the_record() -> None:
    event = decode(b"1", ce())
    assert (event.subject, event.schema, event.ext) == ("", "", {})
    assert event.time == "2023-11-14T22:13:20.123Z"


def test_the_schema_of_the_data_is_kept() -> None:
    assert (
        decode(b"1", ce(dataschema="https://example.com/order.json")).schema
        == "https://example.com/order.json"
    )


def test_header_names_are_compared_without_case() -> None:
    headers = tuple(
        (name.upper(), text) for name, text in ce(("Content-Type", b"application/json"), tenant="blue")
    )
    assert decode(b"1", headers).ext == {"tenant": "blue"}


def test_header_values_are_utf_8_and_not_percent_decoded() -> None:
    event = decode(b"1", ce(subject="Zoë %C3%AB 100%"))
    assert event.subject == "Zoë %C3%AB 100%"


@pytest.mark.parametrize("name", REQUIRED)
def test_a_required_attribute_must_be_there_and_not_be_empty(name: str) -> None:
    with pytest.raises(DecodeError, match=f"attribute {name} is missing"):
        decode(b"1", ce(**{name: None}))
    with pytest.raises(DecodeError, match=f"attribute {name} is missing"):
        decode(b"1", ce((f"ce_{name}", None), **{name: None}))
    with pytest.raises(DecodeError, match=f"attribute {name} is empty"):
        decode(b"1", ce(**{name: ""}))


@pytest.mark.parametrize("name", ["subject", "time", "dataschema"])
def test_an_optional_attribute_that_is_set_is_not_empty(name: str) -> None:
    with pytest.raises(DecodeError, match=f"attribute {name} is empty"):
        decode(b"1", ce(**{name: ""}))


@pytest.mark.parametrize("version", ["0.3", "1", "1.0.2", "2.0"])
def test_another_version_is_refused(version: str) -> None:
    with pytest.raises(DecodeError, match=r"specversion is not 1\.0"):
        decode(b"1", ce(specversion=version))


@pytest.mark.parametrize("name", ["ce_id", "CE_Id", "ce_tenant", "content-type"])
def test_a_repeated_header_of_the_envelope_is_refused_in_both_modes(name: str) -> None:
    twice = ((name, b"1"), (name.lower(), b"1"))
    for headers in (ce(*twice), (*twice, STRUCTURED)):
        with pytest.raises(
            DecodeError, match=f"header '{name.lower()}' is repeated|header 'content-type' is repeated"
        ):
            decode(b"1", headers)


@pytest.mark.parametrize("name", ["ce_", "ce_data", "ce_tenant_id", "ce_tenant-id", "ce_größe"])
def test_a_header_that_names_no_attribute_is_refused(name: str) -> None:
    with pytest.raises(DecodeError, match="names no attribute"):
        decode(b"1", ce((name, b"x")))


@pytest.mark.parametrize("name", ["ce_subject", "content-type"])
def test_a_header_of_the_envelope_that_is_not_utf_8_is_refused(name: str) -> None:
    with pytest.raises(DecodeError, match=f"header {name} is not UTF-8 at byte 1"):
        decode(b"1", ce((name, b"a\xff")))


@pytest.mark.parametrize("text", ["a\nb", "a\0", "\x7f", "\x9f", "\ufdd0", "\uffff", "\U0001fffe"])
def test_control_characters_and_noncharacters_are_refused(text: str) -> None:
    with pytest.raises(DecodeError, match="attribute id holds a control character or a noncharacter"):
        decode(b"1", ce(id=text))


def test_exactly_the_characters_of_the_specification_are_forbidden() -> None:
    forbidden = re.compile("[\0-\x1f\x7f-\x9f]")
    for code in range(sys.maxunicode + 1):
        noncharacter = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF
        assert is_attribute_text(chr(code)) is not (noncharacter or bool(forbidden.match(chr(code))))


@pytest.mark.parametrize("content_type", NOT_JSON)
@pytest.mark.parametrize("header", ["content-type", "ce_datacontenttype"])
def test_binary_data_of_another_format_is_refused(content_type: str, header: str) -> None:
    with pytest.raises(DecodeError, match="content type names another format"):
        decode(b"1", ce((header, content_type.encode())))


@pytest.mark.parametrize(
    "content_type", [b"", b"application/json", b"TEXT/Json ; charset=x", b"application/a+JSON"]
)
def test_binary_data_of_a_json_type_is_read(content_type: bytes) -> None:
    assert decode(b"1", ce(("content-type", content_type))).data == 1


def test_no_value_is_no_data_and_null_is_data() -> None:
    assert not decode(None, ce()).has_data
    event = decode(b"null", ce())
    assert (event.has_data, event.data) == (True, None)


def test_an_empty_value_is_data_that_is_not_json() -> None:
    with pytest.raises(
        DecodeError, match="the value is empty, which is not JSON; send null for an event without data"
    ):
        decode(b"", ce())


def test_a_record_that_is_no_cloudevent_is_refused_with_the_cure() -> None:
    with pytest.raises(
        DecodeError, match=r"neither ce_ headers nor .*write an `event` mapping for topic orders"
    ):
        decode(b"{}", (("content-type", b"application/json"),))


# --- structured mode ---


@pytest.mark.parametrize(
    "content_type",
    [
        b"application/cloudevents+json",
        b"Application/CloudEvents+JSON;charset=utf-8",
        b"application/cloudevents",
        b" application/cloudevents+json",
    ],
)
def test_structured_mode_is_told_by_the_content_type_without_case(content_type: bytes) -> None:
    event = decode_structured(content_type, data={"a": 1})
    assert (event.id, event.data) == ("1234", {"a": 1})


def test_structured_mode_does_not_look_at_ce_headers() -> None:
    value = json.dumps(REQUIRED).encode()
    assert decode(value, (STRUCTURED, ("ce_id", b"other"), ("ce_not-a-name", b"\xff"))).id == "1234"


@pytest.mark.parametrize(
    "content_type", [b"application/cloudevents+avro", b"application/cloudevents+protobuf"]
)
def test_another_event_format_is_refused(content_type: bytes) -> None:
    with pytest.raises(DecodeError, match="content type names another format"):
        decode_structured(content_type)


@pytest.mark.parametrize(
    "content_type", [b"application/cloudevents-batch+json", b"Application/CloudEvents-Batch"]
)
def test_batch_mode_is_refused(content_type: bytes) -> None:
    with pytest.raises(DecodeError, match="a batch of CloudEvents is not read; send one event per record"):
        decode(b"[]", (("content-type", content_type),))


@pytest.mark.parametrize("value", [b"[]", b"1", b'"x"', b"null"])
def test_a_structured_event_is_an_object(value: bytes) -> None:
    with pytest.raises(DecodeError, match="not a JSON object"):
        decode(value, (STRUCTURED,))


def test_a_structured_event_of_no_bytes_is_not_json() -> None:
    with pytest.raises(DecodeError, match="not JSON"):
        decode(b"", (STRUCTURED,))


SPEC_EXAMPLE: dict[str, Any] = {
    "time": "2018-04-05T17:31:00Z",
    "comexampleextension1": "value",
    "comexampleothervalue": 5,
    "unsetextension": None,
    "subject": None,
}


@pytest.mark.parametrize(
    ("members", "data"),
    [
        (
            {
                "datacontenttype": "application/json",
                "data": {"appinfoA": "abc", "appinfoB": 123, "appinfoC": True},
            },
            {"appinfoA": "abc", "appinfoB": 123, "appinfoC": True},
        ),
        ({"datacontenttype": "application/json", "data": 1.5}, 1.5),
        ({"data": "I'm just a string"}, "I'm just a string"),
        ({"data": '{"a": 1}'}, '{"a": 1}'),
        ({"data": None}, None),
        ({"data": 1, "data_base64": None}, 1),
        ({"datacontenttype": "application/json", "data_base64": "eyAieHl6IjogMTIzIH0="}, {"xyz": 123}),
    ],
)
def test_examples_of_the_json_format(members: dict[str, Any], data: Any) -> None:
    event = decode_structured(**SPEC_EXAMPLE, **members)
    assert (event.data, event.has_data) == (data, True)
    assert event.ext == {"comexampleextension1": "value", "comexampleothervalue": "5"}
    assert (event.subject, event.time) == ("", "2018-04-05T17:31:00Z")


def test_a_structured_event_without_data_has_none() -> None:
    assert not decode_structured().has_data


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"data_base64": "eyAieHl6IjogMTIzIH0="}, "data_base64 has no datacontenttype"),
        ({"data_base64": "e30=", "data": None, "datacontenttype": "a/json"}, "both data and data_base64"),
        ({"data_base64": "e30", "datacontenttype": "a/json"}, "data_base64 is not Base64"),
        ({"data_base64": "e3 0=", "datacontenttype": "a/json"}, "data_base64 is not Base64"),
        ({"data_base64": "ë", "datacontenttype": "a/json"}, "data_base64 is not Base64"),
        ({"data_base64": {}, "datacontenttype": "a/json"}, "data_base64 is not Base64"),
        ({"data_base64": "e30=", "datacontenttype": "image/png"}, "content type names another format"),
        (
            {"data": '<much wow="xml"/>', "datacontenttype": "application/xml"},
            "content type names another format",
        ),
        ({"id": 5}, "attribute id is not a string"),
        ({"subject": True}, "attribute subject is not a string"),
        ({"source": None}, "attribute source is missing"),
        ({"ext": 1.5}, "attribute ext is neither"),
        ({"ext": {}}, "attribute ext is neither"),
        ({"ext": []}, "attribute ext is neither"),
        ({"Ext": "x"}, "not named in lower-case"),
        ({"time": "yesterday"}, "attribute time is not RFC 3339"),
        ({"ext": "a\tb"}, "attribute ext holds a control character"),
    ],
)
def test_what_the_json_format_does_not_allow_is_refused(members: dict[str, Any], reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        decode_structured(**members)


@pytest.mark.parametrize("bytes_in_base64", [b"[" * 65, b"9" * 20, b"NaN"])
def test_data_in_base64_is_as_strict_as_a_value(bytes_in_base64: bytes) -> None:
    with pytest.raises(DecodeError, match="data_base64"):
        decode_structured(data_base64=b64encode(bytes_in_base64).decode(), datacontenttype="application/json")


@pytest.mark.parametrize(
    ("member", "text"), [("x", "x"), ("", ""), (True, "true"), (False, "false"), (-5, "-5")]
)
def test_extensions_are_the_same_text_in_both_modes(member: Any, text: str) -> None:
    assert decode_structured(ext=member).ext == decode(b"1", ce(ext=text)).ext == {"ext": text}


# --- time ---


@pytest.mark.parametrize(
    "text",
    [
        "1985-04-12T23:20:50.52Z",
        "1996-12-19T16:39:57-08:00",
        "1990-12-31T23:59:60Z",
        "1937-01-01T12:00:27.87+00:20",
        "2024-02-29t00:00:00.123456789z",
    ],
)
def test_times_of_rfc_3339_are_kept_as_they_are(text: str) -> None:
    assert decode(b"1", ce(time=text)).time == text


@pytest.mark.parametrize(
    "text",
    [
        "2018-04-05",
        "2018-04-05T17:31:00",
        "2018-04-05 17:31:00Z",
        "2018-4-5T17:31:00Z",
        "20180405T173100Z",
        "2018-02-30T17:31:00Z",
        "2018-13-01T17:31:00Z",
        "2018-04-05T24:00:00Z",
        "2018-04-05T17:60:00Z",
        "2018-04-05T17:31:61Z",
        "2018-04-05T17:31:00.Z",
        "2018-04-05T17:31:00+0100",
        "2018-04-05T17:31:00+24:00",
        "٢٠١٨-04-05T17:31:00Z",
        "2018-04-05T1٣:31:00Z",
        "1700000000",
    ],
)
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(DecodeError, match="attribute time is not RFC 3339"):
        decode(b"1", ce(time=text))


@given(st.datetimes(timezones=st.timezones()))
def test_what_python_writes_with_an_offset_of_minutes_is_a_time(time: datetime) -> None:
    offset = time.utcoffset()
    assert offset is not None
    assert is_rfc_3339(time.isoformat()) is (offset.total_seconds() % 60 == 0)


# --- encoding ---

ATTRIBUTE_TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn"]), min_size=1)
HEADER_TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | HEADER_TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(HEADER_TEXTS, inner),
)


def result(**changes: Any) -> ResultEvent:
    fields = {
        "topic": "orders",
        "id": "1",
        "source": "turnout/order",
        "type": "shop.order.shipped",
        "subject": "A-1001",
        "time": "2026-01-31T12:00:00Z",
        "data": {"a": 1},
        **changes,
    }
    return ResultEvent(**fields)


def read_back(event: ResultEvent) -> Event:
    key, value, headers = encode_binary(event)
    return decode(value, headers, key=key)


@given(
    texts=st.fixed_dictionaries({"id": ATTRIBUTE_TEXTS, "source": ATTRIBUTE_TEXTS, "type": ATTRIBUTE_TEXTS}),
    subject=st.just("") | ATTRIBUTE_TEXTS,
    data=JSON,
    extensions=st.dictionaries(
        st.sampled_from(["traceparent", "tenant", "n2"]), ATTRIBUTE_TEXTS | st.just("")
    ),
    headers=st.dictionaries(st.sampled_from(["correlation", "causation", "Größe"]), HEADER_TEXTS),
)
def test_what_is_encoded_is_decoded_the_same(
    texts: dict[str, str], subject: str, data: Any, extensions: dict[str, str], headers: dict[str, str]
) -> None:
    own = {**headers, **{f"ce_{name}": text for name, text in extensions.items()}}
    event = result(**texts, subject=subject, data=data, headers=own)
    back = read_back(event)
    assert (back.id, back.source, back.type, back.subject) == (
        event.id,
        event.source,
        event.type,
        event.subject,
    )
    assert back.time == event.time
    assert json.dumps(back.data) == json.dumps(event.data)
    assert back.has_data
    assert back.ext == extensions
    assert back.record_key == subject
    assert {name: back.headers[name] for name in own} == own


def test_a_result_event_is_binary_mode_on_the_wire() -> None:
    encoded = encode_binary(result(headers={"correlation": "c-1"}))
    assert encoded.key == b"A-1001"
    assert encoded.value == b'{"a":1}'
    assert encoded.headers == (
        ("ce_specversion", b"1.0"),
        ("ce_id", b"1"),
        ("ce_source", b"turnout/order"),
        ("ce_type", b"shop.order.shipped"),
        ("ce_subject", b"A-1001"),
        ("ce_time", b"2026-01-31T12:00:00Z"),
        ("content-type", b"application/json"),
        ("correlation", b"c-1"),
    )


def test_a_result_event_without_subject_has_neither_key_nor_subject() -> None:
    encoded = encode_binary(result(subject=""))
    assert encoded.key is None
    assert "ce_subject" not in dict(encoded.headers)


def test_a_result_event_of_null_is_no_tombstone() -> None:
    assert encode_binary(result(data=None)).value == b"null"


@pytest.mark.parametrize(
    "changes",
    [
        {"id": ""},
        {"type": ""},
        {"source": "a\nb"},
        {"subject": "\0"},
        {"time": "now"},
        {"time": ""},
        {"data": 2**63},
        {"data": [float("nan")]},
        {"data": float("inf")},
        {"data": "\ud800"},
        {"id": "\ud800"},
        {"headers": {"ce_id": "2"}},
        {"headers": {"CE_Subject": "x"}, "subject": ""},
        {"headers": {"Content-Type": "text/plain"}},
        {"headers": {"ce_datacontenttype": "text/plain"}},
        {"headers": {"ce_tenant-id": "x"}},
        {"headers": {"ce_x": "1", "ce_X": "2"}},
    ],
)
def test_what_would_be_refused_is_not_published(changes: dict[str, Any]) -> None:
    event = result().model_copy(update=changes)  # pydantic itself refuses some of them
    with pytest.raises(ValueError):  # noqa: PT011 - by whom it is refused does not matter
        encode_binary(event)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ((("ce_type", b"placed"), ("content-type", b"application/json")), "placed"),
        ((("CE_Type", b"placed"),), "placed"),
        ((("ce_type", b"placed"), ("ce_type", b"other")), ""),
        ((("ce_type", b"placed"), ("content-type", b"application/cloudevents+json")), ""),
        ((("ce_type", b"\xff"),), ""),
        ((("ce_type", None),), ""),
        ((("ce_id", b"1"),), ""),
        ((), ""),
    ],
)
def test_the_type_by_the_headers_is_that_of_binary_mode_and_certain(headers: Headers, expected: str) -> None:
    assert type_by_headers(Record("t", 0, 0, None, b"torn", headers, 0)) == expected
