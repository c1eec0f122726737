"""`turnout letters` as its users have it: a site with letters in it, and the command as a process."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient

from service.failures.letters import letter_group
from service.intake.offset_map import decode
from service.local import LocalTemporal
from tests.integration.service import HEAD, Place, RouteText, Site, site
from tests.integration.test_parks import signals_of

ROOT = Path(__file__).parents[2]
ROUTES = f"""{HEAD}\
routes:
  - name: first
    from: @in
    type: [placed, both]
    signal:
      to: "@id/first-${{data.id}}"
      name: note
      input: ${{data.n}}
      or_start: {{workflow: Keep, task_queue: @queue, input: "${{data}}"}}
  - name: second
    from: @in
    type: both
    signal:
      to: "@id/second-${{data.id}}"
      name: note
      input: ${{data.m}}
      or_start: {{workflow: Keep, task_queue: @queue, input: "${{data}}"}}
  - name: weigh
    from: @in
    type: weighed
    start: {{workflow: Weigh, id: "@id/parcel-${{data.id}}", task_queue: @queue, input: "${{data}}"}}
  - name: follow
    from: @in
    type: followed
    signal: {{to: "@id/nobody", name: note, input: "${{data.n}}", missing: {{park: 1s}}}}
"""
"""Events of type `both` have no `m`: each makes a letter of route `second`, after route `first` ran."""

MENDED = ROUTES.replace("data.m", "data.n")
"""The same, and route `second` finds what it looks for."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that came to its end."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def documents(self) -> list[dict[str, Any]]:
        """The lines of `--json`."""
        return [json.loads(line) for line in self.lines]


@asynccontextmanager
async def letters_site(
    kafka: str, temporal: LocalTemporal, folder: Path, routes: str = ROUTES
) -> AsyncIterator[Site]:
    async with site(kafka, temporal.address, folder, routes, topics=["in"], partitions=1) as here:
        yield here


def mend(here: Site, routes: str = MENDED) -> None:
    """Put other routes into the file; commands that start from now on have them."""
    names = {**here.topics, "queue": here.group, "id": here.group}
    here.settings.routes.write_text(RouteText(routes).substitute(names))


async def start_letters(here: Site, *arguments: str, **env: str) -> asyncio.subprocess.Process:
    """The command, just started."""
    return await start(here, "letters", *arguments, **env)


async def start(here: Site, *arguments: str, **env: str) -> asyncio.subprocess.Process:
    """`turnout` with these arguments, just started."""
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        *[sys.executable, "-W", "error", "-m", "service", *arguments],
        cwd=ROOT,
        env=os.environ | here.env | env,
        stdout=pipe,
        stderr=pipe,
    )


async def ended(process: asyncio.subprocess.Process) -> Ended:
    async with asyncio.timeout(90):
        out, err = await process.communicate()
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


async def letters(here: Site, *arguments: str, code: int = 0, **env: str) -> Ended:
    """What the command says, in a process of its own."""
    return await called(here, "letters", *arguments, code=code, **env)


async def called(here: Site, *arguments: str, code: int = 0, **env: str) -> Ended:
    """What `turnout` says with these arguments, in a process of its own."""
    done = await ended(await start(here, *arguments, **env))
    assert done.code == code, done.out + done.err
    assert "Traceback" not in done.err
    return done


async def listed(here: Site, *arguments: str) -> list[dict[str, Any]]:
    """Open letters, as `list --json` has them."""
    return (await letters(here, "list", "--json", *arguments)).documents


async def lag(here: Site) -> int:
    """How many letters are open by what their group has committed, as any tool can compute it."""
    admin = AIOKafkaAdminClient(bootstrap_servers=here.settings.kafka.bootstrap_servers)
    await admin.start()
    try:
        commits = await admin.list_consumer_group_offsets(letter_group(here.group))
    finally:
        await admin.close()
    count = len(await here.letters())
    return count - sum(int(at.offset) + len(decode(at.offset, at.metadata)) for at in commits.values())


def slashed(place: Place) -> str:
    """As commands take it."""
    return f"{place.topic}/{place.partition}/{place.offset}"


async def both(here: Site, key: str, numbers: Iterable[int]) -> list[Place]:
    """Events that each make a letter of route `second`; the service runs."""
    places = [await here.send("both", {"id": key, "n": n}, key=key) for n in numbers]
    await here.past(*places)
    return places


async def told(here: Site, name: str) -> list[Any]:
    """What the workflow `@id/name` was told, by its history: what it took twice stands there twice."""
    return await signals_of(here.workflow(name)) if await here.described(name) else []
