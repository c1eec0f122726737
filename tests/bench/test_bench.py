"""The benchmark itself works: contenders in processes of their own come to their figures."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from temporalio.client import Client

from service.local import LocalTemporal
from tests.bench.rows import MEASURES, rows_of
from tests.bench.stage import ContenderFailed, Stage
from tests.bench.workloads import Size, Workloads

TINY = Size(0.01)


@pytest.fixture
async def stage(kafka: str, temporal: LocalTemporal, tmp_path: Path) -> AsyncIterator[Stage]:
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    yield Stage(kafka, temporal.address, tmp_path, await Client.connect(temporal.address), producer)
    await producer.stop()


async def test_contenders_are_measured_side_by_side(stage: Stage) -> None:
    entries = Workloads(stage, TINY).entries("starts", first=True)
    figures = {
        (entry.workload, entry.name): await entry.measure()
        for entry in entries
        if entry.name in {"bare", "turnout"}
    }
    for measured in figures.values():
        assert measured.keys() >= {"rate", "p50_ms", "p99_ms", "cpu_ms_per_event", "rss_mb"}
        assert all(figure > 0 for figure in measured.values())
    rows = {row.name: row for row in rows_of([figures], frozenset({"starts"}), MEASURES)}
    assert rows["starts accepted per second"].ratio


async def test_a_contender_that_fails_says_why(stage: Stage) -> None:
    job = stage.job(count=1)
    with pytest.raises(ContenderFailed, match=job.run):  # neither its topic nor its routes are there
        await stage.measure("turnout", "starts", job)
