"""The service's side of the sweep: how far it is swept, and what is said of one that cannot be done."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest
from structlog.testing import capture_logs
from temporalio.service import RPCError, RPCStatusCode

from activities.ports import NotYet
from service.errors import Unreachable
from service.results.left_out import LeftOut, Said, Search
from service.results.sweeper import Sweeper

SINCE = datetime(2026, 11, 24, tzinfo=UTC)
NOW = SINCE + timedelta(days=1)
BUSY = RPCError("busy", RPCStatusCode.RESOURCE_EXHAUSTED, b"")
AWAY = Unreachable("Kafka is away")


class World:
    """A search that fails in these ways, one after the other, and else finds nothing; "" takes all."""

    def __init__(self, *ways: Exception | str) -> None:
        self._ways = list(ways)

    async def left_out(self, since: datetime) -> Sequence[LeftOut]:
        assert since == SINCE
        if self._ways and isinstance(error := self._ways[0], Exception):
            del self._ways[0]
            raise error
        return []

    async def publish(self, left_out: Sequence[LeftOut], said: Said, *, by: str) -> Mapping[str, str]:
        reason = self._ways.pop(0) if self._ways else ""
        return {"shop.results": str(reason)} if reason else {}


def sweeper(*ways: Exception | str, ends: bool = False) -> Sweeper:
    search = cast(Search, World(*ways))
    return Sweeper(search, every=timedelta(minutes=1), lag=timedelta(hours=1), ends=ends)


async def test_what_visibility_may_not_know_yet_is_swept_again() -> None:
    swept = await sweeper().sweep(SINCE, NOW)
    assert swept.again_in == timedelta(minutes=1)
    assert swept.until == NOW - timedelta(hours=1)


async def test_a_place_beyond_now_as_a_clock_that_jumped_left_it_is_taken_for_now() -> None:
    swept = await sweeper().sweep(SINCE + timedelta(days=365), SINCE)
    assert swept.until == SINCE


async def test_one_that_is_not_wanted_any_more_asks_nobody() -> None:
    swept = await sweeper(AWAY, ends=True).sweep(SINCE, NOW)
    assert (swept.until, swept.again_in) == (SINCE, None)


async def test_what_it_waits_for_is_logged_once_and_again_after_it_went_well() -> None:
    gone = "topic shop.results is not there"
    sweeping = sweeper(gone, gone, AWAY, BUSY, "", gone)
    with capture_logs() as logs:
        for reason in (gone, gone, "Kafka is away", "Temporal answered RESOURCE_EXHAUSTED: busy"):
            with pytest.raises(NotYet, match=reason):
                await sweeping.sweep(SINCE, NOW)
        await sweeping.sweep(SINCE, NOW)
        with pytest.raises(NotYet):
            await sweeping.sweep(SINCE, NOW)
    said = [entry["reason"] for entry in logs if entry["event"] == "sweep of closings waits"]
    assert said == [gone, "Kafka is away", "Temporal answered RESOURCE_EXHAUSTED: busy", gone]
