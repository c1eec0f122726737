"""A reply completes the call that waits for it: once, also if it comes again, too early, or too late."""

import time
from dataclasses import replace
from datetime import timedelta

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import History, HistoryEvent
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryReverseResponse
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import ConnectConfig, RPCError, RPCStatusCode, ServiceClient

from activities.correlation import Correlation, Seal
from service.dispatch.answers import OutcomeKind
from service.dispatch.completing import EARLY, MOST_PAGES
from service.dispatch.contracts import Contracts
from service.dispatch.dispatcher import Dispatcher
from service.dispatch.identity import IdentityPlugin, command_id, completed_by
from service.errors import NotNow, RejectedError
from service.routing.commands import CallError, Complete, Rule
from tests.unit.records import event, record
from tests.unit.test_dispatcher import CLOSED, Wire

COMPLETED, FAILED = "respond_activity_task_completed_by_id", "respond_activity_task_failed_by_id"
HISTORY = "get_workflow_execution_history_reverse"
NOBODY = RPCError("cannot find pending activity with ActivityID r-1", RPCStatusCode.NOT_FOUND, b"")
SEAL = Seal(["secret"])

REPLY = Complete(
    route="charged",
    event=event(),
    workflow_id="order/A-1",
    correlation=SEAL.sealed(Correlation("default", "order/A-1", "r-1")),
    activity_id="r-1",
    result={"receipt": "R-1"},
)
NO = replace(REPLY, result=None, error=CallError(type="Declined", text="no funds"))


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
async def dispatcher(wire: Wire) -> Dispatcher:
    return await dispatching(wire, SEAL)


async def dispatching(wire: Wire, seal: Seal | None) -> Dispatcher:
    async def connect(_config: ConnectConfig) -> ServiceClient:
        return wire

    service = await IdentityPlugin().connect_service_client(wire.config, connect)

    def client(namespace: str | None) -> Client:
        return Client(service, namespace=namespace or "default", data_converter=pydantic_data_converter)

    return Dispatcher(client, Contracts([]), names=None, attribute_types={}, seal=seal)


def scheduled(id_: int, call: str = "r-1") -> HistoryEvent:
    one = HistoryEvent(event_id=id_, event_type=EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED)
    one.activity_task_scheduled_event_attributes.activity_id = call
    return one


def completed(id_: int, of: int, by: str) -> HistoryEvent:
    one = HistoryEvent(event_id=id_, event_type=EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED)
    one.activity_task_completed_event_attributes.scheduled_event_id = of
    one.activity_task_completed_event_attributes.identity = by
    return one


def failed(id_: int, of: int, by: str) -> HistoryEvent:
    one = HistoryEvent(event_id=id_, event_type=EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED)
    one.activity_task_failed_event_attributes.scheduled_event_id = of
    one.activity_task_failed_event_attributes.identity = by
    return one


def timed_out(id_: int, of: int) -> HistoryEvent:
    one = HistoryEvent(event_id=id_, event_type=EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT)
    one.activity_task_timed_out_event_attributes.scheduled_event_id = of
    return one


def started(continued_from: str = "") -> HistoryEvent:
    one = HistoryEvent(event_id=1, event_type=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED)
    one.workflow_execution_started_event_attributes.continued_execution_run_id = continued_from
    return one


def ended(id_: int, how: str = "TERMINATED") -> HistoryEvent:
    return HistoryEvent(event_id=id_, event_type=EventType.Value(f"EVENT_TYPE_WORKFLOW_EXECUTION_{how}"))


def page(*newest_first: HistoryEvent, more: bytes = b"") -> GetWorkflowExecutionHistoryReverseResponse:
    return GetWorkflowExecutionHistoryReverseResponse(
        history=History(events=newest_first), next_page_token=more
    )


