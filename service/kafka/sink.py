"""Writing records: an idempotent producer that is replaced when it can no longer write."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from operator import itemgetter
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    KafkaError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
    ProducerClosed,
    ProducerFenced,
    UnknownProducerId,
)

from service.errors import Answered, ConfigurationError, NotNow
from service.kafka.closing import CLOSE_SECONDS, bounded
from service.kafka.connection import START_SECONDS, Connection, listening_to_client_log
from service.kafka.record import Headers, RecordTooLarge, Written
from service.telemetry.health import AWAY_SECONDS, Problem

log = structlog.get_logger(__name__)

METADATA_SECONDS = 30.0
"""How often the cluster is asked what there is, whether anything is written or not."""

FATAL = (
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
    ProducerFenced,
    UnknownProducerId,
)
"""After these an idempotent producer of aiokafka fails for ever on that partition (aiokafka #1017).

MessageSizeTooLargeError is one of them when the broker says it: the sequence number is gone.
"""

REFUSED_SECONDS = 60.0
"""How long what a topic refused for its size is refused here, since each refusal by the broker costs the
producer that all share. After it the broker is asked again: a raised limit heals. And how long records go
one by one to a topic that refused a batch of several, of which one alone may be too large."""


class KafkaSink:
    """Writes records with `acks=all`; one producer at a time, replaced after a fatal error.

    Args:
        connection: The cluster.
        send_timeout: How long one send may take before its producer is replaced, since a batch of an
            idempotent producer never expires by itself.
        max_record: Bytes of the largest record, refused here before it takes a sequence number.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        send_timeout: timedelta = timedelta(seconds=30),
        max_record: int = 1 << 24,
    ) -> None:
        self._connection = connection
        self._send_seconds = send_timeout.total_seconds()
        self._max_record = max_record
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()
        self._closing: asyncio.Task[None] | None = None
        self._closed = False
        self._answers: set[asyncio.Future[Any]] = set()
        self._refused: dict[str, tuple[int, float]] = {}
        self._under_way = Counter[str]()
        self._shared: dict[str, float] = {}
        self._alone: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def start(self) -> None:
        """Connect.

        Raises:
            Unreachable: No broker answers; the text says host, port and reason.
            ConfigurationError: We may not write to any topic.
        """
        with listening_to_client_log() as heard:
            try:
                async with asyncio.timeout(START_SECONDS):
                    await self._current()
            except ClusterAuthorizationFailedError as error:
                right = self._connection.right("Write", "topic", "TOPIC")
                msg = f"we may not write to any topic; let us write letters and results:\n  {right}"
                raise ConfigurationError(msg) from error
            except (KafkaError, TimeoutError) as error:
                raise await self._connection.why_unreachable(heard) from error

    def problems(self) -> Iterator[Problem]:
        """Whether no broker has answered for longer than they are asked again."""
        if self._producer is None:
            text = f"there is no producer: no broker answers{self._why}"
            yield Problem("Kafka", text, patience_seconds=AWAY_SECONDS)
            return
        last_ms = self._producer.client.cluster._last_successful_refresh_ms  # noqa: SLF001 - no public word
        silent = time.time() - last_ms / 1000
        if silent > METADATA_SECONDS + AWAY_SECONDS:
            yield Problem("Kafka", f"no broker has answered for {silent:.0f} s{self._why}")

    @property
    def _why(self) -> str:
        reason = self._connection.trouble.reason
        return f": {reason}" if reason else ""

    async def stop(self) -> None:
        """Let what is on its way be acknowledged for a few seconds, then close; later sends raise NotNow."""
        self._closed = True
        producer, self._producer = self._producer, None
        if producer:
            await _close(producer)
        for answer in self._answers:
            answer.cancel()  # it will not come any more

    async def send(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        spread: int | None = None,
    ) -> Written:
        """Write one record; see `RecordSink.send`."""
        size = sum(len(name) + len(text or b"") for name, text in (("", key), ("", value), *headers))
        async with self._turn(topic):
            self._refuse_again(topic, size)
            begun = time.monotonic()
            self._under_way[topic] += 1
            try:
                return await self._write(topic, key, value, headers, spread)
            except MessageSizeTooLargeError as error:
                # Whole batches are refused: those of the same one are told in this moment, too.
                if self._under_way[topic] > 1 or begun <= self._shared.get(topic, -1.0):
                    self._shared[topic] = time.monotonic()
                    raise NotNow(
                        f"topic {topic} refused several records together", of=Answered.KAFKA
                    ) from error
                self._refused[topic] = size, time.monotonic() + REFUSED_SECONDS
                raise _too_large(topic) from error
            finally:
                self._under_way[topic] -= 1

    async def _write(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers, spread: int | None
    ) -> Written:
        producer: AIOKafkaProducer | None = None
        try:
            async with asyncio.timeout(self._send_seconds):
                producer = await self._current()
                number = None if spread is None else spread % len(await producer.partitions_for(topic))
                future = await producer.send(
                    topic, key=key, value=(value,), headers=list(headers), partition=number
                )
                done = await self._answer(future)
        except FATAL as error:
            await self._replace(producer, error)
            if isinstance(error, MessageSizeTooLargeError):
                raise
            why = f"the producer was replaced after {type(error).__name__}"
            raise NotNow(why, of=Answered.KAFKA) from error
        except TimeoutError as error:
            await self._replace(producer, error)
            why = f"topic {topic}: no acknowledgement within {self._send_seconds:.0f} s"
            raise NotNow(why, of=Answered.KAFKA) from error
        except KafkaError as error:
            if producer and _has_died(producer):
                await self._replace(producer, error)
            why = f"topic {topic}: {self._connection.in_words(error, writing_to=topic)}"
            raise NotNow(why, of=Answered.KAFKA) from error
        return Written(done.topic, done.partition, done.offset)

    @asynccontextmanager
    async def _turn(self, topic: str) -> AsyncIterator[None]:
        """One by one to a topic that has refused several together lately."""
        if time.monotonic() >= self._shared.get(topic, -REFUSED_SECONDS) + REFUSED_SECONDS:
            yield
            return
        turn = self._alone[topic]
        try:
            async with asyncio.timeout(self._send_seconds):
                await turn.acquire()
        except TimeoutError as error:
            raise NotNow(f"topic {topic}: others are written first", of=Answered.KAFKA) from error
        try:
            yield
        finally:
            turn.release()

    def _refuse_again(self, topic: str, size: int) -> None:
        refused, until = self._refused.get(topic, (size + 1, 0.0))
        if time.monotonic() >= until:
            self._refused.pop(topic, None)
        elif size >= refused:
            raise _too_large(topic)

    async def _answer(self, future: "asyncio.Future[Any]") -> Any:
        # Shielded: giving up on the answer must not cancel the batch that others share.
        answer = asyncio.shield(future)
        self._answers.add(answer)
        try:
            return await answer
        except asyncio.CancelledError:
            if self._closed and answer.cancelled() and not future.cancelled():
                raise ProducerClosed from None
            raise
        finally:
            self._answers.discard(answer)

    async def _current(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._closed:
                raise ProducerClosed
            if self._closing:
                await asyncio.wait({self._closing})
            if self._producer is None:
                producer = self._connection.producer(**self._options())
                try:
                    await producer.start()
                except BaseException:
                    await _close(producer)
                    raise
                self._producer = producer
            return self._producer

    def _options(self) -> dict[str, Any]:
        return {
            "enable_idempotence": True,
            "acks": "all",
            "linger_ms": 2,
            "max_batch_size": 65_536,
            "max_request_size": self._max_record,
            "compression_type": "lz4",
            # The value comes in a tuple: the client would refuse a record with neither key nor value,
            # which other clients write, and of which we have to make letters.
            "value_serializer": itemgetter(0),
            "request_timeout_ms": 30_000,
            "metadata_max_age_ms": int(METADATA_SECONDS * 1000),
        }

    async def _replace(self, producer: AIOKafkaProducer | None, error: Exception) -> None:
        async with self._starting:
            if producer is None or self._producer is not producer:
                return
            self._producer = None
            log.warning("producer replaced", error=type(error).__name__)
            # Nobody goes on before it is closed: what it may still have written must be there, or never
            # come, when one that was told to come again looks. Also when this caller goes away meanwhile.
            self._closing = asyncio.create_task(_close(producer))
            await asyncio.wait({self._closing})


def _has_died(producer: AIOKafkaProducer) -> bool:
    """Whether it writes nothing any more, though it takes records: an error that it did not expect."""
    task = producer._sender.sender_task  # noqa: SLF001
    return task is not None and task.done()


def _too_large(topic: str) -> RecordTooLarge:
    return RecordTooLarge(f"topic {topic} does not take a record of this size")


async def _close(producer: AIOKafkaProducer) -> None:
    """Close in bounded time: `stop` waits for ever for a batch that no broker takes."""
    if await bounded(producer.stop(), CLOSE_SECONDS):
        return
    # What `stop` would do last. Without it the sender would go on in the background and write later what its
    # caller was told is not known to be written. It waits for requests under way: the client fails them.
    await asyncio.gather(
        bounded(producer._sender.close(), CLOSE_SECONDS),  # noqa: SLF001
        bounded(producer.client.close(), CLOSE_SECONDS),
    )
