"""What probes are told of a running service: ready, or what is wrong since when; and that it lives."""

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from service import wiring
from service.intake import readiness
from service.kafka import sink
from service.local import LocalTemporal
from service.settings import HealthSettings, MetricsSettings
from service.telemetry import health
from service.temporal.switchboard import switchboard_id
from service.wiring import Roles
from tests.conftest import StartKafka
from tests.integration.proxy import Mode, proxy
from tests.integration.service import ECHOES, NOTES, Site, event_headers, site
from tests.servers import random_port

BRIDGE = Roles(bridge=True, worker=False)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What lasts for minutes elsewhere takes a moment here."""
    monkeypatch.setattr(wiring, "AWAY_SECONDS", 0.5)
    monkeypatch.setattr(sink, "METADATA_SECONDS", 0.5)
    monkeypatch.setattr(sink, "AWAY_SECONDS", 0.5)
    monkeypatch.setattr(health, "ASK_SECONDS", 0.2)
    monkeypatch.setattr(health, "ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(readiness, "STALL_SECONDS", 1.0)


async def test_temporal_that_is_away_makes_it_unready_and_names_what_waits_but_it_lives(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with (
        proxy(temporal.address, random_port()) as before_temporal,
        site(kafka, before_temporal.address, tmp_path, ECHOES) as here,
    ):
        ask = probing(here)
        async with here.running():
            await here.until(is_ready(ask))
            before_temporal.become(Mode.BAD_GATEWAY)
            place = await here.send("placed", {"id": "A-1"}, key="a")
            told = await here.until(is_unready(ask, "Temporal", "stalled"))
            problems = {one["what"]: one for one in told["problems"]}
            assert "answered UNAVAILABLE" in problems["Temporal"]["problem"]
            assert f"the oldest is {place} (route echo, event " in problems["stalled"]["problem"]
            give_up = f"turnout letters add {place.topic}/{place.partition}/{place.offset}"
            assert give_up in problems["stalled"]["cure"]
            assert (await ask("/livez")) == (200, {"live": True, "loops_that_stand_still": []})
            before_temporal.become(Mode.FORWARD)
            await here.until(is_ready(ask))
        assert [line["event"] for line in here.lines if line["event"] in {"ready", "not ready"}][:3] == [
            "ready",
            "not ready",
            "ready",
        ]


async def test_a_kafka_that_is_away_makes_it_unready(
    start_kafka: StartKafka, temporal: LocalTemporal, tmp_path: Path
) -> None:
    broker = await start_kafka()
    async with site(broker.address, temporal.address, tmp_path, ECHOES) as here:
        ask = probing(here)
        async with here.running():
            await here.until(is_ready(ask))
            broker.pause()
            await here.until(is_unready(ask, "Kafka"))
            broker.resume()
            await here.until(is_ready(ask))


async def test_an_idle_standby_is_ready_and_what_is_paused_is_told(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with site(kafka, temporal.address, tmp_path, NOTES, topics=["in"], partitions=1) as here:
        metrics = MetricsSettings(address=f"127.0.0.1:{random_port()}")
        here.settings = here.settings.model_copy(update={"metrics": metrics})
        first = probing(here)
        async with here.running(BRIDGE):
            here.settings = here.settings.model_copy(update={"metrics": MetricsSettings()})
            await here.until(is_ready(first))
            second = probing(here)
            async with here.running(BRIDGE):
                await here.until(is_ready(second))

                async def one_stands_by() -> bool:
                    answers = [await first("/readyz"), await second("/readyz")]
                    assert (await first("/livez"))[0] == (await second("/livez"))[0] == 200
                    parts = [told["intake"]["partitions"] for _, told in answers]
                    return sorted(parts) == [0, 1] and [status for status, _ in answers] == [200, 200]

                await here.until(one_stands_by)
            board = here.client.get_workflow_handle(switchboard_id(here.group))
            await board.signal(
                "pause", {"name": here.topics["in"], "by": "ada", "because": "totals in euros"}
            )

            async def is_told() -> bool:
                status, told = await first("/readyz")
                paused = told["intake"]["paused"]
                return status == 200 and [one["because"] for one in paused] == ["totals in euros"]

            await here.until(is_told)
            place = await here.send("noted", {"id": "a", "n": 1}, key="a")
            lag = f'turnout_lag_records{{partition="0",topic="{place.topic}"}} 1.0'

            async def is_measured() -> bool:
                return lag in await asyncio.to_thread(text_of, f"http://{metrics.address}/metrics")

            await here.until(is_measured)


async def test_a_transaction_that_hangs_is_told_with_its_place(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with site(kafka, temporal.address, tmp_path, NOTES, topics=["in"], partitions=1) as here:
        hanging = AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=here.group)
        await hanging.start()
        try:
            await hanging.begin_transaction()
            headers = list(event_headers("noted"))
            await hanging.send_and_wait(here.topics["in"], b'{"id": "a", "n": 1}', key=b"a", headers=headers)
            ask = probing(here)
            async with here.running(BRIDGE):
                what = f"transaction {here.topics['in']}[0]"
                told = await here.until(has_problem(ask, what))
                (problem,) = told["problems"]
                assert "@0 on wait for a transaction that is open" in problem["problem"]
                assert (problem["not_ready"], "kafka-transactions.sh" in problem["cure"]) == (False, True)
                await hanging.commit_transaction()

                async def is_over() -> bool:
                    return not (await ask("/readyz"))[1]["problems"]

                await here.until(is_over)
        finally:
            await hanging.stop()


Ask = Callable[[str], Awaitable[tuple[int, Any]]]


def probing(here: Site) -> Ask:
    """Have the next service of `here` answer probes; returns what asks it."""
    address = f"127.0.0.1:{random_port()}"
    here.settings = here.settings.model_copy(update={"health": HealthSettings(address=address)})

    def ask(path: str) -> tuple[int, Any]:
        try:
            with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)
        except OSError:  # it does not listen yet
            return 0, {"problems": []}

    return lambda path: asyncio.to_thread(ask, path)


def text_of(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        text: bytes = answer.read()
        return text.decode()


def is_ready(ask: Ask) -> Callable[[], Awaitable[bool]]:
    async def found() -> bool:
        status, _ = await ask("/readyz")
        return status == 200

    return found


def is_unready(ask: Ask, *because: str) -> Callable[[], Awaitable[Any]]:
    """Finds what is told while it is unready for these reasons, and perhaps more."""

    async def found() -> Any:
        status, told = await ask("/readyz")
        reasons = {one["what"] for one in told["problems"] if one["not_ready"]}
        return told if status == 503 and reasons >= set(because) else None

    return found


def has_problem(ask: Ask, what: str) -> Callable[[], Awaitable[Any]]:
    async def found() -> Any:
        _, told = await ask("/readyz")
        return told if what in {one["what"] for one in told["problems"]} else None

    return found
