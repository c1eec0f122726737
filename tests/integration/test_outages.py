"""An outage delays records: none is lost, none is done twice, and none becomes a letter."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from service.dispatch.answers import Outcome
from service.dispatch.dispatcher import Dispatcher
from service.intake.lanes import Lanes
from service.kafka.record import Record
from service.local import LocalTemporal
from service.routing.commands import Command
from service.settings import IntakeSettings
from tests.conftest import StartKafka
from tests.integration.proxy import Mode, proxy
from tests.integration.service import ECHOES, Place, Site, site
from tests.servers import random_port

WINDOW = 20


async def test_records_that_come_while_temporal_is_dead_are_started_once_when_it_is_back(
    kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = _watch_what_is_held(monkeypatch)
    intake = IntakeSettings(window_records=WINDOW, partition_records=WINDOW // 2)
    async with (
        LocalTemporal(tmp_path, random_port(), random_port()) as temporal,
        site(kafka, temporal.address, tmp_path, ECHOES, intake=intake) as here,
        here.running(),
    ):
        before = await _send(here, range(30))
        await here.outcomes(before[0])
        temporal.kill()
        during = await _send(here, range(30, 90))

        async def window_is_full() -> bool:
            return held[-1] == WINDOW

        await here.until(window_is_full)
        await temporal.start()
        after = await _send(here, range(90, 100))
        await _all_is_done_once(here, [*before, *during, *after])
    assert max(held) == WINDOW


@pytest.mark.parametrize("answer", [Mode.NOT_FOUND, Mode.BAD_GATEWAY, Mode.NO_HTTP_2, Mode.SILENT])
async def test_what_a_proxy_answers_for_temporal_makes_no_letter(
    kafka: str, temporal: LocalTemporal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Mode
) -> None:
    calls = _watch_calls(monkeypatch)
    async with (
        proxy(temporal.address, random_port()) as before_temporal,
        site(kafka, before_temporal.address, tmp_path, ECHOES) as here,
        here.running(),
    ):
        first = await _send(here, range(3))
        await here.past(*first)
        before_temporal.become(answer)
        during = await _send(here, range(3, 9))

        async def turned_down() -> bool:
            # Of silence a call takes ten seconds to despair.
            tries = 1 if answer is Mode.SILENT else 3
            return before_temporal.turned_down > 0 and all(calls[place] >= tries for place in during)

        await here.until(turned_down)
        assert not any(here.said(place) for place in during)
        assert sum((await here.committed()).values()) == len(first)
        assert not await here.letters()
        before_temporal.become(Mode.FORWARD)
        await _all_is_done_once(here, [*first, *during])


async def test_a_killed_broker_is_waited_for_without_a_restart(
    start_kafka: StartKafka, temporal: LocalTemporal, tmp_path: Path
) -> None:
    broker = await start_kafka()
    async with (
        site(broker.address, temporal.address, tmp_path, ECHOES) as here,
        here.running(),
    ):
        before = await _send(here, range(30))
        await here.outcomes(before[0])
        broker.kill()
        await broker.start()
        after = await _send(here, range(30, 40))
        await _all_is_done_once(here, [*before, *after])


def _watch_what_is_held(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many records were held each time that one came in."""
    held: list[int] = []
    put = Lanes.put

    def watched(self: Lanes, record: Record, key: bytes | None) -> None:
        put(self, record, key)
        held.append(self.in_flight())

    monkeypatch.setattr(Lanes, "put", watched)
    return held


def _watch_calls(monkeypatch: pytest.MonkeyPatch) -> Counter[Place]:
    """How often each record has led to a call."""
    calls: Counter[Place] = Counter()
    dispatch = Dispatcher.dispatch

    async def watched(self: Dispatcher, command: Command) -> Outcome:
        record = command.event.record
        calls[Place(record.topic, record.partition, record.offset)] += 1
        return await dispatch(self, command)

    monkeypatch.setattr(Dispatcher, "dispatch", watched)
    return calls


async def _send(here: Site, numbers: range) -> list[Place]:
    return [await here.send("placed", {"id": f"{n:03}"}, key=f"k{n % 17}") for n in numbers]


async def _all_is_done_once(here: Site, places: Sequence[Place]) -> None:
    """Each record has started one workflow whose one result is there, and there is no letter."""
    await here.past(*places)
    names = [f"{n:03}" for n in range(len(places))]

    async def all_published() -> bool:
        return {record.key for record in await here.read("out")} >= {name.encode() for name in names}

    await here.until(all_published)

    async def all_listed() -> bool:
        return len(await here.runs()) >= len(names)

    await here.until(all_listed)
    assert await here.runs() == names
    assert not await here.letters()
