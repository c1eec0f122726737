"""The past of a topic as a source of records, for the same lanes and commits as the bridge's."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from service.errors import Unreachable
from service.kafka.record import Commit, Partition, Record
from service.replays.plan import Stretch
from service.replays.progress import Replayed

PATIENCE_SECONDS = 60.0


class Log(Protocol):
    """Reads several partitions at once, each from the offset that it was begun at."""

    def begin(self, places: Mapping[Partition, int]) -> None:
        """Read these partitions from these offsets on."""
        ...

    async def take(self, partition: Partition, limit: int) -> Sequence[Record]:
        """About so many records of a partition at most, in order; none where it takes a moment."""
        ...

    async def position(self, partition: Partition) -> int:
        """The offset that comes next of a partition."""
        ...


class Store(Protocol):
    """Where what is done is stored: one who is alone in the group of the replay."""

    async def store(self, commits: Mapping[Partition, Commit]) -> None:
        """Store `commits`, and return when they are there for certain.

        Raises:
            Unreachable: They may be there or not.
            ConfigurationError: They are not: someone else is at work.
        """
        ...


class PastSource:
    """Hands out the records of stretches; see `RecordSource`. `exhausted` once there are no more."""

    def __init__(self, log: Log, store: Store, stretches: Mapping[Partition, Stretch]) -> None:
        self._log = log
        self._store = store
        self._stretches = {place: stretch for place, stretch in stretches.items() if stretch.offsets}
        self._positions = {place: stretch.offsets.start for place, stretch in self._stretches.items()}
        self._moved_at = time.monotonic()
        self._log.begin(self._positions)

    @property
    def commits(self) -> Mapping[Partition, Commit]:
        """What is done already of the partitions that have records to hand out."""
        return {place: stretch.replayed.commit for place, stretch in self._stretches.items()}

    @property
    def exhausted(self) -> bool:
        """Whether all were handed out."""
        return not self._open()

    @property
    def passed(self) -> int:
        """How many offsets are handed out or left out."""
        return sum(self._positions[place] - one.offsets.start for place, one in self._stretches.items())

    async def poll(self, partitions: Iterable[Partition], limit: int, seconds: float) -> Sequence[Record]:
        """See `RecordSource.poll`.

        Raises:
            Unreachable: Kafka has given nothing for a minute, though there is more.
        """
        wanted = [partition for partition in self._open() if partition in set(partitions)]
        if not wanted:
            self._moved_at = time.monotonic()
            await asyncio.sleep(seconds)
            return []
        # The one that is the least advanced, so that all come to their ends together.
        partition = min(wanted, key=self._advance)
        stretch, before = self._stretches[partition], self._positions[partition]
        taken = await self._log.take(partition, limit)
        position = min(await self._log.position(partition), stretch.offsets.stop)
        if taken or position > before:
            self._moved_at = time.monotonic()
        elif time.monotonic() - self._moved_at > PATIENCE_SECONDS:
            raise Unreachable(f"Kafka gave nothing of {partition} from offset {before} on; say it again")
        self._positions[partition] = position
        return [record for record in taken if stretch.means(record.offset)]

    def ends(self) -> Mapping[Partition, int]:
        """See `RecordSource.ends`: where the stretches end."""
        return {place: stretch.offsets.stop for place, stretch in self._stretches.items()}

    async def commit(self, commits: Mapping[Partition, Commit]) -> Mapping[Partition, Commit]:
        """See `RecordSource.commit`.

        Raises:
            Unreachable: They may be stored or not.
            ConfigurationError: They are not: someone else is at work.
        """
        kept = {
            place: Replayed(self._stretches[place].replayed.since, commit).as_commit()
            for place, commit in commits.items()
        }
        await self._store.store(kept)
        return commits

    async def look_up(self, partitions: Iterable[Partition]) -> frozenset[Partition]:  # noqa: ARG002
        """Nobody gives up on what is replayed: the bridges have passed it."""
        return frozenset()

    def _open(self) -> list[Partition]:
        return [place for place, one in self._stretches.items() if self._positions[place] < one.offsets.stop]

    def _advance(self, partition: Partition) -> float:
        offsets = self._stretches[partition].offsets
        return (self._positions[partition] - offsets.start) / len(offsets)
