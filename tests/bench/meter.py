"""Counts what was accepted, and turns it into rates, latencies, CPU and memory."""

import asyncio
import json
import math
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.job import Figures


@dataclass(frozen=True, slots=True)
class _Mark:
    """Where a process is: how much is accepted, and when."""

    events: int
    seconds: float


class Meter:
    """Measures rate and latency from the `warm`-th accepted event to the `warm + count`-th, the last.

    CPU (of all threads) is counted from the first event that is taken in, and shared by all events:
    a bridge reads far ahead of its calls, so between two accepted events it may have read many.
    """

    def __init__(self, warm: int, count: int) -> None:
        self._warm = max(warm, 1)
        self._end = self._warm + count
        self._events = 0
        self._first: _Mark | None = None
        self._last: _Mark | None = None
        self._cpu_begin: float | None = None
        self._cpu_end = 0.0
        self._latencies: list[float] = []
        self.begun = asyncio.Event()
        """Set at the first accepted event."""
        self.done = asyncio.Event()
        """Set when all that is to be measured is accepted."""

    @property
    def events(self) -> int:
        return self._events

    def taken(self) -> None:
        """Events are taken in; the first time counts."""
        if self._cpu_begin is None:
            self._cpu_begin = time.process_time()

    def accepted(self, seconds: float, events: int = 1) -> None:
        """One call was accepted, `seconds` after it began or its record came; it told of `events`."""
        if not self._events:
            say("begun")
            self.begun.set()
        self._events += events
        if self._first is None:
            if self._events >= self._warm:
                self._first = self._mark()
        elif self._last is None:
            self._latencies.append(seconds)
            if self._events >= self._end:
                self._last, self._cpu_end = self._mark(), time.process_time()
                self.done.set()

    def figures(self) -> Figures:
        """What was measured; only after `done`."""
        first, last = self._first, self._last
        assert first is not None
        assert last is not None
        assert self._cpu_begin is not None
        events = last.events - first.events
        return {
            "rate": events / (last.seconds - first.seconds),
            "p50_ms": 1000 * quantile(self._latencies, 0.5),
            "p99_ms": 1000 * quantile(self._latencies, 0.99),
            "cpu_ms_per_event": 1000 * (self._cpu_end - self._cpu_begin) / last.events,
            "events_per_call": events / len(self._latencies),
            "rss_mb": rss_mb(),
        }

    def _mark(self) -> _Mark:
        return _Mark(self._events, time.perf_counter())


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of all do not exceed."""
    return sorted(values)[max(math.ceil(share * len(values)) - 1, 0)]


def rss_mb() -> float:
    """The resident memory of this process now; where there is no /proc, its peak."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return pages * resource.getpagesize() / (1 << 20)


def say(event: str) -> None:
    """Tell who started this process how far it is."""
    print(json.dumps({"event": event}), flush=True)  # noqa: T201 - the protocol between the two
