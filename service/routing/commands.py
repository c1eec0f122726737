"""What is asked of Temporal: start, signal, cancel, complete."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from activities.targets import target_of
from service.events.event import Event
from service.routing.contract import Contract

SUMMARY_BYTES = 200
"""What is longer is cut, not refused: what only people read must not make a letter of an order."""


class Rule(StrEnum):
    """What a route says becomes of a command whose target is not as expected."""

    DEAD_LETTER = "dead-letter"
    SKIP = "skip"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartOptions:
    """How a workflow is started, beyond its type, id and input; None is the server's default.

    `search_attributes` and `memo` hold plain JSON values. `start_at` is turned into a delay when
    the command is dispatched. `summary` is one line of Markdown, at most 200 bytes.
    `priority` is 1 (first) to 5 (last).
    """

    execution_timeout: timedelta | None = None
    run_timeout: timedelta | None = None
    task_timeout: timedelta | None = None
    start_delay: timedelta | None = None
    start_at: datetime | None = None
    search_attributes: Mapping[str, Any] = field(default_factory=dict)
    memo: Mapping[str, Any] = field(default_factory=dict)
    summary: str | None = None
    priority: int | None = None
    fairness_key: str | None = None
    fairness_weight: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One thing asked of Temporal because of `event`, by the route of that name.

    `namespace` None is the client's own. `workflow_id` is checked: 1 to 240 bytes of UTF-8, no
    control characters; or it is empty, and the workflow has to be looked for.
    """

    route: str
    event: Event
    namespace: str | None = None
    workflow_id: str

    @property
    def events(self) -> Sequence[Event]:
        """All events that it tells of, in order."""
        return (self.event,)

    @property
    def target(self) -> str:
        """What it is for: the id of a workflow, or what is looked for."""
        return self.workflow_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Start(Command):
    """Start `workflow` under `workflow_id` once, whatever happens to the event.

    `contract` is what the route says of `args`, here and below. `publish_closing` is the topic that is told
    how it ended; None tells nobody.
    """

    workflow: str
    task_queue: str
    args: Sequence[Any]
    contract: Contract | None = None
    running: Rule = Rule.DEAD_LETTER
    closed: Rule = Rule.DEAD_LETTER
    options: StartOptions = field(default_factory=StartOptions)
    publish_closing: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrStart:
    """The workflow that a signal starts when there is none."""

    workflow: str
    task_queue: str
    args: Sequence[Any] = ()
    contract: Contract | None = None
    options: StartOptions = field(default_factory=StartOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal(Command):
    """Signal `name` to the workflow of that id; `missing` is unused where `or_start` is given.

    A time span as `missing` is how long it may be parked for a workflow that is not there yet.
    `where` is the text of each search attribute of the workflow to look for, instead of an id.
    With `batch` its one argument is a list with one item per event: `event`, then `others`.
    """

    name: str
    args: Sequence[Any]
    contract: Contract | None = None
    batch: bool = False
    others: Sequence[Event] = ()
    where: Mapping[str, str] | None = None
    missing: Rule | timedelta = Rule.DEAD_LETTER
    closed: Rule = Rule.DEAD_LETTER
    or_start: OrStart | None = None

    @property
    def target(self) -> str:
        """What it is for: the id of a workflow, or what is looked for."""
        return target_of(self.workflow_id, self.where)

    @property
    def events(self) -> Sequence[Event]:
        """All events that it tells of, in order."""
        return (self.event, *self.others)

    def joins(self, other: Command) -> bool:
        """Whether `other`, which follows it in its lane, can be told in the same call."""
        return (
            isinstance(other, Signal)
            and self.batch
            and (self.route, self.namespace, self.workflow_id, self.name)
            == (other.route, other.namespace, other.workflow_id, other.name)
        )


def kind_of(command: Command) -> str:
    """`start`, `signal`, `cancel` or `complete`."""
    return type(command).__name__.lower()


def joined(signals: Sequence[Signal]) -> Signal:
    """One signal that tells of the events of all `signals`, each of which joins the first."""
    items = [item for signal in signals for item in signal.args[0]]
    others = [event for signal in signals[1:] for event in signal.events]
    first = signals[0]
    return replace(first, args=(items,), others=(*first.others, *others))


def apart(command: Command) -> Sequence[Command]:
    """One command per event; the opposite of `joined`."""
    if not isinstance(command, Signal) or not command.others:
        return (command,)
    told = zip(command.events, command.args[0], strict=True)
    return [replace(command, event=event, others=(), args=([item],)) for event, item in told]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel(Command):
    """Ask the workflow of that id to cancel itself; `where` and `missing` are as for a signal."""

    reason: str = ""
    where: Mapping[str, str] | None = None
    missing: Rule | timedelta = Rule.DEAD_LETTER
    closed: Rule = Rule.DEAD_LETTER

    @property
    def target(self) -> str:
        """What it is for: the id of a workflow, or what is looked for."""
        return target_of(self.workflow_id, self.where)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallError:
    """Why what was called says no: the name that a workflow tells errors apart by, and a text for people."""

    type: str
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Complete(Command):
    """Give the call that `correlation` names its reply: `result`, or `error` if there is one.

    Nobody has looked yet whether the correlation is signed by us.
    """

    correlation: str
    activity_id: str
    result: Any = None
    error: CallError | None = None
    late: Rule = Rule.DEAD_LETTER
