"""Waiting without losing sight: what waits, for how long already, and why."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from service.errors import Answered, NotNow
from service.kafka.given_up import how_to_give_up
from service.kafka.record import Partition, Record

T = TypeVar("T")

FIRST_DELAY_SECONDS = 0.2
LAST_DELAY_SECONDS = 10.0


class Abandoned(Exception):  # noqa: N818 - not an error: its partition went to another member
    """The record is no longer ours; whoever has its partition now handles it again."""


class Assignment:
    """One partition for one assignment; over when the partition is revoked or we stop."""

    def __init__(self) -> None:
        self._over = asyncio.Event()
        self._stirred = asyncio.Event()
        self.held_up: dict[int, str] = {}
        """Offsets of the records that a pause holds, each with the name of the topic or route."""
        self.defects: set[int] = set()
        """Offsets of the records that a defect of ours holds."""

    @property
    def over(self) -> bool:
        """Whether nothing new may be begun for it."""
        return self._over.is_set()

    def end(self) -> None:
        """Wake all that sleeps for it; each raises Abandoned."""
        self._over.set()
        self.stir()

    def stir(self) -> None:
        """Wake all that sleeps for it, to look again."""
        stirred, self._stirred = self._stirred, asyncio.Event()
        stirred.set()

    async def sleep(self, seconds: float) -> None:
        """Sleep, unless it is over; something may end it early.

        Raises:
            Abandoned: It is over.
        """
        if not self.over:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._stirred.wait()
        if self.over:
            raise Abandoned

    async def until(self, event: asyncio.Event) -> None:
        """Wait for `event`, without end.

        Raises:
            Abandoned: It is over.
        """
        waits = [asyncio.create_task(one.wait()) for one in (self._over, event)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()
        if self.over:
            raise Abandoned


@dataclass(frozen=True, slots=True)
class What:
    """What a record waits for, as people look for it; empty where it is not known."""

    route: str = ""
    event_id: str = ""
    workflow_id: str = ""
    trace_id: str = ""


@dataclass(frozen=True, slots=True)
class Wait:
    """A record whose call is not through: since when (monotonic seconds), for what, and the last answer.

    `of` is that answer's kind. A person may give up on it, unless it waits for its letter to be written.
    """

    record: Record
    what: "What"
    answer: str
    since: float
    may_be_given_up: bool
    of: Answered = Answered.NOTHING

    @property
    def to_give_up(self) -> str:
        """The command with which a person gives up on the record; empty if that cannot be."""
        place = (self.record.topic, self.record.partition, self.record.offset)
        return how_to_give_up(*place) if self.may_be_given_up else ""


def nobody(_answer: str) -> None:
    """Nobody can give up on what waits."""


class WaitingRoom:
    """Who waits now, so that one line can say it for all."""

    def __init__(self) -> None:
        self._waits: dict[str, Wait] = {}

    def __len__(self) -> int:
        return len(self._waits)

    def longer_than(self, seconds: float) -> list[Wait]:
        """Those that have waited longer than that, the longest first."""
        before = time.monotonic() - seconds
        return sorted((w for w in self._waits.values() if w.since < before), key=lambda wait: wait.since)

    def partitions(self, seconds: float) -> set[Partition]:
        """Where something that a person may give up on has waited longer than that."""
        return {wait.record.place for wait in self.longer_than(seconds) if wait.may_be_given_up}

    def answer(self, record: Record) -> str:
        """The last answer to what waits because of `record`; empty if nothing does."""
        wait = self._waits.get(str(record))
        return wait.answer if wait else ""

    async def insist(
        self,
        record: Record,
        assignment: Assignment,
        what: What,
        call: Callable[[], Awaitable[T]],
        given_up: Callable[[str], None] = nobody,
    ) -> T:
        """Repeat `call` until it does something other than raise NotNow.

        Before it is repeated, `given_up` is told the last answer; what that raises ends the waiting. A call
        under way comes to its end first, and what it does counts.

        Raises:
            Abandoned: The partition is no longer ours.
        """
        place, since, may_be_given_up = str(record), time.monotonic(), given_up is not nobody
        # From the first call on: one that does not come back must be seen, too.
        self._waits[place] = Wait(record, what, "no answer yet", since, may_be_given_up)
        try:
            # No limit on attempts: giving up here would commit a record that nobody
            # performed. Patience ends when the operator, or a rebalance, ends it.
            delay = FIRST_DELAY_SECONDS
            while True:
                try:
                    return await call()
                except NotNow as error:
                    answer, of = str(error), error.of
                self._waits[place] = Wait(record, what, answer, since, may_be_given_up, of)
                given_up(answer)  # said before: there is nothing to sleep for
                await assignment.sleep(delay * random.uniform(0.8, 1.2))  # noqa: S311 - spreads retries
                given_up(answer)
                delay = min(delay * 2, LAST_DELAY_SECONDS)
        finally:
            self._waits.pop(place, None)
