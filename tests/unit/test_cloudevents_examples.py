"""The examples of the CloudEvents specification and of its conformance suite, both ways.

Source: github.com/cloudevents/spec, bindings/kafka-protocol-binding.md (3.2.5, 3.3.1, 3.3.4) and
formats/json-format.md (3.2, 4.3); github.com/cloudevents/conformance, features/kafka-protocol-binding.feature
and format/json. The facts are theirs: attributes, content types, data.
"""

import json
from typing import Any

import pytest

from activities.ports import ResultEvent
from service.errors import DecodeError
from service.events.cloudevents import encode_binary
from service.events.decoding import Decoder
from service.events.envelope import TopicFormat
from service.events.event import Event
from service.events.strict_json import Limits
from service.kafka.record import Headers, Record

NONE = object()
"""Stands for no data at all; None is the data `null`."""


def decode(value: bytes | None, headers: Headers, key: bytes | None = b"mykey") -> Event:
    decoder = Decoder({"mytopic": TopicFormat("mytopic")}, Limits(), "cluster")
    event = decoder.decode(Record("mytopic", 0, 7, key, value, headers, 1_522_900_584_000))
    assert isinstance(event, Event)
    return event


def binary(attributes: dict[str, str], content_type: str | None = None) -> Headers:
    content = (("content-type", content_type.encode()),) if content_type is not None else ()
    return (*((f"ce_{name}", text.encode()) for name, text in attributes.items()), *content)


def structured(content_type: str = "application/cloudevents+json; charset=UTF-8") -> Headers:
    return (("content-type", content_type.encode()),)


def attributes_of(event: Event) -> dict[str, str]:
    """Those that are set, as the specification names them; the time that is the record's is left out."""
    time = "" if event.time == "2018-04-05T03:56:24.000Z" else event.time
    named = {
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "subject": event.subject,
        "time": time,
    }
    return {name: text for name, text in named.items() if text} | dict(event.ext)


SOME = {"type": "com.example.someevent", "source": "/mycontext/subcontext", "id": "1234-1234-1234"}
TIMED = {**SOME, "time": "2018-04-05T03:56:24Z"}
HELLO = {"message": "Hello World!"}
EXTENDED = {
    "type": "com.example.someevent",
    "source": "/mycontext",
    "time": "2018-04-05T17:31:00Z",
    "comexampleextension1": "value",
}
APP_INFO = {"appinfoA": "abc", "appinfoB": 123, "appinfoC": True}
TEST = {"type": "io.cloudevents.test", "source": "https://cloudevents.io"}
VERSION = {"specversion": "1.0"}


def of_json(**members: Any) -> bytes:
    return json.dumps(VERSION | members, indent=4).encode()


def example(identity: str, **members: Any) -> bytes:
    """An event of json-format.md: one extension is a number there, and text everywhere else."""
    return of_json(**EXTENDED, id=identity, comexampleothervalue=5, **members)


def told(identity: str) -> dict[str, str]:
    return {**EXTENDED, "id": identity, "comexampleothervalue": "5"}


