"""What topics tell of closings, as it is read again and again."""

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import cast

from service.kafka.reading import Reader
from service.kafka.record import Partition, Record
from service.results.closing import TYPE
from service.results.left_out import Told
from tests.unit.records import record

PLACE = Partition("closings", 0)
SINCE = datetime(2026, 1, 1, tzinfo=UTC)


class Topic:
    """A topic of closings; made anew, it holds others."""

    def __init__(self) -> None:
        self.name, self.count = "old", 1_000
        self.read_offsets: list[range] = []

    async def offsets_at(self, _topic: str, _moment: datetime) -> Mapping[Partition, int]:
        return {PLACE: 0}

    async def extents(self, _topic: str) -> Mapping[Partition, range]:
        return {PLACE: range(self.count)}

    async def read(self, _place: Partition, offsets: range) -> AsyncIterator[Record]:
        self.read_offsets.append(offsets)
        for offset in offsets:
            headers = (("ce_type", TYPE.encode()), ("ce_id", f"{self.name}-{offset}".encode()))
            yield record(offset, headers=headers)


async def test_only_what_is_new_is_read_and_all_of_a_topic_that_was_made_anew() -> None:
    topic, told = Topic(), Told()
    reading = cast(Reader, topic)
    await told.look(reading, "closings", SINCE)
    topic.count += 5
    await told.look(reading, "closings", SINCE)
    assert topic.read_offsets == [range(1_000), range(1_000, 1_005)]
    topic.name, topic.count = "new", 10
    await told.look(reading, "closings", SINCE)
    assert "new-9" in told
    assert topic.read_offsets[-1] == range(10)
