"""Being the only one at work in a group, and reading from outside, on a real broker."""

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition

from service.errors import ConfigurationError, Unreachable
from service.kafka import membership
from service.kafka.connection import Connection
from service.kafka.membership import only_member
from service.kafka.raw import MENDED
from service.kafka.reading import reader
from service.kafka.record import Commit, Partition
from tests.conftest import NewTopic, StartKafka
from tests.servers import create_topic


@pytest.fixture
def connection(kafka: str) -> Connection:
    return Connection(kafka)


@pytest.fixture
async def topic(new_topic: NewTopic) -> str:
    return await new_topic()


@pytest.fixture
async def producer(kafka: str) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    yield producer
    await producer.stop()


async def test_what_the_only_one_stores_is_there_for_the_next(connection: Connection, topic: str) -> None:
    places = [Partition(topic, number) for number in range(3)]
    async with only_member(connection, topic, topic) as member:
        assert await member.commits() == {}
        await member.store({places[0]: Commit(5, "v1:x"), places[2]: Commit(7)})
    async with only_member(connection, topic, topic) as member:
        assert await member.commits() == {places[0]: Commit(5, "v1:x"), places[2]: Commit(7)}
    async with reader(connection) as reading:
        assert (await reading.committed(topic, places))[places[0]] == Commit(5, "v1:x")


async def test_a_second_one_is_refused_and_does_not_disturb_the_first(
    connection: Connection, topic: str
) -> None:
    async with only_member(connection, topic, topic) as member:
        for n in range(2):
            with pytest.raises(ConfigurationError, match="another command is at work in group"):
                async with only_member(connection, topic, topic):
                    pytest.fail("both are at work")
            await member.store({Partition(topic, 0): Commit(n)})
        assert await member.commits() == {Partition(topic, 0): Commit(1)}


async def test_of_many_that_begin_at_once_exactly_one_is_at_work(connection: Connection, topic: str) -> None:
    let_in = asyncio.Event()
    refused = 0

    async def begin() -> None:
        nonlocal refused
        try:
            async with only_member(connection, topic, topic) as member:
                assert not let_in.is_set()
                let_in.set()
                while refused < 3:  # noqa: ASYNC110 - what it waits for is a number
                    await asyncio.sleep(0.01)
                await member.store({Partition(topic, 0): Commit(1)})
        except ConfigurationError:
            refused += 1

    async with asyncio.timeout(60):
        await asyncio.gather(*(begin() for _ in range(4)))
    assert (let_in.is_set(), refused) == (True, 3)


