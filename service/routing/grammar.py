"""What a route file may say: its keys, their values and their defaults."""

import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, ValidationInfo
from pydantic_core import PydanticCustomError

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
from service.routing.commands import Rule
from service.routing.shapes import Shape, ShapeMistakesError

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
        if isinstance(value, dict) and "where" in value:
            refuse(f"{LATER}to: {{where: …}}", "write to: and a workflow id instead")
        try:
            template = Template.parse(_text(value), variables)
        except MistakesError as error:
            _mistakes([((), mistake) for mistake in error.mistakes])
        if template.literal is not None:
            check(template.literal)
        return template

    return parse


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


def _route_name(value: Any) -> str:
    name = _literal(value)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}", name):
        refuse("must be 1 to 100 letters, digits, . _ / and -, and start with a letter or digit")
    return name


def _topic_name(value: Any) -> str:
    name = _literal(value)
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", name) or name in {".", ".."}:
        refuse("is no topic name", "Kafka allows 1 to 249 letters, digits, . _ and -")
    return name


def _not_with_signals(_value: Any) -> NoReturn:
    # SignalWithStartWorkflowExecutionRequest has no field for callbacks.
    refuse("cannot stand in or_start", "start the workflow by a route of its own, with publish_closing in it")


IdText = Annotated[Template, PlainValidator(_template(ROUTE_VARIABLES, _literal_id))]
TaskQueueText = Annotated[Template, PlainValidator(_template(ROUTE_VARIABLES, _literal_task_queue))]
Text = Annotated[Template, PlainValidator(_template(ROUTE_VARIABLES, _some_text))]
MomentText = Annotated[Template, PlainValidator(_template(ROUTE_VARIABLES, _moment))]
EnvelopeText = Annotated[Template, PlainValidator(_template(ENVELOPE_VARIABLES, _some_text))]
When = Annotated[Condition, PlainValidator(_condition)]
AnyShape = Annotated[Shape, PlainValidator(_shape)]
Arguments = Annotated[Shape, PlainValidator(_list_shape)]
ContractSchema = Annotated[Schema, PlainValidator(_schema)]
RuleName = Annotated[Rule, PlainValidator(_rule)]
RuleOrPark = Annotated[Rule | timedelta, PlainValidator(_rule_or_park)]
Duration = Annotated[timedelta, PlainValidator(_duration)]
Literal_ = Annotated[str, PlainValidator(_literal)]


# --- keys ---


