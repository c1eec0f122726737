# ruff: noqa: E501 - a case is a line
"""AsyncAPI of the routes: each topic, what is taken and written, and what payloads must fit."""

import dataclasses
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from pydantic import BaseModel
from temporalio import workflow

from service.dispatch.contracts import Contracts
from service.documents.asyncapi import About, asyncapi
from service.results.closing import closing_event
from service.results.closing_schema import CLOSING_SCHEMA
from service.routing.table import load_routes
from service.temporal.closed import STATUS, Closed, Failure, Result, Run


class Line(BaseModel):
    sku: str
    parts: list["Line"] = []


class Order(BaseModel):
    """What was ordered."""

    order_id: str
    lines: list[Line]


class Item(BaseModel):
    points: int


@dataclasses.dataclass
class Paid:
    cents: int


@workflow.defn
class Fulfil:
    @workflow.run
    async def run(self, order: Order) -> None: ...

    @workflow.signal
    def paid(self, paid: Paid) -> None: ...

    @workflow.signal
    def earned(self, items: list[Item]) -> None: ...


@workflow.defn
class Refund:
    @workflow.run
    async def run(self, reason: str, of: Paid) -> None: ...

    @workflow.signal
    def paid(self, paid: Paid) -> None: ...


WORKFLOWS = (Fulfil, Refund)
ROUTES = """\
version: 1
topics:
  orders: {}
  money:
    key: bytes
    event: {type: "${headers['kind']}", id: "${data.meta.id}", subject: "s/${data.order}"}
  bare: {event: {type: "${data.kind}"}, key: json}
  done: {out: true}
  asked: {out: true}
task_queues: {q: {inbox: true}}
routes:
  - {name: team/placed, from: orders, type: placed, start: {workflow: Fulfil, id: "o/${data.order_id}", task_queue: q, input: "${data}", publish_closing: done}}
  - {name: team-placed, from: orders, type: placed, when: data.big, start: {workflow: Other, id: x, task_queue: q, input: "${ data }", contract: {type: object, required: [order_id]}}}
  - {name: earned, from: orders, type: [earned, won], signal: {to: x, name: earned, input: "${data}", batch: true, or_start: {workflow: Fulfil, task_queue: q, input: {order_id: x, lines: []}}}}
  - {name: paid, from: money, type: paid, signal: {to: x, name: paid, input: "${data}"}}
  - {name: refunded, from: money, type: refunded, start: {workflow: Refund, id: x, task_queue: q, args: [late, "${data}"]}}
  - {name: answered, from: bare, type: answered, complete: {correlation: "${headers['correlation']}", result: "${data}"}}
  - {name: watched, from: bare, cancel: {to: x}}
"""
ODD_CONTRACTS = """\
version: 1
topics: {in: {}}
routes:
  - {name: tree, from: in, type: tree, start: {workflow: W, id: x, task_queue: q, input: "${data}", contract: {$id: "https://x/y", $schema: "https://json-schema.org/draft/2020-12/schema", $ref: "#/$defs/Node", $defs: {Node: {type: object, properties: {below: {type: array, items: {$ref: "#/$defs/Node"}}}}}}}}
  - {name: whole, from: in, type: whole, start: {workflow: W, id: x, task_queue: q, input: "${data}", contract: {type: object, properties: {next: {$ref: "#"}, discriminator: {type: string}}, discriminator: {propertyName: kind}}}}
  - {name: old, from: in, type: old, start: {workflow: W, id: x, task_queue: q, input: "${data}", contract: {$schema: "http://json-schema.org/draft-04/schema#", type: integer, minimum: 1, exclusiveMinimum: true}}}
  - {name: anchored, from: in, type: anchored, start: {workflow: W, id: x, task_queue: q, input: "${data}", contract: {$ref: "#here", $defs: {a: {$anchor: here, type: object}}}}}
  - {name: named, from: in, type: named, start: {workflow: W, id: x, task_queue: q, input: "${data}", contract: {properties: {$ref: {type: string}}}}}
  - {name: new, from: in, type: new, start: {workflow: W, id: x, task_queue: q, input: "${data}", contract: {type: array, prefixItems: [{type: string}], items: false, unevaluatedItems: false, dependentRequired: {a: [b]}}}}
  - {name: same, from: in, type: same, start: {workflow: W, id: x, task_queue: q, input: "${data}", contract: {title: W, type: string, minLength: 1}}}
  - {name: whole, from: in, type: parts, start: {workflow: W, id: x, task_queue: q, input: {all: "${data}"}, contract: {type: object}}}
""".replace("name: whole, from: in, type: parts", "name: parts, from: in, type: parts")


