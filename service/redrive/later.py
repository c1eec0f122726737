"""How many later records of a letter's key were handled already: what it comes after when it is sent now."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import NamedTuple

from service.errors import ConfigurationError
from service.failures.letters import Letter
from service.kafka.record import Partition, RecordReader
from service.redrive.letterbox import Place

MOST_RECORDS = 100_000
"""So many are read for the letters that are counted for at once."""

LEAST_RECORDS = 1_000
"""So many are read behind a letter however many others there are; those closer together share them."""


class Later(NamedTuple):
    """A number of records; `at_least` where counting stopped early."""

    records: int
    at_least: bool = False

    def __str__(self) -> str:
        if not self.records:
            return ""
        number = f"at least {self.records}" if self.at_least else str(self.records)
        return f"{number} later records of its key are handled already"


NONE = Later(0)


class LaterRecords:
    """Counts them in the topics that `group` reads.

    Args:
        reader: Kafka.
        group: The consumer group; what lies before its commit point is handled.
        by_partition: Topics whose order is that of the partition: there every record counts.
    """

    def __init__(self, reader: RecordReader, group: str, by_partition: Container[str] = ()) -> None:
        self._reader = reader
        self._group = group
        self._by_partition = by_partition

    async def count(self, letters: Sequence[Letter]) -> Mapping[Place, Later]:
        """For each of `letters`, by the place of its record."""
        stretches = list(_stretches(letters))
        each = max(MOST_RECORDS // max(len(stretches), 1), LEAST_RECORDS)
        counts: dict[Place, Later] = {}
        for stretch in stretches:
            counts |= await self._count_behind(stretch, each)
        return counts

    async def _count_behind(self, letters: Sequence[Letter], most: int) -> dict[Place, Later]:
        partition, first = letters[0].record.place, letters[0].record.offset
        handled = await self._handled(partition)
        read = range(max(first + 1, handled.start), min(handled.stop, first + 1 + most))
        of_key: defaultdict[bytes | None, list[int]] = defaultdict(list)
        if read:
            async for record in self._reader.read(partition, read):
                of_key[self._key(partition, record.key)].append(record.offset)
        return {
            Place(partition, offset): Later(len(same) - bisect_right(same, offset), read.stop < handled.stop)
            for offset, same in (
                (letter.record.offset, of_key[self._key(partition, letter.record.key)]) for letter in letters
            )
        }

    async def _handled(self, partition: Partition) -> range:
        """What the partition still holds of that which the group has handled."""
        try:
            held = (await self._reader.extents(partition.topic)).get(partition, range(0))
        except ConfigurationError:  # the topic has gone
            return range(0)
        commits = await self._reader.committed(self._group, [partition])
        stop = commits[partition].offset if partition in commits else held.start
        return range(held.start, min(stop, held.stop))

    def _key(self, partition: Partition, key: bytes | None) -> bytes | None:
        return None if partition.topic in self._by_partition else key


def _stretches(letters: Sequence[Letter]) -> Iterator[Sequence[Letter]]:
    """The letters by partition and in order, those together that lie close enough to share what is read."""
    stretch: list[Letter] = []
    for letter in sorted(letters, key=lambda one: (one.record.place, one.record.offset)):
        if stretch and (
            letter.record.place != stretch[0].record.place
            or letter.record.offset - stretch[0].record.offset > LEAST_RECORDS
        ):
            yield stretch
            stretch = []
        stretch.append(letter)
    if stretch:
        yield stretch
