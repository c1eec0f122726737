# ruff: noqa: E501 - a case is a line
"""`turnout routes test`: what routes make of events, held against the tests that stand beside them."""

import os
import re
import sys
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import parse

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from activities.correlation import Correlation, Seal
from service.cli import app as app_module
from service.cli.dev import is_source
from service.desk import examination
from service.dispatch.differences import ABSENT, differences
from service.errors import ConfigurationError
from service.routing.lint import lint
from service.routing.table import load_routes
from service.settings import Settings

ROUTES = """\
version: 1
topics:
  orders: {unmatched: skip, tombstones: skip}
  cash: {event: {type: '${headers["type"]}'}}
  done: {out: true}
task_queues: {q: {inbox: true}}
routes:
  - name: placed
    from: orders
    type: placed
    when: data.total > 0 && has(data.country)
    start:
      workflow: Shop
      id: order/${data.id}
      task_queue: q
      input: ${data}
      contract: {required: [id]}
      run_timeout: 1h
      start_at: ${data.at}
      search_attributes: {Country: "${data.country}", Kind: order}
      memo: {total: "${data.total}"}
      running: skip
      publish_closing: done
  - {name: told, from: orders, type: [placed, paid], signal: {to: "order/${data.id}", name: told, args: ["${data.id}", null], missing: {park: 15m}}}
  - {name: earned, from: orders, type: earned, signal: {to: x, name: earn, input: "${data}", batch: true, or_start: {workflow: Points, task_queue: q, input: 1, run_timeout: 1d}}}
  - {name: gone, from: orders, type: gone, cancel: {to: x, reason: "${data.why}", namespace: other}}
  - {name: charged, from: cash, type: charged, complete: {correlation: '${headers["to"]}', result: "${data}", late: skip}}
  - {name: declined, from: cash, type: declined, complete: {correlation: '${headers["to"]}', error: {type: No, text: money}}}
"""
PLACED = (
    "event: {type: placed, data: {id: A-1, total: 5, country: DE, at: '2026-01-31T12:00:00Z'}}, topic: orders"
)
CHARGED = (
    "call: {to: order/A-1, activity: R-1}, event: {topic: cash, headers: {type: @, to: '${call}'}, value: 7}"
)
STARTED = "placed: {start: {id: order/A-1}}, told: signal"


def written(folder: Path, *tests: str, routes: str = ROUTES) -> Path:
    (folder / "r.yaml").write_text(routes)
    listed = (f"  - {{name: t{number}, {test}}}\n" for number, test in enumerate(tests))
    (folder / "r.test.yaml").write_text("version: 1\ntests:\n" + "".join(listed))
    return folder


def failed(folder: Path, test: str, routes: str = ROUTES) -> list[str]:
    """What went otherwise, by `problem: expected|got`."""
    ready = examination(Settings(group="g"), [written(folder, test, routes=routes)], [folder], [])
    (only,) = ready.tests.tests
    shown = [
        [None if side is ABSENT else side for side in (one.expected, one.got)]
        for one in ready.examining.faults(only)
    ]
    faults = ready.examining.faults(only)
    return [
        one.problem
        + (
            ": " + "|".join(orjson.dumps(side, default=str).decode() for side in sides)
            if one.compares
            else ""
        )
        for one, sides in zip(faults, shown, strict=True)
    ]


# --- what is expected ---


