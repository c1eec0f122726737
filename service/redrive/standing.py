"""What waits for people: how many letters are open, and how many parks."""

import asyncio
import time
from collections.abc import Callable, Coroutine

import structlog

from service.errors import ConfigurationError, NotNow, Unreachable
from service.failures.parks import Parks
from service.kafka.connection import Connection
from service.kafka.reading import reader
from service.redrive.letterbox import open_letterbox
from service.telemetry.metrics import Metrics, Standing

log = structlog.get_logger(__name__)

LOOK_SECONDS = 60.0
TURN_SECONDS = 1.0
END_SECONDS = 2.0


class StandingWatch:
    """Counts for metrics what waits for people, each minute, in one process of a group.

    Args:
        connection: The cluster.
        group: The consumer group that gives up.
        parks: Its parks.
        metrics: Where it is shown.
    """

    def __init__(self, connection: Connection, group: str, parks: Parks, metrics: Metrics) -> None:
        self._connection = connection
        self._group = group
        self._parks = parks
        self._metrics = metrics
        self._said: dict[str, str] = {}

    async def keep_looking(self, ours: Callable[[], bool]) -> None:
        """Look, for ever, while `ours` says so; what another counts, or nobody knows, is not shown."""
        looked: float | None = None
        while True:
            if not ours():
                looked = None
                self._metrics.standing(self._group, None)
            elif looked is None or time.monotonic() - looked >= LOOK_SECONDS:
                try:
                    await _to_its_end(self.look())
                except Exception:
                    log.exception("defect while it was counted what is open")  # no reason to stop for
                looked = time.monotonic()
            await asyncio.sleep(TURN_SECONDS)

    async def look(self) -> None:
        """Look once. What cannot be known now is said in the log, once, and not shown."""
        letters, parks = await self._open_letters(), await self._open_parks()
        self._metrics.standing(self._group, Standing(letters, parks))

    async def _open_letters(self) -> int | None:
        try:
            async with reader(self._connection) as reading:
                return (await open_letterbox(reading, self._group)).lag
        except (Unreachable, ConfigurationError) as error:
            self._say("open letters", error)
            return None

    async def _open_parks(self) -> int | None:
        try:
            return await self._parks.count()
        except NotNow as error:
            self._say("open parks", error)
            return None

    def _say(self, what: str, error: Exception) -> None:
        if self._said.get(what) != str(error):
            log.info("not known how many are open", what=what, reason=str(error))
        self._said[what] = str(error)


async def _to_its_end(look: Coroutine[object, object, None]) -> None:
    """Do `look`; when we are to stop meanwhile, it has a moment to end by itself.

    The client does not close a connection that is being made when it is cancelled.
    """
    looking = asyncio.create_task(look)
    try:
        await asyncio.shield(looking)
    except asyncio.CancelledError:
        await asyncio.wait({looking}, timeout=END_SECONDS)
        looking.cancel()
        raise
