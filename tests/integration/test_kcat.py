"""A tool that shares no code with ours writes events and reads results and letters."""

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from service.local import LocalTemporal
from tests.integration.service import ECHOES, Place, site

pytestmark = pytest.mark.skipif(
    shutil.which("kcat") is None and os.environ.get("CI") != "true", reason="kcat is not installed"
)

HEADERS = {
    "ce_specversion": "1.0",
    "ce_id": "from-kcat",
    "ce_source": "/kcat",
    "content-type": "application/json",
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "tracestate": "a=1",
}


async def test_kcat_sends_an_event_and_reads_its_result_and_its_letter(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with site(kafka, temporal.address, tmp_path, ECHOES, partitions=1) as here, here.running():
        topic = here.topics["in"]
        await _produce(kafka, topic, {**HEADERS, "ce_type": "placed"}, '{"id": "k-1"}')
        await _produce(kafka, topic, {**HEADERS, "ce_type": "unknown"}, '{"id": "k-2"}')
        await here.past(Place(topic, 0, 1))
        await here.workflow("k-1").result()

        (result,) = await _consume(kafka, here.topics["out"])
        headers = _headers(result)
        assert (result["key"], result["payload"]) == ("k-1", '{"id":"k-1"}')
        assert headers["ce_causationid"] == "from-kcat"
        assert headers["ce_correlationid"] == here.workflow_id("k-1")
        assert (headers["ce_type"], headers["tracestate"]) == ("echoed", "a=1")

        (letter,) = await _consume(kafka, here.topics["letters"])
        headers = _headers(letter)
        assert (letter["key"], letter["payload"]) == ("the key", '{"id": "k-2"}')
        assert headers.items() >= {**HEADERS, "ce_type": "unknown"}.items()
        assert headers["__dlq.errors.topic"] == headers["kafka_dlt-original-topic"] == topic
        assert (headers["__dlq.errors.partition"], headers["__dlq.errors.offset"]) == ("0", "1")
        assert headers["turnout-stage"] == "route"


async def _produce(kafka: str, topic: str, headers: dict[str, str], value: str) -> None:
    options = [option for pair in headers.items() for option in ("-H", "=".join(pair))]
    # Without -D, each line would be a record; without -c 1, kcat would wait for more.
    await _kcat("-P", "-b", kafka, "-t", topic, "-k", "the key", *options, said=value)


async def _consume(kafka: str, topic: str) -> list[Any]:
    out = await _kcat("-C", "-b", kafka, "-t", topic, "-o", "beginning", "-e", "-q", "-J")
    return [json.loads(line) for line in out.splitlines()]


async def _kcat(*argv: str, said: str = "") -> str:
    process = await asyncio.create_subprocess_exec(
        "kcat", *argv, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(30):
        out, _ = await process.communicate(said.encode())
    assert process.returncode == 0
    return out.decode(errors="replace")


def _headers(record: dict[str, Any]) -> dict[str, str]:
    return dict(zip(record["headers"][::2], record["headers"][1::2], strict=True))
