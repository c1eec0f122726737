"""Which part of a topic is tried: its newest records, or those that were written since some moment."""

from collections.abc import Mapping
from typing import Protocol

from service.kafka.record import Partition

LATEST_MS = 1 << 47
"""No record has such a timestamp: it is in the year 6429."""

Held = Mapping[Partition, range]


class TimeIndex(Protocol):
    """Knows where in partitions a time begins."""

    async def since(self, held: Held, timestamp_ms: int) -> Held:
        """Of each partition, what `held` has from the first record on with that timestamp or a later one."""
        ...


async def newest(index: TimeIndex, held: Held, count: int) -> Held:
    """The newest `count` offsets of all partitions together; all of them where there are fewer.

    These are what was written from some moment on, by the records' timestamps, the same for all partitions.
    Of that very millisecond only as many as are needed, those of the last partitions.
    """
    # From `early` on there are at least as many, from `late` on there are fewer.
    early, late = 0, LATEST_MS
    from_early: Held = held
    from_late: Held = {partition: offsets[:0] for partition, offsets in held.items()}
    while _size(from_early) > count and late - early > 1:
        middle = (early + late) // 2
        found = await index.since(held, middle)
        if _size(found) < count:
            late, from_late = middle, found
        else:
            early, from_early = middle, found
    return _without_oldest(from_early, from_late, _size(from_early) - count)


def _without_oldest(from_early: Held, from_late: Held, surplus: int) -> Held:
    kept: dict[Partition, range] = {}
    for partition, offsets in from_early.items():
        leave_out = max(0, min(surplus, len(offsets) - len(from_late[partition])))
        kept[partition] = offsets[leave_out:]
        surplus -= leave_out
    return kept


def _size(held: Held) -> int:
    return sum(map(len, held.values()))
