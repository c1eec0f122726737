"""What a route file may say: its keys, their values and their defaults."""

import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetPydanticSchema,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_core.core_schema import no_info_wrap_validator_function, str_schema, union_schema

from service.durations import parse_duration
from service.errors import RouteError
from service.events.codec import BytesFormat, SubjectStrategy
from service.events.envelope import KeyFormat
from service.events.json_schema import Schema, SchemaMistakeError
from service.expressions import (
    ENVELOPE_VARIABLES,
    ROUTE_VARIABLES,
    Condition,
    Mistake,
    MistakesError,
    Template,
    Variables,
    checked_id,
    checked_task_queue,
)
from service.routing import spelling
from service.routing.commands import Rule
from service.routing.lookups import OF_TEMPORAL, RUNNING, STATUS, SYSTEM, checked_value
from service.routing.shapes import Shape, ShapeMistakesError
from workflows.topics import is_ours_or_internal, is_pattern

LATER = "not in this version yet: "

SHORTEST_PARK, LONGEST_PARK = timedelta(seconds=1), timedelta(days=30)


def refuse(problem: str, cure: str = "") -> NoReturn:
    """Refuse a value, with what to write instead."""
    raise PydanticCustomError("refused", "{problem}", {"problem": problem, "cure": cure})


# --- values ---


def _not_empty(value: Any) -> Any:
    # `when:` with nothing after it must not mean "always".
    if value is None:
        refuse("is empty", "write a value, or leave the key out")
    return value


GIVEN = BeforeValidator(_not_empty)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict | list):
        refuse("must be text", 'put text that starts with { or [ in quotes: "${ … }"')
    if value is None:
        refuse("is empty", "write a value")
    refuse("must be text", "put it in quotes")


def _literal(value: Any) -> str:
    text = _text(value)
    if "${" in text:
        refuse("cannot be an expression", "write it out")
    return _literal_id(text)


def _literal_id(text: str, check: Callable[[str, str], str] = checked_id) -> str:
    try:
        return check(text, "")
    except RouteError as error:
        refuse(error.reason.strip())


def _literal_task_queue(text: str) -> str:
    return _literal_id(text, checked_task_queue)


def _mistakes(mistakes: list[tuple[tuple[str | int, ...], Mistake]]) -> NoReturn:
    raise PydanticCustomError("mistakes", "mistakes", {"mistakes": mistakes})


def _template(variables: Variables, check: Callable[[str], object]) -> Callable[[Any], Template]:
    def parse(value: Any) -> Template:
        try:
            template = Template.parse(_text(value), variables)
        except MistakesError as error:
            _mistakes([((), mistake) for mistake in error.mistakes])
        if template.literal is not None:
            check(template.literal)
        return template

    return parse


def _to(value: Any, where: Callable[[Any], Any]) -> Any:
    if isinstance(value, dict):
        return where(value)
    return _template(ROUTE_VARIABLES, _literal_id)(value)


def _attribute(value: Any) -> str:
    name = _literal(value)
    if name in OF_TEMPORAL - SYSTEM:
        refuse("is Temporal's own", f"name one that starts set; of Temporal's: {', '.join(sorted(SYSTEM))}")
    if "`" in name:
        refuse("holds a `", "search attributes cannot be looked for by such a name")
    return name


def _literal_value(text: str) -> str:
    return _literal_id(text, checked_value)


def _some_text(text: str) -> None:
    if not text:
        refuse("is empty", "write a value, or leave the key out")


def _condition(value: Any) -> Condition:
    source = str(value).lower() if isinstance(value, bool) else _text(value)
    try:
        return Condition.parse(source, ROUTE_VARIABLES)
    except MistakesError as error:
        _mistakes([((), mistake) for mistake in error.mistakes])


def _shape(value: Any) -> Shape:
    try:
        return Shape.parse(value, ROUTE_VARIABLES)
    except ShapeMistakesError as error:
        _mistakes(error.mistakes)


