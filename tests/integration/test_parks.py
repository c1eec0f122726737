"""What a target cannot take yet is parked, and follows in order once it can; or it becomes a letter."""

import asyncio
import sys
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.enums.v1 import PendingWorkflowTaskState
from temporalio.api.workflow.v1 import PendingWorkflowTaskInfo
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle
from temporalio.contrib.pydantic import pydantic_data_converter

from service.expressions import MAX_ID_BYTES
from service.failures import parking, parks
from service.local import Child, LocalTemporal
from service.settings import TemporalSettings
from service.temporal.client import for_namespace
from tests.integration.service import HEAD, Place, Site, headers_of, register_namespace, site
from tests.servers import random_port
from workflows.park import MEMO, ParkStatus

ROOT = Path(__file__).parents[2]
SOON = timedelta(seconds=30)
UNDER_WAY = PendingWorkflowTaskState.PENDING_WORKFLOW_TASK_STATE_STARTED
ROUTES = f"""{HEAD}\
  @elsewhere: {{}}
task_queues: {{@queue: {{inbox: true}}}}
routes:
  - name: keep
    from: @in
    type: kept
    start: {{workflow: Keep, id: "@id/${{data.id}}", task_queue: @queue, input: "${{data}}"}}
  - name: keep-from-elsewhere
    from: @elsewhere
    type: kept
    start: {{workflow: Keep, id: "@id/${{data.id}}", task_queue: @queue, input: "${{data}}"}}
  - name: note
    from: @in
    type: noted
    signal: {{to: "@id/${{data.id}}", name: note, input: "${{data.n}}", missing: {{park: 15m}}}}
  - name: note-briefly
    from: @in
    type: noted.briefly
    signal: {{to: "@id/${{data.id}}", name: note, input: "${{data.n}}", missing: {{park: 2s}}}}
  - name: note-many
    from: @in
    type: noted.many
    signal: {{to: "@id/${{data.id}}", name: note, input: "${{data.n}}", batch: true, missing: {{park: 15m}}}}
  - name: cancel
    from: @in
    type: cancelled
    cancel: {{to: "@id/${{data.id}}", reason: withdrawn, missing: {{park: 15m}}}}
"""


@asynccontextmanager
async def parking_site(kafka: str, temporal: LocalTemporal, folder: Path) -> AsyncIterator[Site]:
    async with site(kafka, temporal.address, folder, ROUTES, topics=["in", "elsewhere"]) as here:
        yield here


