"""Members come and go, in good order or killed, while events flow: each takes effect once, and in order."""

import asyncio
import signal
from datetime import timedelta
from pathlib import Path

import pytest

from service.local import Child, LocalTemporal
from tests.delivery.checker import Report, check
from tests.delivery.group import caught_up, group, log_lines, observe, process, running, settled
from tests.delivery.ledger import ledger, make_plan
from tests.integration.service import DEFECTS, Site

KEYS, PER_KEY = 200, 5
PARTITIONS = 8
LOAD_SECONDS = 10
SETTLE_SECONDS = 20
SOON = timedelta(seconds=20)


@pytest.mark.long
async def test_four_bridges_of_a_group_that_come_and_go_lose_repeat_and_reorder_nothing(
    kafka: str, temporal: LocalTemporal, tmp_path: Path, seed: int
) -> None:
    async with (
        group(kafka, temporal.address, tmp_path, limit=4, partitions=PARTITIONS) as here,
        ledger(kafka, here.topics["in"]) as told,
    ):
        bridges = [process(here, "bridge", tmp_path, name=f"bridge-{n}") for n in range(3)]
        # A static one does not leave when it stops, and is not missed when it is back at once.
        bridges.append(
            process(here, "bridge", tmp_path, name="static", TURNOUT_KAFKA__GROUP_INSTANCE_ID="static")
        )
        worker = process(here, "worker", tmp_path)
        async with running(worker, *bridges):
            async with asyncio.TaskGroup() as load:
                # Of so many keys, parks that nobody empties would be all that is left to do.
                for plan in make_plan(seed, keys=KEYS, seconds=LOAD_SECONDS, per_key=PER_KEY, kinds_left=()):
                    load.create_task(told.follow(plan))
                await _come_and_go(here, *bridges)
            await here.until(lambda: caught_up(here))

            async def look() -> Report:
                return check(await observe(here, told, bridges))

            report = await settled(look, seconds=SETTLE_SECONDS, done=lambda seen: not seen.faults)
        assert not report.faults, f"TURNOUT_SEED={seed} {report}"
        assert report.lost.of > KEYS * PER_KEY / 2
        assert not [line for bridge in bridges for line in log_lines(bridge) if line["event"] in DEFECTS]


async def _come_and_go(here: Site, one: Child, two: Child, three: Child, static: Child) -> None:
    await _members(here, 4)
    one.send_signal(signal.SIGTERM)
    two.kill()
    await one.wait(SOON)
    await _members(here, 2)
    one.start()
    two.start()
    static.kill()
    static.start()
    await _members(here, 4)
    three.send_signal(signal.SIGTERM)
    static.send_signal(signal.SIGTERM)
    await static.wait(SOON)
    static.start()
    await _members(here, 3)


async def _members(here: Site, count: int) -> None:
    """Wait until so many share the partitions."""

    async def there() -> bool:
        return await here.members() == count

    await here.until(there)
