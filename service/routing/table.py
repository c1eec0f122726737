"""The table of routes: from an event to the commands it leads to."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from pydantic import ValidationError

from activities.correlation import HEADER, Correlation
from activities.signing import NotOurs
from service.cutting import cut
from service.declarations import ByTopic, TopicsOf
from service.errors import ConfigurationError, Finding, RouteError
from service.events.codec import BytesFormat, SubjectStrategy
from service.events.envelope import MappedEnvelope, TopicFormat
from service.events.event import Event
from service.events.json_schema import Schema
from service.expressions import Template, checked_id, checked_task_queue
from service.routing.commands import (
    SUMMARY_BYTES,
    CallError,
    Cancel,
    Command,
    Complete,
    OrStart,
    Rule,
    Signal,
    Start,
    StartOptions,
)
from service.routing.consistency import inconsistencies
from service.routing.contract import Contract, Part
from service.routing.files import route_files
from service.routing.findings import findings_of
from service.routing.grammar import (
    CancelKeys,
    CompleteKeys,
    OptionKeys,
    RouteFile,
    RouteKeys,
    SignalKeys,
    StartKeys,
    TopicKeys,
    WhereKeys,
    WorkflowKeys,
    rfc_3339,
)
from service.routing.lookups import SYSTEM, checked_value
from service.routing.out_schemas import unusable_schemas
from service.routing.reading import Document, Loc, read
from service.routing.shapes import Shape
from workflows.topics import is_pattern, matches

MAX_FAIRNESS_KEY_BYTES = 64

T = TypeVar("T")


class RouteMistake(NamedTuple):
    """What is wrong with a route, and where in it: keys and indexes."""

    loc: Loc
    problem: str
    cure: str = ""


Judge = Callable[[RouteKeys], Iterable[RouteMistake]]
"""Says what is wrong with a route that the grammar has nothing against."""


def no_mistakes(_: RouteKeys) -> Iterable[RouteMistake]:
    """The judge of those who know nothing of workflows."""
    return ()


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic that is read: how its records are decoded, ordered, and what becomes of unmatched events."""

    name: str
    format: TopicFormat
    ordering: Literal["key", "partition"] = "key"
    unmatched: Rule = Rule.DEAD_LETTER


@dataclass(frozen=True, slots=True)
class OutFormat:
    """How the results of a topic are written by schemas: which, under what name, and who registers them.

    `schemas` holds the text of each by the type of event that it is of, `""` being any; without one, the
    newest that the registry has is taken.
    """

    topic: str
    format: BytesFormat
    subject: SubjectStrategy = "topic-name"
    schemas: Mapping[str, str] = field(default_factory=dict)
    register: bool = False


