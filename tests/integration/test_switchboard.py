"""What is paused stands still and keeps its order, also across a crash; what is not flows on."""

import asyncio
import json
import os
import re
import shlex
import sys
import urllib.request
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowHandle
from temporalio.contrib.pydantic import pydantic_data_converter

from service.local import Child, LocalTemporal, binary
from service.temporal.switchboard import SwitchboardClient, switchboard_id
from service.temporal.worker import make_service_worker
from tests.integration.service import Place, Site, site
from tests.pages import page
from tests.servers import random_port
from workflows.switchboard import Names, Switchboard

ROOT = Path(__file__).parents[2]
SOON = timedelta(seconds=30)
ROUTES = """
version: 1
topics:
  @in: {}
  @other: {}
routes:
  - name: keep
    from: @in
    type: kept
    start: {workflow: Keep, id: "@id/${data.id}", task_queue: @queue, input: "${data}"}
  - {name: note, from: @in, type: note, signal: {to: "@id/${data.id}", name: note, input: "${data.n}"}}
  - {name: both-1, from: @in, type: both, signal: {to: "@id/${data.id}", name: note, input: "${data.n}"}}
  - {name: both-2, from: @in, type: both, signal: {to: "@id/${data.id}", name: note, input: "${-data.n}"}}
  - name: other
    from: @other
    type: other
    start: {workflow: Keep, id: "@id/${data.id}", task_queue: @queue, input: "${data}"}
"""


# --- a topic, by the command, in processes of their own ---