def _list_shape(value: Any) -> Shape:
    if not isinstance(value, list):
        refuse("must be a list", "write input: for a single argument")
    return _shape(value)


def _schema(value: Any, info: ValidationInfo) -> Schema:
    """A JSON Schema that stands here, or in a file beside the one that is read."""
    folder: Path = (info.context or {}).get("folder", Path())
    schema = value if isinstance(value, dict) else _schema_in(folder / _text(value))
    try:
        return Schema(schema)
    except SchemaMistakeError as error:
        refuse(f"is no JSON Schema that can be used: {error}")


def _schema_in(file: Path) -> dict[str, Any]:
    try:
        schema = json.loads(file.read_bytes())
    except OSError as error:
        refuse(f"names {file}, which cannot be read: {error.strerror}", "the path is from this file's folder")
    except ValueError as error:
        refuse(f"names {file}, which is no JSON: {error}")
    if not isinstance(schema, dict):
        refuse(f"names {file}, which holds no JSON object")
    return schema


def _rule(value: Any) -> Rule:
    return Rule(_choice(value, tuple(Rule)))


def _rule_or_park(value: Any) -> Rule | timedelta:
    if not isinstance(value, dict):
        return Rule(_choice(value, (*Rule, "{park: DURATION}")))
    park = parse_duration(str(value.get("park")))
    if value.keys() != {"park"} or not park or not SHORTEST_PARK <= park <= LONGEST_PARK:
        refuse("must be dead-letter, skip or {park: DURATION} of 1 s to 30 d", "write {park: 15m}")
    return park


def _choice(value: Any, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        refuse(f"must be {' or '.join(allowed)}")
    return str(value)


def _bytes_format(value: Any) -> Any:
    if value == "protobuf":
        refuse(f"{LATER}format: protobuf", "send Avro, JSON Schema or JSON")
    return _choice(value, get_args(BytesFormat))


def _key_format(value: Any) -> Any:
    return _choice(value, get_args(KeyFormat))


def _subject_strategy(value: Any) -> Any:
    return _choice(value, get_args(SubjectStrategy))


def _schema_files(value: Any, info: ValidationInfo) -> dict[str, str]:
    """The text of each schema file, by the type of event that it is of; `""` is any."""
    files = value if isinstance(value, dict) else {"": value}
    if not files:
        refuse("is empty", "write a path, or one for each type of event")
    folder: Path = (info.context or {}).get("folder", Path())
    return {str(type_): _schema_text(folder / _text(file)) for type_, file in files.items()}


def _schema_text(file: Path) -> str:
    try:
        text = file.read_text()
        json.loads(text)
    except OSError as error:
        refuse(f"names {file}, which cannot be read: {error.strerror}", "the path is from this file's folder")
    except (ValueError, RecursionError) as error:
        refuse(f"names {file}, which is no JSON: {error}")
    return text


def _envelope(value: Any) -> Any:
    if isinstance(value, dict) or value is None:
        return _not_empty(value)
    if value != "cloudevents":
        refuse("must be cloudevents or a mapping of type, id, subject, source and time")
    return None


def _duration(value: Any) -> timedelta:
    duration = parse_duration(value) if isinstance(value, str) else None
    if not duration:
        refuse("must be a duration of at most 100 years", "write 30s, 15m, 2h, 1d or ISO 8601 like PT1H30M")
    return duration


_RFC_3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[-+]\d\d:\d\d)",
    re.ASCII,
)


def rfc_3339(text: str) -> datetime | None:
    """The moment that `text` names, or None if it is no RFC 3339."""
    if not _RFC_3339.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text.upper())
    except ValueError:
        return None


def _moment(text: str) -> None:
    if not rfc_3339(text):
        refuse("must be RFC 3339", "write a time like 2026-01-31T12:00:00Z")


