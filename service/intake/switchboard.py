"""Keeps this process with the switchboard: asks it every two seconds, and obeys."""

import asyncio
import time

import structlog

from service.errors import NotNow, Unreachable
from service.intake.pauses import Pauses
from service.temporal.switchboard import SwitchboardClient
from workflows.switchboard import State

log = structlog.get_logger(__name__)

READ_SECONDS = 2.0
SETTLE_SECONDS = 5.0
SAY_SECONDS = 60.0

NOT_TAKEN_IN = (
    "the switchboard was told something that it has not taken in, so it is not known what is paused: "
    "no bridge of the group runs; start one"
)


class SwitchboardReader:
    """Carries what the switchboard says to `pauses`.

    Args:
        board: The group's switchboard.
        pauses: What this process obeys.
        only_looks: It leaves the switchboard as it is: begins none, and tells it nothing.
    """

    def __init__(self, board: SwitchboardClient, pauses: Pauses, *, only_looks: bool = False) -> None:
        self._only_looks = only_looks
        self._board = board
        self._pauses = pauses
        self._last: State | None = None
        self._silent_since: float | None = None
        self._said = 0.0

    async def begin(self) -> None:
        """See that there is a switchboard, tell it our topics and routes, and obey it before anything else.

        One that only looks may come while no bridge runs, and then goes by nothing that was not taken in.

        Raises:
            Unreachable: Temporal does not answer.
            NotNow: Only looking: it was told something that is not taken in.
        """
        if not self._only_looks:
            await self._introduce((await self._board.read()).state)
        reading = await self._board.read_settled(SETTLE_SECONDS)
        if not reading.settled and self._only_looks:
            raise NotNow(NOT_TAKEN_IN)
        if not reading.settled:
            log.warning("the switchboard has not taken in all that it was told", seconds=SETTLE_SECONDS)
        self._obey(reading.state)

    async def keep_reading(self) -> None:
        """Obey for ever. While it cannot be read, what it said last stays."""
        while True:
            await asyncio.sleep(READ_SECONDS)
            try:
                reading = await self._board.read()
                self._obey(reading.state)
                if not reading.running and not self._only_looks:
                    # Someone ended it, or the namespace is a new one.
                    await self._introduce(self._last)
            except Unreachable as error:
                self._say(error)
            except Exception:
                log.exception("defect in reading what is paused")
            else:
                self._silent_since = None

    async def _introduce(self, last: State | None) -> None:
        await self._board.tell("routes_loaded", self._pauses.names, last=last)

    def _obey(self, state: State | None) -> None:
        if state is not None:
            self._last = state
            self._pauses.obey(state)

    def _say(self, error: Exception) -> None:
        now = time.monotonic()
        if self._silent_since is None:
            self._silent_since = now
        elif now < self._said + SAY_SECONDS:
            return
        self._said = now
        log.warning(
            "the switchboard cannot be read; what it said last stays",
            reason=str(error),
            seconds=round(now - self._silent_since),
            paused=[one.name for one in self._pauses.now],
        )