@pytest.mark.parametrize(
    "test",
    [
        f"{PLACED}, expect: {{{STARTED}}}",
        f"{PLACED}, expect: {{placed: start}}, others: any",
        f"{PLACED}, expect: {{placed: {{start: {{workflow: Shop, task_queue: q, running: skip, closed: dead-letter, publish_closing: done, run_timeout: 60m, start_at: '2026-01-31T13:00:00+01:00'}}}}, told: signal}}",
        f"{PLACED}, expect: {{placed: {{start: {{search_attributes: {{Kind: order}}, memo: {{total: 5}}, input_has: {{total: 5}}}}}}, told: signal}}",
        f"{PLACED}, expect: {{placed: {{start: {{input: {{id: A-1, total: 5, country: DE, at: '2026-01-31T12:00:00Z'}}}}}}, told: signal}}",
        f"{PLACED}, expect: {{placed: start, told: {{signal: {{to: order/A-1, name: told, args: [A-1, null], missing: {{park: 15m}}, closed: dead-letter, batch: false}}}}}}",
        "event: {type: placed, data: {id: A-1, total: 0}}, topic: orders, expect: {placed: skipped, told: signal}",
        "event: {type: placed, data: {id: A-1, total: 0}}, topic: orders, expect: {told: signal}",
        "event: {type: placed, data: {total: 5, country: DE}}, topic: orders, expect: {placed: letter, told: {letter: {stage: route, reason: has no attribute 'id'}}}",
        "event: {type: earned, data: {n: 1}}, topic: orders, expect: {earned: {signal: {input: {n: 1}, batch: true, or_start: {workflow: Points, task_queue: q, input: 1, run_timeout: 24h}}}}",
        "event: {type: gone, data: {why: so}}, topic: orders, expect: {gone: {cancel: {to: x, reason: so, namespace: other, missing: dead-letter}}}",
        f"{CHARGED.replace('@', 'charged')}, expect: {{charged: {{complete: {{to: order/A-1, activity: R-1, namespace: default, result: 7, late: skip}}}}}}",
        f"{CHARGED.replace('@', 'declined')}, expect: {{declined: {{complete: {{error: {{type: 'No', text: money}}, late: dead-letter}}}}}}",
        "event: {topic: cash, headers: {type: charged, to: x}, value: 7}, expect: {charged: {letter: {reason: it is no correlation of ours}}}",
        "event: {type: lost}, topic: orders, unmatched: skip",
        "event: {topic: cash, headers: {type: lost}, value: 1}, unmatched: dead-letter",
        "event: {topic: orders, value: 1}, letter: {stage: decode, reason: neither ce_ headers}",
        "event: {topic: cash, value: 1}, letter: {stage: route}",
        "event: {topic: orders}, tombstone: skip",
    ],
)  # fmt: skip
def test_what_comes_as_it_is_expected_passes(tmp_path: Path, test: str) -> None:
    assert failed(tmp_path, test) == []


