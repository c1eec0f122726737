"""Looks whether an earlier attempt's record is in the log already, so that it need not be written again."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from service.errors import ConfigurationError, NotNow, Unreachable
from service.kafka.record import LogReader, Partition, Record, Written
from service.kafka.spreading import partition_number

log = structlog.get_logger(__name__)

CLOCKS_APART = timedelta(seconds=10)
"""Temporal's clock says since when, and a producer's or a broker's when a record was written."""

MOST_BYTES = 64 << 20
MOST_SECONDS = 20.0
"""Of one partition. The first attempt's record lies near the beginning of what is looked through."""


_Identity = tuple[bytes | None, bytes | None]
"""CloudEvents tells events apart by source and id."""


@dataclass(frozen=True, slots=True)
class Sought:
    """A CloudEvent that may be in `topic`, and since when it may have been written."""

    topic: str
    key: bytes | None
    source: str
    id: str
    since: datetime


@dataclass(slots=True, eq=False)
class _Question:
    sought: Sought
    answered: bool = False
    found: Written | None = None
    failure: NotNow | None = None


class LookBack:
    """Finds what earlier attempts have written.

    All who ask at one time share one look: after an outage there may be thousands.

    Args:
        open_log: Connects for the time of one look; must read what is in the log, committed or not. Our
            records are in no transaction, but behind one of somebody else that is open.
    """

    def __init__(self, open_log: Callable[[], AbstractAsyncContextManager[LogReader]]) -> None:
        self._open_log = open_log
        self._waiting: list[_Question] = []
        self._one_at_a_time = asyncio.Lock()

    async def find(self, sought: Sought) -> Written | None:
        """Where `sought` lies, or None if it is not in the log, as far as was looked.

        Looks through at most `MOST_BYTES` and for at most `MOST_SECONDS`, from `CLOCKS_APART` before
        `sought.since` on, in the partition of its key. What is written while it looks may be missed.

        Raises:
            NotNow: Kafka does not answer. Ask again before you write.
        """
        question = _Question(sought)
        self._waiting.append(question)
        try:
            async with self._one_at_a_time:
                if not question.answered:
                    await self._answer([one for one in self._waiting if not one.answered])
        finally:
            self._waiting.remove(question)
        if question.failure:
            raise question.failure
        return question.found

    async def _answer(self, questions: Sequence[_Question]) -> None:
        try:
            async with self._open_log() as reader:
                for partition, asked in (await _by_partition(questions, reader)).items():
                    await _look(partition, asked, reader)
        except ConfigurationError as error:
            # Looking spares subscribers a repeat, but writing is what was promised.
            log.warning("results that were tried before are written without a look", reason=str(error))
        except Unreachable as error:
            for one in questions:
                one.failure = NotNow(f"it is not known what an earlier attempt wrote: {error}")
        for one in questions:
            one.answered = True


async def _by_partition(
    questions: Sequence[_Question], reader: LogReader
) -> Mapping[Partition, list[_Question]]:
    """Where to look for what; a record without a key can lie in any partition."""
    places = {topic: await reader.partitions(topic) for topic in {one.sought.topic for one in questions}}
    asked: dict[Partition, list[_Question]] = defaultdict(list)
    for one in questions:
        partitions, key = places[one.sought.topic], one.sought.key
        if key is not None:
            partitions = [partitions[partition_number(key, len(partitions))]]
        for partition in partitions:
            asked[partition].append(one)
    return asked


async def _look(partition: Partition, questions: Sequence[_Question], reader: LogReader) -> None:
    missing: dict[_Identity, list[_Question]] = defaultdict(list)
    for one in questions:
        if not one.found:
            missing[one.sought.source.encode(), one.sought.id.encode()].append(one)
    if not missing:
        return
    since = min(one.sought.since for asked in missing.values() for one in asked)
    offsets = await reader.written_since(partition, since - CLOCKS_APART)
    seen_bytes, deadline = 0, time.monotonic() + MOST_SECONDS
    async for record in reader.read(partition, offsets):
        for one in missing.pop(_identity(record), ()):
            one.found = Written(record.topic, record.partition, record.offset)
        if not missing:
            return
        seen_bytes += record.size_bytes
        if seen_bytes > MOST_BYTES or time.monotonic() > deadline:
            log.warning("gave up looking for results that were tried before", at=str(record))
            return


def _identity(record: Record) -> _Identity:
    headers = dict(record.headers)
    return headers.get("ce_source"), headers.get("ce_id")
