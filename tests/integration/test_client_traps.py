"""The client's traps, each on a broker of its own kind: what would hang, stop or lose must not."""

import asyncio
import os
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.errors import UnknownMemberIdError

from service.errors import NotNow
from service.kafka.connection import Connection
from service.kafka.groups import commit_for, committed
from service.kafka.record import Commit, Partition, Record, RecordTooLarge
from service.kafka.sink import KafkaSink
from service.kafka.source import KafkaSource
from service.kafka.timeouts import ANSWER_SECONDS, MARGIN_SECONDS
from tests.conftest import NewTopic, StartKafka
from tests.servers import create_topic

BOUNDED = 12.0
"""Seconds within which each call has to end: our own limits are 5 s, and what hangs does so for ever."""


class Member:
    """A source that is alone in its group, and what it was told."""

    def __init__(self, bootstrap: str, topic: str, group: str | None = None) -> None:
        self.group = group or f"g-{uuid.uuid4().hex[:8]}"
        self.held: dict[Partition, Commit] = {}
        self.source = KafkaSource(
            Connection(bootstrap),
            group=self.group,
            topics=[topic],
            revoked=self._revoked,
            assigned=self._assigned,
            session_timeout=timedelta(seconds=6),
            drain=timedelta(seconds=1),
        )

    async def _revoked(self, partitions: frozenset[Partition]) -> None:
        for partition in partitions:
            self.held.pop(partition, None)

    def _assigned(self, commits: Mapping[Partition, Commit]) -> None:
        self.held |= commits

    async def read(self, count: int, seconds: float = 60.0) -> list[Record]:
        found: list[Record] = []
        async with asyncio.timeout(seconds):
            while len(found) < count:
                found += await self.source.poll(list(self.held), 100)
        return found


@asynccontextmanager
async def joined(bootstrap: str, topic: str, group: str | None = None) -> AsyncIterator[Member]:
    member = Member(bootstrap, topic, group)
    await member.source.start()
    try:
        yield member
    finally:
        async with asyncio.timeout(BOUNDED):
            await member.source.stop()


@asynccontextmanager
async def writing(
    bootstrap: str, send_timeout: timedelta = timedelta(seconds=30)
) -> AsyncIterator[KafkaSink]:
    sink = KafkaSink(Connection(bootstrap), send_timeout=send_timeout)
    await sink.start()
    try:
        yield sink
    finally:
        async with asyncio.timeout(BOUNDED):
            await sink.stop()


async def write(bootstrap: str, topic: str, count: int, partition: int | None = None) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    await producer.start()
    for number in range(count):
        await producer.send_and_wait(topic, str(number).encode(), partition=partition)
    await producer.stop()


async def test_a_record_that_the_broker_refuses_does_not_end_the_producer(
    kafka: str, new_topic: NewTopic
) -> None:
    # Trap 1: the idempotent producer's sequence has a hole from then on.
    topic = await new_topic(partitions=1, settings={"max.message.bytes": "2000"})
    async with writing(kafka) as sink:
        with pytest.raises(RecordTooLarge):
            await sink.send(topic, key=None, value=os.urandom(50_000), headers=())
        written = [await sink.send(topic, key=None, value=b"small", headers=()) for _ in range(3)]
    assert [one.offset for one in written] == [0, 1, 2]


async def test_no_call_hangs_while_the_broker_is_away_and_all_work_when_it_is_back(
    start_kafka: StartKafka,
) -> None:
    # Traps 2, 3, 4, 15: commit, stop and send of an idempotent producer wait for ever.
    broker = await start_kafka()
    await create_topic(broker.address, "t", partitions=1)
    await write(broker.address, "t", 3)
    async with (
        writing(broker.address, send_timeout=timedelta(seconds=3)) as sink,
        joined(broker.address, "t") as member,
    ):
        await member.read(3)
        broker.kill()
        started = time.monotonic()
        with pytest.raises(NotNow):
            await sink.send("t", key=None, value=b"lost?", headers=())
        assert not await member.source.commit({Partition("t", 0): Commit(2)})
        assert await member.source.poll(list(member.held), 10) == []
        assert time.monotonic() - started < 3 * BOUNDED
        await broker.start()
        await _until_written(sink)
        assert (await member.read(1))[0].offset == 3
        async with asyncio.timeout(60):
            while not await member.source.commit({Partition("t", 0): Commit(4)}):
                await member.source.poll(list(member.held), 10)


async def _until_written(sink: KafkaSink) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                await sink.send("t", key=None, value=b"back", headers=())
            except NotNow:
                continue
            return


