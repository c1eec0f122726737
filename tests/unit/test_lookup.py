"""Workflows that are looked for by search attributes: what visibility is asked, and what comes of it."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import orjson
import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.workflowservice.v1 import ListWorkflowExecutionsResponse
from temporalio.service import RPCError, RPCStatusCode

from service.dispatch.answers import OutcomeKind
from service.dispatch.dispatcher import Dispatcher
from service.dispatch.links import Links
from service.dispatch.lookup import Lookup, cannot_be_looked_for
from service.errors import NotNow, RejectedError, TargetMissing, Throttled
from service.routing.commands import Cancel, Rule, Signal
from tests.unit.records import event
from tests.unit.test_dispatcher import CLOSED, MISSING, SIGNAL, TYPES, Wire, connected

LIST = "list_workflow_executions"
KINDS = {str: "Keyword", bool: "Bool", int: "Int"}
SIGNAL_IT = Signal(
    route="paid", event=event(), workflow_id="", where={"Word": "A-1"}, name="paid", args=({"total": 12},)
)
CANCEL_IT = Cancel(route="gone", event=event(), workflow_id="", where={"Word": "A-1"})
SEEKING = pytest.mark.parametrize("command", [SIGNAL_IT, CANCEL_IT], ids=["signal", "cancel"])


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
async def dispatcher(wire: Wire) -> Dispatcher:
    return await connected(wire)


def listed(*found: tuple[str, Mapping[str, Any]], more: bytes = b"") -> ListWorkflowExecutionsResponse:
    """What visibility answers: workflows of that id, with these search attributes."""
    response = ListWorkflowExecutionsResponse(next_page_token=more)
    for workflow_id, attributes in found:
        info = response.executions.add()
        info.execution.workflow_id = workflow_id
        info.type.name = "Shop"
        for name, value in attributes.items():
            metadata = {"encoding": b"json/plain", "type": KINDS[type(value)].encode()}
            payload = Payload(metadata=metadata, data=orjson.dumps(value))
            info.search_attributes.indexed_fields[name].CopyFrom(payload)
    return response


ONE = listed(("order/1", {"Word": "A-1"}))
TWO = listed(("order/1", {"Word": "A-1"}), ("order/2", {"Word": "A-1"}))


@SEEKING
async def test_a_command_goes_to_the_workflow_that_is_found(
    wire: Wire, dispatcher: Dispatcher, command: Signal | Cancel
) -> None:
    wire.answers[LIST].append(ONE)
    outcome = await dispatcher.dispatch(replace(command, namespace="payments"))
    assert (outcome.kind, outcome.workflow_id) == (OutcomeKind.ACCEPTED, "order/1")
    (_, asked), (_, told), *_ = wire.requests
    assert asked.query == "`Word` = 'A-1' AND ExecutionStatus != 'ContinuedAsNew'"
    assert (asked.namespace, told.namespace) == ("payments", "payments")
    assert told.workflow_execution.workflow_id == "order/1"
    assert not any(wire.retried)


async def test_runs_of_one_workflow_are_one_workflow_on_whatever_pages(
    wire: Wire, dispatcher: Dispatcher
) -> None:
    wire.answers[LIST] += [replace_page(ONE, b"2"), replace_page(ONE, b"3"), ONE]
    assert (await dispatcher.dispatch(SIGNAL_IT)).workflow_id == "order/1"
    wire.answers[LIST] += [replace_page(ONE, b"2"), listed(("order/2", {"Word": "A-1"}))]
    with pytest.raises(RejectedError):
        await dispatcher.dispatch(SIGNAL_IT)


def replace_page(page: ListWorkflowExecutionsResponse, more: bytes) -> ListWorkflowExecutionsResponse:
    return ListWorkflowExecutionsResponse(executions=page.executions, next_page_token=more)


@SEEKING
async def test_several_are_a_letter_that_names_two_and_no_value_whatever_the_rules(
    wire: Wire, dispatcher: Dispatcher, command: Signal | Cancel
) -> None:
    wire.answers[LIST].append(TWO)
    with pytest.raises(RejectedError) as refused:
        await dispatcher.dispatch(replace(command, missing=Rule.SKIP, closed=Rule.SKIP))
    assert str(refused.value) == (
        "several workflows are found by Word, order/1 and order/2 among them; "
        "look for what one workflow alone has"
    )
    assert refused.value.retriable
    assert wire.calls == [LIST]


@SEEKING
async def test_none_goes_by_the_rule_for_missing(
    wire: Wire, dispatcher: Dispatcher, command: Signal | Cancel
) -> None:
    with pytest.raises(RejectedError, match="no workflow is found by Word; write `missing: skip`") as refused:
        await dispatcher.dispatch(command)
    assert refused.value.rule == "missing"
    skipped = await dispatcher.dispatch(replace(command, missing=Rule.SKIP))
    assert (skipped.kind, skipped.rule) == (OutcomeKind.SKIPPED, "missing")
    with pytest.raises(TargetMissing) as missing:
        await dispatcher.dispatch(replace(command, missing=timedelta(minutes=15)))
    assert missing.value.park_for == timedelta(minutes=15)
    assert set(wire.calls) == {LIST}


async def test_what_is_found_goes_by_the_rules_that_its_own_answer_speaks_of(
    wire: Wire, dispatcher: Dispatcher
) -> None:
    for answer, rule in ((CLOSED, "closed"), (MISSING, "missing")):
        wire.answers[LIST].append(ONE)
        wire.answers[SIGNAL].append(answer)
        with pytest.raises(RejectedError, match="workflow order/1") as refused:
            await dispatcher.dispatch(SIGNAL_IT)
        assert refused.value.rule == rule


@pytest.mark.parametrize("has", [{"Word": "a-1"}, {"Word": "A-1 "}, {"Count": 1}, {}])
async def test_what_visibility_finds_and_has_another_value_is_not_it(
    wire: Wire, dispatcher: Dispatcher, has: dict[str, Any]
) -> None:
    """Databases compare in ways of their own, some without case."""
    wire.answers[LIST] += [listed(("order/1", has))] * 2
    skipped = await dispatcher.dispatch(replace(SIGNAL_IT, missing=Rule.SKIP))
    assert skipped.kind is OutcomeKind.SKIPPED
    assert wire.calls == [LIST]


async def test_values_are_compared_in_the_type_that_is_registered(wire: Wire, dispatcher: Dispatcher) -> None:
    where = {"Count": "42", "Flag": "true", "WorkflowType": "Shop", "ExecutionStatus": "Running"}
    wire.answers[LIST].append(listed(("order/1", {"Count": 42, "Flag": True, "Word": "x"})))
    await dispatcher.dispatch(replace(SIGNAL_IT, where=where))
    assert wire.requests[0][1].query == (
        "`Count` = 42 AND `Flag` = true AND `WorkflowType` = 'Shop' AND `ExecutionStatus` = 'Running' "
        "AND ExecutionStatus != 'ContinuedAsNew'"
    )
    for name in ("Count", "Flag"):
        with pytest.raises(RejectedError, match=f"{name} is registered as") as refused:
            await dispatcher.dispatch(replace(SIGNAL_IT, where={name: "MARKER"}))
        assert "MARKER" not in str(refused.value)


@pytest.mark.parametrize("text", ["it's", "''", "' OR '1'='1", "%_`", "ümlaut 🚂", "-- x"])
def test_no_value_ends_its_own_quotes(text: str) -> None:
    query = Lookup(TYPES).query({"Word": text})
    inside = query.removeprefix("`Word` = '").removesuffix("' AND ExecutionStatus != 'ContinuedAsNew'")
    assert inside.replace("''", "") == text.replace("'", "")
    assert inside.count("'") == 2 * text.count("'")


def test_only_types_with_an_equality_can_be_looked_for() -> None:
    assert [name for name in TYPES if not cannot_be_looked_for(TYPES, name)] == ["Word", "Count", "Flag"]


@pytest.mark.parametrize(
    ("status", "text", "shown"),
    [
        (RPCStatusCode.UNAVAILABLE, "visibility is away", "visibility is away"),
        (RPCStatusCode.RESOURCE_EXHAUSTED, "namespace rate limit exceeded", "namespace rate limit exceeded"),
        (RPCStatusCode.NOT_FOUND, "workflow not found for ID: x", "workflow not found for ID: x"),
        (RPCStatusCode.INVALID_ARGUMENT, "Blob data size exceeds limit.", "Blob data size exceeds limit."),
        (
            RPCStatusCode.INVALID_ARGUMENT,
            "invalid query: invalid search attribute: Word",
            "invalid query: invalid search attribute: Word",
        ),
        (RPCStatusCode.INVALID_ARGUMENT, "invalid query: near 'MARKER'", "invalid query"),
    ],
)
async def test_whatever_else_visibility_answers_the_command_waits(
    wire: Wire, dispatcher: Dispatcher, status: RPCStatusCode, text: str, shown: str
) -> None:
    wire.answers[LIST].append(RPCError(text, status, b""))
    with pytest.raises(NotNow) as waits:
        await dispatcher.dispatch(replace(SIGNAL_IT, missing=Rule.SKIP, closed=Rule.SKIP))
    assert str(waits.value) == f"looking for a workflow by Word: Temporal answered {status.name}: {shown}"
    assert not isinstance(waits.value, Throttled)
    assert wire.calls == [LIST]


async def test_a_workflow_that_is_not_found_yet_has_no_link(wire: Wire) -> None:
    dispatcher = await connected(wire, links=Links(ui_url="http://ui"))
    assert dispatcher.link(SIGNAL_IT) == ""
    assert dispatcher.link(replace(SIGNAL_IT, workflow_id="order/1", where=None)) != ""
