# ruff: noqa: E501 - a case is a line
"""`turnout routes lint`: everything that is wrong or doubtful, at once, with place, code and cure."""

import os
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from temporalio import workflow

from service.cli import app as app_module
from service.dispatch.contracts import Contracts
from service.dispatch.judging import judge_by
from service.dispatch.near_names import near_names
from service.errors import ConfigurationError, Finding, RouteError
from service.expressions import ROUTE_VARIABLES, Condition, MistakesError
from service.routing import checks
from service.routing.checks import CHECKS, Severity, severity_of
from service.routing.conditions import is_never_true, terms
from service.routing.lint import Linted, lint
from service.routing.table import load_routes

HEAD = "version: 1\ntopics: {orders: {}}\nroutes:\n"
ROUTE = HEAD + "  - name: placed\n    from: orders\n    type: placed\n"
CANCEL = ROUTE + "    cancel: {to: order/x}\n"
START = ROUTE + '    start: {workflow: Shop, id: "order/${data.id}", task_queue: q, '
SEEKING = (
    START + "search_attributes: {OrderNumber: x}}\n  - {name: gone, from: orders, cancel: {to: {where: {"
)


def written(folder: Path, text: str, name: str = "r.yaml") -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def found(folder: Path, text: str, **how: Any) -> list[str]:
    """line:column code of each finding."""
    findings = lint([written(folder, text)], **how).findings
    return [f"{one.line}:{one.column} {one.code}" for one in findings]


# --- conditions ---


@pytest.mark.parametrize(
    "source",
    [
        "false",
        "1 > 2",
        "data.x > 1 && false",
        "data.x == 'a' && data.x == \"b\"",
        "data.x > 5 && data.x < 3",
        "data.x > 5 && 5 >= data.x",
        "data.x >= 5 && (data.x < 5 && data.y)",
        "data.x in ['a', 'b'] && data.x == 'c'",
        "data.x == 1 && data.x != 1",
        "data.x == null && data.x > 1",
        "data.x && !data.x",
        "(data.x == 1 && data.x == 2) || false",
        "data.x == 1 && data.x == true",
        "data.x > 'a' && data.x < 3",
        "event.type == 'paid'",
        "event.type in ['paid', 'shipped'] && data.x",
        "record.topic != 'orders'",
    ],
)
def test_a_condition_that_contradicts_itself_or_its_route_can_never_be_true(source: str) -> None:
    assert Condition.parse(source, ROUTE_VARIABLES)
    assert is_never_true(source, {"event.type": {"placed"}, "record.topic": {"orders"}})


@pytest.mark.parametrize(
    "source",
    [
        "true",
        "data.x > 3 && data.x < 5",
        "data.x >= 5 && data.x <= 5",
        "data.x == 1 && data.x == 1.0",
        "data.x == 'a' || data.x == 'b'",
        "data.x == 'a' && (data.x == 'a' || false)",
        "data.x ? false : true",
        "data.?x.orValue(false) && data.y == 1",
        "data.xs.exists(x, x == 1 && x == 2)",
        "'a && b' == data.x && data.x != ''",
        "event.type == 'placed'",
        "data.x[data.x == 1 ? 0 : 1]",
        "!(data.x == 1 && data.x == 2)",
        "data.x == 007 && data.x == 7",
    ],
)
def test_a_condition_that_may_be_true_is_let_be(source: str) -> None:
    assert not is_never_true(source, {"event.type": {"placed"}})


@given(st.lists(st.sampled_from(["data.x", "data.y", "1", "2", "'a'", "==", "!=", "<", ">=", "&&", "||", "!", "(", ")", "true", "false", "null", "in", "[1, 2]", "['a']", "?", ":"]), max_size=14).map(" ".join), st.dictionaries(st.sampled_from(["x", "y"]), st.sampled_from([0, 1, 2, 3, 1.5, "a", "b", "", True, False, None])))  # fmt: skip
@settings(max_examples=600, deadline=None)
def test_no_condition_that_is_true_for_some_event_is_said_to_be_never_true(source: str, data: dict[str, Any]) -> None:  # fmt: skip
    try:
        holds = Condition.parse(source, ROUTE_VARIABLES).holds({"data": data})
    except (MistakesError, RouteError):
        return
    assert not (holds and is_never_true(source))


def test_the_terms_of_a_condition_are_those_that_must_all_be_true() -> None:
    assert terms("(a && (b || c)) && d[x && y] == '&&'") == ["a", "b || c", "d[x && y] == '&&'"]
    assert terms("a ? b && c : d") == ["a ? b && c : d"]


