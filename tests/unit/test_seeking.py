"""Saying where a stopped partition goes on: what is kept, what it means, and what is refused."""

from collections.abc import Mapping
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError
from hypothesis import example, given
from hypothesis import strategies as st

from service.errors import ConfigurationError, Unreachable
from service.kafka.connection import Connection
from service.kafka.outside import Extent
from service.kafka.record import Commit, Partition
from service.kafka.seeking import NOTE_BYTES, End, Seek, Sought, Where, seek
from tests.unit.fakes import FakeGroups

P0, P1 = Partition("shop.orders", 0), Partition("shop.orders", 1)
OFFSETS = st.integers(0, 2**63 - 1)


@given(OFFSETS, OFFSETS, st.text())
@example(5, 9, "because " + "é" * NOTE_BYTES)
def test_what_is_said_is_read_back_and_fits(stuck_at: int, to: int, note: str) -> None:
    kept = Seek(stuck_at, to, note).as_commit()
    assert len(kept.metadata.encode()) <= NOTE_BYTES + 50
    read = Seek.said_by(kept)
    assert read is not None
    assert (read.stuck_at, read.to) == (stuck_at, to)
    # Only a note that is too long is cut; its ends may lose blanks.
    whole = note.encode(errors="replace")
    assert read.note == whole[:NOTE_BYTES].decode(errors="ignore").rstrip()


def test_what_a_seek_looks_like_to_other_tools() -> None:
    said = Seek(5, 9, "by=ada because=retention ran out")
    assert said.as_commit() == Commit(9, "v1:from=5 by=ada because=retention ran out")


DAMAGED = st.sampled_from(
    ["", "v1:from=", "v1:from=x", "v1:from=-1", "v2:from=1", "v1:cgEB", "v1:from=1by=x"]
)


@given(DAMAGED | st.text().filter(lambda text: not text.startswith("v1:from=")))
def test_what_another_tool_wrote_says_nothing(metadata: str) -> None:
    assert Seek.said_by(Commit(9, metadata)) is None


@given(OFFSETS, st.lists(OFFSETS, min_size=3, max_size=3).map(sorted), OFFSETS)
def test_the_ranges_of_a_seek_hold_what_they_say(stuck_at: int, offsets: list[int], where: int) -> None:
    first, stable, end = offsets
    to = first + where % (end - first + 1)
    sought = Sought(Seek(stuck_at, to), Extent(first, stable, end))
    assert all(stuck_at <= offset < first for offset in _ends(sought.expired))
    assert all(first <= offset < to for offset in _ends(sought.skipped))
    assert all(to <= offset < min(stuck_at, end) for offset in _ends(sought.read_again))
    assert (sought.skipped.stop - sought.skipped.start) == to - first
    if stuck_at < first:  # the usual case: nothing is there twice
        assert not sought.read_again
        assert sought.expired == range(stuck_at, first)


def _ends(offsets: range) -> list[int]:
    return [offsets[0], offsets[-1]] if offsets else []


# --- what is refused ---


class Topic:
    """One topic, behind the calls of a consumer: partition 0 holds 10 to 19, of which 18 is not committed."""

    groups = FakeGroups()
    extents: Mapping[Partition, Extent]
    failure: Exception | None

    def __init__(self, **options: Any) -> None:
        self._client = self.groups
        self._coordinator = self._fetcher = None  # without a group, and nothing read
        self._stable = options["isolation_level"] == "read_committed"

    async def start(self) -> None:
        if self.failure:
            raise self.failure

    async def stop(self) -> None: ...

    async def topics(self) -> set[str]:
        return {place.topic for place in self.extents}

    def partitions_for_topic(self, topic: str) -> set[int]:
        return {place.number for place in self.extents if place.topic == topic}

    async def beginning_offsets(self, places: list[TopicPartition]) -> dict[TopicPartition, int]:
        return {place: self.extents[Partition(*place)].first for place in places}

    async def end_offsets(self, places: list[TopicPartition]) -> dict[TopicPartition, int]:
        held = {place: self.extents[Partition(*place)] for place in places}
        return {place: one.stable if self._stable else one.end for place, one in held.items()}


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> FakeGroups:
    groups = FakeGroups()
    monkeypatch.setattr(Topic, "groups", groups)
    monkeypatch.setattr(Topic, "extents", {P0: Extent(10, 18, 20), P1: Extent(0, 0, 0)}, raising=False)
    monkeypatch.setattr(Topic, "failure", None, raising=False)
    monkeypatch.setattr("service.kafka.connection.AIOKafkaConsumer", Topic)
    return groups


