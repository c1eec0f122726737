"""Texts of other people stay texts where Markdown is read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.markdown import as_code, as_text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("order/A-1", "order/A-1"),
        ("payment_captured", "payment_captured"),
        ("Bestellung 5/überfällig ✓", "Bestellung 5/überfällig ✓"),
        ("[refund](http://elsewhere)", r"\[refund\](http://elsewhere)"),
        ("<img src=x>", r"\<img src=x\>"),
        ("a|b `c` *d*", r"a\|b \`c\` \*d\*"),
        ("one\n- two", "one - two"),
        ("abc\u202edef", "abc def"),
    ],
)
def test_what_is_a_mark_in_markdown_is_shown_as_it_is(text: str, shown: str) -> None:
    assert as_text(text) == shown


@given(st.text())
def test_code_ends_where_its_text_ends_and_stays_on_its_line(text: str) -> None:
    shown = as_code(text)
    assert (shown[0], shown[-1], shown.count("`")) == ("`", "`", 2)
    assert shown.isprintable()


@given(st.text())
def test_text_stays_on_its_line(text: str) -> None:
    assert as_text(text).isprintable()
