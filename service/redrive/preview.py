"""What today's routes would do with a letter, told without doing it."""

from collections.abc import Iterator, Sequence

from activities.correlation import Seal
from service.dispatch.contracts import Contracts
from service.dispatch.explaining import Explaining, described
from service.errors import NotNow, RecordError
from service.events.decoding import Decoder, Tombstone
from service.events.event import Event
from service.failures.letters import Letter
from service.routing.commands import Rule
from service.routing.table import Route, RouteTable


class Preview:
    """Asks decoder, routes and contracts, and `seal` about replies; what only Temporal knows is not asked."""

    def __init__(
        self, decoder: Decoder, table: RouteTable, contracts: Contracts, seal: Seal | None = None
    ) -> None:
        self._decoder = decoder
        self._table = table
        self._explaining = Explaining(table, contracts, seal)

    async def prepare(self, letter: Letter) -> None:
        """Fetch the schemas that the letter's record needs, as far as they are to be had."""
        await self._decoder.prepare(letter.record)

    def obstacle(self, letter: Letter) -> str:
        """Why the letter's route cannot be run, with the cure; `""` if it can or the letter names none."""
        name = letter.about.route
        if not name:
            return ""
        if self._table.route(name) is None:
            return (
                f"route {name} is in no file any more; give the rule that replaced it that name again, "
                "or discard the letter"
            )
        try:
            event = self._decoder.decode(letter.record)
        except (RecordError, NotNow):
            return ""  # it becomes a letter again, which says why, or waits
        if isinstance(event, Event) and not self._routes_for(event, name):
            taken = f"type {event.type} from {event.record.topic}"
            return f"route {name} does not take {taken} any more; let it, or discard the letter"
        return ""

    def told(self, letter: Letter) -> Sequence[str]:
        """What would be done, one line for each route; or why nothing."""
        try:
            event = self._decoder.decode(letter.record)
        except RecordError as error:
            return [f"fails again: {error}"]
        except NotNow as error:
            return [f"waits for the schema registry: {error}"]
        if isinstance(event, Tombstone):
            return ["nothing: tombstones of its topic are skipped"]
        if obstacle := self.obstacle(letter):
            return [obstacle]
        return list(self._told_of(event, letter.about.route))

    def _told_of(self, event: Event, name: str) -> Iterator[str]:
        routes = self._routes_for(event, name)
        if not routes:
            skipped = self._table.topics[event.record.topic].unmatched is Rule.SKIP
            outcome = "nothing" if skipped else "fails again"
            yield f"{outcome}: no route takes type {event.type}"
        for route in routes:
            yield f"route {route.name}: {self._would_do(route, event)}"

    def _would_do(self, route: Route, event: Event) -> str:
        verdict = self._explaining.verdict(route, event)
        if verdict.error:
            return f"fails again: {str(verdict.error).removeprefix(f'route {route.name}: ')}"
        return described(verdict.command) if verdict.command else "nothing, its `when` is false"

    def _routes_for(self, event: Event, name: str) -> Sequence[Route]:
        return [route for route in self._table.routes_for(event) if name in {"", route.name}]
