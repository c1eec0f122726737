"""Events start workflows, each once, and what the workflows publish says what led to it."""

from collections.abc import AsyncIterator

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import WorkflowExecutionStatus

from service.local import LocalTemporal
from tests.integration.service import Said, Site, headers_of, site

ROUTES = """
version: 1
topics:
  @in: {unmatched: skip}
  @out: {out: true}
routes:
  - name: echo
    from: @in
    type: placed
    start: {workflow: Echo, id: "@id/${data.id}", task_queue: @queue, args: ["${data}", @out]}
  - name: keep
    from: @in
    type: kept
    start: {workflow: Keep, id: "@id/${data.id}", task_queue: @queue, input: "${data}"}
  - name: keep-lightly
    from: @in
    type: kept.lightly
    start: {workflow: Keep, id: "@id/${data.id}", task_queue: @queue, input: "${data}",
            running: skip, closed: skip}
  - name: nobody-polls
    from: @in
    type: unheard
    start: {workflow: Keep, id: "@id/${data.id}", task_queue: "@queue.nobody", input: "${data}"}
"""

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture(scope="module")
async def running(
    kafka: str, temporal: LocalTemporal, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    """A running service that these tests share; each has ids of its own."""
    folder = tmp_path_factory.mktemp("starts")
    async with site(kafka, temporal.address, folder, ROUTES) as here, here.running():
        yield here


async def test_a_workflow_begins_at_once_on_the_worker_beside(running: Site) -> None:
    """Its first task comes with the answer to the start; one that is not taken up there times out."""
    here = running
    await here.past(await here.send("placed", {"id": "eager"}, key="eager"))
    await here.workflow("eager").result()
    events = (await here.workflow("eager").fetch_history()).events
    assert events[0].workflow_execution_started_event_attributes.eager_execution_accepted
    assert not any(event.HasField("workflow_task_timed_out_event_attributes") for event in events)


async def test_an_event_starts_a_workflow_that_says_what_started_it(running: Site) -> None:
    here = running
    data = {"id": "told", "total_cents": 4200, "lines": ["ä", None, 1.5]}
    place = await here.send("placed", data, key="told", id="e-told", more={"traceparent": TRACE})
    workflow = await here.started("told")

    assert await here.workflow("told").result() == data
    assert workflow.workflow_type == "Echo"
    memo = await workflow.memo_value("turnout")
    assert (
        memo.items()
        >= {
            "event": "e-told",
            "source": "/tests",
            "type": "placed",
            "route": "echo",
            "record": str(place),
            "traceparent": TRACE,
        }.items()
    )
    assert await workflow.static_summary() == f"placed from {place}"
    details = await workflow.static_details()
    assert details
    for fact in ("e-told", "/tests", "echo", str(place)):
        assert f"`{fact}`" in details
    await here.past(place)


@pytest.mark.parametrize(
    "query",
    [
        "TurnoutRoute = 'echo'",
        "TurnoutEventType = 'placed'",
        "TurnoutEventId = 'e-{id}'",
        "TurnoutRecord = '{place}'",
    ],
)
async def test_a_workflow_is_found_by_what_started_it(running: Site, query: str) -> None:
    here, name = running, query.partition(" ")[0]
    place = await here.send("placed", {"id": name}, id=f"e-{name}")
    await here.started(name)

    async def is_listed() -> bool:
        return name in await here.runs(query.format(id=name, place=place))

    await here.until(is_listed)


async def test_a_result_is_published_once_and_a_reset_publishes_the_same_id_again(running: Site) -> None:
    here, data = running, {"id": "once", "price": 1}
    await here.send("placed", data, id="e-once", more={"traceparent": TRACE})
    await here.started("once")
    await here.workflow("once").result()
    (result,) = [r for r in await here.read("out") if r.key == b"once"]

    headers = headers_of(result)
    assert result.value == b'{"id":"once","price":1}'
    assert headers.pop("ce_id")
    assert headers.pop("ce_time")
    assert headers == {
        "ce_specversion": "1.0",
        "ce_source": "tests/echo",
        "ce_type": "echoed",
        "ce_subject": "once",
        "content-type": "application/json",
        "ce_causationid": "e-once",
        "ce_correlationid": here.workflow_id("once"),
        "traceparent": TRACE,
    }
    await _reset(here, "once")
    await here.workflow("once").result()
    first, second = [r for r in await here.read("out") if r.key == b"once"]
    assert headers_of(first)["ce_id"] == headers_of(second)["ce_id"]


async def _reset(here: Site, name: str) -> None:
    execution = await here.workflow(name).describe()
    request = ResetWorkflowExecutionRequest(
        namespace="default",
        workflow_execution=WorkflowExecution(workflow_id=execution.id, run_id=execution.run_id),
        workflow_task_finish_event_id=4,  # started, task scheduled, started, completed
        reason="a test",
        request_id=f"reset {execution.id}",
    )
    await here.client.workflow_service.reset_workflow_execution(request)


async def test_the_same_event_in_another_record_starts_nothing(running: Site) -> None:
    here = running
    first = await here.send("kept", {"id": "again"}, key="again", id="e-again")
    assert await here.outcomes(first) == [Said("accepted", "keep", "")]
    workflow = await here.started("again")
    second = await here.send("kept", {"id": "again"}, key="again", id="e-again")
    assert await here.outcomes(second) == [Said("duplicate", "keep", f"started by {first}")]
    assert (await here.started("again")).run_id == workflow.run_id
    assert not await here.letters(second)


@pytest.mark.parametrize("state", ["running", "closed"])
@pytest.mark.parametrize(("kind", "outcome"), [("kept", "dead-lettered"), ("kept.lightly", "skipped")])
async def test_another_event_for_a_taken_id_goes_by_the_rule_of_its_route(
    running: Site, state: str, kind: str, outcome: str
) -> None:
    here, name = running, f"taken-{state}-{kind}"
    await here.send(kind, {"id": name}, key=name)
    workflow = await here.started(name)
    if state == "closed":
        await here.workflow(name).signal("end")
        await here.workflow(name).result()
    place = await here.send(kind, {"id": name}, key=name)
    (said,) = await here.outcomes(place)
    assert said.kind == outcome
    await here.past(place)
    letters = [headers_of(letter) for letter in await here.letters(place)]
    if outcome == "skipped":
        assert not letters
    else:
        assert [(h["turnout-stage"], h["turnout-route"]) for h in letters] == [("dispatch", "keep")]
        assert f"write `{state}: skip` in route keep" in letters[0]["__dlq.errors.message"]
    assert (await here.started(name)).run_id == workflow.run_id


async def test_a_start_is_accepted_though_nobody_polls_its_task_queue(running: Site) -> None:
    here = running
    place = await here.send("unheard", {"id": "patient"})
    workflow = await here.started("patient")
    assert workflow.status is WorkflowExecutionStatus.RUNNING
    await here.past(place)
    assert await here.outcomes(place) == [Said("accepted", "nobody-polls", "")]
