"""THE table: only a closed list of Temporal's answers makes a letter; all else waits."""

import pytest
from google.protobuf.message import Message
from hypothesis import assume, given
from hypothesis import strategies as st
from temporalio.api.common.v1 import GrpcStatus
from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure, ResourceExhaustedFailure
from temporalio.service import RPCError, RPCStatusCode

from service.dispatch.answers import TABLE, Meaning, meaning_of

TOO_LARGE = "grpc: received message after decompression larger than max 4194304"
STATUSES = st.sampled_from(RPCStatusCode)


def answer(status: RPCStatusCode, text: str, details: Message | None = None) -> RPCError:
    raw = GrpcStatus(code=int(status), message=text)
    if details is not None:
        raw.details.add().Pack(details)
    return RPCError(text, status, raw.SerializeToString())


ANSWERS = [
    (RPCStatusCode.ALREADY_EXISTS, "Workflow execution is already running", Meaning.EXISTS),
    (RPCStatusCode.NOT_FOUND, "workflow execution already completed", Meaning.CLOSED),
    (RPCStatusCode.NOT_FOUND, "workflow not found for ID: order/A-1", Meaning.MISSING),
    (RPCStatusCode.NOT_FOUND, "Namespace shop is not found.", Meaning.NOT_NOW),
    (RPCStatusCode.INVALID_ARGUMENT, "Blob data size exceeds limit.", Meaning.REJECTED),
    (RPCStatusCode.INVALID_ARGUMENT, "WorkflowId length exceeds limit.", Meaning.REJECTED),
    (
        RPCStatusCode.INVALID_ARGUMENT,
        "search attribute TurnoutRoute value size 2100 exceeds size limit 2048",
        Meaning.REJECTED,
    ),
    (
        RPCStatusCode.INVALID_ARGUMENT,
        "exceeded workflow execution limit for signal events",
        Meaning.NOT_NOW,
    ),
    (
        RPCStatusCode.INVALID_ARGUMENT,
        "Namespace default has no mapping defined for search attribute X",
        Meaning.NOT_NOW,
    ),
    (RPCStatusCode.RESOURCE_EXHAUSTED, TOO_LARGE, Meaning.REJECTED),
    (RPCStatusCode.RESOURCE_EXHAUSTED, "namespace rate limit exceeded", Meaning.THROTTLED),
    (RPCStatusCode.FAILED_PRECONDITION, "Workflow Task in failed state", Meaning.NOT_NOW),
    (RPCStatusCode.UNAVAILABLE, "tcp connect error", Meaning.NOT_NOW),
    (RPCStatusCode.CANCELLED, "Timeout expired", Meaning.NOT_NOW),
    # An HTTP proxy in front of Temporal: its 404, 403, 401 and 400.
    (RPCStatusCode.UNIMPLEMENTED, "mapped from HTTP status code 404", Meaning.NOT_NOW),
    (RPCStatusCode.PERMISSION_DENIED, "mapped from HTTP status code 403", Meaning.NOT_NOW),
    (RPCStatusCode.UNAUTHENTICATED, "mapped from HTTP status code 401", Meaning.NOT_NOW),
    (RPCStatusCode.INTERNAL, "mapped from HTTP status code 400", Meaning.NOT_NOW),
]  # fmt: skip


@pytest.mark.parametrize(("status", "text", "meaning"), ANSWERS)
def test_each_answer_has_its_meaning(status: RPCStatusCode, text: str, meaning: Meaning) -> None:
    assert meaning_of(answer(status, text)) is meaning


REJECTING = {
    (RPCStatusCode.INVALID_ARGUMENT, "Blob data size exceeds limit"),
    (RPCStatusCode.INVALID_ARGUMENT, "WorkflowId length exceeds limit"),
    (RPCStatusCode.INVALID_ARGUMENT, "exceeds size limit"),
    (RPCStatusCode.RESOURCE_EXHAUSTED, "larger than max"),
}


@pytest.mark.parametrize("status", RPCStatusCode)
@pytest.mark.parametrize("text", [*sorted({text for _, text in REJECTING}), "", "INVALID", TOO_LARGE])
def test_only_the_closed_list_makes_letters(status: RPCStatusCode, text: str) -> None:
    listed = any(status is one and part in text for one, part in REJECTING)
    assert (meaning_of(answer(status, text)) is Meaning.REJECTED) == listed


@given(STATUSES, st.text())
def test_what_the_list_does_not_name_waits(status: RPCStatusCode, text: str) -> None:
    assume(not any(row.status is status and row.text in text for row in TABLE))
    assert meaning_of(answer(status, text)) is Meaning.NOT_NOW


@given(st.sampled_from([TOO_LARGE, "larger than max"]) | st.text(), st.integers(0, 7))
def test_a_rate_limit_is_never_taken_for_a_poison(text: str, cause: int) -> None:
    details = ResourceExhaustedFailure()
    details.cause = cause  # type: ignore[assignment] # any that a server may know
    limited = answer(RPCStatusCode.RESOURCE_EXHAUSTED, text, details)
    assert meaning_of(limited) is Meaning.NOT_NOW


def test_a_namespace_that_is_not_there_is_no_missing_workflow() -> None:
    gone = answer(
        RPCStatusCode.NOT_FOUND, "Namespace shop is not found.", NamespaceNotFoundFailure(namespace="shop")
    )
    assert meaning_of(gone) is Meaning.NOT_NOW
