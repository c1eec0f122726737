"""What is asked and answered, by name and type; the OpenAPI document is made of these."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    WithJsonSchema,
)

from service.api.callers import Caller
from service.durations import parse_duration
from service.errors import RouteError
from service.expressions import MAX_ID_BYTES, checked_id, checked_task_queue
from service.kafka.record import Headers


def _id(text: str) -> str:
    try:
        return checked_id(text, "it")
    except RouteError as error:
        raise ValueError(str(error)) from error


def _task_queue(text: str) -> str:
    try:
        return checked_task_queue(text, "it")
    except RouteError as error:
        raise ValueError(str(error)) from error


def _span(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value
    span = parse_duration(value) if isinstance(value, str) and _SPAN.fullmatch(value) else None
    if span is None:
        msg = "it is no time span; write a whole number with a unit, like 30s, 15m, 2h, 1d"
        raise ValueError(msg)
    return span


ID_SCHEMA = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_ID_BYTES,
    "pattern": r"^[^\u0000-\u001f\u007f-\u009f]+$",
}

_SPAN = re.compile("[0-9]{1,5}[smh]|[0-9]{1,4}d", re.ASCII)

SPAN_SCHEMA = {"type": "string", "pattern": f"^({_SPAN.pattern})$"}

Id = Annotated[str, AfterValidator(_id), WithJsonSchema(ID_SCHEMA)]
"""1 to 240 bytes of UTF-8 without control characters."""

TaskQueue = Annotated[str, AfterValidator(_task_queue), WithJsonSchema(ID_SCHEMA)]

Span = Annotated[timedelta, BeforeValidator(_span), WithJsonSchema(SPAN_SCHEMA)]
"""`30s`, `15m`, `2h`, `1d`."""


class Model(BaseModel):
    """What all have in common: nobody changes them, and unknown names are refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True
    )


# --- what is asked ---


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What there is to say of each call.

    Attributes:
        caller: Who calls, as the log may name them.
        identity: What tells the caller from all others.
        key: The idempotency key: calls that ask the same with one key take effect once. Empty: each does.
        limit: How long it may take; never longer than the service lets it.
    """

    caller: str = ""
    identity: str = ""
    key: str = ""
    limit: timedelta | None = None

    @classmethod
    def of(cls, caller: Caller | None, *, key: str, limit: timedelta | None) -> "Call":
        """A call of `caller`; None where nobody says who they are."""
        name, identity = (caller.name, caller.identity) if caller else ("", "")
        return cls(caller=name, identity=identity, key=key, limit=limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """An event as it would lie in a topic: the key, the value and the headers of a record.

    It is a CloudEvent by Kafka's binding, in binary or structured mode, as `topic` declares.
    """

    topic: str
    value: bytes | None
    headers: Headers
    key: bytes | None = None


class Target(Model):
    """A workflow."""

    workflow_id: Id
    """The id of the workflow."""
    namespace: Id | None = None
    """Its namespace; absent, the one of the service."""


class Args(Model):
    """What a handler is given."""

    args: list[JsonValue] = Field([], max_length=100)
    """The arguments, in order."""


class StartBody(Args):
    """A workflow to start."""

    workflow_id: Id
    """The id under which it is started; once only, also after it has closed."""
    workflow: Id
    """Its type."""
    task_queue: TaskQueue
    """The task queue of its workers."""
    namespace: Id | None = None
    """Its namespace; absent, the one of the service."""
    execution_timeout: Span | None = None
    """How long it may run, with all that follow it."""
    run_timeout: Span | None = None
    """How long one run may take."""
    start_delay: Span | None = None
    """How long it waits before it begins."""
    summary: str | None = Field(None, max_length=200)
    """One line of Markdown that the Temporal UI shows."""
    memo: dict[str, JsonValue] = {}
    """What the Temporal UI shows beside it."""


Start = StartBody


class SignalBody(Args):
    """What a signal carries."""


class Signal(SignalBody, Target):
    """A signal to a workflow."""

    name: Id
    """The name of the signal."""


class UpdateBody(Args):
    """What an update carries."""


class Update(UpdateBody, Target):
    """An update to a workflow, of which the result is waited for."""

    name: Id
    """The name of the update."""


class QueryBody(Args):
    """What a query carries."""


class Query(QueryBody, Target):
    """A question to a workflow."""

    name: Id
    """The name of the query."""


class CancelBody(Model):
    """Why a workflow is asked to end."""

    reason: str = Field("", max_length=1000)
    """What the history of the workflow says."""


class Cancel(CancelBody, Target):
    """A workflow to be asked to end."""


class Describe(Target):
    """A workflow to be described."""


class Result(Target):
    """A workflow whose end is asked for."""

    wait: Span = timedelta()
    """How long to wait for it."""


# --- what is answered ---


class RouteOutcome(Model):
    """What became of one route's part of an event; the route is empty where none takes the event."""

    outcome: Literal["accepted", "duplicate", "parked", "skipped", "refused"]
    """`accepted` by Temporal; a `duplicate` of what was accepted before; `parked` until its workflow is
    there; `skipped` by a rule that someone wrote; `refused`, with nothing kept."""
    route: str
    """The name of the route."""
    workflow_id: str
    """The workflow that it was for."""
    detail: str
    """Why, where there is something to say."""


class Published(Model):
    """What became of an event; none of it was refused."""

    outcomes: Sequence[RouteOutcome]
    """One per route that takes it, in the order of the routes."""


class Taken(Model):
    """That a start, a signal or a cancel is Temporal's to carry out."""

    outcome: Literal["accepted", "duplicate"]
    """`duplicate`: the same call was accepted before."""
    workflow_id: str
    """The workflow."""
    url: str
    """Its page in the Temporal UI; empty where no UI is configured."""


class Failure(Model):
    """What a workflow says went wrong."""

    type: str
    """Its name; empty where it has none."""
    message: str
    """For people."""


class Updated(Model):
    """What an update came to."""

    result: JsonValue
    """What its handler returned."""
    update_id: str
    """Its id in the history; the same for calls that repeat it."""


class Answered(Model):
    """What a query came to."""

    result: JsonValue
    """What its handler returned."""


Status = Literal[
    "running",
    "completed",
    "failed",
    "canceled",
    "terminated",
    "continued_as_new",
    "timed_out",
    "paused",
    "unknown",
]


class Described(Model):
    """A workflow as it is now."""

    workflow_id: str
    """Its id."""
    run_id: str
    """Its current run, or the last."""
    namespace: str
    """Its namespace."""
    workflow: str
    """Its type."""
    task_queue: str
    """The task queue of its workers."""
    status: Status
    """Its status in Temporal."""
    started_at: datetime
    """When it was started."""
    closed_at: datetime | None
    """When it closed; null while it is open."""
    history_events: int
    """How many events its history has."""
    workers: int | None
    """How many calls of workers ask for its tasks now; null where that is not known."""
    url: str
    """Its page in the Temporal UI; empty where no UI is configured."""


class Ended(Model):
    """How a workflow ended, or that it runs still."""

    status: Status
    """Its status in Temporal."""
    result: JsonValue
    """What it returned, once it is completed."""
    failure: Failure | None
    """What went wrong, where it ended otherwise."""
