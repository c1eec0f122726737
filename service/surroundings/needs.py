"""What the routes and settings of a deployment need around them, as far as these alone tell."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from service.declarations import ByTopic
from service.expressions import Template
from service.failures.letters import letter_group, letter_topic
from service.kafka.commands import ANYBODY
from service.kafka.rights import Letters, Right, least_rights
from service.pipeline import attribute_names
from service.replays.progress import replay_group
from service.routing.table import Route, RouteTable
from service.settings import Settings
from service.temporal.worker import service_queue


@dataclass(frozen=True, slots=True)
class Reading:
    """A topic that is read.

    Attributes:
        tombstones: Whether its file says what records without a value mean.
        starts: The namespaces in which its events start workflows.
    """

    tombstones: bool = False
    starts: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Needs:
    """What a deployment needs.

    Attributes:
        group: Its consumer group.
        servers: Where its cluster is.
        principal: Who logs in there, as ACLs name people.
        read: The topics that routes read; those of patterns are among them only in `with_topics`.
        declared: Beside these, what is declared by patterns.
        written: The topics that results go to.
        namespace: Turnout's own.
        queues: All namespaces, and in each the task queues that routes start workflows on.
        attributes: Search attributes that each start sets; keywords.
        set_by_routes: Search attributes that routes set, of types that only their owners know.
        looked_for: Search attributes that routes look for workflows by.
        rights: The least that we must be allowed in Kafka.
    """

    group: str
    servers: str
    principal: str
    read: Mapping[str, Reading]
    written: frozenset[str]
    namespace: str
    queues: Mapping[str, Sequence[str]]
    attributes: tuple[str, ...] = ()
    set_by_routes: frozenset[str] = frozenset()
    looked_for: frozenset[str] = frozenset()
    rights: Sequence[Right] = ()
    declared: ByTopic[Reading] = field(default_factory=lambda: ByTopic({}))

    def with_topics(self, there: Iterable[str]) -> "Needs":
        """The same, with those of the topics that are there that patterns stand for."""
        found = {name: self.declared[name] for name in self.declared.among(there)}
        return replace(self, read={**self.read, **found})

    @property
    def letters(self) -> str:
        """The topic of letters."""
        return letter_topic(self.group)

    @property
    def topics(self) -> Sequence[str]:
        """All topics, that of letters first."""
        return list(dict.fromkeys([self.letters, *self.read, *sorted(self.written)]))

    @property
    def groups(self) -> Sequence[str]:
        """The groups that rights are needed for, by their whole names."""
        return list(dict.fromkeys(r.name for r in self.rights if r.kind == "group" and not r.prefix))


def needs_of(settings: Settings, table: RouteTable, namespace: str, principal: str = "") -> Needs:
    """What `settings` and the routes of `table` need; `namespace` is turnout's own.

    Without `principal`, it is who the settings log in as.
    """
    group, names = settings.group, attribute_names(settings.temporal)
    queues: defaultdict[str, list[str]] = defaultdict(list)
    starts: defaultdict[str, set[str]] = defaultdict(set)
    for route in table.routes:
        for where, queue in _starts(route, table, namespace):
            if queue and queue not in queues[where]:
                queues[where].append(queue)
            for topic in route.topics:
                starts[topic].add(where)
    declared = ByTopic(
        {
            name: Reading(table.topics[name].format.tombstones is not None, frozenset(starts[name]))
            for name in table.topics
        },
        without=table.out_topics,
    )
    return Needs(
        group=group,
        servers=settings.kafka.bootstrap_servers,
        principal=principal or settings.kafka.username or ANYBODY,
        read={name: declared[name] for name in declared.named},
        declared=declared,
        written=table.out_topics,
        namespace=namespace,
        queues={name: queues[name] for name in sorted({namespace, *table.namespaces})},
        attributes=names.all if names else (),
        set_by_routes=frozenset(table.search_attributes),
        looked_for=frozenset(table.looked_for),
        rights=least_rights(
            group,
            read=table.topics,
            told=table.closing_topics,
            written=table.out_topics,
            letters=Letters(letter_topic(group), letter_group(group)),
            replays=replay_group(group, ""),
        ),
    )


def own_queue(needs: Needs) -> str:
    """The task queue that bridges work on, in turnout's own namespace."""
    return service_queue(needs.group)


def namespaces_of(route: Route, table: RouteTable, namespace: str) -> Sequence[str]:
    """The namespaces that `route` starts workflows in; `namespace` is turnout's own."""
    return sorted({where for where, _ in _starts(route, table, namespace)})


def _starts(route: Route, table: RouteTable, namespace: str) -> Iterator[tuple[str, str]]:
    """Where `route` starts workflows, and on which task queue, if that is known."""
    keys = route.keys
    if keys.start:
        for where in _namespaces(keys.start.namespace, table, namespace):
            yield where, keys.start.task_queue.literal or ""
    if keys.signal and keys.signal.or_start:
        for where in _namespaces(keys.signal.namespace, table, namespace):
            yield where, keys.signal.or_start.task_queue.literal or ""


def _namespaces(template: Template | None, table: RouteTable, namespace: str) -> Sequence[str]:
    """The namespaces that a route may mean."""
    if template is None:
        return [namespace]
    return [template.literal] if template.literal is not None else sorted(table.allowed_namespaces)
