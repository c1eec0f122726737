"""What a group has committed, read and written by anyone: also by one who is no member of it."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, NamedTuple

from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError, TopicAuthorizationFailedError, for_code
from aiokafka.protocol.commit import OffsetCommitRequest, OffsetFetchRequest

from service.errors import Unreachable
from service.kafka.record import Commit, Partition

PATIENCE_SECONDS, RETRY_SECONDS = 30.0, 0.3
NOTHING = -1
"""The offset that stands for none."""


class Member(NamedTuple):
    """Who commits: a member of the group in one generation, or nobody of it."""

    generation: int
    id: str


NOBODY = Member(OffsetCommitRequest.DEFAULT_GENERATION_ID, "")


async def committed(
    client: AIOKafkaClient, group: str, partitions: Iterable[Partition]
) -> dict[Partition, Commit]:
    """What `group` has committed for `partitions`; those for which it has nothing are left out.

    Not bounded in time. Not asked by the calls that the client has for it: they drop the metadata, or
    overlook an error of the answer as a whole (measured, aiokafka 0.14 on Apache Kafka 4.3.1). A
    coordinator that has just moved then looks like a group that has committed nothing.

    Raises:
        KafkaError: It is not known now.
    """
    numbers: defaultdict[str, list[int]] = defaultdict(list)
    for partition in partitions:
        numbers[partition.topic].append(partition.number)
    answer = await _ask_coordinator(client, group, OffsetFetchRequest(group, list(numbers.items())))
    _check(answer.error_code, group)
    commits = {}
    for topic, entries in answer.topics:
        for number, offset, metadata, error in entries:
            _check(error, group, topic)
            if offset != NOTHING:
                commits[Partition(topic, number)] = Commit(offset, metadata or "")
    return commits


async def committed_in_time(
    client: AIOKafkaClient, group: str, partitions: Iterable[Partition]
) -> dict[Partition, Commit]:
    """As `committed`, asked again for a while: a new broker has no coordinators yet.

    Raises:
        KafkaError: It never will; of rights that we lack.
        Unreachable: It did not become known.
    """
    partitions, reason = list(partitions), "no answer"
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    return await committed(client, group, partitions)
                except KafkaError as error:
                    if not error.retriable:
                        raise
                    reason = type(error).__name__
                await asyncio.sleep(RETRY_SECONDS)
    raise Unreachable(f"Kafka did not say what group {group} has committed: {reason}")


async def commit_for(
    client: AIOKafkaClient,
    group: str,
    commits: Mapping[Partition, Commit],
    *,
    by: Member = NOBODY,
    kept: timedelta | None = None,
) -> None:
    """Commit in the name of `group`; one attempt, not bounded in time.

    Args:
        client: The way to the coordinator.
        group: The group; where nobody of it commits, it must have no members.
        commits: What to store.
        by: Who commits.
        kept: For how long, whether the group has members or not. Without it, brokers forget what a group
            committed a week after its last member has gone (`offsets.retention.minutes`).

    Raises:
        KafkaError: It may or may not be stored; certainly not where `by` is no member any more.
    """
    entries: defaultdict[str, list[tuple[int, int, str]]] = defaultdict(list)
    for partition, commit in commits.items():
        entries[partition.topic].append((partition.number, *commit))
    answer = await _ask_coordinator(
        client,
        group,
        OffsetCommitRequest(
            group,
            by.generation,
            by.id,
            int(kept.total_seconds() * 1000) if kept else OffsetCommitRequest.DEFAULT_RETENTION_TIME,
            list(entries.items()),
        ),
    )
    for topic, errors in answer.topics:
        for _, error in errors:
            _check(error, group, topic)


async def _ask_coordinator(
    client: AIOKafkaClient, group: str, request: OffsetFetchRequest | OffsetCommitRequest
) -> Any:
    try:
        node = await client.coordinator_lookup(CoordinationType.GROUP, group)
    except GroupAuthorizationFailedError as error:
        raise GroupAuthorizationFailedError(group) from error
    return await client.send(node, request, group=ConnectionGroup.COORDINATION)


def _check(code: int, group: str, topic: str = "") -> None:
    if not code:
        return
    # Which right lacks is told by what the error is about, as in the client's own.
    about = {GroupAuthorizationFailedError: [group], TopicAuthorizationFailedError: [topic]}
    kind: type[KafkaError] = for_code(code)
    raise kind(*about.get(kind, ()))
