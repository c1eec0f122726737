# ruff: noqa: E501 - a case is a line
"""Topics that are declared by a pattern: each part of the service knows them by their real names."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError
from structlog.testing import capture_logs

from service.cli import switchboard
from service.declarations import ByTopic
from service.desk import examination
from service.dispatch.contracts import Contracts
from service.documents.asyncapi import About, asyncapi
from service.errors import ConfigurationError
from service.events.decoding import Decoder
from service.events.event import Event
from service.events.strict_json import Limits
from service.intake.loop import lane_key_by
from service.intake.pauses import Pauses
from service.kafka import source
from service.kafka.admin import Cluster
from service.kafka.found_topics import FoundTopics
from service.kafka.record import Commit, Partition
from service.routing.lint import lint
from service.routing.table import RouteTable, load_routes
from service.settings import Settings
from service.trial import ToTry
from tests.unit.fakes import paused
from tests.unit.records import record
from tests.unit.source_world import FakeConsumer, Raw, World
from workflows.switchboard import Names, State

ROUTES = """\
version: 1
topics:
  t-*.orders: {ordering: partition, event: {type: placed}}
  t-own.orders: {unmatched: skip, event: {type: placed}}
  shop.*: {unmatched: skip}
  shop.results: {out: true}
routes:
  - name: tenant
    from: t-*.orders
    start: {workflow: Shop, id: "order/${record.topic}", task_queue: q}
  - {name: own, from: t-own.orders, type: placed, cancel: {to: order/own}}
  - {name: both, from: [t-*.orders, t-own.orders], type: placed, cancel: {to: order/both}}
  - {name: shop, from: shop.*, type: sold, cancel: {to: order/shop}}
