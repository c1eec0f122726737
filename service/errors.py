"""Errors that say whose fault it is, and so what happens next."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import ClassVar


class Stage(StrEnum):
    """Where on its way a record was given up on."""

    DECODE = "decode"
    ROUTE = "route"
    DISPATCH = "dispatch"
    PERSON = "person"


class Answered(StrEnum):
    """Of what kind the answer is that a record waits because of; a label of metrics, so there are few."""

    NOTHING = "nothing"
    """The call has not come back yet."""
    TEMPORAL = "temporal"
    """Temporal, or what is before it, does not answer or cannot now."""
    THROTTLED = "throttled"
    """Temporal's quota is used up."""
    BUSY = "busy"
    """This one workflow cannot take it now."""
    NOT_THERE = "not-there"
    """What it is for is not found yet."""
    PARK = "park"
    """Its park does not take it: full, or it is too large."""
    KAFKA = "kafka"
    """Its letter cannot be written."""
    REGISTRY = "registry"
    """The schema registry does not answer."""


class TurnoutError(Exception):
    """Base of all errors raised on purpose; its text never holds payload values."""


def first_reason(error: BaseException) -> BaseException:
    """The error that began it: of tasks that ended together, the first that failed ended the others."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class RecordError(TurnoutError):
    """The record is at fault and we know why: it becomes a letter.

    Args:
        reason: What is wrong, without payload values.
        cure: What to write or send instead, where that is known.
        position: Where in the payload, where that is known: the path of a field, or `byte 17`.
        retriable: Whether the very same may be accepted another time, with nothing mended.
        rule: The route's rule that made a letter of it: `running`, `closed` or `missing`; empty if none did.
    """

    stage: ClassVar[Stage]

    def __init__(
        self,
        reason: str,
        *,
        cure: str | None = None,
        position: str = "",
        retriable: bool = False,
        rule: str = "",
    ) -> None:
        super().__init__(f"{reason}; {cure}" if cure else reason)
        self.reason = reason
        self.cure = cure
        self.position = position
        self.retriable = retriable
        self.rule = rule


class DecodeError(RecordError):
    """The record's bytes are not an event."""

    stage = Stage.DECODE


class RouteError(RecordError):
    """No route can make a command of this event."""

    stage = Stage.ROUTE


class RejectedError(RecordError):
    """The command can never be accepted, whoever sends it and whenever."""

    stage = Stage.DISPATCH


class GivenUpError(RecordError):
    """The command has waited for its target until its time was up, or until someone ended that."""

    stage = Stage.DISPATCH


class LeftOutError(RecordError):
    """A person left out a record that held its lane."""

    stage = Stage.PERSON


class TargetMissing(TurnoutError):  # noqa: N818 - a state of the target, not a fault
    """The target workflow is not there yet, and the route says to park the command.

    Args:
        reason: Which workflow.
        park_for: For how long the route lets it be parked.
    """

    def __init__(self, reason: str, park_for: timedelta) -> None:
        super().__init__(reason)
        self.park_for = park_for


class NotNow(TurnoutError):  # noqa: N818 - a state of a neighbour, not a fault
    """A neighbour or a target cannot take it now: same call, same ids, later, without limit.

    Args:
        reason: What was answered.
        of: Of what kind that is.
    """

    of: Answered = Answered.TEMPORAL

    def __init__(self, reason: str, *, of: Answered | None = None) -> None:
        super().__init__(reason)
        if of is not None:
            self.of = of


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong in a file someone wrote.

    `code` names its kind for ever. `line` and `column` count from 1; 0 where the whole file is meant.
    """

    code: str
    path: Path
    line: int
    column: int
    problem: str
    cure: str = ""

    @property
    def text(self) -> str:
        """What is wrong and what to write instead, in one line; what cannot be printed is escaped."""
        text = f"{self.problem}; {self.cure}" if self.cure else self.problem
        return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}: {self.code} {self.text}"


class Throttled(NotNow):
    """It can be taken, but not at this rate: Temporal's quota is used up."""

    of = Answered.THROTTLED


class TargetBusy(NotNow):
    """This one target cannot take it now: busy, not ready, or full until it continues as new."""

    of = Answered.BUSY


class ConfigurationError(TurnoutError):
    """We are at fault: do not start; say what is wrong and what to write instead.

    Args:
        problem: One sentence, or the head line when there are findings.
        findings: Everything that is wrong, all at once.
    """

    def __init__(self, problem: str, findings: Sequence[Finding] = ()) -> None:
        super().__init__("\n".join([problem, *map(str, findings)]))
        self.findings = tuple(findings)


class Unreachable(TurnoutError):  # noqa: N818 - a state of a neighbour, not a fault
    """A neighbour named by the settings does not answer at start; the text says host, port and reason."""
