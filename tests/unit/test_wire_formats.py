"""Records that name the schema they were written by: in front, or in a header, as values and as keys."""

import json
from contextlib import suppress
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import DecodeError, NotNow, RecordError
from service.events.decoding import Decoder, Tombstone
from service.events.envelope import MappedEnvelope, TopicFormat
from service.events.event import Event
from service.events.framing import framed, unframed
from service.events.schemas import FORMATS, RegisteredSchema, SchemaNeeded, Schemas
from service.events.strict_json import Limits
from service.expressions import ENVELOPE_VARIABLES, Template
from service.kafka.record import Headers, Record
from tests.unit.registries import FakeSource, Recorded, avro, recorded

LITERAL = MappedEnvelope(type=Template.parse("thing.happened", ENVELOPE_VARIABLES))
BY_SCHEMA = MappedEnvelope(type=Template.parse("${record.schema}", ENVELOPE_VARIABLES))
ATTRIBUTES: Headers = (("ce_specversion", b"1.0"), ("ce_id", b"1"), ("ce_source", b"/s"), ("ce_type", b"t"))
INT = avro("int")


def decoder(declared: TopicFormat, source: FakeSource) -> Decoder:
    return Decoder({declared.topic: declared}, Limits(), "cluster", Schemas(source, Limits()))


async def event_of(
    declared: TopicFormat,
    source: FakeSource,
    value: bytes | None,
    headers: Headers = (),
    key: bytes | None = None,
) -> Event:
    record = Record(declared.topic, 0, 7, key, value, headers, 1_700_000_000_123)
    event = await decoder(declared, source).decode_with_registry(record)
    assert not isinstance(event, Tombstone)
    return event


@pytest.mark.parametrize("one", recorded(), ids=lambda one: one.name)
async def test_what_confluents_serializers_write_is_decoded(one: Recorded) -> None:
    if one.part == "key":
        declared = TopicFormat("orders", LITERAL, key="avro")
        event = await event_of(declared, one.registry(), b"1", one.headers, one.bytes)
        assert event.record_key == one.meant
        return
    declared = TopicFormat("orders", BY_SCHEMA, format=FORMATS[one.schema.type])
    event = await event_of(declared, one.registry(), one.bytes, one.headers)
    assert event.data == one.meant
    assert (event.schema, event.type) == (one.full_name, one.full_name)
    assert event.variables()["record.schema"] == one.full_name


@pytest.mark.parametrize("one", recorded(), ids=lambda one: one.name)
async def test_what_is_not_fetched_is_needed_and_fetched_once(one: Recorded) -> None:
    declared = TopicFormat("orders", LITERAL, format=FORMATS[one.schema.type])
    if one.part == "key":
        declared = TopicFormat("orders", LITERAL, key="avro")
    source = one.registry()
    decode = decoder(declared, source)
    value, key = (b"1", one.bytes) if one.part == "key" else (one.bytes, None)
    record = Record("orders", 0, 7, key, value, one.headers, 0)
    with pytest.raises(SchemaNeeded):
        decode.decode(record)
    assert source.asked == []
    event = await decode.decode_with_registry(record)
    assert decode.decode(record) == event
    assert source.asked == [UUID(one.guid) if one.headers else one.id]


async def test_a_cloudevent_in_binary_mode_carries_avro() -> None:
    headers = (*ATTRIBUTES, ("content-type", b"application/avro"), ("ce_dataschema", b"urn:other"))
    event = await event_of(TopicFormat("t", format="avro"), FakeSource({7: INT}), framed(7, b"\x06"), headers)
    assert (event.data, event.id, event.schema) == (3, "1", "int")


async def test_a_structured_cloudevent_may_be_json_that_a_schema_vouches_for() -> None:
    schema = {"title": "Envelope", "type": "object", "required": ["subject"]}
    source = FakeSource({7: RegisteredSchema("JSON", json.dumps(schema))})
    headers = (("content-type", b"application/cloudevents+json"),)
    members = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": {"a": 1}}
    declared = TopicFormat("t", format="json-schema")
    whole = framed(7, json.dumps({**members, "subject": "A-1"}).encode())
    event = await event_of(declared, source, whole, headers)
    assert (event.data, event.subject, event.schema) == ({"a": 1}, "A-1", "Envelope")
    with pytest.raises(DecodeError, match='"subject" is a required property'):
        await event_of(declared, source, framed(7, json.dumps(members).encode()), headers)


async def test_an_event_without_data_needs_no_schema() -> None:
    event = await event_of(TopicFormat("t", format="avro"), FakeSource(), None, ATTRIBUTES)
    assert not event.has_data


@pytest.mark.parametrize(
    ("format_", "content_type", "taken"),
    [
        ("avro", "application/avro", True),
        ("avro", "avro/binary", True),
        ("avro", "application/vnd.acme.order+avro; v=1", True),
        ("avro", "application/octet-stream", True),
        ("avro", "", True),
        ("avro", "application/json", False),
        ("avro", "application/avro+json", False),
        ("avro", "application/cloudevents+avro", False),
        ("avro", "application/cloudevents-batch+avro", False),
        ("avro", "text/plain", False),
        ("json-schema", "application/json", True),
        ("json-schema", "application/schema-instance+json", True),
        ("json-schema", "application/avro", False),
    ],
)
@pytest.mark.parametrize("envelope", ["cloudevents", LITERAL])
async def test_a_content_type_must_not_name_another_format(
    format_: str, content_type: str, taken: bool, envelope: object
) -> None:
    schema = INT if format_ == "avro" else RegisteredSchema("JSON", "true")
    value = framed(7, b"\x06" if format_ == "avro" else b"3")
    declared = TopicFormat("t", envelope, format=format_)  # type: ignore[arg-type]
    headers = (*ATTRIBUTES, ("content-type", content_type.encode()))
    if taken:
        assert (await event_of(declared, FakeSource({7: schema}), value, headers)).data == 3
    elif envelope == "cloudevents" or not content_type.startswith("application/cloudevents+"):
        with pytest.raises(DecodeError):
            await event_of(declared, FakeSource({7: schema}), value, headers)


