"""What tests have seen of routes: the commands they lead to, and both sides of their conditions."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from service.dispatch.explaining import Verdict
from service.errors import RouteError
from service.events.event import Event
from service.expressions import ROUTE_VARIABLES, Condition, MistakesError
from service.routing.conditions import terms
from service.routing.table import Route


@dataclass(frozen=True, slots=True)
class Gap:
    """What no test has seen of a route: a command, or one side of a part of its `when`."""

    route: Route
    unseen: str
    of_when: bool = False


class Coverage:
    """Counts what was seen; each part of a `when` as far as it decided.

    Args:
        routes: Those that should be tested.
    """

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = routes
        self._commands: Counter[str] = Counter()
        self._seen: defaultdict[tuple[str, str], set[bool]] = defaultdict(set)

    def see(self, verdict: Verdict, event: Event) -> None:
        """Count what a route that takes `event` made of it."""
        name = verdict.route.name
        self._commands[name] += verdict.command is not None
        variables = event.variables()
        for source, condition in _parts(verdict.route):
            try:
                holds = condition.holds(variables)
            except RouteError:
                return
            self._seen[name, source].add(holds)
            if not holds:  # what comes behind it decided nothing
                return

    def gaps(self) -> Sequence[Gap]:
        """All that was not seen, in the order of the routes."""
        return [gap for route in self._routes for gap in self._gaps_of(route)]

    def _gaps_of(self, route: Route) -> Iterator[Gap]:
        if not self._commands[route.name]:
            yield Gap(route, "a command")
        for source, _ in _parts(route):
            seen = self._seen[route.name, source]
            for side in (True, False):
                if side not in seen:
                    yield Gap(route, f"`{source}` {str(side).lower()}", of_when=True)

    @property
    def total(self) -> int:
        """How many routes there are."""
        return len(self._routes)

    @property
    def covered(self) -> int:
        """How many routes have no gap."""
        return len(self._routes) - len({gap.route.name for gap in self.gaps()})


def _parts(route: Route) -> Iterator[tuple[str, Condition]]:
    """The terms of its `when` that an event can change."""
    if not route.keys.when:
        return
    for source in terms(route.keys.when.source):
        try:
            if not ROUTE_VARIABLES.compile(source).is_constant:
                yield source, Condition.parse(source, ROUTE_VARIABLES)
        except MistakesError:  # a part that is no condition by itself
            continue
