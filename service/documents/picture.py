"""The flow of routes as an SVG that needs nothing but itself: four columns, and lines between them."""

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from service.documents.flow import Column, Flow, Node

SIZE = 13
"""Of letters, in pixels; all are of one width, so that what they take is known without a browser."""

LETTER = 0.62 * SIZE
LINE = 18
MOST_LETTERS = 44
PADDING, GAP, BETWEEN_COLUMNS, MARGIN, HEADING = 10, 14, 90, 24, 36

_TITLES: Mapping[Column, str] = {
    Column.TOPIC: "topics",
    Column.ROUTE: "routes",
    Column.TARGET: "workflows",
    Column.RESULT: "topics written to",
}
_STYLE = """
    text { font: 13px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; fill: #1d2733 }
    .heading { fill: #5b6776 }
    .detail { fill: #5b6776 }
    rect { stroke-width: 1.2 }
    .topic rect, .result rect { fill: #e3f0fb; stroke: #2b6ca3 }
    .route rect { fill: #fff7df; stroke: #a3802b }
    .target rect { fill: #e6f5e9; stroke: #2f8a45 }
    .way { fill: none; stroke-width: 1.2; marker-end: url(#end) }
    marker path { fill: #7b8794 }
"""


_COLOURS = ("#5b6776", "#2b6ca3", "#a3572b", "#2f8a45", "#7a3fa0", "#a32b5c", "#0f7f86")
"""Of lines, by where they lead: so one is told from another where they cross."""

_ARROW = (
    '<marker id="end" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M 0 1 L 7 4 L 0 7 z"/></marker>'
)


@dataclass(frozen=True, slots=True)
class _Box:
    """A node with its place; `y` is its top."""

    node: Node
    x: float
    y: float
    width: float

    @property
    def height(self) -> float:
        return _height(self.node)

    @property
    def middle(self) -> float:
        return self.y + self.height / 2


def svg(flow: Flow) -> str:
    """`flow` as SVG; what names hold is text in it, and what is too long for its place is cut."""
    boxes = _placed(flow)
    targets = {number for number, node in enumerate(flow.nodes) if node.column is Column.TARGET}
    columns = {box.node.column: box.x for box in boxes}
    width = max(box.x + box.width for box in boxes) + MARGIN
    height = max(box.y + box.height for box in boxes) + MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {_size(width, height)} role="img">',
            "  <title>The way of events through the routes</title>",
            f"  <style>{_STYLE}  </style>",
            f"  <defs>{_ARROW}</defs>",
            '  <rect width="100%" height="100%" style="fill: #ffffff; stroke: none"/>',
            *(
                f'  <text class="heading" x="{x:.1f}" y="{MARGIN}">{_TITLES[column]}</text>'
                for column, x in columns.items()
            ),
            *(
                _line(
                    boxes[one],
                    boxes[other],
                    _COLOURS[other % len(_COLOURS)] if other in targets else _COLOURS[0],
                )
                for one, other in flow.edges
            ),
            *(line for box in boxes for line in _drawn(box)),
            "</svg>\n",
        ]
    )


def _size(width: float, height: float) -> str:
    return f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'


# --- places ---


def _placed(flow: Flow) -> Sequence[_Box]:
    """Each node beside what leads to it; routes, which are the most, lie close to each other."""
    tops = _tops(flow)
    x, places = float(MARGIN), dict[Column, tuple[float, float]]()
    for column in Column:
        if widths := [_width(node) for node in flow.nodes if node.column is column]:
            width = max(*widths, LETTER * len(_TITLES[column]))
            places[column] = (x, width)
            x += width + BETWEEN_COLUMNS + (_room(flow) if column is Column.ROUTE else 0)
    return [
        _Box(node, places[node.column][0], top, places[node.column][1])
        for node, top in zip(flow.nodes, tops, strict=True)
    ]


def _room(flow: Flow) -> float:
    """What many lines need to be told apart, where they cross most: behind the routes."""
    return min(150.0, 2.0 * sum(node.column is Column.ROUTE for node in flow.nodes))


def _tops(flow: Flow) -> Sequence[float]:
    middles: dict[int, float] = {}
    routes = [number for number, node in enumerate(flow.nodes) if node.column is Column.ROUTE]
    _stack(flow, routes, middles, dict.fromkeys(routes, 0.0))
    for column in (Column.TOPIC, Column.TARGET, Column.RESULT):
        numbers = [number for number, node in enumerate(flow.nodes) if node.column is column]
        wanted = {number: _mean(_beside(flow, number, middles)) for number in numbers}
        _stack(flow, sorted(numbers, key=lambda number: wanted[number]), middles, wanted)
    return [middles[number] - _height(node) / 2 for number, node in enumerate(flow.nodes)]


def _beside(flow: Flow, number: int, middles: Mapping[int, float]) -> Sequence[float]:
    """Where those are that a node is tied to, and whose place is known."""
    ends = [other for edge in flow.edges if number in edge for other in edge if other != number]
    return [middles[end] for end in ends if end in middles]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _stack(
    flow: Flow, numbers: Sequence[int], middles: dict[int, float], wanted: Mapping[int, float]
) -> None:
    """Put nodes below each other, each where it wants to be, or lower."""
    free = float(MARGIN + HEADING)
    for number in numbers:
        height = _height(flow.nodes[number])
        middles[number] = max(wanted[number], free + height / 2)
        free = middles[number] + height / 2 + GAP


def _height(node: Node) -> float:
    return PADDING + LINE * (1 + len(node.details))


def _width(node: Node) -> float:
    return 2 * PADDING + LETTER * max(_letters(_cut(text)) for text in (node.name, *node.details))


def _letters(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text)


def _cut(text: str) -> str:
    if _letters(text) <= MOST_LETTERS:
        return text
    while _letters(text) >= MOST_LETTERS:
        text = text[:-1]
    return f"{text}…"


# --- lines and texts ---


def _line(one: _Box, other: _Box, colour: str) -> str:
    start, end = one.x + one.width, other.x
    bend = (end - start) / 2
    return (
        f'  <path class="way" d="M {start:.1f} {one.middle:.1f} C {start + bend:.1f} {one.middle:.1f} '
        f'{end - bend:.1f} {other.middle:.1f} {end:.1f} {other.middle:.1f}" stroke="{colour}"/>'
    )


def _drawn(box: _Box) -> Iterator[str]:
    texts = (box.node.name, *box.node.details)
    yield f'  <g class="{box.node.column.name.lower()}">'
    yield f"    <title>{escape(' · '.join(texts))}</title>"
    size = f'width="{box.width:.1f}" height="{box.height:.1f}"'
    yield f'    <rect x="{box.x:.1f}" y="{box.y:.1f}" {size} rx="6"/>'
    for number, text in enumerate(texts):
        kind = ' class="detail"' if number else ""
        x, y = box.x + PADDING, box.y + PADDING / 2 + LINE * (number + 0.75)
        yield f'    <text{kind} x="{x:.1f}" y="{y:.1f}" xml:space="preserve">{escape(_cut(text))}</text>'
    yield "  </g>"
