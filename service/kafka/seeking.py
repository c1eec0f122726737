"""Where a person says that a stopped partition goes on.

A partition stops when what its group has committed is no longer in the topic. The broker takes no commit
from outside for a group that has members, so where to go on is said as a commit to a group of its own,
`<group>.seek`: its offset is where to go, its metadata names the offset that the group is stuck at. It holds
for that one alone, so that what was said once does not act on another day.
"""

import asyncio
import re
from enum import StrEnum
from typing import NamedTuple

from service.cutting import cut
from service.errors import ConfigurationError, Unreachable
from service.kafka.connection import Connection
from service.kafka.groups import commit_for, committed
from service.kafka.outside import Extent, extent, onlooker
from service.kafka.record import Commit, Partition

SECONDS = 30.0
NOTE_BYTES = 1_000
"""Of a note so much is kept; brokers take 4,096 bytes of metadata in all."""

_FORM = re.compile(r"v1:from=([0-9]{1,19})(?: (.*))?", re.ASCII | re.DOTALL)


class End(StrEnum):
    """An end of what a partition holds; the latest offset is the one after all that may be read."""

    EARLIEST = "earliest"
    LATEST = "latest"


Where = int | End


class Seek(NamedTuple):
    """What a person said: from being `stuck_at` an offset go `to` another. The note says who, and why."""

    stuck_at: int
    to: int
    note: str = ""

    def as_commit(self) -> Commit:
        """As it is kept; a long note is cut."""
        note = cut(self.note, NOTE_BYTES)
        return Commit(self.to, f"v1:from={self.stuck_at} {note}".rstrip())

    @classmethod
    def said_by(cls, commit: Commit) -> "Seek | None":
        """What `commit` says; None if it is none of ours."""
        form = _FORM.fullmatch(commit.metadata)
        return cls(int(form[1]), commit.offset, form[2] or "") if form else None


def seek_group(group: str) -> str:
    """The group whose commits say where stopped partitions of `group` go on."""
    return f"{group}.seek"


class Sought(NamedTuple):
    """What a seek means for the records of its partition, as offsets; there may be fewer records."""

    seek: Seek
    held: Extent

    @property
    def expired(self) -> range:
        """They went before anyone had read them."""
        return range(self.seek.stuck_at, self.held.first)

    @property
    def skipped(self) -> range:
        """They are there and are not read any more."""
        return range(self.held.first, self.seek.to)

    @property
    def read_again(self) -> range:
        """They lie before the offset that the group was stuck at, and are read from now on."""
        return range(self.seek.to, min(self.seek.stuck_at, self.held.end))


async def seek(connection: Connection, group: str, partition: Partition, to: Where, note: str) -> Sought:
    """Say where `partition`, at which `group` is stuck, goes on; may be repeated, the last one holds.

    Raises:
        ConfigurationError: There is no such partition, it is not stuck, or `to` is not in it.
        Unreachable: Kafka did not answer; it may be said or not.
    """
    try:
        async with asyncio.timeout(SECONDS):
            held = await extent(connection, partition)
            async with onlooker(connection) as consumer:
                client = consumer._client  # noqa: SLF001 - there is no public way to ask another group
                known = await committed(client, group, [partition])
                said = Seek(
                    _stuck_at(known.get(partition), partition, held, group, connection.bootstrap_servers),
                    _target(to, partition, held),
                    note,
                )
                await commit_for(client, seek_group(group), {partition: said.as_commit()})
    except TimeoutError as error:
        raise Unreachable(f"Kafka did not answer within {SECONDS:.0f} s") from error
    return Sought(said, held)


def _stuck_at(known: Commit | None, partition: Partition, held: Extent, group: str, servers: str) -> int:
    if known is None:
        msg = (
            f"group {group} has committed nothing for {partition}, so it is not stuck there: it begins at "
            "the earliest record; is TURNOUT_GROUP the group that you mean?"
        )
        raise ConfigurationError(msg)
    if known.offset in held:
        msg = (
            f"{partition} is not stuck: group {group} goes on at offset {known.offset}, which is in the "
            f"topic ({held}); to move a healthy group, stop its bridges and run kafka-consumer-groups.sh "
            f"--bootstrap-server {servers} --group {group} --topic {partition.topic}:{partition.number} "
            "--reset-offsets --to-offset OFFSET --execute"
        )
        raise ConfigurationError(msg)
    return known.offset


def _target(to: Where, partition: Partition, held: Extent) -> int:
    # Not the very end: what open transactions have written so far would be skipped when they commit.
    target = {End.EARLIEST: held.first, End.LATEST: held.stable}[to] if isinstance(to, End) else to
    if target not in held:
        msg = (
            f"offset {to} is not in {partition} ({held}); "
            f"write --to earliest, --to latest or --to with an offset from {held.first} to {held.end}"
        )
        raise ConfigurationError(msg)
    return target
