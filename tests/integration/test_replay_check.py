"""`turnout replay-check` on a real server, with the example of docs/change.md, of which each word holds."""

import asyncio
import os
import re
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from temporalio import activity
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from service.local import LocalTemporal
from tests.pages import page

CHANGE = page("docs/change.md").text
WRITTEN = {block.label: block.text for block in page("docs/change.md").blocks("python")}
BEFORE = WRITTEN["before"]

QUICK = BEFORE.replace("days=14", "milliseconds=1")
"""To record one that closed: how long a timer takes is not looked at when it is replayed."""

PAYS_OTHERWISE = BEFORE.replace('"pay_back"', '"pay_twice"')
"""Those that wait have not come to where it differs; those that closed have."""

RAISES = BEFORE.replace("await workflow.sleep", 'raise ValueError("SECRET")\n        await workflow.sleep')
RETURNS = BEFORE.replace("class Refund", "class Return")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def queue(temporal: LocalTemporal) -> str:
    """A task queue with one `Refund` that waits, and one that closed."""
    queue = f"refunds-{uuid.uuid4().hex[:8]}"
    client = await Client.connect(temporal.address)
    async with _worker(client, queue, BEFORE), asyncio.timeout(60):
        waiting = await client.start_workflow("Refund", "A-1", id=f"{queue}/waits", task_queue=queue)
        while len((await waiting.fetch_history()).events) < 5:  # noqa: ASYNC110 - until its timer is there
            await asyncio.sleep(0.05)
    async with _worker(client, queue, QUICK), asyncio.timeout(60):
        await client.execute_workflow("Refund", "A-2", id=f"{queue}/closed", task_queue=queue)
        closed = f"TaskQueue = '{queue}' AND ExecutionStatus = 'Completed'"
        while (await client.count_workflows(closed)).count < 1:  # noqa: ASYNC110 - visibility lags
            await asyncio.sleep(0.05)
    return queue


class Checking:
    """Runs the command with a variant of the code, as before a deploy of it."""

    def __init__(self, temporal: LocalTemporal, queue: str, folder: Path) -> None:
        self._folder = folder
        self._environment = {
            "TEMPORAL_ADDRESS": temporal.address,
            "TURNOUT_TEMPORAL__UI_URL": "http://ui",
            "TURNOUT_GROUP": queue,
            "TURNOUT_WORKER__TASK_QUEUE": queue,
        }

    def __call__(self, code: str, *options: str) -> tuple[int, str]:
        package = self._folder / "refunds"
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "refund.py").write_text(code)
        where = {"PYTHONPATH": str(self._folder), "TURNOUT_WORKER__MODULES": "refunds"}
        done = subprocess.run(
            [sys.executable, "-m", "service", "replay-check", *options],
            env={**os.environ, **self._environment, **where},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def check(temporal: LocalTemporal, queue: str, tmp_path: Path) -> Checking:
    return Checking(temporal, queue, tmp_path)


def test_code_that_is_as_it_was_goes_on(check: Checking) -> None:
    code, said = check(BEFORE)
    assert (code, said.splitlines()[0]) == (0, "Refund: 2 replay (there are 1 open, 1 closed)")


def test_a_change_that_stops_what_runs_is_found_with_the_event_where_it_begins(
    check: Checking, queue: str
) -> None:
    code, said = check(WRITTEN["wrong"])
    assert code == 1
    assert f"FAILS Refund {queue}/waits (run " in said
    assert f"open) http://ui/namespaces/default/workflows/{queue}%2Fwaits\n" in said
    # Word for word what the page shows.
    (shown,) = re.findall(r"^  from event .*$", CHANGE, re.MULTILINE)
    assert said.count(shown) == 2
    assert "Refund: 2 FAIL (there are 1 open, 1 closed)" in said
    assert 'workflow.patched("what-changes")' in said


def test_the_same_change_behind_a_patch_goes_on(check: Checking) -> None:
    code, said = check(WRITTEN["patched"])
    assert (code, said.splitlines()[0]) == (0, "Refund: 2 replay (there are 1 open, 1 closed)")


def test_where_the_sdk_names_no_event_it_is_the_first_of_the_task_that_differs(
    check: Checking, queue: str
) -> None:
    code, said = check(PAYS_OTHERWISE)
    assert code == 1
    assert "Refund: 1 replay, 1 FAIL" in said
    assert f"FAILS Refund {queue}/closed" in said
    assert "  from event 10 ActivityTaskScheduled on: Activity type of scheduled event 'pay_back'" in said


def test_code_that_raises_fails_and_what_it_says_is_not_repeated(check: Checking) -> None:
    code, said = check(RAISES)
    assert code == 1
    assert "its code raises ValueError" in said
    assert "SECRET" not in said


def test_an_open_workflow_without_code_is_told_and_all_else_is_checked(check: Checking) -> None:
    code, said = check(RETURNS)
    assert code == 2
    assert "NOT CHECKED Refund: 1 open, and no such workflow is in TURNOUT_WORKER__MODULES" in said
    assert "Return: none replayed (there are 0 open, 0 closed)" in said


def test_a_query_narrows_what_is_looked_at(check: Checking) -> None:
    code, said = check(PAYS_OTHERWISE, "--query", "ExecutionStatus = 'Running'", "--type", "Refund")
    assert (code, said) == (0, "Refund: 1 replay (there are 1 open, 0 closed)\n")


@pytest.mark.parametrize(
    ("options", "cure"),
    [
        (["--query", "Colour = 'red'"], "--query is not one that Temporal takes: "),
        (["--type", "Refnud"], "is in TURNOUT_WORKER__MODULES, nor one of ours; did you mean Refund?"),
    ],
)
def test_what_cannot_be_looked_for_is_refused_with_the_cure(
    check: Checking, options: list[str], cure: str
) -> None:
    code, said = check(BEFORE, *options)
    assert code == 1
    assert cure in said
    assert "Traceback" not in said


def _worker(client: Client, queue: str, code: str) -> Worker:
    @activity.defn(name="pay_back")
    async def pay_back(_order_id: str) -> None: ...

    names: dict[str, Any] = {"__name__": "refunds.refund"}
    exec(code, names)
    workflows = [names["Refund"]]
    return Worker(
        client,
        task_queue=queue,
        workflows=workflows,
        activities=[pay_back],
        workflow_runner=UnsandboxedWorkflowRunner(),
    )
