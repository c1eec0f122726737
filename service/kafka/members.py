"""Who is in a consumer group, and who reads what."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import KafkaError, for_code

from service.kafka.record import Partition


@dataclass(frozen=True, slots=True)
class Member:
    """One process of a group: how it names itself, where it is, and what it reads."""

    client: str
    host: str
    partitions: Sequence[Partition]


@dataclass(frozen=True, slots=True)
class Members:
    """A group: its state in Kafka's words (`Stable`, `Empty`, `PreparingRebalance`, …), and who is in it."""

    state: str
    of: Sequence[Member] = ()

    @property
    def settled(self) -> bool:
        """Whether all have their part of the partitions."""
        return self.state not in {"PreparingRebalance", "CompletingRebalance"}


async def members_of(client: AIOKafkaAdminClient, group: str) -> Members:
    """Who is in `group` now; not bounded in time.

    Raises:
        KafkaError: It is not known now.
    """
    (answer,) = await client.describe_consumer_groups([group])
    code, _, state, _, _, members, *_ = answer.groups[0]
    if code:
        error: KafkaError = for_code(code)()
        raise error
    return Members(state, sorted(map(_member, members), key=lambda member: (member.client, member.host)))


def _member(raw: Any) -> Member:
    # The third is the name of a static member in newer versions of the answer; the last is what it reads.
    _, *_, client, host, _, assigned = raw
    return Member(client, host.removeprefix("/"), sorted(_partitions(assigned)))


def _partitions(assigned: bytes) -> Iterator[Partition]:
    if not assigned:  # while partitions are being shared out
        return
    for topic, numbers in ConsumerProtocolMemberAssignment.decode(assigned).assignment:
        for number in numbers:
            yield Partition(topic, number)
