"""What the routes would do with an event and why, told without doing it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from activities.correlation import Seal
from service.dispatch.completing import check_correlation
from service.dispatch.contracts import Contracts
from service.errors import RecordError, RouteError
from service.events.event import Event
from service.expressions import ROUTE_VARIABLES, Condition, MistakesError
from service.routing.commands import Cancel, Command, Complete, Signal, Start
from service.routing.conditions import terms
from service.routing.table import Route, RouteTable

_TEXTS = re.compile(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'", re.DOTALL)
_PATH = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of an event by one route: a command, a letter (`error`), or nothing, and why not.

    `values` are what decided that its `when` is false, by the names that `when` gives them: payload.
    """

    route: Route
    command: Command | None = None
    error: RecordError | None = None
    why_not: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)


class Explaining:
    """Asks routes and contracts; what only Temporal knows is not asked.

    Args:
        table: The routes.
        contracts: What is known of the workflows.
        seal: Tells whose replies to calls are ours; without it that is not looked at.
    """

    def __init__(self, table: RouteTable, contracts: Contracts, seal: Seal | None = None) -> None:
        self._table = table
        self._contracts = contracts
        self._seal = seal

    def verdicts(self, event: Event) -> Sequence[Verdict]:
        """Of all routes that read the event's topic, in file order."""
        taking = self._table.routes_for(event)
        return [
            self.verdict(route, event) if route in taking else Verdict(route, why_not=_of_another_type(route))
            for route in self._table.routes
            if self._table.reads(route, event.record.topic)
        ]

    def verdict(self, route: Route, event: Event) -> Verdict:
        """Of a route that takes events of that topic and type."""
        try:
            command = self.command(route, event)
        except RecordError as error:
            return Verdict(route, error=error)
        return Verdict(route, command) if command else _decided(route, event)

    def command(self, route: Route, event: Event) -> Command | None:
        """What a route that takes events of that topic and type asks, or None if its `when` is false.

        Raises:
            RecordError: It would make a letter.
        """
        command = route.command(event)
        if command:
            self._contracts.check(command)
            if isinstance(command, Complete) and self._seal:
                check_correlation(command, self._seal)
        return command


def described(command: Command) -> str:
    """What `command` does, in a few words."""
    where = f" in namespace {command.namespace}" if command.namespace else ""
    match command:
        case Start():
            return f"starts {command.workflow} {command.workflow_id} on {command.task_queue}{where}"
        case Signal():
            or_start = f", or starts {command.or_start.workflow}" if command.or_start else ""
            return f"signals {command.name} to {_target(command)}{or_start}{where}"
        case Cancel():
            return f"cancels {_target(command)}{where}"
        case Complete():
            return f"completes a call of {command.workflow_id}{where}"
    msg = f"{type(command).__name__} is not a command"
    raise TypeError(msg)


def _target(command: Signal | Cancel) -> str:
    if not command.where:
        return command.workflow_id
    return "the workflow whose " + " and ".join(f"{name} is {text}" for name, text in command.where.items())


def _of_another_type(route: Route) -> str:
    return f"it takes type {' or '.join(route.types or ())}"


def _decided(route: Route, event: Event) -> Verdict:
    """Why a `when` is false: its first term that is, and the values in it."""
    source, variables = route.keys.when.source if route.keys.when else "", event.variables()
    term = next((term for term in terms(source) if _is_false(term, variables)), source)
    return Verdict(route, why_not=f"`{term}` is false", values=dict(_values_in(term, variables)))


def _is_false(term: str, variables: Mapping[str, Any]) -> bool:
    try:
        return not Condition.parse(term, ROUTE_VARIABLES).holds(variables)
    except (MistakesError, RouteError):
        return False


def _values_in(term: str, variables: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    bare = _TEXTS.sub(lambda text: " " * len(text[0]), term)
    for found in _PATH.finditer(bare):
        path = found[0]
        if bare[found.end() :].lstrip().startswith("("):  # a function of what is before it
            path = path.rpartition(".")[0]
        if path and ROUTE_VARIABLES.holder_of(path):
            try:
                yield path, ROUTE_VARIABLES.compile(path).evaluate(variables)
            except (MistakesError, RouteError):
                continue