@pytest.mark.parametrize(
    ("test", "faults"),
    [
        (f"{PLACED}, expect: {{placed: start}}", ["route told is not expected here, but it signals told to order/A-1"]),
        (f"{PLACED}, expect: {{placed: start, told: skipped}}", ["route told: expected that it is skipped, but it signals told to order/A-1"]),
        (f"{PLACED}, expect: {{placed: cancel, told: letter}}", ["route placed: expected a cancel, but it starts Shop order/A-1 on q", "route told: expected a letter, but it signals told to order/A-1"]),
        (f"{PLACED}, expect: {{told: {{signal: {{to: x, missing: {{park: 1m}}, args: [A-1], input: A-1}}}}, placed: {{start: {{run_timeout: 2h, start_delay: 1s}}}}}}",
         ['route told: to: "x"|"order/A-1"', 'route told: missing.park: "0:01:00"|"0:15:00"', "route told: args[1]: null|null", 'route told: input: "A-1"|null', 'route placed: run_timeout: "2:00:00"|"1:00:00"', 'route placed: start_delay: "0:00:01"|null']),
        (f"{PLACED}, expect: {{told: signal, placed: {{start: {{input_has: {{total: 5.0, id: A-1}}, memo: {{x: 1}}, search_attributes: {{Kind: y}}}}}}}}",
         ["route placed: input.total: 5.0|5", "route placed: memo.x: 1|null", 'route placed: search_attributes.Kind: "y"|"order"']),
        ("event: {type: earned, data: {n: 1}}, topic: orders, expect: {earned: {signal: {input: [{n: 1}], or_start: {workflow: Point}}}}",
         ['route earned: input: [{"n":1}]|{"n":1}', 'route earned: or_start workflow: "Point"|"Points"']),
        ("event: {type: earned, data: {n: 1, m: [1, 2]}}, topic: orders, expect: {earned: {signal: {input: {m: [1]}}}}",
         ["route earned: input.m[1]: null|2", "route earned: input.n: null|1"]),
        (f"{PLACED}, expect: {{placed: start, told: {{signal: {{or_start: {{}}}}}}}}", ["route told: or_start is expected, and there is none"]),
        ("event: {type: placed, data: {id: A-1, total: 0}}, topic: orders, expect: {placed: start, told: signal}",
         ["route placed: expected a start, but it does nothing: `data.total > 0` is false"]),
        ("event: {type: paid, data: {id: A-1}}, topic: orders, expect: {placed: skipped, told: signal, charged: skipped}",
         ["route placed takes type placed, and the event is of type paid", "route charged reads topic cash, and the event is from orders"]),
        ("event: {type: lost}, topic: orders, expect: {placed: start}", ["expected that it reaches placed, but no route of topic orders takes type lost, and the topic says unmatched: skip"]),
        ("event: {type: lost}, topic: orders, unmatched: dead-letter", ['topic orders: unmatched: "dead-letter"|"skip"']),
        ("event: {type: gone, data: {why: a}}, topic: orders, unmatched: skip", ["expected that no route takes it, but it is an event of type gone: route gone cancels x in namespace other"]),
        ("event: {type: gone, data: {why: a}}, topic: orders, letter: {}", ["expected that the record becomes a letter before any route, but it is an event of type gone: route gone cancels x in namespace other"]),
        ("event: {topic: orders}, expect: {placed: start}", ["expected that it reaches placed, but the record is a tombstone, and its topic skips those"]),
        ("event: {topic: cash, value: 1}, tombstone: skip", ['expected that it is a tombstone which is skipped, but the record becomes a letter of stage route: event.type: headers has no "type"; write headers[?"type"].orValue("") if it may be absent']),
        ("event: {topic: cash, value: 1}, letter: {stage: decode, reason: no}", ['the record: stage of the letter: "decode"|"route"']),
        ("event: {topic: cash, headers: {type: charged, to: x}, value: 7}, expect: {charged: {letter: {reason: so}}}", ['route charged: reason of the letter: "so"|"route charged: correlation: it is no correlation of ours; copy the request\'s header `correlation` into the reply, unchanged"']),
    ],
)  # fmt: skip
def test_what_comes_otherwise_is_told_all_at_once(tmp_path: Path, test: str, faults: list[str]) -> None:
    assert failed(tmp_path, test) == faults


def test_a_workflow_that_is_looked_for_is_expected_as_the_route_writes_it(tmp_path: Path) -> None:
    looking = 'signal: {to: {where: {OrderNumber: "${data.n}"}}, name: told, input: 1}'
    routes = f"{ROUTES}  - {{name: sought, from: [orders, cash], type: sought, {looking}}}\n"
    event = "event: {type: sought, data: {n: A-1}}, topic: orders"
    expected = "expect: {sought: {signal: {to: {where: {OrderNumber: @}}}}}"
    assert failed(tmp_path, f"{event}, {expected.replace('@', 'A-1')}", routes) == []
    assert failed(tmp_path, f"{event}, {expected.replace('@', 'A-2')}", routes) == [
        'route sought: to.where.OrderNumber: "A-2"|"A-1"'
    ]
    other = "event: {topic: cash, headers: {type: sought}, value: {n: A-1}}"
    assert failed(tmp_path, f"{other}, expect: {{sought: signal}}", routes) == []


