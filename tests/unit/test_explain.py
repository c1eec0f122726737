# ruff: noqa: E501 - a case is a line
"""`turnout routes explain`: what the routes would do with one event, and the value that decided."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from activities.correlation import Correlation, Seal
from service.cli import app as app_module
from service.desk import explain
from service.errors import ConfigurationError
from service.events.given import record_in
from service.settings import Settings

ROUTES = """\
version: 1
topics: {orders: {unmatched: skip, tombstones: skip}, cash: {}}
routes:
  - name: placed
    from: orders
    type: placed
    when: data.total > 0 && (data.country == "DE" && data.vip)
    start:
      workflow: Shop
      id: order/${data.id}
      task_queue: orders
      input: {order: "${data}"}
      run_timeout: 1h
      running: skip
  - {name: paid, from: orders, type: [paid, settled], cancel: {to: "order/${data.id}"}}
  - {name: cash, from: cash, cancel: {to: order/x}}
"""
ORDER = {"id": "A-1", "total": 5, "country": "DE", "vip": True}


@pytest.fixture
def routes(tmp_path: Path) -> Path:
    path = tmp_path / "routes.yaml"
    path.write_text(ROUTES)
    return path


def cloudevent(data: Any, kind: str = "placed") -> str:
    return json.dumps({"specversion": "1.0", "id": "E-1", "source": "/s", "type": kind, "data": data})


class Command:
    """The command in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, routes: Path) -> None:
        for name in [name for name in os.environ if name.startswith("TURNOUT_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("TURNOUT_ROUTES", str(routes))
        self._monkeypatch = monkeypatch
        self._file = routes.parent / "event.json"

    def __call__(self, event: str | None, *arguments: str) -> int:
        codes: list[int] = []
        given = [str(self._file)] if event is not None else []
        if event is not None:
            self._file.write_text(event)
        self._monkeypatch.setattr(app_module, "leave", codes.append)
        self._monkeypatch.setattr(sys, "argv", ["turnout", "routes", "explain", *given, *arguments])
        app_module.main()
        return codes[0]


@pytest.fixture
def turnout(monkeypatch: pytest.MonkeyPatch, routes: Path) -> Command:
    return Command(monkeypatch, routes)


Capture = pytest.CaptureFixture[str]


def test_the_command_is_told_with_id_input_options_and_rules(turnout: Command, capsys: Capture) -> None:
    assert turnout(cloudevent(ORDER), "--topic", "orders") == 0
    assert capsys.readouterr().out.splitlines() == [
        "orders[0]@0",
        "event E-1 of type placed from /s",
        "route placed: starts Shop order/A-1 on orders",
        '  kind: "Start"',
        '  workflow_id: "order/A-1"',
        '  workflow: "Shop"',
        '  task_queue: "orders"',
        '  args: [{"order":{"id":"A-1","total":5,"country":"DE","vip":true}}]',
        '  running: "skip"',
        '  closed: "dead-letter"',
        '  run_timeout: "3600s"',
        "route paid: nothing: it takes type paid or settled",
        "1 route reads other topics",
    ]


@pytest.mark.parametrize(
    ("changed", "term", "values"),
    [
        ({"total": 0}, "`data.total > 0` is false", {"data.total": 0}),
        ({"country": "FR"}, '`data.country == "DE"` is false', {"data.country": "FR"}),
        ({"vip": False}, "`data.vip` is false", {"data.vip": False}),
    ],
)
def test_a_false_when_is_told_with_the_term_and_the_value_that_decided(
    turnout: Command, capsys: Capture, changed: dict[str, Any], term: str, values: dict[str, Any]
) -> None:
    assert turnout(cloudevent(ORDER | changed), "--topic", "orders", "--json") == 0
    route = orjson.loads(capsys.readouterr().out)["routes"][0]
    assert (route["why_not"], route["values"], route["command"]) == (term, values, None)


SEAL = Seal(["secret"])
CALLED = """\
version: 1
topics: {orders: {}, done: {out: true}}
routes:
  - name: placed
    from: orders
    type: placed
    start:
      {workflow: Shop, id: "order/${data.id}", task_queue: q, publish_closing: done, input: "${data}",
      contract: {required: [total]}}
  - name: counted
    from: orders
    type: counted
    signal:
      {to: "order/${data.id}", name: counted, input: "${data}", contract: {required: [total]},
      or_start: {workflow: Shop, task_queue: q, input: 1, contract: {type: integer}, run_timeout: 1h}}
  - {name: charged, from: orders, type: charged, complete: {correlation: "${data.to}", result: "${data}", late: skip}}
  - {name: declined, from: orders, type: declined, complete: {correlation: "${data.to}", error: {type: No, text: money}}}
  - {name: found, from: orders, type: found, signal: {to: {where: {Order: "${data.id}", Kind: a}}, name: n}}
"""


def told_of(routes: Path, turnout: Command, capsys: Capture, kind: str, data: Any) -> dict[str, Any]:
    routes.write_text(CALLED)
    assert turnout(cloudevent(data, kind), "--topic", "orders", "--json") == 0
    verdicts = orjson.loads(capsys.readouterr().out)["routes"]
    return next(one for one in verdicts if one["route"] == kind)


@pytest.mark.parametrize("kind", ["placed", "counted"])
def test_what_does_not_fit_the_contract_of_a_route_makes_a_letter(
    routes: Path, turnout: Command, capsys: Capture, kind: str
) -> None:
    told = told_of(routes, turnout, capsys, kind, {"id": "A-1"})
    assert (told["does"], told["command"]) == (None, None)
    assert 'the whole: "total" is a required property' in told["letter"]
    command = told_of(routes, turnout, capsys, kind, {"id": "A-1", "total": 5})["command"]
    assert command["contract"] == "fits"
    if kind == "placed":
        assert command["publish_closing"] == "done"
    else:
        assert command["or_start"] == {
            "workflow": "Shop", "task_queue": "q", "args": [1], "contract": "fits", "run_timeout": "3600s"
        }  # fmt: skip


def test_a_workflow_that_is_looked_for_is_told_with_what_it_is_looked_for_by(
    routes: Path, turnout: Command, capsys: Capture
) -> None:
    told = told_of(routes, turnout, capsys, "found", {"id": "A-1"})
    assert told["does"] == "signals n to the workflow whose Order is A-1 and Kind is a"
    assert told["command"]["where"] == {"Order": "A-1", "Kind": "a"}
    assert "workflow_id" not in told["command"]


def test_a_reply_is_told_with_the_call_that_it_completes(
    routes: Path, turnout: Command, capsys: Capture
) -> None:
    data = {"to": SEAL.sealed(Correlation("shop", "order/A-1", "r-1"))}
    told = told_of(routes, turnout, capsys, "charged", data)
    assert told["does"] == "completes a call of order/A-1 in namespace shop"
    assert told["command"] == {
        "kind": "Complete", "namespace": "shop", "workflow_id": "order/A-1", "correlation": data["to"],
        "activity_id": "r-1", "result": data, "late": "skip",
    }  # fmt: skip
    told = told_of(routes, turnout, capsys, "declined", data)
    assert told["command"]["error"] == {"type": "No", "text": "money"}


@pytest.mark.parametrize(("secret", "letter"), [("secret", False), ("another", True)])
def test_who_signed_a_correlation_is_looked_at_where_the_secret_is_known(
    routes: Path,
    turnout: Command,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
    secret: str,
    *,
    letter: bool,
) -> None:
    monkeypatch.setenv("TURNOUT_CALLS__SECRET", secret)
    data = {"to": SEAL.sealed(Correlation("shop", "order/A-1", "r-1"))}
    told = told_of(routes, turnout, capsys, "charged", data)
    assert bool(told["letter"] and "it is not signed by us" in told["letter"]) is letter


def test_what_becomes_a_letter_or_nothing_is_told_with_the_reason(turnout: Command, capsys: Capture) -> None:
    told = {}
    for kind, value in {"placed": {}, "lost": ORDER}.items():
        assert turnout(cloudevent(value, kind), "--topic", "orders") == 0
        told[kind] = capsys.readouterr().out
    assert (
        "route placed: makes a letter: when: data has no attribute 'total'; write data.?total"
        in told["placed"]
    )
    assert (
        "nothing becomes of it: no route takes type lost, and its topic says unmatched: skip" in told["lost"]
    )
    for event, outcome in {
        '{"topic": "orders"}': "nothing: tombstones of its topic are skipped",
        '{"topic": "orders", "value": 1}': "it becomes a letter: the record has neither ce_ headers",
        '{"topic": "nowhere"}': "it becomes a letter: topic nowhere is not declared",
    }.items():
        assert turnout(event) == 0
        assert outcome in capsys.readouterr().out


def test_what_cannot_be_read_ends_with_1_and_wrong_usage_with_2(turnout: Command, routes: Path) -> None:
    assert turnout("{") == 1
    assert turnout(cloudevent(ORDER)) == 1
    assert turnout(None, "no-such-file") == 2
    assert turnout(None) == 2
    routes.write_text("{")
    assert turnout(cloudevent(ORDER), "--topic", "orders") == 1


def test_texts_of_others_are_not_obeyed_by_the_terminal(turnout: Command, capsys: Capture) -> None:
    assert turnout(cloudevent(ORDER | {"id": "a[red]\u202eb"}), "--topic", "orders") == 0
    shown = capsys.readouterr().out
    assert "[red]" in shown
    assert all(line.isprintable() for line in shown.splitlines())


@pytest.mark.parametrize(
    "text",
    ['{"topic": 1}', '{"topic": "t", "headers": []}', '{"topic": "t", "headers": {"a": 1}}', "[]", "7",
     '{"topic": "t", "key": 1}', '{"topic": "t", "offset": -1}', '{"topic": "t", "value_base64": "?"}',
     '{"topic": "t", "valeu": 1}', '{"value": 1}'],
)  # fmt: skip
def test_an_event_file_of_no_known_shape_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"the event|of the event"):
        record_in(text.encode())


def test_a_record_is_read_as_it_is_written() -> None:
    record = record_in(
        b'{"topic": "t", "key": "k", "headers": {"a": "b", "c": null}, "value": {"x": [1]}, "offset": 7}'
    )
    assert (record.key, record.headers, record.offset) == (b"k", (("a", b"b"), ("c", None)), 7)
    assert record.value == b'{"x":[1]}'
    assert record_in(b'{"topic": "t", "value_base64": "/w=="}').value == b"\xff"


shapes = st.fixed_dictionaries(
    {},
    optional={
        name: st.recursive(st.none() | st.booleans() | st.integers(-9, 2**70) | st.floats() | st.text(max_size=5), lambda one: st.lists(one, max_size=3) | st.dictionaries(st.text(max_size=4), one, max_size=3), max_leaves=6)
        for name in ("topic", "key", "headers", "value", "value_base64", "offset", "timestamp", "specversion", "id", "type", "source", "data")
    },
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@example(b'{"specversion":"1.0","id":"1","source":"s","type":"placed","data":{"id":"\\u0000","total":1e999}}')
@given(st.binary(max_size=60) | shapes.map(lambda one: json.dumps(one).encode("utf-8", "surrogatepass")))
async def test_arbitrary_bytes_are_explained_or_refused(
    tmp_path_factory: pytest.TempPathFactory, text: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "routes.yaml"
    path.write_text(ROUTES)
    try:
        record = record_in(text, "orders")
    except ConfigurationError:
        return
    explained = await explain(Settings(group="g"), path, record, live=False)
    assert explained.outcome or explained.verdicts


WITH_SCHEMAS = """\
version: 1
topics: {orders: {format: avro, key: avro, event: {type: placed, id: "${data.id}"}}}
routes:
  - name: placed
    from: orders
    when: data.total == "12.50"
    start: {workflow: Shop, id: "order/${record.key}", task_queue: orders, input: "${data}"}
"""


def test_a_file_holds_what_the_bytes_of_a_topic_with_schemas_would_mean(
    turnout: Command, routes: Path, capsys: Capture
) -> None:
    routes.write_text(WITH_SCHEMAS)
    event = {"topic": "orders", "key": "A-1", "value": {"id": "E-1", "total": "12.50"}}
    assert turnout(json.dumps(event)) == 0
    assert "route placed: starts Shop order/A-1 on orders\n" in capsys.readouterr().out
    assert turnout(json.dumps({**event, "value_base64": "AAAAAAcG"})) == 1
    assert "schema 7 is in a schema registry; set TURNOUT_REGISTRY__URL" in capsys.readouterr().err


def test_bytes_in_a_file_are_decoded_by_the_registry_or_it_is_said_not_to_be_there(
    turnout: Command, routes: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    routes.write_text(WITH_SCHEMAS)
    monkeypatch.setenv("TURNOUT_REGISTRY__URL", "http://127.0.0.1:1")
    assert turnout(json.dumps({"topic": "orders", "value_base64": "AAAAAAcG"})) == 3
    assert "the schema registry at http://127.0.0.1:1 does not answer" in capsys.readouterr().err
