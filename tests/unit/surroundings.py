"""A deployment with all that it needs around it, for tests to take something away."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio.api.enums.v1 import IndexedValueType

from service.dispatch.registered import types_by_name
from service.failures.letters import HEADROOM_BYTES
from service.kafka.rights import Letters, least_rights
from service.kafka.survey import SeenKafka, SeenTopic, Unseen
from service.surroundings.needs import Needs, Reading
from service.temporal.survey import SeenNamespace, SeenQueue, SeenTemporal

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
DAY_MS = 86_400_000
OURS = ("TurnoutRoute", "TurnoutEventType", "TurnoutEventId", "TurnoutRecord")
KEYWORD = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD

NEEDS = Needs(
    group="shop",
    servers="k:9092",
    principal="app",
    read={"orders": Reading(starts=frozenset({"default"})), "replies": Reading()},
    written=frozenset({"results"}),
    namespace="default",
    queues={"default": ["fulfilment"]},
    attributes=OURS,
    set_by_routes=frozenset({"OrderNumber"}),
    looked_for=frozenset({"OrderNumber"}),
    rights=least_rights(
        "shop",
        read=["orders", "replies"],
        told=["results"],
        written=["results"],
        letters=Letters("shop.dead-letters", "shop.letters"),
        replays="shop.replay.",
    ),
)

SETTINGS = {
    "cleanup.policy": "delete",
    "max.message.bytes": "1048588",
    "min.insync.replicas": "2",
    "retention.ms": str(7 * DAY_MS),
    "retention.bytes": "-1",
    "unclean.leader.election.enable": "false",
    "message.timestamp.type": "CreateTime",
}
OF_LETTERS = SETTINGS | {"max.message.bytes": str(1_048_588 + HEADROOM_BYTES)}
OF_BROKERS = {
    "group.min.session.timeout.ms": "6000",
    "group.max.session.timeout.ms": "1800000",
    "offset.metadata.max.bytes": "4096",
    "offsets.retention.minutes": str(7 * 24 * 60),
    "auto.create.topics.enable": "false",
}
MAY_ALL = frozenset({"Read", "Write", "Describe", "DescribeConfigs"})

KAFKA = SeenKafka(
    brokers=3,
    topics={
        "shop.dead-letters": SeenTopic(1, 3, MAY_ALL, OF_LETTERS),
        "orders": SeenTopic(3, 3, MAY_ALL, SETTINGS),
        "replies": SeenTopic(3, 3, MAY_ALL, SETTINGS),
        "results": SeenTopic(3, 3, MAY_ALL, SETTINGS),
    },
    groups=dict.fromkeys(NEEDS.groups, MAY_ALL),
    settings=[OF_BROKERS] * 3,
    versions={3: range(14), 60: range(3)},
)

TEMPORAL = SeenTemporal(
    "1.32.0",
    {
        "default": SeenNamespace(
            timedelta(days=7),
            dict.fromkeys([*OURS, "OrderNumber"], KEYWORD),
            {
                "fulfilment": SeenQueue(2, NOW - timedelta(seconds=20)),
                "turnout.shop": SeenQueue(1, NOW - timedelta(seconds=10)),
            },
        )
    },
)


def kafka(**changes: Any) -> SeenKafka:
    """The cluster with some of it otherwise."""
    return replace(KAFKA, **changes)


def with_topic(name: str, *, settings: Mapping[str, str] | None = None, **changes: Any) -> SeenKafka:
    """The cluster with a topic otherwise; of its settings those that are given."""
    topic = KAFKA.topics[name]
    assert isinstance(topic, SeenTopic)
    changed = replace(topic, settings={**topic.settings, **(settings or {})})
    return kafka(topics={**KAFKA.topics, name: replace(changed, **changes)})


def without_topic(name: str, why: Unseen) -> SeenKafka:
    """The cluster with a topic that is not seen."""
    return kafka(topics={**KAFKA.topics, name: why})


def with_group(name: str, may: frozenset[str] | Unseen | None) -> SeenKafka:
    """The cluster with other rights to a group."""
    return kafka(groups={**KAFKA.groups, name: may})


def with_brokers(settings: Mapping[str, str]) -> SeenKafka:
    """The cluster with one broker that is set otherwise than the others."""
    return kafka(settings=[OF_BROKERS, OF_BROKERS | dict(settings), OF_BROKERS])


def temporal(version: str = "1.32.0", **changes: Any) -> SeenTemporal:
    """Temporal with some of the namespace otherwise."""
    namespace = TEMPORAL.namespaces["default"]
    assert namespace
    return SeenTemporal(version, {"default": replace(namespace, **changes)})


def with_attribute(name: str, kind: str | None) -> SeenTemporal:
    """Temporal with an attribute of another type, or without it."""
    namespace = TEMPORAL.namespaces["default"]
    assert namespace
    attributes = {**namespace.attributes}
    del attributes[name]
    if kind:
        attributes[name] = types_by_name()[kind]
    return temporal(attributes=attributes)
