"""The workloads: what is prepared, who contends, and with how many events."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from tests.bench.job import LAST, SLOW, Figures, Job
from tests.bench.stage import Stage, rate_of_results, results_topic, working

Kind = Literal["start", "signal"]


@dataclass(frozen=True, slots=True)
class Size:
    """Counts at scale 1 take about 15 minutes in all, on two idle cores."""

    scale: float
    log_level: Literal["warning", "info"] = "info"
    profiles: str = ""

    def of(self, count: int, least: int = 10) -> int:
        return max(round(count * self.scale), least)


@dataclass(frozen=True, slots=True)
class Entry:
    """A contender of a workload, in one round."""

    workload: str
    name: str
    measure: Callable[[], Awaitable[Figures]]


@dataclass(slots=True)
class Workloads:
    """All of them on one stage; what they share lives as long as the block in which they are open."""

    stage: Stage
    size: Size
    _shared: AsyncExitStack = field(default_factory=AsyncExitStack)
    _queue: str = ""
    _backlog: Job | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Workloads"]:
        async with self._shared:
            yield self

    def entries(self, workload: str, *, first: bool) -> Sequence[Entry]:
        """The contenders of `workload` in a round; a long one has some in the first round only."""
        makers: dict[str, Callable[[], Sequence[Entry]]] = {
            "starts": self._starts,
            "results": self._results,
            "signals-200": self._signals_200,
            "signals-hot": self._signals_hot,
            "latency": self._latency,
            "restart": self._restart,
            "memory": self._memory if first else _nobody,
            "stub": self._stub,
        }
        return makers[workload]()

    # --- as fast as it goes ---

    def _starts(self) -> Sequence[Entry]:
        few, many = self.size.of(250), self.size.of(800)
        starts = partial(self._fast, kind="start")
        return [
            Entry("starts", "naive", partial(starts, "naive", count=few)),
            Entry("starts", "bare", partial(starts, "bare", count=many)),
            Entry("starts", "turnout", partial(starts, "turnout", count=many)),
            Entry("starts", "turnout-plain", partial(starts, "turnout", count=many, attributes=False)),
            Entry("starts", "bare-dressed", partial(starts, "bare", count=many, dressed=True)),
        ]

    def _signals_200(self) -> Sequence[Entry]:
        few, many, most = self.size.of(250), self.size.of(5_000), self.size.of(16_000)
        signals = partial(self._fast, kind="signal", targets=self.size.of(200))
        return [
            Entry("signals-200", "naive", partial(signals, "naive", count=few)),
            Entry("signals-200", "bare", partial(signals, "bare", count=many)),
            Entry("signals-200", "turnout", partial(signals, "turnout", count=many)),
            Entry("signals-200", "turnout-batch", partial(signals, "turnout", count=most, batch=True)),
        ]

    def _signals_hot(self) -> Sequence[Entry]:
        few, many, most = self.size.of(300), self.size.of(1_000), self.size.of(8_000)
        signals = partial(self._fast, kind="signal")
        return [
            Entry("signals-hot", "naive", partial(signals, "naive", count=few)),
            Entry("signals-hot", "bare-1", partial(signals, "bare", count=few, concurrency=1)),
            Entry("signals-hot", "bare", partial(signals, "bare", count=many)),
            Entry("signals-hot", "turnout-batch", partial(signals, "turnout", count=most, batch=True)),
        ]

    def _stub(self) -> Sequence[Entry]:
        many, most = self.size.of(3_000), self.size.of(16_000)
        starts = partial(self._fast, kind="start", stub=True)
        signals = partial(self._fast, kind="signal", targets=self.size.of(200), stub=True)
        return [
            Entry("stub-starts", "bare", partial(starts, "bare", count=many)),
            Entry("stub-starts", "turnout", partial(starts, "turnout", count=many)),
            Entry("stub-signals", "bare", partial(signals, "bare", count=many)),
            Entry("stub-signals", "turnout", partial(signals, "turnout", count=many)),
            Entry("stub-signals", "turnout-batch", partial(signals, "turnout", count=most, batch=True)),
        ]

    async def _fast(self, name: str, *, kind: Kind, count: int, batch: bool = False, **how: Any) -> Figures:
        """A fifth of the events to warm up, then `count` that are measured."""
        what = {"warm": count // 5, "count": count, "kind": kind, **how}
        job = self.stage.job(**what, **self._common())
        if name != "bare":
            await self.stage.prepare(job, batch=batch)
            await self.stage.send(job, range(job.total))
        if kind == "signal" and not job.stub:
            await self.stage.start_targets(job)
        return await self.stage.measure(name, "stub" if job.stub else "fast", job)

    # --- to the result ---

    def _results(self) -> Sequence[Entry]:
        names = ("naive", "bare", "turnout")
        return [
            *(Entry("results", name, partial(self._to_results, name)) for name in names),
            Entry("results", "turnout-eager", partial(self._to_results, "turnout", eager=True)),
            Entry("results", "turnout-plain", partial(self._to_results, "turnout", attributes=False)),
            Entry("results", "bare-dressed", partial(self._to_results, "bare", dressed=True)),
        ]

    async def _to_results(self, name: str, *, eager: bool = False, **how: Any) -> Figures:
        if not self._queue:
            self._queue = await self._shared.enter_async_context(working(self.stage))
        count, out = self.size.of(450), await results_topic(self.stage)
        what = {"warm": count // 5, "count": count, "out": out, "queue": self._queue, **how}
        if eager:
            # Bridge and worker in one process, on a queue of their own.
            what |= {"queue": f"eager-{self._queue}", "local": True}
        job = self.stage.job(**what, **self._common())
        if name != "bare":
            await self.stage.prepare(job)
            await self.stage.send(job, range(job.total))
        async with self.stage.contender(name, "results", job) as contender:
            figures = await contender.figures()
            rate = await rate_of_results(self.stage, out, job.warm, job.count, job.patience)
        return {**figures, "rate": rate}

    # --- one by one ---

    def _latency(self) -> Sequence[Entry]:
        return [Entry("latency", name, partial(self._paced, name)) for name in ("bare", "turnout", "naive")]

    async def _paced(self, name: str) -> Figures:
        what = {"warm": 10, "count": self.size.of(200), "per_second": 10}
        job = self.stage.job(**what, latency="call" if name == "bare" else "record", **self._common())
        if name == "bare":
            return await self.stage.measure(name, "latency", job)
        await self.stage.prepare(job)
        async with self.stage.contender(name, "latency", job) as contender:
            # The first one says that it is there; it is not measured.
            await self.stage.send(job, [0])
            await contender.until("begun")
            sending = asyncio.create_task(self.stage.send_paced(job, range(1, job.total)))
            try:
                return await contender.figures()
            finally:
                sending.cancel()

    # --- crashes and outages ---

    def _restart(self) -> Sequence[Entry]:
        return [
            Entry("restart", "turnout", partial(self._two_lives, offset_map=True)),
            Entry("restart", "no-map", partial(self._two_lives, offset_map=False)),
        ]

    async def _two_lives(self, *, offset_map: bool) -> Figures:
        job = self.stage.job(count=self.size.of(1_000), stub=True, offset_map=offset_map, **self._common())
        await self.stage.prepare(job, partitions=1)
        await self.stage.send_as(job, SLOW)
        await self.stage.send(job, range(job.count))
        async with self.stage.contender("turnout", "restart", job) as first:
            await first.until("ahead")
            await first.kill()
        await self.stage.send_as(job, LAST)
        return await self.stage.measure("turnout", "restart", replace(job, life=2))

    def _memory(self) -> Sequence[Entry]:
        return [Entry("memory", "turnout", self._without_temporal)]

    async def _without_temporal(self) -> Figures:
        what = {"count": self.size.of(200_000, 3_000), "seconds": max(60 * self.size.scale, 4)}
        job = self.stage.job(**what, **self._common())
        await self.stage.prepare(job)
        await self.stage.send(job, range(job.count))
        return await self.stage.measure("turnout", "memory", job)

    def _common(self) -> dict[str, Any]:
        return {"log_level": self.size.log_level, "profile": self.size.profiles}


def _nobody() -> Sequence[Entry]:
    return ()


ALL = ("starts", "results", "signals-200", "signals-hot", "latency", "restart", "memory", "stub")
