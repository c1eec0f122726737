# ruff: noqa: E501 - a case is a line
"""What route files may say, and how they are refused: everything at once, with place and cure."""

import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.errors import ConfigurationError
from service.routing.table import load_routes

KNOWN = (
    "known are event.id, event.source, event.type, event.subject, event.time, event.ext, data, headers, "
    "record.topic, record.partition, record.offset, record.key, record.timestamp, record.schema"
)
CODE = re.compile(r": TR\d{3} ")
WITHOUT_QUOTES = "YAML reads that differently without quotes; write"

# Line 6 is the action and line 7 what a test adds.
HEAD = """\
version: 1
topics: {orders: {}}
routes:
  - name: placed
    from: orders
"""
ROUTE = HEAD + "    cancel: {to: x}\n"
START = HEAD + "    start: {workflow: W, id: x, task_queue: q, "


def refused(path: Path) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load_routes(path)
    head, *findings = str(caught.value).split("\n")
    assert head == f"the routes in {path} cannot be used: {len(findings)} mistake{'s' * (len(findings) > 1)}"
    assert all(CODE.search(finding) for finding in findings)
    return [
        CODE.sub(": ", finding, count=1).removeprefix(f"{path.parent}/").removeprefix(f"{path.name}/")
        for finding in findings
    ]


def written(folder: Path, text: str | bytes, name: str = "r.yaml") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


OUT = (
    ROUTE.replace("topics: {orders: {}}\n", "") + "topics:\n  orders: {}\n  done: {out: true, format: avro, "
)