def test_a_correlation_that_others_signed_is_a_letter_unless_the_secret_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = Seal(["theirs"]).sealed(Correlation("default", "order/A-1", "R-1"))
    event = f"event: {{topic: cash, headers: {{type: charged, to: {theirs}}}, value: 7}}"
    letter = "{charged: {letter: {stage: dispatch, reason: not signed by us}}}"
    assert failed(tmp_path, f"{event}, expect: {letter}") == []
    monkeypatch.setenv("TURNOUT_CALLS__SECRET", "theirs")
    assert failed(tmp_path, f"{event}, expect: {{charged: complete}}") == []


def test_an_event_may_stand_in_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "e").mkdir()
    cloudevent = (
        '{"specversion": "1.0", "id": "1", "source": "/s", "type": "gone", "data": {"why": "${call}"}}'
    )
    for name, text in {
        "whole": cloudevent,
        "short": '{"type": "gone", "data": {"why": "${call}"}}',
        "record": '{"topic": "cash", "headers": {"type": "charged", "to": "${call}"}, "value": "\\"${call}"}',
    }.items():
        (tmp_path / f"e/{name}.json").write_text(text)
    gone = "topic: orders, expect: {gone: {cancel: {reason: '${call}'}}}"
    assert failed(tmp_path, f"event: e/whole.json, {gone}") == []
    assert failed(tmp_path, f"event: e/short.json, {gone}") == []
    # With a call, that text alone is its correlation.
    call = "call: {to: order/A-1, activity: R-1}"
    charged = """expect: {charged: {complete: {to: order/A-1, result: '"${call}'}}}"""
    assert failed(tmp_path, f"event: e/record.json, {call}, {charged}") == []


def test_a_test_ends_the_same_every_day(tmp_path: Path) -> None:
    routes = ROUTES.replace("${data.why}", "${event.time} ${record.timestamp}")
    written(tmp_path, "event: {type: gone}, topic: orders, expect: {gone: cancel}", routes=routes)
    ready = examination(Settings(group="g"), [tmp_path], [tmp_path], [])
    (test,) = ready.tests.tests
    assert test.record.timestamp_ms == 1_767_225_600_000
    written(
        tmp_path, "event: {topic: cash, headers: {type: x}, value: 1, timestamp: 7}, unmatched: dead-letter"
    )
    (test,) = examination(Settings(group="g"), [tmp_path], [tmp_path], []).tests.tests
    assert test.record.timestamp_ms == 7


# --- mistakes in tests ---


