"""Keeps this process with the switchboard: asks it every two seconds, and obeys."""

import asyncio
import time

import structlog

from service.errors import Unreachable
from service.intake.pauses import Pauses
from service.temporal.switchboard import SwitchboardClient
from workflows.switchboard import State

log = structlog.get_logger(__name__)

READ_SECONDS = 2.0
SETTLE_SECONDS = 5.0
SAY_SECONDS = 60.0


class SwitchboardReader:
    """Carries what the switchboard says to `pauses`.

    Args:
        board: The group's switchboard.
        pauses: What this process obeys.
    """

    def __init__(self, board: SwitchboardClient, pauses: Pauses) -> None:
        self._board = board
        self._pauses = pauses
        self._last: State | None = None
        self._silent_since: float | None = None
        self._said = 0.0

    async def begin(self) -> None:
        """See that there is a switchboard, tell it our topics and routes, and obey it before anything else.

        Raises:
            Unreachable: Temporal does not answer.
        """
        await self._introduce((await self._board.read()).state)
        reading = await self._board.read_settled(SETTLE_SECONDS)
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
                if not reading.running:
                    # Someone ended it, or the namespace is a new one.
                    await self._introduce(self._last)
            except Unreachable as error:
                self._say(error)
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
