import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.intake.offset_map import FARTHEST, LIMIT_BYTES, LONGEST_RANGE, PREFIX, decode, encode

points = st.integers(0, 2**62)
beyond = st.sets(st.integers(0, 30_000), max_size=300)


@given(points, beyond)
def test_what_is_encoded_is_decoded(point: int, ahead: set[int]) -> None:
    finished = {point + n for n in ahead}
    assert decode(point, encode(point, finished)) == finished


@given(points, st.sets(st.integers(0, 2**62), max_size=20))
def test_gaps_may_be_of_any_size(point: int, ahead: set[int]) -> None:
    # As compaction leaves them.
    finished = {point + n for n in ahead}
    assert decode(point, encode(point, finished)) == finished


@given(points, st.text())
def test_foreign_or_damaged_metadata_is_refused_and_nothing_else(point: int, text: str) -> None:
    for candidate in (text, PREFIX + text):
        try:
            decode(point, candidate)
        except ValueError:
            continue


@given(points, st.binary(min_size=1, max_size=200))
def test_any_bytes_behind_our_prefix_give_offsets_beyond_the_point_or_an_error(
    point: int, raw: bytes
) -> None:
    text = PREFIX + base64.urlsafe_b64encode(raw).decode().rstrip("=")
    try:
        finished = decode(point, text)
    except ValueError:
        return
    assert len(finished) <= LONGEST_RANGE
    assert all(point <= offset <= point + FARTHEST for offset in finished)


def test_nothing_finished_ahead_needs_no_metadata() -> None:
    assert encode(5, []) == ""
    assert decode(5, "") == frozenset()


def test_a_damaged_map_cannot_fill_the_memory() -> None:
    huge = base64.urlsafe_b64encode(b"r" + b"\x00" + b"\xff" * 8 + b"\x7f").decode()
    with pytest.raises(ValueError, match="range"):
        decode(0, PREFIX + huge)


def test_no_map_leads_out_of_all_topics() -> None:
    huge = base64.urlsafe_b64encode(b"r" + b"\xff" * 50 + b"\x7f\x01").decode()
    with pytest.raises(ValueError, match="range"):
        decode(0, PREFIX + huge)


@pytest.mark.parametrize(
    ("finished", "text"),
    [([11], "v1:YgI"), ([11, 12, 15], "v1:YiY"), (range(11, 1011), "v1:cgHoBw")],
)
def test_the_form_on_the_wire_stays(finished: list[int], text: str) -> None:
    assert encode(10, finished) == text


def test_a_thousand_finished_behind_one_slow_record_fit_easily() -> None:
    assert len(encode(0, range(1, 1_001))) < 20


def test_every_other_of_twenty_thousand_offsets_fits() -> None:
    assert len(encode(0, range(1, 20_000, 2))) < LIMIT_BYTES
