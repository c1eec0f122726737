"""A journey: what became of a record, step by step, each with what to do next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from service.journeys.facts import Search, Unasked


class Mark(StrEnum):
    """How a step ended."""

    DONE = "done"
    NOTHING = "nothing"
    """Rightly: someone wrote so, or it was done before."""
    WAITS = "waits"
    WRONG = "wrong"
    UNKNOWN = "unknown"


class Cause(StrEnum):
    """Why an event did nothing, or nothing yet."""

    NOT_IN_KAFKA = "not-in-kafka"
    ABORTED = "aborted-transaction"
    NOT_READ = "not-read-yet"
    PAUSED = "paused"
    STALLED = "stalled"
    IN_LANE = "waiting-in-lane"
    NO_ROUTE = "no-route"
    LETTER = "letter"
    PARKED = "parked"
    DUPLICATE = "duplicate"
    INBOX = "dropped-by-inbox"
    RULE = "skipped-by-rule"
    NO_HANDLER = "no-handler"
    NO_WORKER = "no-worker"
    NOT_PUBLISHED = "result-not-published"
    WORKFLOW = "workflow"
    """It is Temporal's to answer for: it failed, or waits for what is its own."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step: what is so, why, and what a person does about it. `values` are payload, by their names."""

    mark: Mark
    text: str
    cause: Cause | None = None
    next: str = ""
    route: str = ""
    url: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Journey:
    """The way of one record, event or workflow, as far as it got."""

    asked: str
    taken_for: str
    record: str
    now: datetime
    steps: Sequence[Step]
    search: Search | None = None
    unasked: Sequence[Unasked] = ()

    @property
    def is_done(self) -> bool:
        """Whether it came to its end, and nothing is wrong."""
        return not self.unasked and all(step.mark in {Mark.DONE, Mark.NOTHING} for step in self.steps)

    @property
    def causes(self) -> Sequence[Cause]:
        """Why it did nothing, or not all, in the order of its way."""
        return list(dict.fromkeys(step.cause for step in self.steps if step.cause))
