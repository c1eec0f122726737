"""Looking back on a real broker: by the very partition of the key, and behind open transactions."""

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from aiokafka import AIOKafkaProducer

from activities.ports import ResultEvent
from service.kafka.connection import Connection
from service.kafka.reading import reader
from service.kafka.sink import KafkaSink
from service.results.looking_back import LookBack
from service.results.publisher import KafkaResultPublisher
from tests.conftest import NewTopic

PARTITIONS = 5


def result(topic: str, id_: str, subject: str, *, again: bool) -> ResultEvent:
    return ResultEvent(
        topic=topic,
        id=id_,
        source="/tests",
        type="told",
        subject=subject,
        time="2026-11-24T12:00:00Z",
        data={"id": id_},
        tried_since=datetime.now(UTC) - timedelta(seconds=30) if again else None,
    )


@pytest.fixture
async def publisher(kafka: str) -> AsyncIterator[KafkaResultPublisher]:
    connection = Connection(kafka)
    sink = KafkaSink(connection)
    await sink.start()
    yield KafkaResultPublisher(sink, LookBack(partial(reader, connection, "read_uncommitted")))
    await sink.stop()


@pytest.mark.parametrize("subject", ["", "A", "order/1", "ключ", "x" * 1000])
async def test_what_was_written_is_found_in_the_partition_of_its_key(
    publisher: KafkaResultPublisher, new_topic: NewTopic, subject: str
) -> None:
    topic = await new_topic(partitions=PARTITIONS)
    for n in range(8):
        first = await publisher.publish(result(topic, f"e-{n}", subject, again=False))
        assert await publisher.publish(result(topic, f"e-{n}", subject, again=True)) == first
    fresh = await publisher.publish(result(topic, "e-9", subject, again=True))
    assert await publisher.publish(result(topic, "e-9", subject, again=True)) == fresh


async def test_it_is_found_behind_a_transaction_of_somebody_else_that_is_open(
    kafka: str, publisher: KafkaResultPublisher, new_topic: NewTopic
) -> None:
    topic = await new_topic(partitions=1)
    other = AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=topic)
    await other.start()
    try:
        async with other.transaction():
            await other.send_and_wait(topic, b"{}")
            first = await publisher.publish(result(topic, "e-1", "A", again=False))
            assert await publisher.publish(result(topic, "e-1", "A", again=True)) == first
    finally:
        await other.stop()


async def test_what_lies_long_before_the_first_attempt_is_not_read(
    kafka: str, publisher: KafkaResultPublisher, new_topic: NewTopic
) -> None:
    topic = await new_topic(partitions=1)
    old = AIOKafkaProducer(bootstrap_servers=kafka)
    await old.start()
    hour_ago = int(time.time() - 3600) * 1000
    for n in range(100):
        await old.send_and_wait(topic, b"{}", timestamp_ms=hour_ago + n)
    await old.stop()
    first = await publisher.publish(result(topic, "e-1", "A", again=False))
    async with reader(Connection(kafka), "read_uncommitted") as reading:
        (partition,) = await reading.partitions(topic)
        lately = datetime.now(UTC) - timedelta(minutes=1)
        assert await reading.written_since(partition, lately) == range(first.offset, first.offset + 1)
        later = datetime.now(UTC) + timedelta(minutes=1)
        assert not await reading.written_since(partition, later)
        assert [one.offset async for one in reading.read(partition, range(101, 101))] == []
