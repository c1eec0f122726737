# ruff: noqa: E501 - a case is a line
"""Whatever bytes come: a record becomes an event or a letter, a route a command, nothing or a letter."""

import json
from base64 import b64encode
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from service.errors import ConfigurationError, RecordError
from service.events.decoding import Decoder, Tombstone
from service.events.given import record_in
from service.events.strict_json import Limits
from service.kafka.record import Headers, Record
from service.routing.table import RouteTable, load_routes
from tests.fuzz.effort import effort
from tests.fuzz.mutations import JSON, ODD_TEXTS, altered, changed

ROUTES = """\
version: 1
topics:
  events: {}
  texts: {key: json, tombstones: skip, ordering: partition}
  plain:
    key: bytes
    tombstones: event
    event: {type: "${headers['type']}", id: "${data.id}", subject: "s/${record.key}", time: "${data.?time.orValue('')}"}
  places: {event: {type: "${data.type}"}}
  results: {out: true}
namespaces: [a, b]
task_queues: {q: {inbox: true}}
routes:
""" + "".join(
    f"  - {{name: {topic}-{name}, from: {topic}, {action}}}\n"
    for topic in ("events", "texts", "plain", "places")
    for name, action in {
        "start": 'start: {workflow: "${event.type}", id: "order/${data.id}", task_queue: "q/${data.q}", input: "${data}", '
        'search_attributes: {A: "${data.list}"}, memo: {m: "${data.x}"}, summary: "${data.x}", '
        'start_at: "${event.time}", fairness_key: "${data.x}", namespace: "${data.ns}"}',
        "when": "when: \"data.list.exists(x, x.id == data.id) || data.x > 1 || headers['type'] != ''\", "
        'cancel: {to: "${event.id}", reason: "${data.x}"}',
        "signal": 'signal: {to: "c/${event.subject}", name: n, batch: true, input: {a: "${data.list.map(x, x.id)}"}, '
        'or_start: {workflow: W, task_queue: q, args: ["${data.id}", "${event.ext}"]}}',
        "complete": 'complete: {correlation: "${headers[\'correlation\']}", result: "${parse_json(data.x)}"}',
        "error": 'complete: {correlation: "${data.x}", error: {type: "${data.id}", text: "${string(data.x)}"}}',
    }.items()
)


@cache
def table() -> RouteTable:
    with TemporaryDirectory() as folder:
        path = Path(folder, "routes.yaml")
        path.write_text(ROUTES)
        return load_routes(path)


def follow(record: Record, limits: Limits) -> list[str]:
    """The way of a record up to its commands: the reasons of its letters; nothing else may end it."""
    routes = table()
    decoder = Decoder({name: topic.format for name, topic in routes.topics.items()}, limits, "cluster")
    try:
        event = decoder.decode(record)
    except RecordError as error:
        return [error.reason]
    if isinstance(event, Tombstone):
        return []
    reasons = []
    for route in routes.routes_for(event):
        try:
            route.command(event)
        except RecordError as error:
            reasons.append(error.reason.removeprefix(f"route {route.name}: "))
    return reasons


