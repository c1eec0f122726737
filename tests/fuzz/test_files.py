"""Whatever stands in a route file: it is loaded, or refused with places that are in the file."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from service.errors import ConfigurationError, Finding
from service.routing.checks import CHECKS
from service.routing.lint import lint
from service.routing.table import RouteTable, load_routes
from tests.fuzz.effort import effort
from tests.fuzz.mutations import altered, changed
from tests.fuzz.test_records import ROUTES

ROUTE = """\
version: 1
topics:
  orders: {event: cloudevents, unmatched: skip}   # the shop's
  results: {out: true}
routes:
  - name: placed
    from: orders
    type: [placed, "bought"]
    when: >-
      data.total > 0 &&
      'a' in data.tags
    start:
      workflow: Shop
      id: 'order/${data.id}'
      task_queue: q
      input: {id: "${data.id}", lines: ["${data.lines.map(l, l.sku)}"]}
      contract: {type: object, required: [id]}
      publish_closing: results
  # lint: ok TR403 because so it is
  - {name: gone, from: orders, type: gone, cancel: {to: "${data.id}", missing: {park: 15m}}}
"""
WORDS = [
    *(
        "version:",
        "topics:",
        "routes:",
        "name:",
        "from:",
        "type:",
        "when:",
        "start:",
        "signal:",
        "cancel:",
        "complete:",
    ),
    *(
        "orders",
        "results",
        "input:",
        "args:",
        "contract:",
        "batch: true",
        "or_start:",
        "task_queues:",
        "namespaces:",
    ),
    *("# lint: ok TR401 because", "    ", "  - ", "${data.a.map(x, x)}", "data.x == 1", "30s", "{park: 1s}"),
]
BREAKS = re.compile(r"\r\n?|\n")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "routes.yaml"


def judge(file: Path, raw: bytes, against: Path | None = None) -> None:
    """Loads and lints `raw`; only findings at places that are in it may be against it."""
    file.write_bytes(raw)
    try:
        assert isinstance(load_routes(file), RouteTable)
        refused: Sequence[Finding] = ()
    except ConfigurationError as error:
        refused = error.findings
        assert refused
    found = lint([file], against=against).findings
    assert [*refused] == [one for one in found if CHECKS[one.code].severity == "error"]
    lines = BREAKS.split(raw.decode("utf-8-sig", "replace"))
    for one in found:
        assert one.path == file
        assert "\n" not in str(one)
        assert (one.line, one.column) == (0, 0) or 1 <= one.line <= len(lines), one
        # One beyond its end is where something is missing; a CR may end a line, too.
        assert one.line == 0 or 1 <= one.column <= len(lines[one.line - 1]) + 1, one


@effort(70)
@given(
    changed([ROUTE, ROUTE, ROUTES], WORDS).map(lambda text: text.encode("utf-8", "surrogatepass"))
    | st.binary(max_size=50)
)
@example(b"a: &a [*a]")
@example(b"%YAML 9.9\n---\na: 1")
@example(b"%YAML 1.1\n---\nversion: 1")
@example(b"%TAG ! x\n---\na: !b 1")
@example(b"--- a\n--- b\n")
@example(b"a: !!binary x\nb: !!timestamp y\n<<: {a: 1}\n")
@example(b"\xff\xfea\x00:\x00")
@example("v\n\x85ersion: 1".encode())  # a line break of YAML 1.1
@example(b"a\rb: \x07")
@example(b"\xef\xbb\xbfa\r\rb: \xff")
@example(b'"v\\nx\\e[31m": 1')
@example(b"a" * 100_000)
@example(b"[" * 100_000)
@example(b"a: [" + b"\n{" * 100_000)
@example(b"{a: " * 300)
@example(b"- " * 400 + b"x")
@example(b"? " * 400 + b"x")
@example(b"a:\n" + b"".join(b" " * depth + b"a:\n" for depth in range(1, 300)))
@example((ROUTE.replace("data.total > 0", "x.y" * 3_000)).encode())
@example((ROUTE.replace("data.total > 0", "data.a.all(a, " * 10 + "true" + ")" * 10)).encode())
@example((ROUTE.replace("data.total > 0", "data.?a" + ".optMap(x, x)" * 20 + " == 1")).encode())
@example(
    (ROUTE + "".join(f"  - {{name: r{number}, from: ordres, cancel: 1}}\n" for number in range(60))).encode()
)
def test_every_text_is_loaded_or_refused_at_a_place_that_is_in_it(file: Path, raw: bytes) -> None:
    judge(file, raw)


VALUES = [YAML(typ="safe", pure=True).load(text) for text in (ROUTE, ROUTES)]


@effort(60)
@given(altered(VALUES))
@example({**VALUES[0], "routes": VALUES[0]["routes"] * 20})
@example({"version": 1, "topics": {"a": {}}, "routes": [{"name": "a", "from": "a", "start": {"input": 1}}]})
def test_every_value_in_place_of_another_is_taken_or_refused(file: Path, values: object) -> None:
    before = file.with_name("before") / "routes.yaml"
    before.parent.mkdir(exist_ok=True)
    before.write_text(ROUTE)
    judge(file, json.dumps(values).encode(), against=before)
