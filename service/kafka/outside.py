"""Looking at topics from outside: without a place in a group, and without leaving a trace."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from service.errors import ConfigurationError
from service.kafka.admin import no_such_topic
from service.kafka.closing import close
from service.kafka.connection import START_SECONDS, Connection, listening_to_client_log
from service.kafka.record import Partition, Record

Isolation = Literal["read_committed", "read_uncommitted"]
Reset = Literal["latest", "none"]


@asynccontextmanager
async def onlooker(
    connection: Connection,
    isolation: Isolation = "read_committed",
    *,
    reset: Reset = "latest",
    fetch_wait_ms: int = 500,
) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer without a group, for the time of the block; brokers may wait so long for new records.

    Raises:
        Unreachable: No broker answers, at first or within the block; the text says what is known.
        ConfigurationError: A right lacks.
    """
    consumer = connection.consumer(
        isolation_level=isolation,
        auto_offset_reset=reset,
        fetch_max_wait_ms=fetch_wait_ms,
    )
    try:
        with listening_to_client_log() as heard:
            try:
                async with asyncio.timeout(START_SECONDS):
                    await consumer.start()
            except (KafkaError, TimeoutError) as error:
                raise await connection.why_unreachable(heard) from error
        yield consumer
    except KafkaError as error:
        raise connection.not_asked(error) from error
    finally:
        await close(consumer)


@dataclass(frozen=True, slots=True)
class Extent:
    """What a partition holds: offsets from `first` to before `end`.

    Those from `stable` on belong to transactions that are still open, or come after them.
    """

    first: int
    stable: int
    end: int

    def __contains__(self, offset: int) -> bool:
        """Whether a reader may stand there; `end` is where one stands who has read all."""
        return self.first <= offset <= self.end

    def __str__(self) -> str:
        if self.first == self.end:
            return f"it is empty, and its next offset is {self.end}"
        return f"it holds {self.first} to {self.end - 1}"


async def extent(connection: Connection, partition: Partition) -> Extent:
    """What `partition` holds now.

    Raises:
        Unreachable: No broker answers.
        ConfigurationError: There is no such topic, or no such partition.
    """
    async with onlooker(connection) as consumer:
        place = TopicPartition(*partition)
        if place not in (places := await places_of(consumer, partition.topic)):
            numbers = f"0 to {places[-1].partition}" if places[1:] else "0 alone"
            msg = f"topic {partition.topic} has no partition {partition.number}; it has {numbers}"
            raise ConfigurationError(msg)
        first = (await consumer.beginning_offsets([place]))[place]
        stable = (await consumer.end_offsets([place]))[place]
    async with onlooker(connection, "read_uncommitted") as consumer:
        return Extent(first, stable, (await consumer.end_offsets([place]))[place])


async def read_on(
    connection: Connection, topic: str, *, last: int, follow: bool, show: Callable[[Record], None]
) -> None:
    """Show the newest `last` records per partition, and with `follow` what comes after, for ever.

    Raises:
        Unreachable: No broker answers.
        ConfigurationError: There is no such topic.
    """
    async with onlooker(connection) as consumer:
        places = await places_of(consumer, topic)
        consumer.assign(places)
        first, end = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        for place in places:
            consumer.seek(place, max(first[place], end[place] - last))
        while follow or any([await consumer.position(p) < end[p] for p in places]):
            for batch in (await consumer.getmany(timeout_ms=250)).values():
                for raw in batch:
                    show(Record.of(raw))


async def places_of(consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    """The partitions of `topic` in order.

    Raises:
        ConfigurationError: There is no such topic.
    """
    known = await consumer.topics()
    if topic not in known:
        raise ConfigurationError(no_such_topic(topic, known))
    await consumer._client.set_topics({topic})  # noqa: SLF001 - else partitions are not known before assign
    return [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