@pytest.mark.parametrize(
    ("test", "said"),
    [
        (f"{PLACED}", ["3:5: TR601 test 't0' expects nothing; write expect: and what each route makes of it, or unmatched, letter or tombstone"]),
        (f"{PLACED}, expect: {{}}", ["TR601 test 't0' expects nothing; name each route with what it makes of it: ROUTE: skipped"]),
        (f"{PLACED}, expect: {{placed: {{}}}}", ["TR601 nothing is expected of route placed; write start, signal, cancel, complete, letter, skipped"]),
        (f"{PLACED}, expect: {{placed: {{start: {{}}, letter: {{}}}}}}", ["TR302 'start' and 'letter' of one route; keep one"]),
        (f"{PLACED}, expect: {{placed: start}}, unmatched: skip", ["TR302 'expect' and 'unmatched' in one test; keep one"]),
        (f"{PLACED}, unmatched: skip, others: any", ["TR302 'others' without 'expect'; leave it out"]),
        (f"{PLACED}, expect: {{plaecd: start, placed: {{start: {{idd: 1}}}}}}", ["TR201 unknown key 'idd'; did you mean id?"]),
        (f"{PLACED}, expect: {{plaecd: start, tald: skipped}}", ["TR602 there is no route 'plaecd'; did you mean placed?", "TR602 there is no route 'tald'; did you mean told?"]),
        (f"{PLACED}, expect: {{placed: strat, told: 7}}, exepct: 1", ["TR203 placed must be a map or one of start, signal, cancel, complete, letter, skipped; did you mean start?", "TR203 told must be a map", "TR201 unknown key 'exepct'; did you mean expect?"]),
        (f"{PLACED}, expect: {{placed: {{start: {{running: so, run_timeout: 1, missing: skip}}}}}}", ["TR203 running must be dead-letter or skip", "TR203 run_timeout must be a duration of at most 100 years; write 30s, 15m, 2h, 1d or ISO 8601 like PT1H30M", "TR201 unknown key 'missing'; known here: execution_timeout,"]),
        (f"{PLACED}, letter: {{stage: person}}", ["TR203 stage must be decode or route or dispatch"]),
        (f"{PLACED}, letter: {{reason: ''}}", ["TR203 reason is empty; write a value"]),
        (f"{PLACED}, tombstone: ", ["TR203 tombstone is empty; write a value, or leave the key out"]),
        ("topic: orders, unmatched: skip", ["TR202 in an entry of tests, 'event' is missing"]),
        ("event: {topik: orders, valeu: 1}, unmatched: skip", ["TR603 the event does not say its topic; write topic: beside event:", "TR201 unknown key 'topik'; did you mean topic?", "TR201 unknown key 'valeu'; did you mean value?"]),
        ("event: {topic: order}, unmatched: skip", ["TR603 no route reads topic 'order'; did you mean orders?"]),
        ("event: {type: x}, topic: done, unmatched: skip", ["TR603 no route reads topic 'done'; known are cash, orders"]),
        ("event: {specversion: 1.0}, topic: orders, unmatched: skip", ['TR603 YAML reads specversion as a number; write specversion: "1.0"']),
        ("event: {topic: orders, headers: {a: 1}}, unmatched: skip", ["TR603 header 1 of the event is no text"]),
        ("event: 7, topic: orders, unmatched: skip", ["TR603 the event is neither a map nor a path; write a record, a CloudEvent, or the path"]),
        ("event: no.json, topic: orders, unmatched: skip", ["TR603 no.json cannot be read: No such file or directory; the path is from this file's folder"]),
        ("event: r.yaml, topic: orders, unmatched: skip", ["TR603 r.yaml is no JSON: "]),
        (f"{PLACED}, call: {{to: x, activity: y}}, expect: {{placed: start}}", ["TR603 'call' is given, but no text of the event is ${call}; write ${call} where the event has its correlation"]),
    ],
)  # fmt: skip
def test_a_test_that_cannot_be_right_is_refused_with_place_and_cure(
    tmp_path: Path, test: str, said: list[str]
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        failed(tmp_path, test)
    assert len(caught.value.findings) == len(said), caught.value
    for finding, start in zip(caught.value.findings, said, strict=True):
        assert finding.line == 3
        assert finding.column > 4
        assert f"{finding.line}:{finding.column}: {finding.code} {finding.text}".endswith(start) or (
            f"{finding.code} {finding.text}".startswith(start)
        )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "r.test.yaml:0:0: TR101 is empty; write version: 1 and tests"),
        ("version: 1\ntests: []\n", "r.test.yaml:2:8: TR601 no tests; write at least one, or take the file away"),
        ("version: 2\ntests: []\n", "r.test.yaml:1:10: TR203 version must be 1"),
        ("version: 1\ntests: [\n", "r.test.yaml:3:1: TR102 YAML: "),
        ("[]", "r.test.yaml:1:1: TR203 the file must be a map"),
        ("version: 1\ntests:\n- {name: a, event: {type: x}, topic: orders, unmatched: skip}\n- {name: a, event: {type: x}, topic: orders, unmatched: skip}",
         "r.test.yaml:4:10: TR604 two tests named 'a'; the first is in line 3"),
    ],
)  # fmt: skip
def test_a_file_that_holds_no_tests_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (written(tmp_path) / "r.test.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        examination(Settings(group="g"), [tmp_path], [tmp_path], [])


def test_tests_are_no_routes(tmp_path: Path) -> None:
    written(tmp_path, f"{PLACED}, expect: {{{STARTED}}}")
    assert len(load_routes(tmp_path).routes) == 6
    assert lint([tmp_path]).files == 1
    (finding,) = lint([tmp_path / "r.test.yaml"]).findings
    assert str(finding).endswith("TR101 holds tests of routes, not routes; run them by `turnout routes test`")
    (tmp_path / "r.yaml").unlink()
    with pytest.raises(ConfigurationError, match=r"holds no \*\.yaml or \*\.yml file"):
        load_routes(tmp_path)


def test_a_changed_test_does_not_start_the_service_anew() -> None:
    assert [name for name in ("r.yaml", "r.test.yaml", "r.test.yml", "a.py") if is_source(None, name)] == ["r.yaml", "a.py"]  # fmt: skip


# --- the command ---

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("TURNOUT_")]:
        monkeypatch.delenv(name)