# name: value, headers, attributes, data
READ: dict[str, tuple[bytes | None, Headers, dict[str, str], Any]] = {
    "binary mode of the conformance suite": (
        json.dumps(HELLO).encode(),
        binary(VERSION | TIMED, "application/json"),
        TIMED,
        HELLO,
    ),
    **{
        f"structured mode of the conformance suite as {content_type}": (
            of_json(**TIMED, datacontenttype="application/json", data=HELLO),
            structured(content_type),
            TIMED,
            HELLO,
        )
        for content_type in (
            "application/cloudevents+json",
            "application/cloudevents+json; charset=utf-8",
            "application/cloudevents+json; charset=UTF-8",
            "Application/CloudEvents+JSON;charset=UTF-8",
        )
    },
    "binary mode without optional attributes": (b"1", binary(VERSION | SOME), SOME, 1),
    "binary mode without data, which is no tombstone": (None, binary(VERSION | TIMED), TIMED, NONE),
    "binary mode without data, of whatever type": (
        None,
        binary(VERSION | TIMED, "application/avro"),
        TIMED,
        NONE,
    ),
    "binary mode with headers in capitals": (
        b"{}",
        tuple((name.upper(), text) for name, text in binary(VERSION | TIMED, "application/json")),
        TIMED,
        {},
    ),
    "a key of the partitioning extension": (
        b"{}",
        binary(VERSION | SOME | {"partitionkey": "mykey"}, "application/json"),
        SOME | {"partitionkey": "mykey"},
        {},
    ),
    "structured mode with the headers of binary mode, too": (
        of_json(**TIMED, data=HELLO),
        (*structured(), *binary(VERSION | TIMED)),
        TIMED,
        HELLO,
    ),
    "a JSON object": (
        example("C234-1234-1234", subject=None, datacontenttype="application/json", data=APP_INFO),
        structured(),
        told("C234-1234-1234"),
        APP_INFO,
    ),
    "a JSON object in binary mode": (
        json.dumps(APP_INFO).encode(),
        binary(VERSION | told("C234-1234-1234"), "application/json"),
        told("C234-1234-1234"),
        APP_INFO,
    ),
    "a JSON text without a content type": (
        example("D234-1234-1234", subject=None, data="I'm just a string"),
        structured(),
        told("D234-1234-1234"),
        "I'm just a string",
    ),
    "a JSON text in binary mode": (
        b'"I\'m just a string"',
        binary(VERSION | told("D234-1234-1234"), "application/json"),
        told("D234-1234-1234"),
        "I'm just a string",
    ),
    "a text that holds JSON stays text": (of_json(**SOME, data='{"a": 1}'), structured(), SOME, '{"a": 1}'),
    "null, which is data": (of_json(**SOME, data=None), structured(), SOME, None),
    "JSON in Base64": (
        of_json(**SOME, datacontenttype="application/json", data_base64="eyAieHl6IjogMTIzIH0="),
        structured(),
        SOME,
        {"xyz": 123},
    ),
    "a content type with a suffix and parameters": (
        of_json(**SOME, datacontenttype="application/vnd.acme+json;v=2", data=1),
        structured(),
        SOME,
        1,
    ),
    "validMinimal": (of_json(**TEST, id="minimal"), structured(), TEST | {"id": "minimal"}, NONE),
    "validMinimalWithNullForOptional": (
        of_json(**TEST, id="minimal", datacontenttype=None, dataschema=None, subject=None, time=None),
        structured(),
        TEST | {"id": "minimal"},
        NONE,
    ),
    "validAllCoreAttributes": (
        of_json(
            **TEST,
            id="allCore",
            datacontenttype="text/plain",
            dataschema="https://cloudevents.io/dataschema",
            subject="tests",
            time="2018-04-05T17:31:00Z",
        ),
        structured(),
        TEST | {"id": "allCore", "subject": "tests", "time": "2018-04-05T17:31:00Z"},
        NONE,
    ),
    **{
        f"validMinimalWithTime, {time}": (
            of_json(**TEST, id="minimalWithTime", time=time),
            structured(),
            TEST | {"id": "minimalWithTime", "time": time},
            NONE,
        )
        for time in (
            "2018-04-05T17:31:00Z",
            "2018-04-05T17:31:00.000000000Z",
            "2018-04-05T18:31:00+01:00",
            "2018-04-05T16:31:00-01:00",
        )
    },
    "validRelativeSource": (
        of_json(id="r", type="io.cloudevents.test", source="#fragment"),
        structured(),
        {"id": "r", "type": "io.cloudevents.test", "source": "#fragment"},
        NONE,
    ),
    "validAllExtensionTypes": (
        of_json(
            **TEST,
            id="e",
            extinteger=10,
            extboolean=True,
            extstring="text",
            exturi="https://cloudevents.io",
            exturiref="//authority/path",
            exttimestamp="2023-03-31T15:12:00Z",
            extbinary="TWE=",
        ),
        structured(),
        {
            **TEST,
            "id": "e",
            "extinteger": "10",
            "extboolean": "true",
            "extstring": "text",
            "exturi": "https://cloudevents.io",
            "exturiref": "//authority/path",
            "exttimestamp": "2023-03-31T15:12:00Z",
            "extbinary": "TWE=",
        },
        NONE,
    ),
}


@pytest.mark.parametrize("name", READ)
def test_an_example_is_read_with_exactly_its_attributes_and_data(name: str) -> None:
    value, headers, attributes, data = READ[name]
    event = decode(value, headers)
    assert attributes_of(event) == attributes
    assert (event.has_data, event.data) == ((False, None) if data is NONE else (True, data))
    assert event.key == (attributes["source"], attributes["id"])
    assert event.record_key == "mykey"


def test_the_schema_of_an_example_is_read() -> None:
    value, headers, _, _ = READ["validAllCoreAttributes"]
    assert decode(value, headers).schema == "https://cloudevents.io/dataschema"
    assert decode(None, binary(VERSION | SOME | {"dataschema": "#a"})).schema == "#a"


