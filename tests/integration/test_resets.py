"""A workflow that is reset takes its signals again, in order; what comes again beyond that is dropped."""

import asyncio
from functools import partial
from pathlib import Path

import pytest
from temporalio.client import WorkflowQueryFailedError
from temporalio.service import RPCError
from temporalio.worker import Worker

from service.local import LocalTemporal
from service.temporal import worker as worker_module
from tests.integration.service import Place, Site, site

ROUTES = """
version: 1
task_queues: {"@queue": {inbox: true}}
topics:
  @in: {}
routes:
  - name: open
    from: @in
    type: opened
    start: {workflow: Recorder, id: "@id/${data.id}", task_queue: @queue, input: {limit: LIMIT}}
  - name: note
    from: @in
    type: noted
    signal: {to: "@id/${data.id}", name: note, input: {event: "${data.n}", route: note}}
  - name: batch
    from: @in
    type: batched
    signal:
      to: "@id/${data.id}"
      name: note_all
      input: {event: "${data.n}", route: batch}
      batch: true
"""
NAME = "reset"


@pytest.mark.parametrize("limit", [1_000, 8], ids=["one run", "a chain of runs"])
async def test_signals_taken_again_after_a_reset_keep_their_order_and_none_takes_effect_twice(
    kafka: str, temporal: LocalTemporal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    routes = ROUTES.replace("LIMIT", str(limit))
    async with site(kafka, temporal.address, tmp_path, routes, topics=["in"], partitions=1) as here:
        worker = here.settings.worker.model_copy(update={"modules": "tests.delivery.flows"})
        here.settings = here.settings.model_copy(update={"worker": worker})
        async with here.running():
            opened = await here.send("opened", {"id": NAME}, key=NAME)
            await here.past(opened)
            assert await here.workflow(NAME).query("noted") == []  # its first task is done
            await here.past(*await _send(here, range(20)))
            first_run = (await here.workflow(NAME).describe()).raw_info.first_run_id
            # While further records come.
            further, _ = await asyncio.gather(_send(here, range(20, 40)), here.reset(NAME, first_run))
            await here.past(*further)
            await _has_noted(here, 40)
        # Once more, then all of it is delivered again, to a worker that replays at each task.
        await here.reset(NAME, first_run)
        await here.rewind(opened)
        monkeypatch.setattr(worker_module, "Worker", partial(Worker, max_cached_workflows=0))
        async with here.running():
            await here.past(*await _send(here, range(40, 50)))
            await _has_noted(here, 50)
        assert not await here.letters()


async def _send(here: Site, numbers: range) -> list[Place]:
    """Notes, five and five: singly, and so that neighbours may go as one signal."""
    return await asyncio.gather(
        *(
            here.send("batched" if n // 5 % 2 else "noted", {"id": NAME, "n": str(n)}, key=NAME)
            for n in numbers
        )
    )


async def _has_noted(here: Site, count: int) -> None:
    """Wait until the newest run has taken `count` notes; they are all there is, each once, in order."""

    async def noted() -> list[str]:
        try:
            notes = await here.workflow(NAME).query("noted")
        except (RPCError, WorkflowQueryFailedError):  # a run has just begun, or gives way to the next
            return []
        return [note["event"] for note in notes] if len(notes) >= count else []

    assert await here.until(noted) == [str(n) for n in range(count)]
