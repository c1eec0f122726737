"""`turnout routes explain` on real servers: a record by its place, and what its commands would meet."""

import asyncio
import os
import re
import shlex
import sys
from pathlib import Path

from service.local import LocalTemporal
from tests.integration.service import HEAD, NOTE_ROUTE, Site, site

ROOT = Path(__file__).parents[2]
ROUTES = f"""{HEAD}routes:
{NOTE_ROUTE}\
  - {{name: shout, from: @in, type: noted, when: data.n > 1, signal: {{to: "@id/${{data.id}}", name: shout}}}}
  - name: keep
    from: @in
    type: kept
    start: {{workflow: Keep, id: "@id/${{data.id}}", task_queue: @queue, input: "${{data}}", running: skip}}
"""


async def _explained(here: Site, place: str) -> str:
    text = (ROOT / "docs/routes-lab.md").read_text()
    (command,) = re.findall(r"^turnout (routes explain .* --live)$", text, re.MULTILINE)
    arguments = [place if one == "shop.orders/0/0" else one for one in shlex.split(command)]
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "service", *arguments],
        cwd=ROOT,
        env=os.environ | here.env | {"COLUMNS": "300"},
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


async def test_a_record_is_explained_with_what_its_commands_would_meet_in_temporal(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with site(kafka, temporal.address, tmp_path, ROUTES, topics=["in"]) as here:
        kept = await here.send("kept", {"id": "a"}, key="a")
        noted = await here.send("noted", {"id": "a", "n": 2}, key="a")
        kept_at, noted_at = (f"{one.topic}/{one.partition}/{one.offset}" for one in (kept, noted))
        told = await _explained(here, noted_at)
        workflow, queue = here.workflow_id("a"), here.settings.worker.task_queue
        assert f"  now: there is no workflow {workflow}; it would be started, a Keep\n" in told
        assert f"  now: no workers poll task queue {queue}\n" in told
        assert f"  now: there is no workflow {workflow}; missing: dead-letter\n" in told
        async with here.running():
            await here.past(kept)
            told = await _explained(here, noted_at)
            assert re.search(rf"  now: {workflow} is running since \S+Z, a Keep\n", told)
            assert re.search(rf"  now: [12] workers? polls? task queue {queue}\n", told)
            assert "  now: its worker has a handler for signal note\n" in told
            said = "which would wait in vain; it has end, note"
            assert f"  now: its worker has no handler for signal shout, {said}\n" in told
            told = await _explained(here, kept_at)
            assert f"  now: this event has started {workflow} already: it would be a duplicate\n" in told
