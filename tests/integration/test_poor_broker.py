"""A broker that answers late, and one that has forgotten what it acknowledged."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from service.kafka import source as source_module
from service.local import HOST, LocalTemporal
from service.settings import KafkaSettings
from tests.integration.proxy import Proxy
from tests.integration.service import NOTES_AND_ECHOES, Place, Site, site
from tests.servers import ApacheKafka, random_port, two_doors, why_no_apache_kafka

KEYS = [f"key-{n}" for n in range(8)]


class Line(Proxy):
    """A proxy on which everything takes `late_seconds` each way."""

    late_seconds = 0.0

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(*self._target)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._copy_late(reader, up_writer))
                tasks.create_task(self._copy_late(up_reader, writer))
        except* OSError:
            pass
        finally:
            up_writer.close()

    async def _copy_late(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 20):
            await asyncio.sleep(self.late_seconds)
            writer.write(data)
            await writer.drain()
        writer.close()


@dataclass(frozen=True)
class Poor:
    """A broker in `folder`, before which the service has a line and the tests have a door of their own."""

    broker: ApacheKafka
    folder: Path
    line: Line
    door: str


@pytest.fixture(scope="module")
async def poor(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Poor]:
    if missing := why_no_apache_kafka():
        pytest.skip(f"needs {missing}")
    port, front, direct = random_port(), random_port(), random_port()
    folder = tmp_path_factory.mktemp("poor")
    broker = ApacheKafka(folder, port=port, overrides=two_doors(port, front, direct))
    line = Line(broker.address, front)
    async with await asyncio.start_server(line.serve, HOST, front):
        await broker.start()
        yield Poor(broker, folder, line, f"{HOST}:{direct}")
        broker.kill()
        line.cut()


@pytest.fixture
async def here(poor: Poor, temporal: LocalTemporal, tmp_path: Path) -> AsyncIterator[Site]:
    async with site(poor.door, temporal.address, tmp_path, NOTES_AND_ECHOES, partitions=1) as here:
        kafka = KafkaSettings(bootstrap_servers=poor.line.address)
        here.settings = here.settings.model_copy(update={"kafka": kafka})
        yield here


async def test_late_answers_delay_records_and_lose_or_reorder_none(
    here: Site, poor: Poor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "CALL_SECONDS", 1.0)
    async with here.running():
        sent = await _send(here, range(5))
        await here.past(*sent)
        poor.line.late_seconds = 0.7  # and so later than a commit waits
        sent += await _send(here, range(5, 10))
        await here.outcomes(sent[-1])

        async def commits_are_given_up() -> bool:
            return any(line["event"] == "commit failed" for line in here.lines)

        await here.until(commits_are_given_up)
        sent += await _send(here, range(10, 15))
        await here.outcomes(sent[-1])
        poor.line.late_seconds = 0.0
        await here.past(*sent)
        noted = {key: await here.workflow(key).query("noted") for key in KEYS}
        assert noted == {key: list(range(15)) for key in KEYS}
        await here.until(lambda: _has_published(here, range(15)))
        assert [line["what"] for line in here.lines if line["event"] == "rebalance"] == [
            "revoked",
            "assigned",
        ]
    assert not await here.letters()


async def test_a_broker_that_has_forgotten_our_last_records_takes_the_next_ones(
    here: Site, poor: Poor
) -> None:
    # As after a loss of power: what the broker remembers of our producer ends in the middle.
    async with here.running():
        sent = await _send(here, range(3))
        await here.until(lambda: _has_published(here, range(3)))
        (log,) = poor.folder.glob(f"data/{here.topics['out']}-0/*.log")
        size = log.stat().st_size
        sent += await _send(here, range(3, 6))
        await here.until(lambda: _has_published(here, range(3, 6)))
        await here.past(*sent)
        poor.broker.kill()
        os.truncate(log, size)
        await poor.broker.start()
        sent += await _send(here, range(6, 9))
        await here.past(*sent)
        await here.until(lambda: _has_published(here, range(6, 9)))
    replaced = [line["error"] for line in here.lines if line["event"] == "producer replaced"]
    assert "OutOfOrderSequenceNumber" in replaced
    assert not await here.letters()


async def _send(here: Site, numbers: range) -> list[Place]:
    """A note for each key, and an order, per number."""
    notes = [here.send("noted", {"id": key, "n": n}, key=key) for n in numbers for key in KEYS]
    orders = [here.send("placed", {"id": f"order-{n}"}) for n in numbers]
    return await asyncio.gather(*notes, *orders)


async def _has_published(here: Site, numbers: range) -> bool:
    ids = {f"order-{n}".encode() for n in numbers}
    return {record.key for record in await here.read("out")} >= ids
