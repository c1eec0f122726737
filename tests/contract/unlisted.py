"""Any answer that is not on the closed list, nor one of the two that speak of a workflow."""

from google.protobuf.message import Message
from hypothesis import strategies as st
from temporalio.api.common.v1 import GrpcStatus
from temporalio.api.errordetails import v1 as errordetails
from temporalio.api.errordetails.v1 import ResourceExhaustedFailure, WorkflowExecutionAlreadyStartedFailure
from temporalio.service import RPCStatusCode

from tests.contract.frontend import Refusal
from tests.contract.known import KNOWN

LISTED = (
    (RPCStatusCode.NOT_FOUND, "workflow execution already completed"),
    (RPCStatusCode.NOT_FOUND, "workflow not found for ID: "),
    (RPCStatusCode.INVALID_ARGUMENT, "Blob data size exceeds limit"),
    (RPCStatusCode.INVALID_ARGUMENT, "Memo size exceeds limit"),
    (RPCStatusCode.INVALID_ARGUMENT, "WorkflowId length exceeds limit"),
    (RPCStatusCode.INVALID_ARGUMENT, "WorkflowId exceeds "),
    (RPCStatusCode.INVALID_ARGUMENT, "search attribute "),
    (RPCStatusCode.INVALID_ARGUMENT, "total size of search attributes "),
    (RPCStatusCode.INVALID_ARGUMENT, "Visibility store validation errors: "),
    (RPCStatusCode.RESOURCE_EXHAUSTED, "grpc: "),
)

_KINDS = [kind for kind in vars(errordetails).values() if isinstance(kind, type)]


def _causes() -> st.SearchStrategy[ResourceExhaustedFailure]:
    # Also causes that only newer servers know.
    return st.integers(0, 20).map(lambda cause: ResourceExhaustedFailure.FromString(bytes([8, cause])))


def _details() -> st.SearchStrategy[Message | None]:
    plain = [kind() for kind in _KINDS if kind is not WorkflowExecutionAlreadyStartedFailure]
    return st.none() | st.sampled_from(plain) | _causes()


def _unreadable() -> st.SearchStrategy[bytes]:
    def broken(kind: type[Message]) -> bytes:
        status = GrpcStatus()
        status.details.add(type_url=f"type.googleapis.com/{kind.DESCRIPTOR.full_name}", value=b"\xff")
        return status.SerializeToString()

    return st.binary(max_size=20) | st.sampled_from(_KINDS).map(broken)


def unlisted() -> st.SearchStrategy[Refusal]:
    """Any status with any text and any details, as long as the text is not listed for that status."""
    statuses = st.sampled_from([code for code in RPCStatusCode if code is not RPCStatusCode.OK])
    words = st.sampled_from([refusal.text for refusal, _ in KNOWN])
    texts = st.text(max_size=200) | st.builds("{}{}".format, st.text(max_size=20), words)
    with_details = st.builds(Refusal, statuses, texts, details=_details())
    with_others = st.builds(Refusal, statuses, texts, raw=_unreadable())
    return (with_details | with_others).filter(lambda refusal: not _listed(refusal))


def _listed(refusal: Refusal) -> bool:
    return any(refusal.status is status and refusal.text.startswith(begins) for status, begins in LISTED)