# `‸` stands where the finding must point, for each finding in turn.
LATER = {
    ROUTE.replace(
        "orders: {}", "orders: {format: ‸protobuf}"
    ): "format: protobuf; send Avro, JSON Schema or JSON",
}
NO_PARK = ["missing must be dead-letter, skip or {park: DURATION} of 1 s to 30 d; write {park: 15m}"]
WRONG = {
    **{
        ROUTE.replace("to: x", f"to: x, missing: ‸{{{park}}}"): NO_PARK
        for park in ("park: 900ms", "park: PT0.5S", "park: 31d", "park: 900", "park: ", "prak: 15m", "")
    },
    ROUTE.replace("to: x", "to: x, missing: ‸{park: 15m, or: skip}"): NO_PARK,
    ROUTE.replace("to: x", "to: x, missing: ‸park"): ["missing must be dead-letter or skip or {park: DURATION}"],
    ROUTE.replace("to: x", "to: x, closed: ‸{park: 15m}"): ["closed must be dead-letter or skip"],
    ROUTE.replace("version: 1\n", "‸"): ["'version' is missing"],
    ROUTE.replace("version: 1", "version: ‸2"): ["version is no version this release reads; write version: 1"],
    ROUTE.replace("version: 1", "version: ‸'1'"): ["version is no version this release reads; write version: 1"],
    ROUTE.replace("version: 1", "version: ‸1.0"): ["version is no version this release reads; write version: 1"],
    ROUTE + "‸topic: {}": ["unknown key 'topic'; did you mean topics?"],
    ROUTE.replace("{}", "{‸keyy: text}"): ["unknown key 'keyy'; did you mean key?"],
    ROUTE + "    ‸wen: true": ["unknown key 'wen'; did you mean when?"],
    ROUTE + "    ‸fron: x": ["unknown key 'fron'; did you mean from?"],
    ROUTE.replace("to: x", "to: x, ‸raeson: y"): ["unknown key 'raeson'; did you mean reason?"],
    ROUTE.replace("to: x", "to: x, ‸zzz: y"): ["unknown key 'zzz'; known here: to, reason, namespace, missing, closed"],
    HEAD + "    ‸cancle: {to: x}": ["unknown key 'cancle'; did you mean cancel?"],
    HEAD + "    signal: {to: x, name: n, or_start: {workflow: W, task_queue: q, ‸imput: 1}}": ["unknown key 'imput'; did you mean input?"],
    "task_queues: {q: {‸inbux: true}}\n" + ROUTE: ["unknown key 'inbux'; did you mean inbox?"],
    HEAD + "    start: ‸{id: x, task_queue: q}": ["in start, 'workflow' is missing"],
    ROUTE.replace("name: placed", "‸type: a"): ["in an entry of routes, 'name' is missing"],
    ROUTE.replace("{orders: {}}", "\n  ‸orders:"): ["orders must be a map"],
    ROUTE + "  - ‸x": ["an entry of routes must be a map"],
    HEAD + "    cancel: ‸x": ["cancel must be a map"],
    HEAD.replace("name:", "‸name:"): ["a route without start, signal, cancel or complete; write one of them"],
    ROUTE + "    ‸signal: {to: x, name: n}": ["'cancel' and 'signal' in one route; write a route for each"],
    ROUTE + "    ‸when:": ["when is empty; write a value, or leave the key out"],
    ROUTE.replace("to: x", "to: ‸''"): ["to is empty"],
    ROUTE.replace("to: x", 'to: ‸"a\\0"'): ["to holds a control character"],
    START.replace("q, ", "‸/_sys/q}"): ["task_queue begins with /_sys/, which Temporal keeps for itself"],
    ROUTE.replace("to: x", "to: ‸" + "x" * 241): ["to has 241 bytes of UTF-8; at most 240 are allowed"],
    ROUTE.replace("to: x", "to: ‸7"): ["to must be text; put it in quotes"],
    ROUTE + '    type: ‸"${data.x}"': ["type cannot be an expression; write it out"],
    START + "input: 1, ‸args: [2]}": ["'input' and 'args' together; write input: for one argument, args: for a list"],
    START + "args: ‸2}": ["args must be a list; write input: for a single argument"],
    START + "‸contract: {}}": ["'contract' without 'input' or 'args'; write what it is of"],
    START + "input: 1, contract: ‸{type: text}}": ["contract is no JSON Schema that can be used: it is not valid under any of the schemas listed in the 'anyOf' keyword"],
    START + "input: 1, contract: ‸{$ref: elsewhere.json}}": ["contract is no JSON Schema that can be used: Resource 'elsewhere.json' is not present in a registry and retrieving it failed: No base URI is available"],
    START + "input: 1, ‸contract: }": ["contract is empty; write a value, or leave the key out"],
    START + "start_at: '2026-01-31T12:00:00Z', ‸start_delay: 1h}": ["'start_at' and 'start_delay' together; keep one"],
    START + "start_at: ‸tomorrow}": ["start_at must be RFC 3339; write a time like 2026-01-31T12:00:00Z"],
    START + "start_at: ‸2026-02-30T12:00:00Z}": ["start_at must be RFC 3339; write a time like 2026-01-31T12:00:00Z"],
    START + "run_timeout: ‸30}": ["run_timeout must be a duration of at most 100 years; write 30s, 15m, 2h, 1d or ISO 8601 like PT1H30M"],
    START + "start_delay: ‸0s}": ["start_delay must be a duration of at most 100 years; write 30s, 15m, 2h, 1d or ISO 8601 like PT1H30M"],
    START + "start_delay: ‸999999999d, task_timeout: ‸9999999999h}": ["start_delay must be a duration of at most 100 years; write 30s, 15m, 2h, 1d or ISO 8601 like PT1H30M", "task_timeout must be a duration of at most 100 years; write 30s, 15m, 2h, 1d or ISO 8601 like PT1H30M"],
    START + "priority: ‸6}": ["priority must be less than or equal to 5"],
    HEAD + "    signal: {to: x, name: n, ‸missing: skip, or_start: {workflow: W, task_queue: q}}": ["'missing' never applies with 'or_start'; leave it out"],
    HEAD + "    signal: {to: {where: {Order: A}}, name: n, ‸or_start: {workflow: W, task_queue: q}}": ["'or_start' with a workflow that is looked for; write to: and an id"],
    "task_queues: {q: {inbox: true}}\n" + HEAD + "    signal: {to: {where: {Order: A}}, name: n, input: 1, ‸batch: true}": ["'batch' with a workflow that is looked for; take it away"],
    ROUTE.replace("to: x", "to: {‸were: {Order: A}}").replace("to: {", "to: ‸{"): ["in to, 'where' is missing", "unknown key 'were'; did you mean where?"],
    ROUTE.replace("to: x", "to: {where: ‸A}"): ["where must be a map"],
    ROUTE.replace("to: x", "to: {where: ‸{}}"): ["where finds any of them; name a search attribute that starts set, and its value"],
    ROUTE.replace("to: x", "to: {where: ‸{WorkflowType: A}}"): ["where finds any of them; name a search attribute that starts set, and its value"],
    ROUTE.replace("to: x", "to: {where: ‸{Order: A, ExecutionStatus: Completed}}"): ["where takes ExecutionStatus: Running alone; take it away: the others are closed"],
    ROUTE.replace("to: x", 'to: {where: ‸{Order: A, ExecutionStatus: "${data.x}"}}'): ["where takes ExecutionStatus: Running alone; take it away: the others are closed"],
    ROUTE.replace("to: x", "to: {where: {Order: A, ‸RunId: B}}"): ["RunId is Temporal's own; name one that starts set; of Temporal's: ExecutionStatus, WorkflowType"],
    ROUTE.replace("to: x", "to: {where: {‸'a`b': A}}"): ["a`b holds a `; search attributes cannot be looked for by such a name"],
    ROUTE.replace("to: x", "to: {where: {Order: ‸7}}"): ["Order must be text; put it in quotes"],
    ROUTE.replace("to: x", "to: {where: {Order: ‸''}}"): ["Order is empty"],
    ROUTE.replace("to: x", "to: {where: {Order: ‸'a\"b'}}"): ['Order holds a character that cannot be looked for: ", \\ or one that does not print'],
    ROUTE.replace("to: x", 'to: {where: {Order: "${‸dat.x}"}}'): ["Order: unknown variable 'dat.x'; did you mean data.x?"],
    ROUTE.replace("to: x", "to: x, closed: ‸ignore"): ["closed must be dead-letter or skip"],
    ROUTE.replace("to: x", 'to: x, namespace: ‸"${data.ns}"'): ["a namespace that is an expression needs an allow-list; write namespaces: [ … ] at the top of a file, with those that are allowed"],
    ROUTE.replace("{orders", "{‸orders").replace("from: orders", "from: ‸order"): ["no route reads topic 'orders'; write a route from it, out: true if it is only written to, or take it away", "topic 'order' is not declared; did you mean orders?"],
    ROUTE.replace("{}", "{out: true}").replace("from: orders", "from: ‸orders"): ["topic 'orders' is one to write to; take out: true away, or read another"],
    ROUTE.replace("{}}", "{}, done: {out: true, ‸key: text}}"): ["'key' means nothing for a topic that is only written to; leave it out"],
    ROUTE.replace("{}}", "{}, done: {out: true, ‸subject: record-name}}"): ["'subject' means nothing for a topic that is written in JSON; leave it out"],
    ROUTE.replace("{}", "{format: avro, ‸register: true}"): ["'register' means nothing for a topic that is read; leave it out"],
    ROUTE.replace("{}", "{format: ‸xml}"): ["format must be json or avro or json-schema"],
    ROUTE.replace("{}", "{key: ‸string}"): ["key must be text or json or bytes or avro or json-schema"],
    OUT + "‸register: true}": ["'register' without 'schema'; write which: schema: FILE"],
    OUT + "‸subject: record-name}": ["a subject named for a record, without 'schema'; write schema: FILE, or one for each type of event: schema: {TYPE: FILE}"],
    OUT + "subject: ‸mine}": ["subject must be topic-name or record-name or topic-record-name"],
    OUT + "schema: ‸{}}": ["schema is empty; write a path, or one for each type of event"],
    OUT + "schema: ‸[]}": ['schema must be text; put text that starts with { or [ in quotes: "${ … }"'],
    START + "publish_closing: ‸orders}": ["topic 'orders' is one to read; name one with out: true"],
    START + "publish_closing: ‸done}": ["topic 'done' is not declared; declare it: topics: {done: {out: true}}"],
    START.replace("{}}", "{}, done: {out: true}}") + "publish_closing: ‸don}": ["topic 'don' is not declared; did you mean done?"],
    START + "‸publish_closing: }": ["publish_closing is empty; write a value"],
    START + 'publish_closing: ‸"${data.topic}"}': ["publish_closing cannot be an expression; write it out"],
    HEAD + "    signal: {to: x, name: n, or_start: {workflow: W, task_queue: q, publish_closing: ‸orders}}": ["publish_closing cannot stand in or_start; start the workflow by a route of its own, with publish_closing in it"],
    ROUTE.replace("{orders", "{‸a b").replace("from: orders", "from: a b"): ["a b is no topic name; Kafka allows 1 to 249 letters, digits, . _ and -; * makes a pattern of it"],
    ROUTE.replace("placed", "‸a b"): ["name must be 1 to 100 letters, digits, . _ / and -, and start with a letter or digit"],
    ROUTE + "  - {name: ‸placed, from: orders, cancel: {to: y}}": ["two routes named 'placed'; the first is at r.yaml:4"],
    ROUTE.replace("from: orders", "from: ‸[orders, order]"): ["topic 'order' is not declared; did you mean orders?"],
    ROUTE.replace("{orders", "{‸orders").replace("from: orders", "from: ‸[]"): ["no route reads topic 'orders'; write a route from it, out: true if it is only written to, or take it away", "from is empty; name the topics that it reads"],
    ROUTE.replace("{}", "{event: ‸avro}"): ["event must be cloudevents or a mapping of type, id, subject, source and time"],
    ROUTE.replace("{}", "{unmatched: ‸ignore}"): ["unmatched must be dead-letter or skip"],
    ROUTE.replace("{}", "{ordering: ‸none}"): ["ordering must be 'key' or 'partition'"],
    ROUTE.replace("{}", '{event: ‸{id: "${data.id}"}}'): ["in event, 'type' is missing"],
    ROUTE.replace("{}", '{event: {type: "${‸event.typ}"}}'): ["type: unknown variable 'event.typ'; known are data, headers, record.topic, record.partition, record.offset, record.key, record.timestamp, record.schema"],
    ROUTE + "    type: ‸[]": ["type is empty; leave `type` out where any type fits"],
    ROUTE + "    when: ‸size(data)": ["when: a condition must be bool, this is an integer"],
    ROUTE + "    when: ‸${data.x}": ["when: a condition is CEL already; write it without ${ }"],
    ROUTE + "    when: ‸7": ["when must be text; put it in quotes"],
    ROUTE + "    when: true && ‸dat.x": ["when: unknown variable 'dat.x'; did you mean data.x?"],
    ROUTE + "    when: 'data.x == ''é'' && ‸dat.x'": ["when: unknown variable 'dat.x'; did you mean data.x?"],
    ROUTE + '    when: "data.x == \\"\\u00e9\\x41\\" && ‸dat.x"': ["when: unknown variable 'dat.x'; did you mean data.x?"],
    ROUTE + "    when: ‸>-\n      data.x == 1\n      && dat.x": ["when: unknown variable 'dat.x'; did you mean data.x?"],
    ROUTE + "    when: ‸true &&\n      dat.x": ["when: unknown variable 'dat.x'; did you mean data.x?"],
    ROUTE.replace("{to: x}", "\n      to: a/${data.x}/${‸zzz}"): [f"to: unknown variable 'zzz'; {KNOWN}"],
    START + "input: {a: [1, '${‸dat.x}', {b: \"${1 +‸}\"}]}}": ["an entry of a: unknown variable 'dat.x'; did you mean data.x?", "b: the expression ends too early"],
    START + "input: {‸'${data.x}': 1}}": ["${data.x}: a key cannot hold an expression; build the map in CEL: ${{…: …}}"],
    START + 'search_attributes: {Order: "${‸dat.x}"}}': ["Order: unknown variable 'dat.x'; did you mean data.x?"],
    ROUTE + "    when: ‸!data.x && data.y": [f'!data.x is a YAML tag, which has no meaning here; {WITHOUT_QUOTES} when: "!data.x && data.y"'],
    ROUTE + "    when: ‸!has(data.x)": [f'!has(data.x) is a YAML tag, which has no meaning here; {WITHOUT_QUOTES} when: "!has(data.x)"'],
    ROUTE + "    when: data.a ? data.b ‸: data.c": [f'YAML: mapping values are not allowed here; {WITHOUT_QUOTES} when: "data.a ? data.b : data.c"'],
    ROUTE + '    when: data.a == ‸"A #1"': ["when: text without its closing quote; ` #` starts a YAML comment, which may have cut it; write when: 'data.a == \"A #1\"'"],
    HEAD + '    cancel:\n      to: a/‸${data["a #1"]}': ["to: `${` without its `}`; ` #` starts a YAML comment, which may have cut it; write to: 'a/${data[\"a #1\"]}'"],
    HEAD + "    cancel:\n      to: a/‸${data.x #1}": ['to: `${` without its `}`; ` #` starts a YAML comment, which may have cut it; write to: "a/${data.x #1}"'],
    ROUTE + "    when: 'a' ‸in data.x": [f"YAML: expected <block end>, but found '<scalar>'; {WITHOUT_QUOTES} when: \"'a' in data.x\""],
    ROUTE + "    when: [1]‸[0] > data.x": [f'YAML: expected <block end>, but found \'[\'; {WITHOUT_QUOTES} when: "[1][0] > data.x"'],
    ROUTE.replace("to: x", "to: a/$‸{data.x}, reason: y"): [f"YAML: expected ',' or '}}', but got '{{'; {WITHOUT_QUOTES} cancel: {{to: \"a/${{data.x}}\", reason: y}}"],
    ROUTE + "    when: ‸@x": [f'YAML: found character \'@\' that cannot start any token; {WITHOUT_QUOTES} when: "@x"'],
    ROUTE + "‸\twhen: true": ["YAML: found character '\\t' that cannot start any token; use spaces, not tabs"],
    ROUTE + "    ‸name: other": ["'name' stands twice; the first is in line 4; keep one"],
    ROUTE.replace("to: x", "to: ‸&a x, reason: *a"): ["this anchor is used by an alias; write the value out at each place"],
    ROUTE + "‸---\nversion: 1": ["YAML: but found another document; write one document to a file"],
    "version: [1,‸": ["YAML: expected the node content, but found '<stream end>'"],
    "version: 1\nx: ‸\0": ["YAML: a control character; write it as an escape in double quotes"],
    'version: ‸"\\ud800"': ["a lone surrogate, which is no text"],
    START + "input: ‸18446744073709551616}": ["an integer beyond 64 bits; put it in quotes if it is text"],
    START + "input: ‸.nan}": ["not a number of JSON; put it in quotes if it is text"],
    "version: " + "[" * 64 + "‸[]" + "]" * 64: ["nested more than 64 levels deep"],
    "‸[1]": ["the file must be a map"],
}  # fmt: skip


