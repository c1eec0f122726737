"""An event loop that stands still: for less than the session nothing happens, for more it costs repeats.

Heartbeats share the loop with all else (trap 11 of the client).
"""

import asyncio
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from service.local import Child, LocalTemporal
from service.settings import KafkaSettings
from tests.delivery.group import log_lines, process, running
from tests.integration.service import NOTES, Place, Site, site

KEYS = [f"key-{n}" for n in range(8)]
PARTITIONS = 4
SESSION = timedelta(seconds=4)


async def test_a_loop_that_stands_still_for_five_seconds_keeps_its_partitions(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with (
        site(kafka, temporal.address, tmp_path, NOTES, topics=["in"], partitions=PARTITIONS) as here,
        here.running(),
    ):
        sent = await _note(here, range(30))
        await here.outcomes(sent[0])
        time.sleep(5)  # noqa: ASYNC251 - on purpose
        sent += await _note(here, range(30, 40))
        await _all_is_noted_in_order(here, sent, 40)
        assert [line["what"] for line in here.lines if line["event"] == "rebalance"] == [
            "revoked",
            "assigned",
        ]


async def test_a_loop_that_stands_still_for_longer_than_the_session_loses_and_reorders_nothing(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with site(kafka, temporal.address, tmp_path, NOTES, topics=["in"], partitions=PARTITIONS) as here:
        other = process(here, "bridge", tmp_path, TURNOUT_KAFKA__SESSION_TIMEOUT="4s")
        here.settings = here.settings.model_copy(
            update={"kafka": KafkaSettings(bootstrap_servers=kafka, session_timeout=SESSION)}
        )
        async with here.running(), running(other):

            async def both_are_there() -> bool:
                return await here.members() == 2

            await here.until(both_are_there)
            sent = await _note(here, range(30))
            await here.until(lambda: _has_begun(here, sent))
            _stand_still_until_all_is_taken_over(other)
            sent += await _note(here, range(30, 40))
            await here.until(both_are_there)
            await _all_is_noted_in_order(here, sent, 40)


async def _has_begun(here: Site, sent: list[Place]) -> bool:
    """Whether this process has handled some; which partitions it has is not known."""
    return any(here.said(place) for place in sent)


def _stand_still_until_all_is_taken_over(other: Child) -> None:
    deadline = time.monotonic() + 10 * SESSION.total_seconds()
    while not _has_all(other):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _has_all(bridge: Child) -> bool:
    *_, newest = [line["partitions"] for line in log_lines(bridge) if line["event"] == "rebalance"]
    return len(newest) == PARTITIONS


async def _note(here: Site, numbers: range) -> list[Place]:
    return await asyncio.gather(
        *(here.send("noted", {"id": key, "n": n}, key=key) for n in numbers for key in KEYS)
    )


async def _all_is_noted_in_order(here: Site, sent: Sequence[Place], count: int) -> None:
    await here.past(*sent)
    noted = {key: await here.workflow(key).query("noted") for key in KEYS}
    assert noted == {key: list(range(count)) for key in KEYS}
    assert not await here.letters()
