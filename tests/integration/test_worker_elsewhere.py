"""A worker in Java runs what routes start, signal and close; its inbox is the documented one."""

import asyncio
import uuid
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.common.v1 import Payloads, WorkflowType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import StartWorkflowExecutionRequest
from temporalio.client import Client, WorkflowHandle
from temporalio.contrib.pydantic import pydantic_data_converter

from service.local import LocalTemporal
from service.wiring import Roles
from tests.elsewhere.programs import JavaWorker, compiled_java, needed, why_no_java
from tests.integration.service import PATIENCE_SECONDS, Place, Site, headers_of, site
from tests.telling import id_of, packed, tell
from workflows.inbox import SEEN_HEADER, WINDOW

BRIDGE = Roles(bridge=True, worker=False)
ROUTES = """
version: 1
task_queues: {"@queue": {inbox: true}}
topics:
  @in: {}
routes:
  - name: came
    from: @in
    type: came
    start: {workflow: Visit, id: "@id/${data.id}", task_queue: @queue, args: ["${data}", []]}
  - {name: note, from: @in, type: noted, signal: {to: "@id/${data.id}", name: note, input: "${data}"}}
  - name: note-many
    from: @in
    type: noted.often
    signal: {to: "@id/${data.id}", name: note_many, input: "${data}", batch: true}
  - {name: turn-over, from: @in, type: turned.over, signal: {to: "@id/${data.id}", name: turn_over}}
  - {name: left, from: @in, type: left, signal: {to: "@id/${data.id}", name: end}}
"""
NAME = "Ada"
Handle = WorkflowHandle[Any, Any]


@pytest.fixture(scope="session")
async def java_worker(tmp_path_factory: pytest.TempPathFactory) -> JavaWorker:
    needed(why_no_java())
    return await compiled_java(tmp_path_factory.mktemp("java"))


async def test_routes_start_signal_and_close_a_workflow_in_java_and_repeats_have_no_effect(
    java_worker: JavaWorker, kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with (
        site(kafka, temporal.address, tmp_path, ROUTES, topics=["in"], partitions=1) as here,
        java_worker.running(temporal.address, here.group, tmp_path / "java.log"),
    ):
        came, *_ = sent = [
            await _send(here, "came"),
            *[await _send(here, "noted", n) for n in range(5)],
            *[await _send(here, "noted.often", n) for n in range(5, 25)],
            await _send(here, "turned.over"),
        ]
        async with here.running(BRIDGE):
            await here.past(*sent)
            await _turned_over(here.workflow(NAME))
        # All of it once more. It is another run that gets it, of which the server knows no request.
        await here.rewind(came)
        async with here.running(BRIDGE):
            await here.past(*sent, await _send(here, "noted", 25), await _send(here, "left"))
            assert await here.workflow(NAME).result() == list(range(26))
        assert await _signals(here.workflow(NAME)) > 2 + 5  # all but what a batch holds came again
        assert not [headers_of(letter) for letter in await here.letters()]


async def test_the_inbox_in_java_keeps_the_contract(
    java_worker: JavaWorker, temporal: LocalTemporal, tmp_path: Path
) -> None:
    client = await Client.connect(temporal.address)
    visit = f"visit-{uuid.uuid4().hex}"
    # All of this waits for the worker, and so is there before the workflow's own code begins.
    await _start(client, visit, seen=[id_of("0"), id_of("1")])
    await tell(client, visit, "note", {"n": 1}, id_of("1"))
    await tell(client, visit, "note", {"n": 2}, id_of("2"))
    await tell(client, visit, "note_many", _notes(2, 3, 0, 4), *map(id_of, "2304"))
    await tell(client, visit, "note_many", _notes(3, 4), *map(id_of, "34"))
    await tell(client, visit, "note", {"n": 5})
    await tell(client, visit, "note", {"n": 5})  # without the header: not from turnout
    async with java_worker.running(temporal.address, visit, tmp_path / "java.log"):
        handle = client.get_workflow_handle(visit)
        assert await handle.query("noted") == [2, 3, 4, 5, 5]
        # Now these are the newest, and fill the window.
        many = range(100, 100 + WINDOW)
        await tell(client, visit, "note_many", _notes(*many), *(id_of(str(n)) for n in many))
        for n in (100, 4, 100, 102):
            await tell(client, visit, "note", {"n": n}, id_of(str(n)))
        assert await handle.query("noted") == [2, 3, 4, 5, 5, *many, 4, 100]
        await handle.signal("turn_over")
        await _turned_over(handle)
        for n in (4, 103, 101):
            await tell(client, visit, "note", {"n": n}, id_of(str(n)))
        await handle.signal("end")
        assert await handle.result() == [2, 3, 4, 5, 5, *many, 4, 100, 101]


async def _send(here: Site, kind: str, n: int = 0) -> Place:
    return await here.send(kind, {"id": NAME, "n": n, "unknown": None}, key=NAME)


async def _turned_over(handle: Handle) -> None:
    """Wait for the run after the first."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (now := await handle.describe()).run_id == now.raw_info.first_run_id:  # noqa: ASYNC110 - only the server knows
            await asyncio.sleep(0.05)


async def _signals(handle: Handle) -> int:
    events = (await handle.fetch_history()).events
    return sum(event.HasField("workflow_execution_signaled_event_attributes") for event in events)


def _notes(*numbers: int) -> list[dict[str, int]]:
    return [{"n": n} for n in numbers]


async def _start(client: Client, name: str, seen: list[bytes]) -> None:
    """As a run before it would, which has seen these ids."""
    request = StartWorkflowExecutionRequest(
        namespace=client.namespace,
        workflow_id=name,
        workflow_type=WorkflowType(name="Visit"),
        task_queue=TaskQueue(name=name),
        input=Payloads(payloads=await pydantic_data_converter.encode([{"id": name}, []])),
        request_id=str(uuid.uuid4()),
    )
    request.header.fields[SEEN_HEADER].CopyFrom(packed(*seen))
    await client.workflow_service.start_workflow_execution(request)
