"""The process, or several as one: SIGTERM drains, a second one stops at once, SIGKILL loses nothing."""

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from service.local import Child, LocalTemporal
from service.results.closing import TYPE
from service.settings import IntakeSettings
from tests.integration.proxy import Mode, proxy
from tests.integration.service import ECHOES, Place, Site, headers_of, site
from tests.servers import random_port

ROOT = Path(__file__).parents[2]
COUNT = 300
NAMES = [f"{n:03}" for n in range(COUNT)]
SOON = timedelta(seconds=30)


async def test_sigterm_in_the_middle_ends_with_0_and_a_new_process_does_the_rest(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with _site(kafka, temporal.address, tmp_path) as here:
        sent = await _send(here)
        async with _turnout(here, tmp_path / "first.log") as first:
            await here.until(lambda: _has_accepted(first, 20))
            first.send_signal(signal.SIGTERM)
            assert await first.wait(SOON) == 0
        done = _outcomes(first)
        assert set(done.values()) == {"accepted"}
        assert 20 <= len(done) < COUNT
        # It left in good order: all that it accepted in a row is committed.
        committed = await here.committed()
        assert {place for place in sent if place.offset < committed.get(place.partition, 0)} <= done.keys()
        assert sum(committed.values()) > 0
        async with _turnout(here, tmp_path / "second.log") as second:
            await _all_is_done_once(here, sent)
        both = Counter(_outcomes(first).keys()) + Counter(_outcomes(second).keys())
        repeats = [place for place, count in both.items() if count > 1]
        assert {_outcomes(second)[place] for place in repeats} <= {"duplicate"}
        assert both.keys() == set(sent)


async def test_sigkill_in_the_middle_loses_nothing_and_does_nothing_twice(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with _site(kafka, temporal.address, tmp_path) as here:
        sent = await _send(here)
        async with _turnout(here, tmp_path / "first.log") as first:
            await here.until(lambda: _has_accepted(first, 20))
            first.kill()
        assert len(_outcomes(first)) < COUNT
        async with _turnout(here, tmp_path / "second.log") as second:
            await _all_is_done_once(here, sent)
        assert Counter(_outcomes(second).values())["duplicate"] > 0


async def test_of_two_processes_for_one_partition_both_hear_that_they_shall_stop(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    other = {"TURNOUT_KAFKA__GROUP_INSTANCE_ID": "two"}
    async with (
        site(kafka, temporal.address, tmp_path, ECHOES, partitions=1) as here,
        _turnout(here, tmp_path / "first.log") as first,
        _turnout(here, tmp_path / "second.log", **other) as second,
    ):

        async def both_are_in() -> bool:
            return await here.members() == 2

        await here.until(both_are_in)
        await here.past(await here.send("placed", {"id": "one"}))
        for process in (first, second):
            await here.until(partial(_says, process, "rebalance"))
            process.send_signal(signal.SIGTERM)
            assert await process.wait(SOON) == 0


async def test_the_bridge_stops_within_its_drain_time_though_temporal_hangs(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    # The bridge alone: a worker of the SDK waits 30 s for the hanging server.
    async with _hanging(kafka, temporal, tmp_path, "bridge", drain="1s") as (here, process):
        process.send_signal(signal.SIGTERM)
        assert await process.wait(timedelta(seconds=10)) == 0
        assert not any((await here.committed()).values())


async def test_a_second_sigterm_stops_at_once_though_temporal_hangs(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with _hanging(kafka, temporal, tmp_path, "run", drain="60s") as (here, process):
        process.send_signal(signal.SIGTERM)
        await here.until(lambda: _says(process, "stopping"))
        process.send_signal(signal.SIGTERM)
        assert await process.wait(timedelta(seconds=5)) == 128 + signal.SIGTERM
        assert not any((await here.committed()).values())


# --- several as one ---


async def test_several_processes_share_the_group_and_stop_as_one(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    port = random_port()
    settings = {
        "TURNOUT_METRICS__ADDRESS": f"127.0.0.1:{port}",
        "TURNOUT_KAFKA__GROUP_INSTANCE_ID": "shop",
    }
    async with (
        site(kafka, temporal.address, tmp_path, ECHOES, partitions=2) as here,
        _turnout(here, tmp_path / "log", "run", "--processes", "2", **settings) as parent,
    ):

        async def both_are_in() -> bool:
            assert parent.alive, parent.tail()
            return await here.members() == 2

        await here.until(both_are_in)
        sent = [await here.send("placed", {"id": f"{n}"}, partition=n) for n in range(2)]
        await here.past(*sent)
        done = [line for line in _lines(parent) if line["event"] == "accepted"]
        assert {line["process"] for line in done} == {1, 2}
        assert {line["address"] for line in _lines(parent) if line["event"] == "metrics"} == {
            f"http://127.0.0.1:{one}/metrics" for one in (port, port + 1)
        }
        (started,) = [line for line in _lines(parent) if line["event"] == "processes started"]
        # As a process manager may do that signals all that it has: those of the parent come on top.
        for pid in started["pids"]:
            os.kill(pid, signal.SIGTERM)
        parent.send_signal(signal.SIGTERM)
        assert await parent.wait(SOON) == 0
        assert not any(line["event"] == "stopped at once" for line in _lines(parent))


async def test_of_several_processes_the_first_takes_the_callbacks_of_all(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    settings = {
        "TURNOUT_CLOSING__ADDRESS": f"127.0.0.1:{random_port()}",
        "TURNOUT_CLOSING__SECRET": "s3cret",
    }
    routes = ECHOES.replace("@out]}", "@out], publish_closing: @out}")
    async with (
        site(kafka, temporal.address, tmp_path, routes, partitions=2) as here,
        _turnout(here, tmp_path / "log", "run", "--processes", "2", **settings) as parent,
    ):

        async def both_are_in() -> bool:
            assert parent.alive, parent.tail()
            return await here.members() == 2

        async def told() -> bool:
            closed = [one for one in await here.read("out") if headers_of(one)["ce_type"] == TYPE]
            return {one.key for one in closed} == {here.workflow_id(id_).encode() for id_ in "01"}

        await here.until(both_are_in)
        for n in range(2):
            await here.send("placed", {"id": f"{n}"}, partition=n)
        await here.until(told)
        assert [line["process"] for line in _lines(parent) if line["event"] == "callbacks are taken"] == [1]


async def test_of_several_processes_one_that_is_killed_ends_all_with_its_exit_code(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with (
        site(kafka, temporal.address, tmp_path, ECHOES) as here,
        _turnout(here, tmp_path / "log", "worker", "--processes", "2") as parent,
    ):

        async def both_are_ready() -> bool:
            assert parent.alive, parent.tail()
            return [line["event"] for line in _lines(parent)].count("worker ready") == 2

        await here.until(both_are_ready)
        (started,) = [line for line in _lines(parent) if line["event"] == "processes started"]
        os.kill(started["pids"][1], signal.SIGKILL)
        assert await parent.wait(SOON) == 128 + signal.SIGKILL
        (ended,) = [line for line in _lines(parent) if line["event"] == "a process ended, and so do all"]
        assert (ended["name"], ended["code"]) == ("process 2", 137)
        assert [line["process"] for line in _lines(parent) if line["event"] == "stopping"] == [1]


async def test_a_second_sigterm_stops_several_at_once_though_temporal_hangs(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    command = ("run", "--processes", "2")
    async with _hanging(kafka, temporal, tmp_path, *command, drain="60s") as (here, parent):
        (started,) = [line for line in _lines(parent) if line["event"] == "processes started"]
        parent.send_signal(signal.SIGTERM)
        await here.until(lambda: _says(parent, "stopping"))
        parent.send_signal(signal.SIGTERM)
        assert await parent.wait(timedelta(seconds=5)) == 128 + signal.SIGTERM
        for pid in started["pids"]:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)
        assert not any((await here.committed()).values())


@asynccontextmanager
async def _site(kafka: str, temporal: str, folder: Path) -> AsyncIterator[Site]:
    # One call at a time, so that there is a middle.
    async with site(kafka, temporal, folder, ECHOES, intake=IntakeSettings(concurrency=1)) as here:
        yield here


@asynccontextmanager
async def _hanging(
    kafka: str, temporal: LocalTemporal, folder: Path, *command: str, drain: str
) -> AsyncIterator[tuple[Site, Child]]:
    """A process in the middle of a call that is not answered."""
    async with (
        proxy(temporal.address, random_port()) as before_temporal,
        _site(kafka, before_temporal.address, folder) as here,
        _turnout(here, folder / "turnout.log", *command, TURNOUT_INTAKE__DRAIN=drain) as process,
    ):
        await here.until(lambda: _says(process, "rebalance"))
        before_temporal.become(Mode.SILENT)
        await here.send("placed", {"id": "unheard"})

        async def is_calling() -> bool:
            return before_temporal.turned_down > 0

        await here.until(is_calling)
        yield here, process


@asynccontextmanager
async def _turnout(here: Site, log: Path, *command: str, **env: str) -> AsyncIterator[Child]:
    """The service in a process; a static member, so that its successor goes on at once."""
    more = {"TURNOUT_KAFKA__GROUP_INSTANCE_ID": "one", "TURNOUT_WORKER__GRACE": "1s", **env}
    child = Child(
        "turnout",
        [sys.executable, "-m", "service", *(command or ("run",))],
        log_path=log,
        env={**here.env, **more},
        cwd=ROOT,
    )
    child.start()
    try:
        yield child
    finally:
        await child.terminate(SOON)


async def _send(here: Site) -> list[Place]:
    return await asyncio.gather(
        *(here.send("placed", {"id": name}, key=f"k{n % 20}") for n, name in enumerate(NAMES))
    )


async def _all_is_done_once(here: Site, places: list[Place]) -> None:
    await here.past(*places)

    async def all_published() -> bool:
        return len({record.key for record in await here.read("out")}) == COUNT

    await here.until(all_published)

    async def all_listed() -> bool:
        return len(await here.runs()) >= COUNT

    await here.until(all_listed)
    assert await here.runs() == NAMES
    ids = [dict(record.headers)["ce_id"] for record in await here.read("out")]
    assert len(set(ids)) == COUNT
    assert not await here.letters()


async def _has_accepted(process: Child, count: int) -> bool:
    assert process.alive, process.tail()
    return len(_outcomes(process)) >= count


def _outcomes(process: Child) -> dict[Place, str]:
    """The outcome of each record, as the log tells it."""
    return {
        Place(line["topic"], line["partition"], line["offset"]): line["event"]
        for line in _lines(process)
        if line["event"] in {"accepted", "duplicate", "skipped", "dead-lettered"}
    }


async def _says(process: Child, event: str) -> bool:
    assert process.alive, process.tail()
    return any(line["event"] == event for line in _lines(process))


def _lines(process: Child) -> list[dict[str, Any]]:
    assert process.log_path
    whole = process.log_path.read_text().rpartition("\n")[0]
    return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
