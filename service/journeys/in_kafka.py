"""What Kafka says of one record: what lies there, how far its group is, and which letters are about it."""

import time
from collections.abc import Awaitable, Callable, Collection, Container, Sequence
from datetime import datetime, timedelta

from service.failures.letters import letter_topic
from service.intake.loop import lane_key_by
from service.intake.offset_map import decode
from service.journeys.facts import InGroup, InLog, LetterFact
from service.journeys.saying import written_at
from service.kafka.given_up import GiveUp
from service.kafka.members import Members
from service.kafka.outside import Extent
from service.kafka.raw import MENDED
from service.kafka.reading import Reader
from service.kafka.record import Commit, Partition, Record
from service.redrive.letterbox import Found, Letterbox, Place

MOST_RECORDS = 1_000
"""So many unfinished records are looked at for one of the same lane: more than may be in flight."""

MOST_LETTERS = 50_000
MOST_SECONDS = 10.0
CLOCKS_APART = timedelta(minutes=10)
"""By how much the clocks of producers and brokers may differ: a letter is written after its record."""


async def in_log(committed: Reader, everything: Reader, held: Extent, place: Place) -> InLog:
    """What lies at `place`, in a partition that holds `held`.

    Args:
        committed: Reads what is committed.
        everything: Reads all.
        held: What the partition holds.
        place: Where.

    Raises:
        Unreachable: Kafka does not answer.
    """
    if not held.first <= place.offset < held.end:
        return InLog(held)
    record = await _at(committed, place) if place.offset < held.stable else None
    hidden = False
    if record is None:
        record = await _at(everything, place)
        hidden = record is not None and place.offset < held.stable
    return InLog(held, record, hidden, record is not None and is_unreadable(record))


async def _at(reading: Reader, place: Place) -> Record | None:
    async for record in reading.read(place.partition, range(place.offset, place.offset + 1)):
        return record
    return None


def is_unreadable(record: Record) -> bool:
    """Whether the client cannot read it: a bridge stops there."""
    return bool(record.headers) and record.headers[-1][0] == MENDED


async def in_group(
    reading: Reader,
    group: str,
    place: Place,
    log: InLog,
    members: Members | None,
    by_partition: Container[str],
) -> InGroup:
    """How far `group` is with the partition of `place`.

    Args:
        reading: Reads what is committed.
        group: Which.
        place: The record that is asked for.
        log: What lies there.
        members: Who is in the group, as far as that is known.
        by_partition: Topics whose order is that of the partition.

    Raises:
        Unreachable: Kafka does not answer.
    """
    partition = place.partition
    commit = (await reading.committed(group, [partition])).get(partition)
    if commit is None:
        return InGroup(group, members=members)
    finished = finished_beyond(commit)
    seen = InGroup(group, commit, finished, members)
    if seen.has_finished(place.offset):
        return seen
    first, before = None, None
    if commit.offset in log.held:
        end = min(place.offset + 1, log.held.stable)
        unfinished = await _unfinished(reading, partition, range(commit.offset, end), finished)
        first = unfinished[0] if unfinished else None
        before = _before(unfinished, log.record, by_partition)
    said = await _said_of(reading, group, log.record)
    unreadable = first is not None and is_unreadable(first) and await _said_of(reading, group, first) is None
    return InGroup(group, commit, finished, members, first, unreadable, before, said)


def finished_beyond(commit: Commit) -> frozenset[int]:
    """The offsets that a commit says are finished beyond it; none where another tool wrote it."""
    try:
        return decode(commit.offset, commit.metadata)
    except ValueError:
        return frozenset()


async def _unfinished(
    reading: Reader, partition: Partition, offsets: range, finished: Collection[int]
) -> Sequence[Record]:
    """The first records in `offsets` that are not finished."""
    found: list[Record] = []
    late = time.monotonic() + MOST_SECONDS
    async for record in reading.read(partition, offsets):
        if record.offset not in finished:
            found.append(record)
        if len(found) >= MOST_RECORDS or time.monotonic() > late:
            break
    return found


def _before(
    unfinished: Sequence[Record], record: Record | None, by_partition: Container[str]
) -> Place | None:
    if record is None:
        return None
    lane = lane_key_by(by_partition)
    mine = lane(record)
    return next(
        (Place.of(one) for one in unfinished if one.offset < record.offset and lane(one) == mine), None
    )


async def _said_of(reading: Reader, group: str, record: Record | None) -> GiveUp | None:
    if record is None:
        return None
    said = (await reading.given_up(group, [record.place])).get(record.place, ())
    here = (record.offset, record.timestamp_ms)
    return next((one for one in said if (one.offset, one.timestamp_ms) == here), None)


async def letters_where(
    reading: Reader,
    letterbox: Letterbox,
    group: str,
    since: datetime,
    means: Callable[[Found], Awaitable[bool]],
) -> tuple[Sequence[LetterFact], bool]:
    """The letters written since then that are meant, open or not; and whether all were looked at.

    Raises:
        Unreachable: Kafka does not answer.
    """
    facts: list[LetterFact] = []
    looked, late = 0, time.monotonic() + MOST_SECONDS
    held = await reading.extents(letter_topic(group))
    written = await reading.since(held, max(int(since.timestamp() * 1000), 0))
    for partition, offsets in written.items():
        async for record in reading.read(partition, offsets):
            looked += 1
            found = Found.of(record)
            if found.letter and await means(found):
                facts.append(_letter(found, letterbox))
            if looked >= MOST_LETTERS or time.monotonic() > late:
                return facts, False
    return facts, True


def letters_since(record: Record) -> datetime:
    """From when on letters about `record` may have been written."""
    return written_at(record.timestamp_ms) - CLOCKS_APART


def _letter(found: Found, letterbox: Letterbox) -> LetterFact:
    letter, standing = found.letter, letterbox.standings.get(found.place.partition)
    assert letter
    is_open = standing is None or (
        found.place.offset >= standing.offsets.start and found.place.offset not in standing.closed
    )
    return LetterFact(
        place=found.place,
        about=Place.of(letter.record),
        route=letter.about.route,
        stage=letter.stage,
        reason=letter.reason,
        failed_at=letter.failed_at,
        open=is_open,
    )
