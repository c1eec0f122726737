"""Records that a person leaves out of a replay: each becomes a letter, and is not tried."""

from collections import defaultdict
from collections.abc import Collection, Mapping

from service.errors import ConfigurationError
from service.kafka.given_up import GiveUp, as_commit
from service.kafka.record import Commit, Partition, Record, RecordReader
from service.redrive.letterbox import Place
from service.replays.plan import Plan
from service.replays.tally import NOTHING, Judge

BECAUSE = "left out of a replay"


async def left_out(
    reader: RecordReader, plan: Plan, judge: Judge, places: Collection[Place], by: str
) -> Mapping[Partition, Commit]:
    """What is said of the records at `places`, in the form that it is noted in; `by` says it.

    Raises:
        ConfigurationError: One of them is not to be replayed, or they are too many.
    """
    said: defaultdict[Partition, list[GiveUp]] = defaultdict(list)
    for place in sorted(places):
        record = await _record(reader, plan, place)
        if record is None or (await judge.judge(record)).what == NOTHING:
            raise ConfigurationError(f"{place} is not to be replayed: it is done, not meant or not there")
        said[place.partition].append(GiveUp.on(record, by, BECAUSE))
    notes: dict[Partition, Commit] = {}
    for partition, ones in said.items():
        if (note := as_commit(ones)) is None:
            raise ConfigurationError(f"more of {partition} are to be left out than can be; name fewer")
        notes[partition] = note
    return notes


async def _record(reader: RecordReader, plan: Plan, place: Place) -> Record | None:
    stretch = plan.stretches.get(place.partition)
    if stretch is None or not stretch.means(place.offset) or place.offset in stretch.done:
        return None
    async for record in reader.read(place.partition, range(place.offset, place.offset + 1)):
        return record
    return None
