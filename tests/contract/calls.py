"""The calls that commands are made of, each so that a test can say what Temporal answers to it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from google.protobuf.message import Message
from temporalio.api.workflowservice.v1 import ListWorkflowExecutionsResponse

from activities.correlation import Correlation, Seal
from service.routing.commands import CallError, Cancel, Command, Complete, OrStart, Rule, Signal, Start
from tests.contract.frontend import Frontend, Refusal
from tests.contract.known import MISSING, NO_CALL, RUNNING
from tests.unit.records import event

START, SIGNAL, CANCEL = "StartWorkflowExecution", "SignalWorkflowExecution", "RequestCancelWorkflowExecution"
SIGNAL_WITH_START, DESCRIBE = "SignalWithStartWorkflowExecution", "DescribeWorkflowExecution"

COMPLETE, FAIL = "RespondActivityTaskCompletedById", "RespondActivityTaskFailedById"
HISTORY = "GetWorkflowExecutionHistoryReverse"
LIST = "ListWorkflowExecutions"

ASKING = frozenset({DESCRIBE, HISTORY, LIST})
"""The calls that only ask: no answer to them speaks of the command's own input."""

SEAL = Seal(["secret"])

_COMMON: Mapping[str, Any] = {"route": "order-placed", "event": event(), "workflow_id": "order/A-1"}

START_ORDER = Start(**_COMMON, workflow="OrderFulfilment", task_queue="orders", args=({"total": 12},))
SIGNAL_ORDER = Signal(**_COMMON, name="paid", args=({"total": 12},))
SIGNAL_OR_START = replace(SIGNAL_ORDER, or_start=OrStart(workflow="Customer", task_queue="customers"))
CANCEL_ORDER = Cancel(**_COMMON, reason="withdrawn")
REPLY = Complete(
    **_COMMON,
    correlation=SEAL.sealed(Correlation("default", "order/A-1", "request-1")),
    activity_id="request-1",
    result={"receipt": "R-1"},
)
REFUSAL = replace(REPLY, result=None, error=CallError(type="Declined", text="no funds"))
SIGNAL_FOUND = replace(SIGNAL_ORDER, workflow_id="", where={"Order": "A-1"})
CANCEL_FOUND = replace(CANCEL_ORDER, workflow_id="", where={"Order": "A-1"})


def _found() -> ListWorkflowExecutionsResponse:
    response = ListWorkflowExecutionsResponse()
    info = response.executions.add()
    info.execution.workflow_id = "order/A-1"
    value = info.search_attributes.indexed_fields["Order"]
    value.data = b'"A-1"'
    value.metadata.update({"encoding": b"json/plain", "type": b"Keyword"})
    return response


@dataclass(frozen=True)
class Call:
    """A call that `command` leads to, after other calls were answered as in `before`.

    `goes_on` is what it is answered in the end, where that of a server to which all is new does not do.
    """

    command: Command
    rpc: str
    before: Mapping[str, Refusal] = field(default_factory=dict)
    goes_on: Message | None = None

    def is_answered(self, frontend: Frontend, *refusals: Refusal) -> None:
        """Answer each attempt of it with one of `refusals`, in that order."""
        frontend.answer(self.rpc, *refusals, *([self.goes_on] if self.goes_on else []))
        for rpc, refusal in self.before.items():
            # One attempt more is made when all have been refused.
            frontend.answer(rpc, *[refusal] * (len(refusals) + 1))


def skipping(command: Command, *rules: str) -> Command:
    """The command of a route that says `skip` by these rules."""
    changes: dict[str, Any] = dict.fromkeys(rules, Rule.SKIP)
    return replace(command, **changes)


CALLS = {
    "start": Call(START_ORDER, START),
    "describe after start": Call(skipping(START_ORDER, "closed"), DESCRIBE, {START: RUNNING}),
    "signal": Call(SIGNAL_ORDER, SIGNAL),
    "signal first": Call(SIGNAL_OR_START, SIGNAL),
    "signal with start": Call(SIGNAL_OR_START, SIGNAL_WITH_START, {SIGNAL: MISSING}),
    "cancel": Call(CANCEL_ORDER, CANCEL),
    "describe after cancel": Call(CANCEL_ORDER, DESCRIBE),
    "complete": Call(REPLY, COMPLETE),
    "fail": Call(REFUSAL, FAIL),
    "find to signal": Call(SIGNAL_FOUND, LIST, goes_on=_found()),
    "find to cancel": Call(CANCEL_FOUND, LIST, goes_on=_found()),
    "history after complete": Call(skipping(REPLY, "late"), HISTORY, {COMPLETE: NO_CALL}),
}
