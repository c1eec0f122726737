"""The way of one record: decode, match, dispatch; with a letter where that cannot be done."""

import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from typing import Any, TypeVar

import structlog

from service.dispatch.answers import Outcome, OutcomeKind, Skip
from service.dispatch.counting import count
from service.dispatch.dispatcher import Dispatcher
from service.errors import NotNow, RecordError
from service.events.decoding import Decoder, Tombstone
from service.events.event import Event
from service.events.reuse import IdsSeen
from service.failures.letters import About, Letters
from service.failures.parking import Parking, Way
from service.intake.pace import Pace
from service.intake.pauses import PausedMeanwhile, Pauses
from service.intake.waiting import Assignment, WaitingRoom, What, nobody
from service.kafka.given_up import GivenUp, GiveUp
from service.kafka.raw import MENDED
from service.kafka.record import Record, Written
from service.routing.commands import Command, Rule, Signal, joined, kind_of
from service.routing.table import Route, RouteTable, no_route_takes
from service.telemetry.logs import in_the_log, on_its_way, trace_of_the_way
from service.telemetry.metrics import Metrics
from service.telemetry.trace_context import Context, context_in, trace_id, with_context
from service.telemetry.traces import OFF, Traces

T = TypeVar("T")
C = TypeVar("C", bound=Command)
Lines = structlog.typing.FilteringBoundLogger

log: Lines = structlog.get_logger(__name__)

BATCH_EVENTS = 100
BATCH_BYTES = 256 << 10
"""How much goes as one signal; a larger event goes alone."""