def young(complete: Complete) -> Complete:
    now = record(timestamp_ms=time.time_ns() // 1_000_000)
    return replace(complete, event=replace(complete.event, record=now))


async def test_a_reply_completes_its_call_by_the_ids_of_workflow_and_activity(
    wire: Wire, dispatcher: Dispatcher
) -> None:
    outcome = await dispatcher.dispatch(REPLY)
    assert (outcome.kind, outcome.workflow_id) == (OutcomeKind.ACCEPTED, "order/A-1")
    assert wire.calls == [COMPLETED]
    request = wire.request
    assert (request.workflow_id, request.run_id, request.activity_id) == ("order/A-1", "", "r-1")
    assert request.result.payloads[0].data == b'{"receipt":"R-1"}'
    assert request.identity == completed_by(command_id(REPLY))


async def test_a_no_fails_its_call_for_good_under_the_name_that_the_route_gives(
    wire: Wire, dispatcher: Dispatcher
) -> None:
    await dispatcher.dispatch(NO)
    assert wire.calls == [FAILED]
    failure = wire.request.failure
    assert failure.message == "no funds"
    assert failure.application_failure_info.type == "Declined"
    assert failure.application_failure_info.non_retryable


@pytest.mark.parametrize("reply", [REPLY, NO], ids=["result", "error"])
@pytest.mark.parametrize("state", [NOBODY, CLOSED], ids=["goes on", "closed"])
async def test_a_reply_that_came_already_is_not_late(
    wire: Wire, dispatcher: Dispatcher, reply: Complete, state: RPCError
) -> None:
    wire.answers[FAILED if reply.error else COMPLETED].append(state)
    us = completed_by(command_id(reply))
    end = failed(9, 5, us) if reply.error else completed(9, 5, us)
    wire.answers[HISTORY].append(page(end, scheduled(5), started()))
    outcome = await dispatcher.dispatch(reply)
    assert (outcome.kind, outcome.detail) == (OutcomeKind.ACCEPTED, "by an earlier try")


@pytest.mark.parametrize("end", [completed(9, 5, "someone else"), failed(9, 5, "worker"), timed_out(9, 5)])
async def test_a_second_reply_or_one_after_the_time_limit_is_late(
    wire: Wire, dispatcher: Dispatcher, end: HistoryEvent
) -> None:
    wire.answers[COMPLETED].extend([NOBODY, NOBODY])
    wire.answers[HISTORY].extend([page(end, scheduled(5), started())] * 2)
    with pytest.raises(RejectedError, match="write `late: skip` in route charged") as refused:
        await dispatcher.dispatch(young(REPLY))
    assert refused.value.rule == "late"
    outcome = await dispatcher.dispatch(young(replace(REPLY, late=Rule.SKIP)))
    assert (outcome.kind, outcome.rule) == (OutcomeKind.SKIPPED, "late")


async def test_the_end_of_another_call_is_not_taken_for_its_own(wire: Wire, dispatcher: Dispatcher) -> None:
    wire.answers[COMPLETED].append(NOBODY)
    us = completed_by(command_id(REPLY))
    wire.answers[HISTORY].append(page(completed(9, 6, us), scheduled(6, "r-2"), scheduled(5), started()))
    with pytest.raises(NotNow, match="does not call r-1 yet"):
        await dispatcher.dispatch(REPLY)


async def test_a_call_that_is_made_while_it_is_looked_for_is_tried_again(
    wire: Wire, dispatcher: Dispatcher
) -> None:
    wire.answers[COMPLETED].append(NOBODY)
    wire.answers[HISTORY].append(page(scheduled(5), started()))
    with pytest.raises(NotNow, match="does not call r-1 yet"):
        await dispatcher.dispatch(REPLY)
    assert (await dispatcher.dispatch(REPLY)).kind is OutcomeKind.ACCEPTED


async def test_a_call_that_its_workflow_left_behind_when_it_continued_as_new_is_late(
    wire: Wire, dispatcher: Dispatcher
) -> None:
    wire.answers[COMPLETED].append(NOBODY)
    us = completed_by(command_id(REPLY))
    # The ids of events are those of a run: the 5 of the later one is another call.
    wire.answers[HISTORY].extend(
        [page(completed(9, 5, us), scheduled(5, "r-2"), started("run-1")), page(scheduled(5), started())]
    )
    with pytest.raises(RejectedError, match="late"):
        await dispatcher.dispatch(young(REPLY))


async def test_a_reply_that_is_dated_ahead_of_our_clock_waits_no_longer_than_another(
    wire: Wire, dispatcher: Dispatcher
) -> None:
    wire.answers[COMPLETED].extend([NOBODY] * 2)
    wire.answers[HISTORY].extend([page(started())] * 2)
    for ahead in (timedelta(hours=1), timedelta(days=10**8)):
        at_ms = time.time_ns() // 1_000_000 + ahead // timedelta(milliseconds=1)
        reply = replace(REPLY, event=replace(REPLY.event, record=record(timestamp_ms=at_ms)))
        with pytest.raises(RejectedError, match="late"):
            await dispatcher.dispatch(reply)


async def test_a_young_reply_waits_for_a_call_that_is_not_made_yet_and_an_old_one_is_late(
    wire: Wire, dispatcher: Dispatcher
) -> None:
    wire.answers[COMPLETED].extend([NOBODY] * 2)
    wire.answers[HISTORY].extend([page(started())] * 2)
    with pytest.raises(NotNow, match="does not call r-1 yet"):
        await dispatcher.dispatch(young(REPLY))
    before = time.time_ns() // 1_000_000 - int(EARLY.total_seconds() * 1_000) - 1
    old = replace(REPLY, event=replace(REPLY.event, record=record(timestamp_ms=before)))
    with pytest.raises(RejectedError, match="late"):
        await dispatcher.dispatch(old)


@pytest.mark.parametrize(
    "how", ["COMPLETED", "FAILED", "TIMED_OUT", "CANCELED", "TERMINATED", "CONTINUED_AS_NEW"]
)
async def test_a_reply_for_a_closed_workflow_never_waits(
    wire: Wire, dispatcher: Dispatcher, how: str
) -> None:
    wire.answers[COMPLETED].append(CLOSED)
    wire.answers[HISTORY].append(page(ended(6, how), scheduled(5), started()))
    with pytest.raises(RejectedError, match="late"):
        await dispatcher.dispatch(young(REPLY))


@pytest.mark.parametrize("so_far", [[scheduled(5), started()], [started()]], ids=["calls", "calls later"])
async def test_a_reply_that_meets_a_reset_is_for_the_run_that_the_reset_began(
    wire: Wire, dispatcher: Dispatcher, so_far: list[HistoryEvent]
) -> None:
    wire.answers[COMPLETED].append(CLOSED)
    wire.answers[HISTORY].append(page(*so_far))
    with pytest.raises(NotNow, match="began a new run"):
        await dispatcher.dispatch(REPLY)
    assert (await dispatcher.dispatch(REPLY)).kind is OutcomeKind.ACCEPTED


async def test_a_reply_that_came_already_is_found_pages_and_runs_ago(
    wire: Wire, dispatcher: Dispatcher
) -> None:
    wire.answers[COMPLETED].append(NOBODY)
    us = completed_by(command_id(REPLY))
    wire.answers[HISTORY].extend(
        [
            page(scheduled(7, "r-3"), more=b"more"),
            page(started("run-1")),
            page(completed(9, 5, us), more=b"more"),
            page(scheduled(5), started()),
        ]
    )
    assert (await dispatcher.dispatch(REPLY)).detail == "by an earlier try"
    looks = [request for rpc, request in wire.requests if rpc == HISTORY]
    assert len(looks) == 4
    assert [look.execution.run_id for look in looks][-2:] == ["run-1", "run-1"]


async def test_it_is_not_looked_for_without_end(wire: Wire, dispatcher: Dispatcher) -> None:
    wire.answers[COMPLETED].append(NOBODY)
    wire.answers[HISTORY].extend([page(scheduled(7, "r-3"), more=b"more")] * (MOST_PAGES + 1))
    with pytest.raises(RejectedError, match="late"):
        await dispatcher.dispatch(REPLY)
    assert wire.calls.count(HISTORY) == MOST_PAGES


async def test_a_forged_correlation_is_refused_without_a_call(wire: Wire, dispatcher: Dispatcher) -> None:
    forged = Seal(["guessed"]).sealed(Correlation("default", "order/A-1", "r-1"))
    with pytest.raises(RejectedError, match="not signed by us; TURNOUT_CALLS__SECRET of this bridge"):
        dispatcher.check(replace(REPLY, correlation=forged))
    with pytest.raises(RejectedError, match="there is no secret"):
        (await dispatching(wire, None)).check(REPLY)
    dispatcher.check(REPLY)
    assert wire.calls == []