def written(folder: Path, text: str) -> Path:
    path = folder / "r.yaml"
    path.write_text(text)
    return path


@pytest.fixture
def document(tmp_path: Path) -> dict[str, Any]:
    return asyncapi(load_routes(written(tmp_path, ROUTES)), Contracts(WORKFLOWS), About())


def event_of(document: dict[str, Any], topic: str, name: str) -> dict[str, Any]:
    event: dict[str, Any] = document["channels"][topic]["messages"][name]
    return event


def fits(document: dict[str, Any], schema: Any, value: Any) -> bool:
    """Whether `value` fits a schema of the document, whose references are looked up in it."""
    whole = {"allOf": [schema], "components": document.get("components", {})}
    return jsonschema_rs.validator_for(whole).is_valid(value)


def test_each_topic_is_a_channel_and_each_route_an_operation(document: dict[str, Any]) -> None:
    assert [*document["channels"]] == ["orders", "money", "bare", "asked", "done"]
    assert {
        name: (one["action"], one["channel"]["$ref"]) for name, one in document["operations"].items()
    } == {
        "team-placed": ("receive", "#/channels/orders"),
        "team-placed-2": ("receive", "#/channels/orders"),
        "earned": ("receive", "#/channels/orders"),
        "paid": ("receive", "#/channels/money"),
        "refunded": ("receive", "#/channels/money"),
        "answered": ("receive", "#/channels/bare"),
        "watched": ("receive", "#/channels/bare"),
        "results.asked": ("send", "#/channels/asked"),
        "closings.done": ("send", "#/channels/done"),
        "results.done": ("send", "#/channels/done"),
    }


def test_an_operation_says_which_route_it_is_and_what_that_asks(document: dict[str, Any]) -> None:
    operations = document["operations"]
    assert operations["team-placed"]["title"] == "route team/placed"
    assert operations["team-placed"]["description"] == "It starts Fulfil o/${data.order_id} on q."
    assert operations["team-placed-2"]["description"].endswith(" It takes what fits `data.big`.")
    assert operations["earned"]["messages"] == [
        {"$ref": "#/channels/orders/messages/earned"},
        {"$ref": "#/channels/orders/messages/won"},
    ]
    assert "- `team-placed` starts Other x on q" in event_of(document, "orders", "placed")["description"]


def test_events_are_cloudevents_in_binary_mode(document: dict[str, Any]) -> None:
    headers = event_of(document, "orders", "placed")["headers"]
    attributes = {"ce_specversion": "1.0", "ce_id": "1", "ce_source": "/a", "ce_type": "placed"}
    assert fits(document, headers, {**attributes, "ce_subject": "x", "content-type": "application/json"})
    assert not fits(document, headers, {**attributes, "ce_type": "earned"})
    assert not fits(document, headers, {name: text for name, text in attributes.items() if name != "ce_id"})


def test_a_mapped_envelope_says_where_its_attributes_stand(document: dict[str, Any]) -> None:
    paid, answered = event_of(document, "money", "paid"), event_of(document, "bare", "answered")
    assert fits(document, paid["headers"], {"kind": "paid"})
    assert not fits(document, paid["headers"], {"kind": "refunded"})
    assert "subject: s/${data.order}" in paid["headers"]["description"]
    good = {"meta": {"id": "1"}, "order": "2", "cents": 5}
    assert fits(document, paid["payload"], good)
    for name in ("meta", "order", "cents"):
        assert not fits(document, paid["payload"], {key: value for key, value in good.items() if key != name})
    assert fits(document, answered["payload"], {"kind": "answered"})
    assert not fits(document, answered["payload"], {"kind": "asked"})


