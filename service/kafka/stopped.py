"""Partitions that stopped, until a person has said where they go on."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import NamedTuple

import structlog
from aiokafka.errors import KafkaError

from service.kafka.record import Commit, Partition
from service.kafka.seeking import Seek

log = structlog.get_logger(__name__)

Ask = Callable[[Iterable[Partition]], Awaitable[Mapping[Partition, Commit]]]

ASK_SECONDS = 3.0
ANSWER_SECONDS = 5.0


class Stop(NamedTuple):
    """Why a partition stopped, and at which offset: all that was read of it lies before."""

    offset: int
    reason: str


class StoppedPartitions:
    """What stopped in one assignment, and what was said of it since.

    Args:
        ask: What the group has committed that is only told where to go on; may raise KafkaError.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._ask_at = 0.0
        self._stops: dict[Partition, Stop] = {}
        self._ignored: set[tuple[Partition, Seek]] = set()

    @property
    def reasons(self) -> Mapping[Partition, str]:
        """Why each of them stopped."""
        return {partition: stop.reason for partition, stop in self._stops.items()}

    def __contains__(self, partition: Partition) -> bool:
        return partition in self._stops

    def add(self, partition: Partition, stop: Stop) -> None:
        """Note that `partition` stopped, and say so."""
        self._stops[partition] = stop
        self._ask_at = 0.0
        log.error(
            "partition stopped",
            topic=partition.topic,
            partition=partition.number,
            offset=stop.offset,
            reason=stop.reason,
        )

    def clear(self) -> None:
        """Forget them all: their assignment is over."""
        self._stops.clear()

    def remove(self, partition: Partition) -> None:
        """Forget that `partition` stopped, if it did."""
        self._stops.pop(partition, None)

    async def told(self) -> Mapping[Partition, Seek]:
        """Where to go on, for those of which it was said; asked for every few seconds, bounded in time."""
        if not self._stops or time.monotonic() < self._ask_at:
            return {}
        self._ask_at = time.monotonic() + ASK_SECONDS
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                said = await self._ask(list(self._stops))
        except (KafkaError, TimeoutError) as error:
            log.warning("what was said is not known yet", error=f"{type(error).__name__} {error}".strip())
            return {}
        seeks = {partition: Seek.said_by(commit) for partition, commit in said.items()}
        return {p: seek for p, seek in seeks.items() if seek and self._is_meant(p, seek)}

    def _is_meant(self, partition: Partition, seek: Seek) -> bool:
        stop = self._stops.get(partition)  # it may have gone while we asked
        if stop is None or seek.stuck_at == stop.offset:
            return stop is not None
        if (partition, seek) not in self._ignored:
            self._ignored.add((partition, seek))
            log.warning(
                "seek ignored: it was said for another offset; say it again if it is still meant",
                topic=partition.topic,
                partition=partition.number,
                stuck_at=stop.offset,
                said_for=seek.stuck_at,
            )
        return False