def unmarked(text: str) -> tuple[str, list[str]]:
    """`text` without its marks, and the line:column of each."""
    pieces = text.split("‸")
    before = ["".join(pieces[:count]) for count in range(1, len(pieces))]
    return "".join(pieces), [
        f"{part.count(chr(10)) + 1}:{len(part) - part.rfind(chr(10))}" for part in before
    ]


@pytest.mark.parametrize(("marked", "problem"), LATER.items())
def test_what_comes_later_is_said_to_come_later(tmp_path: Path, marked: str, problem: str) -> None:
    text, [place] = unmarked(marked)
    assert refused(written(tmp_path, text)) == [f"r.yaml:{place}: not in this version yet: {problem}"]


@pytest.mark.parametrize(("marked", "problems"), WRONG.items())
def test_a_broken_file_is_refused_with_place_and_cure(
    tmp_path: Path, marked: str, problems: list[str]
) -> None:
    text, places = unmarked(marked)
    expected = [f"r.yaml:{place}: {problem}" for place, problem in zip(places, problems, strict=True)]
    assert refused(written(tmp_path, text)) == expected


def test_one_finding_in_full(tmp_path: Path) -> None:
    path = written(tmp_path, ROUTE + "    when: data.x > 0 && dat.y\n")
    with pytest.raises(ConfigurationError) as caught:
        load_routes(path)
    assert str(caught.value) == (
        f"the routes in {path} cannot be used: 1 mistake\n"
        f"{path}:7:25: TR205 when: unknown variable 'dat.y'; did you mean data.y?"
    )


