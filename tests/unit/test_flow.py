# ruff: noqa: E501 - a case is a line
"""`turnout routes graph`: what leads to what, and that names stay names, in Mermaid and in SVG."""

import re
from html import unescape
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.documents.flow import Column, Flow, Node, flow_of
from service.documents.mermaid import mermaid
from service.documents.picture import MOST_LETTERS, svg
from service.routing.table import load_routes

HEAD = "version: 1\ntopics: {orders: {}, replies: {}, done: {out: true}}\nroutes:\n"
ROUTES = """\
  - {name: placed, from: orders, type: a, start: {workflow: W, id: "w/${data.id}", task_queue: q, publish_closing: done}}
  - {name: answered, from: replies, complete: {correlation: "${headers['c']}", result: "${data}"}}
  - {name: paid, from: orders, type: [b, c, d, e], when: data.x > 1, signal: {to: "w/${data.order}", name: paid}}
  - {name: told, from: orders, signal: {to: "${data.id}", name: told}}
  - {name: counted, from: replies, signal: {to: "c/${data.id}", name: n, or_start: {workflow: C, task_queue: q}}}
  - {name: withdrawn, from: orders, cancel: {to: "c/${data.c}"}}
"""


def flow(folder: Path, routes: str = ROUTES) -> Flow:
    path = folder / "r.yaml"
    path.write_text(HEAD + routes)
    return flow_of(load_routes(path))


def test_each_route_stands_between_its_topic_and_what_it_asks_of(tmp_path: Path) -> None:
    drawn = flow(tmp_path)
    names = [node.name for node in drawn.nodes]
    assert [(names[one], names[other]) for one, other in drawn.edges] == [
        ("orders", "placed"),
        ("placed", "W"),
        ("orders", "paid"),
        ("paid", "W"),  # by the form of its id
        ("orders", "told"),
        ("told", "${data.id}"),
        ("orders", "withdrawn"),
        ("withdrawn", "C"),
        ("replies", "answered"),
        ("answered", "the workflow that called"),
        ("replies", "counted"),
        ("counted", "C"),
        ("W", "done"),
    ]


def test_a_route_says_what_it_takes_and_what_it_does(tmp_path: Path) -> None:
    said = {node.name: node.details for node in flow(tmp_path).nodes}
    assert said["placed"] == ("a", "starts W")
    assert said["paid"] == ("b | c | d | 1 more", "if data.x > 1", "signals paid to W")
    assert said["counted"] == ("signals n to C, or starts it",)
    assert said["withdrawn"] == ("cancels C",)
    assert said["answered"] == ("answers the workflow that called",)
    assert said["W"] == ("w/${data.id}",)
    assert said["C"] == ("c/${data.id}",)


def test_ids_without_text_of_their_own_belong_to_nobody_else(tmp_path: Path) -> None:
    drawn = flow(
        tmp_path,
        '  - {name: a, from: orders, start: {workflow: W, id: "${data.a}", task_queue: q}}\n'
        '  - {name: b, from: replies, cancel: {to: "${data.b}"}}\n',
    )
    assert [node.name for node in drawn.nodes if node.column is Column.TARGET] == ["W", "${data.b}"]


# --- names ---

HOSTILE = [
    '"]; evil["',
    "</text><script>alert(1)</script>",
    "]]>&amp;<!-- -->",
    "%%{init: {'theme':'dark'}}%%",
    "end",
    "`# one`",
    "a\u202eb",
    "#35;quot",
    "click n0 href 'javascript:alert(1)'",
    "<br>two<br/>",
    "n1 --> n2",
    "日本語のイベント",
]
names = st.sampled_from(HOSTILE) | st.text(
    st.characters(exclude_categories=["Cc", "Cn", "Cs"]), min_size=1, max_size=60
)
flows = st.builds(
    lambda texts: Flow(
        [Node(column, text, (text,)) for column, text in zip(Column, texts, strict=True)],
        [(0, 1), (1, 2), (2, 3)],
    ),
    st.lists(names, min_size=4, max_size=4),
)
NAMESPACE = "{http://www.w3.org/2000/svg}"


