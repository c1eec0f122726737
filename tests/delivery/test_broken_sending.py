"""Letters that are sent again take effect once: across kills, and by no route but their own."""

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest

from service.errors import RouteError
from service.failures.letters import About, Letters
from service.kafka.record import Headers, Record, Written
from service.local import LocalTemporal
from tests.integration.letters import MENDED, ROOT, both, ended, lag, letters_site, mend, told
from tests.integration.service import Site, event_headers

KEYS = 30
PER_KEY = 10
KILLED_AFTER = (1, 40, 99, 150)
"""How many letters a command is done with when it is killed."""


class _Topic:
    """Writes to the real letter topic."""

    def __init__(self, here: Site) -> None:
        self._here = here

    async def send(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        spread: int | None = None,
    ) -> Written:
        at = await self._here.write(
            value, key=key, headers=[(name, value or b"") for name, value in headers], to="letters"
        )
        return Written(at.topic, at.partition, at.offset)


async def _start(here: Site, build: str, *arguments: str) -> asyncio.subprocess.Process:
    argv = [sys.executable, "-m", "tests.delivery.broken_sending", build, "letters", *arguments]
    return await asyncio.create_subprocess_exec(
        *argv, cwd=ROOT, env=os.environ | here.env, stdout=PIPE, stderr=PIPE
    )


# --- kills ---


async def test_however_often_the_command_is_killed_each_letter_takes_effect_once_in_order_and_none_is_lost(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with letters_site(kafka, temporal, tmp_path, MENDED) as here:
        await _write_letters(here)
        for count in KILLED_AFTER:
            killed = await _start(here, "sound", "send", "--all")
            await _read_lines(killed, count)
            killed.kill()
            await killed.wait()
        open_before = await lag(here)
        killed = await _start(here, "sound", "send", "--all", "--rate", "60")
        await here.until(lambda: _less_is_open(here, open_before))
        killed.kill()
        await killed.wait()
        last = await _start(here, "sound", "send", "--all")
        async with asyncio.timeout(60):
            out, _ = await last.communicate()
        assert last.returncode == 0
        assert len(out.splitlines()) < KEYS * PER_KEY  # what was stored is not done again
        effects = [await told(here, f"second-{key}") for key in range(KEYS)]
        assert effects == [list(range(PER_KEY))] * KEYS
        assert await here.runs() == sorted(f"second-{key}" for key in range(KEYS))
        assert await lag(here) == 0


async def test_a_command_that_was_stopped_while_another_one_worked_begins_no_letter_once_it_goes_on(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with letters_site(kafka, temporal, tmp_path, MENDED) as here:
        await _write_letters(here)
        stopped = await _start(here, "sound", "send", "--key", "7", "--rate", "0.1")
        await here.until(lambda: told(here, "second-7"))
        stopped.send_signal(signal.SIGSTOP)
        discards = await _start(here, "sound", "discard", "--all", "--because", "not to be sent")
        await ended(discards)
        stopped.send_signal(signal.SIGCONT)
        said = await ended(stopped)
        assert said.code == 1
        assert f"another command is at work in group {here.group}.letters by now, or was" in said.err
        assert await told(here, "second-7") == [0]


async def _less_is_open(here: Site, before: int) -> bool:
    return await lag(here) < before


async def _write_letters(here: Site) -> None:
    """Letters of as many records, as bridges would have written them: some of them twice."""
    writer, now = Letters(_Topic(here), here.group), int(time.time() * 1000)
    for offset in range(KEYS * PER_KEY):
        key, n = offset % KEYS, offset // KEYS
        value = b'{"id": "%d", "n": %d}' % (key, n)
        headers: Headers = tuple(event_headers("both", id=f"e-{offset}"))
        record = Record(here.topics["in"], 0, offset, b"%d" % key, value, headers, now)
        for _ in range(2 if offset % 20 == 0 else 1):
            await writer.write(record, RouteError("no m"), About(route="second", event_type="both"))


async def _read_lines(process: asyncio.subprocess.Process, count: int) -> None:
    assert process.stdout
    async with asyncio.timeout(60):
        for _ in range(count):
            assert await process.stdout.readline(), "it ended before it was killed"


# --- broken on purpose ---


@pytest.mark.parametrize(("build", "again"), [("sound", False), ("all-routes", True)])
async def test_sending_again_by_all_routes_is_found_and_by_its_own_alone_is_sound(
    kafka: str, temporal: LocalTemporal, tmp_path: Path, build: str, again: bool
) -> None:
    async with letters_site(kafka, temporal, tmp_path) as here:
        async with here.running():
            await both(here, "k", [0])
        await _forget(here, "first-k")
        mend(here)
        async with asyncio.timeout(60):
            await (await _start(here, build, "send", "--all")).communicate()
        assert await told(here, "second-k") == [0]
        took_effect_twice = await told(here, "first-k") == [0]
        assert took_effect_twice is again


async def _forget(here: Site, name: str) -> None:
    """Let Temporal forget a workflow, as it does when its retention is over."""
    execution = WorkflowExecution(workflow_id=here.workflow_id(name))
    await here.client.workflow_service.delete_workflow_execution(
        DeleteWorkflowExecutionRequest(namespace=here.client.namespace, workflow_execution=execution)
    )

    async def is_gone() -> bool:
        return await here.described(name) is None

    await here.until(is_gone)
