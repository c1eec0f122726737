"""The intake loop: poll always, fill the lanes, commit what is done."""

import asyncio
import time
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any

import structlog

from service.intake.lanes import Lanes
from service.intake.pauses import Pauses, described
from service.intake.readiness import Detail, detail, stall, told
from service.intake.waiting import WaitingRoom
from service.kafka.record import Commit, Partition, Record, RecordSource
from service.telemetry.health import Health, Problem
from service.telemetry.logs import in_the_log
from service.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

COMMIT_SECONDS = 1.0
POLL_SECONDS, CLOSED_SECONDS = 0.25, 0.01
POLL_RECORDS = 200
LEAST_SECONDS = 0.001
"""Between two commits, however busy a lane is and however soon the broker answers."""

REPORT_SECONDS, PAUSED_SECONDS = 10.0, 60.0
"""How often a line says what waits, and what is paused."""

MEASURE_SECONDS = 1.0

LOOK_SECONDS, HELD_SECONDS = 2.0, 1.0
"""How often it is asked whether a person gives up on what holds a lane, and what holds one: for so long."""


class Intake:
    """Moves records from a source into lanes and their offsets back.

    Args:
        lanes: The records in flight.
        lane_key: The ordering key of a record; None for all records that share a partition's order.
        waiting: Who waits, to be reported.
        drain: How long to wait for calls in flight when partitions go or the service stops.
        pauses: What is paused, to be reported.
        metrics: Where what waits is shown.
        health: Told that the loops turn.
    """

    def __init__(
        self,
        lanes: Lanes,
        lane_key: Callable[[Record], bytes | None],
        waiting: WaitingRoom,
        *,
        drain: timedelta,
        pauses: Pauses | None = None,
        metrics: Metrics | None = None,
        health: Health | None = None,
    ) -> None:
        self._lanes = lanes
        self._lane_key = lane_key
        self._waiting = waiting
        self._drain = drain
        self._pauses = pauses or Pauses()
        self._metrics = metrics or Metrics()
        self._health = health or Health(self._metrics)
        self._source: RecordSource | None = None

    def assigned(self, commits: Mapping[Partition, Commit]) -> None:
        """Take partitions on, from where the group has committed them."""
        self._metrics.rebalanced()
        self._lanes.assign(commits)

    async def revoked(self, partitions: frozenset[Partition]) -> None:
        """Let `partitions` go: finish what has begun, commit it, forget them."""
        self._metrics.rebalanced()
        await self._lanes.drain(partitions, self._drain)
        await self._commit()
        self._lanes.release(partitions)

    async def run(self, source: RecordSource, stop: asyncio.Event) -> None:
        """Read from `source` until `stop` is set; then drain and commit."""
        self._source = source
        async with asyncio.TaskGroup() as tasks:
            jobs = (
                self._keep_polling(source),
                self._keep_committing(),
                self._keep_looking(source),
                self._keep_reporting(),
                self._keep_saying_pauses(),
                self._keep_measuring(source),
            )
            running = [tasks.create_task(job) for job in jobs]
            # A poll returns only after a rebalance, which can take a minute: it is not waited for.
            await stop.wait()
            for task in running:
                task.cancel()
        # Polling has ended but the client keeps heartbeating, so the partitions stay ours meanwhile.
        await self.revoked(frozenset(self._lanes.partitions()))

    async def _keep_polling(self, source: RecordSource) -> None:
        while True:
            self._health.turned("polling")
            room, held = self._lanes.room(), len(self._lanes.partitions())
            # Polled also when nothing has room: a member that does not poll is put out of its group.
            partitions = self._lanes.open_partitions() if room else []
            # Short while one is closed: it may be open again long before another has records.
            soon = len(partitions) < held and self._lanes.may_open_soon()
            all_closed = held and not partitions
            # Only then without a wait, since there is one below. A poll that need not wait lets nobody else
            # run: who has no partition, since others have them all, would do nothing but poll.
            seconds = 0 if all_closed else CLOSED_SECONDS if soon else POLL_SECONDS
            for record in await source.poll(partitions, min(max(room, 1), POLL_RECORDS), seconds):
                self._lanes.put(record, self._lane_key(record))
            if all_closed:
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_SECONDS):
                        await self._lanes.until_open()

    async def _keep_committing(self) -> None:
        while True:
            self._health.turned("committing")
            with suppress(TimeoutError):
                async with asyncio.timeout(COMMIT_SECONDS):
                    await self._lanes.commit_soon.wait()
            self._lanes.commit_soon.clear()
            begun = time.monotonic()
            await self._commit()
            # Half of the time at most, so that a slow broker is not pressed and other work goes on.
            await asyncio.sleep(max(time.monotonic() - begun, LEAST_SECONDS))

    async def _commit(self) -> None:
        commits = self._lanes.to_commit()
        if commits and self._source:
            self._lanes.stored(await self._source.commit(commits))

    def holds(self, partition: Partition) -> bool:
        """Whether `partition` is ours now."""
        return partition in self._lanes.partitions()

    def detail(self) -> Detail:
        """What is paused, and what waits."""
        return detail(self._pauses, self._lanes, self._waiting)

    def problems(self) -> Iterator[Problem]:
        """What is wrong now: that nothing moves."""
        return stall(self._lanes, self._waiting)

    def told(self) -> Mapping[str, Any]:
        """What is good to know, as JSON."""
        return told(self.detail(), len(self._lanes.partitions()))

    async def _keep_looking(self, source: RecordSource) -> None:
        """Learn what people give up on; the source asks for nothing while nothing is held."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            held = self._waiting.partitions(HELD_SECONDS) | self._lanes.held_back()
            self._lanes.stir(await source.look_up(held))

    async def _keep_measuring(self, source: RecordSource) -> None:
        while True:
            due = time.monotonic() + MEASURE_SECONDS
            await asyncio.sleep(MEASURE_SECONDS)
            self._metrics.loop_lag(time.monotonic() - due)
            self._metrics.progress(self._lanes.progress(source.ends()))
            now = time.monotonic()
            self._metrics.measure((wait.of, now - wait.since) for wait in self.detail().waits)

    async def _keep_saying_pauses(self) -> None:
        while True:
            await asyncio.sleep(PAUSED_SECONDS)
            for held in self.detail().paused:
                log.info("still paused", records=held.records, **described(held.switch, held.kind))

    async def _keep_reporting(self) -> None:
        while True:
            await asyncio.sleep(REPORT_SECONDS)
            now = self.detail()
            if now.waits:
                oldest = now.waits[0]
                log.warning(
                    "waiting",
                    lanes=len(now.waits),
                    answer=oldest.answer,
                    seconds=round(now.oldest_wait_seconds),
                    topic=oldest.record.topic,
                    partition=oldest.record.partition,
                    offset=oldest.record.offset,
                    event_id=in_the_log(oldest.what.event_id),
                    route=oldest.what.route,
                    workflow_id=oldest.what.workflow_id,
                    trace_id=oldest.what.trace_id,
                    to_give_up=oldest.to_give_up,
                )


def lane_key_by(partition_ordered: Container[str]) -> Callable[[Record], bytes | None]:
    """A lane per key, but one per partition for the topics named and for records without a key."""

    def lane_key(record: Record) -> bytes | None:
        return None if record.topic in partition_ordered else record.key

    return lane_key
