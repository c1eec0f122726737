"""Which offsets of a partition are done, and so how far it may be committed."""

from collections.abc import Iterable

from service.intake.offset_map import LIMIT_BYTES, encode
from service.kafka.record import Commit

BRAKE_BYTES = LIMIT_BYTES * 3 // 4
"""From this size of the map on, a partition is not read further: beyond the limit it would not fit."""

BRAKE_SPAN = 50_000
"""From how far behind the last finished record an unfinished one stops the reading: the map of a longer
span takes more than 20 ms to make, each second."""


class OffsetTracker:
    """Tracks one partition for one assignment; records finish in any order.

    Gaps between offsets are normal (compaction, transaction markers) and never filled in.

    Args:
        ahead: Finished offsets beyond the one that the assignment starts at, from an earlier commit.
        start: That one; without it nothing is committed before something was received.
    """

    def __init__(self, ahead: Iterable[int] = (), start: int | None = None) -> None:
        self._unfinished: dict[int, None] = {}  # in the order received, which is offset order
        self._finished = set(ahead)
        self._next = start
        self._stored: Commit | None = None
        self._latest: Commit | None = None  # None where something has happened since it was made
        self._map_bytes = 0
        self._span = 0

    @property
    def unfinished(self) -> Iterable[int]:
        """Offsets received and not finished, in ascending order."""
        return self._unfinished.keys()

    @property
    def point(self) -> int:
        """The lowest offset that is not known to be done; 0 where nothing is known at all."""
        return next(iter(self._unfinished), self._next or 0)

    @property
    def finished_ahead(self) -> int:
        """How many are done beyond the first that is not; exact as of the last `to_commit`."""
        return len(self._finished) if self._unfinished else 0

    @property
    def map_bytes(self) -> int:
        """How large the map was when it was last made, before any of it was cut."""
        return self._map_bytes

    @property
    def braked(self) -> bool:
        """Whether so much is finished out of order that no more should be read.

        Never while nothing is in flight: reading on passes what an earlier assignment finished far ahead.
        """
        return bool(self._unfinished) and (self._map_bytes > BRAKE_BYTES or self._span > BRAKE_SPAN)

    def receive(self, offset: int) -> bool:
        """Note that `offset` was delivered; False if it needs no handling.

        That is so when it was delivered before in this assignment, or finished in an earlier one.
        """
        if self._next is not None and offset < self._next:
            return False
        self._next, self._latest = offset + 1, None
        if offset in self._finished:
            return False
        self._unfinished[offset] = None
        return True

    def finish(self, offset: int) -> None:
        """Mark `offset` done: each command it led to is durable.

        Raises:
            KeyError: `offset` is not in flight.
        """
        del self._unfinished[offset]
        self._finished.add(offset)
        self._latest = None

    def finish_early(self, offset: int) -> None:
        """Mark `offset` done before it is delivered; when it is, it needs no handling."""
        self._finished.add(offset)
        self._latest = None

    def is_finished(self, offset: int) -> bool:
        """Whether `offset`, which was delivered or lies before all that were, is done."""
        return offset in self._finished or offset < self.point

    def to_commit(self) -> Commit | None:
        """What may be stored, or None if that is nothing new; offset and map from one snapshot.

        The offset is the lowest unfinished one; with none unfinished, the one after the last that
        was received. The map holds what is finished beyond it.

        Source: commitSync in the KafkaConsumer Javadoc (commit last processed + 1).
        """
        if self._next is None:
            return None
        # Made once only: a pause leaves long maps, which take milliseconds each, standing for hours.
        self._latest = self._latest or self._made()
        return self._latest if self._latest != self._stored else None

    def stored(self, commit: Commit) -> None:
        """Note that `commit` was stored."""
        self._stored = commit

    def _made(self) -> Commit:
        point = self.point
        self._finished = {offset for offset in self._finished if offset >= point}
        return Commit(point, self._map(point))

    def _map(self, point: int) -> str:
        text = encode(point, self._finished)
        self._map_bytes = len(text)
        kept = sorted(self._finished)
        self._span = kept[-1] - point if kept else 0
        while len(text) > LIMIT_BYTES:
            # Less is known after a crash then, which costs repeats.
            kept = kept[: len(kept) // 2]
            text = encode(point, kept)
        return text
