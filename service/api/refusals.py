"""What a call is refused for: a closed set, which each skin says in its own words."""

from collections.abc import Sequence
from enum import StrEnum

from service.api.models import Failure, RouteOutcome
from service.errors import TurnoutError


class Kind(StrEnum):
    """Why a call is refused. The names are part of the contract and never change."""

    NOT_FOUND = "not-found"
    """There is no such workflow, topic or path."""
    ALREADY_EXISTS = "already-exists"
    """A workflow of that id was started before, by another call or event; a closed one counts."""
    CLOSED = "closed"
    """The workflow has closed."""
    INVALID_ARGUMENT = "invalid-argument"
    """What is asked cannot be, however often it is asked."""
    REFUSED = "refused"
    """A route, a contract or a workflow says no to what is well said; nothing of it is kept."""
    UNSUPPORTED = "unsupported"
    """It is said in a form that is not taken: a batch, or another media type."""
    NOT_JSON = "not-json"
    """What a workflow returned is no JSON, and cannot be passed on."""
    TOO_LARGE = "too-large"
    """It is larger than is taken."""
    UNAUTHENTICATED = "unauthenticated"
    """It is not known who calls."""
    FORBIDDEN = "forbidden"
    """That one may not."""
    BUSY = "busy"
    """As many calls as are taken at once are under way; nothing was done."""
    TIME_IS_UP = "time-is-up"
    """No answer within the time limit; it may or may not have been done, and may be repeated."""
    UNAVAILABLE = "unavailable"
    """A neighbour cannot take it now; it may or may not have been done, and may be repeated."""
    DEFECT = "defect"
    """A mistake of ours."""


class Refusal(TurnoutError):  # noqa: N818 - an answer, not a fault
    """A call that is not done, or not known to be done.

    Args:
        kind: Why.
        reason: What is wrong, without payload values.
        cure: What to do about it.
        outcomes: What became of each route's part of an event, where one was refused.
        failure: What the workflow said, where it was the one to refuse.
    """

    def __init__(
        self,
        kind: Kind,
        reason: str,
        cure: str = "",
        *,
        outcomes: Sequence[RouteOutcome] = (),
        failure: Failure | None = None,
    ) -> None:
        super().__init__(f"{reason}; {cure}" if cure else reason)
        self.kind = kind
        self.outcomes = tuple(outcomes)
        self.failure = failure