@pytest.mark.parametrize(
    ("content", "finding"),
    [
        (b"version: 1\nx: \xff", "2:4: this byte is not UTF-8; save the file as UTF-8"),
        (b"", "0:0: is empty; write version: 1, topics and routes"),
        (b"# nothing", "0:0: is empty; write version: 1, topics and routes"),
    ],
)
def test_a_file_that_holds_nothing_readable_is_refused(tmp_path: Path, content: bytes, finding: str) -> None:
    assert refused(written(tmp_path, content)) == [f"r.yaml:{finding}"]


def test_everything_is_said_at_once_in_the_order_of_files_and_lines(tmp_path: Path) -> None:
    written(tmp_path, ROUTE.replace("to: x", "to: ''") + "    when: dat.x > 0\n    tipe: a", "a.yaml")
    written(
        tmp_path,
        "version: 1\ntopics: {orders: {}, unread: {}}\nroutes: [{name: placed, from: nope}]",
        "b/b.yml",
    )
    assert [finding.split(": ")[0] for finding in refused(tmp_path)] == [
        "a.yaml:6:18",
        "a.yaml:7:11",
        "a.yaml:8:5",
        "b/b.yml:2:10",
        "b/b.yml:2:22",
        "b/b.yml:3:10",
        "b/b.yml:3:17",
        "b/b.yml:3:31",
    ]


