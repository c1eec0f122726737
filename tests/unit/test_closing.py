"""Which letters are done with: remembered through any pattern of leaving and closing, or refused."""

import random
import tracemalloc
from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from hypothesis import given, settings
from hypothesis import strategies as st

from service.failures.letters import letter_group
from service.intake.offset_map import decode
from service.kafka.record import Commit, Partition
from service.redrive.closing import STORE_LETTERS, Closing
from service.redrive.letterbox import Letterbox, Place, Standing
from tests.unit.letter_world import GROUP, LETTERS, FakeKafka, lying

P0 = Partition(LETTERS, 0)


def letterbox(kafka: FakeKafka, end: int = 1 << 20) -> Letterbox:
    """A letterbox of so many letters, of which nothing but the offsets is looked at."""
    commit = kafka.commits[letter_group(GROUP)].get(P0, Commit(0))
    closed = decode(commit.offset, commit.metadata)
    return Letterbox(kafka, {P0: Standing(commit, range(commit.offset, end), closed)})


async def begun(kafka: FakeKafka) -> Closing:
    closing = Closing(kafka, letterbox(kafka))
    await closing.store()
    return closing


def stored(kafka: FakeKafka) -> tuple[int, AbstractSet[int]]:
    """The commit point, and what is closed beyond."""
    commit = kafka.commits[letter_group(GROUP)][P0]
    return commit.offset, decode(commit.offset, commit.metadata)


async def close(closing: Closing, *offsets: int) -> None:
    for offset in offsets:
        assert closing.take(lying(offset))
        await closing.close(lying(offset))


async def test_what_is_closed_in_a_row_moves_the_commit_point() -> None:
    kafka = FakeKafka()
    closing = await begun(kafka)
    await close(closing, 0, 1, 2)
    await closing.store()
    assert stored(kafka) == (3, frozenset())


async def test_the_commit_point_never_passes_what_stays_open() -> None:
    kafka = FakeKafka()
    closing = await begun(kafka)
    await close(closing, 0)
    closing.leave(lying(1))
    await close(closing, 2)
    closing.leave(lying(3))
    await close(closing, 4)
    await closing.store()
    assert stored(kafka) == (1, {2, 4})


async def test_what_was_taken_and_could_not_be_done_stays_open() -> None:
    kafka = FakeKafka()
    closing = await begun(kafka)
    assert closing.take(lying(0))
    await close(closing, 1)
    closing.leave(lying(0))
    await closing.store()
    assert stored(kafka) == (0, {1})
    assert [closing.is_closed(lying(offset)) for offset in (0, 1)] == [False, True]


async def test_what_lies_before_the_commit_point_is_known_to_be_closed() -> None:
    closing = await begun(FakeKafka())
    await close(closing, 0, 1)
    await closing.store()
    assert [closing.is_closed(lying(offset)) for offset in (0, 1, 2)] == [True, True, False]


async def test_what_is_closed_before_its_turn_is_remembered_and_not_taken_again() -> None:
    kafka = FakeKafka()
    closing = await begun(kafka)
    await closing.close(lying(7), early=True)
    await closing.store()
    assert stored(kafka) == (0, {7})
    await close(closing, *range(7))
    assert not closing.take(lying(7))
    closing.leave(lying(7))  # it is closed all the same
    await closing.store()
    assert stored(kafka) == (8, frozenset())
    closing.leave(lying(8))
    await close(closing, 9)
    await closing.store()
    assert stored(kafka) == (8, {9})


async def test_it_is_stored_soon_and_not_only_in_the_end() -> None:
    kafka = FakeKafka()
    closing = await begun(kafka)
    await close(closing, *range(STORE_LETTERS))
    assert stored(kafka) == (STORE_LETTERS, frozenset())


