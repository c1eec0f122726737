"""From nothing to a bridge that runs, by `turnout setup`; and what `turnout doctor` finds on real servers."""

import asyncio
import json
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.workflowservice.v1 import CountWorkflowExecutionsRequest
from temporalio.client import Client

from service.cli import app as app_module
from service.kafka import survey
from service.kafka.rights import Who
from service.local import HOST, LocalTemporal
from service.routing.table import load_routes
from service.settings import load_settings
from service.surroundings.asking import ask
from service.surroundings.checks import Finding
from service.surroundings.of_settings import examine
from service.surroundings.views import views
from service.temporal.client import for_namespace
from service.wiring import serve
from tests.integration.attributes import register
from tests.integration.service import BOTH, RouteText, register_namespace
from tests.servers import create_topic

ROOT = Path(__file__).parents[2]
DAY_MS = 86_400_000
ROUTES = """
version: 1
topics:
  @group.in: {}
  @group.out: {out: true}
routes:
  - name: echo
    from: @group.in
    type: placed
    start:
      workflow: Echo
      id: "@group/${data.id}"
      task_queue: @group
      args: ["${data}", @group.out]
      publish_closing: @group.out
      search_attributes: {OrderNumber: "${data.id}"}
"""


@dataclass(frozen=True)
class Place:
    """A deployment of which nothing is there yet but its namespace, where workflows are remembered long."""

    env: Mapping[str, str]
    group: str
    client: Client

    async def turnout(self, *arguments: str, **changes: str) -> tuple[int, str]:
        """The command, run here in a thread of its own; its exit code, and what it printed."""
        codes: list[int] = []
        with pytest.MonkeyPatch.context() as here:
            for name, value in {**self.env, **changes}.items():
                here.setenv(name, value)
            here.setattr(sys, "argv", ["turnout", *arguments])
            here.setattr(sys, "path", [*sys.path])
            here.setattr(sys, "stdout", printed := StringIO())
            here.setattr(app_module, "leave", codes.append)
            await asyncio.wait_for(asyncio.to_thread(app_module.main), 60)
        return codes[0], printed.getvalue()

    async def things(self, *arguments: str, **changes: str) -> dict[str, dict[str, str]]:
        """What `turnout setup` says of each thing."""
        code, out = await self.turnout("setup", "--format", "json", *arguments, **changes)
        lines = {line["what"].replace(self.group, "g"): line for line in map(json.loads, out.splitlines())}
        assert code == (0 if {line["state"] for line in lines.values()} <= {"exists", "made"} else 1)
        return lines

    async def states(self, *arguments: str, **changes: str) -> dict[str, str]:
        return {what: line["state"] for what, line in (await self.things(*arguments, **changes)).items()}


