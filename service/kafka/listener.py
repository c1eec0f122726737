"""What the client says of rebalances, and how partitions are parted with."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import structlog
from aiokafka import ConsumerRebalanceListener, TopicPartition

from service.kafka.record import Partition

log = structlog.get_logger(__name__)

Revoked = Callable[[frozenset[Partition]], Awaitable[None]]


class Listener(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka has no types
    """Keeps what the client said of rebalances, until it is `ended`.

    `epoch` counts what it said; `held` is what we have, None while that is being decided; `new` of it waits
    to be taken on.
    """

    def __init__(self, revoked: Revoked) -> None:
        self._revoked = revoked
        self._parting = asyncio.Lock()
        self.ended = False
        self.epoch = 0
        self.held: frozenset[TopicPartition] | None = None
        self.new: frozenset[TopicPartition] = frozenset()
        self._dropped: frozenset[TopicPartition] = frozenset()

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """The client parts with these, which are all that it has."""
        if not self.ended:
            await self._part_with(revoked)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """The client has these now, and no others."""
        if not self.ended:
            self._note("assigned", assigned)
            self.held = self.new = frozenset(assigned)

    async def end(self) -> None:
        """Part with what we have, and listen to the client no more."""
        self.ended = True
        await self._part_with(self.held or ())

    async def part(self) -> None:
        """Part with what we have, as in a rebalance, and go on listening."""
        await self._part_with(self.held or ())

    def drop(self) -> None:
        """Have nothing any more, as the client has, which was told of other topics; it says so later."""
        self._dropped |= self.held or frozenset()
        self.epoch += 1
        self.held, self.new = None, frozenset()

    async def _part_with(self, places: Iterable[TopicPartition]) -> None:
        places, self._dropped = {*places, *self._dropped}, frozenset()
        self._note("revoked", places)
        self.held, self.new = None, frozenset()
        # One after the other: so when this is over, an earlier one is, too.
        async with self._parting:
            try:
                await self._revoked(frozenset(Partition(*place) for place in places))
            except Exception:
                log.exception("rebalance failed")  # the client would swallow it

    def _note(self, what: str, places: Iterable[TopicPartition]) -> None:
        self.epoch += 1
        log.info("rebalance", what=what, partitions=sorted(str(Partition(*place)) for place in places))