class Route:
    """A named rule: which events, and what to ask of Temporal.

    Args:
        keys: What the file says.
        allowed: The namespaces that an expression may name.
    """

    def __init__(self, keys: RouteKeys, allowed: frozenset[str]) -> None:
        self.name = keys.name
        self.topics = keys.topics
        self.types = keys.types
        self.keys = keys
        self._allowed = allowed

    def on(self, topics: Sequence[str]) -> "Route":
        """The same route with `topics` in place of what it declares: names of real ones for patterns."""
        route = copy(self)
        route.topics = tuple(topics)
        return route

    @property
    def rule(self) -> str:
        """All that decides what it makes of an event, as text: of the same text they make the same."""
        return repr((self.keys, sorted(self._allowed)))

    def command(self, event: Event) -> Command | None:
        """What to ask of Temporal because of `event`, or None if the route's `when` is false.

        `event` must be of the route's topic and type.

        Raises:
            RouteError: No command can be made of this event; the reason names route and key.
        """
        variables = event.variables()
        try:
            when = self.keys.when
            if when and not _at("when", lambda: when.holds(variables)):
                return None
            return self._command(event, variables)
        except RouteError as error:
            raise RouteError(f"route {self.name}: {error.reason}", cure=error.cure) from error

    def _command(self, event: Event, variables: Mapping[str, Any]) -> Command:
        if start := self.keys.start:
            return self._start(start, event, variables)
        if signal := self.keys.signal:
            return self._signal(signal, event, variables)
        if cancel := self.keys.cancel:
            return self._cancel(cancel, event, variables)
        if complete := self.keys.complete:
            return self._complete(complete, event, variables)
        raise AssertionError("a route without action passed the checks")  # pragma: no cover

    def _start(self, keys: StartKeys, event: Event, variables: Mapping[str, Any]) -> Start:
        return Start(
            route=self.name,
            event=event,
            namespace=self._namespace(keys.namespace, variables),
            workflow_id=_id("id", keys.id, variables),
            workflow=_id("workflow", keys.workflow, variables),
            task_queue=_id("task_queue", keys.task_queue, variables, checked_task_queue),
            args=_args(keys.input, keys.args, variables),
            contract=_contract(keys.contract, keys.args),
            running=keys.running,
            closed=keys.closed,
            options=_options(keys, variables),
            publish_closing=keys.publish_closing,
        )

    def _signal(self, keys: SignalKeys, event: Event, variables: Mapping[str, Any]) -> Signal:
        return Signal(
            route=self.name,
            event=event,
            namespace=self._namespace(keys.namespace, variables),
            workflow_id="" if isinstance(keys.to, WhereKeys) else _id("to", keys.to, variables),
            where=_where(keys.to, variables) if isinstance(keys.to, WhereKeys) else None,
            name=_id("name", keys.name, variables),
            args=([*_args(keys.input, None, variables)],)
            if keys.batch
            else _args(keys.input, keys.args, variables),
            contract=_contract(keys.contract, keys.args, batch=keys.batch),
            batch=keys.batch,
            missing=keys.missing,
            closed=keys.closed,
            or_start=_or_start(keys.or_start, variables) if keys.or_start else None,
        )

    def _cancel(self, keys: CancelKeys, event: Event, variables: Mapping[str, Any]) -> Cancel:
        reason = keys.reason
        return Cancel(
            route=self.name,
            event=event,
            namespace=self._namespace(keys.namespace, variables),
            workflow_id="" if isinstance(keys.to, WhereKeys) else _id("to", keys.to, variables),
            where=_where(keys.to, variables) if isinstance(keys.to, WhereKeys) else None,
            reason=_text("reason", reason, variables) if reason else "",
            missing=keys.missing,
            closed=keys.closed,
        )

    def _complete(self, keys: CompleteKeys, event: Event, variables: Mapping[str, Any]) -> Complete:
        text, error, result = _text("correlation", keys.correlation, variables), keys.error, keys.result
        try:
            to = Correlation.read(text)
        except NotOurs as problem:
            raise RouteError(
                f"correlation: {problem}",
                cure=f"copy the request's header `{HEADER}` into the reply, unchanged",
            ) from None
        return Complete(
            route=self.name,
            event=event,
            namespace=to.namespace,
            workflow_id=to.workflow_id,
            correlation=text,
            activity_id=to.activity_id,
            result=_entry("result", result, variables) if result is not None else None,
            error=CallError(
                type=_id("error type", error.type, variables),
                text=_text("error text", error.text, variables) if error.text else "",
            )
            if error
            else None,
            late=keys.late,
        )

    def _namespace(self, template: Template | None, variables: Mapping[str, Any]) -> str | None:
        if template is None or template.literal is not None:
            return template.literal if template else None
        namespace = _id("namespace", template, variables)
        if namespace not in self._allowed:
            raise RouteError(f"namespace is none of the allowed ones: {', '.join(sorted(self._allowed))}")
        return namespace