# --- doubts ---


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (CANCEL, []),
        (CANCEL + "    when: event.type == 'paid'\n", ["8:11 TR401"]),
        (CANCEL + "    when: false\n", ["8:11 TR401"]),
        (CANCEL.replace("order/x", '"order/${data.customer_email}"'), ["7:18 TR402"]),
        (CANCEL.replace("order/x", '"order/${data.firstName}"'), ["7:18 TR402"]),
        (CANCEL.replace("order/x", '"order/${data[\'IBAN\']}"'), ["7:18 TR402"]),
        (CANCEL.replace("order/x", '"order/${data.emailed_at}"'), []),
        (CANCEL.replace("order/x", '"${data.id}"'), ["7:18 TR403"]),
        (CANCEL.replace("order/x", '"7/${data.id}"'), ["7:18 TR403"]),
        (CANCEL.replace("order/x", "\"${data['order_id']}\""), ["7:18 TR403"]),
        (CANCEL.replace("order/x", "\"${'order/' + string(data.id)}\""), []),
        (START + 'search_attributes: {Who: "${data.phone}", RunId: x}}', ["7:93 TR402", "7:110 TR404"]),
        (START + f"search_attributes: {{Note: {'x' * 2049}}}}}", ["7:94 TR404"]),
        (SEEKING + "OrderNumber: x}}}}", []),
        (SEEKING + "Other: x}}}}", []),
        (SEEKING + "OrderNumbr: x}}}}", ["8:54 TR407"]),
        (SEEKING + 'Who: "${data.phone}"}}}}', ["8:59 TR402"]),
        (SEEKING + "OrderNumber: x, ExecutionStatus: Running, WorkflowType: Shop}}}}", ["8:87 TR408"]),
        (START + f"search_attributes: {{{', '.join(f'A{n}: 1' for n in range(25))}}}}}", ["7:270 TR404"]),
    ],
)  # fmt: skip
def test_what_loads_and_is_most_likely_a_mistake_is_a_warning(
    tmp_path: Path, text: str, expected: list[str]
) -> None:
    assert found(tmp_path, text) == expected
    assert all(CHECKS[one.split()[1]].severity is Severity.WARNING for one in expected)


def test_a_file_that_is_refused_is_doubted_all_the_same(tmp_path: Path) -> None:
    assert found(tmp_path, CANCEL.replace("order/x", '"${data.id}", reson: x')) == [
        "7:18 TR403",
        "7:32 TR201",
    ]


# --- contracts ---


class Order(BaseModel):
    order_id: str
    total_cents: int
    paid: "Card | Cash | None" = None


class Card(BaseModel):
    card: str
    until: int


class Cash(BaseModel):
    cash: int


@workflow.defn
class Shop:
    @workflow.run
    async def run(self, order: Order) -> None: ...

    @workflow.signal
    def noted(self, notes: list[str]) -> None: ...


KNOWN = Contracts([Shop])


@pytest.mark.parametrize(
    ("text", "stops"),
    [
        (START + 'input: "${data}"}', False),
        (START + 'input: {order_id: "${data.id}"}}', True),
        (START + "input: {order_id: a, total_cents: many, paid: {}}}", True),
        (START + 'args: ["${data}", 1]}', True),
        (START + 'input: {sku: 1, count: "${data.count}"}, contract: {required: [name]}}', True),
        (START.replace("Shop", "Elsewhere") + 'input: {count: "${data.count}"}, contract: {required: [sku]}}', True),
        (ROUTE + "    signal: {to: order/x, name: noted, input: 7}", True),
        (ROUTE + "    signal: {to: order/x, name: notd, input: 7, or_start: {workflow: Shop, task_queue: q, input: {}}}", True),
        ("task_queues: {q: {inbox: true}}\n" + ROUTE + "    signal: {to: order/x, name: noted, batch: true, input: 7, or_start: {workflow: Shop, task_queue: q, input: '${data}'}}", True),
    ],
)  # fmt: skip
def test_what_stops_a_start_that_knows_the_workflows_is_found_as_that_says_it(
    tmp_path: Path, text: str, *, stops: bool
) -> None:
    path, judge = written(tmp_path, text), judge_by(KNOWN)
    said: list[Finding] = []
    try:
        load_routes(path, judge)
    except ConfigurationError as error:
        said += error.findings
    assert lint([path], judge=judge, doubters=[near_names(KNOWN)]).findings == said
    assert {severity_of(one) for one in said} == ({Severity.ERROR} if stops else set())


