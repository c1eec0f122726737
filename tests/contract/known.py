# ruff: noqa: E501 - a case is a line
"""Answers that servers and what stands before them are known to give, and what each must mean.

Texts and details are those of Temporal Server 1.32 (seen, or read in its source), of gRPC libraries and of
proxies. Written down here once more, apart from the table in the service, so that each checks the other.
"""

from temporalio.api.enums.v1 import NamespaceState, ResourceExhaustedCause, ResourceExhaustedScope
from temporalio.api.errordetails.v1 import (
    CancellationAlreadyRequestedFailure,
    MultiOperationExecutionFailure,
    NamespaceInvalidStateFailure,
    NamespaceNotActiveFailure,
    NamespaceNotFoundFailure,
    NamespaceUnavailableFailure,
    NewerBuildExistsFailure,
    NotFoundFailure,
    PermissionDeniedFailure,
    ResourceExhaustedFailure,
    SystemWorkflowFailure,
    WorkflowExecutionAlreadyStartedFailure,
    WorkflowNotReadyFailure,
)
from temporalio.service import RPCStatusCode

from service.dispatch.answers import Meaning
from tests.contract.frontend import Refusal, run_id

INVALID, NOT_FOUND = RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.NOT_FOUND
EXHAUSTED, PRECONDITION = RPCStatusCode.RESOURCE_EXHAUSTED, RPCStatusCode.FAILED_PRECONDITION
UNAVAILABLE, INTERNAL, UNKNOWN = RPCStatusCode.UNAVAILABLE, RPCStatusCode.INTERNAL, RPCStatusCode.UNKNOWN
EXISTS, ABORTED = RPCStatusCode.ALREADY_EXISTS, RPCStatusCode.ABORTED
DENIED, CANCELLED = RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.CANCELLED


def exhausted(cause: str, scope: str = "NAMESPACE") -> ResourceExhaustedFailure:
    return ResourceExhaustedFailure(
        cause=ResourceExhaustedCause.Value(f"RESOURCE_EXHAUSTED_CAUSE_{cause}"),
        scope=ResourceExhaustedScope.Value(f"RESOURCE_EXHAUSTED_SCOPE_{scope}"),
    )


RUNNING = Refusal(
    EXISTS,
    "Workflow execution is already running. WorkflowId: order/A-1, RunId: 01a20dec-c212-7b23-b84e-f5744b2291af.",
    WorkflowExecutionAlreadyStartedFailure(start_request_id="r", run_id=run_id()),
)
MISSING = Refusal(NOT_FOUND, "workflow not found for ID: order/A-1", NotFoundFailure())
CLOSED = Refusal(NOT_FOUND, "workflow execution already completed", NotFoundFailure())
NO_CALL = Refusal(NOT_FOUND, "cannot find pending activity with ActivityID request-1", NotFoundFailure())