def test_keys_are_of_the_form_that_the_topic_declares(document: dict[str, Any]) -> None:
    keys = {
        name: next(iter(channel["messages"].values()))["bindings"]["kafka"]["key"]
        for name, channel in document["channels"].items()
    }
    text = {"type": "string"}
    assert keys == {
        "orders": text,
        "money": {"type": "string", "format": "binary"},
        "bare": {},
        "asked": text,
        "done": text,
    }


def test_a_payload_fits_what_the_workflow_takes_that_it_is_given_to(document: dict[str, Any]) -> None:
    placed, refunded = (
        event_of(document, *one)["payload"] for one in (("orders", "placed"), ("money", "refunded"))
    )
    good = {"order_id": "A", "lines": [{"sku": "x", "parts": [{"sku": "y"}]}]}
    assert fits(document, placed, good)
    assert not fits(document, placed, {**good, "lines": [{"sku": "x", "parts": [{}]}]})
    assert fits(document, refunded, {"cents": 5, "meta": {"id": "1"}, "order": "1"})  # its second argument
    assert not fits(document, refunded, {"cents": "five", "meta": {"id": "1"}, "order": "1"})


def test_of_a_batch_one_item_is_the_payload(document: dict[str, Any]) -> None:
    payload = event_of(document, "orders", "earned")["payload"]
    assert fits(document, payload, {"points": 5})
    assert not fits(document, payload, [{"points": 5}])


def test_what_is_not_known_is_not_said(document: dict[str, Any]) -> None:
    assert fits(document, event_of(document, "bare", "any")["payload"], {"kind": None})
    assert "payload" not in event_of(document, "asked", "any")


def test_routes_with_a_condition_bind_nobody_who_may_go_another_way(tmp_path: Path) -> None:
    routes = (
        "version: 1\ntopics: {in: {}}\nroutes:\n"
        '  - {name: a, from: in, type: t, when: data.a, start: {workflow: A, id: a, task_queue: q, input: "${data}", contract: {required: [a]}}}\n'
        '  - {name: b, from: in, type: t, when: data.b, start: {workflow: B, id: b, task_queue: q, input: "${data}", contract: {required: [b]}}}\n'
        '  - {name: c, from: in, type: t, start: {workflow: C, id: c, task_queue: q, input: "${data}", contract: {required: [c]}}}\n'
    )
    document = asyncapi(load_routes(written(tmp_path, routes)), Contracts(()), About())
    payload = event_of(document, "in", "t")["payload"]
    assert fits(document, payload, {"a": 1, "c": 1})
    assert fits(document, payload, {"b": 1, "c": 1})
    assert not fits(document, payload, {"a": 1, "b": 1})


def test_contracts_keep_their_meaning_where_they_stand_now(tmp_path: Path) -> None:
    document = asyncapi(load_routes(written(tmp_path, ODD_CONTRACTS)), Contracts(()), About())
    tree, whole = (event_of(document, "in", name)["payload"] for name in ("tree", "whole"))
    assert fits(document, tree, {"below": [{"below": []}]})
    assert not fits(document, tree, {"below": [{"below": 1}]})
    assert fits(document, whole, {"next": {"next": {"discriminator": "x"}}})
    assert not fits(document, whole, {"next": {"next": {"discriminator": 1}}})
    for name in ("old", "anchored", "named", "parts"):  # cannot stand there, or is of something else
        assert "payload" not in event_of(document, "in", name)
    assert [*document["components"]["schemas"]] == ["tree.W", "whole.W", "new.W", "same.W"]


def test_replies_are_told_by_the_header_that_the_route_names(document: dict[str, Any]) -> None:
    answered = event_of(document, "bare", "answered")
    assert answered["correlationId"] == {"location": "$message.header#/correlation"}
    assert "correlation" in answered["headers"]["properties"]
    assert "correlation" in event_of(document, "asked", "any")["headers"]["properties"]


