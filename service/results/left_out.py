"""What closed and was not told of: found in visibility, unless the topics have it already."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from temporalio.client import Client

from service.errors import ConfigurationError, NotNow
from service.kafka.connection import Connection
from service.kafka.reading import Reader, reader
from service.kafka.record import Partition, Record, RecordTooLarge
from service.results.closing import TYPE, Closings, closing_id
from service.temporal.closed import CLOSING, GROUP, Listed, closed_since

log = structlog.get_logger(__name__)

CLOCKS_APART = timedelta(minutes=10)
"""By how much the clocks of Temporal and Kafka may differ: an event is written after its workflow closed."""

AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A run that has closed, and the topic that does not know it."""

    closed: Listed
    topic: str

    @property
    def id(self) -> str:
        """The id of the event that is missing."""
        return closing_id(self.closed.run)


Said = Callable[[LeftOut, str], None]
"""Told of each that was tried where its event lies; `""`: it is not to be published, or never can be."""


class Told:
    """Which closings topics tell of: the ids of their events, and how far the topics are read.

    Looks again only at what is new.
    """

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self._next: dict[Partition, int] = {}

    def __contains__(self, event_id: str) -> bool:
        """Whether an event of that id was seen."""
        return event_id in self._ids

    async def look(self, reading: Reader, topic: str, since: datetime) -> None:
        """Take in what `topic` tells of closings since then; those before may be forgotten.

        Raises:
            ConfigurationError: There is no such topic.
            Unreachable: Kafka does not give it.
        """
        first = await reading.offsets_at(topic, since - CLOCKS_APART)
        for partition, offsets in (await reading.extents(topic)).items():
            read = self._next.get(partition, 0)
            # It ends before what was read of it: it was made anew.
            begin = max(offsets.start, first[partition], read if read <= offsets.stop else 0)
            async for record in reading.read(partition, range(begin, offsets.stop)):
                self._take(record)
            self._next[partition] = offsets.stop
        oldest_ms = (since - CLOCKS_APART).timestamp() * 1000
        self._ids = {one: at_ms for one, at_ms in self._ids.items() if at_ms >= oldest_ms}

    def _take(self, record: Record) -> None:
        headers = dict(record.headers)
        if headers.get("ce_type") == TYPE.encode() and (id_ := headers.get("ce_id")):
            self._ids[id_.decode(errors="replace")] = record.timestamp_ms


class Search:
    """Finds what was left out, and publishes it.

    Args:
        client: Knows what has closed.
        namespaces: Where to look.
        connection: The cluster that has the topics.
        closings: Publishes.
        group: The consumer group whose workflows are meant; others tell of theirs.
        marked: The search attribute that all starts of ours set; empty if there is none.
    """

    def __init__(
        self,
        client: Client,
        namespaces: Iterable[str],
        connection: Connection,
        closings: Closings,
        *,
        group: str,
        marked: str,
    ) -> None:
        self._client = client
        self._namespaces = sorted(namespaces)
        self._connection = connection
        self._closings = closings
        self._group = group
        self._marked = marked
        self._told = Told()

    async def left_out(self, since: datetime) -> Sequence[LeftOut]:
        """What closed at `since` or later and should have been told of, and was not; the first first.

        Raises:
            RPCError: Temporal does not say.
            Unreachable: Kafka does not give what its topics hold.
        """
        found = [
            LeftOut(listed, str(listed.start[CLOSING]))
            for namespace in self._namespaces
            async for listed in closed_since(self._client, namespace, since, self._marked)
            if listed.start.get(CLOSING) and listed.start.get(GROUP) == self._group
        ]
        found = [one for one in found if one.id not in self._told]
        if found:
            async with reader(self._connection) as reading:
                for topic in sorted({one.topic for one in found}):
                    await self._look(reading, topic, since)
        return sorted((one for one in found if one.id not in self._told), key=lambda one: one.closed.at)

    async def _look(self, reading: Reader, topic: str, since: datetime) -> None:
        with contextlib.suppress(ConfigurationError):  # the topic is gone: publishing says so
            await self._told.look(reading, topic, since)

    async def publish(self, left_out: Sequence[LeftOut], said: Said, *, by: str) -> Mapping[str, str]:
        """Publish `left_out`, and say what became of each.

        A topic that takes nothing now does not hold up the others.

        Returns:
            The topics that did not take all, each with the reason.

        Raises:
            RPCError: Temporal does not say how they ended.
        """
        refused: dict[str, str] = {}

        async def publish(one: LeftOut) -> None:
            if one.topic in refused:
                return
            try:
                published = await self._closings.publish(one.closed.run, one.topic, by=by)
            except NotNow as error:
                refused[one.topic] = str(error)
                return
            except (RecordTooLarge, ValueError) as error:
                _say_never(one, error)
                published = None
            said(one, f"{published.topic}[{published.partition}]@{published.offset}" if published else "")

        for start in range(0, len(left_out), AT_ONCE):
            # None goes on beside the next try, whatever becomes of the others.
            ends = await asyncio.gather(
                *map(publish, left_out[start : start + AT_ONCE]), return_exceptions=True
            )
            for error in ends:
                if error:
                    raise error
        return refused


def _say_never(one: LeftOut, error: Exception) -> None:
    # It is left out for good: one that never can be published must not hold up all that closed after it.
    run = one.closed.run
    log.error(
        "a closing cannot be published", workflow_id=run.workflow_id, run_id=run.run_id, reason=str(error)
    )