# fmt: off
THE_ROUTES_RULE: dict[Meaning, list[Refusal]] = {
    Meaning.MISSING: [
        MISSING,
        # The id is someone else's word: it must not be read as the server's.
        Refusal(NOT_FOUND, "workflow not found for ID: workflow execution already completed", NotFoundFailure()),
    ],
    Meaning.CLOSED: [CLOSED],
    Meaning.NO_CALL: [NO_CALL],
}
LETTERS = [
    Refusal(INVALID, "Blob data size exceeds limit."),
    Refusal(INVALID, "Memo size exceeds limit."),
    Refusal(INVALID, "WorkflowId length exceeds limit."),
    Refusal(INVALID, "WorkflowId exceeds length limit."),
    Refusal(INVALID, "WorkflowId exceeds maximum allowed length (241/200)"),
    Refusal(INVALID, "search attribute Order value size 2051 exceeds size limit 2048"),
    Refusal(INVALID, "search attribute My Order value size 2051 exceeds size limit 2048"),
    Refusal(INVALID, "total size of search attributes 41000 exceeds size limit 40960"),
    Refusal(INVALID, "Visibility store validation errors: [invalid search attribute date: 9999-01-01 00:00:00 +0000 UTC, supported range: [1677-09-21 00:12:43.145224192 +0000 UTC, 2262-04-11 23:47:16.854775807 +0000 UTC]]"),
    Refusal(EXHAUSTED, "grpc: received message larger than max (4300116 vs. 4194304)"),
    Refusal(EXHAUSTED, "grpc: received message after decompression larger than max 4194304"),
    Refusal(EXHAUSTED, "grpc: message after decompression larger than max 4194304"),
]
ONE_TARGETS_TROUBLE = [
    Refusal(INVALID, "exceeded workflow execution limit for signal events"),
    Refusal(INVALID, "Workflow history size exceeds limit."),
    Refusal(INVALID, "Workflow history count exceeds limit."),
    Refusal(INVALID, "Workflow mutable state size exceeds limit."),
    Refusal(EXHAUSTED, "Workflow is busy.", exhausted("BUSY_WORKFLOW")),
    Refusal(EXHAUSTED, "workflow operation can not be applied because workflow is closing", exhausted("BUSY_WORKFLOW")),
    Refusal(EXHAUSTED, "Too many starts for workflow order/A-1. Time since last start: 3 ms", exhausted("BUSY_WORKFLOW")),
    Refusal(EXHAUSTED, "business ID reuse rate limit exceeded", exhausted("RPS_LIMIT")),
    Refusal(PRECONDITION, "Workflow state is not ready to handle the request.", WorkflowNotReadyFailure()),
    Refusal(PRECONDITION, "Workflow task is not scheduled yet.", WorkflowNotReadyFailure()),
]
TOO_FAST = [
    Refusal(EXHAUSTED, "namespace rate limit exceeded", exhausted("RPS_LIMIT")),
    Refusal(EXHAUSTED, "service rate limit exceeded", exhausted("RPS_LIMIT", "SYSTEM")),
    Refusal(EXHAUSTED, "grpc: received message larger than max", exhausted("RPS_LIMIT")),
    Refusal(EXHAUSTED, "Action per second limit exceeded.", exhausted("APS_LIMIT")),
    Refusal(EXHAUSTED, "operations per second limit exceeded", exhausted("OPS_LIMIT")),
    Refusal(EXHAUSTED, "bandwidth limit exceeded", exhausted("BANDWIDTH_LIMIT")),
    Refusal(EXHAUSTED, "namespace concurrent poller limit exceeded", exhausted("CONCURRENT_LIMIT")),
    Refusal(EXHAUSTED, "Namespace Persistence Max QPS Reached.", exhausted("PERSISTENCE_LIMIT")),
    Refusal(EXHAUSTED, "cache capacity is fully occupied with pinned elements", exhausted("SYSTEM_OVERLOADED", "SYSTEM")),
]
WAITS = [
    # What an operator has to mend.
    Refusal(NOT_FOUND, "Namespace shop is not found.", NamespaceNotFoundFailure(namespace="shop")),
    Refusal(NOT_FOUND, "Namespace workflow execution already completed is not found.", NamespaceNotFoundFailure()),
    Refusal(INVALID, "Namespace shop has no mapping defined for search attribute Order"),
    Refusal(INVALID, "search attribute Order is not defined"),
    Refusal(INVALID, "number of search attributes 101 exceeds limit 100"),
    Refusal(INVALID, "invalid value for search attribute Order of type Int: Blob data size exceeds limit."),
    Refusal(INVALID, "WorkflowType attribute can't be set in SearchAttributes"),
    Refusal(INVALID, "taskQueue is not set"),
    Refusal(INVALID, "taskQueue length exceeds limit"),
    Refusal(INVALID, "task queue name cannot start with reserved prefix /_sys/"),
    Refusal(INVALID, "WorkflowType length exceeds limit."),
    Refusal(INVALID, "workflow type name exceeds maximum allowed length (241/200)"),
    Refusal(INVALID, "SignalName length exceeds limit."),
    Refusal(INVALID, "signal name exceeds maximum allowed length (241/200)"),
    Refusal(INVALID, "RequestId length exceeds limit."),
    Refusal(INVALID, "fairness key length exceeds limit"),
    Refusal(INVALID, "Namespace length exceeds limit."),
    Refusal(INVALID, "transaction size of 5000000 bytes exceeds limit of 4194304 bytes"),
    Refusal(INVALID, "WorkflowId is not set on request."),
    Refusal(DENIED, "Request unauthorized.", PermissionDeniedFailure(reason="no")),
    Refusal(RPCStatusCode.UNAUTHENTICATED, "Jwt is expired"),
    Refusal(EXHAUSTED, "operation UpdateWorkflowExecution encountered no space", exhausted("PERSISTENCE_STORAGE_LIMIT")),
    Refusal(EXHAUSTED, "a cause that is not known yet", ResourceExhaustedFailure()),
    # A failover, a namespace that is being deleted, servers that come and go.
    Refusal(PRECONDITION, "Namespace: shop is active in cluster: b, while current cluster a is a standby cluster.", NamespaceNotActiveFailure(namespace="shop")),
    Refusal(PRECONDITION, "Namespace has invalid state: Deleted. Must be Registered.", NamespaceInvalidStateFailure(namespace="shop", state=NamespaceState.NAMESPACE_STATE_DELETED)),
    Refusal(PRECONDITION, "Workflow Task in failed state."),
    Refusal(PRECONDITION, "Context timeout is too short."),
    Refusal(UNAVAILABLE, 'Namespace unavailable: "shop".', NamespaceUnavailableFailure(namespace="shop")),
    Refusal(UNAVAILABLE, "shard unavailable, please backoff and retry"),
    Refusal(UNAVAILABLE, "Not enough hosts to serve the request"),
    Refusal(UNAVAILABLE, "Frontend is not healthy yet"),
    Refusal(NOT_FOUND, "workflow execution not found"),
    Refusal(NOT_FOUND, 'workflow execution not found for workflow ID "order/A-1" and run ID "r"', NotFoundFailure()),
    Refusal(NOT_FOUND, "stale reference: zombie workflow cannot be updated", NotFoundFailure()),
    Refusal(NOT_FOUND, "activity not found for ID: order/A-1", NotFoundFailure()),
    Refusal(ABORTED, "Operation was aborted."),
    Refusal(RPCStatusCode.DATA_LOSS, "Corrupted history event batch, eventID is not contiguous"),
    Refusal(RPCStatusCode.DEADLINE_EXCEEDED, "context deadline exceeded"),
    Refusal(CANCELLED, "Timeout expired"),
    Refusal(CANCELLED, "context canceled"),
    Refusal(INTERNAL, "Failed to process workflow, workflow has invalid state: Zombie."),
    Refusal(INTERNAL, "System Workflow with WorkflowId w and RunId r returned an error: no", SystemWorkflowFailure()),
    Refusal(RPCStatusCode.OUT_OF_RANGE, "Task queue has a newer compatible build.", NewerBuildExistsFailure()),
    Refusal(RPCStatusCode.OUT_OF_RANGE, "Error, decoded message length too large: found 300000000 bytes, the limit is: 134217728 bytes"),
    Refusal(UNKNOWN, "panic: runtime error: invalid memory address or nil pointer dereference"),
    # What is there already, but not as a workflow of that id.
    Refusal(EXISTS, "Workflow execution is already running. WorkflowId: order/A-1, RunId: r."),
    Refusal(EXISTS, "duplicate task, completing it"),
    Refusal(EXISTS, "cancellation already requested", CancellationAlreadyRequestedFailure()),
    Refusal(EXISTS, "Update-with-Start could not be executed.", MultiOperationExecutionFailure(statuses=[MultiOperationExecutionFailure.OperationStatus(code=6, message=RUNNING.text)])),
    Refusal(EXISTS, "not readable", raw=b"\xff\xff\xff"),
    # Proxies: their own answers to a call, without any word of Temporal's.
    Refusal(NOT_FOUND, ""),
    Refusal(NOT_FOUND, "no healthy upstream"),
    *(Refusal(status, "not readable", raw=b"\xff\xff\xff") for status in (NOT_FOUND, PRECONDITION, EXHAUSTED)),
    Refusal(RPCStatusCode.UNIMPLEMENTED, "unknown service temporal.api.workflowservice.v1.WorkflowService"),
    Refusal(RPCStatusCode.UNIMPLEMENTED, "grpc-status header missing, mapped from HTTP status code 404"),
    Refusal(UNAVAILABLE, "upstream connect error or disconnect/reset before headers. reset reason: connection failure"),
    Refusal(UNAVAILABLE, "no healthy upstream"),
    Refusal(DENIED, "RBAC: access denied"),
    Refusal(EXHAUSTED, ""),
    Refusal(EXHAUSTED, "message is larger than max"),
    Refusal(EXHAUSTED, "h2 protocol error: http2 error"),
    Refusal(INVALID, ""),
    Refusal(INVALID, "the proxy says: Blob data size exceeds limit."),
]
# fmt: on

KNOWN: list[tuple[Refusal, Meaning]] = [
    *((refusal, meaning) for meaning, refusals in THE_ROUTES_RULE.items() for refusal in refusals),
    *((refusal, Meaning.REJECTED) for refusal in LETTERS),
    *((refusal, Meaning.TARGET_BUSY) for refusal in ONE_TARGETS_TROUBLE),
    *((refusal, Meaning.THROTTLED) for refusal in TOO_FAST),
    *((refusal, Meaning.NOT_NOW) for refusal in WAITS),
]
"""Each answer with its meaning."""
