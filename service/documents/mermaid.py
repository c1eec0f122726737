"""The flow of routes as a flowchart of Mermaid, which GitHub and others draw."""

from collections.abc import Iterator, Mapping

from service.documents.flow import Column, Flow, Node

_SHAPES: Mapping[Column, tuple[str, str]] = {
    Column.TOPIC: ("[(", ")]"),
    Column.ROUTE: ("(", ")"),
    Column.TARGET: ("[[", "]]"),
    Column.RESULT: ("[(", ")]"),
}
_CLASSES: Mapping[Column, str] = {
    Column.TOPIC: "topic",
    Column.ROUTE: "route",
    Column.TARGET: "workflow",
    Column.RESULT: "topic",
}
_COLOURS: Mapping[str, str] = {
    "topic": "fill:#e3f0fb,stroke:#2b6ca3,color:#12324d",
    "route": "fill:#fff7df,stroke:#a3802b,color:#4d3c12",
    "workflow": "fill:#e6f5e9,stroke:#2f8a45,color:#143d1f",
}
_HARMLESS = frozenset(" _./,:-${}()[]'=+?!|")


def mermaid(flow: Flow) -> str:
    """`flow` as Mermaid; what names hold is never taken for its syntax."""
    return "\n".join(_lines(flow)) + "\n"


def _lines(flow: Flow) -> Iterator[str]:
    yield "flowchart LR"
    for number, node in enumerate(flow.nodes):
        opening, closing = _SHAPES[node.column]
        yield f'  n{number}{opening}"{_label(node)}"{closing}:::{_CLASSES[node.column]}'
    for one, other in flow.edges:
        yield f"  n{one} --> n{other}"
    for name, colours in _COLOURS.items():
        yield f"  classDef {name} {colours}"


def _label(node: Node) -> str:
    return "<br>".join(map(_escaped, (node.name, *node.details)))


def _escaped(text: str) -> str:
    """Source: Mermaid's documentation, "Entity codes to escape characters"."""
    return "".join(one if one.isalnum() or one in _HARMLESS else f"#{ord(one)};" for one in text)
