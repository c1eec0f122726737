"""turnout itself, as `turnout bridge` runs it, with its accepted events counted."""

import asyncio
import cProfile
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from service.dispatch.answers import Outcome, OutcomeKind
from service.dispatch.dispatcher import Dispatcher
from service.errors import RecordError
from service.kafka.record import Commit, Partition, Record
from service.kafka.source import KafkaSource
from service.routing.commands import Command, Signal
from service.settings import KafkaSettings, LogSettings, Settings, TemporalSettings, WorkerSettings
from service.telemetry.logs import configure_logging
from service.wiring import Roles, serve
from tests.bench.door import Door
from tests.bench.job import LAST, SLOW, Figures, Job
from tests.bench.meter import Meter, rss_mb, say

WORKER = Roles(bridge=False, worker=True)
COMMITTED_SECONDS = 2.5
"""After so long all that is finished is committed, once a second."""

SAMPLE_SECONDS = 0.5

Dispatch = Callable[[Dispatcher, Command], Awaitable[Outcome]]


class UnexpectedOutcome(Exception):  # noqa: N818 - the measurement ends
    """Something other than accepted: what was measured would not be what was meant."""


async def run(job: Job) -> Figures:
    """Serve until all that is to be measured is accepted."""
    meter = Meter(job.warm, job.count)
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def dispatch(real: Dispatch, dispatcher: Dispatcher, command: Command) -> Outcome:
        called = time.time()
        try:
            outcome = await real(dispatcher, command)
        except RecordError as error:
            _fail(failed, str(error))
            raise
        if outcome.kind is not OutcomeKind.ACCEPTED:
            _fail(failed, f"{outcome.kind.value}: {outcome.detail}")
        since = called if job.latency == "call" else command.event.record.timestamp_ms / 1000
        meter.accepted(time.time() - since, len(command.events) if isinstance(command, Signal) else 1)
        return outcome

    with _dispatching(dispatch), _polling(meter.taken), _profiled(job.profile, f"{job.kind}-{job.run}"):
        await _serve_until(job, meter.done.wait(), failed)
    return meter.figures()


async def restart(job: Job) -> Figures:
    """One of two lives of a bridge, of which the first is killed with one record still in flight.

    In the first, all but one are accepted and committed, then it waits for its end. The second counts
    what it dispatches of those.
    """
    seen: list[str] = []
    slow, last, ahead = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def dispatch(real: Dispatch, dispatcher: Dispatcher, command: Command) -> Outcome:
        id_ = command.event.id
        if id_ == SLOW and job.life == 1:
            await asyncio.Event().wait()
        outcome = await real(dispatcher, command)
        if id_ not in (SLOW, LAST):
            seen.append(id_)
        if len(seen) >= job.count:
            ahead.set()
        ends = {SLOW: slow, LAST: last}
        if end := ends.get(id_):
            end.set()
        return outcome

    async def first_life() -> None:
        await ahead.wait()
        await asyncio.sleep(COMMITTED_SECONDS)
        say("ahead")
        await asyncio.Event().wait()

    async def second_life() -> None:
        await slow.wait()
        await last.wait()
        await asyncio.sleep(1)  # lanes side by side: one that began earlier may end later

    with _dispatching(dispatch), _offset_map(kept=job.offset_map):
        await _serve_until(job, first_life() if job.life == 1 else second_life())
    return {"repeated": len(seen), "finished": job.count}


