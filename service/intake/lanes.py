"""Lanes: the queue of one ordering key; one record at a time in order, lanes side by side."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice

import structlog

from service.intake.offset_map import decode
from service.intake.offsets import OffsetTracker
from service.intake.pauses import Pauses
from service.intake.waiting import Abandoned, Assignment
from service.kafka.record import Commit, Partition, Record
from service.telemetry.metrics import Metrics, Progress

log = structlog.get_logger(__name__)

Handle = Callable[[Sequence[Record], Assignment], Awaitable[int]]
"""Handles the first of a lane's records, and as many right behind it as it likes; returns how many."""

RETRY_SECONDS = 5.0
LANE_RECORDS = 200
"""How much a lane may have done that is not stored, so that what is done again after a crash stays inside
the window of a workflow's inbox (1,000), which may hear several lanes. Twice a batch: one is on its way
while the one before is stored."""


@dataclass(frozen=True, slots=True)
class Window:
    """How much may be in flight: in all, and per partition, so that one cannot take it all.

    A partition that holds `partition_records` is not read further.
    """

    records: int = 2_000
    bytes: int = 64 << 20
    partition_records: int = 500


class Gate:
    """Shut from `most` on, and open again a tenth below, so that it does not flap with each record."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open_at = most * 9 // 10
        self._shut = False

    def is_open(self, now: float) -> bool:
        """Whether more may come in while there is as much as `now`."""
        self._shut = now > self._open_at if self._shut else now >= self._most
        return not self._shut


@dataclass(slots=True)
class _Held:
    """What one assigned partition has in flight."""

    tracker: OffsetTracker
    gate: Gate
    assignment: Assignment = field(default_factory=Assignment)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    lanes: dict[bytes | None, deque[Record]] = field(default_factory=dict)
    size_bytes: int = 0
    records: int = 0
    unstored: Counter[bytes | None] = field(default_factory=Counter)
    offered: Counter[bytes | None] = field(default_factory=Counter)
    change: asyncio.Event = field(default_factory=asyncio.Event)
    """Set, and replaced, when something is stored or the partition goes."""

    def may_be_read(self) -> bool:
        """Whether more records of it may come in."""
        return self.gate.is_open(self.records) and not (self.tracker.braked or self.assignment.over)

    def held_up(self) -> Counter[str]:
        """How many of its records a pause holds, by what is paused; those behind in the lane count, too."""
        counts = Counter[str]()
        for lane in self.lanes.values():
            if name := self.assignment.held_up.get(lane[0].offset):
                counts[name] += len(lane)
        return counts

    def flowing(self) -> tuple[int, float]:
        """How many of its records, and about how many bytes, no pause holds."""
        if not self.assignment.held_up:
            return self.records, self.size_bytes
        flowing = self.records - self.held_up().total()
        return flowing, self.size_bytes * flowing / self.records

    def progress(self, end: int) -> Progress:
        """How far it is, in a partition that ends at `end`."""
        oldest_ms = min((lane[0].timestamp_ms for lane in self.lanes.values()), default=None)
        ahead = self.tracker.finished_ahead
        return Progress(
            lag_records=max(end - self.tracker.point - ahead, self.records),
            in_flight=self.records,
            finished_ahead=ahead,
            oldest_seconds=0.0 if oldest_ms is None else max(time.time() - oldest_ms / 1000, 0.0),
        )

    def to_commit(self) -> Commit | None:
        """What may be stored; with it, how much of each lane it covers."""
        self.offered = self.unstored.copy()
        return self.tracker.to_commit()

    def stored(self, commit: Commit) -> None:
        """What was offered is stored."""
        self.tracker.stored(commit)
        self.unstored -= self.offered  # forgets lanes that have nothing left
        self.offered = Counter()
        self.wake()

    def wake(self) -> None:
        """Let lanes that wait for `change` look again."""
        self.change.set()
        self.change = asyncio.Event()


class Lanes:
    """The records in flight, by partition and ordering key.

    Args:
        handle: Handles the next records of a lane; returns when each command they led to is durable.
        window: How much may be in flight.
        pauses: What is not read further.
        metrics: Where the age of what is done is counted.
    """

    def __init__(
        self,
        handle: Handle,
        window: Window,
        pauses: Pauses | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self._handle = handle
        self._window = window
        self._pauses = pauses or Pauses()
        self._metrics = metrics or Metrics()
        self._held: dict[Partition, _Held] = {}
        self._records_gate, self._bytes_gate = Gate(window.records), Gate(window.bytes)
        self.commit_soon = asyncio.Event()
        """Set when a lane should not wait for the next regular commit."""
        self._finished = asyncio.Event()
        self.finished_at = time.monotonic()
        """When a record was last finished, or we began."""

    def assign(self, commits: Mapping[Partition, Commit]) -> None:
        """Begin to hold partitions, with nothing in flight; what their maps say is done is not done again."""
        for partition, commit in commits.items():
            tracker = OffsetTracker(_ahead(partition, commit))
            self._held[partition] = _Held(tracker, Gate(self._window.partition_records))

    def room(self) -> int:
        """How many more records may come in now.

        What a pause holds does not count, else it would stop the topics that are not paused. Memory is
        bounded all the same: together it is at most twice the bytes of the window.
        """
        flowing = [held.flowing() for held in self._held.values()]
        records, size = sum(records for records, _ in flowing), sum(size for _, size in flowing)
        is_open = (
            self._records_gate.is_open(records),
            self._bytes_gate.is_open(size),
            sum(held.size_bytes for held in self._held.values()) < 2 * self._window.bytes,
        )
        return self._window.records - records if all(is_open) else 0

    def progress(self, ends: Mapping[Partition, int]) -> dict[tuple[str, int], Progress]:
        """How far each partition is.

        Args:
            ends: Where the partitions end in the topic, as far as that is known.
        """
        return {
            (place.topic, place.number): held.progress(ends.get(place, 0))
            for place, held in self._held.items()
        }

    def in_flight(self) -> int:
        """How many records are queued or being handled."""
        return sum(held.records for held in self._held.values())

    def partitions(self) -> list[Partition]:
        """All that is held now."""
        return list(self._held)

    def open_partitions(self) -> list[Partition]:
        """Assigned partitions that may be read further."""
        return [
            place
            for place, held in self._held.items()
            if not self._pauses.topic(place.topic) and held.may_be_read()
        ]

    async def until_open(self) -> None:
        """Wait until more records may come in because some are finished."""
        while not (self.room() and self.open_partitions()):
            self._finished.clear()
            await self._finished.wait()

    def may_open_soon(self) -> bool:
        """Whether a partition is closed now by something other than a pause."""
        return any(
            not (held.may_be_read() or held.assignment.held_up or self._pauses.topic(place.topic))
            for place, held in self._held.items()
        )

    def held_back(self) -> set[Partition]:
        """Where a pause or a defect of ours holds something."""
        return {
            place
            for place, held in self._held.items()
            if held.assignment.defects or held.assignment.held_up or self._pauses.topic(place.topic)
        }

    def stir(self, partitions: Iterable[Partition]) -> None:
        """Let all that sleeps in `partitions` until it is tried again be tried now."""
        for partition in partitions:
            if held := self._held.get(partition):
                held.assignment.stir()

    def held_up(self) -> Counter[str]:
        """How many records a pause holds, by the name of what is paused."""
        return sum((held.held_up() for held in self._held.values()), Counter[str]())

    def put(self, record: Record, key: bytes | None) -> None:
        """Queue `record` in the lane of `key`; one of a partition that is not ours is dropped."""
        held = self._held.get(record.place)
        if held is None or held.assignment.over or not held.tracker.receive(record.offset):
            return
        held.records += 1
        held.size_bytes += record.size_bytes
        lane = held.lanes.get(key)
        if lane is None:
            held.lanes[key] = deque([record])
            task = asyncio.create_task(self._run(held, key))
            held.tasks.add(task)
            task.add_done_callback(held.tasks.discard)
        else:
            lane.append(record)

    def to_commit(self) -> dict[Partition, Commit]:
        """Per partition, what is news to Kafka."""
        commits = {place: held.to_commit() for place, held in self._held.items()}
        return {place: commit for place, commit in commits.items() if commit is not None}

    def stored(self, commits: Mapping[Partition, Commit]) -> None:
        """Note what Kafka has stored."""
        for place, commit in commits.items():
            if held := self._held.get(place):
                held.stored(commit)

    async def drain(self, partitions: frozenset[Partition], patience: timedelta) -> None:
        """Begin nothing new for `partitions`, and let what has begun come to its end.

        What is not done after `patience` is cancelled: it comes again, with the same ids. The
        partitions are still held afterwards, so that their offsets can be committed.
        """
        helds = [held for place, held in self._held.items() if place in partitions]
        for held in helds:
            held.assignment.end()
            held.wake()
        if tasks := [task for held in helds for task in held.tasks]:
            _, late = await asyncio.wait(tasks, timeout=patience.total_seconds())
            for task in late:
                task.cancel()
            if late:
                log.warning("gave up on calls in flight", count=len(late))
                await asyncio.wait(late)

    def release(self, partitions: frozenset[Partition]) -> None:
        """Forget `partitions`; completions that come later are ignored."""
        for partition in partitions:
            self._held.pop(partition, None)

    async def _run(self, held: _Held, key: bytes | None) -> None:
        lane = held.lanes[key]
        while lane and not held.assignment.over:
            if (room := LANE_RECORDS - held.unstored[key]) <= 0:
                await held.change.wait()
                continue
            done = await self._handle_next(list(islice(lane, room)), held.assignment)
            if done == 0:
                return
            for _ in range(done):
                self._finish(held, key, lane.popleft())
        # No await between the check above and here: put() sees either the lane or its absence.
        if not lane:
            del held.lanes[key]

    def _finish(self, held: _Held, key: bytes | None, record: Record) -> None:
        held.records -= 1
        held.size_bytes -= record.size_bytes
        held.tracker.finish(record.offset)
        held.unstored[key] += 1
        self._finished.set()
        self.finished_at = time.monotonic()
        self._metrics.finished(time.time() - record.timestamp_ms / 1000)
        if held.unstored[key] >= LANE_RECORDS // 2:
            self.commit_soon.set()

    async def _handle_next(self, records: Sequence[Record], assignment: Assignment) -> int:
        """How many of `records` are handled; 0 when their partition went meanwhile."""
        while True:
            try:
                return await self._handle(records, assignment)
            except Abandoned:
                return 0
            except Exception:
                # A defect of ours. Going on would lose the record, stopping would stop all keys:
                # this lane alone waits, and says so.
                log.exception("defect while handling a record", record=str(records[0]))
            assignment.defects.add(records[0].offset)
            try:
                await assignment.sleep(RETRY_SECONDS)
            except Abandoned:
                return 0
            finally:
                assignment.defects.discard(records[0].offset)


def _ahead(partition: Partition, commit: Commit) -> frozenset[int]:
    try:
        return decode(commit.offset, commit.metadata)
    except ValueError as error:
        # Another tool wrote it, or an older version of us. Less is known, which costs repeats.
        log.warning("offset map ignored", topic=partition.topic, partition=partition.number, error=str(error))
        return frozenset()
