"""Batches that the client cannot read: their records are handed out from here.

The client reads batches from their beginning, whatever the offset, so one record that it cannot read hides
all that lies behind it in the same batch.
"""

from collections import deque
from collections.abc import Mapping

from service.kafka.given_up import GivenUp, how_to_give_up
from service.kafka.raw import Batch
from service.kafka.record import Partition, Record
from service.kafka.stopped import Stop


class UnreadableBatches:
    """What is left of such batches in one assignment, at most one per partition.

    Args:
        given_up: Says which of the records that the client cannot read may be handed out.
    """

    def __init__(self, given_up: GivenUp) -> None:
        self._given_up = given_up
        self._left: dict[Partition, tuple[deque[Record], frozenset[int]]] = {}

    def __contains__(self, partition: Partition) -> bool:
        return partition in self._left

    @property
    def stops(self) -> Mapping[Partition, Stop]:
        """Where a person must give up on a record before those behind it come."""
        return {
            partition: _stop_at(records[0])
            for partition, (records, unreadable) in self._left.items()
            if self._holds(records[0], unreadable)
        }

    def put(self, partition: Partition, batch: Batch) -> None:
        """Hand out the records of `batch` from now on; the client is to read on behind it."""
        if batch.records:
            self._left[partition] = (deque(batch.records), batch.unreadable)

    def take(self, partition: Partition, limit: int) -> list[Record]:
        """Up to `limit` further records, up to one that the client cannot read and nobody gave up on."""
        records, unreadable = self._left.get(partition, (deque[Record](), frozenset()))
        taken: list[Record] = []
        while records and len(taken) < limit and not self._holds(records[0], unreadable):
            taken.append(records.popleft())
        if not records:
            self.remove(partition)
        return taken

    def remove(self, partition: Partition) -> None:
        """Forget what is left of `partition`."""
        self._left.pop(partition, None)

    def clear(self) -> None:
        """Forget all: the assignment is over."""
        self._left.clear()

    def _holds(self, record: Record, unreadable: frozenset[int]) -> bool:
        return record.offset in unreadable and not self._given_up.of(record)


def _stop_at(record: Record) -> Stop:
    cure = how_to_give_up(record.topic, record.partition, record.offset)
    return Stop(
        record.offset,
        f"the client cannot read the record at offset {record.offset}, since the name of a header is not "
        f"UTF-8; give up on it: {cure}",
    )