def _types(value: Any) -> tuple[str, ...]:
    types = value if isinstance(value, list) else [value]
    if not types:
        refuse("is empty", "leave `type` out where any type fits")
    return tuple(_literal(one) for one in types)


def _topics(value: Any) -> tuple[str, ...]:
    topics = value if isinstance(value, list) else [value]
    if not topics:
        refuse("is empty", "name the topics that it reads")
    return tuple(_literal(one) for one in topics)


def _route_name(value: Any) -> str:
    name = _literal(value)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}", name):
        refuse("must be 1 to 100 letters, digits, . _ / and -, and start with a letter or digit")
    return name


def _topic_name(value: Any) -> str:
    name = _literal(value)
    if not re.fullmatch(r"[A-Za-z0-9._*-]{1,249}", name) or name in {".", ".."}:
        refuse(
            "is no topic name", "Kafka allows 1 to 249 letters, digits, . _ and -; * makes a pattern of it"
        )
    return _pattern(name) if is_pattern(name) else name


def _pattern(name: str) -> str:
    if "**" in name:
        refuse("is no pattern", "write one * for each run of characters between dots")
    if not re.search("[A-Za-z0-9]", name):
        refuse("matches topics of any name", "write out what all that are meant have in common")
    if is_ours_or_internal(name):
        refuse("matches no topic: hidden ones and letters are never matched", "declare them by their names")
    return name


def _not_with_signals(_value: Any) -> NoReturn:
    # SignalWithStartWorkflowExecutionRequest has no field for callbacks.
    refuse("cannot stand in or_start", "start the workflow by a route of its own, with publish_closing in it")


IdText = Annotated[
    Template, PlainValidator(_template(ROUTE_VARIABLES, _literal_id)), WithJsonSchema(spelling.TEXT)
]
TaskQueueText = Annotated[
    Template, PlainValidator(_template(ROUTE_VARIABLES, _literal_task_queue)), WithJsonSchema(spelling.TEXT)
]
Text = Annotated[
    Template, PlainValidator(_template(ROUTE_VARIABLES, _some_text)), WithJsonSchema(spelling.TEXT)
]
MomentText = Annotated[
    Template, PlainValidator(_template(ROUTE_VARIABLES, _moment)), WithJsonSchema(spelling.MOMENT)
]
EnvelopeText = Annotated[
    Template, PlainValidator(_template(ENVELOPE_VARIABLES, _some_text)), WithJsonSchema(spelling.TEXT)
]
When = Annotated[Condition, PlainValidator(_condition), WithJsonSchema(spelling.CONDITION)]
AnyShape = Annotated[Shape, PlainValidator(_shape), WithJsonSchema(spelling.ANYTHING)]
Arguments = Annotated[Shape, PlainValidator(_list_shape), WithJsonSchema(spelling.ARGUMENTS)]
ContractSchema = Annotated[Schema, PlainValidator(_schema), WithJsonSchema(spelling.SCHEMA)]
RuleName = Annotated[Rule, PlainValidator(_rule), WithJsonSchema(spelling.RULE)]
RuleOrPark = Annotated[Rule | timedelta, PlainValidator(_rule_or_park), WithJsonSchema(spelling.RULE_OR_PARK)]
Duration = Annotated[timedelta, PlainValidator(_duration), WithJsonSchema(spelling.DURATION)]
Literal_ = Annotated[str, PlainValidator(_literal), WithJsonSchema(spelling.LITERAL)]
RouteName = Annotated[str, PlainValidator(_route_name), WithJsonSchema(spelling.ROUTE_NAME)]
TopicName = Annotated[str, PlainValidator(_topic_name), WithJsonSchema(spelling.TOPIC_NAME)]
ValueText = Annotated[
    Template, PlainValidator(_template(ROUTE_VARIABLES, _literal_value)), WithJsonSchema(spelling.TEXT)
]
AttributeName = Annotated[str, PlainValidator(_attribute), WithJsonSchema(spelling.LITERAL)]


