"""Looking back: what an earlier attempt wrote is found, and for whom it is not known nothing is written."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities.ports import Published, ResultEvent
from service.errors import ConfigurationError, NotNow, Unreachable
from service.kafka.record import Headers, Partition, Record, Written
from service.kafka.spreading import partition_number
from service.results import looking_back
from service.results.looking_back import CLOCKS_APART, LookBack, Sought
from service.results.publisher import KafkaResultPublisher

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
PARTITIONS = 3
TOPIC = "shop.results"


@dataclass
class Log:
    """A topic in memory that one can look into; also a sink, whose records land when `lets_land` says so."""

    records: dict[int, list[Record]] = field(default_factory=lambda: {n: [] for n in range(PARTITIONS)})
    trouble: Exception | None = None
    looks: int = 0
    read: int = 0
    at: datetime = NOW
    lets_land: asyncio.Event = field(default_factory=asyncio.Event)

    def add(
        self, source: str, id_: str, *, key: str = "A", at: datetime | None = None, size: int = 0
    ) -> Written:
        headers = (("ce_source", source.encode()), ("ce_id", id_.encode()))
        return self._append(key.encode(), b"x" * size, headers, at or self.at)

    def _append(self, key: bytes | None, value: bytes | None, headers: Headers, at: datetime) -> Written:
        number = 0 if key is None else partition_number(key, PARTITIONS)
        lies = self.records[number]
        offset = lies[-1].offset + 2 if lies else 5  # gaps are normal
        lies.append(Record(TOPIC, number, offset, key, value, headers, int(at.timestamp() * 1000)))
        return Written(TOPIC, number, offset)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator["Log"]:
        self.looks += 1
        await asyncio.sleep(0)
        if self.trouble:
            raise self.trouble
        yield self

    async def partitions(self, topic: str) -> Sequence[Partition]:
        return [Partition(topic, number) for number in sorted(self.records)]

    async def written_since(self, partition: Partition, moment: datetime) -> range:
        lies = self.records[partition.number]
        end = lies[-1].offset + 1 if lies else 0
        first = [one.offset for one in lies if one.timestamp_ms >= moment.timestamp() * 1000]
        return range(first[0] if first else end, end)

    async def read_on(self, partition: Partition, offsets: range) -> AsyncIterator[Record]:
        for one in self.records[partition.number]:
            await asyncio.sleep(0)
            if one.offset in offsets:
                self.read += 1
                yield one

    async def send(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        spread: int | None = None,
    ) -> Written:
        await self.lets_land.wait()
        return self._append(key, value, headers, self.at)

    def ids(self) -> list[bytes | None]:
        return [dict(one.headers)["ce_id"] for lies in self.records.values() for one in lies]


def looking(log: Log) -> LookBack:
    class Opened:
        partitions = staticmethod(log.partitions)
        written_since = staticmethod(log.written_since)
        read = staticmethod(log.read_on)

    @asynccontextmanager
    async def opened() -> AsyncIterator[Opened]:
        async with log.opened():
            yield Opened()

    return LookBack(opened)


def sought(
    id_: str = "e-1", *, source: str = "/shop", key: str | None = "A", since: datetime = NOW
) -> Sought:
    return Sought(TOPIC, None if key is None else key.encode(), source, id_, since)


async def test_a_record_of_that_source_and_id_is_found_where_it_lies() -> None:
    log = Log()
    log.add("/shop", "e-0")
    log.add("/other", "e-1")
    lies = log.add("/shop", "e-1")
    log.add("/shop", "e-1")  # written again before anybody looked: the first counts
    assert await looking(log).find(sought()) == lies
    assert await looking(log).find(sought("e-2")) is None
    assert await looking(log).find(sought(source="/nobody")) is None


async def test_a_record_without_a_key_is_found_in_any_partition() -> None:
    log = Log()
    places = {key: log.add("/shop", f"of {key}", key=key) for key in "ABCDEFGH"}
    assert {place.partition for place in places.values()} == set(range(PARTITIONS))
    for key, place in places.items():
        assert await looking(log).find(sought(f"of {key}", key=None)) == place


async def test_clocks_may_be_apart_by_some_seconds() -> None:
    log = Log()
    log.add("/shop", "e-0", at=NOW - CLOCKS_APART - timedelta(milliseconds=1))
    lies = log.add("/shop", "e-1", at=NOW - CLOCKS_APART)
    assert await looking(log).find(sought()) == lies
    assert log.read == 1


async def test_the_look_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking_back, "MOST_BYTES", 1_000)
    log = Log()
    for n in range(20):
        log.add("/shop", f"e-{n}", size=400)
    assert await looking(log).find(sought("e-1"))
    assert await looking(log).find(sought("e-19")) is None


async def test_the_look_is_bounded_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking_back, "MOST_SECONDS", 0.0)
    log = Log()
    for n in range(20):
        log.add("/shop", f"e-{n}")
    assert await looking(log).find(sought("e-19")) is None
    assert log.read == 1


async def test_a_thousand_that_ask_at_once_share_two_looks() -> None:
    log = Log()
    places = {f"e-{n}": log.add("/shop", f"e-{n}", key=str(n % 7)) for n in range(1000)}
    look_back = looking(log)
    found = await asyncio.gather(
        *(look_back.find(sought(f"e-{n}", key=str(n % 7))) for n in range(1000)),
    )
    assert found == list(places.values())
    assert log.looks <= 2
    assert log.read <= 2000


async def test_one_that_is_cancelled_while_it_looks_for_all_leaves_nobody_waiting() -> None:
    log = Log()
    lies = log.add("/shop", "e-1")
    look_back = looking(log)
    first, second = (asyncio.create_task(look_back.find(sought())) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == lies


async def test_while_kafka_does_not_answer_all_who_ask_are_told_to_come_again() -> None:
    log = Log(trouble=Unreachable("no broker"))
    look_back = looking(log)
    ends = await asyncio.gather(*(look_back.find(sought()) for _ in range(5)), return_exceptions=True)
    assert {type(end) for end in ends} == {NotNow}
    assert log.looks <= 2  # the second for those who came while the first was under way
    log.trouble = None
    assert await look_back.find(sought()) is None


@pytest.mark.parametrize("trouble", [ConfigurationError("let us: …"), ConfigurationError("no topic")])
async def test_what_may_not_be_read_is_taken_for_not_there(trouble: Exception) -> None:
    assert await looking(Log(trouble=trouble)).find(sought()) is None


moments = st.integers(-30, 30).map(lambda seconds: NOW + timedelta(seconds=seconds))


@given(
    lies=st.lists(st.tuples(st.sampled_from("ABC"), st.integers(0, 9), moments), max_size=30),
    asked=st.lists(st.tuples(st.sampled_from("ABC"), st.integers(0, 9), moments), min_size=1, max_size=10),
)
def test_whatever_the_timestamps_what_was_written_since_is_found_and_nothing_else(
    lies: list[tuple[str, int, datetime]], asked: list[tuple[str, int, datetime]]
) -> None:
    async def look() -> list[Written | None]:
        log = Log()
        for key, number, at in lies:
            places.setdefault((key, number), []).append(
                (log.add("/shop", f"{key}{number}", key=key, at=at), at)
            )
        look_back = looking(log)
        return await asyncio.gather(
            *(look_back.find(sought(f"{key}{number}", key=key, since=at)) for key, number, at in asked)
        )

    places: dict[tuple[str, int], list[tuple[Written, datetime]]] = {}
    for (key, number, since), found in zip(asked, asyncio.run(look()), strict=True):
        there = places.get((key, number), [])
        assert found is None or found in [place for place, _ in there]
        assert found or not [at for _, at in there if at >= since - CLOCKS_APART]


# --- with the publisher ---

RESULT = ResultEvent(
    topic=TOPIC, id="e-1", source="/shop", type="t", subject="A", time="2026-11-24T12:00:00Z", data=1
)
AGAIN = RESULT.model_copy(update={"tried_since": NOW})


async def test_a_first_attempt_does_not_look() -> None:
    log = Log()
    log.lets_land.set()
    await KafkaResultPublisher(log, looking(log)).publish(RESULT)
    assert (log.looks, log.ids()) == (0, [b"e-1"])


async def test_a_later_attempt_writes_only_what_is_not_there() -> None:
    log = Log()
    log.lets_land.set()
    publisher = KafkaResultPublisher(log, looking(log))
    first = await publisher.publish(AGAIN)
    assert await publisher.publish(AGAIN) == first
    assert await publisher.publish(AGAIN.model_copy(update={"id": "e-2"})) != first
    assert log.ids() == [b"e-1", b"e-2"]


async def test_while_it_is_not_known_what_was_written_nothing_is() -> None:
    log = Log(trouble=Unreachable("no broker"))
    log.lets_land.set()
    with pytest.raises(NotNow):
        await KafkaResultPublisher(log, looking(log)).publish(AGAIN)
    assert not log.ids()


async def test_an_attempt_that_was_taken_for_dead_and_the_next_one_in_its_process_write_once() -> None:
    log = Log()
    publisher = KafkaResultPublisher(log, looking(log))
    zombie = asyncio.create_task(publisher.publish(RESULT))
    await asyncio.sleep(0)
    zombie.cancel()
    again = asyncio.create_task(publisher.publish(AGAIN))
    for _ in range(50):
        await asyncio.sleep(0)
    log.lets_land.set()
    assert isinstance(await again, Published)
    assert log.ids() == [b"e-1"]


class Story:
    """One result, and a worker process that is killed and begun anew as often as one likes."""

    def __init__(self) -> None:
        self.log = Log()
        self.told: list[Published] = []
        self._tried = False
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._publisher = KafkaResultPublisher(self.log, looking(self.log))
        self._attempts: list[asyncio.Task[Published]] = []

    async def play(self, step: str) -> None:
        await getattr(self, f"_{step}")()
        for _ in range(50):
            await asyncio.sleep(0)
        self.log.lets_land.clear()
        ended = [one for one in self._attempts if one.done() and not one.exception()]
        self.told += [one.result() for one in ended]

    async def _try(self) -> None:
        event = AGAIN if self._tried else RESULT
        self._attempts.append(asyncio.create_task(self._publisher.publish(event)))
        self._tried = True

    async def _land(self) -> None:
        self.log.lets_land.set()

    async def _kill(self) -> None:
        """End the process with all that is on its way; what has landed stays."""
        under_way = [*self._attempts, *self._publisher._under_way.values()]  # noqa: SLF001
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        self._begin_anew()

    async def _lose_kafka(self) -> None:
        self.log.trouble = Unreachable("no broker")

    async def _find_kafka(self) -> None:
        self.log.trouble = None


steps = st.sampled_from(["try", "land", "kill", "lose_kafka", "find_kafka"])


@given(st.lists(steps, max_size=25))
def test_however_attempts_are_killed_and_begun_anew_a_result_is_in_the_log_once(taken: list[str]) -> None:
    async def play() -> Story:
        story = Story()
        for step in [*taken, "kill", "find_kafka", "try", "land"]:
            await story.play(step)
        return story

    story = asyncio.run(play())
    (lies,) = story.log.records[partition_number(b"A", PARTITIONS)]
    assert {(one.partition, one.offset) for one in story.told} == {(lies.partition, lies.offset)}
