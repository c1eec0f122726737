"""Which offsets of a partition are done, and so how far it may be committed."""

from collections.abc import Iterable


class OffsetTracker:
    """Tracks one partition for one assignment; records finish in any order.

    Gaps between offsets are normal (compaction, transaction markers) and never filled in.
    """

    def __init__(self) -> None:
        self._unfinished: dict[int, None] = {}  # in the order received, which is offset order
        self._next: int | None = None
        self._highest_finished = -1
        self._committed: int | None = None

    @property
    def unfinished(self) -> Iterable[int]:
        """Offsets received and not finished, in ascending order."""
        return self._unfinished.keys()

    def receive(self, offset: int) -> bool:
        """Note that `offset` was delivered; False if it was before, in this assignment."""
        if self._next is not None and offset < self._next:
            return False
        self._next = offset + 1
        self._unfinished[offset] = None
        return True

    def finish(self, offset: int) -> None:
        """Mark `offset` done: each command it led to is durable.

        Raises:
            KeyError: `offset` is not in flight.
        """
        del self._unfinished[offset]
        self._highest_finished = max(self._highest_finished, offset)

    def to_commit(self) -> int | None:
        """The offset of the next record to read, or None if nothing new may be committed.

        The lowest unfinished offset, or the one after the highest *finished* one. Never what was
        merely seen: that would lose what is in flight.

        Source: commitSync in the KafkaConsumer Javadoc (commit last processed + 1).
        """
        if self._highest_finished < 0:
            return None
        point = next(iter(self._unfinished), self._highest_finished + 1)
        return point if self._committed is None or point > self._committed else None

    def committed(self, offset: int) -> None:
        """Note that `offset` was stored as the next one to read."""
        self._committed = offset
