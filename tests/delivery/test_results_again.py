"""A worker that is killed between Kafka's word and its own leaves no result twice in the log."""

from pathlib import Path

import pytest
from temporalio.api.history.v1 import HistoryEvent
from temporalio.contrib.pydantic import pydantic_data_converter

from activities.ports import Published
from service.local import LocalTemporal
from tests.delivery.test_broken import scene
from tests.integration.service import Place, Site

COUNT = 20


@pytest.mark.parametrize(("build", "found"), [("sound", {}), ("no-look-back", {"results_repeated": COUNT})])
async def test_what_a_killed_worker_had_written_is_found_and_not_written_again(
    kafka: str, temporal: LocalTemporal, tmp_path: Path, build: str, found: dict[str, int]
) -> None:
    async with scene(kafka, temporal, tmp_path) as it:
        first = await it.start("results-untold")
        events = [await it.told.event("ordered", f"k{n}", n) for n in range(COUNT)]
        await it.says(first, "result written", COUNT)
        first.kill()
        written = {record.key: Place(*record.place, record.offset) for record in await it.here.read("out")}
        await it.start(build)
        for event in events:
            await it.here.workflow(f"once/{event.id}").result()
        if build == "sound":
            for event in events:
                assert await _said_to_lie(it.here, f"once/{event.id}") == written[event.id.encode()]
        await it.finds(found)


async def _said_to_lie(here: Site, name: str) -> Place:
    """Where the workflow's one result lies, as its history says."""
    history = await here.workflow(name).fetch_history()
    (done,) = [event for event in history.events if _is_done(event)]
    payloads = done.activity_task_completed_event_attributes.result.payloads
    (published,) = await pydantic_data_converter.decode(payloads, [Published])
    return Place(published.topic, published.partition, published.offset)


def _is_done(event: HistoryEvent) -> bool:
    return event.HasField("activity_task_completed_event_attributes")
