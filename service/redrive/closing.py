"""Which letters are done with, remembered as finished offsets of their group."""

import asyncio
import time
from collections.abc import Mapping
from typing import Protocol

from service.intake.offset_map import LIMIT_BYTES, LONGEST_RANGE
from service.intake.offsets import OffsetTracker
from service.kafka.record import Commit, Partition
from service.redrive.letterbox import Letterbox, Place

FULL_BYTES = LIMIT_BYTES // 2
STORE_LETTERS = 100
"""After so many at the latest it is stored. With as many that may be under way then, they fit into the other
half of the map whatever the pattern: nothing that is closed is ever cut from it."""

STORE_SECONDS = 1.0


class Store(Protocol):
    """Where what is done is stored: one who is alone in the group of the letters."""

    async def store(self, commits: Mapping[Partition, Commit]) -> None:
        """Store `commits`, and return when they are there for certain.

        Raises:
            Unreachable: They may be there or not.
            ConfigurationError: They are not: someone else is at work.
        """
        ...


class Closing:
    """Keeps count of what is closed in one walk through the letters, and stores it.

    `store` comes first: it looks at what there is. Then what lies open is told in the order of the walk, by
    `take` or `leave`; what was taken may be closed in any order. What is not closed in the end stays open.
    """

    def __init__(self, store: Store, letterbox: Letterbox) -> None:
        self._store = store
        self._trackers = {
            partition: OffsetTracker(standing.closed, standing.offsets.start)
            for partition, standing in letterbox.standings.items()
        }
        self._left: dict[Partition, int] = {}
        self._unstored = 0
        self._stored_at = time.monotonic()
        self._storing = asyncio.Lock()

    def take(self, place: Place) -> bool:
        """Whether to do something about what lies there; not if it was closed before its turn."""
        return self._trackers[place.partition].receive(place.offset)

    def leave(self, place: Place) -> None:
        """Let it stay open, also after it was taken."""
        # The first one alone: nothing behind it can be what the commit point waits for, so that the
        # millions that nobody chose need no memory.
        tracker, first = self._trackers[place.partition], self._left.get(place.partition)
        if (first is None or place.offset < first) and not tracker.is_finished(place.offset):
            self._left[place.partition] = place.offset
            tracker.receive(place.offset)

    def is_full(self, place: Place, *, early: bool = False) -> bool:
        """Whether it could not be remembered as closed: too much is, behind letters that stay open.

        Never so before the first of these, unless it is `early`: its turn in the walk has not come.
        """
        tracker = self._trackers[place.partition]
        if early:
            return tracker.map_bytes > FULL_BYTES or place.offset - tracker.point > LONGEST_RANGE // 2
        is_behind = place.offset > self._left.get(place.partition, place.offset)
        return is_behind and (tracker.braked or tracker.map_bytes > FULL_BYTES)

    def why_full(self, place: Place) -> str:
        """What to tell who wanted to close it."""
        oldest = Place(place.partition, self._trackers[place.partition].point)
        return (
            f"no more of {place.partition} can be remembered as done while older letters stay open; send or "
            f"discard the oldest first, from {oldest} on. What was done is kept"
        )

    def is_closed(self, place: Place) -> bool:
        """Whether what lies there, and was walked past, is done with."""
        return self._trackers[place.partition].is_finished(place.offset)

    async def close(self, place: Place, *, early: bool = False) -> None:
        """Note that what lies there is done with; stored soon. `early`: its turn has not come yet."""
        tracker = self._trackers[place.partition]
        if early:
            tracker.finish_early(place.offset)
        else:
            tracker.finish(place.offset)
        self._unstored += 1
        if self._unstored >= STORE_LETTERS or time.monotonic() - self._stored_at > STORE_SECONDS:
            await self.store()

    async def store(self) -> None:
        """Store what is closed; see `Store.store`."""
        async with self._storing:
            commits = {p: commit for p, t in self._trackers.items() if (commit := t.to_commit())}
            self._unstored, self._stored_at = 0, time.monotonic()
            if not commits:
                return
            await self._store.store(commits)
            for partition, commit in commits.items():
                self._trackers[partition].stored(commit)
