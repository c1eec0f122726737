"""Ids that producers use again, told from events that Kafka delivers again."""

from hypothesis import given
from hypothesis import strategies as st

from service.events.reuse import IdsSeen
from tests.unit.records import event, record


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5)), max_size=30))
def test_an_id_is_used_again_where_it_comes_in_another_record_than_at_first(
    arrivals: list[tuple[str, int]],
) -> None:
    seen, first = IdsSeen(), dict[str, int]()
    for id_, offset in arrivals:
        before = first.setdefault(id_, offset)
        expected = None if before == offset else str(record(before))
        assert seen.earlier(event(id=id_, of=record(offset))) == expected


def test_only_the_newest_ids_are_remembered() -> None:
    seen = IdsSeen(remembered=2)
    for offset, id_ in enumerate("abc"):
        seen.earlier(event(id=id_, of=record(offset)))
    assert seen.earlier(event(id="b", of=record(9))) == str(record(1))
    assert seen.earlier(event(id="a", of=record(9))) is None
