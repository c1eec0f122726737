"""What a replay will read of each partition: from where, up to where, and why; or why it is refused."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from service.errors import ConfigurationError
from service.intake.offset_map import decode
from service.kafka.record import Commit, Partition, RecordReader
from service.kafka.route_log import RouteLog, routes_group
from service.redrive.guards import in_days
from service.redrive.letterbox import Place
from service.replays.past import Past, before, past_of
from service.replays.progress import Replayed, replay_group
from service.routing.table import Route


class TopicReader(RecordReader, Protocol):
    """Reads topics, and knows their times."""

    async def offsets_at(self, topic: str, moment: datetime) -> Mapping[Partition, int]:
        """Of each partition, the first offset whose record was written at `moment` or later."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a person asks for: a route, from when to when, and which rules do not hold.

    `until` is not included; without it, all that was handled without the route is meant. `again`: also what
    was replayed before. `by` leaves out records at some places.
    """

    route: str
    since: datetime
    until: datetime | None = None
    again: bool = False
    accept_repeats: bool = False
    leave_out: frozenset[Place] = frozenset()
    by: str = ""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a partition: the `offsets` to read, and which of these to handle.

    `replayed` is what is done already, and with it the offset from which on all is done in the end. `up_to`
    says where it ends.
    """

    offsets: range
    past: Past
    replayed: Replayed
    up_to: str
    goes_on: bool = False

    def means(self, offset: int) -> bool:
        """Whether what lies there is to be handled, if it is not done already."""
        return offset in self.offsets and offset in self.past

    @property
    def done(self) -> frozenset[int]:
        """What is done already of the offsets."""
        return decode(self.replayed.commit.offset, self.replayed.commit.metadata)

    def __str__(self) -> str:
        if not self.offsets:
            return f"nothing, {self.up_to}"
        again = "goes on where a replay ended: " if self.goes_on else ""
        return f"{again}offsets {self.offsets.start} to {self.offsets.stop - 1}, {self.up_to}"


@dataclass(frozen=True, slots=True)
class Plan:
    """The stretches by partition; `warnings` are what a person should know."""

    stretches: Mapping[Partition, Stretch]
    warnings: Sequence[str] = ()

    @property
    def offsets(self) -> int:
        """How many there are to read; there may be fewer records."""
        return sum(len(stretch.offsets) for stretch in self.stretches.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What Kafka says of the topics."""

    held: Mapping[Partition, range]
    since: Mapping[Partition, int]
    until: Mapping[Partition, int]
    handled: Mapping[Partition, Commit]
    logs: Mapping[Partition, Commit]
    replayed: Mapping[Partition, Commit]


async def make_plan(reader: TopicReader, group: str, route: Route, asked: Asked) -> Plan:
    """What is to be read.

    Raises:
        ConfigurationError: It would take effect twice or out of order, as far as is known.
    """
    held = {
        partition: offsets
        for topic in route.topics
        for partition, offsets in (await reader.extents(topic)).items()
    }
    # First what the bridges have done, then what they have noted: see `past_of`.
    handled = await reader.committed(group, held)
    known = _Known(
        held=held,
        since=await _offsets_at(reader, route, asked.since),
        until=await _offsets_at(reader, route, asked.until) if asked.until else {},
        handled=handled,
        logs=await reader.committed(routes_group(group), held),
        replayed=await reader.committed(replay_group(group, route.name), held),
    )
    if asked.again and route.keys.signal and not asked.accept_repeats:
        raise ConfigurationError(
            "--again signals once more what was replayed before, and workflows know their newest 1,000 "
            "signals again, no more; write --accept-repeats, too"
        )
    stretches = {partition: _stretch(route, partition, known, asked) for partition in sorted(held)}
    return Plan(stretches, [one async for one in _expired(reader, stretches, known, asked)])


async def refuse_forgotten(
    reader: TopicReader, route: Route, plan: Plan, now: datetime, retention: timedelta
) -> None:
    """See that Temporal remembers what it did at the time of all that is to be read.

    Raises:
        ConfigurationError: It does not.
    """
    remembered = await _offsets_at(reader, route, now - retention)
    forgotten = [
        partition
        for partition, stretch in plan.stretches.items()
        if stretch.offsets and stretch.offsets.start < remembered.get(partition, 0)
    ]
    if forgotten:
        raise ConfigurationError(
            f"{', '.join(map(str, forgotten))}: Temporal remembers {in_days(retention)} days, and records "
            "are older: what they led to then would take effect again, be it by another route with the same "
            f"workflow ids; begin at --from {_time(now - retention + timedelta(minutes=1))}, or write "
            "--accept-repeats"
        )


async def _offsets_at(reader: TopicReader, route: Route, moment: datetime) -> Mapping[Partition, int]:
    """Of each partition that the route reads, the first offset of that time or later."""
    return {
        partition: offset
        for topic in route.topics
        for partition, offset in (await reader.offsets_at(topic, moment)).items()
    }


def _stretch(route: Route, partition: Partition, known: _Known, asked: Asked) -> Stretch:
    held, handled = known.held[partition], known.handled.get(partition)
    past = past_of(route.name, RouteLog.read(known.logs.get(partition)), handled)
    unknown, up_to = past is None, _up_to(past, handled)
    past = past or before(handled)
    stop = min(past.end, held.stop)
    if (until := known.until.get(partition, stop)) < stop:
        stop, up_to = until, "to --until"
    since = max(known.since[partition], held.start)
    if unknown and since < stop and route.keys.signal and not asked.until:
        raise ConfigurationError(
            f"it is not known since when route {route.name} runs on {partition}, and workflows know their "
            "newest 1,000 signals again, no more: say --until TIME, a moment before its first start (bridges "
            "note it of routes that are added later, where they may Read on the group <group>.routes)"
        )
    replayed = Replayed.read(known.replayed.get(partition))
    if replayed is None or asked.again:
        begins = Replayed(since, Commit(since))
        return Stretch(range(min(since, stop), stop), past, begins, up_to)
    if since < min(replayed.since, stop):
        raise ConfigurationError(
            f"a replay of route {route.name} began at offset {replayed.since} of {partition}; what is from "
            f"offset {since} to there would come after it, out of order: write a later --from, or --again, "
            "which takes all once more"
        )
    point = replayed.commit.offset
    # What is claimed to be done must not begin before a gap.
    replayed = replayed._replace(since=since) if since > point else replayed
    start = min(max(since, point), stop)
    return Stretch(range(start, stop), past, replayed, up_to, goes_on=start < stop and since < point)


def _up_to(past: Past | None, handled: Commit | None) -> str:
    if handled is None and (past is None or not past.live):
        return "the bridges have handled nothing of it"
    if past is None:
        return "to where the bridges are; since when the route runs is not known"
    return "to where the route went live" if past.live else "to where the bridges are, without the route"


async def _expired(
    reader: TopicReader, stretches: Mapping[Partition, Stretch], known: _Known, asked: Asked
) -> AsyncIterator[str]:
    """Where a part of the time that is asked for is no longer in the topic."""
    for partition, stretch in stretches.items():
        held = known.held[partition]
        if not held.start or known.since[partition] > held.start or stretch.goes_on or not held:
            continue
        async for record in reader.read(partition, range(held.start, held.stop)):
            if record.timestamp_ms > asked.since.timestamp() * 1000:
                oldest = datetime.fromtimestamp(record.timestamp_ms / 1000, UTC)
                yield (
                    f"{partition}: what was written before {_time(oldest)} is no longer in the topic "
                    f"(offset {held.start} is its first)"
                )
            break


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
