"""`turnout parked`, as the operator's page gives it."""

import asyncio
import json
import os
import sys
from pathlib import Path

from service.local import LocalTemporal
from tests.integration.service import HEAD, Site, site
from tests.pages import page

ROOT = Path(__file__).parents[2]
ROUTES = f"""{HEAD}\
routes:
  - name: note
    from: @in
    type: noted
    signal: {{to: "@id/${{data.id}}", name: note, input: "${{data.n}}", missing: {{park: 15m}}}}
"""


def _documented() -> list[list[str]]:
    return [["parked", *options] for options in page("docs/operate.md").commands("turnout", "parked")]


async def _turnout(here: Site, arguments: list[str]) -> str:
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


async def test_what_is_parked_is_listed_for_people_and_for_programs(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    for_people, for_programs = _documented()
    async with site(kafka, temporal.address, tmp_path, ROUTES, topics=["in"]) as here:
        assert await _turnout(here, for_people) == f"nothing is parked in group {here.group}\n"
        async with here.running():
            for n in range(3):
                await here.outcomes(await here.send("noted", {"id": "later", "n": n}, key="later"))

            async def three_are_listed() -> str:
                said = await _turnout(here, for_programs)
                return said if '"commands": 3' in said else ""

            (line,) = (await here.until(three_are_listed)).splitlines()
            listed = json.loads(line)
            assert listed["target"] == here.workflow_id("later")
            assert listed["park"] == f"parked/{here.group}/{here.workflow_id('later')}"
            assert "does not exist" in listed["answer"]
            assert listed["since"] < listed["gives_up_at"]
            assert here.workflow_id("later") in await _turnout(here, for_people)