def test_an_input_that_can_never_fit_is_found_where_it_stands(tmp_path: Path) -> None:
    text = START + "input: {order_id: a, total_cents: many}}"
    (one,) = lint([written(tmp_path, text)], judge=judge_by(KNOWN)).findings
    assert str(one).startswith(f"{tmp_path / 'r.yaml'}:7:102: TR405 does not fit workflow Shop: total_cents:")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ROUTE + '    signal: {to: order/x, name: notd, input: "${data}"}', ["did you mean noted?"]),
        (START.replace("Shop", "Shopp") + 'input: "${data}"}', ["did you mean Shop?"]),
        (ROUTE + '    signal: {to: order/x, name: other, input: "${data}"}', []),
        (ROUTE + '    signal: {to: order/x, name: "${data.notd}", input: "${data}"}', []),
        (ROUTE + "    signal: {to: order/x, name: notd, input: 1, or_start: {workflow: Elsewhere, task_queue: q}}", []),
    ],
)  # fmt: skip
def test_a_name_that_is_close_to_a_known_one_is_asked_about(
    tmp_path: Path, text: str, expected: list[str]
) -> None:
    findings = lint([written(tmp_path, text)], judge=judge_by(KNOWN), doubters=[near_names(KNOWN)]).findings
    assert [(one.code, one.cure) for one in findings] == [("TR406", cure) for cure in expected]


# --- what changed ---


def test_a_renamed_route_and_a_changed_id_are_found_against_the_old_folder(tmp_path: Path) -> None:
    old = written(tmp_path, CANCEL, "old/r.yaml").parent
    assert found(tmp_path, CANCEL, against=old) == []
    assert found(tmp_path, CANCEL.replace("placed\n    from", "bought\n    from"), against=old) == [
        "4:11 TR501"
    ]
    assert found(tmp_path, CANCEL.replace("order/x", "orders/x"), against=old) == ["7:18 TR502"]
    assert found(tmp_path, CANCEL.replace("order/x", "order/x, namespace: eu"), against=old) == ["7:38 TR502"]
    seeking = CANCEL.replace("order/x", "{where: {Order: x}}")
    assert found(tmp_path, seeking, against=old) == ["7:18 TR502"]
    now = written(tmp_path, seeking, "now/r.yaml").parent
    (one,) = lint([written(tmp_path, CANCEL)], against=now).findings
    assert one.problem == "to was a lookup: the workflows that it met are not met any more"
    assert found(tmp_path, seeking, against=now) == []
    mapped = CANCEL.replace("orders: {}", 'orders: {event: {type: "${data.t}", id: "${data.id}"}}')
    assert found(tmp_path, mapped, against=old) == ["2:10 TR503"]


def test_the_old_folder_may_hold_what_this_version_refuses_but_must_be_yaml(tmp_path: Path) -> None:
    old = written(tmp_path, CANCEL + "    of_another_time: 1\n", "old/r.yaml")
    assert found(tmp_path, CANCEL.replace("order/x", "orders/x"), against=old) == ["7:18 TR502"]
    with pytest.raises(ConfigurationError, match="TR102"):
        lint([tmp_path / "r.yaml"], against=written(tmp_path, "{", "old/r.yaml"))


# --- accepting ---

DOUBTFUL = CANCEL.replace("order/x}", '"${data.id}"}')


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (DOUBTFUL.rstrip() + "  # lint: ok TR403 because ids are words", []),
        (DOUBTFUL.replace("    cancel", "    # lint: ok TR402, TR403 because so\n    # and so\n    cancel"), ["7:7 TR409"]),
        (DOUBTFUL.rstrip() + "  # lint: ok TR403", ["7:18 TR403"]),
        (DOUBTFUL.rstrip() + "  # lint: ok TR403 because", ["7:18 TR403"]),
        (DOUBTFUL + "# lint: ok TR403 because it is far away", ["7:18 TR403", "8:3 TR409"]),
        (CANCEL.replace("to:", "too:").rstrip() + "  # lint: ok TR201 because I want it", ["7:13 TR202", "7:14 TR201", "7:31 TR409"]),
    ],
)  # fmt: skip
def test_a_warning_is_accepted_by_a_comment_that_says_why_and_an_error_is_not(
    tmp_path: Path, text: str, expected: list[str]
) -> None:
    assert found(tmp_path, text) == expected


# --- the command ---