@pytest.mark.parametrize("name", [name for name, (_, _, _, data) in READ.items() if data is not NONE])
def test_an_example_is_written_in_binary_mode_and_read_again_the_same(name: str) -> None:
    value, headers, attributes, data = READ[name]
    event = decode(value, headers)
    result = ResultEvent(
        topic="mytopic",
        id=event.id,
        source=event.source,
        type=event.type,
        subject=event.subject,
        time=event.time,
        data=event.data,
        headers={f"ce_{name}": text for name, text in event.ext.items()},
    )
    key, written, written_headers = encode_binary(result)
    # Binary mode (3.2): the data as it is, its type as content-type, all other attributes with ce_.
    expected = VERSION | attributes | {"time": event.time}
    assert {name: text.decode() for name, text in written_headers if text is not None} == {
        **{f"ce_{name}": text for name, text in expected.items()},
        "content-type": "application/json",
    }
    assert json.loads(written) == data
    again = decode(written, written_headers, key)
    assert (attributes_of(again), again.data, again.has_data) == (attributes_of(event), data, True)


# --- what the specification allows, and turnout does not take: a letter with its cure ---

THRIFT = {"datacontenttype": "application/vnd.apache.thrift.binary", "data_base64": "AAECAw=="}
XML = {"datacontenttype": "application/xml", "data": '<much wow="xml"/>'}
NOT_JSON = "send JSON as application/json"
NOT_TAKEN: dict[str, tuple[bytes, Headers, str]] = {
    "the binary example, in Avro": (b"\x02\x04ab", binary(VERSION | TIMED, "application/avro"), NOT_JSON),
    "the structured example, in XML": (
        of_json(**TIMED, datacontenttype="application/xml", data="<a/>"),
        structured(),
        NOT_JSON,
    ),
    "binary data": (example("A234-1234-1234", **THRIFT), structured(), NOT_JSON),
    "binary data in binary mode": (
        b"\0\1\2\3",
        binary(VERSION | told("A234-1234-1234"), THRIFT["datacontenttype"]),
        NOT_JSON,
    ),
    "XML": (example("B234-1234-1234", unsetextension=None, **XML), structured(), NOT_JSON),
    "XML in binary mode": (
        XML["data"].encode(),
        binary(VERSION | told("B234-1234-1234"), "application/xml"),
        NOT_JSON,
    ),
    "validSimpleTextData": (
        of_json(**TEST, id="simpleTextData", datacontenttype="text/plain", data="Simple text"),
        structured(),
        NOT_JSON,
    ),
    "the event format Avro": (b"\x02", structured("application/cloudevents+avro"), NOT_JSON),
    "bytes of no declared type": (
        of_json(**SOME, data_base64="AAECAw=="),
        structured(),
        "send datacontenttype application/json",
    ),
    "a batch": (
        b"[%s, %s]" % (example("B234-1234-1234", **THRIFT), example("C234-1234-1234", data=APP_INFO)),
        structured("application/cloudevents-batch+json"),
        "send one event per record",
    ),
    "an empty batch": (b"[]", structured("application/cloudevents-batch+json"), "send one event per record"),
}


@pytest.mark.parametrize("name", NOT_TAKEN)
def test_what_is_allowed_and_not_taken_is_a_letter_with_its_cure(name: str) -> None:
    value, headers, cure = NOT_TAKEN[name]
    with pytest.raises(DecodeError) as caught:
        decode(value, headers)
    assert (caught.value.cure or "").startswith(cure)


# --- what the conformance suite has as invalid ---

BASE = {**VERSION, **TEST, "id": "invalid"}
INVALID: dict[str, dict[str, Any]] = {
    **{f"no {name}": {other: text for other, text in BASE.items() if other != name} for name in BASE},
    **{f"empty {name}": BASE | {name: ""} for name in (*BASE, "datacontenttype", "dataschema", "subject")},
    **{
        f"time {time}": BASE | {"time": time}
        for time in (
            "lunchtime",
            "2018-04-05T18:31Z",
            "2018-04-05T18:31:00X",
            "2018-04-05T18:31:00+25:00",
            "2018-04-05T18:31:00+xx:00",
            "2018-04-05T18:31:00+05",
        )
    },
    "unknown specversion": BASE | {"specversion": "0.9"},
    "a content type that is none": BASE | {"datacontenttype": "xyz"},
    "a content type that is none, with data": BASE | {"datacontenttype": "xyz", "data": 1},
    "a number as id": BASE | {"id": 25},
    "an object as id": BASE | {"id": {"xyz": "abc"}},
    "an extension with capitals": BASE | {"MyExtension": "bad"},
    "an extension with a dot": BASE | {"my.extension": "bad"},
    "an extension with a fraction": BASE | {"myextension": 1.5},
    "data twice": BASE | {"data": "text", "data_base64": "eyAieHl6IjogMTIzIH0="},
}


@pytest.mark.parametrize("name", INVALID)
def test_what_is_invalid_is_a_letter(name: str) -> None:
    with pytest.raises(DecodeError):
        decode(json.dumps(INVALID[name]).encode(), structured())