def test_topics_and_names_are_shared_by_all_files_of_a_folder(tmp_path: Path) -> None:
    written(tmp_path, "version: 1\ntopics: {orders: {}}\nnamespaces: [eu]", "topics.yaml")
    written(tmp_path, "version: 1\nroutes: [{name: b, from: orders, cancel: {to: x}}]", "team/b.yml")
    written(
        tmp_path,
        'version: 1\nroutes: [{name: a, from: orders, cancel: {to: x, namespace: "${data.x}"}}]',
        "a.yaml",
    )
    assert [route.name for route in load_routes(tmp_path).routes] == ["a", "b"]


def test_a_topic_declared_in_two_files_is_refused(tmp_path: Path) -> None:
    written(tmp_path, ROUTE, "a.yaml")
    written(tmp_path, "version: 1\ntopics:\n  orders: {}", "b.yaml")
    assert refused(tmp_path) == ["b.yaml:3:3: two topics named 'orders'; the first is at a.yaml:2"]


def test_an_unreadable_file_does_not_make_its_topics_undeclared(tmp_path: Path) -> None:
    written(tmp_path, ROUTE.replace("topics: {orders: {}}\n", ""), "a.yaml")
    written(tmp_path, "version: 1\ntopics: {orders: {}\n", "b.yaml")
    assert [finding.split(":")[0] for finding in refused(tmp_path)] == ["b.yaml"]


