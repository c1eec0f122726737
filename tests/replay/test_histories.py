"""Workflows that run now go on under the next release: it replays what they did so far.

A change of `workflows/park.py`, `switchboard.py`, `sweep.py` or the sample's that fails here would stop each
of them at its next task. Put it behind `workflow.patched("what-changes")`, then record its histories with
`make histories` under the next version's number. Those of released versions are never recorded anew.
docs/change.md says more.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Interceptor, Replayer, UnsandboxedWorkflowRunner, WorkflowRunner

from activities.ports import Swept
from service.telemetry.spans import WorkerTracing
from service.temporal.worker import find, sandbox
from tests.replay.recording import IDENTITY, plays
from tests.replay.stories import OURS, Play, story_name
from workflows.inbox import Inbox
from workflows.park import Park
from workflows.sweep import Sweep
from workflows.switchboard import Switchboard

HISTORIES = sorted(Path(__file__).parent.rglob("*.json"))
SERVICE = {"Park": Park, "Sweep": Sweep, "Switchboard": Switchboard}
TEAMS = [one for one in find(["workflows"]).workflows if one not in SERVICE.values()]


def read(path: Path) -> WorkflowHistory:
    """The history with its workflow's own id, of which those of calls are made."""
    history = WorkflowHistory.from_json("", path.read_text())
    started = history.events[0].workflow_execution_started_event_attributes
    return replace(history, workflow_id=started.workflow_id)


async def replay(
    history: WorkflowHistory,
    runner: WorkflowRunner | None = None,
    interceptors: Sequence[Interceptor] = (),
) -> Exception | None:
    """What fails when `history` is replayed, by the workflows and plugins that its worker has."""
    started = history.events[0].workflow_execution_started_event_attributes
    ours = SERVICE.get(started.workflow_type.name)
    replayer = Replayer(
        workflows=[ours] if ours else TEAMS,
        plugins=[] if ours else [Inbox()],
        data_converter=pydantic_data_converter,
        workflow_runner=runner or sandbox(),
        interceptors=interceptors,
    )
    return (await replayer.replay_workflow(history, raise_on_replay_failure=False)).replay_failure


def named(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


@pytest.mark.parametrize("path", HISTORIES, ids=named)
async def test_what_ran_so_far_goes_on(path: Path) -> None:
    failure = await replay(read(path))
    assert failure is None, f"{named(path)} stops; how to change it safely is in {__file__}\n{failure}"


@pytest.mark.parametrize("path", HISTORIES, ids=named)
async def test_with_traces_on_what_ran_so_far_goes_on_and_is_not_told_again(
    path: Path,
) -> None:
    spans, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    tracing = WorkerTracing(provider.get_tracer("tests"))
    assert await replay(read(path), interceptors=[tracing]) is None
    assert spans.get_finished_spans() == ()


@pytest.mark.parametrize("play", plays(), ids=lambda play: play.folder.name)
def test_there_is_a_history_of_each_story(play: Play) -> None:
    if not play.recorded.exists():
        pytest.skip("not recorded yet: make histories")
    told = {path.name.partition(".")[0] for path in HISTORIES if path.parent == play.recorded}
    assert told == {story_name(story) for story in play.stories}


@pytest.mark.parametrize("path", HISTORIES, ids=named)
def test_a_history_tells_nothing_of_the_machine_it_was_recorded_on(path: Path) -> None:
    said: dict[str, set[str]] = {}

    def note(fields: dict[str, Any]) -> dict[str, Any]:
        for name, value in fields.items():
            said.setdefault(name, set()).add(str(value))
        return fields

    json.loads(path.read_text(), object_hook=note)
    assert said["identity"] <= {IDENTITY, "history-service"}  # the server's, where a parent cancels its child
    assert "stackTrace" not in said


# --- changes that must not go through ---


async def _breaks_first(self: Any, held: Any) -> None:
    await workflow.sleep(1)
    if refused := await self._deliver(held):
        await self._write_letters(held.parked, refused)


async def _writes_nothing(self: Any, parked: Any, refused: Any) -> None:
    await asyncio.sleep(0)


async def _sweeps_nothing(self: Any, since: Any) -> Swept:
    await workflow.sleep(1)
    return Swept(until=since, again_in=None)


def _never_a_new_run(self: Any) -> None:
    self._held.popleft()
    self._news = True


CHANGES: Sequence[tuple[type, str, Callable[..., Any], str]] = [
    (Park, "_tell", lambda self: setattr(self, "_news", False), "park-delivered"),
    (Park, "_settle", _breaks_first, "park-delivered"),
    (Park, "_settle", _breaks_first, "park-cancelled"),
    (Park, "_write_letters", _writes_nothing, "park-given-up"),
    (Park, "_write_letters", _writes_nothing, "park-cancelled-while-it-delivers"),
    (Park, "_write_letters", _writes_nothing, "park-tries-ended-by-hand"),
    (Park, "_let_go", _never_a_new_run, "park-continued.1"),
    (Sweep, "_sweep", _sweeps_nothing, "sweep-continued.1"),
    (Switchboard, "_paused", lambda self, said: None, "switchboard-paused-and-resumed"),
    (Switchboard, "_resumed", lambda self, said: None, "switchboard-paused-and-resumed"),
    (Switchboard, "_show", lambda self: None, "switchboard-continued.1"),
]


@pytest.mark.parametrize(("changed", "method", "instead", "story"), CHANGES)
async def test_a_workflow_that_does_other_things_than_before_does_not_go_through(
    monkeypatch: pytest.MonkeyPatch, changed: type, method: str, instead: Callable[..., Any], story: str
) -> None:
    monkeypatch.setattr(changed, method, instead)
    # The sandbox would load the class anew.
    failure = await replay(read(OURS.recorded / f"{story}.json"), UnsandboxedWorkflowRunner())
    assert isinstance(failure, workflow.NondeterminismError)
