"""Which letters lie behind later ones of their key, and what a letter comes after."""

from collections import defaultdict
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import ConfigurationError
from service.failures.letters import letter_group
from service.kafka.record import Commit, Partition
from service.redrive import later as later_module
from service.redrive import order as order_module
from service.redrive.later import Later, LaterRecords
from service.redrive.letterbox import Place, open_letterbox
from service.redrive.order import Order
from tests.unit.letter_world import GROUP, FakeKafka, fact, lying

ORDERS = Partition("shop.orders", 0)


def behind(order: Order) -> set[Place]:
    return {one.place for lane in order.behind().values() for one in lane}


@given(
    st.lists(st.tuples(st.sampled_from([b"a", b"b", None, b""]), st.integers(0, 1), st.integers(0, 9))),
)
def test_a_letter_lies_behind_if_one_of_a_later_record_of_its_lane_came_first(
    walked: list[tuple[bytes | None, int, int]],
) -> None:
    highest: defaultdict[tuple[bytes | None, int], int] = defaultdict(lambda: -1)
    expected = set()
    with Order() as order:
        for n, (key, partition, offset) in enumerate(walked):
            order.note(fact(offset, key=key, partition=partition), lying(n))
            lane = (key, partition)
            if offset < highest[lane]:
                expected.add(lying(n))
            highest[lane] = max(offset, highest[lane])
        assert behind(order) == expected


def test_those_of_one_lane_come_in_the_order_of_their_records() -> None:
    with Order() as order:
        for n, offset in enumerate([9, 5, 3, 7, 3]):
            order.note(fact(offset), lying(n))
        (lane,) = order.behind().values()
    assert [(one.record_offset, one.place.offset) for one in lane] == [(3, 2), (3, 4), (5, 1), (7, 3)]


def test_in_a_topic_ordered_by_partition_keys_make_no_difference() -> None:
    with Order(by_partition={"shop.stock"}) as order:
        order.note(fact(9, topic="shop.stock", key=b"a"), lying(0))
        order.note(fact(5, topic="shop.stock", key=b"b"), lying(1))
        order.note(fact(9, topic="shop.orders", key=b"a"), lying(2))
        order.note(fact(5, topic="shop.orders", key=b"b"), lying(3))
        assert behind(order) == {lying(1)}


def test_too_many_are_refused_rather_than_kept_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order_module, "MOST_BEHIND", 3)
    with Order() as order:
        for n, offset in enumerate([9, 1, 2, 3]):
            order.note(fact(offset), lying(n))
        assert len(behind(order)) == 3
        order.note(fact(4), lying(4))
        with pytest.raises(ConfigurationError, match="send fewer at once"):
            order.behind()


# --- later records ---


async def later(
    kafka: FakeKafka, *offsets: int, key: bytes = b"A-1", topic: str = "shop.orders"
) -> list[str]:
    """What is said of letters of these records."""
    counting = LaterRecords(kafka, GROUP, {"shop.stock"})
    await kafka.give_up(*(fact(offset, key=key, topic=topic) for offset in offsets))
    letters = [found.letter async for found in (await open_letterbox(kafka, GROUP)).walk() if found.letter]
    counts: Mapping[Place, Later] = await counting.count(letters)
    return [str(counts[Place.of(letter.record)]) for letter in letters]


def handled(kafka: FakeKafka, upto: int, *keys: bytes, topic: str = "shop.orders") -> None:
    """Records 0, 1, … with these keys in turn, of which those before `upto` are handled."""
    partition = Partition(topic, 0)
    kafka.topics[partition] = [fact(n, key=keys[n % len(keys)], topic=topic) for n in range(20)]
    kafka.commits[GROUP][partition] = Commit(upto)


async def test_later_records_of_the_key_that_the_group_has_handled_are_counted() -> None:
    kafka = FakeKafka()
    handled(kafka, 10, b"A-1", b"B-2")
    assert await later(kafka, 2, 6, 9, 15) == [
        "3 later records of its key are handled already",
        "1 later records of its key are handled already",
        "",
        "",
    ]


async def test_where_the_partition_is_ordered_every_later_record_counts() -> None:
    kafka = FakeKafka()
    handled(kafka, 10, b"a", b"b", topic="shop.stock")
    assert await later(kafka, 4, key=b"z", topic="shop.stock") == [
        "5 later records of its key are handled already"
    ]


async def test_counting_reads_a_bounded_number_of_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(later_module, "MOST_RECORDS", 5)
    monkeypatch.setattr(later_module, "LEAST_RECORDS", 2)
    kafka = FakeKafka()
    handled(kafka, 20, b"A-1")
    assert await later(kafka, 1) == ["at least 5 later records of its key are handled already"]
    kafka.reads.clear()
    await later(kafka, 8, 9, 17)
    assert [len(offsets) for place, offsets in kafka.reads if place == ORDERS] == [2, 2, 2]


async def test_letters_close_together_share_what_is_read() -> None:
    kafka = FakeKafka()
    handled(kafka, 20, b"A-1")
    assert [text[:2] for text in await later(kafka, *range(10))] == [f"{19 - n:<2}" for n in range(10)]
    assert len([place for place, _ in kafka.reads if place == ORDERS]) == 1


async def test_where_the_group_has_committed_nothing_or_the_topic_has_gone_nothing_is_counted() -> None:
    kafka = FakeKafka()
    assert await later(kafka, 1) == [""]
    handled(kafka, 10, b"A-1")
    kafka.commits.pop(GROUP)
    assert await later(kafka, 1) == ["", ""]
    assert letter_group(GROUP) == "shop.letters"
