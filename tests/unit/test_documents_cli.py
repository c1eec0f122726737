"""`turnout docs` and `turnout routes graph`: where they write, what they exit with, what they leave out."""

import json
import os
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from service.cli import app as app_module
from service.documents.route_schema import route_schema
from service.documents.yaml_text import as_yaml

ROUTES = """\
version: 1
topics: {orders: {}, done: {out: true}}
routes:
  - {name: placed, from: orders, type: a, start: {workflow: W, id: w, task_queue: q, publish_closing: done}}
"""
MORE = "version: 1\ntopics: {more: {}}\nroutes: [{name: more, from: more, cancel: {to: x}}]\n"

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("TURNOUT_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "routes").mkdir()
    (tmp_path / "routes" / "r.yaml").write_text(ROUTES)


def turnout(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    codes: list[int] = []
    monkeypatch.setattr(app_module, "leave", codes.append)
    monkeypatch.setattr(sys, "argv", ["turnout", *arguments])
    app_module.main()
    return codes[0]


COMMANDS = [
    ("docs", "asyncapi"),
    ("docs", "openapi"),
    ("docs", "schema"),
    ("docs", "reference"),
    ("docs", "metrics"),
    ("routes", "graph"),
]
CAN_BE_CALLED = {"publish", "start", "describe", "signal", "update", "query", "cancel", "result"}


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_what_is_printed_is_what_a_file_holds(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert turnout(monkeypatch, *command) == 0
    printed = capsys.readouterr()
    assert printed.out
    assert printed.err == ""
    assert turnout(monkeypatch, *command, "--output", "file") == 0
    assert capsys.readouterr() == ("", "")
    assert Path("file").read_text() == printed.out


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_file_that_cannot_be_written_is_said(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert turnout(monkeypatch, *command, "--output", "nowhere/file") == 1
    assert capsys.readouterr() == (
        "",
        "turnout: nowhere/file cannot be written: No such file or directory\n",
    )


@pytest.mark.parametrize("command", [("docs", "asyncapi"), ("routes", "graph")], ids=" ".join)
def test_paths_are_read_as_one_and_mistakes_end_with_1(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    Path("more.yaml").write_text(MORE)
    assert turnout(monkeypatch, *command, "routes", "more.yaml") == 0
    told = capsys.readouterr().out
    assert "orders" in told
    assert "more" in told
    Path("more.yaml").write_text(MORE.replace("more: {}", "moar: {}"))
    assert turnout(monkeypatch, *command, "routes", "more.yaml") == 1
    said = capsys.readouterr().err
    assert "the routes in routes, more.yaml cannot be used: 2 mistakes" in said
    assert "TR304 topic 'more' is not declared; did you mean moar?" in said
    assert turnout(monkeypatch, *command, "nowhere") == 2


def test_the_schema_is_printed_as_json(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    assert turnout(monkeypatch, "docs", "schema") == 0
    assert orjson.loads(capsys.readouterr().out) == route_schema()


@pytest.mark.parametrize("text", ["production", "kafka.shop:9092", "a=http://b:1", "a=b", "a=b:c", "a b=c:1"])
def test_a_server_that_is_none_is_wrong_usage(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert turnout(monkeypatch, "docs", "asyncapi", "--server", text) == 2
    assert "NAME=HOST:PORT" in capsys.readouterr().err


def test_no_setting_gets_into_a_document(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    secrets = {
        "TURNOUT_KAFKA__BOOTSTRAP_SERVERS": "hidden-kafka:9092",
        "TURNOUT_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
        "TURNOUT_KAFKA__SASL_MECHANISM": "PLAIN",
        "TURNOUT_KAFKA__USERNAME": "hidden-user",
        "TURNOUT_KAFKA__PASSWORD": "hidden-password",
        "TURNOUT_CALLS__SECRET": "hidden-secret",
        "TURNOUT_GROUP": "hidden-group",
        "TEMPORAL_ADDRESS": "hidden-temporal:7233",
        "TEMPORAL_API_KEY": "hidden-key",
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    for command in COMMANDS:
        assert turnout(monkeypatch, *command) == 0
    assert "hidden" not in capsys.readouterr().out


def test_both_syntaxes_say_the_same(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    server = ("--server", "production=kafka-secure://kafka.shop:9093", "--title", "on", "--release", "1.10")
    assert turnout(monkeypatch, "docs", "asyncapi", *server) == 0
    in_yaml = capsys.readouterr().out
    assert turnout(monkeypatch, "docs", "asyncapi", *server, "--format", "json") == 0
    in_json = json.loads(capsys.readouterr().out)
    assert read_yaml(in_yaml, (1, 2)) == in_json
    assert in_json["servers"] == {"production": {"host": "kafka.shop:9093", "protocol": "kafka-secure"}}
    assert (in_json["info"]["title"], in_json["info"]["version"]) == ("on", "1.10")


def read_yaml(text: str, version: tuple[int, int]) -> Any:
    yaml = YAML(typ="safe", pure=True)
    yaml.version = version
    return yaml.load(StringIO(text))


odd = st.sampled_from(
    ["on", "no", "0o7", "012", "1:30", "1e3", "~", "", "a: b", "- a", "#a", "2026-01-31", "=", "<<"]
)
texts = odd | st.text(st.characters(exclude_categories=["Cs"]))


documents = st.recursive(
    texts | st.integers() | st.booleans() | st.none(),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(texts, below, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(documents, st.sampled_from([(1, 1), (1, 2)]))
def test_yaml_means_the_same_to_readers_of_both_versions(document: Any, version: tuple[int, int]) -> None:
    assert read_yaml(as_yaml(document), version) == document


def test_openapi_names_all_that_can_be_called(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    read: dict[str, Callable[[str], Any]] = {"yaml": YAML(typ="safe", pure=True).load, "json": json.loads}
    for format_, load in read.items():
        assert turnout(monkeypatch, "docs", "openapi", "--format", format_) == 0
        document = load(capsys.readouterr().out)
        operations = [one for path in document["paths"].values() for one in path.values()]
        assert {one["operationId"] for one in operations} == {*CAN_BE_CALLED, "document"}
        assert document["security"] == [{"bearer": []}]
