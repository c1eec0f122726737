"""The activity that looks for workflows that closed without anybody being told."""

from datetime import datetime

from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from activities.heartbeats import heartbeats
from activities.ports import ClosingSweeper, NotYet, Swept


class SweepingActivities:
    """Activities that go through `sweeper`."""

    def __init__(self, sweeper: ClosingSweeper) -> None:
        self._sweeper = sweeper

    @activity.defn
    async def sweep_closings(self, since: datetime) -> Swept:
        """Tell of all that closed at `since` or later; a repeat tells the same, with the same ids.

        Raises:
            ApplicationError: `NotYet`; to be tried again.
        """
        try:
            async with heartbeats():
                # By our own clock, a jump of it would leave out what closes until it is over.
                return await self._sweeper.sweep(since, activity.info().current_attempt_scheduled_time)
        except NotYet as error:
            # Benign: an outage is no defect of ours, and a line a minute with a traceback tells nothing more.
            raise ApplicationError(
                str(error), type=NotYet.__name__, category=ApplicationErrorCategory.BENIGN
            ) from None
