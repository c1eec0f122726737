"""Batches read by ourselves: the same records as the client reads, and those that it refuses."""

from collections.abc import Sequence

import pytest
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from service.kafka.raw import MENDED, records_in
from service.kafka.record import Headers, Partition, Record

P0 = Partition("shop.orders", 3)
RECORD = st.tuples(
    st.none() | st.binary(max_size=20),
    st.none() | st.binary(max_size=20),
    st.lists(st.tuples(st.text(max_size=5), st.none() | st.binary(max_size=5)), max_size=3),
)
Written = tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]

PLACEHOLDER = "namename"
UNREADABLE = b"na\xff\xfeme\x00!"


def batch(
    records: Sequence[Written],
    *,
    first: int = 0,
    compression: int = 0,
    producer: int = -1,
    transactional: bool = False,
) -> bytes:
    """A batch as a broker hands it out."""
    builder = DefaultRecordBatchBuilder(2, compression, transactional, producer, 0, 0, 1 << 20)
    for offset, (key, value, headers) in enumerate(records):
        builder.append(offset, 1_790_000_000_000 + offset, key, value, headers)
    raw = bytearray(builder.build())
    raw[:8] = first.to_bytes(8, "big")  # the broker sets it
    return bytes(raw)


@given(st.lists(RECORD, min_size=1, max_size=5), st.integers(0, 4), st.integers(0, 2**40), st.integers(0, 6))
def test_what_the_client_can_read_we_read_the_same(
    written: list[Written], compression: int, first: int, skip: int
) -> None:
    raw = batch(written, first=first, compression=compression)
    by_client = [
        Record(*P0, one.offset, one.key, one.value, tuple(one.headers), one.timestamp)
        for one in DefaultRecordBatch(raw)
    ]
    found = records_in(raw + b"the beginning of the next", P0, first + skip)
    assert found.records == by_client[skip:]
    assert found.next_offset == first + len(written)
    assert found.unreadable == frozenset()


@given(st.lists(RECORD, max_size=3), st.lists(RECORD, max_size=3))
def test_a_header_name_that_is_not_utf_8_is_made_readable_and_marked_and_harms_no_neighbour(
    before: list[Written], behind: list[Written]
) -> None:
    unreadable: Written = (b"k", b"v", [("ok", b"1"), (PLACEHOLDER, b"2")])
    raw = batch([*before, unreadable, *behind]).replace(PLACEHOLDER.encode(), UNREADABLE)
    with pytest.raises(UnicodeDecodeError):
        list(DefaultRecordBatch(raw))
    found = records_in(raw, P0, 0)
    expected: Headers = (("ok", b"1"), (r"na\xff\xfeme" + "\0!", b"2"), (MENDED, b"1"))
    assert [(one.key, one.value) for one in found.records] == [
        (key, value) for key, value, _ in [*before, unreadable, *behind]
    ]
    assert found.records[len(before)].headers == expected
    assert found.unreadable == {len(before)}
    assert [one.headers for one in found.records[len(before) + 1 :]] == [tuple(one[2]) for one in behind]


def test_what_an_aborted_transaction_wrote_is_passed_over() -> None:
    raw = batch([(b"k", b"v", [])], first=10, producer=7, transactional=True)
    assert len(records_in(raw, P0, 10).records) == 1
    assert len(records_in(raw, P0, 10, [(8, 0), (7, 11)]).records) == 1
    aborted = records_in(raw, P0, 10, [(7, 10)])
    assert (aborted.records, aborted.next_offset) == ([], 11)


def test_the_marks_of_transactions_are_no_records() -> None:
    raw = bytearray(batch([(b"\0\0\0\1", b"", [])], first=10, producer=7, transactional=True))
    raw[22] |= 0x20  # a control batch
    found = records_in(bytes(raw), P0, 10)
    assert (found.records, found.next_offset) == ([], 11)


@pytest.mark.parametrize("size", [0, 11, 30])
def test_a_batch_that_is_not_there_whole_gives_nothing_and_does_not_move_on(size: int) -> None:
    found = records_in(batch([(b"k", b"v", [])], first=10)[:size], P0, 10)
    assert (found.records, found.next_offset) == ([], 10)
