"""Letters by the hundred thousand: looked at, surveyed and discarded in bounded memory."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest

from service.errors import ConfigurationError
from service.failures.letters import letter_group
from service.kafka.record import Headers, Partition, Record
from service.redrive.choosing import Choice
from service.redrive.closing import Closing
from service.redrive.counting import Counts
from service.redrive.discarding import discard
from service.redrive.letterbox import open_letterbox
from service.redrive.order import Order
from service.redrive.picking import Picking
from tests.unit.letter_world import GROUP, LETTERS, FakeKafka, fact

P0 = Partition(LETTERS, 0)
MANY = int(os.environ.get("TURNOUT_TEST_LETTERS", "200000"))
BOUND_BYTES = 64 << 20
"""What the process may grow by. All of them in memory would take some 600 MB, a number for each 30."""


class ManyLetters(FakeKafka):
    """A letter topic that is made while it is read; notes how large the process gets meanwhile."""

    def __init__(self, key: Callable[[int], bytes]) -> None:
        super().__init__()
        self._key = key
        self._before = _resident_bytes()
        self.grown_bytes = 0

    async def make(self) -> None:
        """Learn what a letter looks like, from one."""
        await self.give_up(fact(0))
        (self._first,) = self.topics[P0]
        names = [name for name, _ in self._first.headers]
        self._at = names.index("__dlq.errors.offset")

    async def extents(self, topic: str) -> Mapping[Partition, range]:
        assert topic == LETTERS
        return {P0: range(MANY)}

    async def read(self, _partition: Partition, offsets: range) -> AsyncIterator[Record]:
        first, at = self._first, self._at
        for offset in offsets:
            number: Headers = (("__dlq.errors.offset", str(offset).encode()),)
            headers = (*first.headers[:at], *number, *first.headers[at + 1 :])
            yield Record(*P0, offset, self._key(offset), first.value, headers, 0)
            if offset % 5_000 == 0:
                self.grown_bytes = max(self.grown_bytes, _resident_bytes() - self._before)


async def many(key: Callable[[int], bytes] = lambda n: str(n).encode()) -> ManyLetters:
    kafka = ManyLetters(key)
    await kafka.make()
    return kafka


async def test_many_letters_are_counted_and_filtered_in_bounded_memory() -> None:
    kafka, counts = await many(), Counts()
    async for one in Picking(await open_letterbox(kafka, GROUP), Choice(reason="too large")).walk():
        if one.letter:
            counts.add(one.letter)
    assert counts.letters == MANY
    assert kafka.grown_bytes < BOUND_BYTES


async def test_many_letters_of_as_many_keys_are_surveyed_for_their_order_in_bounded_memory() -> None:
    kafka = await many()
    with Order() as order:
        async for one in Picking(await open_letterbox(kafka, GROUP), Choice()).walk():
            if one.letter:
                order.note(one.letter.record, one.found.place)
        assert order.behind() == {}
    assert kafka.grown_bytes < BOUND_BYTES


async def test_many_letters_are_discarded_in_bounded_memory_and_never_more_than_is_remembered() -> None:
    kafka = await many(lambda n: b"a" if n < MANY // 2 else b"b")
    with pytest.raises(ConfigurationError, match="the oldest first"):
        await _discard(kafka, Choice(key=b"b"))
    await _discard(kafka, Choice(key=b"a"))
    assert kafka.commits[letter_group(GROUP)][P0].offset > MANY // 2
    await _discard(kafka, Choice())
    assert kafka.commits[letter_group(GROUP)][P0].offset == MANY
    assert kafka.grown_bytes < BOUND_BYTES


async def _discard(kafka: FakeKafka, choice: Choice) -> None:
    letterbox = await open_letterbox(kafka, GROUP)
    picking, closing = Picking(letterbox, choice), Closing(kafka, letterbox)
    await discard(picking, closing, said=lambda _said: None, stop=asyncio.Event())


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
