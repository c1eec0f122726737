"""Events signal and cancel workflows, in order and once, and go by the route's rule where they cannot."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.client import WorkflowExecutionStatus

from service.local import LocalTemporal
from tests.integration.service import Place, Site, headers_of, site

ROUTES = """
version: 1
topics:
  @in: {}
routes:
  - name: note
    from: @in
    type: note
    signal: {to: "@id/${data.id}", name: note, input: "${data.n}"}
  - name: note-lightly
    from: @in
    type: note.lightly
    signal: {to: "@id/${data.id}", name: note, input: "${data.n}", missing: skip, closed: skip}
  - name: note-or-start
    from: @in
    type: note.or.start
    signal:
      to: "@id/${data.id}"
      name: note
      input: ${data.n}
      or_start: {workflow: Keep, task_queue: @queue, input: "${data}"}
  - name: cancel
    from: @in
    type: cancel
    cancel: {to: "@id/${data.id}", reason: withdrawn}
  - name: cancel-lightly
    from: @in
    type: cancel.lightly
    cancel: {to: "@id/${data.id}", reason: withdrawn, missing: skip, closed: skip}
  # One event, several routes: the second has no target, the third cannot be evaluated.
  - {name: all-1, from: @in, type: all, signal: {to: "@id/${data.id}", name: note, input: first}}
  - {name: all-2, from: @in, type: all, signal: {to: "@id/nobody", name: note, input: second}}
  - {name: all-3, from: @in, type: all, signal: {to: "@id/${data.absent}", name: note, input: third}}
  - name: all-4
    from: @in
    type: all
    when: "data.id == ''"
    signal: {to: "@id/${data.id}", name: note, input: fourth}
  - {name: all-5, from: @in, type: all, signal: {to: "@id/${data.id}", name: note, input: fifth}}
"""


@pytest.fixture(scope="module")
async def running(
    kafka: str, temporal: LocalTemporal, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    """A running service that these tests share; each has ids of its own."""
    folder = tmp_path_factory.mktemp("signals")
    async with site(kafka, temporal.address, folder, ROUTES, topics=["in"]) as here, here.running():
        yield here


async def test_a_signal_reaches_the_workflow_that_is_there(running: Site) -> None:
    here = running
    await _keep(here, "there")
    place = await here.send("note", {"id": "there", "n": {"ä": [1, None]}}, key="there")
    await here.past(place)
    assert await here.workflow("there").query("noted") == [{"ä": [1, None]}]


async def test_a_signal_that_may_start_starts_once_and_then_signals(running: Site) -> None:
    here = running
    sent = [await here.send("note.or.start", {"id": "maybe", "n": n}, key="maybe") for n in range(3)]
    await here.past(*sent)
    assert await here.workflow("maybe").query("noted") == [0, 1, 2]
    assert [said.detail for place in sent for said in here.said(place)] == ["started by it", "", ""]
    workflow = await here.started("maybe")
    assert (await workflow.memo_value("turnout"))["route"] == "note-or-start"


async def test_a_cancel_asks_the_workflow_to_cancel_itself(running: Site) -> None:
    here = running
    await _keep(here, "cancelled")
    await here.past(await here.send("cancel", {"id": "cancelled"}, key="cancelled"))

    async def cancelled() -> bool:
        return (await here.started("cancelled")).status is WorkflowExecutionStatus.CANCELED

    await here.until(cancelled)
    history = await here.workflow("cancelled").fetch_history()
    (request,) = [
        event.workflow_execution_cancel_requested_event_attributes
        for event in history.events
        if event.HasField("workflow_execution_cancel_requested_event_attributes")
    ]
    assert request.cause == "withdrawn"


@pytest.mark.parametrize("state", ["missing", "closed"])
@pytest.mark.parametrize(
    ("kind", "route", "outcome"),
    [
        ("note", "note", "dead-lettered"),
        ("note.lightly", "note-lightly", "skipped"),
        ("cancel", "cancel", "dead-lettered"),
        ("cancel.lightly", "cancel-lightly", "skipped"),
    ],
)
async def test_a_workflow_that_is_not_to_be_had_is_the_rules_business(
    running: Site, state: str, kind: str, route: str, outcome: str
) -> None:
    here, name = running, f"{state}-{kind}"
    if state == "closed":
        await _keep(here, name)
        await here.workflow(name).signal("end")
        await here.workflow(name).result()
    await _goes_by_the_rule(
        here, await here.send(kind, {"id": name, "n": 1}, key=name), state, route, outcome
    )
    assert ((await here.described(name)) is None) == (state == "missing")


async def test_a_signal_that_may_start_never_starts_a_closed_id_again(running: Site) -> None:
    here = running
    workflow = await _keep(here, "ended")
    await here.workflow("ended").signal("end")
    await here.workflow("ended").result()
    place = await here.send("note.or.start", {"id": "ended", "n": 1}, key="ended")
    await _goes_by_the_rule(here, place, "closed", "note-or-start", "dead-lettered")
    assert (await here.started("ended")).run_id == workflow


async def test_all_routes_of_an_event_run_in_file_order_and_each_that_fails_makes_one_letter(
    running: Site,
) -> None:
    here = running
    await _keep(here, "all")
    place = await here.send("all", {"id": "all"}, key="all")
    await here.past(place)
    assert [(said.kind, said.route) for said in here.said(place)] == [
        ("accepted", "all-1"),
        ("dead-lettered", "all-2"),
        ("dead-lettered", "all-3"),
        ("skipped", "all-4"),
        ("accepted", "all-5"),
    ]
    letters = [headers_of(letter) for letter in await here.letters(place)]
    assert [(h["turnout-route"], h["turnout-stage"]) for h in letters] == [
        ("all-2", "dispatch"),
        ("all-3", "route"),
    ]
    assert await here.workflow("all").query("noted") == ["first", "fifth"]


async def test_signals_keep_the_order_of_their_key_while_members_come_and_go(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    keys = [f"key-{n}" for n in range(10)]
    async with site(kafka, temporal.address, tmp_path, ROUTES, topics=["in"], partitions=4) as here:

        async def send(numbers: range) -> list[Place]:
            return [
                await here.send("note.or.start", {"id": key, "n": n}, key=key)
                for n in numbers
                for key in keys
            ]

        async with here.running():
            sent = await send(range(5))
            async with here.running():
                sending = asyncio.create_task(send(range(5, 12)))
                await here.until(lambda: _has_members(here, 2))
                sent += await sending
                sending = asyncio.create_task(send(range(12, 20)))
            await here.until(lambda: _has_members(here, 1))
            sent += await sending
            await here.past(*sent)
            noted = {key: await here.workflow(key).query("noted") for key in keys}
        assert noted == {key: list(range(20)) for key in keys}
        assert not await here.letters()


async def _has_members(here: Site, count: int) -> bool:
    return await here.members() == count


async def _keep(here: Site, name: str) -> str:
    handle = await here.client.start_workflow(
        "Keep", None, id=here.workflow_id(name), task_queue=here.settings.worker.task_queue
    )
    assert handle.result_run_id
    return handle.result_run_id


async def _goes_by_the_rule(here: Site, place: Place, state: str, route: str, outcome: str) -> None:
    (said,) = await here.outcomes(place)
    assert (said.kind, said.route) == (outcome, route)
    await here.past(place)
    letters = [headers_of(letter) for letter in await here.letters(place)]
    if outcome == "skipped":
        assert not letters
    else:
        assert [(h["turnout-stage"], h["turnout-route"]) for h in letters] == [("dispatch", route)]
        assert f"write `{state}: skip` in route {route}" in letters[0]["__dlq.errors.message"]
