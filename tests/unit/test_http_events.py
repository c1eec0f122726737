"""CloudEvents over HTTP are the same events as in Kafka, in whichever mode they come."""

import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.api.http_events import event_in
from service.api.models import Publish
from service.api.refusals import Kind, Refusal
from service.events.cloudevents import decode_cloudevent
from service.events.event import Event
from service.events.strict_json import Limits
from service.events.values import JsonValues
from service.kafka.record import Record

LIMITS = Limits()
TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn"]), min_size=1, max_size=30)
NAMES = st.from_regex(r"[a-z][a-z0-9]{0,9}", fullmatch=True)
DATA = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def decoded(published: Publish) -> Event:
    record = Record(published.topic, 0, 0, published.key, published.value, published.headers, 0)
    return decode_cloudevent(record, "", JsonValues(LIMITS), LIMITS)


@given(id_=TEXTS, type_=TEXTS, more=st.dictionaries(NAMES, TEXTS, max_size=3), data=DATA)
@example(id_='"%22"', type_="a b%", more={"partitionkey": "käse"}, data={"a": 1})
def test_an_event_is_the_same_in_both_modes(id_: str, type_: str, more: dict[str, str], data: Any) -> None:
    reserved = {"specversion", "id", "type", "source", "subject", "time", "data", "datacontenttype"}
    ext = {name: text for name, text in more.items() if name not in reserved | {"dataschema"}}
    attributes = {"specversion": "1.0", "id": id_, "source": "/s", "type": type_, **ext}
    # Everything but what may stand there as it is: as the binding says, and then some.
    headers = [(f"ce-{name}".encode(), quote(text, safe="").encode()) for name, text in attributes.items()]
    binary = event_in("t", [(b"content-type", b"application/json"), *headers], json.dumps(data).encode())
    whole = json.dumps({**attributes, "data": data}).encode()
    structured = event_in("t", [(b"content-type", b"application/cloudevents+json")], whole)
    one, other = decoded(binary), decoded(structured)
    assert (one.key, one.id, one.type, one.ext, one.data) == (
        other.key,
        other.id,
        other.type,
        other.ext,
        data,
    )
    assert (one.id, one.type) == (id_, type_)
    assert binary.key == structured.key == (ext["partitionkey"].encode() if "partitionkey" in ext else None)


def test_quotes_around_a_value_are_no_part_of_it_and_a_trace_is_taken_along() -> None:
    headers = [
        *((b"ce-id", b'"a\\"b"'), (b"ce-source", b"/s"), (b"ce-type", b"t"), (b"ce-specversion", b"1.0")),
        *((b"traceparent", b"00-1-2-01"), (b"authorization", b"Bearer s3cret"), (b"cookie", b"c")),
    ]
    published = event_in("t", headers, b"")
    event = decoded(published)
    assert (event.id, event.has_data) == ('a"b', False)
    assert event.headers["traceparent"] == "00-1-2-01"
    assert not {"authorization", "cookie"} & event.headers.keys()


@pytest.mark.parametrize(
    "kind", ["application/cloudevents-batch+json", "Application/CloudEvents-Batch+json; x=1"]
)
def test_batches_are_refused(kind: str) -> None:
    with pytest.raises(Refusal) as refused:
        event_in("t", [(b"content-type", kind.encode())], b"[]")
    assert refused.value.kind is Kind.UNSUPPORTED