def test_a_mounted_config_map_is_read_once(tmp_path: Path) -> None:
    real = written(tmp_path, ROUTE, "..2026_11_24/a.yaml")
    (tmp_path / "..data").symlink_to(real.parent)
    (tmp_path / "a.yaml").symlink_to(tmp_path / "..data" / "a.yaml")
    assert len(load_routes(tmp_path).routes) == 1


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    written(tmp_path, "x", "notes.txt")
    with pytest.raises(ConfigurationError, match=r"holds no \*\.yaml or \*\.yml file"):
        load_routes(tmp_path)
    with pytest.raises(ConfigurationError, match="there is no such file or folder"):
        load_routes(tmp_path / "nowhere")
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(ConfigurationError, match=r"folder\.yaml:0:0: TR101 cannot be read: Is a directory"):
        load_routes(tmp_path)


def test_files_without_routes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no routes; write at least one under routes:"):
        load_routes(written(tmp_path, "version: 1"))


@pytest.mark.parametrize(
    "condition", ["true", "'!data.x'", "data.a > 0  # a comment", '"data.a ? data.b : data.c"']
)
def test_what_is_written_well_passes(tmp_path: Path, condition: str) -> None:
    assert load_routes(written(tmp_path, f"{ROUTE}    when: {condition}"))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("30s", 30), ("15m", 900), ("2h", 7200), ("1d", 86400), ("PT1H30M", 5400), ("P1DT0.5S", 86400.5)],
)
def test_durations(tmp_path: Path, value: str, seconds: float) -> None:
    (route,) = load_routes(written(tmp_path, f"{START}run_timeout: {value}}}")).routes
    assert route.keys.start
    assert route.keys.start.run_timeout
    assert route.keys.start.run_timeout.total_seconds() == seconds