@given(flows)
@settings(deadline=None)
def test_names_in_an_svg_are_text_and_nothing_else(drawn: Flow) -> None:
    root = ET.fromstring(svg(drawn))
    kinds = [element.tag.removeprefix(NAMESPACE) for element in root.iter()]
    assert set(kinds) == {"svg", "title", "style", "defs", "marker", "path", "rect", "text", "g"}
    assert (kinds.count("g"), kinds.count("text"), kinds.count("path")) == (4, 12, 4)
    titles = [element.text for element in root.iter(f"{NAMESPACE}title")][1:]
    assert titles == [f"{node.name} · {node.name}" for node in drawn.nodes]


@given(flows)
@settings(deadline=None)
def test_names_in_mermaid_are_text_and_nothing_else(drawn: Flow) -> None:
    head, *lines = mermaid(drawn).splitlines()
    assert head == "flowchart LR"
    line = re.compile(
        r'  n\d+(?:\[\(|\(|\[\[)"(?P<label>[^"<>`;%\\]*(?:(?:#\d+;|<br>)[^"<>`;%\\]*)*)"(?:\)\]|\)|\]\]):::\w+'
        r"|  n\d+ --> n\d+|  classDef \w+ [\w:,#-]+"
    )
    found = [line.fullmatch(one) for one in lines]
    assert all(found)
    labels = [one["label"] for one in found if one and one["label"] is not None]
    shown = [[unescape(text.replace("#", "&#")) for text in label.split("<br>")] for label in labels]
    assert shown == [[node.name, node.name] for node in drawn.nodes]


def test_what_a_name_holds_beyond_text_is_shown_as_an_escape(tmp_path: Path) -> None:
    drawn = flow(
        tmp_path, ROUTES + "  - {name: a, from: orders, when: \"data.x == '\\x01\u202e'\", cancel: {to: x}}\n"
    )
    (route,) = [node for node in drawn.nodes if node.column is Column.ROUTE and node.name == "a"]
    assert route.details[0] == r"if data.x == '\x01\u202e'"
    ET.fromstring(svg(drawn))


# --- the picture ---


def boxes(root: ET.Element) -> list[tuple[float, float, float, float]]:
    drawn = [group.find(f"{NAMESPACE}rect") for group in root.iter(f"{NAMESPACE}g")]
    return [
        (
            float(box.get("x", "")),
            float(box.get("y", "")),
            float(box.get("width", "")),
            float(box.get("height", "")),
        )
        for box in drawn
        if box is not None
    ]


@pytest.mark.parametrize("count", [1, 5, 50])
def test_no_box_lies_on_another_or_outside(tmp_path: Path, count: int) -> None:
    routes = "".join(
        f"  - {{name: route-{n}, from: {'orders' if n % 3 else 'replies'}, type: [{'x' * 60}, b],"
        f' start: {{workflow: W{n % 7}, id: "w{n % 7}/${{data.id}}", task_queue: q, publish_closing: done}}}}\n'
        for n in range(count)
    )
    routes += (
        "  - {name: last, from: orders, cancel: {to: x}}\n  - {name: least, from: replies, cancel: {to: x}}\n"
    )
    root = ET.fromstring(svg(flow(tmp_path, routes)))
    placed = boxes(root)
    width, height = float(root.get("width", "")), float(root.get("height", ""))
    for number, (x, y, wide, high) in enumerate(placed):
        assert 0 < x < x + wide < width
        assert 0 < y < y + high < height
        for x2, y2, wide2, high2 in placed[:number]:
            assert x + wide <= x2 or x2 + wide2 <= x or y + high <= y2 or y2 + high2 <= y


def test_long_names_are_cut_where_they_are_shown_and_whole_where_they_are_pointed_at(tmp_path: Path) -> None:
    name = "x" * 90
    root = ET.fromstring(svg(Flow([Node(Column.TOPIC, name), Node(Column.ROUTE, "r")], [(0, 1)])))
    texts = [element.text or "" for element in root.iter(f"{NAMESPACE}text")]
    assert max(map(len, texts)) == MOST_LETTERS
    assert name in [element.text for element in root.iter(f"{NAMESPACE}title")]
