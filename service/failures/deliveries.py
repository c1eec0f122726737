"""From a park to where a command belongs: to its target, or among the letters."""

import time
from collections.abc import Callable
from datetime import timedelta

import structlog

from activities.parked import ParkedCommand
from activities.ports import NotYet, ParkedLetter, Refused
from service.dispatch.answers import Outcome, OutcomeKind
from service.dispatch.counting import count
from service.dispatch.dispatcher import Dispatcher
from service.errors import GivenUpError, NotNow, RecordError, RejectedError, TargetBusy, TargetMissing
from service.failures.letters import About, Letters
from service.failures.parked import Parkable, to_command, to_record
from service.failures.parking import BUSY_PATIENCE
from service.failures.parks import Parks
from service.kafka.record import Record
from service.routing.commands import Command, apart
from service.telemetry.logs import in_the_log
from service.telemetry.metrics import Metrics
from service.telemetry.trace_context import context_in, context_of, trace_id
from service.telemetry.traces import OFF, Traces

log = structlog.get_logger(__name__)

GRACE = timedelta(minutes=5)
"""For how long after its start a bridge gives up on nothing, unless its patience is shorter: what brings
the target may lie in Kafka, unread since the bridge before it went."""

ERRORS: dict[str, type[RecordError]] = {error.__name__: error for error in (RejectedError, GivenUpError)}


class ParkDeliveries:
    """Delivers parked commands by `dispatcher`, and writes letters of those given up on.

    Implements `activities.ports.Deliveries`.

    Args:
        dispatcher: Goes straight to the target.
        letters: Where to write those that are given up on.
        parks: What else may hold commands for a workflow that was looked for.
        paused: The name of what someone paused, given a topic and a route, or nothing.
        metrics: Counts what becomes of them.
        clock: Monotonic seconds.
        traces: Told what becomes of them, as a part of what they were parked by.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        letters: Letters,
        parks: Parks,
        *,
        paused: Callable[[str, str], str],
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
        traces: Traces = OFF,
    ) -> None:
        self._dispatcher = dispatcher
        self._letters = letters
        self._parks = parks
        self._paused = paused
        self._metrics = metrics
        self._clock = clock
        self._began = clock()
        self._traces = traces

    async def deliver(self, command: ParkedCommand, waited: timedelta) -> list[Refused]:
        """Try once; see `Deliveries.deliver`.

        How long is too long depends on the answer: for a target that is missing the route says it, for
        one that is busy it is a day. Nothing is given up on while Temporal itself is in trouble, or while
        its topic or route is paused.

        Raises:
            NotYet: See there.
        """
        for event in command.events:
            if name := self._paused(event.topic, command.route):
                raise NotYet(f"{name} is paused")
        headers = command.events[0].headers
        with self._traces.dispatch(
            command.route, command.kind, command.workflow_id, headers, not_yet=(NotYet,)
        ):
            refused = await self._try(command, waited)
            if refused:
                self._traces.note({"turnout.outcome": "dead-lettered"}, error=refused[0].reason)
            return refused

    async def _try(self, command: ParkedCommand, waited: timedelta) -> list[Refused]:
        try:
            return await self._refusals(to_command(command))
        except TargetMissing as error:
            answer, patience, rule = str(error), error.park_for, "missing"
        except TargetBusy as error:
            answer, patience, rule = str(error), BUSY_PATIENCE, ""
        except NotNow as error:
            raise NotYet(str(error)) from error
        up_for = timedelta(seconds=self._clock() - self._began)
        if waited < patience or up_for < min(patience, GRACE):
            raise NotYet(answer)
        reason = f"parked for {timedelta(seconds=round(waited.total_seconds()))}, then given up: {answer}"
        return [_refused(n, GivenUpError(reason, rule=rule)) for n in range(len(command.events))]

    async def _refusals(self, command: Command) -> list[Refused]:
        try:
            outcome = await self._outcome(command)
        except RejectedError as error:
            if len(command.events) == 1:
                return [_refused(0, error)]
            # One of them may be at fault: alone it takes no other along.
            refused: list[Refused] = []
            for n, part in enumerate(apart(command)):
                refused += [one.model_copy(update={"event": n}) for one in await self._refusals(part)]
            return refused
        for event in command.events:
            lines = _lines(event.record).bind(event_id=in_the_log(event.id), event_type=event.type)
            trace = trace_id(context_in(event.headers))
            self._note(outcome, lines.bind(workflow_url=self._dispatcher.link(command), trace_id=trace))
        return []

    async def _outcome(self, command: Command) -> Outcome:
        if isinstance(command, Parkable) and command.where:
            found = await self._dispatcher.find(command)
            if found is None:
                return self._dispatcher.none_found(command)
            # It came from another park: it must not pass what this workflow's own one holds.
            if await self._parks.is_open(found):
                raise NotNow(f"others are parked for workflow {found.workflow_id}")
            command = found
        return await self._dispatcher.dispatch(command)

    async def write_letter(self, letter: ParkedLetter) -> None:
        """Write it; see `Deliveries.write_letter`.

        Raises:
            NotYet: See there.
        """
        record = to_record(letter.record, letter.route)
        error = ERRORS.get(letter.error, GivenUpError)(letter.reason)
        try:
            written = await self._letters.write(record, error, self._about(letter))
        except NotNow as not_now:
            raise NotYet(str(not_now)) from not_now
        place = f"{written.partition}@{written.offset}"
        outcome = Outcome(
            OutcomeKind.DEAD_LETTERED,
            letter.route,
            letter.workflow_id,
            detail=letter.reason,
            rule=letter.rule,
        )
        self._metrics.letter(error.stage)
        trace = trace_id(context_of(record.headers))
        self._note(outcome, _lines(record).bind(stage=error.stage.value, letter=place, trace_id=trace))

    def _about(self, letter: ParkedLetter) -> About:
        return About(
            route=letter.route,
            event_type=letter.event_type,
            workflow_id=letter.workflow_id,
            workflow_url=self._dispatcher.link(letter),
        )

    def _note(self, outcome: Outcome, lines: structlog.typing.FilteringBoundLogger) -> None:
        lines.info(
            outcome.kind.value,
            route=outcome.route,
            workflow_id=outcome.workflow_id,
            detail=outcome.detail or "from its park",
        )
        count(outcome, self._metrics)
        self._traces.note({"turnout.outcome": outcome.kind.value, "turnout.from_park": "yes"})


def _refused(event: int, error: RecordError) -> Refused:
    return Refused(event=event, error=type(error).__name__, reason=str(error), rule=error.rule)


def _lines(record: Record) -> structlog.typing.FilteringBoundLogger:
    lines: structlog.typing.FilteringBoundLogger = log.bind(
        topic=record.topic, partition=record.partition, offset=record.offset
    )
    return lines
