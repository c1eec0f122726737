"""What people give up on: how it is kept, and which record it is about."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.kafka.given_up import (
    BECAUSE_BYTES,
    BY_BYTES,
    LIMIT_BYTES,
    GivenUp,
    GiveUp,
    as_commit,
    said_by,
)
from service.kafka.record import Commit, Partition
from tests.unit.records import record

P0, P1 = (Partition("shop.orders", number) for number in range(2))
SAID = GiveUp.on(record(42), "ada", "no use")
ANY = st.builds(
    GiveUp.on,
    st.builds(record, st.integers(0, 2**63 - 1), timestamp_ms=st.integers(-1, 2**63 - 1)),
    st.text(),
    st.text(),
)


@given(st.lists(ANY, min_size=1, max_size=4))
@example([GiveUp.on(record(1), "é" * BY_BYTES, "because " + "é" * BECAUSE_BYTES)])
@example([GiveUp.on(record(1), "a\udcff", '"\\\n')])
def test_what_is_said_is_read_back(said: list[GiveUp]) -> None:
    commit = as_commit(said)
    if commit is not None:
        assert list(said_by(commit)) == said
        assert len(commit.metadata.encode()) <= LIMIT_BYTES
        assert commit.offset == max(one.offset for one in said)


def test_what_does_not_fit_is_not_cut() -> None:
    long = GiveUp.on(record(1), "ada", "x" * BECAUSE_BYTES)
    fit = LIMIT_BYTES // len(long.model_dump_json())
    assert as_commit([long] * (fit - 1))
    assert as_commit([long] * (fit + 1)) is None


def test_what_it_looks_like_to_other_tools() -> None:
    assert as_commit([SAID]) == Commit(
        42, 'v1:[{"offset":42,"timestamp_ms":1790000000000,"by":"ada","because":"no use"}]'
    )


DAMAGED = [
    "v1:",
    "v1:[",
    "v1:[1]",
    'v1:{"offset":1}',
    'v1:[{"offset":1}]',
    'v1:[{"offset":"1","timestamp_ms":0,"by":"","because":""}]',
    'v1:[{"offset":1,"timestamp_ms":0,"by":"","because":"","more":1}]',
    "v1:" + "[" * 4_000,
    "v1:from=1",
    "v2:[]",
    '[{"offset":1,"timestamp_ms":0,"by":"","because":""}]',
]


@given(st.sampled_from(DAMAGED) | st.text() | st.text().map("v1:".__add__))
def test_what_another_tool_wrote_says_nothing(metadata: str) -> None:
    assert not said_by(Commit(9, metadata))


def test_where_nothing_was_said_there_is_nothing() -> None:
    assert said_by(None) == ()


def noted(said: Sequence[GiveUp], partition: Partition = P0) -> GivenUp:
    given_up = GivenUp()
    commit = as_commit(said)
    assert commit
    given_up.note({partition: commit})
    return given_up


def test_it_is_about_that_record_and_no_other() -> None:
    given_up = noted([SAID])
    assert given_up.of(record(42)) == SAID
    assert given_up.of(replace(record(42), timestamp_ms=1)) is None  # of a topic made anew
    for other in (record(41), record(43), record(42, partition=1), record(42, topic="shop.news")):
        assert given_up.of(other) is None
    assert given_up.first_of([record(41), record(42)]) == SAID
    assert given_up.first_of([record(41)]) is None


def test_it_is_news_once_and_what_is_said_no_longer_holds_no_longer() -> None:
    given_up, commit, more = GivenUp(), as_commit([SAID]), as_commit([SAID, GiveUp.on(record(7), "ada", "x")])
    assert commit
    assert more
    assert given_up.note({P0: commit, P1: Commit(3)}) == {P0}
    assert given_up.note({P0: commit}) == frozenset()
    assert given_up.note({}) == frozenset()
    assert given_up.note({P0: more}) == {P0}
    assert given_up.of(record(7))
    assert given_up.note({P0: commit, P1: commit}) == {P1}
    assert given_up.of(record(7)) is None
    assert given_up.of(record(42))


@pytest.mark.parametrize("standing", ["it was not tried", "it waited for: answer"])
def test_the_reason_says_who_why_and_what_it_was_about(standing: str) -> None:
    error = SAID.as_error(standing)
    assert str(error) == f"given up by ada: no use ({standing})"
    assert (error.stage, error.retriable) == ("person", True)
