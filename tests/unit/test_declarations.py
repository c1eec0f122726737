"""Which declaration a topic has: its own name first, then the one pattern that matches it."""

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from service.declarations import ByTopic, common_name
from workflows.topics import matches

# Few letters, so that names and patterns meet.
NAMES = st.lists(st.text("ab-", min_size=1, max_size=3), min_size=1, max_size=3).map(".".join)
PATTERNS = st.lists(st.text("ab*", min_size=1, max_size=3), min_size=1, max_size=3).map(
    lambda segments: re.sub(r"\*+", "*", ".".join([*segments, "*"]))
)


@st.composite
def stars_in(draw: st.DrawFn, topic: str) -> str:
    """A pattern that matches `topic`: some runs of its characters are stars."""
    segments = []
    for segment in topic.split("."):
        start = draw(st.integers(0, len(segment) - 1))
        end = draw(st.integers(start, len(segment)))
        segments.append(segment[:start] + ("*" if end > start else "") + segment[end:])
    return ".".join(segments)


def simply(pattern: str, topic: str) -> bool:
    """As the documentation says it, character by character."""
    if not pattern or not topic:
        return pattern == topic
    if pattern[0] == "*":
        return topic[0] != "." and (simply(pattern, topic[1:]) or simply(pattern[1:], topic[1:]))
    return pattern[0] == topic[0] and simply(pattern[1:], topic[1:])


@given(PATTERNS, NAMES)
def test_a_star_is_one_or_more_characters_other_than_a_dot(pattern: str, topic: str) -> None:
    assert matches(pattern, topic) == simply(pattern, topic)


@pytest.mark.parametrize(
    ("pattern", "topic", "fits"),
    [
        ("tenant-*.orders", "tenant-acme.orders", True),
        ("tenant-*.orders", "tenant-.orders", False),
        ("tenant-*.orders", "tenant-acme.eu.orders", False),
        ("tenant-*.orders", "tenant-acme.orders\n", False),
        ("a+*", "aaab", False),
        ("*.dead-letters", "shop.dead-letters", False),
        ("*.state", "__cluster.state", False),
        ("*hemas", "_schemas", False),
    ],
)
def test_what_is_matched(pattern: str, topic: str, fits: bool) -> None:
    assert matches(pattern, topic) is fits


@given(PATTERNS, PATTERNS)
def test_what_two_patterns_have_in_common_both_match(one: str, other: str) -> None:
    if common := common_name(one, other):
        assert simply(one, common)
        assert simply(other, common)


@given(st.data())
def test_patterns_that_match_one_topic_have_a_name_in_common(data: st.DataObject) -> None:
    topic = data.draw(NAMES)
    one, other = data.draw(stars_in(topic)), data.draw(stars_in(topic))
    assert simply(one, topic)
    assert simply(other, topic)
    assert common_name(one, other) is not None


@given(st.lists(PATTERNS, max_size=3), st.lists(NAMES, max_size=3), st.lists(NAMES, max_size=3), NAMES)
def test_a_name_wins_over_a_pattern_and_one_pattern_at_most_is_left(
    patterns: list[str], named: list[str], elsewhere: list[str], topic: str
) -> None:
    assume(
        not any(common_name(one, other) for at, one in enumerate(patterns) for other in patterns[at + 1 :])
    )
    declared = ByTopic({name: name for name in [*patterns, *named]}, without=elsewhere)
    found = declared.get(topic)
    assert (topic in declared) == (found is not None)
    if topic in named:
        assert found == topic
    elif topic in elsewhere:
        assert found is None
    else:
        assert ([found] if found else []) == [one for one in patterns if simply(one, topic)]
    assert declared.real([topic]) == [*dict.fromkeys(named), *([topic] if found in patterns else [])]
    assert list(declared) == list(dict.fromkeys([*patterns, *named]))


def test_the_longest_patterns_are_compared_at_once() -> None:
    assert common_name("a*" * 124, "*b" * 124)
    assert common_name("a*" * 124 + "c", "*a" * 124) is None
    assert not matches("a*" * 62 + "b", "a" * 249)