# --- keys ---


class _Keys(BaseModel):
    # What stands below a key says what it means, here, to editors and in docs/reference.md.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)


class EventMapping(_Keys):
    """Where the attributes of an event come from, for producers that don't send CloudEvents."""

    type: EnvelopeText
    """The type of the event, which routes ask for: `${headers["event-type"]}`."""
    id: Annotated[EnvelopeText | None, GIVEN] = None
    """What makes a repeat a repeat. Without it, the record's place is the event's identity."""
    subject: Annotated[EnvelopeText | None, GIVEN] = None
    """What the event is about."""
    source: Annotated[EnvelopeText | None, GIVEN] = None
    """Who says so; without it, the topic."""
    time: Annotated[EnvelopeText | None, GIVEN] = None
    """When it happened; without it, the record's timestamp."""


class TopicKeys(_Keys):
    """A topic: how its records are read, or that it is only written to."""

    # `event` None is CloudEvents, `tombstones` None refuses null values.

    out: bool = False
    """`true`: written to, not read. Only `format` goes with it, and what belongs to that."""
    format: Annotated[BytesFormat, PlainValidator(_bytes_format)] = "json"
    """The format of the values; `avro` and `json-schema` are by schemas of a registry."""
    event: Annotated[
        EventMapping | None,
        BeforeValidator(_envelope, json_schema_input_type=Literal["cloudevents"] | EventMapping),
    ] = None
    """The envelope: `cloudevents`, in binary or structured mode, or a mapping for producers that send none.
    Absent, it is `cloudevents`."""
    key: Annotated[KeyFormat, PlainValidator(_key_format)] = "text"
    """How keys are read; `bytes` are Base64 in expressions."""
    ordering: Annotated[Literal["key", "partition"], GIVEN] = "key"
    """`key`: records with one key in order, others side by side. `partition`: all of a partition in
    order."""
    tombstones: Annotated[Literal["skip", "event"] | None, GIVEN] = None
    """What a null value is: passed over, or an event without data (mapped topics only). Absent, it makes a
    letter."""
    unmatched: RuleName = Rule.DEAD_LETTER
    """What becomes of an event that no route's topic and type fit."""
    subject: Annotated[SubjectStrategy, PlainValidator(_subject_strategy)] = "topic-name"
    """Under which subject the registry has the schema of a topic that is written to: `<topic>-value`, the
    schema's full name, or `<topic>-<full name>`."""
    schemas: Annotated[
        dict[str, str], PlainValidator(_schema_files), WithJsonSchema(spelling.SCHEMA_FILES)
    ] = Field(default_factory=dict, alias="schema")
    """The file with the schema by which results are written, or one for each type of event. Absent, it is the
    newest that the registry has."""
    register_: Annotated[bool, GIVEN] = Field(default=False, alias="register")
    """Whether a start registers `schema`."""


class OptionKeys(_Keys):
    """How a workflow is started, beyond what it is and what it gets; absent, the server decides."""

    execution_timeout: Annotated[Duration | None, GIVEN] = None
    """How long the workflow may take, with all of its runs."""
    run_timeout: Annotated[Duration | None, GIVEN] = None
    """How long one run may take."""
    task_timeout: Annotated[Duration | None, GIVEN] = None
    """How long a worker may take for one workflow task."""
    start_delay: Annotated[Duration | None, GIVEN] = None
    """How long after the event the workflow begins. Not with `start_at`."""
    start_at: Annotated[MomentText | None, GIVEN] = None
    """When the workflow begins. Not with `start_delay`."""
    search_attributes: dict[str, AnyShape] = Field(default_factory=dict)
    """Search attributes by name; they must be registered. They are seen by everybody."""
    memo: dict[str, AnyShape] = Field(default_factory=dict)
    """Entries of the memo by name."""
    priority: Annotated[int | None, GIVEN, Field(ge=1, le=5)] = None
    """1 is first, 5 last."""
    fairness_key: Annotated[Text | None, GIVEN] = None
    """Among whom the task queue is shared fairly; at most 64 bytes."""
    fairness_weight: Annotated[float | None, GIVEN, Field(ge=0.001, le=1000)] = None
    """The share of that fairness key."""
    summary: Annotated[Text | None, GIVEN] = None
    """One line for people in the Temporal UI; cut at 200 bytes."""


