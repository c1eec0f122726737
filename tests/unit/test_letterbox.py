"""What lies open in a letter topic, and which letters are meant."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import ConfigurationError, DecodeError
from service.failures.letters import letter_group
from service.intake.offset_map import encode
from service.kafka.record import NO_PARTITION, Commit, Partition
from service.redrive import letterbox as letterbox_module
from service.redrive.choosing import Choice
from service.redrive.letterbox import Place, Repeats, open_letterbox
from service.redrive.picking import Picking
from tests.unit.letter_world import GROUP, LETTERS, FakeKafka, change, fact, found_at, lying
from tests.unit.records import record

P0 = Partition(LETTERS, 0)


async def opened(kafka: FakeKafka) -> list[Place]:
    """Places of all that lies open."""
    return [found.place async for found in (await open_letterbox(kafka, GROUP)).walk()]


async def picked(kafka: FakeKafka, choice: Choice) -> list[int]:
    """The offsets of all that is meant."""
    walk = Picking(await open_letterbox(kafka, GROUP), choice).walk()
    return [one.found.place.offset async for one in walk if one.meant]


async def test_all_letters_lie_open_until_something_is_committed() -> None:
    kafka = FakeKafka(partitions=2)
    await kafka.give_up(fact(1), fact(2, partition=1), fact(3))
    assert await opened(kafka) == [lying(0), lying(1), lying(0, partition=1)]


@given(st.integers(0, 9), st.sets(st.integers(0, 9)))
async def test_what_is_committed_or_in_the_map_does_not_lie_open(point: int, finished: set[int]) -> None:
    kafka = FakeKafka()
    await kafka.give_up(*map(fact, range(10)))
    beyond = {offset for offset in finished if offset >= point}
    kafka.commits[letter_group(GROUP)][P0] = Commit(point, encode(point, beyond))
    letterbox = await open_letterbox(kafka, GROUP)
    still_open = [found.place.offset async for found in letterbox.walk()]
    assert still_open == [offset for offset in range(point, 10) if offset not in beyond]
    assert letterbox.lag == len(still_open)


async def test_letters_that_the_topic_has_forgotten_are_not_looked_for() -> None:
    kafka = FakeKafka()
    await kafka.give_up(*map(fact, range(10)))
    del kafka.topics[P0][:4]
    kafka.commits[letter_group(GROUP)][P0] = Commit(2, encode(2, {3, 5}))
    letterbox = await open_letterbox(kafka, GROUP)
    assert letterbox.standings[P0].offsets == range(4, 10)
    assert [place.offset for place in await opened(kafka)] == [4, 6, 7, 8, 9]


async def test_a_commit_that_is_not_ours_is_refused_since_discarded_letters_would_come_back() -> None:
    kafka = FakeKafka()
    await kafka.give_up(fact())
    kafka.commits[letter_group(GROUP)][P0] = Commit(0, "someone else's")
    with pytest.raises(ConfigurationError, match="did another tool commit"):
        await open_letterbox(kafka, GROUP)


async def test_a_commit_beyond_the_end_is_refused_since_new_letters_would_not_be_seen() -> None:
    kafka = FakeKafka()
    await kafka.give_up(fact())
    kafka.commits[letter_group(GROUP)][P0] = Commit(1)
    assert await opened(kafka) == []
    kafka.commits[letter_group(GROUP)][P0] = Commit(2)
    with pytest.raises(ConfigurationError, match="was the topic made anew"):
        await open_letterbox(kafka, GROUP)


async def test_letters_that_come_and_are_closed_while_it_is_opened_are_no_commit_beyond_the_end() -> None:
    kafka = FakeKafka()
    await kafka.give_up(fact(1))
    committed = kafka.committed

    async def late(group: str, partitions: Iterable[Partition]) -> Mapping[Partition, Commit]:
        await kafka.give_up(fact(2), fact(3))
        kafka.commits[group][P0] = Commit(2)
        return await committed(group, partitions)

    kafka.committed = late  # type: ignore[method-assign]
    assert await opened(kafka) == [lying(2)]


async def test_a_record_that_is_no_letter_lies_there_as_what_it_is() -> None:
    kafka = FakeKafka()
    kafka.topics[P0].append(record(0, topic=LETTERS, value=b"\xff"))
    await kafka.give_up(fact())
    foreign, ours = [found async for found in (await open_letterbox(kafka, GROUP)).walk()]
    assert (foreign.letter, foreign.lies.value) == (None, b"\xff")
    assert ours.letter is not None


async def test_what_lies_at_a_place_is_found_also_when_it_is_closed() -> None:
    kafka = FakeKafka()
    await kafka.give_up(fact(7))
    kafka.commits[letter_group(GROUP)][P0] = Commit(1)
    letterbox = await open_letterbox(kafka, GROUP)
    found = await letterbox.at(lying(0))
    assert found is not None
    assert found.letter is not None
    assert found.letter.record == fact(7)
    assert await letterbox.at(lying(1)) is None
    assert await letterbox.at(lying(0, partition=5)) is None


# --- repeats ---


async def test_a_letter_written_again_after_a_crash_is_told_as_a_repeat_of_the_first() -> None:
    kafka = FakeKafka()
    await kafka.give_up(fact(1), fact(2), fact(1), fact(1))
    await kafka.give_up(fact(1), route="second")
    await kafka.give_up(fact(1, partition=1))
    walk = Picking(await open_letterbox(kafka, GROUP), Choice()).walk()
    assert [one.repeat_of async for one in walk] == [None, None, lying(0), lying(0), None, None]


async def test_a_record_that_lies_where_another_lay_before_its_topic_was_made_anew_is_no_repeat() -> None:
    kafka = FakeKafka()
    before = fact(1)
    await kafka.give_up(before, replace(before, timestamp_ms=before.timestamp_ms + 1))
    assert await picked(kafka, Choice()) == [0, 1]


async def test_repeats_are_recognised_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letterbox_module, "REMEMBERED", 3)
    kafka = FakeKafka()
    await kafka.give_up(*map(fact, [1, 2, 3, 2, 4, 1, 4]))
    repeats = Repeats()
    walk = (await open_letterbox(kafka, GROUP)).walk()
    firsts = [repeats.first(found) async for found in walk]
    assert firsts == [None, None, None, lying(1), None, None, lying(4)]


# --- filters ---

CASES = {
    "everything": (Choice(), [0, 1, 2, 3]),
    "a record": (Choice(places=frozenset([Place(Partition("shop.orders", 0), 11)])), [1]),
    "a letter": (Choice(places=frozenset([lying(2)])), [2]),
    "two places": (Choice(places=frozenset([lying(2), Place(Partition("shop.orders", 0), 11)])), [1, 2]),
    "reason": (Choice(reason="NO JSON"), [2]),
    "stage": (Choice(stage="decode"), [2]),
    "route": (Choice(route="second"), [1]),
    "type": (Choice(type="placed"), [0, 1, 2, 3]),
    "key": (Choice(key=b"\xff"), [3]),
    "both must hold": (Choice(route="first", key=b"A-1"), [0]),
    "since": (Choice(since=datetime(2026, 1, 2, tzinfo=UTC)), [1, 2, 3]),
    "until": (Choice(until=datetime(2026, 1, 2, tzinfo=UTC)), [0]),
    "no match": (Choice(route="third"), []),
}


@pytest.mark.parametrize(("choice", "expected"), CASES.values(), ids=CASES)
async def test_a_letter_is_meant_if_all_holds_that_is_asked_for(choice: Choice, expected: list[int]) -> None:
    kafka = FakeKafka()
    await kafka.give_up(fact(10))
    await kafka.give_up(fact(11), route="second")
    await kafka.give_up(fact(12), route="", error=DecodeError("is no JSON"))
    await kafka.give_up(fact(13, key=b"\xff"))
    for offset, day in enumerate(["01", "02", "03", "04"]):
        change(kafka, lying(offset), failed_at=f"2026-01-{day}T00:00:00+00:00")
    assert await picked(kafka, choice) == expected


async def test_the_type_of_an_event_that_was_not_decoded_is_that_of_its_header() -> None:
    kafka = FakeKafka()
    await kafka.give_up(fact(1, type="cancelled"), fact(2))
    for offset in (0, 1):
        change(kafka, lying(offset), event_type="")
    assert await picked(kafka, Choice(type="cancelled")) == [0]


async def test_what_is_no_letter_is_meant_by_its_own_place_alone() -> None:
    kafka = FakeKafka()
    kafka.topics[P0].append(record(0, topic=LETTERS))
    await kafka.give_up(fact())
    assert await picked(kafka, Choice(places=frozenset([lying(0)]))) == [0]
    assert await picked(kafka, Choice()) == [1]


async def test_a_repeat_shares_the_fate_of_the_first_whatever_is_asked_for() -> None:
    kafka = FakeKafka()
    await kafka.give_up(fact(1), fact(1))
    later = found_at(kafka, lying(0)).letter
    assert later is not None
    change(kafka, lying(1), failed_at=(later.failed_at + timedelta(days=1)).isoformat())
    choice = replace(Choice(), since=later.failed_at + timedelta(hours=1))
    assert await picked(kafka, choice) == []


@pytest.mark.parametrize("form", ["shop.orders/{}/{}", "shop.orders[{}]@{}"])
def test_a_place_is_any_that_kafka_could_have_and_that_of_what_came_by_no_topic(form: str) -> None:
    for partition, offset in ((0, 0), (NO_PARTITION, 1839105512568015872), (7, (1 << 63) - 1)):
        place = Place.meant_by(form.format(partition, offset))
        assert place == Place(Partition("shop.orders", partition), offset)
        assert place.is_in_kafka == (partition != NO_PARTITION)
    for partition, offset in ((0, 1 << 63), (1 << 31, 0), (-1, 0)):
        assert Place.meant_by(form.format(partition, offset)) is None
