"""A cluster as it is seen once, by questions alone: topics, groups, brokers, and what we may do with them."""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from aiokafka import TopicPartition
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.admin import ApiVersionRequest

from service.errors import ConfigurationError
from service.kafka.admin import NEW_TOPIC_SECONDS, NEW_TOPIC_TRIES, Admin
from service.kafka.connection import Connection
from service.kafka.operations import GroupsRequest, TopicsRequest, operations_in
from service.kafka.outside import onlooker, places_of

COORDINATOR_TRIES, COORDINATOR_SECONDS = 10, 0.3
AHEAD = timedelta(minutes=1)
"""How far into the future a record may seem to have been written, before clocks are doubted."""

Operations = frozenset[str] | None
"""What we may do with something; None where brokers do not tell."""


class Unseen(StrEnum):
    """Why a topic or a group is not seen."""

    MISSING = "missing"
    HIDDEN = "hidden"
    """We may not see whether it is there."""


@dataclass(frozen=True, slots=True)
class SeenTopic:
    """A topic as it is now.

    Attributes:
        partitions: How many.
        replicas: Of the partition that has the fewest.
        may: What we may do with it.
        settings: By Kafka's names; empty where we may not see them.
    """

    partitions: int
    replicas: int
    may: Operations = None
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SeenKafka:
    """A cluster as it is now.

    Attributes:
        brokers: How many.
        topics: Those that were asked for.
        groups: What we may do with the groups that were asked for.
        settings: Of each broker; empty where we may not see them.
        versions: The versions of each call of the protocol that all brokers speak.
        ahead: Topics with a record that was written more than `AHEAD` from now, by its timestamp.
    """

    brokers: int
    topics: Mapping[str, SeenTopic | Unseen]
    groups: Mapping[str, Operations | Unseen]
    settings: Sequence[Mapping[str, str]] = ()
    versions: Mapping[int, range] = field(default_factory=dict)
    ahead: Sequence[str] = ()


async def survey(connection: Connection, topics: Iterable[str], groups: Iterable[str]) -> SeenKafka:
    """The cluster, seen once; nothing is changed.

    Raises:
        Unreachable: No broker answers.
        ConfigurationError: What is needed to ask cannot be used.
    """
    async with Admin.connected(connection) as admin:
        brokers = await admin.brokers()
        seen = await topics_seen(admin, topics)
        found = SeenKafka(
            brokers=len(brokers),
            topics=seen,
            groups={group: await _group(admin, group) for group in groups},
            settings=[await admin.broker_settings(broker) for broker in brokers],
            versions=_in_common([await _versions(admin, broker) for broker in brokers]),
        )
    return replace(found, ahead=await _ahead(connection, found))


async def topics_seen(admin: Admin, topics: Iterable[str]) -> dict[str, SeenTopic | Unseen]:
    """Each of `topics`; asked again for a while as long as one is missing: it may have been made just now.

    Raises:
        KafkaError: It is not known now.
    """
    wanted = list(topics)
    for _ in range(NEW_TOPIC_TRIES):
        seen = await _topics(admin, wanted)
        if Unseen.MISSING not in seen.values():
            break
        await asyncio.sleep(NEW_TOPIC_SECONDS)
    return seen


async def _topics(admin: Admin, topics: Sequence[str]) -> dict[str, SeenTopic | Unseen]:
    answer = await admin.ask(TopicsRequest(topics))
    seen: dict[str, SeenTopic | Unseen] = {}
    for topic in answer.to_object()["topics"]:
        name, error = topic["topic"], for_code(topic["error_code"])
        if error is UnknownTopicOrPartitionError:
            seen[name] = Unseen.MISSING
        elif error is TopicAuthorizationFailedError:
            seen[name] = Unseen.HIDDEN
        else:  # one without a leader is there, too
            partitions = topic["partitions"]
            seen[name] = SeenTopic(
                len(partitions),
                min((len(one["replicas"]) for one in partitions), default=0),
                operations_in(topic["operations"]) if "operations" in topic else None,
                await admin.topic_settings(name),
            )
    return {name: seen.get(name, Unseen.MISSING) for name in topics}


async def _group(admin: Admin, group: str) -> Operations | Unseen:
    """What we may do with `group`; a new cluster has no coordinators yet, and is asked again for a while."""
    for _ in range(COORDINATOR_TRIES):
        with contextlib.suppress(KafkaError):
            try:
                answer = await admin.ask(GroupsRequest(group), await admin.coordinator(group))
            except GroupAuthorizationFailedError:
                return Unseen.HIDDEN
            described = answer.to_object()["groups"][0]
            error = for_code(described["error_code"])
            if error is GroupAuthorizationFailedError:
                return Unseen.HIDDEN
            if not described["error_code"]:
                bits = described.get("authorized_operations")
                return None if bits is None else operations_in(bits)
        await asyncio.sleep(COORDINATOR_SECONDS)
    return None


async def _versions(admin: Admin, broker: int) -> dict[int, range]:
    answer = await admin.ask(ApiVersionRequest(), broker)
    return {key: range(least, most + 1) for key, least, most in answer.api_versions}


def _in_common(all_versions: Sequence[Mapping[int, range]]) -> dict[int, range]:
    first, *others = all_versions
    return {
        key: range(
            max(versions.start, *(one[key].start for one in others)) if others else versions.start,
            min(versions.stop, *(one[key].stop for one in others)) if others else versions.stop,
        )
        for key, versions in first.items()
        if all(key in one for one in others)
    }


async def _ahead(connection: Connection, seen: SeenKafka) -> list[str]:
    """The topics that we may read and that have a record from the future."""
    moment = int((datetime.now(UTC) + AHEAD).timestamp() * 1000)
    readable = [
        name
        for name, topic in seen.topics.items()
        if isinstance(topic, SeenTopic) and (topic.may is None or "Read" in topic.may)
    ]
    ahead = []
    # A right that was taken away meanwhile is told of elsewhere.
    with contextlib.suppress(ConfigurationError):
        async with onlooker(connection) as consumer:
            for name in readable:
                places = await places_of(consumer, name)
                found: Mapping[TopicPartition, object] = await consumer.offsets_for_times(
                    dict.fromkeys(places, moment)
                )
                if any(found.values()):
                    ahead.append(name)
    return ahead