class WorkflowKeys(OptionKeys):
    """A workflow to start, what it gets and how."""

    workflow: IdText
    """The type of the workflow."""
    task_queue: TaskQueueText
    """The task queue of its workers."""
    input: Annotated[AnyShape | None, GIVEN] = None
    """Its only argument. Not with `args`."""
    args: Annotated[Arguments | None, GIVEN] = None
    """Its arguments. Not with `input`."""
    contract: Annotated[ContractSchema | None, GIVEN] = None
    """What the input, or the whole list of `args`, must fit. The path is from this file's folder."""


class StartKeys(WorkflowKeys):
    """Start a workflow."""

    id: IdText
    """The id of the workflow; one that has closed is never started again."""
    namespace: Annotated[IdText | None, GIVEN] = None
    """The namespace; an expression must give one of `namespaces`. Absent, it is the service's own."""
    running: RuleName = Rule.DEAD_LETTER
    """When one of that id runs, started by another event."""
    closed: RuleName = Rule.DEAD_LETTER
    """When one of that id has closed."""
    publish_closing: Annotated[str | None, PlainValidator(_literal), WithJsonSchema(spelling.LITERAL)] = None
    """The topic, declared with `out: true`, that is told how the workflow ended."""


class OrStartKeys(WorkflowKeys):
    """Start a workflow where a signal finds none."""

    publish_closing: Annotated[None, PlainValidator(_not_with_signals)] = None


class WhereKeys(_Keys):
    """Look for the workflow: all of these search attributes are equal to these values."""

    where: dict[AttributeName, ValueText]
    """By name: values of search attributes that its start has set. `WorkflowType`, and `ExecutionStatus:
    Running`, may stand beside one."""

    @field_validator("where")
    @classmethod
    def _is_of_use(cls, where: dict[str, Template]) -> dict[str, Template]:
        status = where.get(STATUS)
        if status and status.literal != RUNNING:
            refuse(f"takes {STATUS}: {RUNNING} alone", "take it away: the others are closed")
        if where.keys() <= SYSTEM:
            refuse("finds any of them", "name a search attribute that starts set, and its value")
        return where


To = Annotated[
    Template | WhereKeys,
    GetPydanticSchema(
        lambda _, schema_of: no_info_wrap_validator_function(
            _to,
            schema_of(WhereKeys),
            json_schema_input_schema=union_schema(
                [str_schema(metadata={"pydantic_js_updates": spelling.TEXT}), schema_of(WhereKeys)]
            ),
        ),
    ),
]


class SignalKeys(_Keys):
    """Signal a workflow."""

    to: To
    """The id of the workflow, or `{where: …}`, which looks for it."""
    name: IdText
    """The name of the signal."""
    input: Annotated[AnyShape | None, GIVEN] = None
    """Its only argument. Not with `args`."""
    args: Annotated[Arguments | None, GIVEN] = None
    """Its arguments. Not with `input`."""
    contract: Annotated[ContractSchema | None, GIVEN] = None
    """What the input, the whole list of `args`, or one item of a batch must fit. The path is from this
    file's folder."""
    namespace: Annotated[IdText | None, GIVEN] = None
    """The namespace; an expression must give one of `namespaces`. Absent, it is the service's own."""
    batch: bool = False
    """`true`: what queued meanwhile goes as one signal, whose argument is a list. It needs `input`, and
    workers with the inbox."""
    missing: RuleOrPark = Rule.DEAD_LETTER
    """When there is no workflow of that id. Not with `or_start`."""
    closed: RuleName = Rule.DEAD_LETTER
    """When it has closed."""
    or_start: Annotated[OrStartKeys | None, GIVEN] = None
    """The workflow that is started when there is none of that id."""


