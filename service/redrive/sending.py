"""Sending letters again: their routes alone, those of one key in the order of their records."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from service.errors import ConfigurationError, NotNow, first_reason
from service.failures.letters import Letter
from service.redrive.closing import Closing
from service.redrive.later import NONE, Later, LaterRecords
from service.redrive.letterbox import Found, Letterbox, Place
from service.redrive.order import Behind, Lane, Order
from service.redrive.picking import Picked, Picking
from service.redrive.sender import Fate, Sender

WINDOW_LETTERS = 500
WINDOW_BYTES = 32 << 20
"""Of letters, how many are looked at together; lanes run side by side within them."""


STAYS_OPEN = frozenset({Fate.LEFT_OPEN, Fate.PAUSED})
NOT_BEGUN: Sequence[str] = ["not begun"]
KEPT_BACK: Sequence[str] = ["a letter of an earlier record with its key stays open"]


@dataclass(frozen=True, slots=True)
class Said:
    """What became of one that was meant, in one line per route."""

    found: Found
    fate: Fate
    lines: Sequence[str]
    later: Later = NONE


@dataclass(frozen=True, slots=True)
class _Turn:
    """A letter that is to be sent; `early` where the walk has not come to it yet."""

    found: Found
    letter: Letter
    early: bool = False


class Sending:
    """Sends all letters that are picked.

    Args:
        picking: Which letters.
        aside: The same letterbox, to look into without disturbing the walk.
        order: Which letters go before others.
        later: What a letter comes after.
        sender: Sends one.
        closing: Keeps count of what is done.
        at_once: How many may be under way.
        said: Told what became of each letter that is meant.
        stop: Once it is set, no letter begins.
    """

    def __init__(
        self,
        picking: Picking,
        aside: Letterbox,
        order: Order,
        later: LaterRecords,
        sender: Sender,
        closing: Closing,
        *,
        at_once: int,
        said: Callable[[Said], None],
        stop: asyncio.Event,
    ) -> None:
        self._picking = picking
        self._aside = aside
        self._order = order
        self._later = later
        self._sender = sender
        self._closing = closing
        self._slots = asyncio.Semaphore(at_once)
        self._said = said
        self._stop = stop
        self._behind: dict[Lane, list[Behind]] = {}
        self._full: Place | None = None
        self._told_early: set[Place] = set()

    async def survey(self) -> int:
        """Walk once and look: how many letters are to be sent, and which of them lie out of order.

        Raises:
            ConfigurationError: Too many do.
        """
        count = 0
        async for picked in self._picking.walk():
            if letter := picked.letter:
                self._order.note(letter.record, picked.found.place)
                count += 1
        self._behind = dict(self._order.behind())
        return count

    async def run(self) -> None:
        """Walk and send, until the end or until it is to stop; what is done is stored in any case.

        Raises:
            NotNow: No letter gets through.
            Unreachable: Kafka does not answer.
            ConfigurationError: Someone else is at work on the letters, or what is done cannot be remembered.
        """
        await self._closing.store()
        window: list[Picked] = []
        size = 0
        try:
            async for picked in self._picking.walk():
                if self._stop.is_set():
                    break
                if self._waits_for_the_window(picked):
                    window.append(picked)
                    size += picked.found.lies.size_bytes
                if len(window) >= WINDOW_LETTERS or size >= WINDOW_BYTES:
                    await self._send(window)
                    window, size = [], 0
            await self._send(window)
        except BaseExceptionGroup as group:
            raise first_reason(group) from group
        finally:
            await self._closing.store()

    def _waits_for_the_window(self, picked: Picked) -> bool:
        """Whether it is to be sent, or shares the fate of another; of all else it is noted here."""
        place = picked.found.place
        if picked.obstacle:
            self._said(Said(picked.found, Fate.REFUSED, [picked.obstacle]))
        elif place in self._told_early:
            self._told_early.remove(place)  # it was its turn already, and stayed open
        elif picked.letter or picked.repeat_of:
            return self._closing.take(place)  # unless its turn came early
        self._closing.leave(place)
        return False

    async def _send(self, window: Sequence[Picked]) -> None:
        """Send what is in the window, then note what shares its fate."""
        lanes = await self._lanes(window)
        counts = await self._later.count([turn.letter for turns in lanes.values() for turn in turns])
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(self._send_lane(*lane, counts)) for lane in lanes.items()]
        for picked in window:
            if picked.repeat_of and self._closing.is_closed(picked.repeat_of):
                await self._closing.close(picked.found.place)
            elif picked.repeat_of:
                self._closing.leave(picked.found.place)
        if self._full:
            raise ConfigurationError(self._closing.why_full(self._full))
        stuck = [answer for task in running if (answer := task.result()) is not None]
        if stuck and all(stuck) and not self._stop.is_set():
            raise NotNow(f"no letter gets through: {stuck[0]}; what was done is kept")

    async def _lanes(self, window: Sequence[Picked]) -> Mapping[Lane, Sequence[_Turn]]:
        """What is to be sent, by lane, each in the order of its records."""
        lanes: defaultdict[Lane, list[_Turn]] = defaultdict(list)
        for picked in window:
            if letter := picked.letter:
                lanes[self._order.lane(letter.record)].append(_Turn(picked.found, letter))
        for lane, turns in lanes.items():
            turns.extend(await self._early(lane, turns))
            turns.sort(key=lambda turn: turn.letter.record.offset)
        return lanes

    async def _early(self, lane: Lane, turns: Sequence[_Turn]) -> list[_Turn]:
        """Letters further on that have to go before one of `turns`."""
        last = max(turn.letter.record.offset for turn in turns)
        here = {turn.found.place for turn in turns}
        behind = self._behind.get(lane, [])
        before = [one.place for one in behind if one.record_offset < last]
        self._behind[lane] = behind[len(before) :]  # in the order of their records, each once
        found = [await self._aside.at(place) for place in before if place not in here]
        return [_Turn(one, one.letter, early=True) for one in found if one and one.letter]

    async def _send_lane(
        self, lane: Lane, turns: Sequence[_Turn], counts: Mapping[Place, Later]
    ) -> str | None:
        """Send them one after the other; one that stays open keeps back all that comes behind it.

        The answer at which it got stuck, `""` where it did not; None where none was to be tried.
        """
        answer: str | None = None
        for turn in turns:
            async with self._slots:
                fate, lines = await self._send_one(turn, self._order.is_kept_back(lane))
            if fate in STAYS_OPEN:
                self._order.keep_back(lane)
            if fate is not Fate.PAUSED and lines is not KEPT_BACK:
                answer = lines[0] if fate is Fate.LEFT_OPEN else ""
            count = counts.get(Place.of(turn.letter.record), NONE)
            self._said(Said(turn.found, fate, lines, NONE if fate in STAYS_OPEN else count))
        return answer

    async def _send_one(self, turn: _Turn, is_kept_back: bool) -> tuple[Fate, Sequence[str]]:
        place = turn.found.place
        if self._closing.is_full(place, early=turn.early):
            self._full = place
        fate, lines = Fate.LEFT_OPEN, NOT_BEGUN
        if is_kept_back:
            lines = KEPT_BACK
        elif not self._full:
            fate, lines = await self._sender.send(turn.letter)
        if fate not in STAYS_OPEN:
            await self._closing.close(place, early=turn.early)
        elif turn.early:
            self._told_early.add(place)
        else:
            self._closing.leave(place)
        return fate, lines
