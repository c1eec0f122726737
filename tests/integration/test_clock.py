"""The wall clock of the service jumps while it works: what it does hangs on no wall clock."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from service.local import Child, LocalTemporal
from tests.delivery.group import log_lines, process, running
from tests.integration.service import NOTES_AND_ECHOES, OUTCOMES, Place, Site, site

KEYS = [f"key-{n}" for n in range(8)]
HOUR = timedelta(hours=1)
JUMPS = (timedelta(), HOUR, -HOUR, timedelta())
IDS = [f"{key}-{n}" for key in KEYS for n in range(len(JUMPS))]

LIBRARIES = [*Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")]
"""Of Debian's package libfaketime; counted first in the library path, it answers what time it is."""

pytestmark = pytest.mark.skipif(
    not LIBRARIES and os.environ.get("CI") != "true", reason="libfaketime is not installed"
)


async def test_a_clock_that_jumps_an_hour_ahead_and_an_hour_back_costs_nothing(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    clock = tmp_path / "clock"
    _set(clock, timedelta())
    async with site(kafka, temporal.address, tmp_path, NOTES_AND_ECHOES) as here:
        service = process(
            here,
            "run",
            tmp_path,
            LD_PRELOAD=str(LIBRARIES[0]),
            FAKETIME_TIMESTAMP_FILE=str(clock),
            FAKETIME_NO_CACHE="1",
            FAKETIME_DONT_FAKE_MONOTONIC="1",
            TURNOUT_WORKER__MODULES=here.settings.worker.modules,
        )
        async with running(service):
            for n, ahead in enumerate(JUMPS):
                _set(clock, ahead)
                # What was sent under the clock before comes again, too.
                again = await _send(here, n - 1) if n else []
                sent = await _send(here, n)
                await here.past(*again, *sent)
                assert {_ahead(service, place) for place in sent} == {ahead}
            assert {key: await here.workflow(key).query("noted") for key in KEYS} == {
                key: list(range(len(JUMPS))) for key in KEYS
            }

            async def all_published() -> bool:
                return {record.key for record in await here.read("out")} == {id_.encode() for id_ in IDS}

            await here.until(all_published)
        assert await here.runs() == sorted([*KEYS, *IDS])
        assert not await here.letters()


def _set(clock: Path, ahead: timedelta) -> None:
    new = clock.with_suffix(".new")
    new.write_text(f"{ahead.total_seconds():+.0f}\n")
    new.replace(clock)


async def _send(here: Site, n: int) -> list[Place]:
    notes = [await here.send("noted", {"id": key, "n": n}, key=key, id=f"note-{key}-{n}") for key in KEYS]
    orders = [await here.send("placed", {"id": f"{key}-{n}"}, key=key, id=f"order-{key}-{n}") for key in KEYS]
    return notes + orders


def _ahead(service: Child, place: Place) -> timedelta:
    """How far ahead the service's clock was when it was done with the record, in whole hours."""
    where = (place.topic, place.partition, place.offset)
    (at,) = [
        datetime.fromisoformat(line["timestamp"])
        for line in log_lines(service)
        if line["event"] in OUTCOMES and (line["topic"], line["partition"], line["offset"]) == where
    ]
    return round((at - datetime.now(UTC)) / HOUR) * HOUR
