"""Rights in Kafka: the list of the least that turnout needs."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

from service.kafka.given_up import given_up_group
from service.kafka.route_log import routes_group
from service.kafka.seeking import seek_group


class Who(StrEnum):
    """Who needs a right."""

    BRIDGE = "bridge"
    WORKER = "worker"
    PEOPLE = "people"
    """The commands that a person runs: `letters`, `seek`, `replay`, `doctor`."""


@dataclass(frozen=True, slots=True)
class Right:
    """One thing that we must be allowed, or that makes something better.

    Attributes:
        operation: `Read`, `Write`, `Describe` or `DescribeConfigs`; each of the first two implies `Describe`.
        kind: `topic`, `group` or `cluster`; the name of a cluster is empty.
        name: Of the topic or group; with `prefix` how it begins.
        who: Who needs it.
        why: What it is for.
        needed: Whether nothing goes without it.
    """

    operation: str
    kind: str
    name: str
    who: Who
    why: str
    needed: bool = True
    prefix: bool = False


@dataclass(frozen=True, slots=True)
class Letters:
    """Where letters go, and the group that remembers which of them are done."""

    topic: str
    group: str


def least_rights(
    group: str,
    *,
    read: Iterable[str],
    told: Iterable[str],
    written: Iterable[str],
    letters: Letters,
    replays: str,
) -> Sequence[Right]:
    """The least that bridges and workers of `group`, and the commands for people, must be allowed.

    No right to a transactional id: there are no transactions. `IdempotentWrite` on the cluster goes with
    `Write` on a topic since Kafka 2.8.

    Args:
        group: The consumer group.
        read: The topics that routes read; of a pattern, rights go to all that begins as it does.
        told: The topics that are told how workflows ended, by bridges.
        written: The topics that workflows publish to.
        letters: Where letters go.
        replays: How the names of the groups of replays begin.
    """
    told = set(told)
    sources = [_begins(name) for name in read]
    return [
        *(Right("Read", "topic", name, Who.BRIDGE, "its events", prefix=prefix) for name, prefix in sources),
        Right("Read", "group", group, Who.BRIDGE, "to share the partitions, and to commit"),
        Right("Write", "topic", letters.topic, Who.BRIDGE, "letters"),
        *(
            Right("Read", "group", name, Who.BRIDGE, why, needed=False)
            for name, why in (
                (given_up_group(group), "to hear of records that a person gave up on"),
                (routes_group(group), "to note where routes went live, for replays"),
                (seek_group(group), "to hear where a partition that stopped goes on"),
            )
        ),
        Right("Describe", "group", letters.group, Who.BRIDGE, "to count open letters", needed=False),
        *(Right("Write", "topic", name, Who.BRIDGE, "how workflows ended") for name in sorted(told)),
        *(Right("Write", "topic", name, Who.WORKER, "results, requests") for name in sorted(written)),
        *(
            Right("Read", "topic", name, who, "to see whether a result that is tried again is there", False)
            for who, names in ((Who.BRIDGE, told), (Who.WORKER, written))
            for name in sorted(names)
        ),
        Right("Read", "topic", letters.topic, Who.PEOPLE, "`turnout letters`", needed=False),
        Right("Read", "group", letters.group, Who.PEOPLE, "`turnout letters`", needed=False),
        Right("Read", "group", replays, Who.PEOPLE, "`turnout replay`", needed=False, prefix=True),
        *(
            Right("DescribeConfigs", "topic", name, Who.BRIDGE, "to see that letters are safe", False, prefix)
            for name, prefix in dict.fromkeys([(letters.topic, False), *sources])
        ),
        *(
            Right("DescribeConfigs", "topic", name, Who.PEOPLE, "`turnout doctor`", needed=False)
            for name in sorted({*told, *written})
        ),
        Right("DescribeConfigs", "cluster", "", Who.PEOPLE, "`turnout doctor`", needed=False),
    ]


def _begins(declared: str) -> tuple[str, bool]:
    """A topic's name, or how the topics of a pattern begin, and whether it is only that."""
    begin, star, _ = declared.partition("*")
    return (begin or star, bool(begin and star))


@dataclass(frozen=True, slots=True)
class Rule:
    """What someone may do with one thing: the operations of several rights together."""

    kind: str
    name: str
    prefix: bool
    operations: tuple[str, ...]


def rules(rights: Iterable[Right]) -> Iterator[Rule]:
    """`rights` by what they are rights to, each thing and each operation once."""

    def of(right: Right) -> tuple[str, str, bool]:
        return (right.kind, right.name, right.prefix)

    for (kind, name, prefix), same in groupby(sorted(rights, key=of), key=of):
        yield Rule(kind, name, prefix, tuple(dict.fromkeys(right.operation for right in same)))
