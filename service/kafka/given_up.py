"""The records that people gave up on: how it is said, and what of it is known here.

The broker takes no commit from outside for a group that has members, so it is said as a commit to a group of
its own, `<group>.given-up`. Its metadata lists records, since several of a partition may be given up before
a bridge has seen to the first. Each is named by its offset and its timestamp: what was said once does not act
on another record that has that offset one day, in a topic made anew.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from service.cutting import cut
from service.errors import LeftOutError
from service.kafka.record import Commit, Partition, Record

BY_BYTES, BECAUSE_BYTES = 100, 500
"""Of who and why so much is kept."""

LIMIT_BYTES = 4_096
"""What brokers take as metadata (`offset.metadata.max.bytes`)."""

_FORM = "v1:"


def given_up_group(group: str) -> str:
    """The group whose commits list the records of `group` that people gave up on."""
    return f"{group}.given-up"


def how_to_give_up(topic: str, partition: int, offset: int) -> str:
    """The command with which a person gives up on a record."""
    return f"turnout letters add {topic}/{partition}/{offset} --because …"


class GiveUp(BaseModel):
    """That a person gives up on one record: who, and why."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    offset: int
    timestamp_ms: int
    by: str
    because: str

    @classmethod
    def on(cls, record: Record, by: str, because: str) -> "GiveUp":
        """On `record`; what is too long is cut."""
        return cls(
            offset=record.offset,
            timestamp_ms=record.timestamp_ms,
            by=cut(by, BY_BYTES),
            because=cut(because, BECAUSE_BYTES),
        )

    def as_error(self, standing: str) -> LeftOutError:
        """The reason for the letter; `standing` says how it was with the record."""
        # It was not at fault, as far as we know: it may pass when it is sent again.
        return LeftOutError(f"given up by {self.by}: {self.because} ({standing})", retriable=True)


_LIST = TypeAdapter(tuple[GiveUp, ...])


def as_commit(said: Sequence[GiveUp]) -> Commit | None:
    """How all that is said of a partition is kept; None where that does not fit."""
    metadata = _FORM + _LIST.dump_json(tuple(said)).decode()
    if len(metadata.encode()) > LIMIT_BYTES:
        return None
    return Commit(max(one.offset for one in said), metadata)


def said_by(commit: Commit | None) -> Sequence[GiveUp]:
    """What `commit` says; nothing if it is none of ours."""
    if commit is None or not commit.metadata.startswith(_FORM):
        return ()
    try:
        return _LIST.validate_json(commit.metadata.removeprefix(_FORM))
    except ValidationError:
        return ()


class _Named(NamedTuple):
    partition: Partition
    offset: int
    timestamp_ms: int


class GivenUp:
    """What people gave up on, as far as this process has asked."""

    def __init__(self) -> None:
        self._said: dict[_Named, GiveUp] = {}

    def note(self, commits: Mapping[Partition, Commit]) -> frozenset[Partition]:
        """Take in what was said of these partitions; returns those of which it is news."""
        before = self._said
        said = {
            _Named(partition, one.offset, one.timestamp_ms): one
            for partition, commit in commits.items()
            for one in said_by(commit)
        }
        self._said = {named: one for named, one in before.items() if named.partition not in commits} | said
        return frozenset(named.partition for named in said.keys() - before.keys())

    def of(self, record: Record) -> GiveUp | None:
        """What a person said of `record`."""
        if not self._said:  # as it is nearly always, and asked for each record
            return None
        return self._said.get(_Named(record.place, record.offset, record.timestamp_ms))

    def first_of(self, records: Iterable[Record]) -> GiveUp | None:
        """What a person said of the first of `records` of which something was said."""
        return next((said for record in records if (said := self.of(record))), None)
