"""What would become of a record by one set of routes; what only Temporal knows is not asked."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

from service.dispatch.explaining import Explaining
from service.errors import RecordError, Stage, TurnoutError
from service.events.decoding import Decoder, Tombstone
from service.events.event import Event
from service.events.schemas import SchemaNeeded, SchemaNotKnown
from service.kafka.raw import MENDED
from service.kafka.record import Record
from service.routing.commands import Cancel, Command, Complete, Rule, Signal, Start
from service.routing.table import Route, RouteTable, no_route_takes


class Becomes(StrEnum):
    """What becomes of a record, or of one route's part of it."""

    START = "start"
    SIGNAL = "signal"
    CANCEL = "cancel"
    COMPLETE = "complete"
    SKIPPED = "skipped"
    """The route's `when` is false."""
    UNMATCHED = "unmatched"
    """No route takes its type, and its topic says to skip it."""
    TOMBSTONE = "tombstone"
    """Its value is null, and its topic says to skip it."""
    LETTER = "letter"
    HOLDS = "holds its lane"
    """A defect: nobody knows what to do with it, so it waits until a person gives up on it."""
    STOPS = "stops its partition"
    """The client cannot read it, so nothing behind it is read until a person gives up on it."""
    NOTHING = "nothing"
    """No such route takes it."""


T = TypeVar("T")

FAILURES = frozenset({Becomes.LETTER, Becomes.HOLDS, Becomes.STOPS})
COMMANDS = frozenset({Becomes.START, Becomes.SIGNAL, Becomes.CANCEL, Becomes.COMPLETE})

_KINDS: dict[type[Command], Becomes] = {
    Start: Becomes.START,
    Signal: Becomes.SIGNAL,
    Cancel: Becomes.CANCEL,
    Complete: Becomes.COMPLETE,
}


class Effect(NamedTuple):
    """What becomes of a record by one route; `route` is empty where it is of the record as a whole.

    `reason` is that of a failure, with the cure and without payload; `stage` is that of a letter.
    """

    becomes: Becomes
    route: str = ""
    type: str = ""
    command: Command | None = None
    stage: str = ""
    reason: str = ""


class Once:
    """What was found out about the record at hand, by what decides it: sets of routes share most of it."""

    def __init__(self) -> None:
        self._record: Record | None = None
        self._found: dict[Any, Any] = {}

    def __call__(self, record: Record, key: Any, find: Callable[[], T]) -> T:
        """What `find` returned for this record and `key`, now or before."""
        if record is not self._record:
            self._record, self._found = record, {}
        if key not in self._found:
            self._found[key] = find()
        found: T = self._found[key]
        return found


class Trial:
    """One set of routes, asked what it would make of records.

    Args:
        decoder: For the topics that the routes read.
        table: The routes.
        explaining: The same routes, with contracts and the secret of calls.
        once: The same for all that are asked about the same records with the same contracts.
    """

    def __init__(self, decoder: Decoder, table: RouteTable, explaining: Explaining, once: Once) -> None:
        self._decoder = decoder
        self._table = table
        self._explaining = explaining
        self._once = once
        self._formats = table.topics.each(lambda topic: repr(topic.format))
        self._rules = {route.name: route.rule for route in table.routes}

    async def prepare(self, record: Record) -> None:
        """Fetch the schemas that `record` needs; before `effects`.

        Raises:
            NotNow: The schema registry does not answer.
        """
        with suppress(SchemaNotKnown):
            await self._decoder.fetch_schemas(record)

    def effects(self, record: Record) -> Sequence[Effect]:
        """One for each route that takes it, in file order, or one for the whole; none of a topic not read.

        Raises:
            NotNow: A neighbour that is to tell does not answer.
        """
        if record.topic not in self._table.topics:
            return ()
        decoded = self._once(record, self._formats[record.topic], lambda: self._decoded(record))
        if isinstance(decoded, Effect):
            return [decoded]
        if routes := self._table.routes_for(decoded):
            return [self._by_route(route, decoded) for route in routes]
        if self._table.topics[record.topic].unmatched is Rule.SKIP:
            return [Effect(Becomes.UNMATCHED, type=decoded.type)]
        return [_letter(no_route_takes(decoded), type_=decoded.type)]

    def _decoded(self, record: Record) -> Event | Effect:
        if any(name == MENDED for name, _ in record.headers):
            reason = "the name of a header is not UTF-8; `turnout letters add` makes a letter of the record"
            return Effect(Becomes.STOPS, reason=reason)
        try:
            event = self._decoder.decode(record)
        except RecordError as error:
            return _letter(error)
        except SchemaNeeded as needed:  # it was asked for
            reason = f"the schema registry does not know schema {needed.schema_id}"
            return Effect(Becomes.LETTER, stage=Stage.DECODE.value, reason=reason)
        except TurnoutError:
            raise  # it is not known now
        except Exception as defect:  # noqa: BLE001 - a record that shows one is what is looked for
            return _defect(defect)
        return Effect(Becomes.TOMBSTONE) if isinstance(event, Tombstone) else event

    def _by_route(self, route: Route, event: Event) -> Effect:
        key = (self._formats[event.record.topic], self._rules[route.name])
        return self._once(event.record, key, lambda: self._effect(route, event))

    def _effect(self, route: Route, event: Event) -> Effect:
        try:
            command = self._explaining.command(route, event)
        except RecordError as error:
            return _letter(error, route.name, event.type)
        except TurnoutError:
            raise
        except Exception as defect:  # noqa: BLE001 - see above
            return _defect(defect, route.name, event.type)
        if command is None:
            return Effect(Becomes.SKIPPED, route.name, event.type)
        return Effect(_KINDS[type(command)], route.name, event.type, command)


def _letter(error: RecordError, route: str = "", type_: str = "") -> Effect:
    reason = str(error).removeprefix(f"route {route}: ")
    return Effect(Becomes.LETTER, route, type_, stage=error.stage.value, reason=reason)


def _defect(defect: Exception, route: str = "", type_: str = "") -> Effect:
    # Of others' errors only the name is known to hold no payload.
    return Effect(Becomes.HOLDS, route, type_, reason=f"a defect: {type(defect).__name__}")
