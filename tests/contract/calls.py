"""The calls that commands are made of, each so that a test can say what Temporal answers to it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from activities.correlation import Correlation, Seal
from service.routing.commands import CallError, Cancel, Command, Complete, OrStart, Rule, Signal, Start
from tests.contract.frontend import Frontend, Refusal
from tests.contract.known import MISSING, NO_CALL, RUNNING
from tests.unit.records import event

START, SIGNAL, CANCEL = "StartWorkflowExecution", "SignalWorkflowExecution", "RequestCancelWorkflowExecution"
SIGNAL_WITH_START, DESCRIBE = "SignalWithStartWorkflowExecution", "DescribeWorkflowExecution"

COMPLETE, FAIL = "RespondActivityTaskCompletedById", "RespondActivityTaskFailedById"
HISTORY = "GetWorkflowExecutionHistoryReverse"

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


@dataclass(frozen=True)
class Call:
    """A call that `command` leads to, after other calls were answered as in `before`."""

    command: Command
    rpc: str
    before: Mapping[str, Refusal] = field(default_factory=dict)

    def is_answered(self, frontend: Frontend, *refusals: Refusal) -> None:
        """Answer each attempt of it with one of `refusals`, in that order."""
        frontend.answer(self.rpc, *refusals)
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
    "history after complete": Call(skipping(REPLY, "late"), HISTORY, {COMPLETE: NO_CALL}),
}
