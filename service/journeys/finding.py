"""Finding the records of an event by its id, in the topics that the routes read: the newest first."""

import time
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from service.errors import NotNow, RecordError
from service.events.decoding import Decoder, Tombstone
from service.events.event import Event
from service.events.headers import text_headers
from service.events.schemas import SchemaNeeded
from service.journeys.facts import Search
from service.kafka.reading import Reader
from service.kafka.record import Partition, Record
from service.redrive.letterbox import Place

CHUNK = 2_000
"""So many offsets are read at a time, the newest first."""


@dataclass(slots=True)
class Seen:
    """The records of an event that were found, and what was looked through."""

    search: Search
    records: list[Record] = field(default_factory=list)

    @property
    def places(self) -> Sequence[Place]:
        """Where they lie, the oldest first."""
        return [
            Place.of(record)
            for record in sorted(self.records, key=lambda one: (one.timestamp_ms, one.offset))
        ]


class Recogniser:
    """Tells whether a record is of the event with that id.

    Once the schema registry does not answer, `away` says why, and what needs it is not recognised.

    Args:
        event_id: The id.
        decoder: Of the routes' topics.
        mapped: Topics whose events get their id by a mapping, whatever a CloudEvent's header says.
    """

    def __init__(self, event_id: str, decoder: Decoder, mapped: Container[str]) -> None:
        self._id = event_id
        self._decoder = decoder
        self._mapped = mapped
        self.away = ""

    async def knows(self, record: Record) -> bool:
        """Whether it is; of what cannot be decoded, the header decides."""
        said = text_headers(record.headers).get("ce_id")
        if said is not None and record.topic not in self._mapped:
            return said == self._id
        try:
            event = await self._decoded(record)
        except RecordError:
            return False
        return isinstance(event, Event) and event.id == self._id

    async def _decoded(self, record: Record) -> Event | Tombstone | None:
        try:
            if self.away:
                return self._decoder.decode(record)
            return await self._decoder.decode_with_registry(record)
        except SchemaNeeded:
            return None
        except NotNow as error:
            self.away = str(error)
            return None


async def look_through(
    reading: Reader,
    held: Mapping[Partition, range],
    since: datetime,
    recogniser: Recogniser,
    *,
    seconds: float,
    counted: Callable[[int], None],
    moved: Callable[[int], None],
) -> Seen:
    """Look through `held` for the records of an event, from the end on.

    Once one is found, only its partition is looked through further: a repeat has the same key.

    Args:
        reading: Reads what is committed and what is not.
        held: Where to look.
        since: From when on `held` is.
        recogniser: Knows the event.
        seconds: After so many it ends, where it is.
        counted: Told how many offsets there are.
        moved: Told now and then how many of them are done.

    Raises:
        Unreachable: Kafka does not answer.
    """
    late = time.monotonic() + seconds
    counted(sum(map(len, held.values())))
    left, seen, done = dict(held), dict.fromkeys(held, 0), 0
    found = Seen(Search(since, {}, complete=True))
    while any(left.values()) and time.monotonic() < late:
        for partition in [one for one, offsets in left.items() if offsets]:
            offsets = left[partition]
            chunk, left[partition] = offsets[-CHUNK:], offsets[:-CHUNK]
            for record in await _matching(reading, partition, chunk, recogniser, late):
                found.records.append(record)
            seen[partition] += len(chunk)
            done += len(chunk)
            moved(done)
        if found.records:
            kept = {record.place for record in found.records}
            left = {partition: offsets for partition, offsets in left.items() if partition in kept}
    looked = {one: held[one][len(held[one]) - count :] for one, count in seen.items()}
    whole = all(looked[one] == offsets for one, offsets in held.items())
    found.search = Search(since, looked, complete=whole and time.monotonic() < late)
    return found


async def _matching(
    reading: Reader, partition: Partition, offsets: range, recogniser: Recogniser, late: float
) -> Sequence[Record]:
    records: list[Record] = []
    async for record in reading.read(partition, offsets):
        if await recogniser.knows(record):
            records.append(record)
        if time.monotonic() > late:
            break
    return records