class RouteTable:
    """All routes of a deployment, in file order, and what their files declare.

    Args:
        files: Files that passed every check, in their order.
    """

    def __init__(self, files: Sequence[RouteFile]) -> None:
        self._files = files
        self._allowed = frozenset(name for file in files for name in file.namespaces)
        self.routes = tuple(Route(keys, self._allowed) for file in files for keys in file.routes)
        self._by_name = {route.name: route for route in self.routes}
        declared = [(name, keys) for file in files for name, keys in file.topics.items()]
        self.out_topics = frozenset(name for name, keys in declared if keys.out)
        self.topics = ByTopic(
            {name: _topic(name, keys) for name, keys in declared if not keys.out}, self.out_topics
        )
        self.out_formats = {
            name: OutFormat(name, keys.format, keys.subject, keys.schemas, keys.register_)
            for name, keys in declared
            if keys.out and keys.format != "json"
        }
        self._queues = {name: keys.inbox for file in files for name, keys in file.task_queues.items()}
        batching = frozenset(
            topic
            for route in self.routes
            if route.keys.signal and route.keys.signal.batch
            for topic in route.topics
        )
        self._batching_topics = self.topics.where(lambda topic: topic.name in batching)
        self._matching = self.topics.each(lambda topic: _Matching(topic.name, self.routes))

    def routes_for(self, event: Event) -> Sequence[Route]:
        """The routes whose topic and type fit `event`, in file order; empty: it is unmatched."""
        matching = self._matching.get(event.record.topic)
        return matching.by_type(event.type) if matching else ()

    def reads(self, route: Route, topic: str) -> bool:
        """Whether `route` reads `topic`, which is real: it is declared as one of those that it names."""
        return self.topics.declaration_of(topic) in route.topics

    def topics_of(self, route: Route, there: Iterable[str]) -> Sequence[str]:
        """All real topics that `route` reads where there are `there`, those that it names first."""
        named = [name for name in route.topics if not is_pattern(name)]
        return [*named, *(topic for topic in self.topics.among(there) if self.reads(route, topic))]

    def route(self, name: str) -> Route | None:
        """The route of that name, if today's files have one."""
        return self._by_name.get(name)

    @property
    def by_topic(self) -> ByTopic[frozenset[str]]:
        """The names of the routes that read each topic."""
        return self.topics.each(
            lambda topic: frozenset(route.name for route in self.routes if topic.name in route.topics)
        )

    def alone(self, route: Route) -> "RouteTable":
        """The table without all other routes: what `route` does not take is unmatched, which is skipped."""
        return RouteTable([_alone(file, route) for file in self._files])

    @property
    def ordered_by_partition(self) -> TopicsOf:
        """Topics in which all records of a partition share one order, whatever their keys."""
        return self.topics.where(lambda topic: topic.ordering == "partition")

    @property
    def batching_topics(self) -> TopicsOf:
        """Topics with a route whose signals may be told several at once."""
        return self._batching_topics

    @property
    def search_attributes(self) -> set[str]:
        """The names of all search attributes that starts set; they must be registered."""
        return {name for keys in self._workflows() for name in keys.search_attributes}

    @property
    def looked_for(self) -> set[str]:
        """The names of all search attributes that workflows are looked for by; they must be registered."""
        actions = (route.keys.signal or route.keys.cancel for route in self.routes)
        wheres = (action.to.where for action in actions if action and isinstance(action.to, WhereKeys))
        return {name for where in wheres for name in where} - SYSTEM

    @property
    def namespaces(self) -> set[str]:
        """All namespaces that commands may go to beyond the client's own."""
        actions = (route.keys.start or route.keys.signal or route.keys.cancel for route in self.routes)
        templates = (action.namespace for action in actions if action and action.namespace)
        literal = {template.literal for template in templates if template.literal is not None}
        return literal | self._allowed

    @property
    def allowed_namespaces(self) -> frozenset[str]:
        """The namespaces that an expression may name."""
        return self._allowed

    @property
    def completing(self) -> Sequence[str]:
        """The routes that complete calls."""
        return [route.name for route in self.routes if route.keys.complete]

    @property
    def closing_topics(self) -> frozenset[str]:
        """The topics that are told how workflows ended."""
        starts = (route.keys.start for route in self.routes)
        return frozenset(start.publish_closing for start in starts if start and start.publish_closing)

    @property
    def task_queues(self) -> dict[str, bool]:
        """Each task queue that is named or used, and whether its workers are known to have the inbox.

        A queue that only an expression names is left out.
        """
        used = {keys.task_queue.literal: False for keys in self._workflows() if keys.task_queue.literal}
        return {**{name: inbox for name, inbox in used.items() if name}, **self._queues}

    def _workflows(self) -> Iterator[WorkflowKeys]:
        for route in self.routes:
            if route.keys.start:
                yield route.keys.start
            if route.keys.signal and route.keys.signal.or_start:
                yield route.keys.signal.or_start


def no_route_takes(event: Event) -> RouteError:
    """Why an event becomes a letter that no route takes, where its topic does not say to skip it."""
    return RouteError(
        f"no route takes type {event.type} from {event.record.topic}",
        cure="add one, or write `unmatched: skip` for the topic",
    )