class Walk:
    """Walks through letters by a pattern, run after run, as far as each may go."""

    def __init__(self, closes: Mapping[int, bool]) -> None:
        self.kafka = FakeKafka()
        self.closes = closes
        self.closed: set[int] = set()

    async def run(self) -> bool:
        """Whether it came to the end."""
        closing = Closing(self.kafka, letterbox(self.kafka, len(self.closes)))
        await closing.store()
        point, beyond = stored(self.kafka)
        for offset in range(point, len(self.closes)):
            if offset in beyond:
                continue
            if not self.closes[offset]:
                closing.leave(lying(offset))
            elif closing.is_full(lying(offset)):
                await closing.store()
                return False
            else:
                await close(closing, offset)
                self.closed.add(offset)
        await closing.store()
        return True

    def is_remembered(self) -> bool:
        """Whether all that was closed, and nothing else, is known to be."""
        point, beyond = stored(self.kafka)
        return set(range(point)) | beyond == self.closed | set(range(point))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32), st.floats(0.01, 0.99), st.integers(1, 40))
async def test_nothing_that_is_closed_is_ever_forgotten_however_often_one_goes_on_until_it_is_full(
    seed: int, share: float, most_in_a_row: int
) -> None:
    chance = random.Random(seed)
    pattern: list[bool] = []
    while len(pattern) < 20_000:
        pattern += [chance.random() < share] * chance.randint(1, most_in_a_row)
    walk = Walk(dict(enumerate([False, *pattern])))
    for _ in range(3):
        await walk.run()
        assert walk.is_remembered()
        assert stored(walk.kafka)[0] == 0  # the first stays open


async def test_it_is_full_before_it_forgets_and_goes_on_once_the_oldest_are_closed() -> None:
    chance = random.Random(7)  # no pattern, so that it does not compress well
    walk = Walk({offset: offset > 0 and chance.random() < 0.5 for offset in range(200_000)})
    assert not await walk.run()
    before = len(walk.closed)
    assert not await walk.run()
    assert len(walk.closed) == before
    walk.closes = dict.fromkeys(range(200_000), True)
    assert await walk.run()
    assert stored(walk.kafka) == (200_000, frozenset())


async def test_what_is_under_way_when_it_gets_full_is_remembered_too() -> None:
    kafka = FakeKafka()
    closing = await begun(kafka)
    closing.leave(lying(0))
    chance, offset, closed = random.Random(7), 0, set[int]()
    for widest in (2, 9_000):  # densely, then as far apart as costs most
        for _ in range(200):
            under_way = [offset := offset + chance.randint(1, widest) for _ in range(STORE_LETTERS)]
            begins = [one for one in under_way if not closing.is_full(lying(one))]
            await close(closing, *begins)
            closed.update(begins)
    await closing.store()
    assert stored(kafka) == (0, closed)
    assert closing.is_full(lying(offset))


async def test_it_is_full_for_what_is_early_too() -> None:
    kafka = FakeKafka()
    closing = await begun(kafka)
    chance = random.Random(7)
    places = [lying(offset) for offset in range(1, 100_000) if chance.random() < 0.5]
    closed = set[int]()
    for place in places:
        if not closing.is_full(place, early=True):
            await closing.close(place, early=True)
            closed.add(place.offset)
    await closing.store()
    assert stored(kafka) == (0, closed)
    assert len(closed) < len(places)


async def test_who_wanted_to_close_more_is_told_where_the_oldest_are() -> None:
    kafka = FakeKafka()
    closing = await begun(kafka)
    await close(closing, 0, 1)
    closing.leave(lying(2))
    assert f"from {LETTERS}/0/2 on" in closing.why_full(lying(99))


async def test_a_letter_far_ahead_is_not_closed_early_where_the_map_cannot_reach() -> None:
    closing = await begun(FakeKafka())
    assert not closing.is_full(lying(2_000_000), early=True)
    assert closing.is_full(lying(3_000_000), early=True)


async def test_letters_that_nobody_chose_need_no_memory() -> None:
    closing = await begun(FakeKafka())
    closing.leave(lying(0))
    tracemalloc.start()
    try:
        for offset in range(1, 100_000):
            closing.leave(Place(P0, offset))
        now, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert now < 100_000
