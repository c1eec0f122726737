"""THE table: what Temporal's answer to a command means, and the outcomes that come of it.

Only a closed list of answers speaks of the command's own input and so makes a letter. Missing
and closed targets are the route's rule. All else waits in its lane: a proxy's 404 arrives as
UNIMPLEMENTED, a broken worker deploy or a failover as FAILED_PRECONDITION. A poison we do not
know yet blocks one lane; an outage we do not know yet would have emptied a topic.

Source: answers of Temporal Server 1.32 as seen in experiments.
"""

from dataclasses import dataclass
from enum import Enum, StrEnum, auto

from temporalio.service import RPCError, RPCStatusCode


class OutcomeKind(StrEnum):
    """What became of a command."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    DEAD_LETTERED = "dead-lettered"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a command, or of a record that led to none (`route` is then empty)."""

    kind: OutcomeKind
    route: str = ""
    workflow_id: str = ""
    detail: str = ""


class Meaning(Enum):
    """What an answer other than OK says."""

    EXISTS = auto()
    MISSING = auto()
    CLOSED = auto()
    REJECTED = auto()
    THROTTLED = auto()
    NOT_NOW = auto()


@dataclass(frozen=True, slots=True)
class Row:
    """An answer with this status whose text holds `text`; `bare` ones carry no error details."""

    status: RPCStatusCode
    text: str
    meaning: Meaning
    bare: bool = False


TABLE = (
    Row(RPCStatusCode.ALREADY_EXISTS, "", Meaning.EXISTS),
    Row(RPCStatusCode.NOT_FOUND, "workflow execution already completed", Meaning.CLOSED),
    Row(RPCStatusCode.NOT_FOUND, "workflow not found for ID", Meaning.MISSING),
    Row(RPCStatusCode.INVALID_ARGUMENT, "Blob data size exceeds limit", Meaning.REJECTED),
    Row(RPCStatusCode.INVALID_ARGUMENT, "WorkflowId length exceeds limit", Meaning.REJECTED),
    Row(RPCStatusCode.INVALID_ARGUMENT, "exceeds size limit", Meaning.REJECTED),
    Row(RPCStatusCode.INVALID_ARGUMENT, "reserved prefix", Meaning.REJECTED),
    # With details it is a rate limit; without, the gRPC library refused this one request.
    Row(RPCStatusCode.RESOURCE_EXHAUSTED, "larger than max", Meaning.REJECTED, bare=True),
    Row(RPCStatusCode.RESOURCE_EXHAUSTED, "rate limit exceeded", Meaning.THROTTLED),
)


def meaning_of(error: RPCError) -> Meaning:
    """What `error` says about the command; NOT_NOW for all that the table does not name."""
    bare = not error.grpc_status.details
    for row in TABLE:
        if error.status is row.status and row.text in error.message and (bare or not row.bare):
            return row.meaning
    return Meaning.NOT_NOW