def test_what_a_registry_knows_of_a_topic_is_its_payload(tmp_path: Path) -> None:
    known = {"type": "object", "required": ["known"]}
    table = load_routes(written(tmp_path, ROUTES))
    document = asyncapi(table, Contracts(()), About(), {"bare": known, "asked": known, "orders": known})
    assert event_of(document, "asked", "any")["payload"] == known
    assert fits(document, event_of(document, "bare", "any")["payload"], {"kind": 1, "known": 1})
    assert not fits(document, event_of(document, "bare", "any")["payload"], {"kind": 1})
    assert not fits(document, event_of(document, "orders", "placed")["payload"], {"order_id": "x"})
    assert fits(document, event_of(document, "orders", "placed")["payload"], {"order_id": "x", "known": 1})


def test_a_schema_in_another_language_stands_alone(tmp_path: Path) -> None:
    avro = {"schemaFormat": "application/vnd.apache.avro;version=1.9.0", "schema": {"type": "string"}}
    table = load_routes(written(tmp_path, ROUTES))
    document = asyncapi(table, Contracts(WORKFLOWS), About(), {"orders": avro, "done": avro})
    assert event_of(document, "orders", "placed")["payload"] == avro
    assert event_of(document, "done", "any")["payload"] == avro


# --- how workflows ended ---

RUN = Run("shop", "order/A-1", "4d2e")
AT = datetime(2026, 1, 31, 12, tzinfo=UTC)
NO = Failure("Declined", "no")
ENDS = [
    {"status": "completed", "result": Result({"a": 1})},
    {"status": "completed", "result": Result(None)},
    {"status": "completed", "result": Result(left_out="it is no JSON")},
    *({"status": status, "failures": [NO, NO]} for status in STATUS.values() if status != "completed"),
]


@pytest.mark.parametrize("end", ENDS)
def test_each_way_to_end_fits_its_schema_to_the_last_field(
    document: dict[str, Any], end: dict[str, Any]
) -> None:
    event = event_of(document, "done", "turnout.workflow.closed")
    sent = closing_event(Closed(RUN, "Fulfil", at=AT, start={"event": "E-1"}, **end), "done")
    data = json.loads(json.dumps(sent.data))
    assert fits(document, event["payload"], data)
    assert data.keys() <= CLOSING_SCHEMA["properties"].keys()
    for field in data:
        assert not fits(
            document, event["payload"], {name: one for name, one in data.items() if name != field}
        )
    other = "failed" if data["status"] == "completed" else "completed"
    assert not fits(document, event["payload"], {**data, "status": other})
    headers = {"ce_specversion": "1.0", "ce_id": sent.id, "ce_source": sent.source, "ce_type": sent.type}
    assert fits(document, event["headers"], headers | sent.headers)
    assert sent.headers.keys() <= event["headers"]["properties"].keys()


def test_every_field_of_the_schema_is_sent_by_some_end_and_stands_on_its_page() -> None:
    sent = {
        field
        for end in ENDS
        for field in closing_event(Closed(RUN, "W", at=AT, start={}, **end), "t").data  # type: ignore[union-attr, arg-type]
    }
    assert sent == CLOSING_SCHEMA["properties"].keys()
    page = (Path(__file__).parents[2] / "docs" / "closing.md").read_text()
    assert sent <= set(re.findall(r"`(\w+)`", page))


def test_whose_ends_are_told_is_said(document: dict[str, Any]) -> None:
    assert "- Fulfil, started by `team/placed`" in document["operations"]["closings.done"]["description"]


# --- what must not be in it ---


def test_servers_are_those_that_were_named_and_no_others(
    tmp_path: Path, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "servers" not in document
    about = About(servers={"production": ("kafka.shop:9093", "kafka-secure")})
    document = asyncapi(load_routes(written(tmp_path, ROUTES)), Contracts(()), about)
    assert document["servers"] == {"production": {"host": "kafka.shop:9093", "protocol": "kafka-secure"}}


def test_topics_with_schemas_say_so_by_their_content_type(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(
        "version: 1\n"
        "topics: {a: {format: avro}, j: {format: json-schema}, o: {out: true, format: avro}}\n"
        "routes: [{name: r, from: a, cancel: {to: x}}, {name: s, from: j, cancel: {to: x}}]\n"
    )
    text = json.dumps(asyncapi(load_routes(tmp_path), Contracts(()), About()))
    found = re.findall(r'"contentType": "([a-z/]+)"', text)
    assert sorted(found) == ["application/avro", "application/avro", "application/json"]