def turnout(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    codes: list[int] = []
    monkeypatch.setattr(app_module, "leave", codes.append)
    monkeypatch.setattr(sys, "argv", ["turnout", "routes", "test", *map(str, arguments)])
    app_module.main()
    return codes[0]


ALL = (
    f"{PLACED}, expect: {{{STARTED}}}",
    "event: {type: placed, data: {id: A-1, total: 0}}, topic: orders, expect: {told: signal}",
    "event: {type: placed, data: {id: A-1, total: 1}}, topic: orders, expect: {told: signal}",
    "event: {type: earned}, topic: orders, expect: {earned: signal}",
    "event: {type: gone, data: {why: so}}, topic: orders, expect: {gone: cancel}",
    f"{CHARGED.replace('@', 'charged')}, expect: {{charged: complete}}",
    f"{CHARGED.replace('@', 'declined')}, expect: {{declined: complete}}",
)


def test_what_failed_is_told_with_its_place_both_values_and_the_value_that_decided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    none = "event: {type: placed, data: {id: A-1, total: 0}}, topic: orders, expect: {told: signal, placed: start}"
    folder = written(tmp_path, ALL[0], ALL[0].replace("id: order/A-1}", "id: order/A-2}"), none)
    assert turnout(monkeypatch, folder, "-k", "T") == 1
    file = folder / "r.test.yaml"
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        f"{file}: 1 passed, 2 failed",
        "FAILED t1",
        f"  {file}:4:152: route placed: id",
        '    expected: "order/A-2"',
        '    got:      "order/A-1"',
        "FAILED t2",
        f"  {file}:5:112: route placed: expected a start, but it does nothing: `data.total > 0` is false",
        "    data.total is 0",
    ]
    assert told.err == "3 tests in 1 file: 1 passed, 2 failed\n"


def test_what_no_test_has_seen_is_told_and_fails_if_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    folder = written(tmp_path, *ALL)
    assert turnout(monkeypatch, folder, "--cover") == 0
    told = capsys.readouterr()
    assert told.out == f"{folder / 'r.test.yaml'}: 7 passed\n"
    assert told.err == "7 tests in 1 file: 7 passed\n6 of 6 routes are covered\n"
    # What others do is looked at by nobody; what is behind a false term has decided nothing.
    written(tmp_path, f"{PLACED}, expect: {{told: signal}}, others: any", *ALL[1:2], *ALL[3:])
    for arguments, code in (((), 0), (("--cover",), 1)):
        assert turnout(monkeypatch, folder, *arguments) == code
        told = capsys.readouterr()
        assert told.out.splitlines()[1:] == [
            f"{folder / 'r.yaml'}:8:11   placed  no test has seen a command",
            f"{folder / 'r.yaml'}:11:11  placed  no test has seen `data.total > 0` true",
            f"{folder / 'r.yaml'}:11:11  placed  no test has seen `has(data.country)` true",
            f"{folder / 'r.yaml'}:11:11  placed  no test has seen `has(data.country)` false",
        ]
        assert told.err.endswith("5 of 6 routes are covered\n")


