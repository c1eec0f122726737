"""One replay from its beginning to its end: the intake of a bridge, over the past."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta

from service.dispatch.answers import OutcomeKind
from service.errors import first_reason
from service.intake.handling import Handling
from service.intake.lanes import Lanes, Window
from service.intake.loop import Intake
from service.intake.pauses import Pauses
from service.intake.readiness import Detail
from service.intake.waiting import Abandoned, Assignment, WaitingRoom
from service.kafka.record import Record
from service.redrive.letterbox import Place
from service.redrive.sender import Rate
from service.replays.source import PastSource
from service.replays.tally import COMMAND, NOT_KNOWN, NOTHING, Judge, Tally
from service.telemetry.metrics import Metrics

LOOK_SECONDS, SAY_SECONDS = 0.05, 10.0


class Outcomes(Metrics):
    """Metrics that also tell what became of commands and letters, by kind."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds = Counter[OutcomeKind]()

    def outcome(self, route: str, kind: str, rule: str = "") -> None:
        """See `Metrics.outcome`."""
        super().outcome(route, kind, rule)
        # What the route itself leaves out is no command.
        if route and (rule or kind != OutcomeKind.SKIPPED):
            self.kinds[OutcomeKind(kind)] += 1


class Replay:
    """Handles all that a source of the past hands out.

    Args:
        source: The past.
        handling: Handles records, by one route alone.
        judge: Says what becomes of records by it.
        tally: Counts that.
        lane_key: See `Intake`.
        waiting: Who waits, and for what.
        pauses: What is paused.
        window: How much may be in flight.
        drain: How long to wait for calls in flight in the end.
        rate: How many commands may begin a second; without it as many as may be.
        progressed: Told how many offsets are done with.
        say: Told what holds it up, in one line, every ten seconds.
    """

    def __init__(
        self,
        source: PastSource,
        handling: Handling,
        judge: Judge,
        tally: Tally,
        lane_key: Callable[[Record], bytes | None],
        waiting: WaitingRoom,
        pauses: Pauses,
        *,
        window: Window,
        drain: timedelta,
        rate: float | None,
        progressed: Callable[[int], None],
        say: Callable[[str], None],
    ) -> None:
        self._source = source
        self._handling = handling
        self._judge = judge
        self._tally = tally
        self._rate = Rate(rate) if rate else None
        self._lanes = Lanes(self._handle, window, pauses)
        self._intake = Intake(self._lanes, lane_key, waiting, drain=drain, pauses=pauses)
        self._progressed = progressed
        self._say = say
        self._said_at = time.monotonic()
        self._stop = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Handle all of it, or end in good order once `stop` is set; what is done is stored.

        Raises:
            Unreachable: Kafka does not answer.
            ConfigurationError: Someone else is at work in the group.
        """
        self._intake.assigned(self._source.commits)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._intake.run(self._source, self._stop))
                while not (stop.is_set() or self._done()):
                    await asyncio.sleep(LOOK_SECONDS)
                    self._tell()
                self._stop.set()
        except BaseExceptionGroup as group:
            # What can no longer be stored is not gone on with.
            await self._lanes.drain(frozenset(self._lanes.partitions()), timedelta())
            raise first_reason(group) from group
        self._tell()

    def _done(self) -> bool:
        return self._source.exhausted and not self._lanes.in_flight()

    def _tell(self) -> None:
        self._progressed(self._source.passed - self._lanes.in_flight())
        if time.monotonic() - self._said_at > SAY_SECONDS:
            self._said_at = time.monotonic()
            for line in held_up(self._intake.detail()):
                self._say(line)

    async def _handle(self, records: Sequence[Record], assignment: Assignment) -> int:
        first = await self._judge.judge(records[0])
        if first.what == NOTHING:
            self._tally.add(first)
            return 1
        if self._rate:
            records = records[:1]
            if first.what == COMMAND:
                await self._rate.turn(self._stop)
            if self._stop.is_set():
                raise Abandoned
        count = await self._handling.handle_next(records, assignment)
        self._tally.add(await self._judge.judge(records[0]) if first == NOT_KNOWN else first)
        for record in records[1:count]:
            self._tally.add(await self._judge.judge(record))
        return count


def held_up(detail: Detail) -> Iterator[str]:
    """What holds it up, one line each: what is paused, and the record that has waited longest."""
    for held in detail.paused:
        by = f" by {held.switch.by}" if held.switch.by else ""
        because = f": {held.switch.because}" if held.switch.because else ""
        yield f"held since {held.switch.name} is paused{by}{because}"
    if detail.waits:
        oldest = detail.waits[0]
        to = f" for {oldest.what.workflow_id}" if oldest.what.workflow_id else ""
        cure = f"; to give up on it, end this and add --leave-out {Place.of(oldest.record)}"
        yield f"{oldest.record} waits{to} since {round(detail.oldest_wait_seconds)} s: {oldest.answer}{cure}"
