"""What waits for people is counted where it is known, and never a reason to stop."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress

import pytest
from structlog.testing import capture_logs

from service.errors import NotNow, Unreachable
from service.failures.letters import letter_topic
from service.kafka.connection import Connection
from service.kafka.record import Commit, Partition
from service.redrive import standing
from service.redrive.standing import StandingWatch
from service.telemetry.metrics import Metrics
from tests.unit.fakes import FakeParks

OPEN = 'turnout_open_letters{group="shop"} '
PARKS = 'turnout_open_parks{group="shop"} '


class Counted(FakeParks):
    """Parks that are counted; with an error, they cannot be."""

    def __init__(self) -> None:
        super().__init__()
        self.error: Exception | None = None

    async def count(self) -> int:
        if self.error:
            raise self.error
        return 2


class Kafka:
    """Two partitions of letters, of which some are done with."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    async def extents(self, _topic: str) -> Mapping[Partition, range]:
        if self.error:
            raise self.error
        topic = letter_topic("shop")
        return {Partition(topic, 0): range(3, 10), Partition(topic, 1): range(4)}

    async def committed(self, _group: str, _partitions: object) -> Mapping[Partition, Commit]:
        return {Partition(letter_topic("shop"), 0): Commit(8)}


class World:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kafka, self.parks, self.metrics, self.ours = Kafka(), Counted(), Metrics(), True

        @asynccontextmanager
        async def reader(_connection: object) -> AsyncIterator[Kafka]:
            yield self.kafka

        monkeypatch.setattr(standing, "reader", reader)
        monkeypatch.setattr(standing, "LOOK_SECONDS", 0.0)
        monkeypatch.setattr(standing, "TURN_SECONDS", 0.0)
        self.watch = StandingWatch(Connection("127.0.0.1:1"), "shop", self.parks, self.metrics)

    def shows(self, text: str) -> bool:
        return text in self.metrics.text()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


async def test_what_is_not_known_is_not_shown_and_said_once(world: World) -> None:
    await world.watch.look()
    assert world.shows(f"{OPEN}6.0\n")  # two of the first partition, all of the second
    assert world.shows(f"{PARKS}2.0\n")
    world.kafka.error, world.parks.error = Unreachable("Kafka is away"), NotNow("Temporal is away")
    with capture_logs() as lines:
        for _ in range(3):
            await world.watch.look()
    assert [line["reason"] for line in lines] == ["Kafka is away", "Temporal is away"]
    assert not world.shows(OPEN)
    assert not world.shows(PARKS)
    world.kafka.error = None
    await world.watch.look()
    assert world.shows(f"{OPEN}6.0\n")


async def test_only_the_process_whose_it_is_shows_it_and_a_defect_does_not_end_that(world: World) -> None:
    looking = asyncio.create_task(world.watch.keep_looking(lambda: world.ours))
    try:
        await until(lambda: world.shows(OPEN))
        world.ours = False
        await until(lambda: not world.shows(OPEN))
        world.kafka.error, world.ours = ZeroDivisionError(), True
        with capture_logs() as lines:
            await until(lambda: "defect while it was counted what is open" in [one["event"] for one in lines])
        world.kafka.error = None
        await until(lambda: world.shows(OPEN))
    finally:
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking


async def test_a_look_that_goes_on_when_we_are_to_stop_comes_to_its_end(world: World) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def count() -> int:
        begun.set()
        await go_on.wait()
        return 7

    world.parks.count = count  # type: ignore[method-assign]
    looking = asyncio.create_task(world.watch.keep_looking(lambda: world.ours))
    await begun.wait()
    looking.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with suppress(asyncio.CancelledError):
        await looking
    assert world.shows('turnout_open_parks{group="shop"} 7.0')


async def test_one_that_does_not_is_given_up_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "END_SECONDS", 0.01)
    begun, ended = asyncio.Event(), asyncio.Event()

    async def count() -> int:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return 0

    world.parks.count = count  # type: ignore[method-assign]
    looking = asyncio.create_task(world.watch.keep_looking(lambda: world.ours))
    await begun.wait()
    looking.cancel()
    async with asyncio.timeout(10):
        await ended.wait()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - nothing tells that it changed
            await asyncio.sleep(0)