class _Matching:
    """The routes of one topic by type; types that no route names share the routes without a type."""

    def __init__(self, topic: str, routes: Sequence[Route]) -> None:
        fitting = [route for route in routes if topic in route.topics]
        self._any = tuple(route for route in fitting if route.types is None)
        named = {one for route in fitting for one in route.types or ()}
        self._by_type = {
            one: tuple(route for route in fitting if route.types is None or one in route.types)
            for one in named
        }

    def by_type(self, type_: str) -> Sequence[Route]:
        return self._by_type.get(type_, self._any)


def _alone(file: RouteFile, route: Route) -> RouteFile:
    topics = {
        name: keys if keys.out else keys.model_copy(update={"unmatched": Rule.SKIP})
        for name, keys in file.topics.items()
        if keys.out or name in route.topics or _is_left_out(name, route)
    }
    routes = [keys for keys in file.routes if keys.name == route.name]
    return file.model_copy(update={"topics": topics, "routes": routes})


def _is_left_out(topic: str, route: Route) -> bool:
    """Whether a pattern of the route's would match `topic` if that were not declared by its name."""
    return any(is_pattern(name) and matches(name, topic) for name in route.topics)


class RoutesAsRead(NamedTuple):
    """What files hold: as it was read, by the grammar where it takes it, and everything that is wrong."""

    documents: Sequence[Document]
    files: Sequence[RouteFile]
    findings: Sequence[Finding]


def load_routes(path: Path, judge: Judge = no_mistakes) -> RouteTable:
    """The table of the file at `path`, or of all *.yaml and *.yml files in that folder and below.

    Files are read in the order of their paths, but for tests of routes; see `route_files`. `judge` is asked
    about each route, too.

    Raises:
        ConfigurationError: Anything is wrong; with all findings, in the order of files and lines.
    """
    return load_all_routes([path], judge)


def load_all_routes(paths: Sequence[Path], judge: Judge = no_mistakes) -> RouteTable:
    """As `load_routes`, of several files or folders that are read as one.

    Raises:
        ConfigurationError: Anything is wrong; with all findings, in the order of files and lines.
    """
    routes = read_routes(paths, judge)
    if routes.findings:
        raise _all_at_once(", ".join(map(str, paths)), routes.findings)
    return RouteTable(routes.files)


def read_routes(paths: Sequence[Path], judge: Judge = no_mistakes) -> RoutesAsRead:
    """What the files at `paths` say together; each may be a folder, and `judge` is as for `load_routes`."""
    findings: list[Finding] = []
    documents: list[Document] = []
    files: list[RouteFile] = []
    try:
        for name in dict.fromkeys(name for path in paths for name in route_files(path)):
            try:
                documents.append(read(name))
            except ConfigurationError as error:
                findings += error.findings
    except ConfigurationError as error:
        findings += error.findings
    # A file that cannot be read may hold what seems to be missing in the others.
    if not findings:
        findings += inconsistencies(documents)
    for document in documents:
        try:
            file = RouteFile.model_validate(document.values, context={"folder": document.path.parent})
        except ValidationError as error:
            findings += findings_of(document, error)
        else:
            files.append(file)
            findings += unusable_schemas(document, file)
            findings += _judged(document, file, judge)
    if not findings and not any(file.routes for file in files):
        findings.append(Finding("TR309", paths[0], 0, 0, "no routes", "write at least one under routes:"))
    return RoutesAsRead(documents, files, sorted(findings, key=in_order))


def in_order(finding: Finding) -> tuple[str, int, int]:
    """The order in which findings are said: by file and place."""
    return (str(finding.path), finding.line, finding.column)


def _judged(document: Document, file: RouteFile, judge: Judge) -> Iterator[Finding]:
    for index, keys in enumerate(file.routes):
        for loc, problem, cure in judge(keys):
            yield document.at_value("TR405", ("routes", index, *loc), problem, cure)


def _all_at_once(path: Path | str, findings: Sequence[Finding]) -> ConfigurationError:
    count = "1 mistake" if len(findings) == 1 else f"{len(findings)} mistakes"
    return ConfigurationError(f"the routes in {path} cannot be used: {count}", findings)