@pytest.fixture(scope="module")
async def running(
    kafka: str, temporal: LocalTemporal, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    """A running service that these tests share; each has ids of its own."""
    async with parking_site(kafka, temporal, tmp_path_factory.mktemp("parks")) as here, here.running():
        yield here


# --- delivered ---


async def test_signals_that_come_before_their_workflow_reach_it_in_order_soon_after_it_starts(
    running: Site,
) -> None:
    here = running
    places = await _note(here, "late", range(5))
    park = f"parked/{here.group}/{here.workflow_id('late')}"
    assert [(said.kind, said.route) for place in places for said in here.said(place)] == [
        ("parked", "note")
    ] * 5
    lines = [line for line in here.lines if line["event"] == "parked" and line["topic"] == places[0].topic]
    assert {line["park"] for line in lines if line["workflow_id"] == here.workflow_id("late")} == {park}

    await here.until(lambda: _holds(here, "late", 5))
    await here.send("kept", {"id": "late"}, to="elsewhere")
    await here.started("late")
    started = time.monotonic()
    await _is_told(here, "late", range(5))
    assert time.monotonic() - started < 5 * 2  # two seconds are promised; machines differ
    await _park(here, "late").result()
    for place in places:
        assert [said.kind for said in here.said(place)] == ["parked", "accepted"]
        assert here.said(place)[1].detail == "from its park"
        assert not await here.letters(place)


async def test_a_start_from_the_same_key_passes_the_signals_that_wait_for_it(running: Site) -> None:
    here = running
    await _note(here, "passed", range(3))
    place = await here.send("kept", {"id": "passed"}, key="passed")
    assert [said.kind for said in await here.outcomes(place)] == ["accepted"]
    await _note(here, "passed", range(3, 6))
    await _is_told(here, "passed", range(6))
    await _park(here, "passed").result()
    (said,) = [said for place in await _note(here, "passed", range(6, 7)) for said in here.said(place)]
    assert (said.kind, said.detail) == ("accepted", "")


async def test_a_cancel_waits_in_the_park_for_its_turn(running: Site) -> None:
    here = running
    await _note(here, "withdrawn", range(2))
    place = await here.send("cancelled", {"id": "withdrawn"}, key="withdrawn")
    await here.past(place)
    assert [said.kind for said in here.said(place)] == ["parked"]
    await here.send("kept", {"id": "withdrawn"}, to="elsewhere")

    async def is_cancelled() -> bool:
        found = await here.described("withdrawn")
        return found is not None and found.status is WorkflowExecutionStatus.CANCELED

    await here.until(is_cancelled)
    events = (await here.workflow("withdrawn").fetch_history()).events
    kinds = [e.WhichOneof("attributes") for e in events]
    ours = [
        k for k in kinds if k and k.startswith(("workflow_execution_signaled", "workflow_execution_cancel_r"))
    ]
    assert [k.removeprefix("workflow_execution_").removesuffix("_event_attributes") for k in ours] == [
        "signaled",
        "signaled",
        "cancel_requested",
    ]


async def test_a_batch_that_is_parked_stays_a_list(running: Site) -> None:
    here = running
    places = [await here.send("noted.many", {"id": "many", "n": n}, key="many") for n in range(20)]
    await here.past(*places)
    assert {said.kind for place in places for said in here.said(place)} == {"parked"}
    await here.send("kept", {"id": "many"}, to="elsewhere")

    async def all_told() -> bool:
        told = await _told(here, "many")
        assert all(isinstance(items, list) for items in told)
        return [n for items in told for n in items] == list(range(20))

    await here.until(all_told)


async def test_targets_with_the_longest_ids_that_differ_at_their_end_alone_have_a_park_each(
    running: Site,
) -> None:
    here = running
    begin = "long".ljust(MAX_ID_BYTES - len(here.workflow_id("")) - 1, "-")
    names = [begin + end for end in ("x", "y")]
    for n, name in enumerate(names):
        await _note(here, name, range(n, n + 3))
    parks_of = [
        {line["park"] for line in here.lines if line.get("workflow_id") == here.workflow_id(name)}
        for name in names
    ]
    assert [len(found) for found in parks_of] == [1, 1]
    (one,), (other,) = parks_of
    assert one != other
    await here.send("kept", {"id": names[1]}, to="elsewhere")
    await _is_told(here, names[1], range(1, 4))
    assert (await here.client.get_workflow_handle(one).describe()).status is WorkflowExecutionStatus.RUNNING
    await here.send("kept", {"id": names[0]}, to="elsewhere")
    await _is_told(here, names[0], range(3))


async def test_a_target_in_another_namespace_has_its_park_in_ours(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    name = f"elsewhere-{uuid.uuid4().hex[:8]}"
    routes = ROUTES.replace("name: note, input", f"namespace: {name}, name: note, input", 1)
    async with site(kafka, temporal.address, tmp_path, routes, topics=["in", "elsewhere"]) as here:
        await register_namespace(here.client, name)
        here.settings = here.settings.model_copy(
            update={"temporal": TemporalSettings(search_attributes=False)}
        )
        async with here.running():
            places = await _note(here, "abroad", range(2))
            assert [said.kind for place in places for said in here.said(place)] == ["parked"] * 2
            park = f"parked@{name}/{here.group}/{here.workflow_id('abroad')}"
            abroad = for_namespace(here.client, name)
            await abroad.start_workflow("Keep", None, id=here.workflow_id("abroad"), task_queue="nobody")
            await here.client.get_workflow_handle(park).result()
            told = await signals_of(abroad.get_workflow_handle(here.workflow_id("abroad")))
            assert told == [0, 1]


# --- given up on ---


async def test_a_signal_whose_workflow_does_not_come_in_time_becomes_a_letter(running: Site) -> None:
    here = running
    place = await here.send("noted.briefly", {"id": "never", "n": 1}, key="never")
    await here.past(place)
    parked, lettered = await here.outcomes(place, 2)
    assert (parked.kind, lettered.kind) == ("parked", "dead-lettered")
    (letter,) = await here.letters(place)
    texts = headers_of(letter)
    assert (texts["turnout-route"], texts["turnout-error"]) == ("note-briefly", "GivenUpError")
    assert texts["__dlq.errors.message"].startswith("parked for 0:00:0")
    assert texts["__dlq.errors.message"].endswith(
        f"then given up: workflow {here.workflow_id('never')} does not exist"
    )
    assert letter.key == b"never"
    await _park(here, "never").result()


async def test_a_park_that_someone_cancels_makes_letters_of_all_it_holds(running: Site) -> None:
    here = running
    places = await _note(here, "given-up", range(5))
    await _park(here, "given-up").cancel()
    for n, place in enumerate(places):
        _, lettered = await here.outcomes(place, 2)
        assert lettered.kind == "dead-lettered"
        (letter,) = await here.letters(place)
        assert "then someone cancelled its park; " in headers_of(letter)["__dlq.errors.message"], n

    async def is_cancelled() -> bool:
        return (await _park(here, "given-up").describe()).status is WorkflowExecutionStatus.CANCELED

    await here.until(is_cancelled)


async def test_what_is_parked_while_no_bridge_runs_is_tried_before_it_is_given_up_on(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with parking_site(kafka, temporal, tmp_path) as here:
        async with here.running():
            place = await here.send("noted.briefly", {"id": "down", "n": 1}, key="down")
            await here.past(place)
        await asyncio.sleep(3)  # its time runs out
        await _keep(here, "down")
        async with here.running():
            await _is_told(here, "down", [1])
        assert not await here.letters()


# --- crashes, rebalances, limits ---


async def test_order_holds_when_the_bridge_is_killed_while_it_parks(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    keys = [f"key-{n}" for n in range(5)]
    async with parking_site(kafka, temporal, tmp_path) as here:
        sent = [await here.send("noted", {"id": key, "n": n}, key=key) for n in range(30) for key in keys]
        async with _bridge(here, tmp_path / "first.log") as first:
            await here.until(lambda: _has_parked(first, 40))
            first.kill()
        async with _bridge(here, tmp_path / "second.log") as second:
            await here.until(lambda: _has_parked(second, 20))
            for key in keys:
                await here.send("kept", {"id": key}, key=key)
            for key in keys:
                await _is_told(here, key, range(30))
            await here.past(*sent)
        assert not await here.letters()


async def test_order_holds_while_members_come_and_go_and_parks_open_and_close(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    keys = [f"key-{n}" for n in range(8)]
    async with parking_site(kafka, temporal, tmp_path) as here:

        async def send(numbers: range) -> list[Place]:
            return [await here.send("noted", {"id": key, "n": n}, key=key) for n in numbers for key in keys]

        async with here.running():
            sent = await send(range(5))
            async with here.running():
                sending = asyncio.create_task(send(range(5, 15)))
                await here.until(lambda: _has_members(here, 2))
                for key in keys[:4]:
                    await here.send("kept", {"id": key}, to="elsewhere")
                sent += await sending
                sending = asyncio.create_task(send(range(15, 25)))
            await here.until(lambda: _has_members(here, 1))
            for key in keys[4:]:
                await here.send("kept", {"id": key}, to="elsewhere")
            sent += await sending
            await here.past(*sent)
            for key in keys:
                await _is_told(here, key, range(25))
        assert not await here.letters()


async def test_a_full_park_makes_its_lane_wait_and_no_other(
    kafka: str, temporal: LocalTemporal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parks, "MOST_COMMANDS", 3)
    async with parking_site(kafka, temporal, tmp_path) as here, here.running():
        await _note(here, "full", range(3))
        await here.until(lambda: _holds(here, "full", 3))
        waiting = await _send_notes(here, "full", range(3, 10))
        others = await _note(here, "other", range(2))
        assert [said.kind for place in others for said in here.said(place)] == ["parked"] * 2
        assert not [said for place in waiting for said in here.said(place)]
        assert (await _status(here, "full")).commands == 3
        await here.send("kept", {"id": "full"}, to="elsewhere")
        await _is_told(here, "full", range(10))
        await here.past(*waiting)


async def test_a_signal_for_a_target_that_stays_busy_is_parked_and_its_lane_goes_on(
    kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parking, "BUSY_SECONDS", 0.5)
    server = LocalTemporal(tmp_path, random_port(), random_port(), keep=False)
    limit = ["--dynamic-config-value", "history.maximumSignalsPerExecution=5"]
    server.child._argv += limit  # noqa: SLF001 - nobody else needs to
    async with server, parking_site(kafka, server, tmp_path) as here, here.running():
        await here.client.start_workflow(
            "KeepFive", [], id=here.workflow_id("busy"), task_queue=here.settings.worker.task_queue
        )
        places = await _note(here, "busy", range(8))
        assert [said.kind for place in places for said in here.said(place)][5] == "parked"

        async def all_noted() -> bool:
            return len(await here.workflow("busy").query("noted")) == 8

        await here.until(all_noted)
        assert await here.workflow("busy").query("noted") == list(range(8))
        assert not await here.letters()


async def _note(here: Site, name: str, numbers: Sequence[int]) -> list[Place]:
    places = await _send_notes(here, name, numbers)
    await here.past(*places)
    return places


async def _send_notes(here: Site, name: str, numbers: Sequence[int]) -> list[Place]:
    return [await here.send("noted", {"id": name, "n": n}, key=name) for n in numbers]


async def _keep(here: Site, name: str) -> None:
    await here.client.start_workflow(
        "Keep", None, id=here.workflow_id(name), task_queue=here.settings.worker.task_queue
    )


async def _told(here: Site, name: str) -> list[Any]:
    return await signals_of(here.workflow(name)) if await here.described(name) else []


async def signals_of(workflow: WorkflowHandle[Any, Any]) -> list[Any]:
    """What the workflow was told, by its history: what it took twice stands there twice.

    Temporal keeps back a signal that comes while a task of the workflow is under
    way, and writes it into the history after it.
    """
    async with asyncio.timeout(60):
        while (await _task_of(workflow)).state == UNDER_WAY:  # noqa: ASYNC110 - only Temporal knows
            await asyncio.sleep(0.05)
    signals = [
        event.workflow_execution_signaled_event_attributes
        for event in (await workflow.fetch_history()).events
        if event.HasField("workflow_execution_signaled_event_attributes")
    ]
    return [(await pydantic_data_converter.decode(signal.input.payloads))[0] for signal in signals]


async def _task_of(workflow: WorkflowHandle[Any, Any]) -> PendingWorkflowTaskInfo:
    return (await workflow.describe()).raw_description.pending_workflow_task


async def _is_told(here: Site, name: str, numbers: Sequence[int]) -> None:
    async def told() -> bool:
        return len(await _told(here, name)) >= len(numbers)

    await here.until(told)
    assert await _told(here, name) == list(numbers)


def _park(here: Site, name: str) -> WorkflowHandle[Any, Any]:
    return here.client.get_workflow_handle(f"parked/{here.group}/{here.workflow_id(name)}")


async def _holds(here: Site, name: str, count: int) -> bool:
    return (await _status(here, name)).commands == count


async def _status(here: Site, name: str) -> ParkStatus:
    found = await _park(here, name).describe()
    return ParkStatus.model_validate(await found.memo_value(MEMO, {}))


async def _has_members(here: Site, count: int) -> bool:
    return await here.members() == count


@asynccontextmanager
async def _bridge(here: Site, log: Path) -> AsyncIterator[Child]:
    """The service in a process; a static member, so that its successor goes on at once."""
    more = {"TURNOUT_KAFKA__GROUP_INSTANCE_ID": "one", "TURNOUT_WORKER__GRACE": "1s"}
    argv = [sys.executable, "-m", "service", "run"]
    child = Child("turnout", argv, log_path=log, env={**here.env, **more}, cwd=ROOT)
    child.start()
    try:
        yield child
    finally:
        await child.terminate(SOON)


async def _has_parked(process: Child, count: int) -> bool:
    assert process.alive, process.tail()
    assert process.log_path
    return process.log_path.read_text().count('"event": "parked"') >= count