class Handling:
    """Handles records, one call each; the calls share a limit on calls in flight.

    Args:
        decoder: From bytes to events.
        routes: From events to commands.
        dispatcher: From commands to outcomes.
        letters: Where to what cannot be handled goes. None where someone waits for the outcomes: then it is
            refused, nothing of it is kept, and who sends an event again may do so.
        waiting: Who waits, and for what.
        pace: The limit.
        pauses: What is paused.
        given_up: What people gave up on.
        metrics: Where outcomes are counted.
        only: The one route that there is to carry out, whose letters also those of undecodable records are.
        traces: Told what goes on.
    """

    def __init__(
        self,
        decoder: Decoder,
        routes: RouteTable,
        dispatcher: Dispatcher,
        letters: Letters | None,
        parking: Parking,
        *,
        waiting: WaitingRoom,
        pace: Pace,
        pauses: Pauses | None = None,
        given_up: GivenUp | None = None,
        metrics: Metrics | None = None,
        only: str = "",
        traces: Traces = OFF,
    ) -> None:
        self._decoder = decoder
        self._routes = routes
        self._dispatcher = dispatcher
        self._letters = letters
        self._parking = parking
        self._waiting = waiting
        self._pace = pace
        self._ids = IdsSeen()
        self._pauses = pauses or Pauses()
        self._given_up = given_up or GivenUp()
        self._metrics = metrics or Metrics()
        self._of_undecodable = About(route=only)
        self._traces = traces

    async def handle(self, record: Record, assignment: Assignment) -> Sequence[Outcome]:
        """Carry out all that `record` leads to; returns when each command of it is durable.

        One that a person gave up on before is not tried: all that it leads to becomes letters.

        Raises:
            Abandoned: The partition was taken away meanwhile; some commands may be accepted already.
        """
        with self._traces.process(record) as trace:
            on_its_way(trace_id=trace)
            return await self._handle(record, assignment, trace)

    async def _handle(self, record: Record, assignment: Assignment, trace: str) -> Sequence[Outcome]:
        if said := self._given_up.of(record):
            return await self._leave_out(record, assignment, said)
        try:
            event = await self._decode(record, assignment)
        except RecordError as error:
            return [await self._give_up(record, assignment, error, _lines(record), self._of_undecodable)]
        if isinstance(event, Tombstone):
            return [
                self._noted(
                    Outcome(OutcomeKind.SKIPPED, detail="tombstone", skip=Skip.TOMBSTONE), _lines(record)
                )
            ]
        on_its_way(trace_id=trace, event_id=event.id)
        self._traces.note(
            {"messaging.message.id": in_the_log(event.id), "turnout.event.type": in_the_log(event.type)}
        )
        self._say_if_reused(event)
        return await self._follow_routes(event, assignment)

    async def _decode(self, record: Record, assignment: Assignment) -> Event | Tombstone:
        """The event in `record`; waits in its lane for a schema that is not to be had."""
        with suppress(NotNow):
            return self._decoder.decode(record)

        async def call() -> Event | Tombstone:
            return await self._decoder.decode_with_registry(record)

        def look(answer: str) -> None:
            if said := self._given_up.of(record):
                raise said.as_error(f"it waited for: {answer}")

        return await self._insist(record, assignment, What(trace_id=trace_of_the_way()), call, look)

    async def handle_next(self, records: Sequence[Record], assignment: Assignment) -> int:
        """Handle the first of `records`, and those right behind it that can be told in the same call.

        `records` is what queues in one lane; returns how many of it are handled. Nothing is begun while
        their topic is paused.

        Raises:
            Abandoned: See `handle`.
        """
        await self._pauses.until_open(records[0], "", assignment)
        batch = self._batch(records)
        if len(batch) < 2:
            await self.handle(records[0], assignment)
        else:
            await self._handle_batch(batch, assignment)
        return max(len(batch), 1)

    def _batch(self, records: Sequence[Record]) -> Sequence[Signal]:
        """Signals of the leading records, as long as each leads to one that joins the first."""
        if len(records) < 2 or records[0].topic not in self._routes.batching_topics:
            return ()
        batch: list[Signal] = []
        size = 0
        for record in records[:BATCH_EVENTS]:
            signal = self._only_signal(record)
            size += record.size_bytes
            if signal is None or size > BATCH_BYTES or not (batch or [signal])[0].joins(signal):
                break
            batch.append(signal)
        return batch

    def _only_signal(self, record: Record) -> Signal | None:
        """The signal that `record` leads to, if that is all it leads to."""
        if self._given_up.of(record):
            return None
        try:
            event = self._decoder.decode(record)
            routes = () if isinstance(event, Tombstone) else self._routes.routes_for(event)
            command = routes[0].command(event) if len(routes) == 1 and isinstance(event, Event) else None
        except Exception:  # noqa: BLE001 - alone it may wait, or fail under its own name
            return None
        return command if isinstance(command, Signal) else None

    async def _handle_batch(self, batch: Sequence[Signal], assignment: Assignment) -> None:
        signal = joined(batch)
        with self._traces.process_batch([event.record for event in signal.events]) as trace:
            on_its_way(trace_id=trace)
            if await self._dispatch_batch(signal, assignment, trace):
                return
        # One of them may be at fault, or is given up on: alone it takes no other along.
        for one in batch:
            with self._traces.process(one.event.record) as trace:
                on_its_way(trace_id=trace, event_id=one.event.id)
                await self._dispatch(one, assignment, self._given_up.of(one.event.record))

    async def _dispatch_batch(self, signal: Signal, assignment: Assignment, trace: str) -> bool:
        """Dispatch what tells of several events, and say whether that can be done."""
        with self._dispatched(signal) as context:
            try:
                way = self._parking.way_of(_carrying(signal, context), assignment)
                outcome = await self._ask(way, assignment)
            except RecordError:
                return False
            for event in signal.events:
                on_its_way(trace_id=trace or trace_id(context_in(event.headers)), event_id=event.id)
                self._say_if_reused(event)
                self._noted(outcome, self._lines_to(signal, event))
        return True

    async def _follow_routes(self, event: Event, assignment: Assignment) -> Sequence[Outcome]:
        routes = self._routes.routes_for(event)
        if (again := event.record.redelivery) and again.route:
            routes = [route for route in routes if route.name == again.route]
        if routes:
            return [await self._carry_out(route, event, assignment) for route in routes]
        if self._routes.topics[event.record.topic].unmatched is Rule.SKIP:
            skipped = Outcome(OutcomeKind.SKIPPED, detail="no route for this type", skip=Skip.UNMATCHED)
            return [self._noted(skipped, _lines_of(event))]
        about, unmatched = About(event_type=event.type), no_route_takes(event)
        return [await self._give_up(event.record, assignment, unmatched, _lines_of(event), about)]

    async def _carry_out(self, route: Route, event: Event, assignment: Assignment) -> Outcome:
        try:
            command = route.command(event)
        except RecordError as error:
            about = About(route=route.name, event_type=event.type)
            return await self._give_up(event.record, assignment, error, _lines_of(event), about)
        if command is None:
            skipped = Outcome(OutcomeKind.SKIPPED, route.name, detail="`when` is false", skip=Skip.WHEN)
            return self._noted(skipped, _lines_of(event))
        return await self._dispatch(command, assignment)

    async def _dispatch(
        self, command: Command, assignment: Assignment, given_up: GiveUp | None = None
    ) -> Outcome:
        with self._dispatched(command) as context:
            way = self._parking.way_of(_carrying(command, context), assignment)
            try:
                if given_up:
                    raise given_up.as_error("it waited together with others")
                outcome = await self._ask(way, assignment)
                return self._noted(outcome, self._lines_to(way.command, command.event))
            except RecordError as error:
                lines = self._lines_to(way.command, command.event)
                record, about = command.event.record, self._about(way.command)
                return await self._give_up(record, assignment, error, lines, about)

    def _dispatched(self, command: Command) -> AbstractContextManager[Context]:
        return self._traces.dispatch(
            command.route, kind_of(command), command.workflow_id, command.event.headers
        )

    async def _leave_out(self, record: Record, assignment: Assignment, said: GiveUp) -> Sequence[Outcome]:
        """Make letters of all that `record` leads to, of each route its own as if that had been tried.

        It may have been tried before a crash: then it has the same letters again, which count once.
        """
        unreadable = any(name == MENDED for name, _ in record.headers)
        error = said.as_error("the name of a header is not UTF-8" if unreadable else "it was not tried")
        abouts = () if unreadable else await self._abouts(record)
        return [
            await self._give_up(record, assignment, error, _lines(record), about)
            for about in abouts or (self._of_undecodable,)
        ]

    async def _abouts(self, record: Record) -> Sequence[About]:
        """What is known of each command that `record` leads to; nothing where that is not to be found out."""
        try:
            event = await self._decoder.decode_with_registry(record)
            routes = self._routes.routes_for(event) if isinstance(event, Event) else ()
            commands = [route.command(event) for route in routes if isinstance(event, Event)]
        except (RecordError, NotNow):
            return ()
        except Exception:
            # That may be what holds it, and why someone gives up on it.
            log.exception("defect in what is given up on", record=str(record))
            return ()
        return [self._about(command) for command in commands if command]

    def _about(self, command: Command) -> About:
        return About(
            route=command.route,
            event_type=command.event.type,
            workflow_id=command.workflow_id,
            workflow_url=self._dispatcher.link(command),
        )

    async def _give_up(
        self, record: Record, assignment: Assignment, error: RecordError, lines: Lines, about: About
    ) -> Outcome:
        route, to, letters = about.route, about.workflow_id, self._letters
        if letters is None:
            outcome = Outcome(OutcomeKind.REFUSED, route, to, detail=str(error), rule=error.rule)
            return self._noted(outcome, lines)

        async def write() -> Written:
            self._pauses.check(record, route)
            return await letters.write(record, error, about)

        written = await self._insist(
            record, assignment, What(route=route, workflow_id=to, trace_id=trace_of_the_way()), write
        )
        self._metrics.letter(error.stage)
        place = f"{written.partition}@{written.offset}"
        lines.warning("letter written", stage=error.stage.value, letter=place, route=route, workflow_id=to)
        outcome = Outcome(OutcomeKind.DEAD_LETTERED, route, to, detail=str(error), rule=error.rule)
        return self._noted(outcome, lines)

    async def _ask(self, way: Way, assignment: Assignment) -> Outcome:
        command = way.command

        async def at_our_pace() -> Outcome:
            # Held for the call alone: a lane that waits must not keep others from calling.
            async with self._pace.call():
                self._pauses.check(record, command.route)
                begun = time.monotonic()
                try:
                    return await way.go()
                finally:
                    self._metrics.called(kind_of(command), time.monotonic() - begun)

        def look(answer: str) -> None:
            if said := self._given_up.first_of(event.record for event in command.events):
                raise said.as_error(f"it waited for: {answer}")

        record = command.event.record
        what = What(command.route, command.event.id, command.target, trace_of_the_way())
        return await self._insist(record, assignment, what, at_our_pace, look)

    async def _insist(
        self,
        record: Record,
        assignment: Assignment,
        what: What,
        call: Callable[[], Awaitable[T]],
        given_up: Callable[[str], None] = nobody,
    ) -> T:
        """Repeat `call` until it is through; at no time while the record's topic or the route is paused.

        Letters wait, too: a route may be paused because it makes so many.
        """
        while True:
            await self._pauses.until_open(record, what.route, assignment)
            try:
                return await self._waiting.insist(record, assignment, what, call, given_up)
            except PausedMeanwhile:
                continue

    def _noted(self, outcome: Outcome, lines: Lines) -> Outcome:
        lines.info(
            outcome.kind.value,
            route=outcome.route,
            workflow_id=outcome.workflow_id,
            detail=outcome.detail,
            park=outcome.park,
            park_url=outcome.park_url,
            rule=outcome.rule,
        )
        count(outcome, self._metrics)
        letter = outcome.kind is OutcomeKind.DEAD_LETTERED
        told = {"turnout.outcome": outcome.kind.value, "temporalWorkflowID": outcome.workflow_id}
        self._traces.note(told, error=outcome.detail if letter else "")
        return outcome

    def _say_if_reused(self, event: Event) -> None:
        if self._letters and (first := self._ids.earlier(event)):
            _lines_of(event).warning("event id used again", first=first)
            self._metrics.reused_id(event.record.topic)

    def _lines_to(self, command: Command, event: Event) -> Lines:
        return log.bind(**_told_of(event), workflow_url=self._dispatcher.link(command))


def _carrying(command: C, context: Context) -> C:
    """`command` as a part of `context`, if that is anything; its workflow, and who parks it, go by that."""
    if not context:
        return command
    event = replace(command.event, headers=with_context(command.event.headers, context))
    return replace(command, event=event)


def _lines(record: Record) -> Lines:
    """Lines that carry the record's place."""
    return log.bind(**_told(record))


def _lines_of(event: Event) -> Lines:
    """Lines that carry the event and its record's place."""
    return log.bind(**_told_of(event))


def _told(record: Record) -> dict[str, Any]:
    return {"topic": record.topic, "partition": record.partition, "offset": record.offset}


def _told_of(event: Event) -> dict[str, Any]:
    return {**_told(event.record), "event_id": in_the_log(event.id), "event_type": event.type}
