"""The contract between Kafka and the rest of the service: one record, as delivered."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from service.errors import TurnoutError

Headers = tuple[tuple[str, bytes | None], ...]

NO_PARTITION = 2**31 - 1
"""Where an event lies that came by no topic: no topic has so many partitions. Its offset tells the time."""


class Partition(NamedTuple):
    """A partition of a topic."""

    topic: str
    number: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.number}]"


class Commit(NamedTuple):
    """What a group stores about a partition: the next offset to read, and what is done beyond it.

    `metadata` is text of at most 4,096 bytes, empty where nothing is done beyond.
    """

    offset: int
    metadata: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Redelivery:
    """That a record comes from a letter: for the `sends`-th time, and when it failed at first.

    Only `route` is followed; all of them where it is empty.
    """

    route: str
    sends: int
    first_failed_at: datetime


@dataclass(frozen=True, slots=True)
class Record:
    """What Kafka delivered: bytes, and where they lie.

    `timestamp_ms` is in milliseconds since 1970 UTC, as the broker keeps it.
    Headers keep their order and their repeats. `redelivery` is set where it was sent again.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int
    redelivery: Redelivery | None = field(default=None, compare=False)

    @property
    def place(self) -> Partition:
        """The partition it lies in."""
        return Partition(self.topic, self.partition)

    @property
    def size_bytes(self) -> int:
        """Bytes of key, value and headers; Kafka's framing is not counted."""
        size = len(self.key or b"") + len(self.value or b"")
        for name, value in self.headers:
            size += len(name) + len(value or b"")
        return size

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"

    @classmethod
    def of(cls, raw: Any) -> "Record":
        """From the ConsumerRecord that the client hands out."""
        headers = tuple(raw.headers)
        return cls(raw.topic, raw.partition, raw.offset, raw.key, raw.value, headers, raw.timestamp)


class RecordSource(Protocol):
    """Where records come from: one member of a consumer group.

    Methods suspend; none blocks the loop. `commit` may be repeated; after it failed the
    offsets may or may not be stored, which costs repeats, never loss.
    """

    async def poll(self, partitions: Iterable[Partition], limit: int, seconds: float) -> Sequence[Record]:
        """Up to `limit` further records of `partitions`, waiting up to `seconds` when there are none.

        Must be called all the time, also with no partitions: a member that does not poll is put
        out of its group. Records of one partition come in offset order, each once per assignment.
        """
        ...

    async def commit(self, commits: Mapping[Partition, Commit]) -> Mapping[Partition, Commit]:
        """Store `commits`, and return those that are; the others could not be stored now."""
        ...

    async def look_up(self, partitions: Iterable[Partition]) -> frozenset[Partition]:
        """Ask what people gave up on in `partitions`, and where a record cannot be read.

        Returns those of which there is news; none where it is not known now.
        """
        ...

    def ends(self) -> Mapping[Partition, int]:
        """Where our partitions end, as far as that is known; does not suspend."""
        ...


class RecordReader(Protocol):
    """Reads what topics hold, from outside: without a place in a group, and without leaving a trace."""

    async def extents(self, topic: str) -> Mapping[Partition, range]:
        """The offsets that each partition of `topic` holds now; there may be fewer records.

        Raises:
            ConfigurationError: There is no such topic.
        """
        ...

    async def committed(self, group: str, partitions: Iterable[Partition]) -> Mapping[Partition, Commit]:
        """What `group` has committed for `partitions`; those without are left out."""
        ...

    def read(self, partition: Partition, offsets: range) -> AsyncIterator[Record]:
        """The records of `partition` in `offsets`, in order; ends when all that are there were given.

        One at a time: reading another partition ends the reading of the one before. Also what the client
        library cannot read is given, with header names made readable and one header that says so.
        """
        ...


class LogReader(Protocol):
    """Looks into topics for what was written to them lately, also where transactions are open."""

    async def partitions(self, topic: str) -> Sequence[Partition]:
        """The partitions of `topic` in order.

        Raises:
            ConfigurationError: There is no such topic.
        """
        ...

    async def written_since(self, partition: Partition, moment: datetime) -> range:
        """Offsets that hold all that is readable now and has a timestamp of `moment` or later.

        They may hold older records too, where timestamps do not rise with offsets.
        """
        ...

    def read(self, partition: Partition, offsets: range) -> AsyncIterator[Record]:
        """See `RecordReader.read`."""
        ...


@dataclass(frozen=True, slots=True)
class Written:
    """Where a record that was sent lies, acknowledged by all in-sync replicas."""

    topic: str
    partition: int
    offset: int


class RecordSink(Protocol):
    """Where records are written to."""

    async def send(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        spread: int | None = None,
    ) -> Written:
        """Write one record, with the time of now.

        Suspends until all in-sync replicas acknowledged it. May be repeated, which may write it
        twice. Records of one key lie in one partition; with `spread`, those of one such number.

        Raises:
            NotNow: It may or may not be written; Kafka did not say in time.
            RecordTooLarge: It is not written, and never will be.
        """
        ...


class RecordTooLarge(TurnoutError):  # noqa: N818 - a state of the topic's settings
    """The topic does not take a record of this size."""