def test_a_when_that_no_event_changes_needs_no_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    routes = ROUTES.replace("when: data.total > 0 && has(data.country)", "when: true")
    folder = written(tmp_path, f"{PLACED}, expect: {{{STARTED}}}", *ALL[3:], routes=routes)
    assert turnout(monkeypatch, folder, "--cover") == 0


def test_the_results_are_written_as_junit_xml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    folder = written(tmp_path, ALL[0], ALL[4].replace("gone: cancel", '"gone": {cancel: {to: "\\x07<&]]>"}}'))
    tests = folder / "r.test.yaml"
    tests.write_text(tests.read_text().replace("name: t0", 'name: "t\\x070"'))
    file = tmp_path / "out.xml"
    assert turnout(monkeypatch, folder, "--cover", "--junit", file) == 1
    of_tests, coverage = parse(file).getroot()
    assert (of_tests.get("tests"), of_tests.get("failures"), of_tests.get("errors")) == ("2", "1", "0")
    passed, failed_ = of_tests
    assert (passed.get("name"), passed.get("line"), list(passed)) == ("t\\x070", "3", [])
    (failure,) = failed_
    assert str(failure.text).splitlines()[1:] == ['  expected: "\\u0007<&]]>"', '  got:      "x"']
    assert coverage.get("failures") == str(len(coverage)) == "5"
    assert turnout(monkeypatch, folder, "--junit", tmp_path / "no/out.xml") == 1
    assert "cannot be written: No such file or directory" in capsys.readouterr().err


def test_paths_may_be_folders_routes_or_tests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    folder = written(tmp_path, *ALL)
    assert turnout(monkeypatch, folder / "r.yaml") == 0
    apart = tmp_path / "apart"
    apart.mkdir()
    (folder / "r.test.yaml").rename(apart / "x.test.yml")
    assert turnout(monkeypatch, folder) == 0
    assert turnout(monkeypatch, folder / "r.yaml", apart / "x.test.yml") == 0
    assert turnout(monkeypatch, apart, "--routes", folder / "r.yaml") == 0
    monkeypatch.setenv("TURNOUT_ROUTES", str(folder))
    assert turnout(monkeypatch) == 0
    assert turnout(monkeypatch, apart / "x.test.yml") == 0
    assert capsys.readouterr().err.count("7 tests in 1 file: 7 passed\n") == 6


def test_the_exit_code_tells_wrong_usage_from_what_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    folder = written(tmp_path, *ALL)
    assert turnout(monkeypatch, folder, "-k", "t9") == 2
    assert turnout(monkeypatch, folder, "-k", "t1", "--cover") == 2
    assert turnout(monkeypatch, folder / "nowhere") == 2
    capsys.readouterr()
    (folder / "r.test.yaml").unlink()
    assert turnout(monkeypatch, folder) == 1
    assert "there are no tests of routes in" in capsys.readouterr().err
    written(tmp_path, "unmatched: skip")
    assert turnout(monkeypatch, folder) == 1
    assert "turnout: the tests of routes cannot be used: 1 mistake\n" in capsys.readouterr().err
    written(tmp_path, *ALL, routes=ROUTES.replace("start:", "strat:"))
    assert turnout(monkeypatch, folder) == 1
    assert "turnout: the routes cannot be used: " in capsys.readouterr().err


def test_inputs_are_checked_against_the_workflows_that_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    folder = written(tmp_path, *ALL, routes=ROUTES.replace("name: earn,", "name: earn, closed: skip,"))
    package = tmp_path / "route_test_team"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from temporalio import workflow\n\n@workflow.defn\nclass Shop:\n    @workflow.run\n"
        "    async def run(self, a: int) -> None: ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert turnout(monkeypatch, folder, "--modules", "route_test_team") == 1
    told = capsys.readouterr().out
    assert "but it makes a letter of stage dispatch: the input does not fit workflow Shop" in told


