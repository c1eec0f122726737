"""What `turnout status` and `turnout top` work with: settings become how far a group is."""

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from service.errors import ConfigurationError
from service.failures.parks import OpenPark
from service.journeys.in_kafka import finished_beyond
from service.journeys.progress import MOST_OLDEST, Overview, PartitionState
from service.journeys.saying import written_at
from service.kafka.given_up import GiveUp
from service.kafka.outside import Extent
from service.kafka.reading import Reader, reader
from service.kafka.record import Commit, Partition, Record
from service.neighbours import KAFKA, KAFKA_SECONDS, TEMPORAL, TEMPORAL_SECONDS, Neighbours
from service.redrive.letterbox import open_letterbox
from service.routing.table import RouteTable
from service.settings import Settings

SETTLE_SECONDS = 1.0
MOST_READ = 1_000
"""So many records of a partition are read for the first that are not finished."""

READ_SECONDS = 15.0
"""For reading those of all partitions."""

LETTERS, PARKS = "open letters", "all parks"
IN_PART = frozenset({LETTERS, PARKS})
"""What is no neighbour, but a part of what one knows."""

MOST_PARKS = 100
"""Each takes a call."""


async def overview(settings: Settings, table: RouteTable) -> Overview:
    """How the group does now; who does not answer in time is told of, and the other is asked all the same.

    Raises:
        ConfigurationError: A right lacks, or the namespace is not there.
    """
    neighbours = Neighbours(settings)
    await neighbours.meet()
    seen = Overview(group=settings.group, now=datetime.now(UTC), members=neighbours.members)
    seen = await _in_kafka(seen, neighbours, table)
    seen = await _in_temporal(seen, neighbours)
    return replace(seen, unasked=neighbours.not_asked())


# --- Kafka ---


async def _in_kafka(seen: Overview, neighbours: Neighbours, table: RouteTable) -> Overview:
    if (cluster := neighbours.cluster) is None:
        return seen
    read = table.topics.real(cluster.partitions)
    there = [topic for topic in read if topic in cluster.partitions]
    missing = [topic for topic in read if topic not in cluster.partitions]

    async def ask() -> Overview:
        partitions = await _partitions(neighbours, there)
        return replace(seen, partitions=partitions, missing=missing, open_letters=await _letters(neighbours))

    return await neighbours.asked(KAFKA, ask(), KAFKA_SECONDS) or replace(seen, missing=missing)


async def _partitions(neighbours: Neighbours, topics: Sequence[str]) -> Sequence[PartitionState]:
    stable: dict[Partition, range] = {}
    ends: dict[Partition, range] = {}
    async with (
        reader(neighbours.connection) as committed,
        reader(neighbours.connection, "read_uncommitted") as everything,
    ):
        for topic in topics:
            stable |= await committed.extents(topic)
            ends |= await everything.extents(topic)
        group = neighbours.settings.group
        commits = await committed.committed(group, stable)
        given_up = await committed.given_up(group, stable)
        late = time.monotonic() + READ_SECONDS
        states = []
        for partition, offsets in stable.items():
            held = Extent(offsets.start, offsets.stop, max(ends[partition].stop, offsets.stop))
            state = _state(partition, held, commits.get(partition), given_up.get(partition, ()))
            unfinished = await _unfinished(committed, state, late)
            open_since = await _open_since(everything, state) if state.in_transaction else None
            states.append(replace(state, unfinished=unfinished, open_since=open_since))
    return states


async def _open_since(everything: Reader, state: PartitionState) -> datetime | None:
    async for record in everything.read(state.partition, range(state.held.stable, state.held.end)):
        return written_at(record.timestamp_ms)
    return None


def _state(
    partition: Partition, held: Extent, commit: Commit | None, given_up: Sequence[GiveUp]
) -> PartitionState:
    return PartitionState(
        partition,
        held,
        commit,
        finished=finished_beyond(commit) if commit else frozenset(),
        given_up=frozenset(one.offset for one in given_up),
    )


async def _unfinished(reading: Reader, state: PartitionState, late: float) -> Sequence[Record] | None:
    """The first records that are not finished; None where time is up."""
    held, found = state.held, list[Record]()
    start = max(state.commit.offset, held.first) if state.commit else held.first
    if not range(start, held.stable):
        return ()
    if time.monotonic() > late:
        return None
    async for record in reading.read(state.partition, range(start, min(held.stable, start + MOST_READ))):
        if record.offset not in state.finished:
            found.append(record)
        if len(found) == MOST_OLDEST or time.monotonic() > late:
            break
    return found


async def _letters(neighbours: Neighbours) -> int | None:
    try:
        async with reader(neighbours.connection) as reading:
            return (await open_letterbox(reading, neighbours.settings.group)).lag
    except ConfigurationError as error:  # there is no such topic, or a right lacks
        neighbours.unasked.setdefault(LETTERS, str(error))
        return None


# --- Temporal ---


async def _in_temporal(seen: Overview, neighbours: Neighbours) -> Overview:
    if (temporal := neighbours.temporal) is None:
        return seen
    reading = await neighbours.asked(TEMPORAL, temporal.board.read_settled(SETTLE_SECONDS), TEMPORAL_SECONDS)
    if reading:
        seen = replace(seen, board=reading.state, settled=reading.settled)

    async def ask() -> list[OpenPark]:
        parks: list[OpenPark] = []
        async for park in temporal.parks.open_ones():
            if len(parks) == MOST_PARKS:
                neighbours.unasked.setdefault(PARKS, f"there are more than {MOST_PARKS}; see turnout parked")
                break
            parks.append(park)
        return parks

    return replace(seen, parks=await neighbours.asked(TEMPORAL, ask(), TEMPORAL_SECONDS))
