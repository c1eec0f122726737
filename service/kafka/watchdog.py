"""The watchdog: a client that is stuck, while a fresh one gets through, is replaced.

Clients have got stuck after a broker's restart or a rebalance, without an error, or because all brokers that
they knew have got other addresses (aiokafka #1154, #1037, #456). What tells a stuck client from a Kafka that
is away, an open transaction or an idle topic is a fresh client: it resolves names anew, and sees records
that may be read where the old one does not move on.
"""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from service.errors import TurnoutError
from service.kafka.closing import close
from service.kafka.connection import Connection
from service.kafka.groups import committed
from service.kafka.record import Commit, Partition, Record
from service.kafka.source import POLL_SECONDS, KafkaSource
from service.telemetry.health import Problem

log = structlog.get_logger(__name__)

Look = Callable[[Sequence[Partition]], Awaitable[Mapping[Partition, int]]]

PATIENCE = timedelta(seconds=60)
LOOKS = 4
"""How often we look in that time. Looks are counted, not seconds: to one who was suspended for an hour, what
he last saw may have been true for a moment only."""

LOOK_SECONDS = 10.0
RETRY_SECONDS = 2.0
MOST_DOUBLINGS = 6

STOPPED = "decide where it goes on, and say so: the reason names the command"
HANGING = "where its producer has died: kafka-transactions.sh find-hanging, then abort"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that should not last: `what` is `at` the same number still.

    `seen` is for the log; `looks` says for how many looks after the first it may last.
    """

    what: str
    at: int
    seen: str = field(compare=False)
    looks: int = field(compare=False)


class Suspicion:
    """What was seen in one look after the other."""

    def __init__(self) -> None:
        self._looks: dict[Trouble, int] = {}
        self._rebuilds: Counter[Trouble] = Counter()

    def lasting(self, troubles: Iterable[Trouble]) -> Trouble | None:
        """One of `troubles`, which this look sees, that has lasted too long; then all begins anew.

        One for which that was said before is given twice the time: what a new client does not cure is not
        the client's.
        """
        self._looks = {trouble: self._looks.get(trouble, -1) + 1 for trouble in troubles}
        for trouble, looks in self._looks.items():
            if looks >= trouble.looks * 2 ** min(self._rebuilds[trouble], MOST_DOUBLINGS):
                self._rebuilds[trouble] += 1
                self._looks = {}
                return trouble
        return None


class WatchedSource:
    """A source whose client is replaced when it is stuck; see `RecordSource`.

    Args:
        make: Gives a source that has not been started, always of the same group and static member.
        look: With a fresh client: where the records of partitions that may be read end. Raises KafkaError,
            TurnoutError or OSError when it does not get through; bounded in time here.
        patience: How long a client may stand still although records wait.
    """

    def __init__(
        self, make: Callable[[], KafkaSource], look: Look, *, patience: timedelta = PATIENCE
    ) -> None:
        self._make = make
        self._look = look
        self._patience = patience.total_seconds()
        self._suspicion = Suspicion()
        self._source: KafkaSource | None = None
        self._watching: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def stopped(self) -> Mapping[Partition, str]:
        """Partitions that a person must look at, with the reason."""
        return self._source.stopped if self._source else {}

    @property
    def topics(self) -> Sequence[str]:
        """The topics that are read, as far as they were found."""
        return self._source.topics if self._source else ()

    def found(self) -> Mapping[str, Sequence[str]]:
        """The topics that each pattern was found to stand for, as JSON."""
        return self._source.found if self._source else {}

    def ends(self) -> Mapping[Partition, int]:
        """See `RecordSource.ends`."""
        return self._source.ends() if self._source else {}

    def problems(self) -> Iterator[Problem]:
        """What is wrong now with our part in the group."""
        source = self._source
        if source is None:
            yield Problem("kafka client", "it is replaced by a new one", patience_seconds=self._patience)
            return
        if not source.settled:
            text = "no part in the group yet: there is a rebalance, or its coordinator does not answer"
            patience = source.rebalance_seconds + self._patience
            yield Problem("kafka group", text, patience_seconds=patience)
        for partition, reason in source.stopped.items():
            yield Problem(f"stopped {partition}", reason, STOPPED)
        for partition, offset in source.held_by_transactions().items():
            text = f"records from {partition}@{offset} on wait for a transaction that is open"
            yield Problem(f"transaction {partition}", text, HANGING, patience_seconds=self._patience)

    async def start(self) -> None:
        """Join the group.

        Raises:
            Unreachable: No broker answers; the text says host, port and reason.
        """
        await self._join()
        self._watching = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Leave the group, in bounded time; the caller has committed what it wants committed."""
        self._stopping = True
        if self._watching:
            self._watching.cancel()
            await asyncio.wait({self._watching})
        if self._source:
            await self._source.stop()

    async def poll(
        self, partitions: Iterable[Partition], limit: int, seconds: float = POLL_SECONDS
    ) -> Sequence[Record]:
        """See `RecordSource.poll`; yields nothing while there is no client."""
        if (source := self._source) is None:
            await asyncio.sleep(POLL_SECONDS)
            return []
        return await source.poll(partitions, limit, seconds)

    async def commit(self, commits: Mapping[Partition, Commit]) -> Mapping[Partition, Commit]:
        """See `RecordSource.commit`."""
        return await self._source.commit(commits) if self._source else {}

    async def look_up(self, partitions: Iterable[Partition]) -> frozenset[Partition]:
        """See `RecordSource.look_up`."""
        return await self._source.look_up(partitions) if self._source else frozenset()

    async def _join(self) -> None:
        source = self._make()
        await source.start()
        self._source = source

    async def _watch(self) -> None:
        # Asked too, since the client swallows a cancellation that comes while it closes (aiokafka 0.14).
        while not self._stopping:
            await asyncio.sleep(self._patience / LOOKS if self._source else RETRY_SECONDS)
            try:
                await (self._check(self._source) if self._source else self._join())
            except TurnoutError as error:
                log.warning("not there yet", reason=str(error))
            except Exception:
                log.exception("defect in the watchdog")

    async def _check(self, source: KafkaSource) -> None:
        if trouble := self._suspicion.lasting(await self._troubles(source)):
            log.warning("client stuck: it is replaced", what=trouble.what, seen=trouble.seen)
            await source.let_go()
            await source.stop()
            self._source = None
            await self._join()
            log.info("client replaced")

    async def _troubles(self, source: KafkaSource) -> list[Trouble]:
        """What a fresh client shows to be wrong; nothing if it does not get through itself."""
        asked_before = time.monotonic() - self._patience / LOOKS
        asked = [place for place, since in source.unanswered.items() if since <= asked_before]
        if source.settled and not asked:
            return []
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                ends = await self._look(asked)
                # Only now: what was answered meanwhile is no trouble.
                positions = {p: await source.position(p) for p in asked if p in source.unanswered}
        except (KafkaError, TurnoutError, TimeoutError, OSError):
            return []
        if not source.settled:
            return [self._no_part(source)]
        return [
            Trouble(f"{p} stands still", at, f"records from {at} to {ends[p] - 1} wait", LOOKS)
            for p, at in positions.items()
            if ends[p] > at
        ]

    def _no_part(self, source: KafkaSource) -> Trouble:
        # A rebalance may take its time first, since others drain.
        looks = LOOKS + math.ceil(LOOKS * source.rebalance_seconds / self._patience)
        return Trouble("no part in the group", source.rebalances, "its coordinator answers", looks)


async def fresh_look(
    connection: Connection, group: str, partitions: Sequence[Partition]
) -> Mapping[Partition, int]:
    """Where the records of `partitions` that may be read end, if the group's coordinator answers too.

    By a client of its own, as if the service began anew. Records of open transactions may not be read.

    Raises:
        KafkaError: It does not get through.
    """
    consumer = connection.consumer(isolation_level="read_committed")
    try:
        await consumer.start()
        await committed(consumer._client, group, [])  # noqa: SLF001 - there is no public way to ask
        ends = await consumer.end_offsets([TopicPartition(*partition) for partition in partitions])
    finally:
        await close(consumer)
    return {Partition(*place): end for place, end in ends.items()}