pieces = st.sampled_from(
    [
        *ROUTE.split(" "),
        *START.split(" "),
        "when:",
        "${data.x}",
        "!x",
        "&a",
        "*a",
        "- ",
        "? ",
        "|",
        ">-",
        "\t",
        "\n",
    ]
)
garbage = st.lists(pieces | st.text(max_size=4), max_size=40).map(" ".join) | st.text()


@settings(max_examples=200, deadline=None)
@example("%YAML 9.9\n---\na: 1")
@example("a: &x [*x]")
@example("[" * 1000)
@example("a: &a 1\nb: &a 2")
@example("? [a]\n: b")
@example("version: 0b")
@given(garbage)
def test_garbage_is_refused_and_nothing_else(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = written(tmp_path_factory.getbasetemp(), text.encode("utf-8", "surrogatepass"), "garbage.yaml")
    with pytest.raises(ConfigurationError):
        load_routes(path)


BATCH = HEAD + "    signal: {to: x, name: n, ‸batch: true"
NO_INBOX = "'batch' for workers that are not known to have the inbox; declare the task queue of its workers: task_queues: {NAME: {inbox: true}}"


@pytest.mark.parametrize(
    ("marked", "problem"),
    [
        (BATCH + ", input: 1}", NO_INBOX),
        (
            "task_queues: {a: {inbox: true}}\n"
            + BATCH
            + ", input: 1, or_start: {workflow: W, task_queue: b}}",
            "'batch', but workers of 'b' are not known to have the inbox; declare task_queues: {b: {inbox: true}} if its workers have it",
        ),
        (
            "task_queues: {a: {inbox: true}}\n" + BATCH + ", args: [1]}",
            "'batch' needs 'input'; write input: it becomes an item of the list",
        ),
    ],
)
def test_a_batch_needs_an_input_and_workers_with_the_inbox(tmp_path: Path, marked: str, problem: str) -> None:
    text, [place] = unmarked(marked)
    assert refused(written(tmp_path, text)) == [f"r.yaml:{place}: {problem}"]


@pytest.mark.parametrize("or_start", ["", ", or_start: {workflow: W, task_queue: a}"])
def test_a_batch_for_workers_with_the_inbox_is_fine(tmp_path: Path, or_start: str) -> None:
    text, _ = unmarked("task_queues: {a: {inbox: true}}\n" + BATCH + ", input: 1" + or_start + "}")
    assert load_routes(written(tmp_path, text)).batching_topics.names == {"orders"}


@pytest.mark.parametrize(
    ("format_", "text", "subject", "problem"),
    [
        ("avro", "{", "topic-name", "schema names {file}, which is no JSON: Expecting property name"),
        (
            "avro",
            '{"type": "nothing"}',
            "topic-name",
            "the schema cannot be used: is no Avro schema: Unknown",
        ),
        ("json-schema", '{"type": "nothing"}', "topic-name", "the schema cannot be used: "),
        ("json-schema", "{}", "record-name", "the schema has no name that a subject can be named for"),
        ("avro", '["null", "int"]', "topic-record-name", "the schema has no name that a subject can be"),
        ("avro", None, "topic-name", "schema names {file}, which cannot be read: No such file or directory"),
    ],
)
def test_a_schema_that_results_cannot_be_written_by_is_refused_at_its_place(
    tmp_path: Path, format_: str, text: str | None, subject: str, problem: str
) -> None:
    file = tmp_path / "done.json"
    if text is not None:
        file.write_text(text)
    routes = OUT.replace("format: avro", f"format: {format_}") + f"subject: {subject}, schema: done.json}}"
    (refusal,) = refused(written(tmp_path, routes))
    line = len(routes.splitlines())
    assert refusal.startswith(f"r.yaml:{line}:{routes.splitlines()[-1].index('done.json') + 1}: ")
    assert problem.format(file=file) in refusal


def test_what_results_are_written_by_is_read_from_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"type": "record", "name": "shop.A", "fields": []}')
    (tmp_path / "b.json").write_text('"int"')
    routes = OUT + "register: true, subject: record-name, schema: {a: a.json, b: b.json}}"
    (out,) = load_routes(written(tmp_path, routes)).out_formats.values()
    assert (out.topic, out.format, out.subject, out.register) == ("done", "avro", "record-name", True)
    assert out.schemas == {"a": (tmp_path / "a.json").read_text(), "b": '"int"'}


def test_a_topic_that_is_told_how_workflows_end_needs_a_schema_for_that(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('"int"')
    done = "{orders: {}, done: {out: true, format: avro, schema: {shop.paid: a.json}}}"
    routes = START.replace("{orders: {}}", done) + "publish_closing: done}"
    (refusal,) = refused(written(tmp_path, routes))
    assert refusal == (
        "r.yaml:6:65: topic 'done' has no schema for how workflows end; "
        "write schema: {turnout.workflow.closed: FILE}"
    )
    for schema in ("{turnout.workflow.closed: a.json}", "a.json"):
        load_routes(written(tmp_path, routes.replace("{shop.paid: a.json}", schema)))


def test_the_examples_of_the_page_about_formats_can_be_read(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/formats.md").read_text()
    reading, writing = re.findall(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    written(tmp_path, '"int"', "routes/schemas/result.avsc")
    written(tmp_path, reading, "routes/a.yaml")
    written(tmp_path, f"version: 1\n{writing}", "routes/b.yaml")
    table = load_routes(tmp_path / "routes")
    assert table.topics["payments.events"].format.needs_registry
    assert table.out_formats["shop.results"].schemas == {"": '"int"'}
