"""Giving up on a record: seen to make sense, then said to the bridge that holds its partition."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from service.errors import ConfigurationError
from service.intake.offset_map import decode
from service.kafka.given_up import GiveUp, as_commit, said_by
from service.kafka.outside import Extent
from service.kafka.record import Commit, Partition, Record, RecordReader
from service.redrive.letterbox import Place


class Sayings(Protocol):
    """What was said of a topic's records: one who is alone at work in the group that keeps it."""

    async def commits(self) -> Mapping[Partition, Commit]:
        """Per partition; those of which nothing was said are left out."""
        ...

    async def store(self, commits: Mapping[Partition, Commit]) -> None:
        """Store `commits`, and return when they are there for certain.

        Raises:
            Unreachable: They may be there or not.
            ConfigurationError: They are not: someone else is at work.
        """
        ...


@dataclass(frozen=True, slots=True)
class Open:
    """A record that its group has not done, and how far the group is with its partition."""

    record: Record
    commit: Commit

    @property
    def is_first(self) -> bool:
        """Whether all before it is done."""
        return self.record.offset == self.commit.offset


@dataclass(frozen=True, slots=True)
class GaveUp:
    """What was said; `before` is what had been said of the same record, and holds no longer."""

    said: GiveUp
    open: Open
    before: GiveUp | None


async def find_open(reading: RecordReader, group: str, place: Place, held: Extent) -> Open:
    """The record at `place`, in a partition that holds `held`; nothing is changed.

    Raises:
        ConfigurationError: There is none that can be given up on.
        Unreachable: Kafka does not answer.
    """
    partition, offset = place
    commit = (await reading.committed(group, [partition])).get(partition)
    if commit is None:
        raise ConfigurationError(
            f"no bridge of group {group} has had {partition} so far, so none is held up there; "
            "is TURNOUT_GROUP the group that you mean?"
        )
    if is_done(commit, offset):
        raise ConfigurationError(
            f"{place} is done: group {group} goes on at offset {commit.offset}; there is nothing to give up "
            f"on. If it became a letter, see: turnout letters show {place}"
        )
    if offset < held.first:
        raise ConfigurationError(
            f"offset {offset} is no longer in {partition} ({held}); where a partition goes on whose next "
            f"record is gone, say with: turnout seek {partition.topic}/{partition.number} --to earliest"
        )
    if offset >= held.end:
        raise ConfigurationError(f"offset {offset} is not in {partition} yet ({held}); look at it again")
    if offset >= held.stable:
        raise ConfigurationError(
            f"what lies from offset {held.stable} on in {partition} waits for the end of a transaction: no "
            "bridge has read it, so it holds up none; look at the producer whose transaction is open"
        )
    async for record in reading.read(partition, range(offset, offset + 1)):
        return Open(record, commit)
    raise ConfigurationError(
        f"there is no record at {place}: it was compacted away, or it is the mark of a transaction"
    )


async def say(sayings: Sayings, found: Open, by: str, because: str) -> GaveUp:
    """Say that a person gives up on a record; may be repeated, the last one holds.

    Raises:
        ConfigurationError: No more fits, or someone else is at work.
        Unreachable: It may be said or not.
    """
    partition, said = found.record.place, GiveUp.on(found.record, by, because)
    # What is done needs no keeping.
    known = [
        one
        for one in said_by((await sayings.commits()).get(partition))
        if not is_done(found.commit, one.offset)
    ]
    before = next((one for one in known if one.offset == said.offset), None)
    others = [one for one in known if one.offset != said.offset]
    commit = as_commit([*others, said])
    if commit is None:
        raise ConfigurationError(
            f"of {partition} as much is given up already as fits, and not done yet: offsets "
            f"{', '.join(str(one.offset) for one in others)}; let a bridge do that first, then say it again"
        )
    await sayings.store({partition: commit})
    return GaveUp(said, found, before)


def is_done(commit: Commit, offset: int) -> bool:
    """Whether a group that has committed `commit` is done with the record at `offset`."""
    try:
        return offset < commit.offset or offset in decode(commit.offset, commit.metadata)
    except ValueError:  # what another tool wrote says nothing of it
        return False
