"""What is wrong with a cluster, judged by what was seen of it."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta

from service.failures.letter_topic import weaknesses
from service.failures.letters import DEFAULT_MAX_MESSAGE_BYTES, HEADROOM_BYTES
from service.intake.offset_map import LIMIT_BYTES
from service.kafka.commands import acl_command, set_command
from service.kafka.rights import Right, Who
from service.kafka.survey import AHEAD, SeenKafka, SeenTopic, Unseen
from service.surroundings.checks import Finding
from service.surroundings.needs import Needs
from service.surroundings.spans import days

BROKER_LIMITS = ("group.min.session.timeout.ms", "group.max.session.timeout.ms")
DESCRIBE_CLUSTER = 60
"""The call of the protocol that came with Kafka 2.8 (KIP-700): who has it is that new."""


def judge_kafka(
    needs: Needs, seen: SeenKafka, *, who: frozenset[Who], value_bytes: int, session_timeout: timedelta
) -> Iterator[Finding]:
    """All that is wrong.

    Args:
        needs: What the deployment needs.
        seen: The cluster.
        who: In whose place we are: whose rights are judged.
        value_bytes: How large a value may be that we take.
        session_timeout: After how long without a sign of life a member is given up.
    """
    there = {name: topic for name, topic in seen.topics.items() if isinstance(topic, SeenTopic)}
    for name, topic in there.items():
        yield from _topic(needs, name, topic, seen.brokers)
        if name in needs.read:
            yield from _read(needs, name, topic, value_bytes)
        if name in needs.written:
            yield from _written(needs, name, topic)
    yield from _missing(needs, seen)
    yield from _rights(needs, seen, who)
    yield from _letters(needs, seen)
    # Brokers are mostly set alike: what is wrong with all of them is said once.
    yield from dict.fromkeys(one for settings in seen.settings for one in _broker(settings, session_timeout))
    if not any(seen.settings):
        right = acl_command(needs.servers, needs.principal, ["DescribeConfigs"], "cluster", [])
        yield Finding("TD216", "brokers", "their settings are not shown to us", f"let us see them: {right}")
    if seen.versions and DESCRIBE_CLUSTER not in seen.versions:
        problem = "they do not speak what Apache Kafka speaks since 2.8"
        yield Finding("TD217", "brokers", problem, "use Apache Kafka 2.8 or newer in production")
    for name in seen.ahead:
        problem = f"it has a record whose time is more than {AHEAD.total_seconds():.0f} s from now"
        cure = "set the clocks of this machine, of its producers and of the brokers by NTP"
        yield Finding("TD503", f"topic {name}", problem, cure)


def _missing(needs: Needs, seen: SeenKafka) -> Iterator[Finding]:
    for name, topic in seen.topics.items():
        if topic is Unseen.MISSING:
            what = "turnout setup" if name == needs.letters else "turnout setup --topics, or whoever owns it"
            yield Finding("TD202", f"topic {name}", "it is not there", f"make it: {what}")


def _rights(needs: Needs, seen: SeenKafka, who: frozenset[Who]) -> Iterator[Finding]:
    for right in needs.rights:
        if right.who in who and any(_lacks(one, seen) for one in _each(right, needs)):
            command = acl_command(
                needs.servers,
                needs.principal,
                [right.operation],
                right.kind,
                [right.name],
                prefix=right.prefix,
            )
            problem = f"we may not {right.operation.lower()} it ({right.who}: {right.why})"
            code = "TD203" if right.needed else "TD204"
            yield Finding(code, f"{right.kind} {right.name}", problem, f"let us: {command}")


def _each(right: Right, needs: Needs) -> Iterator[Right]:
    """`right`; where it is to all topics of a pattern, to each that is there."""
    if not right.prefix or right.kind != "topic":
        yield right
        return
    for name in needs.declared.among(needs.read):
        if name.startswith(right.name):
            yield replace(right, name=name, prefix=False)


def _lacks(right: Right, seen: SeenKafka) -> bool:
    """Whether it is known that we lack `right`; of what is not there nothing is known.

    What we may not see of settings is told where they are looked at.
    """
    if right.operation == "DescribeConfigs":
        return False
    if right.kind == "topic":
        topic = seen.topics.get(right.name, Unseen.MISSING)
        may = topic.may if isinstance(topic, SeenTopic) else topic
    else:
        may = seen.groups.get(right.name)
    if may is None or may is Unseen.MISSING:
        return False
    return may is Unseen.HIDDEN or right.operation not in may


def _topic(needs: Needs, name: str, topic: SeenTopic, brokers: int) -> Iterator[Finding]:
    """What may be wrong with any topic."""
    thing, settings = f"topic {name}", topic.settings
    if not settings:
        right = acl_command(needs.servers, needs.principal, ["DescribeConfigs"], "topic", [name])
        yield Finding("TD216", thing, "its settings are not shown to us", f"let us see them: {right}")
    if settings.get("unclean.leader.election.enable") == "true":
        cure = set_command(needs.servers, name, "unclean.leader.election.enable=false")
        yield Finding("TD211", thing, "unclean.leader.election.enable is true", cure)
    if name != needs.letters and brokers > 1 and topic.replicas < 2:
        problem = f"it has one replica, of {brokers} brokers"
        yield Finding("TD210", thing, problem, "give it more: kafka-reassign-partitions.sh")


def _read(needs: Needs, name: str, topic: SeenTopic, value_bytes: int) -> Iterator[Finding]:
    thing, settings = f"topic {name}", topic.settings
    if "compact" in settings.get("cleanup.policy", "") and not needs.read[name].tombstones:
        problem = "it is compacted, so records without value come"
        yield Finding("TD207", thing, problem, "write `tombstones: skip` or `event` for it in the routes")
    largest = int(settings.get("max.message.bytes", 0))
    if largest > value_bytes + HEADROOM_BYTES:
        problem = f"it takes records of {largest} bytes, and values of more than {value_bytes} become letters"
        smaller = set_command(needs.servers, name, f"max.message.bytes={value_bytes}")
        cure = f"set TURNOUT_INTAKE__VALUE_BYTES={largest}, or let it take less: {smaller}"
        yield Finding("TD212", thing, problem, cure)
    if settings.get("message.timestamp.type") == "LogAppendTime":
        problem = "its records have the time at which they came, not the one that their producers gave them"
        yield Finding(
            "TD218", thing, problem, "nothing has to be done; events with a time of their own have that"
        )


def _written(needs: Needs, name: str, topic: SeenTopic) -> Iterator[Finding]:
    thing, settings = f"topic {name}", topic.settings
    if "compact" in settings.get("cleanup.policy", ""):
        cure = set_command(needs.servers, name, "cleanup.policy=delete")
        yield Finding("TD208", thing, "it is compacted: results of one subject replace each other", cure)
    in_sync = int(settings.get("min.insync.replicas", 1))
    if in_sync > topic.replicas:
        problem = f"it has {topic.replicas} replicas and wants {in_sync} in sync"
        cure = set_command(needs.servers, name, f"min.insync.replicas={min(topic.replicas, 2)}")
        yield Finding("TD209", thing, problem, cure)
    elif in_sync < 2 <= topic.replicas and settings:
        cure = set_command(needs.servers, name, "min.insync.replicas=2")
        yield Finding("TD210", thing, "it takes results that one broker alone has", cure)


def _letters(needs: Needs, seen: SeenKafka) -> Iterator[Finding]:
    topic = seen.topics.get(needs.letters)
    if not isinstance(topic, SeenTopic):
        return
    sources = [one for name in needs.read if isinstance(one := seen.topics.get(name), SeenTopic)]
    sizes = [int(one.settings.get("max.message.bytes", DEFAULT_MAX_MESSAGE_BYTES)) for one in sources]
    found = weaknesses(
        topic.settings,
        needed_bytes=max(sizes, default=DEFAULT_MAX_MESSAGE_BYTES) + HEADROOM_BYTES,
        replicas=topic.replicas,
        brokers=seen.brokers,
    )
    for weakness in found:
        cure = set_command(needs.servers, needs.letters, weakness.setting) if weakness.setting else ""
        code = "TD205" if weakness.fatal else "TD206"
        yield Finding(code, f"topic {needs.letters}", f"it {weakness.problem}", cure)


def _broker(settings: Mapping[str, str], session_timeout: timedelta) -> Iterator[Finding]:
    ours = int(session_timeout.total_seconds() * 1000)
    least, most = (int(settings.get(name, ours)) for name in BROKER_LIMITS)
    if not least <= ours <= most:
        problem = f"they allow session timeouts from {days(least)} to {days(most)}, and ours is {days(ours)}"
        yield Finding("TD213", "brokers", problem, "set TURNOUT_KAFKA__SESSION_TIMEOUT to one between")
    metadata = int(settings.get("offset.metadata.max.bytes", LIMIT_BYTES))
    if metadata < LIMIT_BYTES:
        problem = f"they take {metadata} bytes with a commit, and we want {LIMIT_BYTES}"
        yield Finding(
            "TD214", "brokers", problem, f"set offset.metadata.max.bytes={LIMIT_BYTES} on all brokers"
        )
    if settings.get("auto.create.topics.enable") == "true":
        yield Finding(
            "TD215",
            "brokers",
            "auto.create.topics.enable is true",
            "set it to false on all brokers, and make topics by turnout setup --topics",
        )
