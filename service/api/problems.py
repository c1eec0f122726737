"""How refusals are said over HTTP: problem details.

Source: RFC 9457.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus

from pydantic import Field

from service.api.models import Failure, Model, RouteOutcome
from service.api.refusals import Kind, Refusal

STATUS: Mapping[Kind, HTTPStatus] = {
    Kind.NOT_FOUND: HTTPStatus.NOT_FOUND,
    Kind.ALREADY_EXISTS: HTTPStatus.CONFLICT,
    Kind.CLOSED: HTTPStatus.CONFLICT,
    Kind.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    Kind.REFUSED: HTTPStatus.UNPROCESSABLE_ENTITY,
    Kind.UNSUPPORTED: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    Kind.NOT_JSON: HTTPStatus.BAD_GATEWAY,
    Kind.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Kind.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    Kind.FORBIDDEN: HTTPStatus.FORBIDDEN,
    Kind.BUSY: HTTPStatus.TOO_MANY_REQUESTS,
    Kind.TIME_IS_UP: HTTPStatus.GATEWAY_TIMEOUT,
    Kind.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    Kind.DEFECT: HTTPStatus.INTERNAL_SERVER_ERROR,
}

TITLES: Mapping[Kind, str] = {
    Kind.NOT_FOUND: "There is no such thing",
    Kind.ALREADY_EXISTS: "It was started before",
    Kind.CLOSED: "The workflow has closed",
    Kind.INVALID_ARGUMENT: "This cannot be asked",
    Kind.REFUSED: "It was refused",
    Kind.UNSUPPORTED: "This form is not taken",
    Kind.NOT_JSON: "What came back is no JSON",
    Kind.TOO_LARGE: "It is too large",
    Kind.UNAUTHENTICATED: "It is not known who calls",
    Kind.FORBIDDEN: "This is not allowed",
    Kind.BUSY: "There are too many calls",
    Kind.TIME_IS_UP: "The time is up",
    Kind.UNAVAILABLE: "It cannot be done now",
    Kind.DEFECT: "This is a mistake of ours",
}

MEDIA_TYPE = "application/problem+json"


class Problem(Model):
    """Why a call is refused, by RFC 9457."""

    type: str = Field(pattern="^urn:turnout:problem:[a-z-]+$")
    """The kind of problem, by which a program tells it from others."""
    title: str
    """The kind in words."""
    status: int = Field(ge=400, le=599)
    """The status of the answer."""
    detail: str
    """What is wrong in this case, and what to do about it."""
    outcomes: Sequence[RouteOutcome] = ()
    """What became of each route's part of an event, where one was refused."""
    failure: Failure | None = None
    """What the workflow said, where that refused."""


def problem_of(refusal: Refusal, status: HTTPStatus | None = None) -> Problem:
    """`refusal` as it is told, with the status of its kind unless another one says more."""
    return Problem(
        type=f"urn:turnout:problem:{refusal.kind}",
        title=TITLES[refusal.kind],
        status=int(status or STATUS[refusal.kind]),
        detail=str(refusal),
        outcomes=refusal.outcomes,
        failure=refusal.failure,
    )