ATTRIBUTES = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
EVENT: dict[str, Any] = {
    **ATTRIBUTES,
    "subject": "A-1",
    "time": "2026-01-31T12:00:00Z",
    "ext": 5,
    "datacontenttype": "application/json",
    "data": {"id": "A-1", "x": "1", "q": "q", "ns": "a", "list": [{"id": "A-1"}], "type": "t"},
}
WORDS = [
    *EVENT,
    "data_base64",
    "dataschema",
    "NaN",
    "1e400",
    "\\ud800",
    "\\u0000",
    "\\uffff",
    "[" * 70,
    "{" * 70,
]
TEXTS = [json.dumps(EVENT), json.dumps(EVENT["data"]), json.dumps({**ATTRIBUTES, "data_base64": "e30="})]
JSON_TEXTS = (
    changed(TEXTS, WORDS)
    | altered([EVENT, EVENT["data"]]).map(json.dumps)
    | JSON.map(json.dumps)
    | st.integers(0, 3000).map(lambda depth: "[" * depth + "]" * depth)
    | st.integers(0, 3000).map(lambda depth: '{"a":' * depth + "1" + "}" * depth)
    | st.integers(0, 5000).map(lambda digits: '{"id": ' + "9" * digits + "}")
)
VALUES = st.none() | st.binary() | JSON_TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass"))
NAMES = st.sampled_from(
    [
        *(f"ce_{name}" for name in EVENT),
        "ce_",
        "CE_ID",
        "ce_x-y",
        "content-type",
        "Content-Type",
        "type",
        "correlation",
    ]
)
HEADER_VALUES = (
    st.none()
    | st.binary(max_size=20)
    | st.sampled_from(
        [
            *(
                b"1.0",
                b"application/json",
                b"Application/CloudEvents+JSON; charset=UTF-8",
                b"application/cloudevents+avro",
            ),
            *(b"application/cloudevents-batch+json", b"a/b;", b";", b"2026-01-31T12:00:00Z"),
            *(text.encode("utf-8", "surrogatepass") for text in ODD_TEXTS),
        ]
    )
)
BINARY = tuple((f"ce_{name}", text.encode()) for name, text in ATTRIBUTES.items())
STRUCTURED = (("content-type", b"application/cloudevents+json"),)
HEADERS: st.SearchStrategy[Headers] = st.builds(
    lambda first, others: (*first, *others),
    st.sampled_from([(), BINARY, STRUCTURED, (("type", b"t"),)]),
    st.lists(st.tuples(NAMES | st.text(max_size=5), HEADER_VALUES), max_size=5),
)
TIMES = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([-1, 0, 253_402_300_799_999, 253_402_300_800_000])
RECORDS = st.builds(
    Record,
    st.sampled_from(["events", "texts", "plain", "places", "elsewhere"]),
    st.integers(0, 2**31 - 1),
    st.integers(0, 2**63 - 1),
    st.none() | st.binary(max_size=20) | JSON_TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass")),
    VALUES,
    HEADERS,
    TIMES,
)


def structured(text: str) -> Record:
    return Record("events", 0, 1, None, text.encode("utf-8", "surrogatepass"), STRUCTURED, 0)


@effort(250)
@given(
    record=RECORDS, limits=st.builds(Limits, st.sampled_from([1, 100, 1 << 20]), st.sampled_from([1, 3, 64]))
)
@example(structured('{"id": ' + "9" * 1_000_000 + "}"), Limits())
@example(structured("[" * 1_000_000), Limits())
@example(structured('{"a":' * 500_000), Limits())
@example(structured('"' + "\\" * 999_999), Limits())
@example(
    structured(json.dumps({**EVENT, "data": {"list": [{"id": number} for number in range(10_000)]}})),
    Limits(),
)
@example(
    structured(json.dumps({**EVENT, "data": {"id": "x" * 900_000, "x": "[" * 60_000, "list": []}})), Limits()
)
def test_every_record_ends_in_an_event_a_tombstone_or_a_letter_and_every_route_in_a_typed_answer(
    record: Record, limits: Limits
) -> None:
    assert all(follow(record, limits))


GIVEN = {
    "topic": "events",
    "key": "A-1",
    "headers": {"content-type": "application/cloudevents+json"},
    "value": EVENT,
    "partition": 1,
    "offset": 2,
    "timestamp": 3,
}


@effort(100)
@given(
    st.binary(max_size=60)
    | (
        changed([json.dumps(GIVEN), json.dumps(EVENT)], [*GIVEN, *WORDS])
        | altered([GIVEN, EVENT]).map(json.dumps)
    ).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from(["", "events", "plain"]),
)
@example(json.dumps({"topic": "events", "value_base64": b64encode(b"\xff").decode()}).encode(), "")
@example(json.dumps({"topic": "events", "headers": {"\ud800": "a"}}).encode(), "")
@example(b'{"topic": "events", "value_base64": "\xc3\xa9"}', "")
def test_every_event_that_a_person_writes_is_explained_or_refused(text: bytes, topic: str) -> None:
    try:
        record = record_in(text, topic)
    except ConfigurationError:
        return
    assert all(follow(record, Limits()))