@pytest.mark.parametrize(
    ("value", "headers", "reason"),
    [
        (b"", (), "does not begin with the id of a schema"),
        (b"\0\0\0\0", (), "does not begin with the id of a schema"),
        (b'{"a": 1}', (), "does not begin with the id of a schema"),
        (b"\1\0\0\0\7\6", (), "does not begin with the id of a schema"),
        (b"\0\x80\0\0\0\6", (), "registries have none beyond 2147483647"),
        (b"\6", (("__value_schema_id", b"\1abc"),), "header __value_schema_id is no id of a schema"),
        (b"\6", (("__value_schema_id", None),), "header __value_schema_id is no id of a schema"),
        (b"\6", (("__value_schema_id", b"\2" + bytes(16)),), "is no id of a schema"),
        (b"\6", (("__value_schema_id", b"\0\0\0\0\7"),) * 2, "header __value_schema_id is repeated"),
    ],
)
async def test_what_does_not_name_a_schema_is_refused(value: bytes, headers: Headers, reason: str) -> None:
    declared = TopicFormat("t", LITERAL, format="avro")
    with pytest.raises(DecodeError, match=reason):
        await event_of(declared, FakeSource({7: INT}), value, headers)


async def test_the_header_counts_where_both_are_there() -> None:
    header = (("__key_schema_id", b"\0\0\0\0\x08"), ("__value_schema_id", b"\0\0\0\0\7"))
    source = FakeSource({7: avro("bytes"), 8: avro("string")})
    declared = TopicFormat("t", LITERAL, key="avro", format="avro")
    event = await event_of(declared, source, b"\x02\0", header, b"\x02a")
    assert (event.data, event.record_key) == ("AA==", "a")


async def test_a_schema_of_another_format_than_declared_is_refused() -> None:
    source = FakeSource({7: RegisteredSchema("JSON", "true"), 8: RegisteredSchema("PROTOBUF", "syntax")})
    declared = TopicFormat("t", LITERAL, format="avro")
    with pytest.raises(DecodeError, match="schema 7, which is of format json-schema; send avro, or declare"):
        await event_of(declared, source, framed(7, b"1"))
    with pytest.raises(DecodeError, match="schema 8 is of type PROTOBUF, which is not read yet"):
        await event_of(declared, source, framed(8, b"1"))


async def test_a_topic_of_plain_json_looks_at_no_ids() -> None:
    headers = (("__value_schema_id", b"\1abc"),)
    event = await event_of(TopicFormat("t", LITERAL), FakeSource(), b'{"a": 1}', headers)
    assert event.data == {"a": 1}


@given(st.integers(0, 2**31 - 1), st.binary(), st.sampled_from(["key", "value"]))
def test_what_is_framed_is_unframed(schema_id: int, payload: bytes, part: str) -> None:
    assert unframed(framed(schema_id, payload), (), part) == (schema_id, payload)  # type: ignore[arg-type]


SOURCE = FakeSource({0: INT, 1: avro("string"), 2: RegisteredSchema("JSON", "true")})


@given(
    st.one_of(st.binary(), st.binary().map(lambda end: b"\0\0\0\0" + end)),
    st.lists(st.tuples(st.just("__value_schema_id"), st.none() | st.binary()), max_size=2),
    st.sampled_from(["avro", "json-schema"]),
)
async def test_any_bytes_are_an_event_or_refused_with_a_reason(
    value: bytes, headers: list[tuple[str, bytes | None]], format_: str
) -> None:
    declared = TopicFormat("t", LITERAL, format=format_)  # type: ignore[arg-type]
    decode = decoder(declared, SOURCE)
    record = Record("t", 0, 7, None, value, tuple(headers), 0)
    with suppress(RecordError, NotNow):
        assert isinstance(await decode.decode_with_registry(record), Event)


async def test_what_a_person_wrote_is_what_the_bytes_would_mean() -> None:
    declared = TopicFormat("t", LITERAL, key="avro", format="avro")
    source = FakeSource({7: INT})
    decode = Decoder({"t": declared}, Limits(), "", Schemas(source, Limits()), given=True)

    async def given_event(value: bytes, key: bytes, headers: Headers = ()) -> Event:
        event = await decode.decode_with_registry(Record("t", 0, 7, key, value, headers, 0))
        assert isinstance(event, Event)
        return event

    event = await given_event(b'{"total": "12.50"}', b"A-1")
    assert (event.data, event.record_key) == ({"total": "12.50"}, "A-1")
    assert (await given_event(b"1", b'{"id": 1}')).record_key == {"id": 1}
    assert source.asked == []
    assert (await given_event(framed(7, b"\x06"), b"A-1")).data == 3
    assert (await given_event(b"1", b"", (("content-type", b"application/json"),))).data == 1
