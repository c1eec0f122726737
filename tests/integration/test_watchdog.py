"""A client that is stuck is replaced while the bridge runs; one that only waits is left alone."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from service import wiring
from service.kafka.connection import Connection
from service.kafka.record import Commit, Partition
from service.kafka.source import KafkaSource
from service.kafka.watchdog import LOOKS, WatchedSource, fresh_look
from service.local import HOST, LocalTemporal
from tests.conftest import NewTopic, StartKafka
from tests.integration.proxy import proxy
from tests.integration.service import site
from tests.servers import ApacheKafka, create_topic, random_port

PATIENCE = timedelta(seconds=2)
ROUTES = """
version: 1
topics:
  @in: {}
routes:
  - name: keep
    from: @in
    type: kept
    start: {workflow: Keep, id: "@id/${data.id}", task_queue: @queue, input: "${data}"}
"""


class Member:
    """A watched source that is alone in its group and polled all the time; what it got, and what was seen."""

    def __init__(self, bootstrap: str, topic: str, instance: str | None = None) -> None:
        self.sources: list[KafkaSource] = []
        self.held: dict[Partition, Commit] = {}
        self.read: defaultdict[tuple[int, Partition], list[int]] = defaultdict(list)  # by assignment
        self.assignments = 0
        self.got_through: list[bool] = []
        self._make = partial(
            KafkaSource,
            Connection(bootstrap),
            group=f"g-{topic}",
            topics=[topic],
            revoked=self._revoked,
            assigned=self._assigned,
            instance=instance,
            session_timeout=timedelta(seconds=6),
            drain=timedelta(seconds=1),
        )
        self._fresh_look = partial(fresh_look, Connection(bootstrap), f"g-{topic}")
        self.watched = WatchedSource(self._new_source, self._look, patience=PATIENCE)

    def _new_source(self) -> KafkaSource:
        self.sources.append(self._make())
        return self.sources[-1]

    async def _look(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        self.got_through.append(False)
        ends = await self._fresh_look(partitions)
        self.got_through[-1] = True
        return ends

    async def _revoked(self, partitions: frozenset[Partition]) -> None:
        for partition in partitions:
            self.held.pop(partition, None)

    def _assigned(self, commits: Mapping[Partition, Commit]) -> None:
        self.assignments += 1
        self.held |= commits

    async def poll(self) -> None:
        while True:
            for record in await self.watched.poll(list(self.held), 100):
                self.read[self.assignments, record.place].append(record.offset)

    async def until(self, holds: Callable[[], bool], seconds: float = 60) -> None:
        async with asyncio.timeout(seconds):
            while not holds():  # noqa: ASYNC110 - there are many things to wait for
                await asyncio.sleep(0.02)

    def count(self) -> int:
        """How many records it got, over all assignments."""
        return sum(map(len, self.read.values()))


@asynccontextmanager
async def joined(bootstrap: str, topic: str, instance: str | None = None) -> AsyncIterator[Member]:
    member = Member(bootstrap, topic, instance)
    await member.watched.start()
    polling = asyncio.create_task(member.poll())
    try:
        yield member
    finally:
        async with asyncio.timeout(30):
            await member.watched.stop()
        assert not polling.done()
        polling.cancel()


async def write(bootstrap: str, topic: str, count: int, partition: int = 0) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    await producer.start()
    for number in range(count):
        await producer.send_and_wait(topic, str(number).encode(), partition=partition)
    await producer.stop()


def stop_fetching(source: KafkaSource) -> None:
    """What an error that the client did not expect does: nothing is fetched any more, and nothing is said."""
    fetcher = source._consumer._fetcher  # noqa: SLF001
    for task in (fetcher._fetch_task, *fetcher._pending_tasks):  # noqa: SLF001
        task.cancel()


@pytest.mark.parametrize("instance", [None, "static"])
async def test_a_client_that_fetches_no_more_is_replaced_and_all_records_come_in_order(
    kafka: str, new_topic: NewTopic, instance: str | None
) -> None:
    topic = await new_topic(partitions=2)
    places = [Partition(topic, number) for number in range(2)]
    async with joined(kafka, topic, instance) as member:
        for place in places:
            await write(kafka, topic, 5, place.number)
        await member.until(lambda: member.count() == 10)
        assert await member.watched.commit({places[0]: Commit(5), places[1]: Commit(3)})
        stop_fetching(member.sources[0])
        for place in places:
            await write(kafka, topic, 4, place.number)
        await member.until(lambda: len(member.sources) == 2)
        await member.until(lambda: member.count() == 10 + 4 + 6)
        assert member.read == {
            (1, places[0]): [0, 1, 2, 3, 4],
            (1, places[1]): [0, 1, 2, 3, 4],
            (2, places[0]): [5, 6, 7, 8],
            (2, places[1]): [3, 4, 5, 6, 7, 8],
        }
        await write(kafka, topic, 1)
        await member.until(lambda: member.read[2, places[0]] == [5, 6, 7, 8, 9])
        assert await member.watched.commit({places[0]: Commit(10)})


async def test_a_client_whose_brokers_all_moved_to_other_addresses_is_replaced(
    start_kafka: StartKafka, tmp_path: Path
) -> None:
    # The broker is reached by a door, and another one later, as pods are; its bootstrap address stays.
    doors, place = [random_port(), random_port()], Partition("t", 0)
    broker = await start_kafka(_advertised(doors[0]))
    moved = ApacheKafka(tmp_path / "kafka-1", overrides=_advertised(doors[1]), port=broker.port)
    async with AsyncExitStack() as old, AsyncExitStack() as new:
        await old.enter_async_context(proxy(broker.address, doors[0]))
        await create_topic(broker.address, "t", partitions=1)
        await write(broker.address, "t", 3)
        new.callback(moved.kill)
        await new.enter_async_context(proxy(broker.address, doors[1]))
        async with joined(broker.address, "t") as member:
            await member.until(lambda: member.count() == 3)
            assert await member.watched.commit({place: Commit(2)})
            broker.kill()
            await old.aclose()
            await moved.start()
            await write(broker.address, "t", 3)
            await member.until(lambda: member.count() == 3 + 4)
            assert len(member.sources) == 2
            assert member.read == {(1, place): [0, 1, 2], (2, place): [2, 3, 4, 5]}


async def test_an_open_transaction_replaces_nothing(kafka: str, new_topic: NewTopic) -> None:
    topic = await new_topic(partitions=1)
    async with joined(kafka, topic) as member:
        await write(kafka, topic, 2)
        await member.until(lambda: member.count() == 2)
        producer = AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=topic)
        await producer.start()
        async with producer.transaction():
            for _ in range(3):
                await producer.send_and_wait(topic, b"open", partition=0)
            await write(kafka, topic, 2)
            member.got_through.clear()
            await member.until(lambda: len(member.got_through) > 3 * LOOKS)
            assert all(member.got_through[:-1])
            assert member.count() == 2
        await member.until(lambda: member.count() == 7)
        await producer.stop()
        assert len(member.sources) == 1
        assert member.read == {(1, Partition(topic, 0)): [0, 1, 2, 3, 4, 5, 6]}


async def test_a_broker_that_is_down_for_long_replaces_nothing(start_kafka: StartKafka) -> None:
    broker = await start_kafka()
    await create_topic(broker.address, "t", partitions=1)
    async with joined(broker.address, "t") as member:
        await write(broker.address, "t", 3)
        await member.until(lambda: member.count() == 3)
        broker.kill()
        member.got_through.clear()
        await member.until(lambda: len(member.got_through) > 3 * LOOKS)
        assert not any(member.got_through)
        assert len(member.sources) == 1
        await broker.start()
        await write(broker.address, "t", 3)
        await member.until(lambda: member.count() == 6)
        member.got_through.clear()
        await member.until(lambda: len(member.got_through) > LOOKS)
        assert len(member.sources) == 1


async def test_the_bridge_goes_on_with_a_new_client_and_does_nothing_twice(
    kafka: str, temporal: LocalTemporal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[WatchedSource] = []

    def watched(*args: object, **how: object) -> WatchedSource:
        made.append(WatchedSource(*args, **how, patience=PATIENCE))  # type: ignore[arg-type]
        return made[-1]

    monkeypatch.setattr(wiring, "WatchedSource", watched)
    async with site(kafka, temporal.address, tmp_path, ROUTES) as here, here.running():
        before = [await here.send("kept", {"id": f"{n}"}, key=f"{n}") for n in range(20)]
        await here.past(*before)
        source = made[0]._source  # noqa: SLF001
        assert source
        stop_fetching(source)
        after = [await here.send("kept", {"id": f"{n}"}, key=f"{n}") for n in range(20, 40)]
        await here.past(*after)
        (line,) = [line for line in here.lines if line["event"] == "client stuck: it is replaced"]
        assert line["what"].endswith(" stands still")
        # All the first were committed, so none came again.
        assert [said.kind for place in [*before, *after] for said in here.said(place)] == ["accepted"] * 40
        assert not await here.letters()


def _advertised(door: int) -> Mapping[str, str]:
    return {"advertised.listeners": f"PLAINTEXT://{HOST}:{door}"}
