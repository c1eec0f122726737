"""Texts that have to fit into a number of bytes."""

from hypothesis import given
from hypothesis import strategies as st

from service.cutting import cut


@given(st.text(), st.integers(0, 40))
def test_it_is_the_longest_beginning_that_fits(text: str, most_bytes: int) -> None:
    begun = cut(text, most_bytes)
    assert text.startswith(begun)
    assert len(begun.encode()) <= most_bytes
    if begun != text:
        assert len(text[: len(begun) + 1].encode()) > most_bytes


@given(st.text(st.characters(categories=["Cs"]), min_size=1), st.integers(1, 40))
def test_what_has_no_bytes_becomes_question_marks(text: str, most_bytes: int) -> None:
    assert cut(text, most_bytes) == "?" * min(len(text), most_bytes)