"""


def table_of(folder: Path, text: str = ROUTES) -> RouteTable:
    (folder / "routes.yaml").write_text(text)
    return load_routes(folder / "routes.yaml")


def event_of(table: RouteTable, topic: str) -> Event:
    decoder = Decoder(table.topics.each(lambda one: one.format), Limits(), "cluster")
    event = decoder.decode(record(topic=topic, headers=()))
    assert isinstance(event, Event)
    return event


# --- lint ---

HEAD = "version: 1\nroutes: [{name: r, from: [a-*], cancel: {to: x/1}}]\ntopics:\n  a-*: {}\n"


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        (HEAD, ""),
        (f"{HEAD}  a-*.x: {{out: true}}\n", "5:11 TR311 'a-*.x' is a pattern, and to be written to; declare each topic that is written to by its name"),
        (HEAD.replace("[a-*]", "[a-*, a-b*]") + "  a-b*: {}\n", "5:3 TR311 'a-*' and 'a-b*' both match 'a-bx'; make them exclude each other, or declare by its name what one of them is for"),
        (HEAD.replace("[a-*]", "[a-*, a-b]") + "  a-b: {}\n", ""),
        (HEAD.replace("[a-*]", "[a-*, a-b]"), "2:26 TR304 topic 'a-b' is not declared; write from: a-*, which matches it, or declare it by its name"),
        (HEAD.replace("[a-*]", "[a-*, b-*]"), "2:26 TR304 topic 'b-*' is not declared; did you mean a-*?"),
        (HEAD.replace("a-*", "a**"), "4:3 TR203 a** is no pattern; write one * for each run of characters between dots"),
        (HEAD.replace("a-*", '"*.*"'), "4:3 TR203 *.* matches topics of any name; write out what all that are meant have in common"),
        (HEAD.replace("a-*", '"*.dead-letters"'), "4:3 TR203 *.dead-letters matches no topic: hidden ones and letters are never matched; declare them by their names"),
        (HEAD.replace("a-*", "_a*"), "4:3 TR203 _a* matches no topic: hidden ones and letters are never matched; declare them by their names"),
        (HEAD.replace("a-*:", "*.x:"), "4:3 TR102 YAML: found undefined alias '.x:'; put a pattern that begins with * in quotes: \"*.x\""),
        (HEAD.replace("[a-*]", "[*.x, a-*]"), "2:27 TR102 YAML: found undefined alias '.x'; put a pattern that begins with * in quotes: \"*.x\""),
        (HEAD.replace("cancel", "when: record.topic == 'a-1', cancel"), ""),
    ],
)  # fmt: skip
def test_what_can_be_wrong_with_a_pattern_is_said_with_its_cure(
    tmp_path: Path, text: str, finding: str
) -> None:
    (tmp_path / "r.yaml").write_text(text)
    found = lint([tmp_path / "r.yaml"]).findings
    assert [f"{one.line}:{one.column} {one.code} {one.text}" for one in found] == (
        [finding] if finding else []
    )


# --- routing ---


@pytest.mark.parametrize(
    ("topic", "routes"),
    [
        ("t-a.orders", ["tenant", "both"]),
        ("t-own.orders", ["own", "both"]),  # its name wins
        ("t-.orders", []),
        ("shop.results", []),  # it is declared elsewhere: to be written to
    ],
)
def test_an_event_goes_by_the_declaration_of_its_topic(tmp_path: Path, topic: str, routes: list[str]) -> None:
    table = table_of(tmp_path)
    assert (topic in table.topics) == bool(routes)
    if routes:
        event = event_of(table, topic)
        assert [route.name for route in table.routes_for(event)] == routes
        command = table.routes_for(event)[0].command(event)
        assert command
        assert command.workflow_id == ("order/own" if topic == "t-own.orders" else f"order/{topic}")
    assert [r.name for r in table.routes if table.reads(r, topic)] == routes
    assert table.by_topic.get(topic, frozenset()) == set(routes)


def test_order_is_that_of_the_declaration(tmp_path: Path) -> None:
    key = lane_key_by(table_of(tmp_path).ordered_by_partition)
    assert key(record(topic="t-a.orders", key=b"k")) is None
    assert key(record(topic="t-own.orders", key=b"k")) == b"k"


def test_a_route_alone_does_not_get_what_has_a_declaration_of_its_own(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    route = table.route("tenant")
    assert route
    alone = table.alone(route)
    there = ["t-own.orders", "t-b.orders", "t-a.orders", "shop.x"]
    assert alone.topics_of(route, there) == ["t-a.orders", "t-b.orders"]
    assert not alone.routes_for(event_of(alone, "t-own.orders"))
    both = table.route("both")
    assert both
    assert table.topics_of(both, there) == ["t-own.orders", "t-a.orders", "t-b.orders"]


def test_a_pattern_to_try_stands_for_the_topics_of_either_routes(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    to_try = ToTry(table, None, Contracts(()))
    cluster = Cluster("c", 1, dict.fromkeys(["t-own.orders", "t-a.orders", "x"], 1))
    assert to_try.meant_by("t-*.orders", cluster) == ["t-a.orders"]
    assert to_try.meant_by("t-own.orders", cluster) == ["t-own.orders"]


# --- pauses ---


def test_a_pause_is_of_one_topic_or_of_all_that_a_pattern_stands_for(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    pauses = Pauses(Names(topics=tuple(table.topics), routes=()), None, table.topics.declaration_of)
    pauses.obey(paused("t-a.orders"))
    assert (pauses.topic("t-a.orders"), pauses.topic("t-b.orders")) == (True, False)
    assert pauses.names.kind("t-a.orders") == "topic"
    pauses.obey(paused("t-*.orders"))
    assert (pauses.topic("t-a.orders"), pauses.topic("t-own.orders")) == (True, False)
    assert pauses.holding("t-b.orders", "tenant") == "t-*.orders"
    assert pauses.names.kind("elsewhere") == "unknown"


def test_the_command_takes_a_topic_that_a_pattern_stands_for_and_no_other(tmp_path: Path) -> None:
    state = State(names=Names(topics=tuple(table_of(tmp_path).topics), routes=()))
    switchboard._check("t-new.orders", state, "g")  # noqa: SLF001
    with pytest.raises(ConfigurationError, match=re.escape("did you mean t-*.orders?")):
        switchboard._check("t-.orders", state, "g")  # noqa: SLF001


# --- documents and tests ---


def test_a_pattern_is_a_channel_with_parameters(tmp_path: Path) -> None:
    channels = asyncapi(table_of(tmp_path), Contracts(()), About())["channels"]
    channel = channels["t-*.orders"]
    assert channel["address"] == "t-{part1}.orders"
    assert channel["parameters"].keys() == {"part1"}
    assert "bindings" not in channel
    assert channels["t-own.orders"]["bindings"]["kafka"]["topic"] == "t-own.orders"


@pytest.mark.parametrize(
    ("topic", "problem"),
    [
        ("t-a.orders", ""),
        ("t-*.orders", "'t-*.orders' is a pattern, no topic; write one that it matches: t-x.orders"),
        ("t-own.orders", "route tenant reads topic t-*.orders, and the event is from t-own.orders"),
    ],
)
def test_a_test_of_routes_names_a_real_topic(tmp_path: Path, topic: str, problem: str) -> None:
    table_of(tmp_path)
    expect = f"[{{name: t, topic: {topic}, event: {{value: 1}}, expect: {{tenant: {{start: {{id: order/t-a.orders}}}}}}, others: any}}]"
    (tmp_path / "r.test.yaml").write_text(f"version: 1\ntests: {expect}\n")
    if "*" in topic:
        with pytest.raises(ConfigurationError, match=re.escape(problem)):
            examination(Settings(group="g", routes=tmp_path), [tmp_path], [tmp_path], [])
        return
    ready = examination(Settings(group="g", routes=tmp_path), [tmp_path], [tmp_path], [])
    faults = [fault.problem for test in ready.tests.tests for fault in ready.examining.faults(test)]
    assert faults == ([problem] if problem else [])


# --- finding topics ---


def test_what_matches_is_found_and_what_is_missing_twice_is_let_go() -> None:
    with capture_logs() as lines:
        found = FoundTopics(ByTopic({"t-*": 1, "own": 2}))
        for there, now in [
            (["own", "x"], ["own"]),
            (["t-a", "t-b", "__t-c", "t-x.dead-letters"], ["own", "t-a", "t-b"]),
            (["t-a"], ["own", "t-a", "t-b"]),
            (["t-a", "t-b"], ["own", "t-a", "t-b"]),
            (["t-a"], ["own", "t-a", "t-b"]),
            (["t-a"], ["own", "t-a"]),
            (["t-a", "t-b"], ["own", "t-a", "t-b"]),
        ]:
            found.see(there)
            assert list(found.now) == now
    assert found.by_pattern == {"t-*": ["t-a", "t-b"]}
    said = [(line["event"].partition(":")[0], line.get("topic", line["pattern"])) for line in lines]
    assert said == [
        ("no topic matches yet", "t-*"),
        ("topic found", "t-a"),
        ("topic found", "t-b"),
        ("topic gone", "t-b"),
        ("topic found", "t-b"),
    ]


T_A, T_B = Partition("t-a", 0), Partition("t-b", 0)


class FakeFinding(FakeConsumer):
    """Knows which topics there are, and what it was told to read: with what we had parted with by then."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.there: set[str] = set()
        self.subscribed: list[tuple[list[str], set[Partition]]] = []
        self.parted: Callable[[], set[Partition]] = set
        self.told, self.asked = asyncio.Event(), asyncio.Event()

    async def topics(self) -> set[str]:
        self.asked.set()
        await self._answer()
        return self.there

    async def getmany(self, *places: TopicPartition, **how: Any) -> dict[TopicPartition, list[Raw]]:
        assert self.subscribed, "the client would wait for ever"
        return await super().getmany(*places, **how)

    def subscribe(self, topics: list[str], *, listener: Any) -> None:
        super().subscribe(topics, listener=listener)
        self.subscribed.append((topics, self.parted()))
        self.told.set()


