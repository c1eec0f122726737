"""Sending one letter, with bounded patience."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from enum import StrEnum

from service.dispatch.answers import Outcome, OutcomeKind
from service.failures.letters import Letter
from service.intake.handling import Handling
from service.intake.pauses import Pauses
from service.intake.waiting import Abandoned, Assignment, WaitingRoom

PATIENCE_SECONDS = 30.0
"""How long a letter waits for an answer that lets it through."""


class Fate(StrEnum):
    """What became of a letter that was meant."""

    SENT = "sent"
    FAILED_AGAIN = "failed again"
    REFUSED = "refused"
    LEFT_OPEN = "left open"
    PAUSED = "paused"
    DISCARDED = "discarded"
    WOULD_BE_SENT = "would be sent"


class Rate:
    """At most so many a second, evenly; without a number, as many as may be."""

    def __init__(self, per_second: float | None) -> None:
        self._seconds = 1 / per_second if per_second else 0.0
        self._due = 0.0

    async def turn(self, stop: asyncio.Event) -> None:
        """Wait until the next one may begin, or until `stop` is set."""
        now = asyncio.get_running_loop().time()
        due = max(self._due, now)
        self._due = due + self._seconds
        if due > now:
            with suppress(TimeoutError):
                async with asyncio.timeout(due - now):
                    await stop.wait()


class Sender:
    """Sends letters, one call each.

    Args:
        handling: Handles their records.
        waiting: Where that says what it waits for.
        pauses: What people have paused; `handling` obeys the same.
        rate: When the next one may begin.
        alone: Returns once it is certain that nobody else sends letters; raises where somebody may.
        stop: Once it is set, none begins, and none waits any longer.
    """

    def __init__(
        self,
        handling: Handling,
        waiting: WaitingRoom,
        pauses: Pauses,
        rate: Rate,
        alone: Callable[[], Awaitable[None]],
        stop: asyncio.Event,
    ) -> None:
        self._handling = handling
        self._waiting = waiting
        self._pauses = pauses
        self._rate = rate
        self._alone = alone
        self._stop = stop

    async def send(self, letter: Letter) -> tuple[Fate, Sequence[str]]:
        """What became of it, in one line per route.

        Unless it is left open or paused, all that it led to is durable.

        Raises:
            ConfigurationError: Someone else sends letters by now.
            Unreachable: It is not known whether someone does.
        """
        await self._rate.turn(self._stop)
        if not self._stop.is_set():
            await self._alone()
        patience = _Patience(lambda: self._waiting.answer(letter.record), self._stop)
        if self._stop.is_set():
            return Fate.LEFT_OPEN, ["stopped before its turn"]
        try:
            outcomes = await self._handling.handle(letter.again(), patience)
        except Abandoned:
            if patience.paused:
                return Fate.PAUSED, [self._pauses.why(patience.paused)]
            return Fate.LEFT_OPEN, [patience.answer]
        failed = any(outcome.kind is OutcomeKind.DEAD_LETTERED for outcome in outcomes)
        return (Fate.FAILED_AGAIN if failed else Fate.SENT), [_line(outcome) for outcome in outcomes]


class _Patience(Assignment):
    """Lets a letter wait for some time, and not once all is to stop; a call under way comes to its end.

    A pause, which may last for days, is not waited for: `paused` is then what holds it.
    """

    def __init__(self, ask: Callable[[], str], stop: asyncio.Event) -> None:
        super().__init__()
        self.answer = self.paused = ""
        self._ask = ask
        self._stop = stop
        self._until = asyncio.get_running_loop().time() + PATIENCE_SECONDS

    @property
    def over(self) -> bool:
        return self._stop.is_set() or asyncio.get_running_loop().time() >= self._until

    async def sleep(self, seconds: float) -> None:
        rest = self._until - asyncio.get_running_loop().time()
        with suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, rest)):
                await self._stop.wait()
        if self.over:
            self.answer = self._ask()
            raise Abandoned

    async def until(self, _event: asyncio.Event) -> None:
        (self.paused,) = self.held_up.values()
        raise Abandoned


def _line(outcome: Outcome) -> str:
    route = f"route {outcome.route}: " if outcome.route else ""
    to = f" {outcome.workflow_id}" if outcome.workflow_id else ""
    detail = f", {outcome.detail}" if outcome.detail else ""
    return f"{route}{outcome.kind.value}{to}{detail}"