async def say(partition: Partition, to: Where) -> Sought:
    return await seek(Connection("127.0.0.1:1"), "shop", partition, to, "by=ada")


@pytest.mark.parametrize(
    ("to", "offset"), [(End.EARLIEST, 10), (End.LATEST, 18), (10, 10), (15, 15), (20, 20)]
)
async def test_a_seek_is_said_for_the_offset_that_the_group_is_stuck_at(
    groups: FakeGroups, to: Where, offset: int
) -> None:
    groups.commits["shop"][P0] = Commit(4, "v1:map")
    sought = await say(P0, to)
    assert groups.commits["shop.seek"] == {P0: Commit(offset, "v1:from=4 by=ada")}
    assert groups.commits["shop"] == {P0: Commit(4, "v1:map")}
    assert (sought.expired, sought.skipped) == (range(4, 10), range(10, offset))


async def test_a_group_that_is_beyond_the_end_is_stuck_too_and_reads_again(groups: FakeGroups) -> None:
    groups.commits["shop"][P0] = Commit(99)
    sought = await say(P0, 12)
    assert groups.commits["shop.seek"] == {P0: Commit(12, "v1:from=99 by=ada")}
    assert (list(sought.expired), sought.skipped) == ([], range(10, 12))
    assert sought.read_again == range(12, 20)


async def test_the_last_one_holds(groups: FakeGroups) -> None:
    groups.commits["shop"][P0] = Commit(4)
    await say(P0, 12)
    await say(P0, 13)
    assert groups.commits["shop.seek"] == {P0: Commit(13, "v1:from=4 by=ada")}


@pytest.mark.parametrize(
    ("partition", "to", "committed", "said"),
    [
        (Partition("shop.ordres", 0), 12, 4, "there is no topic shop.ordres; there are: shop.orders"),
        (Partition("shop.orders", 2), 12, 4, "topic shop.orders has no partition 2; it has 0 to 1"),
        (P0, 12, None, "group shop has committed nothing for shop.orders[0], so it is not stuck there"),
        (P0, 12, 10, "shop.orders[0] is not stuck: group shop goes on at offset 10, which is in the topic"),
        (P0, 12, 20, "(it holds 10 to 19); to move a healthy group, stop its bridges and run"),
        (P0, 12, 19, "--group shop --topic shop.orders:0 --reset-offsets --to-offset OFFSET --execute"),
        (
            P0,
            9,
            4,
            "offset 9 is not in shop.orders[0] (it holds 10 to 19); write --to earliest, --to latest or",
        ),
        (P0, 21, 4, "--to with an offset from 10 to 20"),
        (P1, 1, 4, "offset 1 is not in shop.orders[1] (it is empty, and its next offset is 0)"),
    ],
)
async def test_what_cannot_be_meant_is_refused_with_what_to_do_instead(
    groups: FakeGroups, partition: Partition, to: int, committed: int | None, said: str
) -> None:
    if committed is not None:
        groups.commits["shop"][partition] = Commit(committed)
    with pytest.raises(ConfigurationError) as refused:
        await say(partition, to)
    assert said in str(refused.value)
    assert not groups.commits["shop.seek"]


async def test_a_coordinator_that_does_not_answer_is_said_to_be_so(groups: FakeGroups) -> None:
    groups.error = 15
    with pytest.raises(Unreachable, match="could not be asked: GroupCoordinatorNotAvailableError"):
        await say(P0, 12)


async def test_a_cluster_that_is_not_there_is_said_with_the_reason(
    groups: FakeGroups, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Topic, "failure", KafkaConnectionError())
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1: "):
        await say(P0, 12)
