"""What `turnout routes try` works with: settings become what reads, judges and counts."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from service.dispatch.contracts import Contracts
from service.dispatch.explaining import Explaining
from service.dispatch.judging import judge_by
from service.kafka.admin import Admin, Cluster
from service.kafka.reading import Reader, reader
from service.kafka.record import Partition
from service.pipeline import kafka_connection, make_decoder, seal_of
from service.routing.table import RouteTable, load_routes
from service.settings import Settings
from service.temporal.worker import find
from service.trying.effects import Once, Trial
from service.trying.tally import Tally
from service.trying.walk import walk
from service.trying.window import Held, newest
from workflows.topics import is_pattern

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ToTry:
    """Routes to try, those that run now (None: there is nothing to compare with), and contracts."""

    table: RouteTable
    before: RouteTable | None
    contracts: Contracts

    @property
    def only_before(self) -> Sequence[str]:
        """Topics that only the routes read that run now."""
        return sorted(self.before.topics.keys() - self.table.topics.keys()) if self.before else []

    def meant_by(self, topic: str, cluster: Cluster) -> Sequence[str]:
        """The real topics that `topic` stands for, which may be a pattern of either routes."""
        if not is_pattern(topic):
            return [topic]
        tables = [table for table in (self.table, self.before) if table]
        return sorted(
            real
            for real in cluster.partitions
            if any(table.topics.declaration_of(real) == topic for table in tables)
        )


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of it: what was read, which topics there are not, and whether all was read."""

    held: Held
    missing: Sequence[str]
    tally: Tally
    complete: bool = True


def routes_to_try(settings: Settings, routes: Path, against: Path | None) -> ToTry:
    """The routes at `routes`, if a bridge would start with them, and those at `against`.

    Raises:
        ConfigurationError: They cannot be used; with everything that is wrong.
    """
    contracts = Contracts(find(settings.worker.packages).workflows)
    table = load_routes(routes, judge_by(contracts))
    return ToTry(table, load_routes(against) if against else None, contracts)


async def try_routes(
    settings: Settings,
    to_try: ToTry,
    topics: Sequence[str],
    span: int | datetime,
    *,
    counted: Callable[[int], None],
    moved: Callable[[int], None],
    stop: asyncio.Event,
) -> Tried:
    """Count what would become of the records that lie in `topics` now; nothing is called or left behind.

    Args:
        settings: Ours.
        to_try: The routes.
        topics: Each is read by the routes of one of both; patterns stand for all topics that they match.
        span: How many of the newest offsets of each topic, or since when.
        counted: Told how many offsets there are, before the first is read.
        moved: Told now and then how many of them are done.
        stop: Set to end early.

    Raises:
        Unreachable: Kafka does not answer.
        ConfigurationError: A right lacks.
    """
    connection = kafka_connection(settings.kafka)
    async with Admin.connected(connection) as admin:
        cluster, missing = await admin.cluster_with(topic for topic in topics if not is_pattern(topic))
    topics = list(dict.fromkeys(real for topic in topics for real in to_try.meant_by(topic, cluster)))
    async with reader(connection) as reading:
        there = [await reading.extents(topic) for topic in topics if topic not in missing]
        held: dict[Partition, range] = {}
        for whole in there:
            held |= await _part(reading, whole, span)
        tried = Tried(held, missing, Tally())
        counted(sum(map(len, held.values())))
        once = Once()
        after = _trial(settings, to_try, to_try.table, cluster, once)
        before = _trial(settings, to_try, to_try.before, cluster, once) if to_try.before else None
        complete = await walk(reading, held, after, before, tried.tally, moved=moved, stop=stop)
    return replace(tried, complete=complete)


async def _part(reading: Reader, held: Held, span: int | datetime) -> Held:
    if isinstance(span, int):
        return await newest(reading, held, span)
    return await reading.since(held, max((span - EPOCH) // timedelta(milliseconds=1), 0))


def _trial(settings: Settings, to_try: ToTry, table: RouteTable, cluster: Cluster, once: Once) -> Trial:
    explaining = Explaining(table, to_try.contracts, seal_of(settings.calls))
    return Trial(make_decoder(settings, table, cluster), table, explaining, once)
