"""How far a group is with its topics, and what holds it: facts, and what follows from them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import blake2b
from itertools import groupby

from service.events.headers import text_headers
from service.failures.parks import OpenPark
from service.journeys.facts import Unasked
from service.journeys.in_kafka import is_unreadable
from service.journeys.saying import span, written_at
from service.kafka.given_up import how_to_give_up
from service.kafka.members import Member, Members
from service.kafka.outside import Extent
from service.kafka.record import Commit, Partition, Record
from workflows.switchboard import State

MOST_OLDEST = 10
OPEN_TOO_LONG = timedelta(minutes=1)
"""Of a transaction: those that end are shorter."""


@dataclass(frozen=True, slots=True)
class PartitionState:
    """A partition that the routes read.

    `unfinished` are the first records that are not finished, at most ten; None: time was up before.
    `open_since` is when the first record was written that waits for a transaction to end.
    """

    partition: Partition
    held: Extent
    commit: Commit | None = None
    finished: frozenset[int] = frozenset()
    unfinished: Sequence[Record] | None = ()
    given_up: frozenset[int] = frozenset()
    open_since: datetime | None = None

    @property
    def lag(self) -> int:
        """How many offsets are not finished; there may be fewer records."""
        start = max(self.commit.offset, self.held.first) if self.commit else self.held.first
        return max(self.held.end - start - sum(one >= start for one in self.finished), 0)

    def age(self, now: datetime) -> timedelta | None:
        """How old the oldest record is that is not finished; None where there is none, or it is not known."""
        if not self.unfinished:
            return None
        return max(now - written_at(min(one.timestamp_ms for one in self.unfinished)), timedelta())

    @property
    def stopped(self) -> str:
        """Why nothing more of it is read until a person has said something, and what; empty if it is."""
        if self.commit and self.commit.offset not in self.held:
            place = f"{self.partition.topic}/{self.partition.number}"
            return (
                f"its group goes on at offset {self.commit.offset}, which is not in the topic ({self.held}); "
                f"say where: turnout seek {place} --to earliest"
            )
        first = self.unfinished[0] if self.unfinished else None
        if first and is_unreadable(first) and first.offset not in self.given_up:
            cure = how_to_give_up(first.topic, first.partition, first.offset)
            return f"the client cannot read the record at offset {first.offset}; give up on it: {cure}"
        return ""

    @property
    def in_transaction(self) -> int:
        """How many offsets wait for a transaction to end."""
        return self.held.end - self.held.stable


@dataclass(frozen=True, slots=True)
class TopicState:
    """The partitions of a topic, together."""

    topic: str
    partitions: Sequence[PartitionState]

    @property
    def lag(self) -> int:
        """How many offsets are not finished."""
        return sum(one.lag for one in self.partitions)

    @property
    def in_transaction(self) -> int:
        """How many offsets wait for transactions to end."""
        return sum(one.in_transaction for one in self.partitions)

    @property
    def stopped(self) -> int:
        """How many partitions are stopped."""
        return sum(bool(one.stopped) for one in self.partitions)

    def age(self, now: datetime) -> timedelta | None:
        """How old the oldest record is that is not finished."""
        return max((age for one in self.partitions if (age := one.age(now)) is not None), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """How a group does, as Kafka and Temporal know it; None: that is not known.

    `missing` are topics that the routes read and that are not there. `settled`: the switchboard has taken in
    all that it was told.
    """

    group: str
    now: datetime
    partitions: Sequence[PartitionState] = ()
    missing: Sequence[str] = ()
    members: Members | None = None
    board: State | None = None
    settled: bool = True
    open_letters: int | None = None
    parks: Sequence[OpenPark] | None = None
    unasked: Sequence[Unasked] = field(default_factory=tuple)

    @property
    def topics(self) -> Sequence[TopicState]:
        """The topics, in the order of the routes."""
        by_topic = groupby(self.partitions, key=lambda one: one.partition.topic)
        return [TopicState(topic, list(partitions)) for topic, partitions in by_topic]

    @property
    def oldest(self) -> Sequence[Record]:
        """The records that have waited longest, the oldest first."""
        unfinished = (record for one in self.partitions for record in one.unfinished or ())
        return sorted(unfinished, key=lambda one: (one.timestamp_ms, one.topic, one.partition, one.offset))[
            :MOST_OLDEST
        ]

    def holders(self) -> Mapping[Partition, Member]:
        """Who has which partition."""
        members = self.members.of if self.members else ()
        return {partition: member for member in members for partition in member.partitions}

    def problems(self) -> Iterator[str]:
        """What does not mend itself, each with what to do."""
        for topic in self.missing:
            yield f"topic {topic} is not there, and routes read it: create it"
        for one in self.partitions:
            if one.stopped:
                yield f"{one.partition} is stopped: {one.stopped}"
            if one.open_since and self.now - one.open_since > OPEN_TOO_LONG:
                yield (
                    f"{one.partition}: {one.in_transaction} offsets wait for a transaction that is open for "
                    f"{span(self.now - one.open_since)}; where its producer has died: "
                    "kafka-transactions.sh find-hanging, then abort"
                )
        yield from self._unread()

    def _unread(self) -> Iterator[str]:
        if self.members is None or not self.members.settled:
            return
        waiting = [one for one in self.partitions if one.lag]
        if not self.members.of and waiting:
            yield f"no process of group {self.group} runs, and records wait: start one, turnout run"
        elif holders := self.holders():
            for one in waiting:
                if one.partition not in holders:
                    yield f"{one.partition} is read by no process, and records wait: do all run these routes?"


def name_of(record: Record) -> str:
    """What a record is called by: the id of its event where a header has it, else a digest of its key."""
    if event_id := text_headers(record.headers).get("ce_id"):
        return f"event {event_id}"
    if record.key is None:
        return "no key"
    return f"key #{blake2b(record.key, digest_size=4).hexdigest()}"


def age_of(record: Record, now: datetime) -> str:
    """How long ago it was written, in words."""
    return span(now - written_at(record.timestamp_ms))
