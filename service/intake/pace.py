"""How many calls may be on their way to Temporal, and how fast: as much as it takes, and no more."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from statistics import median
from types import TracebackType

from service.errors import Throttled

LEAST_CALLS = 16
"""Below this, fewer calls at once only cost throughput (measured: 16 use a small server fully)."""

PERIOD_SECONDS = 0.5
SLOW = 4.0
"""How many times the usual latency is a sign that more calls only wait longer."""

RATE_UP = 1.05
RATE_DOWN = 0.9
RATE_FORGOTTEN = 4.0
LEAST_RATE = 1.0
LATE_SECONDS = 0.05
"""What calls that came late are made up for: the rate holds though no sleep ends on time."""


class Pace:
    """Limits calls in number by their latency, and in rate by what Temporal refuses.

    The number begins at `most`, falls while calls take several times the usual latency, and rises
    again. There is no limit on the rate until Temporal answers RESOURCE_EXHAUSTED; it then follows
    the rate that was accepted, and grows by a twentieth a period until it is refused again.

    Args:
        most: Calls at once, at most.
        clock: Monotonic seconds.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._limit = float(most)
        self._used = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._rate: float | None = None
        self._next_call = 0.0
        self._due = asyncio.Lock()
        self._usual: float | None = None
        self._begin_period()

    @property
    def limit(self) -> int:
        """Calls at once, now."""
        return int(self._limit)

    @property
    def rate(self) -> float | None:
        """Calls per second, now; None is without limit."""
        return self._rate

    def call(self) -> AbstractAsyncContextManager[None]:
        """Make one call in this block; waits until it may be made, and learns from how it goes."""
        return _Call(self)

    async def begin(self) -> float:
        """Wait until a call may be made; tells when it is.

        Whatever comes of the call, `end` has to follow.
        """
        if not self._used and self._clock() >= self._period_ends:
            # Nobody called: how few calls were accepted meanwhile says nothing of how many would be.
            self._begin_period()
        await self._enter()
        try:
            await self._until_due()
        except asyncio.CancelledError:
            self._leave()
            raise
        return self._clock()

    def end(self, began: float, error: BaseException | None) -> None:
        """Learn from how a call went that began then."""
        if error is None:
            self._latencies.append(self._clock() - began)
        elif isinstance(error, Throttled):
            self._refused += 1
        self._learn()
        self._leave()

    async def _enter(self) -> None:
        if self._used < self.limit and not self._waiting:
            self._used += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave()  # it was our turn: pass it on
            raise

    def _leave(self) -> None:
        self._used -= 1
        self._wake()

    def _wake(self) -> None:
        while self._used < self.limit and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                self._used += 1  # taken here, so that nobody is woken for a slot that is given away
                turn.set_result(None)

    async def _until_due(self) -> None:
        if self._rate is None:
            return
        # One by one, and nobody reserves: the rate may rise meanwhile, and who waits may give up.
        async with self._due:
            while self._rate is not None:
                now = self._clock()
                if now >= self._next_call:
                    self._next_call = max(self._next_call, now - LATE_SECONDS) + 1 / self._rate
                    return
                await asyncio.sleep(min(self._next_call - now, PERIOD_SECONDS))

    def _begin_period(self) -> None:
        self._period_ends = self._clock() + PERIOD_SECONDS
        self._latencies: list[float] = []
        self._refused = 0

    def _learn(self) -> None:
        now = self._clock()
        if now < self._period_ends:
            return
        seconds = now - self._period_ends + PERIOD_SECONDS
        self._adapt_rate(len(self._latencies) / seconds)
        if self._latencies:
            self._adapt_number(median(self._latencies))
        self._begin_period()

    def _adapt_rate(self, accepted: float) -> None:
        if self._refused:
            self._rate = max(accepted if self._rate is None else self._rate * RATE_DOWN, LEAST_RATE)
        elif self._rate is not None:
            self._rate *= RATE_UP
            if self._rate > RATE_FORGOTTEN * max(accepted, LEAST_RATE):
                self._rate = None  # far above what is asked for: nothing is limited by it

    def _adapt_number(self, latency: float) -> None:
        # The usual latency follows a faster one at once, a slower one in minutes.
        usual = latency if self._usual is None else min(latency, self._usual * 1.005)
        self._usual = usual
        if latency > SLOW * usual:
            self._limit = max(self._limit * 0.8, min(LEAST_CALLS, self._most))
        else:
            self._limit = min(self._limit + 2, self._most)


class _Call(AbstractAsyncContextManager[None]):
    """One call; a class of its own, since a generator for each call costs more than the rest of it."""

    __slots__ = ("_began", "_pace")

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._began = 0.0

    async def __aenter__(self) -> None:
        self._began = await self._pace.begin()

    async def __aexit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._pace.end(self._began, error)