class _Keys(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class EventMapping(_Keys):
    """Where the attributes of an event come from, for producers that don't send CloudEvents."""

    type: EnvelopeText
    id: Annotated[EnvelopeText | None, GIVEN] = None
    subject: Annotated[EnvelopeText | None, GIVEN] = None
    source: Annotated[EnvelopeText | None, GIVEN] = None
    time: Annotated[EnvelopeText | None, GIVEN] = None


class TopicKeys(_Keys):
    """A topic; `event` None is CloudEvents, `tombstones` None refuses null values."""

    out: bool = False
    format: Annotated[BytesFormat, PlainValidator(_bytes_format)] = "json"
    event: Annotated[EventMapping | None, BeforeValidator(_envelope)] = None
    key: Annotated[KeyFormat, PlainValidator(_key_format)] = "text"
    ordering: Annotated[Literal["key", "partition"], GIVEN] = "key"
    tombstones: Annotated[Literal["skip", "event"] | None, GIVEN] = None
    unmatched: RuleName = Rule.DEAD_LETTER
    subject: Annotated[SubjectStrategy, PlainValidator(_subject_strategy)] = "topic-name"
    schemas: Annotated[dict[str, str], PlainValidator(_schema_files)] = Field(
        default_factory=dict, alias="schema"
    )
    register_: Annotated[bool, GIVEN] = Field(default=False, alias="register")


class OptionKeys(_Keys):
    """How a workflow is started, beyond what it is and what it gets."""

    execution_timeout: Annotated[Duration | None, GIVEN] = None
    run_timeout: Annotated[Duration | None, GIVEN] = None
    task_timeout: Annotated[Duration | None, GIVEN] = None
    start_delay: Annotated[Duration | None, GIVEN] = None
    start_at: Annotated[MomentText | None, GIVEN] = None
    search_attributes: dict[str, AnyShape] = Field(default_factory=dict)
    memo: dict[str, AnyShape] = Field(default_factory=dict)
    priority: Annotated[int | None, GIVEN, Field(ge=1, le=5)] = None
    fairness_key: Annotated[Text | None, GIVEN] = None
    fairness_weight: Annotated[float | None, GIVEN, Field(ge=0.001, le=1000)] = None
    summary: Annotated[Text | None, GIVEN] = None


class WorkflowKeys(OptionKeys):
    """A workflow to start, what it gets and how."""

    workflow: IdText
    task_queue: TaskQueueText
    input: Annotated[AnyShape | None, GIVEN] = None
    args: Annotated[Arguments | None, GIVEN] = None
    contract: Annotated[ContractSchema | None, GIVEN] = None


class StartKeys(WorkflowKeys):
    """Start a workflow."""

    id: IdText
    namespace: Annotated[IdText | None, GIVEN] = None
    running: RuleName = Rule.DEAD_LETTER
    closed: RuleName = Rule.DEAD_LETTER
    publish_closing: Annotated[str | None, PlainValidator(_literal)] = None


class OrStartKeys(WorkflowKeys):
    """Start a workflow where a signal finds none."""

    publish_closing: Annotated[None, PlainValidator(_not_with_signals)] = None


class SignalKeys(_Keys):
    """Signal a workflow."""

    to: IdText
    name: IdText
    input: Annotated[AnyShape | None, GIVEN] = None
    args: Annotated[Arguments | None, GIVEN] = None
    contract: Annotated[ContractSchema | None, GIVEN] = None
    namespace: Annotated[IdText | None, GIVEN] = None
    batch: bool = False
    missing: RuleOrPark = Rule.DEAD_LETTER
    closed: RuleName = Rule.DEAD_LETTER
    or_start: Annotated[OrStartKeys | None, GIVEN] = None


class CancelKeys(_Keys):
    """Ask a workflow to cancel itself."""

    to: IdText
    reason: Annotated[Text | None, GIVEN] = None
    namespace: Annotated[IdText | None, GIVEN] = None
    missing: RuleOrPark = Rule.DEAD_LETTER
    closed: RuleName = Rule.DEAD_LETTER


class ErrorKeys(_Keys):
    """Why what was called says no."""

    type: IdText
    text: Annotated[Text | None, GIVEN] = None


class CompleteKeys(_Keys):
    """Give a call its reply; exactly one of result and error (checked where routes are read)."""

    correlation: Text
    result: Annotated[AnyShape | None, GIVEN] = None
    error: Annotated[ErrorKeys | None, GIVEN] = None
    late: RuleName = Rule.DEAD_LETTER


class RouteKeys(_Keys):
    """One route; exactly one of start, signal, cancel and complete (checked where routes are read)."""

    name: Annotated[str, PlainValidator(_route_name)]
    topic: Annotated[str, PlainValidator(_literal)] = Field(alias="from")
    types: Annotated[tuple[str, ...] | None, PlainValidator(_types)] = Field(default=None, alias="type")
    when: Annotated[When | None, GIVEN] = None
    start: Annotated[StartKeys | None, GIVEN] = None
    signal: Annotated[SignalKeys | None, GIVEN] = None
    cancel: Annotated[CancelKeys | None, GIVEN] = None
    complete: Annotated[CompleteKeys | None, GIVEN] = None


class TaskQueueKeys(_Keys):
    """What is known of the workers of a task queue."""

    inbox: bool = False


def _version(value: Any) -> Literal[1]:
    if type(value) is not int or value != 1:
        refuse("is no version this release reads", "write version: 1")
    return 1


class RouteFile(_Keys):
    """One file of routes."""

    version: Annotated[Literal[1], PlainValidator(_version)]
    topics: dict[Annotated[str, PlainValidator(_topic_name)], TopicKeys] = Field(default_factory=dict)
    routes: list[RouteKeys] = Field(default_factory=list)
    task_queues: dict[Annotated[str, PlainValidator(_literal)], TaskQueueKeys] = Field(default_factory=dict)
    namespaces: list[Literal_] = Field(default_factory=list)