# --- all inputs ---

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-3, 3) | st.text(max_size=2),
    lambda one: st.lists(one, max_size=3) | st.dictionaries(st.text(max_size=2), one, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@example(1, True)
@example(1, 1.0)
@example({"a": None}, {})
@example([[]], [])
@given(json_values, json_values)
def test_two_values_differ_just_where_their_json_does(one: Any, other: Any) -> None:
    def text(value: Any) -> bytes:
        # -0.0 and 0.0 are one number.
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).replace(b"-0.0", b"0.0")

    assert not list(differences(one, one))
    assert bool(list(differences(one, other))) is (text(one) != text(other))
    assert len(list(differences(one, other, partly=True))) <= len(list(differences(one, other)))


words = st.sampled_from([
    "name", "event", "topic", "orders", "cash", "expect", "placed", "told", "start", "signal", "id", "input", "input_has",
    "letter", "stage", "decode", "unmatched", "skip", "tombstone", "call", "to", "activity", "type", "data", "specversion",
    "headers", "value", "others", "any", "skipped", "or_start", "${call}", "gone", "cancel", "missing", "park", "1m", "timestamp",
])  # fmt: skip
shapes = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | words | st.text(max_size=3),
    lambda one: st.lists(one, max_size=3) | st.dictionaries(words | st.text(max_size=2), one, max_size=5),
    max_leaves=20,
)  # fmt: skip
tests_of_routes = st.fixed_dictionaries(
    {"name": words | shapes, "event": shapes},
    optional=dict.fromkeys(("topic", "expect", "unmatched", "letter", "tombstone", "call", "others"), words | shapes),
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@example({"version": 1, "tests": [{"name": "x", "event": "\0", "unmatched": "skip", "topic": "orders"}]})
@example(
    {
        "version": 1,
        "tests": [
            {
                "name": "x",
                "event": {"type": "placed", "data": {}},
                "topic": "orders",
                "expect": {"placed": "letter", "told": "letter"},
            }
        ],
    }
)
@given(shapes | st.lists(tests_of_routes, max_size=3).map(lambda tests: {"version": 1, "tests": tests}))
def test_whatever_stands_in_a_file_of_tests_is_run_or_refused(
    tmp_path_factory: pytest.TempPathFactory, values: Any
) -> None:
    folder = tmp_path_factory.getbasetemp() / "any"
    folder.mkdir(exist_ok=True)
    (folder / "r.yaml").write_text(ROUTES)
    (folder / "r.test.yaml").write_bytes(orjson.dumps(values))
    try:
        ready = examination(Settings(group="g"), [folder], [folder], [])
    except ConfigurationError:
        return
    for test in ready.tests.tests:
        assert all(fault.problem for fault in ready.examining.faults(test))


WITH_SCHEMAS = """\
version: 1
topics: {orders: {format: avro, key: avro, event: {type: placed, id: "${data.id}"}}}
routes: [{name: placed, from: orders, cancel: {to: "order/${data.id}/${record.key}"}}]
"""


def test_an_event_of_a_topic_with_schemas_is_written_as_what_its_bytes_mean(tmp_path: Path) -> None:
    event = "event: {topic: orders, key: K, value: {id: A-1}}"
    assert (
        failed(tmp_path, f"{event}, expect: {{placed: {{cancel: {{to: order/A-1/K}}}}}}", WITH_SCHEMAS) == []
    )
    event = "event: {topic: orders, value_base64: AAAAAAcG}"
    (failure,) = failed(tmp_path, f"{event}, expect: {{placed: cancel}}", WITH_SCHEMAS)
    assert failure.endswith("but its bytes name a schema of the registry; write the data they mean instead")
