"""What a replay would do, counted without doing it."""

from collections.abc import Callable

from service.kafka.record import RecordReader
from service.replays.plan import Plan
from service.replays.tally import Judge, Tally


async def rehearse(
    reader: RecordReader, plan: Plan, judge: Judge, *, progressed: Callable[[int], None]
) -> Tally:
    """What becomes of all that is planned; `progressed` is told how many offsets were looked at."""
    tally, passed = Tally(), 0
    for partition, stretch in plan.stretches.items():
        done = stretch.done
        async for record in reader.read(partition, stretch.offsets):
            if stretch.means(record.offset) and record.offset not in done:
                tally.add(await judge.judge(record))
            progressed(passed + record.offset + 1 - stretch.offsets.start)
        passed += len(stretch.offsets)
        progressed(passed)
    return tally
