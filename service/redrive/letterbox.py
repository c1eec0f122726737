"""What lies open in a letter topic: all that was not sent again or discarded since."""

import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from service.errors import ConfigurationError
from service.failures.letters import Letter, letter_group, letter_topic, read_letter
from service.intake.offset_map import decode
from service.kafka.record import NO_PARTITION, Commit, Partition, Record, RecordReader

_PLACE = re.compile(r"([A-Za-z0-9._-]{1,249})(?:/([0-9]{1,10})/|\[([0-9]{1,10})\]@)([0-9]{1,19})")

REMEMBERED = 20_000
"""Letters among which a repeat is recognised: several times what the bridges of a group have in flight."""


class Place(NamedTuple):
    """Where a record lies, in the letter topic or in the topic that it came by."""

    partition: Partition
    offset: int

    @classmethod
    def of(cls, record: Record) -> "Place":
        """Where `record` lies."""
        return cls(record.place, record.offset)

    @classmethod
    def meant_by(cls, text: str) -> "Place | None":
        """The place that `shop.orders/0/42` means, or as the log has it, `shop.orders[0]@42`; or None."""
        form = _PLACE.fullmatch(text)
        if form is None:
            return None
        place = cls(Partition(form[1], int(form[2] or form[3])), int(form[4]))
        return place if place.partition.number < 1 << 31 and place.offset < 1 << 63 else None

    @property
    def is_in_kafka(self) -> bool:
        """Whether there is a record; else it is of an event that came through the handler API."""
        return self.partition.number != NO_PARTITION

    def __str__(self) -> str:
        return f"{self.partition.topic}/{self.partition.number}/{self.offset}"


@dataclass(frozen=True, slots=True)
class Found:
    """What lies at a place of the letter topic; `letter` is None where it is none of ours."""

    place: Place
    lies: Record
    letter: Letter | None

    @classmethod
    def of(cls, lies: Record) -> "Found":
        """What a record of the letter topic is."""
        return cls(Place.of(lies), lies, read_letter(lies))


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a partition of the letter topic is done with, and what it holds beyond.

    `offsets` are from the first that may be open to the end; of these, `closed` are done with.
    """

    commit: Commit
    offsets: range
    closed: frozenset[int]


class Letterbox:
    """The letters of `group`, as they lay when it was opened; made by `open_letterbox`."""

    def __init__(self, reader: RecordReader, standings: Mapping[Partition, Standing]) -> None:
        self._reader = reader
        self.standings = standings

    @property
    def lag(self) -> int:
        """How many letters are open at most: repeats and gaps are counted."""
        return sum(len(one.offsets) - len(one.closed) for one in self.standings.values())

    async def walk(self) -> AsyncIterator[Found]:
        """All that lies open, partition by partition in the order it was written."""
        for partition, standing in self.standings.items():
            async for record in self._reader.read(partition, standing.offsets):
                if record.offset not in standing.closed:
                    yield Found.of(record)

    async def at(self, place: Place) -> Found | None:
        """What lies at a place of the letter topic, open or not; None if nothing does."""
        standing = self.standings.get(place.partition)
        if standing is None or place.offset >= standing.offsets.stop:
            return None
        async for record in self._reader.read(place.partition, range(place.offset, place.offset + 1)):
            return Found.of(record)
        return None


async def open_letterbox(
    reader: RecordReader, group: str, commits: Mapping[Partition, Commit] | None = None
) -> Letterbox:
    """The letters of `group` as they lie now.

    Args:
        reader: Kafka.
        group: The consumer group that gave up.
        commits: What the group of the letters has committed, where that is known already.

    Raises:
        ConfigurationError: There is no letter topic, or what is committed is none of ours or beyond its end.
    """
    extents = await letter_extents(reader, group)
    if commits is None:
        commits = await reader.committed(letter_group(group), extents)
        extents = await reader.extents(letter_topic(group))  # what came since may be committed already
    return Letterbox(
        reader,
        {
            partition: _standing(partition, held, commits.get(partition, Commit(held.start)))
            for partition, held in extents.items()
        },
    )


async def letter_extents(reader: RecordReader, group: str) -> Mapping[Partition, range]:
    """The partitions of the letter topic of `group`, and what they hold.

    Raises:
        ConfigurationError: There is no such topic.
    """
    try:
        return await reader.extents(letter_topic(group))
    except ConfigurationError as error:
        raise ConfigurationError(
            f"{error}. It is to hold the letters of group {group} (TURNOUT_GROUP); if that group is meant, "
            "start a bridge, which says how to create it"
        ) from error


def _standing(partition: Partition, held: range, commit: Commit) -> Standing:
    try:
        closed = decode(commit.offset, commit.metadata)
    except ValueError as error:
        # Not passed over, as the bridge does: what was discarded would come back.
        raise ConfigurationError(
            f"what is committed for {partition} does not say which letters are closed: {error}; "
            "did another tool commit in this group? Set its offset to where the open letters begin"
        ) from error
    if commit.offset > held.stop:
        # Not waited for, as the end comes nearer with each new letter: until then none would be seen.
        raise ConfigurationError(
            f"what is committed for {partition} is offset {commit.offset}, and its letters end at "
            f"{held.stop}; was the topic made anew, or restored? "
            "Set the offset to where the open letters begin"
        )
    offsets = range(max(held.start, commit.offset), held.stop)
    return Standing(commit, offsets, frozenset(offset for offset in closed if offset in offsets))


class Repeats:
    """Recognises a letter that is there twice: after a crash it was written again, soon behind the first.

    In bounded memory: one that comes later than that counts as another, and sending it does nothing twice.
    """

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[Place, int, str], Place] = OrderedDict()

    def first(self, found: Found) -> Place | None:
        """Where the first letter of the same record and route lies; None if it is the first, or no letter."""
        if found.letter is None:
            return None
        record = found.letter.record
        # With its time: where the topic was deleted and made anew, another record may lie at the same place.
        identity = (Place.of(record), record.timestamp_ms, found.letter.about.route)
        first = self._seen.setdefault(identity, found.place)
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return None if first == found.place else first