def _topic(name: str, keys: TopicKeys) -> Topic:
    mapping = keys.event
    envelope: Literal["cloudevents"] | MappedEnvelope = "cloudevents"
    if mapping:
        envelope = MappedEnvelope(mapping.type, mapping.id, mapping.subject, mapping.source, mapping.time)
    format_ = TopicFormat(name, envelope, keys.key, keys.tombstones, keys.format)
    return Topic(name, format_, keys.ordering, keys.unmatched)


# --- parts of a command ---


def _at(key: str, make: Callable[[], T]) -> T:
    try:
        return make()
    except RouteError as error:
        raise RouteError(f"{key}: {error.reason}", cure=error.cure) from error


def _text(key: str, template: Template, variables: Mapping[str, Any]) -> str:
    return template.literal or _at(key, lambda: template.text(variables))


def _id(
    key: str,
    template: Template,
    variables: Mapping[str, Any],
    check: Callable[[str, str], str] = checked_id,
) -> str:
    # A literal was checked when it was read.
    return template.literal or check(_text(key, template, variables), key)


def _where(keys: WhereKeys, variables: Mapping[str, Any]) -> Mapping[str, str]:
    return {name: _id(name, template, variables, checked_value) for name, template in keys.where.items()}


def _args(one: Shape | None, several: Shape | None, variables: Mapping[str, Any]) -> tuple[Any, ...]:
    if one is not None:
        return (_at("input", lambda: one.value(variables)),)
    if several is not None:
        return tuple(_at("args", lambda: several.value(variables)))
    return ()


def _contract(schema: Schema | None, several: Shape | None, *, batch: bool = False) -> Contract | None:
    if schema is None:
        return None
    return Contract(schema, Part.ITEMS if batch else Part.INPUT if several is None else Part.ARGS)


def _or_start(keys: WorkflowKeys, variables: Mapping[str, Any]) -> OrStart:
    return OrStart(
        workflow=_id("workflow", keys.workflow, variables),
        task_queue=_id("task_queue", keys.task_queue, variables, checked_task_queue),
        args=_args(keys.input, keys.args, variables),
        contract=_contract(keys.contract, keys.args),
        options=_options(keys, variables),
    )


def _options(keys: OptionKeys, variables: Mapping[str, Any]) -> StartOptions:
    return StartOptions(
        execution_timeout=keys.execution_timeout,
        run_timeout=keys.run_timeout,
        task_timeout=keys.task_timeout,
        start_delay=keys.start_delay,
        start_at=_moment(keys.start_at, variables) if keys.start_at else None,
        search_attributes={
            name: _search_attribute(name, shape, variables) for name, shape in keys.search_attributes.items()
        },
        memo={name: _entry(f"memo {name}", shape, variables) for name, shape in keys.memo.items()},
        summary=_summary(keys.summary, variables) if keys.summary else None,
        priority=keys.priority,
        fairness_key=_fairness_key(keys.fairness_key, variables) if keys.fairness_key else None,
        fairness_weight=keys.fairness_weight,
    )


def _entry(key: str, shape: Shape, variables: Mapping[str, Any]) -> Any:
    return _at(key, lambda: shape.value(variables))


def _moment(template: Template, variables: Mapping[str, Any]) -> Any:
    moment = rfc_3339(_text("start_at", template, variables))
    if moment is None:
        raise RouteError("start_at is not RFC 3339", cure="send a time like 2026-01-31T12:00:00Z")
    return moment


def _search_attribute(name: str, shape: Shape, variables: Mapping[str, Any]) -> Any:
    value = _entry(f"search attribute {name}", shape, variables)
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return value
    if isinstance(value, str | bool | int | float):
        return value
    raise RouteError(f"search attribute {name} is neither text, number, boolean nor a list of texts")


def _summary(template: Template, variables: Mapping[str, Any]) -> str:
    return cut(" ".join(_text("summary", template, variables).split()), SUMMARY_BYTES)


def _fairness_key(template: Template, variables: Mapping[str, Any]) -> str:
    key = _text("fairness_key", template, variables)
    if len(key.encode()) > MAX_FAIRNESS_KEY_BYTES:
        raise RouteError(f"fairness_key is longer than {MAX_FAIRNESS_KEY_BYTES} bytes of UTF-8")
    return key
