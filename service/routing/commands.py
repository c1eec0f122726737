"""What is asked of Temporal: start, signal, cancel."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from service.events.event import Event


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
    control characters.
    """

    route: str
    event: Event
    namespace: str | None = None
    workflow_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Start(Command):
    """Start `workflow` under `workflow_id` once, whatever happens to the event."""

    workflow: str
    task_queue: str
    args: Sequence[Any]
    running: Rule = Rule.DEAD_LETTER
    closed: Rule = Rule.DEAD_LETTER
    options: StartOptions = field(default_factory=StartOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrStart:
    """The workflow that a signal starts when there is none."""

    workflow: str
    task_queue: str
    args: Sequence[Any] = ()
    options: StartOptions = field(default_factory=StartOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal(Command):
    """Signal `name` to the workflow of that id; `missing` is unused where `or_start` is given."""

    name: str
    args: Sequence[Any]
    missing: Rule = Rule.DEAD_LETTER
    closed: Rule = Rule.DEAD_LETTER
    or_start: OrStart | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel(Command):
    """Ask the workflow of that id to cancel itself."""

    reason: str = ""
    missing: Rule = Rule.DEAD_LETTER
    closed: Rule = Rule.DEAD_LETTER
