"""The topics and search attributes that `turnout setup` makes or prints: as a start wants them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from service.dispatch.registered import KEYWORD
from service.failures.letter_topic import in_sync_settings
from service.failures.letters import DEFAULT_MAX_MESSAGE_BYTES, letter_topic_settings
from service.surroundings.needs import Needs

MOST_REPLICAS = 3
LETTERS_KEPT = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Choices:
    """What a person may choose.

    Attributes:
        topics: Whether the topics that routes declare are made, too.
        partitions: Of these.
        retention: Of these; None leaves it to the brokers.
        letters_kept: How long letters are kept.
        replicas: Of all topics; None takes three, or as many as there are brokers.
        types: Types of search attributes that routes name, by name.
    """

    topics: bool = False
    partitions: int = 3
    retention: timedelta | None = None
    letters_kept: timedelta = LETTERS_KEPT
    replicas: int | None = None
    types: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WantedTopic:
    """A topic as it is to be made."""

    name: str
    partitions: int
    replicas: int
    settings: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class WantedAttribute:
    """A search attribute as it is to be registered; an empty `type` is one that nobody has said."""

    namespace: str
    name: str
    type: str = KEYWORD


def wanted_topics(
    needs: Needs,
    choices: Choices,
    *,
    brokers: int = MOST_REPLICAS,
    largest_record_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
) -> Sequence[WantedTopic]:
    """The letter topic, and those that routes declare, which are made only if that was chosen."""
    replicas = choices.replicas or min(brokers, MOST_REPLICAS)
    in_sync = in_sync_settings(replicas)
    of_letters = letter_topic_settings(largest_record_bytes)
    kept = {"retention.ms": _milliseconds(choices.retention)} if choices.retention else {}
    return [
        WantedTopic(
            needs.letters,
            1,
            replicas,
            of_letters | {"retention.ms": _milliseconds(choices.letters_kept)} | in_sync,
        ),
        *(
            WantedTopic(name, choices.partitions, replicas, kept | in_sync)
            for name in needs.topics
            if name != needs.letters
        ),
    ]


def wanted_attributes(needs: Needs, types: Mapping[str, str]) -> Iterator[WantedAttribute]:
    """All search attributes of all namespaces."""
    of_routes = sorted(needs.set_by_routes | needs.looked_for)
    for namespace in needs.queues:
        for name in needs.attributes:
            yield WantedAttribute(namespace, name)
        for name in of_routes:
            yield WantedAttribute(namespace, name, types.get(name, ""))


def _milliseconds(span: timedelta) -> str:
    return str(span // timedelta(milliseconds=1))