class CancelKeys(_Keys):
    """Ask a workflow to cancel itself."""

    to: To
    """The id of the workflow, or `{where: …}`, which looks for it."""
    reason: Annotated[Text | None, GIVEN] = None
    """Why, for people."""
    namespace: Annotated[IdText | None, GIVEN] = None
    """The namespace; an expression must give one of `namespaces`. Absent, it is the service's own."""
    missing: RuleOrPark = Rule.DEAD_LETTER
    """When there is no workflow of that id."""
    closed: RuleName = Rule.DEAD_LETTER
    """When it has closed."""


class ErrorKeys(_Keys):
    """Why what was called says no."""

    type: IdText
    """The name that the workflow tells errors apart by."""
    text: Annotated[Text | None, GIVEN] = None
    """What it says, for people."""


class CompleteKeys(_Keys):
    """Give a call its reply: exactly one of `result` and `error`."""

    # Checked in consistency.py, as what is said of the keys of a route.

    correlation: Text
    """The text that the request brought in its header `correlation`."""
    result: Annotated[AnyShape | None, GIVEN] = None
    """What the call returns. Not with `error`."""
    error: Annotated[ErrorKeys | None, GIVEN] = None
    """What the call raises. Not with `result`."""
    late: RuleName = Rule.DEAD_LETTER
    """When nobody waits for it any more."""


class RouteKeys(_Keys):
    """One route: which events, and exactly one of `start`, `signal`, `cancel` and `complete`."""

    name: RouteName
    """The route's identity for ever: a renamed route is a new one, which acts again on what is delivered
    again."""
    topics: Annotated[tuple[str, ...], PlainValidator(_topics), WithJsonSchema(spelling.LITERALS)] = Field(
        alias="from"
    )
    """The topic that it reads, or a list of them, declared under `topics`."""
    types: Annotated[tuple[str, ...] | None, PlainValidator(_types), WithJsonSchema(spelling.LITERALS)] = (
        Field(default=None, alias="type")
    )
    """The types of events that it takes; absent, any."""
    when: Annotated[When | None, GIVEN] = None
    """Which of them it takes: CEL, without `${}`."""
    start: Annotated[StartKeys | None, GIVEN] = None
    """Start a workflow."""
    signal: Annotated[SignalKeys | None, GIVEN] = None
    """Signal a workflow."""
    cancel: Annotated[CancelKeys | None, GIVEN] = None
    """Ask a workflow to cancel itself."""
    complete: Annotated[CompleteKeys | None, GIVEN] = None
    """Give a call of a workflow its reply."""


class TaskQueueKeys(_Keys):
    """What is known of the workers of a task queue."""

    inbox: bool = False
    """Whether its workers have the inbox, which drops repeated signals."""


def _version(value: Any) -> Literal[1]:
    if type(value) is not int or value != 1:
        refuse("is no version this release reads", "write version: 1")
    return 1


class RouteFile(_Keys):
    """One file of routes."""

    version: Annotated[Literal[1], PlainValidator(_version), WithJsonSchema(spelling.VERSION)]
    """The version of this grammar."""
    topics: dict[TopicName, TopicKeys] = Field(default_factory=dict)
    """Topics by name, or by pattern, in which `*` is one or more characters but no dot: each is declared once
    over all files."""
    routes: list[RouteKeys] = Field(default_factory=list)
    """The routes, in the order in which they act."""
    task_queues: dict[Literal_, TaskQueueKeys] = Field(default_factory=dict)
    """What is known of task queues, by name."""
    namespaces: list[Literal_] = Field(default_factory=list)
    """The namespaces that an expression may name."""