@pytest.fixture
async def finding(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[World, FakeFinding]]:
    monkeypatch.setattr("service.kafka.connection.AIOKafkaConsumer", FakeFinding)
    monkeypatch.setattr(source, "FIND_SECONDS", 0.01)
    monkeypatch.setattr(source, "POLL_SECONDS", 0.001)
    world = World(topics=["t-*"])
    client = world.client
    assert isinstance(client, FakeFinding)
    client.parted = lambda: world.revoked_[-1] if world.revoked_ else set()
    await world.source.start()
    yield world, client
    await world.source.stop()


async def test_a_source_parts_with_its_partitions_before_it_joins_for_a_new_topic(
    finding: tuple[World, FakeFinding],
) -> None:
    world, client = finding
    assert client.subscribed == []
    assert world.source.settled, "it waits for nobody"
    assert await world.read(T_A) == []
    client.there = {"t-a", "__t-x"}
    await client.told.wait()
    world.holds({T_A: 2})
    await world.rebalance(T_A)
    assert await world.read(T_A) == [(T_A, 0), (T_A, 1)]
    client.told.clear()
    client.there = {"t-a", "t-b"}
    await client.told.wait()
    assert client.subscribed == [(["t-a"], set()), (["t-a", "t-b"], {T_A})]
    world.committed[T_A] = Commit(2)
    world.holds({T_B: 1})
    await world.rebalance(T_A, T_B)
    assert await world.read(T_A, T_B) == [(T_B, 0)]


async def test_what_was_to_be_taken_on_when_the_client_was_told_of_other_topics_is_parted_with(
    finding: tuple[World, FakeFinding],
) -> None:
    world, client = finding
    client.there = {"t-a"}
    await client.told.wait()
    await world.rebalance(T_A)
    world.holds({T_A: 2})
    listener = client.listener

    async def told_meanwhile(_group: str) -> None:
        listener.drop()

    client._client.before_answer = told_meanwhile  # noqa: SLF001
    assert await world.read(T_A) == []
    assert client.sought == []  # the client would raise: it has no assignment
    await listener.on_partitions_revoked(set())
    assert world.revoked_[-1] == {T_A}


async def test_a_look_that_fails_changes_nothing_and_is_said(finding: tuple[World, FakeFinding]) -> None:
    _, client = finding
    client.failure = KafkaConnectionError("down")
    with capture_logs() as lines:
        for _ in range(2):  # the first has failed when the second begins
            client.asked.clear()
            await client.asked.wait()
        client.failure, client.there = None, {"t-a"}
        await client.told.wait()
    assert lines[0]["event"] == "topics not looked for"
