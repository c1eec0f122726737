"""Each answer, to each call of each command, over the wire: what the dispatcher makes of it."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from temporalio.api.enums.v1 import WorkflowExecutionStatus
from temporalio.api.errordetails.v1 import NotFoundFailure
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse
from temporalio.service import RPCStatusCode

from service.dispatch.answers import Meaning, OutcomeKind, meaning_of, said
from service.dispatch.dispatcher import Dispatcher
from service.errors import NotNow, RejectedError, TargetBusy, Throttled, TurnoutError
from tests.contract.calls import (
    ASKING,
    CALLS,
    CANCEL,
    CANCEL_ORDER,
    COMPLETE,
    DESCRIBE,
    FAIL,
    HISTORY,
    LIST,
    REFUSAL,
    REPLY,
    SIGNAL,
    SIGNAL_OR_START,
    SIGNAL_ORDER,
    SIGNAL_WITH_START,
    START,
    START_ORDER,
    skipping,
)
from tests.contract.frontend import Frontend, Refusal
from tests.contract.known import CLOSED, KNOWN, LETTERS, MISSING, RUNNING, THE_ROUTES_RULE, WAITS
from tests.contract.unlisted import unlisted

# What each answer becomes, whatever was asked …
RAISED: dict[Meaning, type[TurnoutError]] = {
    Meaning.REJECTED: RejectedError,
    Meaning.TARGET_BUSY: TargetBusy,
    Meaning.THROTTLED: Throttled,
    Meaning.NOT_NOW: NotNow,
    # … but for what is not there: a call that needs no target is never told so, and repeated.
    Meaning.MISSING: NotNow,
    Meaning.CLOSED: NotNow,
    Meaning.NO_CALL: NotNow,
}
BY_RULE = {
    "signal": {Meaning.MISSING: "missing", Meaning.CLOSED: "closed"},
    "signal first": {Meaning.CLOSED: "closed"},
    "cancel": {Meaning.MISSING: "missing", Meaning.CLOSED: "closed"},
    "complete": dict.fromkeys((Meaning.MISSING, Meaning.CLOSED, Meaning.NO_CALL), "late"),
    "fail": dict.fromkeys((Meaning.MISSING, Meaning.CLOSED, Meaning.NO_CALL), "late"),
}
# The calls that lead on, to which outcome.
GOES_ON = {
    ("signal first", Meaning.MISSING): OutcomeKind.ACCEPTED,
    # Who has no history waits for nothing.
    ("history after complete", Meaning.MISSING): OutcomeKind.SKIPPED,
}

CODES = [code for code in RPCStatusCode if code is not RPCStatusCode.OK]


def name(value: object) -> str | None:
    if isinstance(value, Refusal):
        kind = f" ({type(value.details).__name__})" if value.details else ""
        return f"{value.status.name} {value.text}{kind}"
    return value.name if isinstance(value, Meaning | RPCStatusCode) else None


def test_the_calls_and_answers_below_are_all_there_are() -> None:
    assert {call.rpc for call in CALLS.values()} == {
        START,
        SIGNAL,
        CANCEL,
        SIGNAL_WITH_START,
        DESCRIBE,
        COMPLETE,
        FAIL,
        HISTORY,
        LIST,
    }
    assert {meaning for _, meaning in KNOWN} == set(RAISED) == set(Meaning)


@pytest.mark.parametrize(("refusal", "meaning"), KNOWN, ids=name)
def test_each_known_answer_has_its_meaning(refusal: Refusal, meaning: Meaning) -> None:
    assert meaning_of(refusal.error()) is meaning


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("refusal", "meaning"), KNOWN, ids=name)
async def test_each_known_answer_to_each_call_becomes_what_its_meaning_says(
    temporal_says: Frontend, dispatcher: Dispatcher, call: str, refusal: Refusal, meaning: Meaning
) -> None:
    CALLS[call].is_answered(temporal_says, refusal)
    if kind := GOES_ON.get((call, meaning)):
        outcome = await dispatcher.dispatch(CALLS[call].command)
        assert outcome.kind is kind
        assert len(temporal_says.calls) == 2
        return
    with pytest.raises(TurnoutError) as raised:
        await dispatcher.dispatch(CALLS[call].command)
    if rule := BY_RULE.get(call, {}).get(meaning):
        assert f"write `{rule}: skip`" in str(raised.value)
        return
    # No answer to a question about the workflow speaks of the command's own input; and none to one that
    # visibility answers speaks of the rate of all other calls, or of a workflow.
    asks = CALLS[call].rpc == LIST or (CALLS[call].rpc in ASKING and meaning is Meaning.REJECTED)
    assert type(raised.value) is (NotNow if asks else RAISED[meaning])


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("code", CODES, ids=name)
async def test_a_status_alone_is_never_more_than_not_now(
    temporal_says: Frontend, dispatcher: Dispatcher, call: str, code: RPCStatusCode
) -> None:
    CALLS[call].is_answered(temporal_says, Refusal(code, "who knows"))
    with pytest.raises(NotNow, match=f"Temporal answered {code.name}: who knows") as raised:
        await dispatcher.dispatch(CALLS[call].command)
    assert type(raised.value) is NotNow


# --- the route's rule ---


@pytest.mark.parametrize("command", [SIGNAL_ORDER, CANCEL_ORDER], ids=["signal", "cancel"])
@pytest.mark.parametrize("meaning", [Meaning.MISSING, Meaning.CLOSED], ids=name)
async def test_a_target_that_is_missing_or_closed_is_skipped_by_its_own_rule_alone(
    temporal_says: Frontend, dispatcher: Dispatcher, command: Any, meaning: Meaning
) -> None:
    rule, other = ("missing", "closed") if meaning is Meaning.MISSING else ("closed", "missing")
    for refusal in THE_ROUTES_RULE[meaning]:
        for rpc in (SIGNAL, CANCEL):
            temporal_says.answer(rpc, refusal, refusal)
        assert (await dispatcher.dispatch(skipping(command, rule))).kind is OutcomeKind.SKIPPED
        with pytest.raises(RejectedError):
            await dispatcher.dispatch(skipping(command, other))
        temporal_says.forget()


@pytest.mark.parametrize("command", [REPLY, REFUSAL], ids=["result", "error"])
@pytest.mark.parametrize("meaning", THE_ROUTES_RULE, ids=name)
async def test_a_reply_that_nobody_waits_for_goes_by_its_rule(
    temporal_says: Frontend, dispatcher: Dispatcher, command: Any, meaning: Meaning
) -> None:
    for refusal in THE_ROUTES_RULE[meaning]:
        for rpc in (COMPLETE, FAIL):
            temporal_says.answer(rpc, refusal, refusal)
        skipped = await dispatcher.dispatch(skipping(command, "late"))
        assert (skipped.kind, skipped.rule) == (OutcomeKind.SKIPPED, "late")
        with pytest.raises(RejectedError) as refused:
            await dispatcher.dispatch(command)
        assert (refused.value.rule, refused.value.retriable) == ("late", False)
        temporal_says.forget()


@pytest.mark.parametrize("refusal", WAITS, ids=name)
async def test_no_other_answer_is_skipped(
    temporal_says: Frontend, dispatcher: Dispatcher, refusal: Refusal
) -> None:
    for call in CALLS.values():
        rules = {"missing", "closed", "running", "late"} & set(dir(call.command))
        call.is_answered(temporal_says, refusal)
        with pytest.raises(NotNow):
            await dispatcher.dispatch(skipping(call.command, *rules))
        temporal_says.forget()


# --- ALREADY_EXISTS ---


def described(*, running: bool) -> DescribeWorkflowExecutionResponse:
    response = DescribeWorkflowExecutionResponse()
    response.workflow_execution_info.status = (
        WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING
        if running
        else WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_COMPLETED
    )
    return response


@pytest.mark.parametrize(("rule", "running"), [("running", True), ("closed", False)])
async def test_a_start_that_finds_its_workflow_follows_the_rule_for_the_state_it_is_in(
    temporal_says: Frontend, dispatcher: Dispatcher, rule: str, *, running: bool
) -> None:
    other = "closed" if running else "running"
    temporal_says.answer(START, RUNNING, RUNNING)
    temporal_says.answer(DESCRIBE, *[described(running=running)] * 2)
    assert (await dispatcher.dispatch(skipping(START_ORDER, rule))).kind is OutcomeKind.SKIPPED
    with pytest.raises(RejectedError, match=f"write `{rule}: skip`"):
        await dispatcher.dispatch(skipping(START_ORDER, other))


async def test_already_exists_without_a_word_of_a_workflow_asks_for_none(
    temporal_says: Frontend, dispatcher: Dispatcher
) -> None:
    temporal_says.answer(START, replace(RUNNING, details=None))
    with pytest.raises(NotNow):
        await dispatcher.dispatch(skipping(START_ORDER, "running", "closed"))
    assert temporal_says.calls == [START]


async def test_a_signal_with_start_that_finds_a_closed_workflow_follows_the_rule(
    temporal_says: Frontend, dispatcher: Dispatcher
) -> None:
    temporal_says.answer(SIGNAL, MISSING)
    temporal_says.answer(SIGNAL_WITH_START, RUNNING)
    outcome = await dispatcher.dispatch(skipping(SIGNAL_OR_START, "closed"))
    assert outcome.kind is OutcomeKind.SKIPPED


async def test_a_workflow_that_is_gone_when_a_cancel_looks_is_cancelled_once_more(
    temporal_says: Frontend, dispatcher: Dispatcher
) -> None:
    temporal_says.answer(DESCRIBE, MISSING)
    with pytest.raises(NotNow):
        await dispatcher.dispatch(CANCEL_ORDER)
    temporal_says.answer(CANCEL, MISSING)
    with pytest.raises(RejectedError, match="write `missing: skip`"):
        await dispatcher.dispatch(CANCEL_ORDER)


# --- the closed list is closed ---


@given(unlisted())
def test_what_is_not_on_the_list_is_no_word_about_the_input_nor_about_a_workflow(refusal: Refusal) -> None:
    waiting = {Meaning.NOT_NOW, Meaning.THROTTLED, Meaning.TARGET_BUSY}
    assert meaning_of(refusal.error()) in waiting


@given(st.sampled_from([*LETTERS, MISSING, CLOSED]), st.sampled_from(CODES))
def test_a_listed_text_under_another_status_waits(refusal: Refusal, code: RPCStatusCode) -> None:
    listed = code is refusal.status
    assert (meaning_of(replace(refusal, status=code).error()) is not Meaning.NOT_NOW) == listed


@given(st.sampled_from([*LETTERS, MISSING, CLOSED]), st.text(min_size=1))
def test_a_listed_text_behind_other_words_waits(refusal: Refusal, before: str) -> None:
    quoted = Refusal(refusal.status, f"{before}: {refusal.text}", refusal.details)
    assert meaning_of(quoted.error()) is Meaning.NOT_NOW


@given(st.text())
def test_no_id_changes_what_is_said_of_it(workflow_id: str) -> None:
    missing = Refusal(RPCStatusCode.NOT_FOUND, f"workflow not found for ID: {workflow_id}", NotFoundFailure())
    assert meaning_of(missing.error()) is Meaning.MISSING


# --- what people read ---


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "invalid value for search attribute Order of type Int: MARKER: of type Int: MARKER\nMARKER",
            "invalid value for search attribute Order of type Int",
        ),
        (
            "Visibility store validation errors: [invalid search attribute date: MARKER]",
            "Visibility store validation errors",
        ),
        (MISSING.text, MISSING.text),
        ("", ""),
    ],
)
async def test_an_answer_is_shown_without_the_values_that_it_quotes(
    temporal_says: Frontend, dispatcher: Dispatcher, text: str, shown: str
) -> None:
    refusal = Refusal(RPCStatusCode.INVALID_ARGUMENT, text)
    assert said(refusal.error()) == f"Temporal answered INVALID_ARGUMENT: {shown}"
    temporal_says.answer(START, refusal)
    with pytest.raises(TurnoutError) as raised:
        await dispatcher.dispatch(START_ORDER)
    assert "MARKER" not in str(raised.value)
