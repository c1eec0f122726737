"""Records the stories on a Temporal server of its own: `make histories`.

They are written into the folder of this version. Those of versions that were released stay as they are.
The sample's are in a folder of their own, which can be deleted with it.
"""

import asyncio
import importlib
import importlib.util
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

from temporalio.client import Client, WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment

from service.dispatch.identity import IdentityPlugin
from service.local import binary
from service.temporal.core import core
from tests.replay.stories import LONG_EVENTS, OURS, Handle, Play, Story, story_name

IDENTITY = "turnout"
"""Instead of a process and a host's name, which the SDK would write into each history."""


QUICK = "history.transferProcessorMaxPollRPS=2000"


def plays() -> list[Play]:
    """All there are: turnout's own, and the sample's where it has not been deleted."""
    if importlib.util.find_spec("tests.replay.shop") is None:
        return [OURS]
    return [OURS, importlib.import_module("tests.replay.shop.stories").SHOP]


async def record(play: Play) -> dict[str, dict[str, Any]]:
    """Tell all stories of `play`; returns the history of each run, by name."""
    histories: dict[str, dict[str, Any]] = {}
    settings = (f"limit.historyCount.suggestContinueAsNew={LONG_EVENTS}", QUICK)
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=str(binary("temporal")),
        dev_server_log_level="error",
        dev_server_extra_args=[part for one in settings for part in ("--dynamic-config-value", one)],
    ) as server:
        client = await Client.connect(
            server.client.service_client.config.target_host,
            identity=IDENTITY,
            plugins=[IdentityPlugin()],
            data_converter=pydantic_data_converter,
            runtime=core().runtime,
        )
        for story in play.stories:
            name = story_name(story)
            runs = await _played(client, play, story, group=name.partition("-")[2])
            for number, run in enumerate(runs, start=1):
                histories[f"{name}.{number}" if len(runs) > 1 else name] = run
    return histories


async def _played(client: Client, play: Play, story: Story, group: str) -> list[dict[str, Any]]:
    async with play.stage(client, group) as stage, asyncio.timeout(120):
        workflow = await story(stage)
        return [_without_traces(json.loads(run.to_json())) async for run in _runs(client, workflow)]


async def _runs(client: Client, workflow: Handle) -> AsyncIterator[WorkflowHistory]:
    """The histories of all its runs, the first first."""
    run_id = (await workflow.describe()).raw_description.workflow_execution_info.first_run_id
    while run_id:
        history = await client.get_workflow_handle(workflow.id, run_id=run_id).fetch_history()
        yield history
        run_id = history.events[-1].workflow_execution_continued_as_new_event_attributes.new_execution_run_id


def _without_traces(part: Any) -> Any:
    """`part` without stack traces: they name the folders of this machine, and no workflow looks at them."""
    if isinstance(part, dict):
        return {name: _without_traces(one) for name, one in part.items() if name != "stackTrace"}
    return [_without_traces(one) for one in part] if isinstance(part, list) else part


def main() -> None:
    """Record all, and write it in place of what this version has recorded before."""
    for play in plays():
        histories = asyncio.run(record(play))
        play.recorded.mkdir(exist_ok=True)
        for old in play.recorded.glob("*.json"):
            old.unlink()
        for name, history in histories.items():
            (play.recorded / f"{name}.json").write_text(json.dumps(history, indent=1) + "\n")
            sys.stdout.write(f"{play.recorded.name}/{name}: {len(history['events'])} events\n")


if __name__ == "__main__":
    main()
