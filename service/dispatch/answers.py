"""THE table: what Temporal's answer to a command means, and the outcomes that come of it.

Only a closed list of answers speaks of the command's own input and so makes a letter. Missing
and closed targets are the route's rule. All else waits in its lane: a proxy's 404 arrives as
UNIMPLEMENTED, a broken worker deploy or a failover as FAILED_PRECONDITION, a task queue or a
search attribute that an operator has to mend as INVALID_ARGUMENT. A poison we do not know yet
blocks one lane; an outage we do not know yet would have emptied a topic.

Source: answers of Temporal Server 1.32 as seen in experiments, and its source where it says so.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, StrEnum, auto

from google.protobuf.message import DecodeError, Message
from temporalio.api.common.v1 import GrpcStatus
from temporalio.api.enums.v1 import ResourceExhaustedCause
from temporalio.api.errordetails.v1 import ResourceExhaustedFailure, WorkflowNotReadyFailure
from temporalio.service import RPCError, RPCStatusCode


class OutcomeKind(StrEnum):
    """What became of a command."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    PARKED = "parked"
    DEAD_LETTERED = "dead-lettered"
    SKIPPED = "skipped"
    REFUSED = "refused"


class Skip(StrEnum):
    """Why a record was skipped, where it was no rule of a route about its target."""

    TOMBSTONE = "tombstone"
    UNMATCHED = "unmatched"
    WHEN = "when"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a command, or of a record that led to none (`route` is then empty).

    `park` is the id of the park that holds a parked one, `park_url` its page in the Temporal UI. `rule` is
    the route's rule that decided since its target was not as expected: `running`, `closed`, `missing` or
    `late`. `skip` is why it was skipped where no rule was; `of_other` says of a duplicate that another record
    took effect, with the same event id.
    """

    kind: OutcomeKind
    route: str = ""
    workflow_id: str = ""
    detail: str = ""
    park: str = ""
    park_url: str = ""
    rule: str = ""
    skip: Skip | None = None
    of_other: bool = False


class Meaning(Enum):
    """What an answer other than OK says."""

    MISSING = auto()
    CLOSED = auto()
    NO_CALL = auto()
    REJECTED = auto()
    TARGET_BUSY = auto()
    THROTTLED = auto()
    NOT_NOW = auto()


Details = Callable[[GrpcStatus], bool]


def _any(_status: GrpcStatus) -> bool:
    return True


def _none(status: GrpcStatus) -> bool:
    return not status.details


def _of(kind: type[Message]) -> Details:
    return lambda status: any(detail.Unpack(kind()) for detail in status.details)


def _caused_by(*names: str) -> Details:
    causes = {ResourceExhaustedCause.Value(f"RESOURCE_EXHAUSTED_CAUSE_{name}") for name in names}

    def caused(status: GrpcStatus) -> bool:
        failure = ResourceExhaustedFailure()
        return any(detail.Unpack(failure) and failure.cause in causes for detail in status.details)

    return caused


@dataclass(frozen=True, slots=True)
class Row:
    """An answer with this status and such details, whose text begins like this (a regular expression).

    Begins, since there stand the server's own words: ids and values of others follow them.
    """

    status: RPCStatusCode
    begins: str
    meaning: Meaning
    details: Details = _any

    def fits(self, error: RPCError) -> bool:
        """Whether `error` is such an answer; raises DecodeError where its details cannot be read."""
        return (
            error.status is self.status
            and re.match(self.begins, error.message) is not None
            and self.details(error.grpc_status)
        )


# ALREADY_EXISTS is not here: where it tells of a workflow (WorkflowExecutionAlreadyStartedFailure), who asked
# for a start looks whose that was; any other waits.
TABLE = (
    Row(RPCStatusCode.NOT_FOUND, "workflow execution already completed", Meaning.CLOSED),
    Row(RPCStatusCode.NOT_FOUND, "workflow not found for ID: ", Meaning.MISSING),
    Row(RPCStatusCode.NOT_FOUND, "cannot find pending activity with ActivityID ", Meaning.NO_CALL),
    Row(RPCStatusCode.INVALID_ARGUMENT, "Blob data size exceeds limit", Meaning.REJECTED),
    Row(RPCStatusCode.INVALID_ARGUMENT, "Memo size exceeds limit", Meaning.REJECTED),
    # Three places in the server look at it, each in words of its own (source).
    Row(
        RPCStatusCode.INVALID_ARGUMENT,
        "WorkflowId (length exceeds limit|exceeds length limit|exceeds maximum allowed length)",
        Meaning.REJECTED,
    ),
    Row(
        RPCStatusCode.INVALID_ARGUMENT,
        r"search attribute .+ value size \d+ exceeds size limit",
        Meaning.REJECTED,
    ),
    Row(
        RPCStatusCode.INVALID_ARGUMENT,
        r"total size of search attributes \d+ exceeds size limit",
        Meaning.REJECTED,
    ),
    # Elasticsearch alone: a date outside of 1677 to 2262, a text of more than 32 KiB (source).
    Row(RPCStatusCode.INVALID_ARGUMENT, "Visibility store validation errors: ", Meaning.REJECTED),
    # With details it is a limit of the server's; without, the gRPC library refused this one request.
    Row(
        RPCStatusCode.RESOURCE_EXHAUSTED,
        "grpc: (received )?message (after decompression )?larger than max",
        Meaning.REJECTED,
        _none,
    ),
    # Heals when the target continues as new.
    Row(
        RPCStatusCode.INVALID_ARGUMENT,
        "exceeded workflow execution limit for signal events",
        Meaning.TARGET_BUSY,
    ),
    # The target was terminated for it just now (source); asked again, it is closed.
    Row(
        RPCStatusCode.INVALID_ARGUMENT,
        "Workflow (history size|history count|mutable state size) exceeds limit",
        Meaning.TARGET_BUSY,
    ),
    Row(RPCStatusCode.FAILED_PRECONDITION, "", Meaning.TARGET_BUSY, _of(WorkflowNotReadyFailure)),
    Row(RPCStatusCode.RESOURCE_EXHAUSTED, "", Meaning.TARGET_BUSY, _caused_by("BUSY_WORKFLOW")),
    # Newer servers limit the starts of one id, with the cause of a limit for all (source).
    Row(RPCStatusCode.RESOURCE_EXHAUSTED, "business ID reuse rate limit exceeded", Meaning.TARGET_BUSY),
    Row(
        RPCStatusCode.RESOURCE_EXHAUSTED,
        "",
        Meaning.THROTTLED,
        _caused_by(
            *("RPS_LIMIT", "APS_LIMIT", "OPS_LIMIT", "BANDWIDTH_LIMIT", "CONCURRENT_LIMIT"),
            *("PERSISTENCE_LIMIT", "SYSTEM_OVERLOADED"),
        ),
    ),
)

# What the server quotes behind these words is a value of a search attribute, or a query with one.
_QUOTES = re.compile(
    "(invalid value for search attribute .+? of type [A-Za-z]+|Visibility store validation errors"
    "|invalid query(?!: invalid search attribute: )): .*",
    re.DOTALL,
)


def meaning_of(error: RPCError) -> Meaning:
    """What `error` says about the command; NOT_NOW for all that the table does not name."""
    try:
        return next((row.meaning for row in TABLE if row.fits(error)), Meaning.NOT_NOW)
    except DecodeError:  # not Temporal's words
        return Meaning.NOT_NOW


def said(error: RPCError) -> str:
    """The answer as people read it, without payload values."""
    text = _QUOTES.sub(r"\1", error.message)
    return f"Temporal answered {error.status.name}: {text}"
