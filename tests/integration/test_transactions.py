"""A transaction that hangs holds its partition and no other; what it holds back comes when it ends."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from service.local import LocalTemporal
from tests.integration.service import NOTES, Place, Site, event_headers, site

HELD, FREE = 0, 1


@pytest.mark.parametrize("end", ["commit", "abort"])
async def test_a_hanging_transaction_holds_its_partition_and_no_other_and_nothing_is_skipped(
    kafka: str, temporal: LocalTemporal, tmp_path: Path, end: str
) -> None:
    async with (
        site(kafka, temporal.address, tmp_path, NOTES, topics=["in"], partitions=2) as here,
        transaction(kafka, here.group) as hanging,
    ):
        before = await _note(here, "held", 0, HELD)
        within = await _note_within(hanging, here, "held", 1)
        behind = [await _note(here, "held", n, HELD) for n in (2, 3)]
        async with here.running():
            await here.past(before)
            await here.past(*[await _note(here, "free", n, FREE) for n in range(20)])
            assert not any(here.said(place) for place in (within, *behind))
        # Nor is it skipped by who reads on after a restart.
        async with here.running():
            await here.past(await _note(here, "free", 20, FREE))
            assert not any(here.said(place) for place in (within, *behind))
            assert (await here.committed())[HELD] == before.offset + 1
            await (hanging.commit_transaction() if end == "commit" else hanging.abort_transaction())
            await here.past(*behind)
            assert await here.workflow("held").query("noted") == (
                [0, 1, 2, 3] if end == "commit" else [0, 2, 3]
            )
            assert await here.workflow("free").query("noted") == list(range(21))
        assert bool(here.said(within)) == (end == "commit")
        assert not await here.letters()


@asynccontextmanager
async def transaction(kafka: str, name: str) -> AsyncIterator[AIOKafkaProducer]:
    """A producer within a transaction."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=name)
    await producer.start()
    try:
        await producer.begin_transaction()
        yield producer
    finally:
        await producer.stop()


async def _note(here: Site, name: str, n: int, partition: int) -> Place:
    return await here.send("noted", {"id": name, "n": n}, key=name, partition=partition)


async def _note_within(producer: AIOKafkaProducer, here: Site, name: str, n: int) -> Place:
    value, headers = json.dumps({"id": name, "n": n}).encode(), list(event_headers("noted"))
    done = await producer.send_and_wait(
        here.topics["in"], value, key=name.encode(), headers=headers, partition=HELD
    )
    return Place(done.topic, done.partition, done.offset)
