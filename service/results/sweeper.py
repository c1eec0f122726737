"""What the sweep does: the service's side of the activity `sweep_closings`."""

from datetime import datetime, timedelta

import structlog
from temporalio.service import RPCError

from activities.ports import NotYet, Swept
from service.errors import Unreachable
from service.results.left_out import LeftOut, Search

log = structlog.get_logger(__name__)


class Sweeper:
    """Publishes what was left out, up to where visibility is complete.

    Implements `activities.ports.ClosingSweeper`.

    Args:
        search: Finds and publishes.
        every: The time from one sweep to the next.
        lag: How late visibility may know that a workflow has closed: as much of each sweep is swept again.
        ends: It is not wanted any more: what is swept so far stays swept.
    """

    def __init__(self, search: Search, *, every: timedelta, lag: timedelta, ends: bool = False) -> None:
        self._search = search
        self._every = every
        self._lag = lag
        self._ends = ends
        self._waits_for = ""

    async def sweep(self, since: datetime, now: datetime) -> Swept:
        """Publish what closed since then; see `ClosingSweeper.sweep`."""
        if self._ends:
            return Swept(until=since, again_in=None)
        try:
            swept = await self._sweep(min(since, now), now)
        except NotYet as error:
            self._tell(str(error))
            raise
        self._tell("")
        return swept

    async def _sweep(self, since: datetime, now: datetime) -> Swept:
        until = max(since, now - self._lag)
        try:
            left_out = await self._search.left_out(since)
            refused = await self._search.publish(left_out, _said, by="sweep")
        except RPCError as error:
            raise NotYet(f"Temporal answered {error.status.name}: {error.message}") from error
        except Unreachable as error:
            raise NotYet(str(error)) from error
        if refused:
            raise NotYet("; ".join(refused.values()))
        return Swept(until=until, again_in=self._every)

    def _tell(self, reason: str) -> None:
        """Log what it waits for, once: it is tried again within a minute."""
        if reason and reason != self._waits_for:
            log.warning("sweep of closings waits", reason=reason)
        self._waits_for = reason


def _said(_one: LeftOut, _place: str) -> None:
    """Nothing: what is published is logged where it is."""
