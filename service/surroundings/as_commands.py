"""What a deployment needs, as the commands of Kafka and Temporal that make it."""

from collections.abc import Iterable, Iterator, Sequence

from service.dispatch import registered
from service.kafka.commands import acl_command, create_command
from service.kafka.rights import Right, rules
from service.surroundings.needs import Needs
from service.surroundings.wanted import WantedAttribute, WantedTopic


def as_commands(
    needs: Needs,
    topics: Iterable[WantedTopic],
    attributes: Sequence[WantedAttribute],
    rights: Iterable[Right],
) -> str:
    """A script for a shell; a type that nobody has said is `TYPE`."""
    return "\n".join(_lines(needs, topics, attributes, rights)) + "\n"


def attribute_commands(attributes: Sequence[WantedAttribute]) -> Iterator[str]:
    """The commands that register `attributes`."""
    for one in attributes:
        yield registered.create_command(one.namespace, one.name, one.type or "TYPE")


def _lines(
    needs: Needs,
    topics: Iterable[WantedTopic],
    attributes: Sequence[WantedAttribute],
    rights: Iterable[Right],
) -> Iterator[str]:
    yield "# Topics."
    for topic in topics:
        yield create_command(
            needs.servers,
            topic.name,
            topic.settings,
            partitions=topic.partitions,
            replicas=topic.replicas,
        )
    yield f"\n# Rights of {needs.principal}, the least that goes."
    for rule in rules(rights):
        yield acl_command(
            needs.servers, needs.principal, rule.operations, rule.kind, [rule.name], prefix=rule.prefix
        )
    if attributes:
        yield "\n# Search attributes."
        yield from attribute_commands(attributes)
        yield "\n# On Temporal Cloud instead:"
        for one in attributes:
            pair = f"{one.name}={one.type or 'TYPE'}"
            yield f"# tcld namespace search-attributes add -n {one.namespace} --search-attribute {pair}"
