"""Reading parts of topics from beginning to end: without a place in a group, and without leaving a trace."""

import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import GroupAuthorizationFailedError, OffsetOutOfRangeError

from service.errors import Unreachable
from service.kafka.connection import Connection
from service.kafka.given_up import GiveUp, given_up_group, said_by
from service.kafka.groups import committed_in_time
from service.kafka.outside import Isolation, onlooker, places_of
from service.kafka.raw import read_batch
from service.kafka.record import Commit, Partition, Record

RECORDS = 500
WAIT_MS = 250
FETCH_WAIT_MS = 10
PATIENCE_SECONDS = 30.0


class Reader:
    """Reads one partition at a time; made by `reader`."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self.gone = 0
        """How many offsets were asked for that the topic does not hold any more."""

    async def extents(self, topic: str) -> dict[Partition, range]:
        """See `RecordReader.extents`."""
        places = await places_of(self._consumer, topic)
        first, end = await self._consumer.beginning_offsets(places), await self._consumer.end_offsets(places)
        return {Partition(*place): range(first[place], end[place]) for place in places}

    async def offsets_at(self, topic: str, moment: datetime) -> dict[Partition, int]:
        """Of each partition of `topic`, the first offset whose record was written at `moment` or later.

        Where there is none, the next offset to be written.

        Raises:
            ConfigurationError: There is no such topic.
        """
        places = await places_of(self._consumer, topic)
        found = await self._consumer.offsets_for_times(dict.fromkeys(places, int(moment.timestamp() * 1000)))
        ends = await self._consumer.end_offsets(places)
        return {Partition(*place): at.offset if (at := found.get(place)) else ends[place] for place in places}

    async def since(self, held: Mapping[Partition, range], timestamp_ms: int) -> dict[Partition, range]:
        """Of each partition, what `held` has from the first record on with that timestamp or a later one.

        What comes behind it may be older, where timestamps do not rise with offsets.
        """
        places = [TopicPartition(*partition) for partition, offsets in held.items() if offsets]
        found = await self._consumer.offsets_for_times(dict.fromkeys(places, timestamp_ms)) if places else {}
        first = {Partition(*place): at.offset for place, at in found.items() if at}
        return {
            # Where it begins behind the end, this is empty.
            partition: offsets[max(first.get(partition, offsets.stop) - offsets.start, 0) :]
            for partition, offsets in held.items()
        }

    async def committed(self, group: str, partitions: Iterable[Partition]) -> dict[Partition, Commit]:
        """See `RecordReader.committed`."""
        return await committed_in_time(self._consumer._client, group, partitions)  # noqa: SLF001

    async def given_up(
        self, group: str, partitions: Iterable[Partition]
    ) -> dict[Partition, Sequence[GiveUp]]:
        """What people gave up on in `partitions`; nothing where we may not know, as for bridges."""
        try:
            commits = await self.committed(given_up_group(group), partitions)
        except GroupAuthorizationFailedError:
            return {}
        return {partition: said_by(commit) for partition, commit in commits.items()}

    async def partitions(self, topic: str) -> Sequence[Partition]:
        """See `LogReader.partitions`."""
        return [Partition(*place) for place in await places_of(self._consumer, topic)]

    async def written_since(self, partition: Partition, moment: datetime) -> range:
        """See `LogReader.written_since`."""
        place = TopicPartition(*partition)
        end = (await self._consumer.end_offsets([place]))[place]
        # The first offset with such a timestamp, whatever comes after it (KafkaConsumer Javadoc).
        first = (await self._consumer.offsets_for_times({place: int(moment.timestamp() * 1000)}))[place]
        return range(first.offset if first else end, end)

    async def read(self, partition: Partition, offsets: range) -> AsyncIterator[Record]:
        """See `RecordReader.read`."""
        place = TopicPartition(*partition)
        self.begin({partition: offsets.start})
        moved_at = time.monotonic()
        while (position := await self._consumer.position(place)) < offsets.stop:
            records = await self._next(place, position, RECORDS)
            if not records and time.monotonic() - moved_at > PATIENCE_SECONDS:
                raise Unreachable(f"Kafka gave nothing of {partition} from offset {position} on")
            for record in records:
                if record.offset >= offsets.stop:
                    return
                yield record
                moved_at = time.monotonic()

    def begin(self, places: Mapping[Partition, int]) -> None:
        """Read these partitions from these offsets on, by `take`."""
        self._consumer.assign([TopicPartition(*partition) for partition in places])
        for partition, offset in places.items():
            self._consumer.seek(TopicPartition(*partition), offset)

    async def take(self, partition: Partition, limit: int) -> Sequence[Record]:
        """Some records of a partition that was begun, in order; none where it takes a moment.

        About `limit` at most: what the client library cannot read comes with all of its batch.
        """
        place = TopicPartition(*partition)
        return await self._next(place, await self._consumer.position(place), limit)

    async def position(self, partition: Partition) -> int:
        """The offset that comes next of a partition that was begun."""
        position: int = await self._consumer.position(TopicPartition(*partition))
        return position

    async def _next(self, place: TopicPartition, position: int, limit: int) -> Sequence[Record]:
        try:
            batches = await self._consumer.getmany(place, timeout_ms=WAIT_MS, max_records=limit)
        except OffsetOutOfRangeError:  # what was there a moment ago is gone
            await self._consumer.seek_to_beginning(place)
            self.gone += await self._consumer.position(place) - position
            return ()
        except (UnicodeDecodeError, ValueError):
            # A header name that is not UTF-8. The client did not move on, and never would.
            batch = await read_batch(self._consumer._client, Partition(*place), position)  # noqa: SLF001
            self._consumer.seek(place, batch.next_offset)
            return batch.records
        return [Record.of(raw) for raw in batches.get(place, ())]


@asynccontextmanager
async def reader(connection: Connection, isolation: Isolation = "read_committed") -> AsyncIterator[Reader]:
    """A reader for the time of the block.

    Raises:
        Unreachable: No broker answers, at first or within the block.
    """
    # "none": where the place that is asked for has gone, the client must not go to another by itself.
    # It reads what is there: a broker that waited for more would only hold up the next partition.
    async with onlooker(connection, isolation, reset="none", fetch_wait_ms=FETCH_WAIT_MS) as consumer:
        yield Reader(consumer)