async def memory(job: Job) -> Figures:
    """Let Temporal go away in the middle of a backlog, and watch the memory."""
    door = Door(job.temporal)
    begun = asyncio.Event()

    async def dispatch(real: Dispatch, dispatcher: Dispatcher, command: Command) -> Outcome:
        outcome = await real(dispatcher, command)
        begun.set()
        return outcome

    samples: list[float] = []

    async def watch() -> None:
        await begun.wait()
        door.shut()
        begun.clear()
        await asyncio.sleep(job.settle)  # the window fills
        begun.clear()
        end = time.monotonic() + job.seconds
        while time.monotonic() < end:
            samples.append(rss_mb())
            await asyncio.sleep(SAMPLE_SECONDS)
        if begun.is_set():
            raise UnexpectedOutcome("Temporal answered while it should have been away")

    os.environ["TEMPORAL_ADDRESS"] = await door.open()
    with _dispatching(dispatch):
        await _serve_until(job, watch())
    quarter = max(len(samples) // 4, 1)
    growth = statistics.median(samples[-quarter:]) - statistics.median(samples[:quarter])
    return {"peak_mb": max(samples), "growth_mb": growth, "rss_mb": samples[-1]}


async def worker(job: Job) -> Figures:
    """Run the benchmark's workflows until killed."""
    configure_logging(job.log_level, "json")
    await serve(_settings(job), WORKER, asyncio.Event())
    return {}


def _settings(job: Job) -> Settings:
    # A static member takes over from its killed self at once, where another waits for a time-out.
    kafka = KafkaSettings(bootstrap_servers=job.kafka, group_instance_id="bench" if job.routes else None)
    return Settings(
        group=job.run,
        routes=Path(job.routes),
        kafka=kafka,
        worker=WorkerSettings(task_queue=job.queue, modules="tests.bench.flows"),
        temporal=TemporalSettings(search_attributes=job.attributes),
        log=LogSettings(level=job.log_level, format="json"),
    )


async def _serve_until(job: Job, end: Awaitable[object], failed: asyncio.Future[None] | None = None) -> None:
    """Serve until `end`; that the service or `end` fails is raised. It is not stopped: the process ends."""
    settings = _settings(job)
    configure_logging(settings.log.level, settings.log.format)
    ending = asyncio.ensure_future(end)
    service = asyncio.create_task(serve(settings, Roles(bridge=True, worker=job.local), asyncio.Event()))
    waited: set[asyncio.Future[Any]] = {ending, service, *([failed] if failed else [])}
    await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
    for one in waited:
        if one.done():
            one.result()
    if not ending.done():
        raise UnexpectedOutcome("the service ended by itself")


@contextmanager
def _dispatching(
    dispatch: Callable[[Dispatch, Dispatcher, Command], Awaitable[Outcome]],
) -> Iterator[None]:
    """Each dispatch goes by `dispatch`, which is given the real one."""
    real = Dispatcher.dispatch

    async def watched(self: Dispatcher, command: Command) -> Outcome:
        return await dispatch(real, self, command)

    with patch.object(Dispatcher, "dispatch", watched):
        yield


@contextmanager
def _polling(taken: Callable[[], None]) -> Iterator[None]:
    """`taken` is called whenever records have been read."""
    real = KafkaSource.poll

    async def watched(self: KafkaSource, *what: Any, **how: Any) -> Sequence[Record]:
        records = await real(self, *what, **how)
        if records:
            taken()
        return records

    with patch.object(KafkaSource, "poll", watched):
        yield


@contextmanager
def _offset_map(*, kept: bool) -> Iterator[None]:
    """Without it, commits hold an offset alone, as those of other consumers do."""
    real = KafkaSource.commit

    async def blank(self: KafkaSource, commits: Mapping[Partition, Commit]) -> Mapping[Partition, Commit]:
        stored = await real(self, {place: Commit(commit.offset) for place, commit in commits.items()})
        return {place: commits[place] for place in stored}

    with ExitStack() as patches:
        if not kept:
            patches.enter_context(patch.object(KafkaSource, "commit", blank))
        yield


@contextmanager
def _profiled(path: str, name: str) -> Iterator[None]:
    """Write a profile of this thread to the folder `path`, if that is given."""
    if not path:
        yield
        return
    profile = cProfile.Profile()
    profile.enable()
    try:
        yield
    finally:
        profile.disable()
        profile.dump_stats(Path(path) / f"{name}.prof")


def _fail(failed: asyncio.Future[None], reason: str) -> None:
    if not failed.done():
        failed.set_exception(UnexpectedOutcome(reason))
