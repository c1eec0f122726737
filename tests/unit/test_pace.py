"""The pace: against a server with a quota, and one that gets slow, in a time of its own."""

import asyncio
from contextlib import suppress
from heapq import heappop, heappush

import pytest

from service.errors import NotNow, Throttled
from service.intake.pace import LEAST_CALLS, Pace


class Clock:
    """A time that passes only when all who sleep in it wait."""

    def __init__(self) -> None:
        self.now = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self._count += 1
        sleeper = (self.now + seconds, self._count, asyncio.get_running_loop().create_future())
        heappush(self._sleepers, sleeper)
        await sleeper[2]

    async def run(self, until: float) -> None:
        while True:
            for _ in range(6):  # enough for all who were woken to sleep again
                await asyncio.sleep(0)
            if not self._sleepers or self._sleepers[0][0] > until:
                return
            self.now, _, sleeper = heappop(self._sleepers)
            if not sleeper.done():
                sleeper.set_result(None)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    real_sleep = asyncio.sleep

    async def sleep(seconds: float) -> None:
        await (clock.sleep(seconds) if seconds else real_sleep(0))

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return clock


class Callers:
    """So many who call all the time, and a server that answers as scripted."""

    def __init__(self, clock: Clock, pace: Pace, count: int) -> None:
        self.clock = clock
        self.pace = pace
        self.latency = 0.01
        self.quota: float | None = None
        self.at_once = self.most_at_once = 0
        self.accepted: list[float] = []
        self.refused: list[float] = []
        self._tokens = 0.0
        self._filled = 0.0
        self.tasks = [asyncio.create_task(self._call_for_ever()) for _ in range(count)]

    def within_quota(self) -> bool:
        if self.quota is None:
            return True
        self._tokens = min(self._tokens + (self.clock.now - self._filled) * self.quota, self.quota)
        self._filled = self.clock.now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    async def _call_for_ever(self) -> None:
        while True:
            with suppress(NotNow):
                async with self.pace.call():
                    self.at_once += 1
                    self.most_at_once = max(self.most_at_once, self.at_once)
                    try:
                        await self.clock.sleep(self.latency)
                    finally:
                        self.at_once -= 1
                    if not self.within_quota():
                        self.refused.append(self.clock.now)
                        raise Throttled("rate limit exceeded")
                    self.accepted.append(self.clock.now)
                continue
            await self.clock.sleep(0.2)

    def since(self, start: float) -> tuple[int, int]:
        return sum(at >= start for at in self.accepted), sum(at >= start for at in self.refused)

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def test_no_more_calls_than_the_limit_are_made_at_once(clock: Clock) -> None:
    callers = Callers(clock, Pace(8, clock), 50)
    await clock.run(2)
    assert callers.most_at_once == 8
    await callers.stop()


async def test_a_quota_is_used_and_not_hammered(clock: Clock) -> None:
    callers = Callers(clock, Pace(64, clock), 80)
    callers.quota = 50
    await clock.run(30)
    accepted, refused = callers.since(10)
    assert accepted >= 0.8 * 50 * 20
    assert refused <= 0.2 * accepted
    await callers.stop()


async def test_the_rate_rises_again_when_the_quota_does(clock: Clock) -> None:
    callers = Callers(clock, Pace(8, clock), 10)
    callers.quota = 20
    await clock.run(10)
    callers.quota = None
    await clock.run(60)
    assert callers.since(59)[0] > 500
    await callers.stop()


async def test_fewer_calls_are_made_while_calls_are_slow_and_as_many_again_after(clock: Clock) -> None:
    callers = Callers(clock, Pace(32, clock), 40)
    callers.latency = 0.05
    await clock.run(3)
    assert callers.pace.limit == 32
    callers.latency = 0.5
    await clock.run(15)
    assert callers.pace.limit == LEAST_CALLS
    callers.latency = 0.05
    await clock.run(25)
    assert callers.pace.limit == 32
    await callers.stop()


async def test_one_who_gives_up_waiting_passes_its_turn_on(clock: Clock) -> None:
    pace = Pace(1, clock)
    entered = asyncio.Event()

    async def call(gate: asyncio.Event) -> None:
        async with pace.call():
            entered.set()
            await gate.wait()

    first, second, third = asyncio.Event(), asyncio.Event(), asyncio.Event()
    tasks = [asyncio.create_task(call(gate)) for gate in (first, second, third)]
    await entered.wait()
    entered.clear()
    first.set()
    await tasks[0]
    tasks[1].cancel()  # woken in the same moment
    third.set()
    async with asyncio.timeout(5):
        await tasks[2]
    assert tasks[1].cancelled() or tasks[1].done()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_brief_refusal_after_an_idle_time_costs_little(clock: Clock) -> None:
    pace = Pace(64, clock)
    first = Callers(clock, pace, 1)
    await clock.run(1)
    await first.stop()
    clock.now = 600.0
    callers = Callers(clock, pace, 128)
    callers.latency, callers.quota = 0.05, 0.0
    await clock.run(600.3)
    callers.quota = None
    await clock.run(630)
    assert callers.since(620)[0] > 64 / 0.05 * 10 / 4
    await callers.stop()


async def test_those_who_gave_up_waiting_for_their_time_leave_it_to_the_next(clock: Clock) -> None:
    pace = Pace(64, clock)
    callers = Callers(clock, pace, 64)
    callers.quota = 1
    await clock.run(30)
    await callers.stop()
    callers = Callers(clock, pace, 1)
    await clock.run(33)
    assert callers.since(30)[0] >= 2
    await callers.stop()
