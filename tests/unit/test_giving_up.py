"""Saying that one gives up on a record: what is refused, and what is said."""

from collections.abc import Mapping

import pytest

from service.errors import ConfigurationError
from service.intake.offset_map import encode
from service.kafka.given_up import BECAUSE_BYTES, GiveUp, said_by
from service.kafka.outside import Extent
from service.kafka.record import Commit, Partition, Record
from service.redrive.giving_up import GaveUp, find_open, say
from service.redrive.letterbox import Place
from tests.unit.letter_world import FakeKafka
from tests.unit.records import record

P0 = Partition("shop.orders", 0)
HELD = Extent(3, 18, 20)
"""Records 3 to 19; 12 was compacted away, and from 18 on a transaction is open."""


class Sayings:
    """The group that keeps what was said."""

    def __init__(self) -> None:
        self.kept: dict[Partition, Commit] = {}

    async def commits(self) -> Mapping[Partition, Commit]:
        return self.kept

    async def store(self, commits: Mapping[Partition, Commit]) -> None:
        self.kept.update(commits)

    def offsets(self) -> list[int]:
        return [one.offset for one in said_by(self.kept.get(P0))]


@pytest.fixture
def kafka() -> FakeKafka:
    kafka = FakeKafka()
    kafka.topics[P0] = [record(offset) for offset in range(HELD.first, HELD.end) if offset != 12]
    # 10 to 14 are open, but for 13.
    kafka.commits["shop"][P0] = Commit(10, encode(10, [13, 15, 16]))
    return kafka


async def give_up(kafka: FakeKafka, sayings: Sayings, offset: int, because: str = "no use") -> GaveUp:
    found = await find_open(kafka, "shop", Place(P0, offset), HELD)
    return await say(sayings, found, "ada", because)


@pytest.mark.parametrize(("offset", "first"), [(10, True), (11, False), (14, False), (17, False)])
async def test_any_record_that_is_not_done_can_be_given_up(
    kafka: FakeKafka, offset: int, first: bool
) -> None:
    sayings = Sayings()
    gave_up = await give_up(kafka, sayings, offset)
    assert (gave_up.said, gave_up.before) == (GiveUp.on(record(offset), "ada", "no use"), None)
    assert gave_up.open.is_first is first
    assert sayings.offsets() == [offset]


@pytest.mark.parametrize(
    ("offset", "said"),
    [
        (9, "shop.orders/0/9 is done: group shop goes on at offset 10"),
        (13, "shop.orders/0/13 is done"),
        (2, "shop.orders/0/2 is done"),
        (12, "there is no record at shop.orders/0/12: it was compacted away"),
        (18, "waits for the end of a transaction"),
        (19, "what lies from offset 18 on in shop.orders[0] waits for the end"),
        (20, "offset 20 is not in shop.orders[0] yet (it holds 3 to 19)"),
    ],
)
async def test_what_cannot_be_meant_is_refused_with_what_to_do_instead(
    kafka: FakeKafka, offset: int, said: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        await give_up(kafka, Sayings(), offset)
    assert said in str(refused.value)


async def test_one_that_has_expired_is_a_matter_of_seeking(kafka: FakeKafka) -> None:
    kafka.commits["shop"][P0] = Commit(1)
    with pytest.raises(ConfigurationError, match=r"turnout seek shop\.orders/0 --to earliest"):
        await give_up(kafka, Sayings(), 2)


async def test_a_group_that_never_ran_holds_nothing(kafka: FakeKafka) -> None:
    del kafka.commits["shop"][P0]
    with pytest.raises(ConfigurationError, match="is TURNOUT_GROUP the group that you mean"):
        await give_up(kafka, Sayings(), 10)


async def test_a_map_of_another_tool_says_nothing_of_what_is_done(kafka: FakeKafka) -> None:
    kafka.commits["shop"][P0] = Commit(10, "other")
    assert (await give_up(kafka, Sayings(), 13)).said.offset == 13


async def test_several_of_a_partition_are_kept_until_they_are_done(kafka: FakeKafka) -> None:
    sayings = Sayings()
    for offset in (10, 14, 11):
        await give_up(kafka, sayings, offset)
    assert sayings.offsets() == [10, 14, 11]
    kafka.commits["shop"][P0] = Commit(11, encode(11, [14]))
    await give_up(kafka, sayings, 17)
    assert sayings.offsets() == [11, 17]


async def test_said_twice_the_last_one_holds(kafka: FakeKafka) -> None:
    sayings = Sayings()
    await give_up(kafka, sayings, 10, "one reason")
    await give_up(kafka, sayings, 11)
    gave_up = await give_up(kafka, sayings, 10, "a better one")
    assert gave_up.before
    assert (gave_up.before.because, gave_up.said.because) == ("one reason", "a better one")
    assert sayings.offsets() == [11, 10]


async def test_what_no_longer_fits_is_refused_and_what_was_said_stays(kafka: FakeKafka) -> None:
    partition = [record(offset) for offset in range(10, 40)]
    kafka.topics[P0], kafka.commits["shop"][P0] = partition, Commit(10)
    sayings, held = Sayings(), Extent(10, 40, 40)

    async def say_of(one: Record) -> None:
        found = await find_open(kafka, "shop", Place(P0, one.offset), held)
        await say(sayings, found, "ada", "x" * BECAUSE_BYTES)

    for one in partition[:7]:
        await say_of(one)
    kept = sayings.offsets()
    assert kept == [10, 11, 12, 13, 14, 15, 16]
    with pytest.raises(ConfigurationError, match="as much is given up already as fits") as refused:
        await say_of(partition[7])
    assert sayings.offsets() == kept
    assert ", ".join(map(str, kept)) in str(refused.value)
    # Said anew, and once the first is done, it fits.
    await say_of(partition[0])
    kafka.commits["shop"][P0] = Commit(11)
    await say_of(partition[len(kept)])
    assert sayings.offsets() == [*kept[1:], 10 + len(kept)]
