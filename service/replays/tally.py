"""What a route makes of records, counted: the same before a replay and by it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from service.dispatch.contracts import Contracts
from service.errors import NotNow, RecordError, Stage
from service.events.cloudevents import type_by_headers
from service.events.decoding import Decoder, Tombstone
from service.events.envelope import MappedEnvelope
from service.events.event import Event
from service.kafka.given_up import GivenUp
from service.kafka.record import Record
from service.routing.commands import Cancel, Signal
from service.routing.table import Route, RouteTable


class Becomes(NamedTuple):
    """What a record becomes: a command, nothing or a letter, and which or why."""

    what: str
    which: str


COMMAND, NOTHING, LETTER = "commands", "left out", "letters"
OF_ANOTHER_TYPE = Becomes(NOTHING, "of another type")
NOT_KNOWN = Becomes(COMMAND, "of schemas that are not to be had")


@dataclass(frozen=True, slots=True)
class Judge:
    """Says what a record becomes by the one route of `table`, or by a person who gave up on it.

    What only Temporal knows is not asked.
    """

    decoder: Decoder
    table: RouteTable
    contracts: Contracts
    given_up: GivenUp

    async def judge(self, record: Record) -> Becomes:
        """What `record` becomes; of one whose schema is not to be had now that is not known."""
        if self.given_up.of(record):
            return Becomes(LETTER, Stage.PERSON)
        try:
            event = await self.decoder.decode_with_registry(record)
        except NotNow:
            return NOT_KNOWN
        except RecordError as error:
            return OF_ANOTHER_TYPE if self._is_of_another_type(record) else Becomes(LETTER, error.stage)
        if isinstance(event, Tombstone):
            return Becomes(NOTHING, "tombstone")
        try:
            (route,) = self.table.routes_for(event) or (None,)
            return self._by(route, event) if route else OF_ANOTHER_TYPE
        except RecordError as error:
            return Becomes(LETTER, error.stage)

    def _is_of_another_type(self, record: Record) -> bool:
        """Whether that is certain of a record that is no event."""
        if isinstance(self.table.topics[record.topic].format.envelope, MappedEnvelope):
            return False
        (route,), type_ = self.table.routes, type_by_headers(record)
        return bool(type_) and route.types is not None and type_ not in route.types

    def _by(self, route: Route, event: Event) -> Becomes:
        command = route.command(event)
        if command is None:
            return Becomes(NOTHING, "by its `when`")
        self.contracts.check(command)
        kind = (
            "signal" if isinstance(command, Signal) else "cancel" if isinstance(command, Cancel) else "start"
        )
        return Becomes(COMMAND, kind)


class Tally:
    """How many records become what."""

    def __init__(self) -> None:
        self._counts = Counter[Becomes]()

    def add(self, becomes: Becomes) -> None:
        """Count one more."""
        self._counts[becomes] += 1

    @property
    def records(self) -> int:
        """All that were counted."""
        return self._counts.total()

    def of(self, what: str) -> int:
        """How many are commands, left out or letters."""
        return sum(count for becomes, count in self._counts.items() if becomes.what == what)

    def __str__(self) -> str:
        parts = [f"{self.records} records", *(self._part(what) for what in (COMMAND, NOTHING, LETTER))]
        return "; ".join(parts)

    def _part(self, what: str) -> str:
        which: Sequence[str] = [
            f"{count} {becomes.which}"
            for becomes, count in sorted(self._counts.items())
            if becomes.what == what
        ]
        return f"{self.of(what)} {what}" + (f" ({', '.join(which)})" if which else "")