async def test_after_one_that_died_the_next_is_let_in(
    connection: Connection, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(membership, "SESSION_SECONDS", 2)
    dead = membership.OnlyMember(connection, topic, topic)
    await dead.consumer.start()
    await dead.join()
    await dead.store({Partition(topic, 1): Commit(3)})
    coordinator = dead.consumer._coordinator  # noqa: SLF001 - dead from now on
    coordinator._coordination_task.cancel()  # noqa: SLF001 - silent, as after a SIGKILL
    await coordinator._stop_heartbeat_task()  # noqa: SLF001
    async with asyncio.timeout(30), only_member(connection, topic, topic) as member:
        assert await member.commits() == {Partition(topic, 1): Commit(3)}
    await dead.consumer.stop()


async def test_one_that_was_thought_dead_and_comes_back_stores_nothing_and_takes_nothing_from_the_next(
    connection: Connection, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(membership, "SESSION_SECONDS", 2)
    place = Partition(topic, 0)
    for _ in range(3):  # which of two goes first is a matter of their ids, which are random
        async with asyncio.timeout(60), only_member(connection, topic, topic) as late:
            coordinator, awake = late.consumer._coordinator, asyncio.Event()  # noqa: SLF001
            beat = coordinator._do_heartbeat  # noqa: SLF001

            async def heartbeat(beat: Any = beat, awake: asyncio.Event = awake) -> Any:
                await awake.wait()
                return await beat()

            coordinator._do_heartbeat = heartbeat  # noqa: SLF001 - as if the machine slept
            async with only_member(connection, topic, topic) as member:
                await member.store({place: Commit(5)})
                awake.set()
                with pytest.raises(ConfigurationError, match="another command is at work"):
                    await late.store({place: Commit(3)})
                assert (await member.commits())[place] == Commit(5)
                for _ in range(3):
                    await member.store({place: Commit(6)})
                    await asyncio.sleep(0.5)  # over several heartbeats
                assert (await member.commits())[place] == Commit(6)


async def test_storing_goes_on_across_a_restart_of_the_broker(
    start_kafka: StartKafka,
) -> None:
    broker = await start_kafka()
    connection = Connection(broker.address)
    await create_topic(broker.address, "letters")
    async with only_member(connection, "g", "letters") as member:
        await member.store({Partition("letters", 0): Commit(1)})
        broker.kill()
        storing = asyncio.create_task(member.store({Partition("letters", 0): Commit(2, "v1:")}))
        await broker.start()
        await storing
        assert await member.commits() == {Partition("letters", 0): Commit(2, "v1:")}


# --- reading ---


async def test_a_part_of_a_partition_is_read_and_no_more(
    connection: Connection, topic: str, producer: AIOKafkaProducer
) -> None:
    for n in range(20):
        await producer.send_and_wait(topic, str(n).encode(), partition=1)
    place = Partition(topic, 1)
    async with reader(connection) as reading:
        extents = await reading.extents(topic)
        assert extents == {Partition(topic, 0): range(0), place: range(20), Partition(topic, 2): range(0)}
        assert [one.offset async for one in reading.read(place, range(5, 9))] == [5, 6, 7, 8]
        assert [one.value async for one in reading.read(place, range(3, 4))] == [b"3"]
        assert [one.offset async for one in reading.read(place, extents[place])] == list(range(20))
        with pytest.raises(ConfigurationError, match="there is no topic"):
            await reading.extents("no-such-topic")


async def test_what_has_been_deleted_meanwhile_is_passed_over_and_nothing_else(
    connection: Connection, kafka: str, topic: str, producer: AIOKafkaProducer
) -> None:
    for n in range(20):
        await producer.send_and_wait(topic, str(n).encode(), partition=0)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=7)})
    await admin.close()
    async with reader(connection) as reading:
        offsets = [one.offset async for one in reading.read(Partition(topic, 0), range(2, 10))]
    assert offsets == [7, 8, 9]


async def test_reading_what_never_comes_ends_with_an_error(
    connection: Connection, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.kafka.reading.PATIENCE_SECONDS", 0.5)
    began = time.monotonic()
    with pytest.raises(Unreachable, match="gave nothing"):
        async with reader(connection) as reading:
            assert [one async for one in reading.read(Partition(topic, 0), range(5))]
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("compression", ["none", "lz4"])
async def test_a_record_that_the_client_refuses_is_read_with_readable_names_and_so_are_its_neighbours(
    connection: Connection, topic: str, producer: AIOKafkaProducer, kafka: str, compression: str
) -> None:
    if shutil.which("kcat") is None and os.environ.get("CI") != "true":
        pytest.skip("needs kcat, which alone writes such a header")
    await producer.send_and_wait(topic, b"before", partition=0)
    argv = [
        b"kcat",
        b"-P",
        b"-b",
        kafka.encode(),
        b"-t",
        topic.encode(),
        b"-p",
        b"0",
        b"-z",
        compression.encode(),
    ]
    kcat = await asyncio.create_subprocess_exec(
        *argv, b"-H", b"fine=1", b"-H", b"na\xffme=x", stdin=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(20):
        await kcat.communicate(b"one\ntwo\nthree")  # one batch
    await producer.send_and_wait(topic, b"behind", partition=0)
    async with reader(connection) as reading:
        extents = await reading.extents(topic)
        found = [one async for one in reading.read(Partition(topic, 0), extents[Partition(topic, 0)])]
        (two,) = [one async for one in reading.read(Partition(topic, 0), range(2, 3))]
    assert [one.value for one in found] == [b"before", b"one", b"two", b"three", b"behind"]
    assert two == found[2]
    assert two.headers == (("fine", b"1"), (r"na\xffme", b"x"), (MENDED, b"1"))
