"""Workflows and activities of a package that is no part of this project run in our worker."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from service.local import Child, LocalTemporal, binary
from tests.integration.service import Site, headers_of, site

TEAM = {
    "__init__.py": "",
    "ports.py": """
from temporalio import activity

@activity.defn
def greeting(name: str) -> str:
    return f"Hello {name}"
""",
    "visits.py": """
from datetime import timedelta
from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from pydantic import BaseModel
    from team_of_ours.ports import greeting
    from workflows.results import Results

class Visitor(BaseModel):
    name: str

@workflow.defn
class Visit:
    @workflow.init
    def __init__(self, visitor: Visitor, topic: str) -> None:
        self._results = Results(topic, source="team")
        self._left = False

    @workflow.run
    async def run(self, visitor: Visitor, topic: str) -> None:
        hello = await workflow.execute_activity(
            greeting, visitor.name, start_to_close_timeout=timedelta(seconds=10)
        )
        await workflow.wait_condition(lambda: self._left)
        await self._results.publish("visited", visitor.name, {"text": hello})

    @workflow.signal
    def left(self, visitor: Visitor) -> None:
        self._left = True
""",
}
ROUTES = """
version: 1
topics:
  @in: {}
  @out: {out: true}
routes:
  - name: came
    from: @in
    type: came
    start: {workflow: Visit, id: "@id/${data.name}", task_queue: @queue, args: ["${data}", @out]}
  - name: left
    from: @in
    type: left
    signal: {to: "@id/${data.name}", name: left, input: "${data}"}
  - name: left-wrongly
    from: @in
    type: left.wrongly
    signal: {to: "@id/${data.name}", name: left, input: "${data.name}"}
"""
SOON = timedelta(seconds=30)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of the team's, which only PYTHONPATH knows."""
    package = tmp_path / "elsewhere" / "team_of_ours"
    package.mkdir(parents=True)
    for name, text in TEAM.items():
        (package / name).write_text(text)
    return package.parent


async def test_a_package_of_a_team_is_started_signalled_and_publishes(
    kafka: str, temporal: LocalTemporal, tmp_path: Path, folder: Path
) -> None:
    async with (
        site(kafka, temporal.address, tmp_path, ROUTES) as here,
        _turnout(here, "run", tmp_path, folder),
    ):
        for kind in ("came", "left.wrongly", "left"):
            await here.send(kind, {"name": "Ada"}, key="Ada")
        await here.started("Ada")
        await here.workflow("Ada").result()
        (result,) = await here.read("out")
        assert (headers_of(result)["ce_type"], result.value) == ("visited", b'{"text":"Hello Ada"}')
        (letter,) = await here.letters()
        assert headers_of(letter)["turnout-route"] == "left-wrongly"
        assert "does not fit signal left" in headers_of(letter)["__dlq.errors.message"]


TWICE = """
from temporalio import workflow

@workflow.defn(name="Visit")
class Again:
    @workflow.run
    async def run(self) -> None: ...
"""
BY_CHANCE = """
import random
from temporalio import workflow

NUMBER = random.random()

@workflow.defn
class Chance:
    @workflow.run
    async def run(self) -> None: ...
"""


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("twice.py", TWICE, "no worker can be made of what is in there: More than one workflow named Visit"),
        (
            "chance.py",
            BY_CHANCE,
            "workflow Chance: RestrictedWorkflowAccessError: Cannot access random.random",
        ),
    ],
)
async def test_what_the_worker_cannot_take_stops_the_start_and_is_said(
    kafka: str, temporal: LocalTemporal, tmp_path: Path, folder: Path, name: str, text: str, said: str
) -> None:
    (folder / "team_of_ours" / name).write_text(text)
    async with (
        site(kafka, temporal.address, tmp_path, ROUTES) as here,
        _turnout(here, "worker", tmp_path, folder) as process,
    ):
        assert await process.wait(SOON) == 1
        last = process.tail(1)
        assert last.startswith("turnout: TURNOUT_WORKER__MODULES: ")
        assert said in last


@asynccontextmanager
async def _turnout(here: Site, command: str, away: Path, package_in: Path) -> AsyncIterator[Child]:
    """The installed command with the team's package, called away from this project's folder."""
    more = {"TURNOUT_WORKER__MODULES": "team_of_ours", "PYTHONPATH": str(package_in)}
    child = Child(
        "turnout", [binary("turnout"), command], log_path=away / "log", env={**here.env, **more}, cwd=away
    )
    child.start()
    try:
        yield child
    finally:
        await child.terminate()