async def test_a_paused_topic_stands_still_through_a_crash_and_then_comes_in_order(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    port = random_port()
    async with _site(kafka, temporal.address, tmp_path) as here:
        topic = here.topics["in"]
        async with _bridge(here, tmp_path / "first.log", port) as first:
            await here.past(await here.send("kept", {"id": "kept"}, key="kept"))
            said = await _turnout(here, "pause", topic, "--because", "totals in euros")
            assert re.fullmatch(
                rf"paused: topic {topic} since \S+ \S+ UTC by \S+@\S+: totals in euros\n", said
            )
            await here.until(lambda: _says(first, "paused"))
            held = [await here.send("note", {"id": "kept", "n": n}, key="kept") for n in range(20)]
            await _others_flow(here, "a")
            assert not _outcomes(first).keys() & set(held)
            assert await here.members() == 1
            assert f'turnout_paused{{kind="topic",name="{topic}"}} 1.0' in await _metrics(port)
            first.kill()
        await _board(here).signal("pause", "both-1")  # nobody is there to take it in
        async with _bridge(here, tmp_path / "second.log", port) as second:
            await here.until(lambda: _says(second, "bridge ready"))
            assert {line["name"] for line in _lines(second) if line["event"] == "paused"} == {topic, "both-1"}
            await _others_flow(here, "b")
            assert not _outcomes(second).keys() & set(held)
            status, _ = (await _board(here).query("status"))["paused"]
            assert (status["name"], status["kind"], status["because"]) == (topic, "topic", "totals in euros")
            # As the Temporal UI sends it.
            await _board(here).signal("resume", {"name": topic, "by": "ada", "because": "mended"})
            await here.past(*held)
            assert await here.workflow("kept").query("noted") == list(range(20))
            assert [_outcomes(second)[place] for place in held] == [["accepted"]] * 20
            assert [line["by"] for line in _lines(second) if line["event"] == "resumed"] == ["ada"]
            assert f'turnout_paused{{kind="topic",name="{topic}"}}' not in await _metrics(port)
            assert 'turnout_outcomes_total{kind="accepted",route="note"} 20.0' in await _metrics(port)
        assert not await here.letters()


async def test_what_is_paused_while_no_bridge_runs_is_not_begun_by_the_next(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with _site(kafka, temporal.address, tmp_path) as here:
        topic = here.topics["in"]
        refused = await _refused(here, "pause", topic, "--because", "early")
        assert "has run yet, so no topic or route is known" in refused
        said = await _turnout(here, "pause", topic, "--because", "early", "--anyway")
        assert (
            said
            == f"Not taken in yet: no bridge of group {here.group} runs. Temporal keeps it until one does.\n"
        )
        held = await here.send("kept", {"id": "early"}, key="early")
        async with here.running():
            await _others_flow(here, "a")
            assert not here.said(held)
            assert ": early" in await _turnout(here, "paused")
            assert await _turnout(here, "resume", topic) == "nothing is paused\n"
            await here.past(held)


async def test_a_name_that_is_none_is_refused_with_one_that_is_close(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with _site(kafka, temporal.address, tmp_path) as here, here.running():
        await here.past(await here.send("kept", {"id": "kept"}))
        topic = here.topics["other"]
        for command in (["pause", f"{topic}s", "--because", "x"], ["resume", f"{topic}s"]):
            assert f"is called {topic}s; did you mean {topic}?" in await _refused(here, *command)
        assert await _turnout(here, "paused") == "nothing is paused\n"
        said = await _turnout(here, "pause", "shop.later", "--because", "x", "--anyway")
        assert said.startswith("paused: unknown shop.later since ")
        assert await _turnout(here, "resume", "shop.later") == "nothing is paused\n"
        assert "note was to be resumed, and was not paused" in await _turnout(here, "resume", "note")


# --- a route, and what people do to the workflow ---


async def test_a_paused_route_waits_and_the_routes_before_it_run_once(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with _site(kafka, temporal.address, tmp_path) as here, here.running():
        await here.past(await here.send("kept", {"id": "kept"}, key="kept"))
        await _turnout(here, "pause", "both-2", "--because", "not today")
        await _in_the_log(here, "paused")
        held = [await here.send("both", {"id": "kept", "n": n}, key="kept") for n in (1, 2)]
        free = await here.send("note", {"id": "kept", "n": 9}, key="another", partition=held[0].partition)
        assert [said.route for said in await here.outcomes(free)] == ["note"]
        assert [said.route for said in await here.outcomes(held[0])] == ["both-1"]
        assert not here.said(held[1])
        await _board(here).signal("resume", "both-2")
        await here.past(*held, free)
        noted = await here.workflow("kept").query("noted")
        assert [n for n in noted if n != 9] == [1, -1, 2, -2]
        routes = [[said.route for said in here.said(place)] for place in held]
        assert routes == [["both-1", "both-2"]] * 2
        assert not await here.letters()


async def test_a_switchboard_that_someone_ends_begins_anew_with_what_it_knew(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with _site(kafka, temporal.address, tmp_path) as here, here.running():
        await here.past(await here.send("kept", {"id": "kept"}, key="kept"))
        await _turnout(here, "pause", "note", "--because", "not today")
        board = _board(here)
        before = (await board.describe()).run_id
        await board.terminate()

        async def begun_anew() -> bool:
            return (await board.describe()).run_id != before

        await here.until(begun_anew)
        (status,) = (await board.query("status"))["paused"]
        assert (status["name"], status["kind"], status["because"]) == ("note", "route", "not today")


async def test_a_service_that_waits_for_a_resume_stops_at_once_and_loses_nothing(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with _site(kafka, temporal.address, tmp_path) as here:
        async with here.running():
            await here.past(await here.send("kept", {"id": "kept"}, key="kept"))
            await _board(here).signal("pause", "both-2")
            await _in_the_log(here, "paused")
            held = await here.send("both", {"id": "kept", "n": 1}, key="kept")
            await here.outcomes(held)
        await _board(here).signal("resume", "both-2")
        async with here.running():
            await here.past(held)
            assert await here.workflow("kept").query("noted") == [1, -1]
        # The route that had run before the stop is asked for again, and has done nothing twice.
        assert [said.route for said in here.said(held)] == ["both-1", "both-1", "both-2"]


async def test_a_metrics_port_that_is_taken_stops_the_start(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with (
        _site(kafka, temporal.address, tmp_path) as here,
        await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0) as server,
    ):
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        said = await _refused(here, "bridge", TURNOUT_METRICS__ADDRESS=address)
        assert said.startswith(f"turnout: TURNOUT_METRICS__ADDRESS={address}: nothing can listen there: ")


# --- the documentation ---


def _documented() -> list[str]:
    return page("docs/operate.md").section("Pause a topic or a route").lines()


async def test_each_command_of_the_documentation_does_what_it_says(temporal: LocalTemporal) -> None:
    client = await Client.connect(temporal.address, data_converter=pydantic_data_converter)
    names = Names(topics=("shop.orders",), routes=("order-placed",))
    # Only here is a group called shop.
    async with make_service_worker(client, "shop", [Switchboard], []):
        board = SwitchboardClient(client, "shop")
        await board.tell("routes_loaded", names, last=None)
        said = [await _run(command, temporal) for command in _documented()]
        after = await board.read_settled(30)
        assert after.state
        assert after.state.paused == ()
    expected = [
        "paused: topic shop.orders since .*: totals come in euros since noon",
        "paused: route order-placed since .*: the stock service is down",
        "paused: topic shop.orders.*\npaused: route order-placed",
        "paused: route order-placed",
        "nothing is paused",
        "Signal workflow succeeded",
        '"because":"totals in euros".*"kind":"topic"',
        "Signal workflow succeeded",
    ]
    assert len(said) == len(expected)
    for answer, text in zip(said, expected, strict=True):
        assert re.search(text, answer), answer


async def _run(command: str, temporal: LocalTemporal) -> str:
    program, *arguments = shlex.split(command)
    argv = {
        "turnout": [sys.executable, "-m", "service"],
        "temporal": [str(binary("temporal")), "--address", temporal.address],
    }[program]
    return await _output([*argv, *arguments], {"TURNOUT_GROUP": "shop", "TEMPORAL_ADDRESS": temporal.address})


# --- helpers ---


@asynccontextmanager
async def _site(kafka: str, temporal: str, folder: Path) -> AsyncIterator[Site]:
    async with site(kafka, temporal, folder, ROUTES, topics=["in", "other"]) as here:
        yield here


@asynccontextmanager
async def _bridge(here: Site, log: Path, metrics_port: int) -> AsyncIterator[Child]:
    """The service in a process; a static member, so that its successor goes on at once."""
    more = {
        "TURNOUT_KAFKA__GROUP_INSTANCE_ID": "one",
        "TURNOUT_WORKER__GRACE": "1s",
        "TURNOUT_METRICS__ADDRESS": f"127.0.0.1:{metrics_port}",
    }
    argv = [sys.executable, "-m", "service", "run"]
    child = Child("turnout", argv, log_path=log, env={**here.env, **more}, cwd=ROOT)
    child.start()
    try:
        yield child
    finally:
        await child.terminate(SOON)


async def _others_flow(here: Site, prefix: str) -> None:
    """Records of the topic that is not paused, sent after those that are held, come through."""
    others = [await here.send("other", {"id": f"{prefix}{n}"}, key=str(n), to="other") for n in range(10)]
    await here.past(*others)


async def _turnout(here: Site, *arguments: str) -> str:
    return await _output([sys.executable, "-m", "service", *arguments], here.env)


async def _refused(here: Site, *arguments: str, **env: str) -> str:
    return await _output([sys.executable, "-m", "service", *arguments], {**here.env, **env}, code=1)


async def _output(argv: Sequence[str], env: dict[str, str], *, code: int = 0) -> str:
    process = await asyncio.create_subprocess_exec(
        *argv,
        env={**os.environ, **env},
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        said, complained = await process.communicate()
    assert process.returncode == code, complained.decode()
    return (complained if code else said).decode()


def _board(here: Site) -> WorkflowHandle[Any, Any]:
    return here.client.get_workflow_handle(switchboard_id(here.group))


async def _metrics(port: int) -> str:
    def fetch() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text: str = answer.read().decode()
        return text

    return await asyncio.to_thread(fetch)


async def _in_the_log(here: Site, event: str) -> None:
    async def said() -> bool:
        return any(line["event"] == event for line in here.lines)

    await here.until(said)


async def _says(process: Child, event: str) -> bool:
    assert process.alive, process.tail()
    return any(line["event"] == event for line in _lines(process))


def _outcomes(process: Child) -> dict[Place, list[str]]:
    outcomes: dict[Place, list[str]] = {}
    for line in _lines(process):
        if line["event"] in {"accepted", "duplicate", "skipped", "dead-lettered"}:
            place = Place(line["topic"], line["partition"], line["offset"])
            outcomes.setdefault(place, []).append(line["event"])
    return outcomes


def _lines(process: Child) -> list[dict[str, Any]]:
    assert process.log_path
    whole = process.log_path.read_text().rpartition("\n")[0]
    return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