@pytest.fixture(autouse=True)
def missing_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without another look for a topic that may have been made just now."""
    monkeypatch.setattr(survey, "NEW_TOPIC_TRIES", 1)


@pytest.fixture(scope="module")
async def place(kafka: str, temporal: LocalTemporal, tmp_path_factory: pytest.TempPathFactory) -> Place:
    group = f"g-{uuid.uuid4().hex[:12]}"
    client = await Client.connect(temporal.address, namespace=group)
    await register_namespace(client, group, timedelta(days=30))
    routes = tmp_path_factory.mktemp("setup") / "routes.yaml"
    routes.write_text(RouteText(ROUTES).substitute(group=group))
    env = {
        "TURNOUT_GROUP": group,
        "TURNOUT_ROUTES": str(routes),
        "TURNOUT_KAFKA__BOOTSTRAP_SERVERS": kafka,
        "TURNOUT_TEMPORAL__UI_URL": temporal.ui_url,
        "TURNOUT_WORKER__MODULES": "tests.integration.flows",
        "TURNOUT_WORKER__TASK_QUEUE": group,
        "TURNOUT_CLOSING__SECRET": "s",
        "TURNOUT_CLOSING__ADDRESS": f"{HOST}:0",
        "TURNOUT_CLOSING__URL": f"http://{HOST}:7244/",
        "TURNOUT_HEALTH__ADDRESS": f"{HOST}:0",
        "TURNOUT_METRICS__ADDRESS": f"{HOST}:0",
        "TEMPORAL_ADDRESS": temporal.address,
        "TEMPORAL_NAMESPACE": group,
    }
    return Place(env, group, client)


async def found(monkeypatch: pytest.MonkeyPatch, place: Place, **changes: str) -> list[Finding]:
    """What `turnout doctor --live` finds."""
    with monkeypatch.context() as environment:
        for name, value in {**place.env, **changes}.items():
            environment.setenv(name, value)
        known = examine(dict(place.env) | changes)
        assert known.findings == []
        return list((await ask(known, frozenset({Who.BRIDGE, Who.WORKER}))).findings)


def said(findings: list[Finding], group: str) -> set[tuple[str, str]]:
    return {(one.code, one.thing.replace(group, "g")) for one in findings}


OURS = [f"search attribute Turnout{name} in g" for name in ("Route", "EventType", "EventId", "Record")]


async def test_from_nothing_to_a_bridge_that_runs_and_a_doctor_that_finds_nothing(
    monkeypatch: pytest.MonkeyPatch, place: Place
) -> None:
    topics = ["topic g.dead-letters", "topic g.in", "topic g.out"]
    number = "search attribute OrderNumber in g"
    everything = {*topics, "namespace g", *OURS, number}

    lacking = await place.states("--dry-run")
    assert lacking == dict.fromkeys(everything, "lacks") | {"namespace g": "exists"}
    assert said(await found(monkeypatch, place), place.group) == {
        *(("TD202", topic) for topic in topics),
        ("TD303", "namespace g"),
        ("TD305", "namespace g"),
        ("TD307", "task queue g in g"),
        ("TD308", "task queue turnout.g in g"),
    }

    some = await place.things()
    assert some["topic g.dead-letters"]["state"] == "made"
    assert all(some[one]["state"] == "made" for one in OURS)
    assert "--topics" in some["topic g.in"]["cure"]
    assert "--attribute OrderNumber=Keyword" in some[number]["cure"]

    all_of_it = await place.states("--topics", "--attribute", "OrderNumber=keyword")
    made = dict.fromkeys(["topic g.in", "topic g.out", number], "made")
    assert all_of_it == dict.fromkeys(everything, "exists") | made
    again = await place.states("--topics", "--attribute", "OrderNumber=Keyword")
    assert again == dict.fromkeys(everything, "exists")

    stop = asyncio.Event()
    with monkeypatch.context() as environment:
        for name, value in place.env.items():
            environment.setenv(name, value)
        settings = load_settings(place.env)
        service = asyncio.create_task(serve(settings, BOTH, stop))
        try:
            await write(place, f"{place.group}.in", {"id": "1"})
            handle = place.client.get_workflow_handle(f"{place.group}/1")
            async with asyncio.timeout(60):
                while not await is_there(place, "`OrderNumber` = '1' AND `TurnoutRoute` = 'echo'"):
                    assert not service.done(), service.result()
                    await asyncio.sleep(0.1)
            await handle.result()
            assert await found(monkeypatch, place) == []
            assert (await place.turnout("doctor", "--live")) == (0, "")
        finally:
            stop.set()
            await asyncio.wait_for(service, 60)


async def write(place: Place, topic: str, data: Any, *, at: datetime | None = None) -> None:
    headers = {"ce_specversion": "1.0", "ce_id": uuid.uuid4().hex, "ce_source": "/t", "ce_type": "placed"}
    producer = AIOKafkaProducer(bootstrap_servers=place.env["TURNOUT_KAFKA__BOOTSTRAP_SERVERS"])
    await producer.start()
    try:
        await producer.send_and_wait(
            topic,
            json.dumps(data).encode(),
            headers=[
                *((name, text.encode()) for name, text in headers.items()),
                ("content-type", b"application/json"),
            ],
            timestamp_ms=int(at.timestamp() * 1000) if at else None,
        )
    finally:
        await producer.stop()


async def is_there(place: Place, query: str) -> bool:
    request = CountWorkflowExecutionsRequest(namespace=place.group, query=query)
    return (await place.client.workflow_service.count_workflow_executions(request)).count > 0


async def test_what_is_broken_afterwards_is_found_each_with_its_cure(
    monkeypatch: pytest.MonkeyPatch, place: Place, kafka: str
) -> None:
    group = f"{place.group}-broken"
    folder = Path(place.env["TURNOUT_ROUTES"]).parent
    routes = await asyncio.to_thread(_written, folder / "broken.yaml", group)
    await create_topic(
        kafka, f"{group}.dead-letters", settings={"cleanup.policy": "compact", "retention.ms": str(DAY_MS)}
    )
    # Forgets after an hour, and its times are those of its producers.
    await create_topic(
        kafka,
        f"{group}.in",
        settings={
            "retention.ms": "3600000",
            "message.timestamp.after.max.ms": str(10 * DAY_MS),
            "unclean.leader.election.enable": "true",
        },
    )
    await write(place, f"{group}.in", {}, at=datetime.now(UTC) + timedelta(hours=2))
    await register(place.client, "Wrong", IndexedValueType.INDEXED_VALUE_TYPE_TEXT)
    # Unless the test before this one has: each may run alone.
    for name in ("TurnoutRoute", "TurnoutEventType", "TurnoutEventId", "OrderNumber"):
        await register(place.client, name, IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD)
    changes = {
        "TURNOUT_GROUP": group,
        "TURNOUT_ROUTES": str(routes),
        "TURNOUT_TEMPORAL__ATTRIBUTE_RECORD": "Wrong",
        "TURNOUT_CLOSING__URL": "http://turnout.example/",
        "TURNOUT_KAFKA__SESSION_TIMEOUT": "3000s",
    }
    findings = await found(monkeypatch, place, **changes)
    assert said(findings, group) == {
        ("TD202", "topic g.out"),
        ("TD205", "topic g.dead-letters"),
        ("TD206", "topic g.dead-letters"),
        ("TD211", "topic g.in"),
        ("TD213", "brokers"),
        ("TD304", f"namespace {place.group}"),
        ("TD307", f"task queue g in {place.group}"),
        ("TD308", f"task queue turnout.g in {place.group}"),
        ("TD309", f"namespace {place.group}"),
        ("TD401", "topic g.in"),
        ("TD503", "topic g.in"),
    }
    assert all(one.cure for one in findings)
    (refused,) = [one for one in findings if one.code == "TD309"]
    assert "callback.allowedAddresses" in refused.cure
    (wrong,) = [one for one in findings if one.code == "TD304"]
    assert "Wrong is of type Text, not Keyword" in wrong.problem

    things = await place.things(**changes)
    letters = things[f"topic {group}.dead-letters".replace(place.group, "g")]
    assert letters["state"] == "differs"
    assert "--add-config cleanup.policy=delete" in letters["cure"]
    assert things["search attribute Wrong in g"]["state"] == "differs"
    nowhere = f"nowhere-{uuid.uuid4().hex[:8]}"
    gone = await found(monkeypatch, place, TEMPORAL_NAMESPACE=nowhere)
    assert ("TD302", f"namespace {nowhere}") in said(gone, place.group)
    (code, out) = await place.turnout("setup", TEMPORAL_NAMESPACE=nowhere)
    assert code == 1
    assert f"temporal operator namespace create -n {nowhere}" in out


def _written(file: Path, group: str) -> Path:
    file.write_text(RouteText(ROUTES).substitute(group=group))
    return file


async def test_each_view_is_a_query_that_temporal_takes(
    monkeypatch: pytest.MonkeyPatch, temporal: LocalTemporal
) -> None:
    """In the run's own namespace, where our search attributes are."""
    monkeypatch.setenv("TURNOUT_GROUP", "shop")
    monkeypatch.setenv("TURNOUT_ROUTES", str(ROOT / "deploy" / "demo" / "routes"))
    settings = load_settings()
    client = await Client.connect(temporal.address)
    table = load_routes(settings.routes)
    for view in views(settings, table, client.namespace, datetime.now(UTC)):
        request = CountWorkflowExecutionsRequest(namespace=view.namespace, query=view.query)
        here = for_namespace(client, view.namespace)
        # What it does not understand is refused.
        await here.workflow_service.count_workflow_executions(request)
