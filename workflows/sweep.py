"""The sweep: tells topics how workflows ended, where Temporal cannot call back when they do.

There is one per consumer group, with the id `closings/<group>`. It keeps the place up to which all is told,
so that each restart goes on from there, and however many bridges run, one of them sweeps at a time.
"""

from datetime import datetime, timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.heartbeats import HEARTBEAT_TIMEOUT
    from activities.policies import WITHOUT_LIMIT
    from activities.ports import Swept
    from activities.sweeping import SweepingActivities

MEMO = "swept"
"""The memo that holds the place: should someone end the sweep, the next bridge begins it anew from there."""


@workflow.defn
class Sweep:
    """Sweeps again and again, until it is told that there is no more to do."""

    @workflow.init
    def __init__(self, since: datetime) -> None:
        self._since = since

    @workflow.query(description="Up to when all that closed is told of")
    def status(self) -> datetime:
        """Up to when all that closed is told of."""
        return self._since

    @workflow.run
    async def run(self, since: datetime) -> None:
        """Tell of all that closes from `since` on."""
        while not workflow.info().is_continue_as_new_suggested():
            swept = await self._sweep(since)
            self._since = since = swept.until
            workflow.upsert_memo({MEMO: since})
            workflow.set_current_details(f"All that closed before {_moment(since)} UTC is told of.")
            if swept.again_in is None:
                return
            await workflow.sleep(swept.again_in)
        # The memo, too: without it the new run would have the one that the first began with.
        workflow.continue_as_new(since, memo={MEMO: since})

    async def _sweep(self, since: datetime) -> Swept:
        return await workflow.execute_activity_method(
            SweepingActivities.sweep_closings,
            since,
            summary=f"closed since {_moment(since)}",
            retry_policy=WITHOUT_LIMIT,
            # Long enough for the first sweep after days without a bridge.
            start_to_close_timeout=timedelta(hours=6),
            heartbeat_timeout=HEARTBEAT_TIMEOUT,
        )


def _moment(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S")