def turnout(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    codes: list[int] = []
    monkeypatch.setattr(app_module, "leave", codes.append)
    monkeypatch.setattr(sys, "argv", ["turnout", "routes", "lint", *arguments])
    for name in [name for name in os.environ if name.startswith("TURNOUT_")]:
        monkeypatch.delenv(name)
    app_module.main()
    return codes[0]


Capture = pytest.CaptureFixture[str]


def test_the_exit_code_and_the_summary_tell_whether_something_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert turnout(monkeypatch, str(written(tmp_path, CANCEL))) == 0
    assert capsys.readouterr() == ("", "1 route in 1 file: nothing found\n")
    assert turnout(monkeypatch, str(written(tmp_path, DOUBTFUL))) == 1
    assert capsys.readouterr().err == "1 route in 1 file: 1 warning\n"
    assert turnout(monkeypatch, str(tmp_path / "nowhere")) == 2
    assert turnout(monkeypatch, str(tmp_path), "--format", "xml") == 2
    assert turnout(monkeypatch, str(tmp_path), "--against", str(written(tmp_path, "{", "old/r.yaml"))) == 2


def test_findings_are_written_for_people_for_programs_and_for_pull_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    path = written(tmp_path, CANCEL.replace("to: order/x", 'to: order/x, "100%\\n": 1'), "a,b.yaml")
    assert turnout(monkeypatch, str(path)) == 1
    cure = "known here: to, reason, namespace, missing, closed"
    assert capsys.readouterr().out == f"{path}:7:27: error TR201 unknown key '100%\\n'; {cure}\n"
    assert turnout(monkeypatch, str(path), "--format", "json") == 1
    assert orjson.loads(capsys.readouterr().out) == {
        "code": "TR201", "severity": "error", "path": str(path), "line": 7, "column": 27,
        "problem": "unknown key '100%\n'", "cure": cure,
    }  # fmt: skip
    assert turnout(monkeypatch, str(path), "--format", "github") == 1
    name = str(path).replace(",", "%2C")
    assert (
        capsys.readouterr().out
        == f"::error file={name},line=7,col=27,title=TR201::unknown key '100%25\\n'; {cure}\n"
    )


# --- all inputs ---


def test_every_code_that_is_found_is_in_the_table_and_every_one_of_the_table_can_be_found() -> None:
    used = {
        code
        for path in Path(checks.__file__).parents[1].rglob("*.py")
        if path.name != "checks.py"
        for code in re.findall(r'"(TR\d{3})"', path.read_text())
    }
    assert used == set(CHECKS)


expressions = st.lists(st.sampled_from(["data.x", "event.type", "'a", "'a'", "(", ")", "[", "]", "{", "}", "&&", "||", "?", ":", "==", "1", "in", "!", ".all(x, x)", "#", "\\", "\u0000", "é"]) | st.text(max_size=3), max_size=20).map(" ".join)  # fmt: skip


@settings(max_examples=150, deadline=None)
@example("(" * 500)
@example("[1].map(a, " * 40 + "1" + ")" * 40)
@example("data.x" + " && data.x" * 500)
@given(expressions)
def test_no_expression_is_too_much_for_lint(tmp_path_factory: pytest.TempPathFactory, source: str) -> None:
    quoted = orjson.dumps(source.encode("utf-8", "replace").decode()).decode()
    text = CANCEL.replace("order/x", quoted) + f"    when: {quoted}\n"
    assert isinstance(lint([written(tmp_path_factory.getbasetemp(), text)]), Linted)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["${data.x}", "orders", "a"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["name", "from", "type", "when", "start", "signal", "cancel", "complete", "id", "to", "workflow", "input", "args", "batch", "or_start", "search_attributes", "namespace", "topics", "routes", "event"]) | st.text(max_size=3), inner, max_size=6),
    max_leaves=30,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(values, values)
def test_whatever_json_stands_in_a_file_ends_in_findings(
    tmp_path_factory: pytest.TempPathFactory, routes: Any, topics: Any
) -> None:
    folder = tmp_path_factory.getbasetemp()
    text = orjson.dumps(
        {"version": 1, "topics": topics, "routes": [routes, routes]}, default=str, option=orjson.OPT_PASSTHROUGH_SUBCLASS
    ) if _fits(routes) and _fits(topics) else b"{}"  # fmt: skip
    path = written(folder, text.decode())
    findings = lint([path], judge=judge_by(KNOWN), doubters=[near_names(KNOWN)]).findings
    assert findings
    assert all(isinstance(one, Finding) and one.code in CHECKS for one in findings)
    with suppress(ConfigurationError):  # no YAML
        assert lint([path], against=path).findings == lint([path]).findings


def _fits(value: Any) -> bool:
    try:
        orjson.dumps(value)
    except TypeError:
        return False
    return True
