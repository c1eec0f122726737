"""The sink: a producer that can no longer write is replaced, and its caller told to come again."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import (
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    NotLeaderForPartitionError,
    OutOfOrderSequenceNumber,
    ProducerFenced,
)

from service.errors import NotNow, Unreachable
from service.kafka import sink as sink_module
from service.kafka.connection import Connection
from service.kafka.record import RecordTooLarge, Written
from service.kafka.sink import KafkaSink


class FakeProducer:
    """Acknowledges everything, unless told to fail, or never to answer."""

    made: list["FakeProducer"]
    start_failure: Exception | None
    start_hangs: bool

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.sent: list[tuple[str, bytes | None, bytes | None, list[tuple[str, bytes | None]]]] = []
        self.partitions: list[int | None] = []
        self.failure: Exception | None = None
        self.answers = True
        self.stop_hangs = False
        self.closed: list[str] = []
        self.pending: list[asyncio.Future[Any]] = []
        self._sender = SimpleNamespace(close=self._noting("sender"), sender_task=None)
        self.client = SimpleNamespace(close=self._noting("client"), _get_conn=None)
        self.made.append(self)

    async def start(self) -> None:
        if self.start_hangs:
            await asyncio.Event().wait()
        if self.start_failure:
            raise self.start_failure

    async def send(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: Any,
        headers: list[tuple[str, bytes | None]],
        partition: int | None,
    ) -> asyncio.Future[Any]:
        self.sent.append((topic, key, self.options["value_serializer"](value), headers))
        self.partitions.append(partition)
        await asyncio.sleep(0)
        future = asyncio.get_running_loop().create_future()
        self.pending.append(future)
        if self.failure:
            future.set_exception(self.failure)
        elif self.answers:
            future.set_result(SimpleNamespace(topic=topic, partition=3, offset=len(self.sent) - 1))
        return future

    async def partitions_for(self, _topic: str) -> set[int]:
        return {0, 1, 2}

    async def stop(self) -> None:
        if self.stop_hangs:
            await asyncio.Event().wait()
        self.closed.append("stopped")

    def _noting(self, what: str) -> Callable[[], Any]:
        async def note() -> None:
            self.closed.append(what)

        return note


@pytest.fixture
def producers(monkeypatch: pytest.MonkeyPatch) -> list[FakeProducer]:
    """All producers that the sink has made, in order."""
    FakeProducer.made, FakeProducer.start_failure, FakeProducer.start_hangs = [], None, False
    monkeypatch.setattr("service.kafka.connection.AIOKafkaProducer", FakeProducer)
    monkeypatch.setattr(sink_module, "CLOSE_SECONDS", 0.2)
    return FakeProducer.made


@pytest.fixture
async def sink(producers: list[FakeProducer]) -> KafkaSink:
    sink = KafkaSink(Connection("127.0.0.1:1"), send_timeout=timedelta(milliseconds=200))
    await sink.start()
    return sink


async def send(sink: KafkaSink, topic: str = "shop.results") -> Written:
    return await sink.send(topic, key=b"A", value=None, headers=(("a", b"1"), ("a", None)))


async def test_a_record_is_written_as_given_and_its_place_told(
    sink: KafkaSink, producers: list[FakeProducer]
) -> None:
    assert await send(sink) == Written("shop.results", 3, 0)
    assert await send(sink) == Written("shop.results", 3, 1)
    (producer,) = producers
    assert producer.sent[0] == ("shop.results", b"A", None, [("a", b"1"), ("a", None)])
    assert producer.partitions == [None, None]  # left to the key


async def test_what_is_spread_by_a_number_lies_in_one_partition_by_that_number(
    sink: KafkaSink, producers: list[FakeProducer]
) -> None:
    for spread in (0, 4, 7, 7):
        await sink.send("letters", key=b"A", value=None, headers=(), spread=spread)
    assert producers[0].partitions == [0, 1, 1, 1]


async def test_each_record_is_acknowledged_by_all_in_sync_replicas(
    sink: KafkaSink, producers: list[FakeProducer]
) -> None:
    assert producers[0].options == producers[0].options | {"enable_idempotence": True, "acks": "all"}


@pytest.mark.parametrize(
    "error", [OutOfOrderSequenceNumber, InvalidProducerEpoch, InvalidProducerIdMapping, ProducerFenced]
)
async def test_a_producer_that_lost_its_sequence_is_replaced(
    sink: KafkaSink, producers: list[FakeProducer], error: type[Exception]
) -> None:
    producers[0].failure = error()
    with pytest.raises(NotNow, match=f"replaced after {error.__name__}"):
        await send(sink)
    assert producers[0].closed == ["stopped"]
    assert await send(sink) == Written("shop.results", 3, 0)
    assert len(producers) == 2


async def test_a_record_that_the_topic_does_not_take_is_too_large_and_costs_the_producer(
    sink: KafkaSink, producers: list[FakeProducer]
) -> None:
    producers[0].failure = MessageSizeTooLargeError()
    with pytest.raises(RecordTooLarge):
        await send(sink)
    await sink.send("elsewhere", key=None, value=b"", headers=())
    assert len(producers) == 2


@pytest.mark.parametrize(("seconds", "refusals_by_the_broker"), [(60.0, 1), (0.0, 3)])
async def test_what_was_refused_for_its_size_is_refused_here_for_a_while(
    sink: KafkaSink,
    producers: list[FakeProducer],
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    refusals_by_the_broker: int,
) -> None:
    monkeypatch.setattr(sink_module, "REFUSED_SECONDS", seconds)
    for _ in range(3):
        producers[-1].failure = MessageSizeTooLargeError()
        with pytest.raises(RecordTooLarge):
            await sink.send("results", key=None, value=b"x" * 100, headers=())
        producers[-1].failure = None
        await sink.send("results", key=None, value=b"x" * 99, headers=())
        await sink.send("elsewhere", key=None, value=b"x" * 100, headers=())
    assert len(producers) == 1 + refusals_by_the_broker


async def test_a_producer_that_does_not_answer_in_time_is_replaced(
    sink: KafkaSink, producers: list[FakeProducer]
) -> None:
    producers[0].answers = False
    with pytest.raises(NotNow, match="no acknowledgement within"):
        await send(sink)
    await send(sink)
    assert len(producers) == 2
    # Giving up is not cancelling: others share the batch.
    assert not producers[0].pending[0].done()


@pytest.mark.parametrize("error", [NotLeaderForPartitionError, KafkaTimeoutError, KafkaConnectionError])
async def test_an_error_that_passes_keeps_the_producer(
    sink: KafkaSink, producers: list[FakeProducer], error: type[Exception]
) -> None:
    producers[0].failure = error()
    with pytest.raises(NotNow, match=error.__name__):
        await send(sink)
    producers[0].failure = None
    await send(sink)
    assert len(producers) == 1


async def test_many_failures_of_one_producer_replace_it_once(
    sink: KafkaSink, producers: list[FakeProducer]
) -> None:
    producers[0].failure = OutOfOrderSequenceNumber()
    answers = await asyncio.gather(*(send(sink) for _ in range(10)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {NotNow}
    await asyncio.gather(*(send(sink) for _ in range(10)))
    assert len(producers) == 2
    assert producers[0].closed == ["stopped"]


async def test_nobody_is_told_to_come_again_before_the_producer_that_may_still_write_is_closed(
    sink: KafkaSink, producers: list[FakeProducer]
) -> None:
    producers[0].failure, producers[0].stop_hangs = OutOfOrderSequenceNumber(), True

    async def closed_when_told() -> list[str]:
        with pytest.raises(NotNow):
            await send(sink)
        return list(producers[0].closed)

    assert await asyncio.gather(*(closed_when_told() for _ in range(3))) == [["sender", "client"]] * 3


async def test_a_producer_whose_stop_hangs_is_closed_all_the_same(
    sink: KafkaSink, producers: list[FakeProducer]
) -> None:
    producers[0].stop_hangs = True
    async with asyncio.timeout(5):
        await sink.stop()
    assert producers[0].closed == ["sender", "client"]


async def test_what_is_sent_after_the_end_waits(sink: KafkaSink, producers: list[FakeProducer]) -> None:
    await sink.stop()
    with pytest.raises(NotNow):
        await send(sink)
    assert len(producers) == 1


@pytest.mark.parametrize("trouble", ["fails", "hangs"])
async def test_a_producer_that_cannot_start_is_closed_and_tried_again(
    sink: KafkaSink, producers: list[FakeProducer], trouble: str
) -> None:
    producers[0].failure = OutOfOrderSequenceNumber()
    with pytest.raises(NotNow):
        await send(sink)
    FakeProducer.start_failure = KafkaConnectionError() if trouble == "fails" else None
    FakeProducer.start_hangs = trouble == "hangs"
    with pytest.raises(NotNow):
        await send(sink)
    assert producers[1].closed == ["stopped"]
    FakeProducer.start_failure, FakeProducer.start_hangs = None, False
    await send(sink)
    assert len(producers) == 3


async def test_a_cluster_that_is_not_there_at_the_start_is_said_with_the_reason(
    producers: list[FakeProducer],
) -> None:
    FakeProducer.start_failure = KafkaConnectionError()
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1: "):
        await KafkaSink(Connection("127.0.0.1:1")).start()
    assert producers[0].closed == ["stopped"]


async def test_a_producer_whose_background_has_died_is_replaced(
    sink: KafkaSink, producers: list[FakeProducer]
) -> None:
    task = producers[0]._sender.sender_task = asyncio.create_task(asyncio.sleep(0))  # noqa: SLF001
    await task
    producers[0].failure = KafkaError("Unexpected error during batch delivery")
    with pytest.raises(NotNow):
        await send(sink)
    assert await send(sink) == Written("shop.results", 3, 0)
    assert len(producers) == 2


async def test_of_a_batch_that_is_refused_each_goes_alone_then(
    sink: KafkaSink, producers: list[FakeProducer]
) -> None:
    producers[0].failure = MessageSizeTooLargeError()
    both = await asyncio.gather(send(sink), send(sink), return_exceptions=True)
    assert [type(one) for one in both] == [NotNow, NotNow]
    await send(sink)
    producers[1].answers = False
    sending = [asyncio.create_task(send(sink)) for _ in range(2)]
    await asyncio.sleep(0.05)
    assert len(producers[1].sent) == 2
    producers[1].pending[1].set_exception(MessageSizeTooLargeError())
    with pytest.raises(RecordTooLarge):
        await sending[0]
    with pytest.raises(RecordTooLarge):  # of the same size
        await sending[1]


async def test_headers_count_for_what_is_refused(sink: KafkaSink, producers: list[FakeProducer]) -> None:
    producers[0].failure = MessageSizeTooLargeError()
    with pytest.raises(RecordTooLarge):
        await sink.send("t", key=None, value=b"", headers=(("a", b"1" * 2_000),))
    assert await sink.send("t", key=None, value=b"1" * 100, headers=())


async def test_nobody_writes_before_the_old_producer_is_closed_though_its_caller_goes_away(
    sink: KafkaSink, producers: list[FakeProducer]
) -> None:
    producers[0].stop_hangs = True
    producers[0].failure = ProducerFenced()
    first = asyncio.create_task(send(sink))
    await asyncio.sleep(0.05)
    first.cancel()
    assert await send(sink) == Written("shop.results", 3, 0)
    assert producers[0].closed == ["sender", "client"]
