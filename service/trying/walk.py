"""The walk through what is tried, partition by partition."""

import asyncio
from collections.abc import Callable

from service.kafka.record import RecordReader
from service.trying.effects import Trial
from service.trying.tally import Tally
from service.trying.window import Held

STEP_RECORDS = 250


async def walk(
    reading: RecordReader,
    held: Held,
    after: Trial,
    before: Trial | None,
    tally: Tally,
    *,
    moved: Callable[[int], None],
    stop: asyncio.Event,
) -> bool:
    """Count the records in `held`; whether all of them were, and not stopped before by `stop`.

    Args:
        reading: Kafka.
        held: The offsets, by partition.
        after: The routes that are tried.
        before: Those that run now, to compare with; None does not compare.
        tally: Where it is counted.
        moved: Told now and then how many offsets are done.
        stop: Once it is set, no further record is looked at.

    Raises:
        Unreachable: Kafka does not answer.
    """
    passed = seen = 0
    for partition, offsets in held.items():
        async for record in reading.read(partition, offsets):
            for trial in filter(None, (after, before)):
                await trial.prepare(record)
            tally.add(record, after.effects(record), before.effects(record) if before else None)
            seen += 1
            if seen % STEP_RECORDS == 0:
                moved(passed + record.offset + 1 - offsets.start)
                # What is there already is read without a pause, in which a signal would be heard.
                await asyncio.sleep(0)
            if stop.is_set():
                return False
        passed += len(offsets)
        moved(passed)
    return True
