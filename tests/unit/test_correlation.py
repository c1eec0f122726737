"""Correlations are ours or refused, whatever anyone writes."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities.correlation import Correlation, Seal
from activities.signing import NotOurs

PARTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
CORRELATIONS = st.builds(Correlation, PARTS, PARTS, PARTS)
SEAL = Seal(["secret"])
TEXT = SEAL.sealed(Correlation("default", "order/A-1", "charge"))


@given(CORRELATIONS)
def test_what_was_sealed_is_opened(correlation: Correlation) -> None:
    text = SEAL.sealed(correlation)
    assert SEAL.opened(text) == Correlation.read(text) == correlation
    assert set(text) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


@given(CORRELATIONS, st.data())
def test_no_character_of_it_can_be_changed(correlation: Correlation, data: st.DataObject) -> None:
    text = SEAL.sealed(correlation)
    place = data.draw(st.integers(0, len(text) - 1))
    changed = text[:place] + data.draw(st.text(max_size=2)) + text[place + 1 :]
    if changed != text:
        with pytest.raises(NotOurs):
            SEAL.opened(changed)


@given(st.text())
def test_any_other_text_is_refused(text: str) -> None:
    for read in (SEAL.opened, Correlation.read):
        with pytest.raises(NotOurs):
            read(text)


@pytest.mark.parametrize(
    "text", ["1.W10.x", "1.bnVsbA.x", "1.WyJhIiwiYiJd.x", "1.WyIiLCJiIiwiYyJd.x", "1..", "2" + TEXT[1:]]
)
def test_what_only_looks_like_one_is_refused(text: str) -> None:
    with pytest.raises(NotOurs, match="no correlation"):
        Correlation.read(text)


@pytest.mark.parametrize("part", [0, 1, 2])
def test_one_with_a_part_that_no_text_can_hold_is_refused(part: int) -> None:
    parts = ["default", "order/A-1", "charge"]
    parts[part] = "\ud800"
    content = base64.urlsafe_b64encode(json.dumps(parts).encode()).rstrip(b"=").decode()
    with pytest.raises(NotOurs, match="no correlation"):
        Correlation.read(f"1.{content}.x")


def test_another_secret_does_not_open_it_and_an_old_one_does() -> None:
    with pytest.raises(NotOurs, match="not signed by us"):
        Seal(["other"]).opened(TEXT)
    assert Seal(["new", "secret"]).opened(TEXT).activity_id == "charge"
    assert Seal(["new", "secret"]).sealed(SEAL.opened(TEXT)) != TEXT


@pytest.mark.parametrize("secrets", [[], [""], ["a", ""]])
def test_an_empty_secret_signs_nothing(secrets: list[str]) -> None:
    with pytest.raises(ValueError, match="takes a secret"):
        Seal(secrets)
