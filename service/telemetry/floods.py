"""A flood: within a minute, too large a share of what was handled became letters or parks."""

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping

WINDOW_SECONDS = 60
SHARE = 0.1
LEAST = 20
"""Fewer than this are no flood, whatever their share: a quiet topic may have one letter of one record."""

WATCHED: Mapping[str, str] = {"letters": "dead-lettered", "parks": "parked"}
"""What may come as a flood, and the kind of outcome that tells of it."""


class Floods:
    """Counts outcomes of the last minute.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seconds: deque[tuple[int, Counter[str]]] = deque(maxlen=WINDOW_SECONDS)

    def note(self, kind: str) -> None:
        """Count one outcome."""
        second = int(self._clock())
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append((second, Counter()))
        self._seconds[-1][1][kind] += 1

    def now(self) -> dict[str, bool]:
        """Of each thing that is watched, whether it floods now."""
        first = int(self._clock()) - WINDOW_SECONDS + 1
        lately = Counter[str]()
        for second, counts in self._seconds:
            if second >= first:
                lately.update(counts)
        many = SHARE * lately.total()
        return {what: lately[kind] >= LEAST and lately[kind] > many for what, kind in WATCHED.items()}
