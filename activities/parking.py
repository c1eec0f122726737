"""The activities of a park: deliver a command, make letters of it."""

from collections.abc import Sequence
from datetime import datetime

from pydantic import BaseModel, ConfigDict
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from activities.heartbeats import heartbeats
from activities.parked import ParkedCommand
from activities.ports import Deliveries, NotYet, ParkedLetter, Refused


class Delivery(BaseModel):
    """A command to deliver, and since when it is parked."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    command: ParkedCommand
    since: datetime


class ParkingActivities:
    """Activities that go through `deliveries`; attempts end within seconds, but for those that heartbeat."""

    def __init__(self, deliveries: Deliveries) -> None:
        self._deliveries = deliveries

    @activity.defn
    async def deliver(self, delivery: Delivery) -> list[Refused]:
        """Try once to deliver a command, and say what of it is given up on.

        Giving up is decided here, by an answer that came after its time was up, and not by a time limit of
        Temporal's: that would run out too while no bridge runs, or while the target cannot be asked.

        Raises:
            ApplicationError: `NotYet`; to be tried again.
        """
        scheduled = activity.info().current_attempt_scheduled_time
        try:
            return await self._deliveries.deliver(delivery.command, scheduled - delivery.since)
        except NotYet as error:
            raise _not_yet(error) from None

    @activity.defn
    async def write_letters(self, letters: Sequence[ParkedLetter]) -> None:
        """Keep records among the letters; a repeat may write some of them twice.

        Raises:
            ApplicationError: `NotYet`; to be tried again.
        """
        try:
            async with heartbeats():
                for letter in letters:
                    await self._deliveries.write_letter(letter)
        except NotYet as error:
            raise _not_yet(error) from None


def _not_yet(error: NotYet) -> ApplicationError:
    # Benign: it is how parking goes, each second, and no line of a log.
    return ApplicationError(str(error), type=NotYet.__name__, category=ApplicationErrorCategory.BENIGN)
