"""What a group has committed, read and written by anyone: also by one who is no member of it."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.commit import OffsetCommitRequest, OffsetFetchRequest

from service.kafka.record import Commit, Partition

NOTHING = -1
"""The offset that stands for none."""


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
    _check(answer.error_code)
    commits = {}
    for topic, entries in answer.topics:
        for number, offset, metadata, error in entries:
            _check(error)
            if offset != NOTHING:
                commits[Partition(topic, number)] = Commit(offset, metadata or "")
    return commits


async def commit_for(client: AIOKafkaClient, group: str, commits: Mapping[Partition, Commit]) -> None:
    """Commit in the name of `group`, which must have no members; one attempt, not bounded in time.

    Raises:
        KafkaError: It may or may not be stored; certainly not where the group has members.
    """
    entries: defaultdict[str, list[tuple[int, int, str]]] = defaultdict(list)
    for partition, commit in commits.items():
        entries[partition.topic].append((partition.number, *commit))
    answer = await _ask_coordinator(
        client,
        group,
        OffsetCommitRequest(
            group,
            OffsetCommitRequest.DEFAULT_GENERATION_ID,
            "",
            OffsetCommitRequest.DEFAULT_RETENTION_TIME,
            list(entries.items()),
        ),
    )
    for _, errors in answer.topics:
        for _, error in errors:
            _check(error)


async def _ask_coordinator(
    client: AIOKafkaClient, group: str, request: OffsetFetchRequest | OffsetCommitRequest
) -> Any:
    node = await client.coordinator_lookup(CoordinationType.GROUP, group)
    return await client.send(node, request, group=ConnectionGroup.COORDINATION)


def _check(code: int) -> None:
    if code:
        error: KafkaError = for_code(code)()
        raise error