async def test_stopping_is_bounded_while_the_broker_is_away(start_kafka: StartKafka) -> None:
    broker = await start_kafka()
    await create_topic(broker.address, "t", partitions=1)
    await write(broker.address, "t", 1)
    async with writing(broker.address) as sink, joined(broker.address, "t") as member:
        await member.read(1)
        broker.kill()
        sending = asyncio.create_task(sink.send("t", key=None, value=b"x", headers=()))
        await asyncio.sleep(0)
    # Both were stopped within their bounds by now, and nobody waits any more for an answer.
    async with asyncio.timeout(1):
        with pytest.raises(NotNow):
            await sending


async def test_a_new_group_begins_at_the_beginning(kafka: str, new_topic: NewTopic) -> None:
    # Trap 12, first half: the client's own default is the end.
    topic = await new_topic(partitions=1)
    await write(kafka, topic, 3)
    async with joined(kafka, topic) as member:
        assert [record.offset for record in await member.read(3)] == [0, 1, 2]


async def test_only_the_coordinator_may_answer_as_late_as_joining_takes(
    kafka: str, new_topic: NewTopic
) -> None:
    # An answer that is lost on its way would else hold its partitions for as long.
    topic = await new_topic(partitions=1)
    await write(kafka, topic, 1)
    async with joined(kafka, topic) as member:
        await member.read(1)
        connections = member.source._consumer._client._conns  # noqa: SLF001 - nobody else sees them
        limits = {group: one._request_timeout for (_, group), one in connections.items()}  # noqa: SLF001
        assert limits == {
            ConnectionGroup.DEFAULT: ANSWER_SECONDS,
            ConnectionGroup.COORDINATION: member.source.rebalance_seconds + MARGIN_SECONDS,
        }


async def test_records_that_expired_stop_their_partition_and_no_other(
    kafka: str, new_topic: NewTopic
) -> None:
    # Trap 12, second half: with `earliest` the client would skip to what is left, without a word.
    topic = await new_topic(partitions=2)
    for partition in (0, 1):
        await write(kafka, topic, 5, partition)
    async with joined(kafka, topic) as first:
        await first.read(1)
        assert await first.source.commit({Partition(topic, 0): Commit(1), Partition(topic, 1): Commit(2)})
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(3)})
    await admin.close()
    async with joined(kafka, topic, first.group) as member:
        assert {record.place for record in await member.read(3)} == {Partition(topic, 1)}
        async with asyncio.timeout(30):
            while not member.source.stopped:
                await member.source.poll(list(member.held), 10)
        (reason,) = member.source.stopped.values()
        assert list(member.source.stopped) == [Partition(topic, 0)]
        assert reason.startswith("offset 1 is no longer in the topic; say where to go on: turnout seek ")


async def test_the_map_comes_back_with_the_committed_offset(kafka: str, new_topic: NewTopic) -> None:
    # `committed()` of the client drops the metadata.
    topic = await new_topic(partitions=1)
    await write(kafka, topic, 2)
    async with joined(kafka, topic) as first:
        await first.read(2)
        assert await first.source.commit({Partition(topic, 0): Commit(0, "v1:cgEB")})
    async with joined(kafka, topic, first.group) as member:
        await member.read(2)
        assert member.held == {Partition(topic, 0): Commit(0, "v1:cgEB")}


async def test_a_group_with_members_takes_no_commit_from_outside(kafka: str, new_topic: NewTopic) -> None:
    # That is why a person is heard by way of another group.
    topic = await new_topic(partitions=1)
    await write(kafka, topic, 2)
    place = Partition(topic, 0)
    client = AIOKafkaClient(bootstrap_servers=kafka)
    await client.bootstrap()
    async with joined(kafka, topic) as member:
        await member.read(1)
        with pytest.raises(UnknownMemberIdError):
            await commit_for(client, member.group, {place: Commit(1)})
        await commit_for(client, f"{member.group}.seek", {place: Commit(1, "said")})
    assert await committed(client, member.group, [place]) == {place: Commit(0)}
    assert await committed(client, f"{member.group}.seek", [place]) == {place: Commit(1, "said")}
    await client.close()


async def test_joining_costs_one_rebalance(kafka: str, new_topic: NewTopic) -> None:
    # Trap 8: each further assignor would cost one more.
    topic = await new_topic(partitions=1)
    async with joined(kafka, topic) as member:
        async with asyncio.timeout(30):
            while not member.held:
                await member.source.poll([], 1)
        assert member.source._consumer._coordinator.generation == 1  # noqa: SLF001


async def test_a_value_larger_than_one_fetch_is_read(kafka: str, new_topic: NewTopic) -> None:
    # Trap 13.
    topic = await new_topic(partitions=1, settings={"max.message.bytes": str(8 << 20)})
    async with writing(kafka) as sink:
        await sink.send(topic, key=None, value=os.urandom(5 << 20), headers=())
        await sink.send(topic, key=None, value=b"next", headers=())
    async with joined(kafka, topic) as member:
        assert [len(record.value or b"") for record in await member.read(2)] == [5 << 20, 4]
