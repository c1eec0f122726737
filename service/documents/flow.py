"""The way of events through the routes as nodes and edges: topics, routes, workflows, topics written to."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from service.documents.asking import written
from service.expressions import Template
from service.routing.grammar import RouteKeys
from service.routing.table import Route, RouteTable

MOST_TYPES = 3
"""Of one route, so many types are shown."""

_EXPRESSION = re.compile(r"\$\{.*?\}")


class Column(IntEnum):
    """Where a node stands, from left to right."""

    TOPIC = 0
    ROUTE = 1
    TARGET = 2
    RESULT = 3


@dataclass(frozen=True, slots=True)
class Node:
    """One thing: its name, and in further lines what is to be known of it."""

    column: Column
    name: str
    details: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Flow:
    """Nodes in a good order, and which leads to which, as indexes of nodes."""

    nodes: Sequence[Node]
    edges: Sequence[tuple[int, int]]


def flow_of(table: RouteTable) -> Flow:
    """The flow of all routes: only what their files say, so not what workflows publish by themselves."""
    workflows = _Workflows(table.routes)
    read = {topic: Node(Column.TOPIC, topic) for route in table.routes for topic in route.topics}
    order = [*read]
    routes = sorted(table.routes, key=lambda route: order.index(route.topics[0]))
    nodes = [*read.values()]
    edges: list[tuple[Node, Node]] = []
    for route in routes:
        targets = workflows.targets(route)
        node = Node(Column.ROUTE, route.name, tuple(_details(route.keys, targets)))
        nodes.append(node)
        edges += [(read[topic], node) for topic in route.topics]
        edges += [(node, target) for target in targets]
    nodes += dict.fromkeys(target for _, target in edges if target.column is Column.TARGET)
    results = {topic: Node(Column.RESULT, topic) for topic in sorted(table.out_topics)}
    nodes += results.values()
    for route in routes:
        if (start := route.keys.start) and start.publish_closing:
            edges += [(target, results[start.publish_closing]) for target in workflows.targets(route)]
    index = {node: number for number, node in enumerate(nodes)}
    return Flow(nodes, [*dict.fromkeys((index[one], index[other]) for one, other in edges)])


def _details(keys: RouteKeys, targets: Sequence[Node]) -> Iterator[str]:
    if keys.types:
        more = len(keys.types) - MOST_TYPES
        types = " | ".join(map(written, keys.types[:MOST_TYPES]))
        yield f"{types} | {more} more" if more > 0 else types
    if keys.when:
        yield f"if {written(keys.when.source)}"
    whom = " or ".join(target.name for target in targets)
    if keys.start:
        yield f"starts {whom}"
    if keys.signal:
        yield f"signals {written(keys.signal.name)} to {whom}" + ", or starts it" * bool(keys.signal.or_start)
    if keys.cancel:
        yield f"cancels {whom}"
    if keys.complete:
        yield f"answers {whom}"


class _Workflows:
    """Which workflow an id belongs to, as far as the starts of the same routes tell."""

    def __init__(self, routes: Sequence[Route]) -> None:
        ids: dict[str, list[str]] = defaultdict(list)
        self._by_form: dict[str, list[str]] = defaultdict(list)
        for workflow, id_ in (pair for route in routes for pair in _started(route.keys)):
            for found, one in ((ids[workflow], written(id_)), (self._by_form[_form(id_)], workflow)):
                if one not in found:
                    found.append(one)
        self._nodes = {name: Node(Column.TARGET, name, tuple(of)) for name, of in ids.items()}

    def targets(self, route: Route) -> Sequence[Node]:
        """What a route asks of: workflows by their types; else by what their ids look like."""
        keys = route.keys
        if keys.complete:
            return [Node(Column.TARGET, "the workflow that called")]
        if started := [*_started(keys)]:
            return [self._nodes[workflow] for workflow, _ in started]
        to = keys.signal.to if keys.signal else keys.cancel.to if keys.cancel else ""
        known = [self._nodes[workflow] for workflow in self._by_form.get(_form(to), ())]
        return known or [Node(Column.TARGET, written(to))]


def _started(keys: RouteKeys) -> Iterator[tuple[str, object]]:
    if keys.start:
        yield written(keys.start.workflow), keys.start.id
    if keys.signal and keys.signal.or_start:
        yield written(keys.signal.or_start.workflow), keys.signal.to


def _form(id_: object) -> str:
    """What ids of one kind share: the text around their expressions, if there is any."""
    if isinstance(id_, Template) and any(id_.literals):
        return _EXPRESSION.sub("${}", written(id_)) if id_.literal is None else written(id_)
    return written(id_)
