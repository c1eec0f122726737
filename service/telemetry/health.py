"""Whether the process lives, and whether it is ready; if not, what is wrong and since when."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog

from service.errors import TurnoutError
from service.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

LOOK_SECONDS = 1.0
ASK_SECONDS = 5.0
ANSWER_SECONDS = 5.0
AWAY_SECONDS = 15.0
"""For so long a neighbour may be away before the process is not ready: a failover is over by then."""

TURN_SECONDS = 300.0
"""A loop that has not turned for so long stands still. A rebalance holds the polling for a minute at most."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it must be.

    Attributes:
        what: Its name, the same for as long as it lasts.
        text: What is wrong, and what is known of it: no payload.
        cure: What a person does about it; empty where it heals by itself.
        patience_seconds: For so long it may last before the process is not ready.
    """

    what: str
    text: str = field(compare=False)
    cure: str = field(default="", compare=False)
    patience_seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class Lasting:
    """A problem, and since when there is one of its name: for people, and in monotonic seconds."""

    problem: Problem
    since: datetime
    began: float

    def told(self, now: float) -> Mapping[str, Any]:
        """As JSON."""
        problem = self.problem
        return {
            "what": problem.what,
            "problem": problem.text,
            "cure": problem.cure,
            "since": self.since.isoformat(timespec="seconds"),
            "seconds": round(now - self.began),
            "not_ready": self.weighs(now),
        }

    def weighs(self, now: float) -> bool:
        """Whether it has lasted longer than it may."""
        return now - self.began >= self.problem.patience_seconds


Part = Callable[[], Iterable[Problem]]
"""What is wrong now with one part of the process; quick, and asks nobody."""

STARTING = Problem("starting", "Kafka or Temporal is waited for, or looked at; the log says what is missing")
STOPPING = Problem("stopping", "it was told to stop, and finishes what it has begun")


class Health:
    """What the parts of a process say of themselves.

    Args:
        metrics: Where it is shown whether the process is ready.
        clock: Monotonic seconds.
    """

    def __init__(self, metrics: Metrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._metrics = metrics
        self._clock = clock
        self._parts: list[Part] = []
        self._details: dict[str, Callable[[], Any]] = {}
        self._turned: dict[str, float] = {}
        self._phase: Problem | None = STARTING
        self._lasting: dict[str, Lasting] = {}
        self._ready = False
        self._ready_since = datetime.now(UTC)
        self.look()

    def watch(self, part: Part) -> None:
        """From now on ask `part`, too."""
        self._parts.append(part)

    def tell(self, name: str, detail: Callable[[], Any]) -> None:
        """From now on tell `detail`, JSON, under that name: what is good to know, and no problem."""
        self._details[name] = detail

    def started(self) -> None:
        """All that it takes is there; says nothing if it was told to stop meanwhile."""
        if self._phase is STARTING:
            self._phase = None
        self.look()

    def stopping(self) -> None:
        """We were told to stop."""
        self._phase = STOPPING
        self.look()

    def turned(self, loop: str) -> None:
        """One of the process's loops went round."""
        self._turned[loop] = self._clock()

    def standing(self) -> Sequence[str]:
        """The loops that stand still: the process is as good as dead."""
        before = self._clock() - TURN_SECONDS
        return [loop for loop, at in self._turned.items() if at < before]

    @property
    def ready(self) -> bool:
        """Whether all was well when we last looked, or has not been unwell for long."""
        return self._ready

    def look(self) -> None:
        """Ask all parts; says in the log when the answer changes."""
        now, at = self._clock(), datetime.now(UTC)
        problems = [self._phase] if self._phase else []
        problems += [problem for part in self._parts for problem in part()]
        before = self._lasting
        self._lasting = {
            problem.what: Lasting(problem, before[problem.what].since, before[problem.what].began)
            if problem.what in before
            else Lasting(problem, at, now)
            for problem in problems
        }
        heavy = [one for one in self._lasting.values() if one.weighs(now)]
        if self._ready != (not heavy):
            self._ready, self._ready_since = not heavy, at
            self._say(heavy)
        self._metrics.ready(self._ready)

    def _say(self, heavy: Sequence[Lasting]) -> None:
        if not heavy:
            log.info("ready")
        elif self._phase is None:
            log.warning(
                "not ready",
                problems=[one.problem.text for one in heavy],
                cures=[one.problem.cure for one in heavy if one.problem.cure],
            )

    def told(self) -> Mapping[str, Any]:
        """All of it, as JSON: the problem that lasts longest first."""
        now = self._clock()
        return {
            "ready": self._ready,
            "since": self._ready_since.isoformat(timespec="seconds"),
            "problems": [one.told(now) for one in sorted(self._lasting.values(), key=lambda one: one.began)],
            **{name: detail() for name, detail in self._details.items()},
        }

    async def keep_looking(self) -> None:
        """Look each second, for ever."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_SECONDS)


class Asked:
    """A neighbour that is asked every few seconds whether it is there.

    Args:
        what: Its name.
        ask: Returns when it answers; raises a TurnoutError that says why it does not.
        patience_seconds: For how long it may be away before the process is not ready.
    """

    def __init__(self, what: str, ask: Callable[[], Awaitable[object]], patience_seconds: float) -> None:
        self._what = what
        self._ask = ask
        self._patience = patience_seconds
        self._why = ""

    def __call__(self) -> Iterable[Problem]:
        """What the last answer was, if it was none."""
        if self._why:
            yield Problem(self._what, self._why, patience_seconds=self._patience)

    async def keep_asking(self) -> None:
        """Ask for ever."""
        while True:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    await self._ask()
            except TurnoutError as error:
                self._why = str(error)
            except TimeoutError:
                self._why = f"{self._what} does not answer within {ANSWER_SECONDS:.0f} s"
            else:
                self._why = ""
            await asyncio.sleep(ASK_SECONDS)
