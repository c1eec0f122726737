"""The way of one record through decoding, routes, dispatch and letters."""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from service.dispatch.answers import Outcome, OutcomeKind
from service.dispatch.identity import command_id
from service.errors import RejectedError
from service.events.decoding import Decoder, Tombstone
from service.events.event import Event
from service.events.strict_json import Limits
from service.failures.letters import About, Letter, Letters, read_letter
from service.failures.parking import Parking
from service.intake.handling import Handling
from service.intake.pace import Pace
from service.intake.pauses import Pauses
from service.intake.waiting import Abandoned, Assignment, WaitingRoom
from service.kafka.given_up import GivenUp, GiveUp, as_commit
from service.kafka.raw import MENDED
from service.kafka.record import Record, Written
from service.routing.commands import Command, Signal
from service.routing.table import RouteTable, load_routes
from service.telemetry.metrics import Metrics
from service.telemetry.traces import OFF, Traces
from tests.unit.fakes import FakeParks, FakeSink, NoTime, ScriptedDispatcher, outage, paused
from tests.unit.records import record

ROUTES = """\
version: 1
task_queues: {points: {inbox: true}}
topics:
  shop.points: {format: json, event: cloudevents}
  shop.orders: {format: json, event: cloudevents, tombstones: skip, unmatched: dead-letter}
  shop.news: {format: json, event: cloudevents, unmatched: skip}
routes:
  - name: first
    from: shop.orders
    type: [placed, all]
    start: {workflow: Order, id: "order/${data.id}", task_queue: orders, input: "${data}"}
  - name: second
    from: shop.orders
    type: all
    signal: {to: "customer/${data.customer.name}", name: ordered, input: "${data}"}
  - name: third
    from: shop.orders
    type: [all, big]
    when: data.total > 10
    cancel: {to: "order/${data.id}"}
  - name: news
    from: shop.news
    type: told
    start: {workflow: News, id: "news/${event.id}", task_queue: news, input: "${data}"}
"""
ROUTES += """\
  - name: points
    from: shop.points
    type: earned
    when: data.points != 0
    signal: {to: "customer/${data.customer}", name: earned, input: "${data.points}", batch: true}
"""
MARKER = "MARKER-of-a-payload"
ORDER = {"id": "A-1", "customer": {"name": "c-7"}, "total": 12, "note": MARKER}
FAILED_MAPPING = {**ORDER, "customer": {"secret": MARKER}}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> RouteTable:
    path = tmp_path_factory.mktemp("routes") / "shop.yaml"
    path.write_text(ROUTES)
    return load_routes(path)


class World:
    """A `Handling` between fakes."""

    def __init__(
        self,
        table: RouteTable,
        dispatcher: ScriptedDispatcher,
        sink: FakeSink | None = None,
        concurrency: int = 8,
        decodes: Decoder | None = None,
        traces: Traces = OFF,
    ) -> None:
        self.dispatcher = dispatcher
        self.sink = sink or FakeSink()
        self.waiting = WaitingRoom()
        self.pauses = Pauses()
        self.given_up = GivenUp()
        self.metrics = Metrics()
        self.handling = Handling(
            decodes or decoder(table),
            table,
            dispatcher,
            Letters(self.sink, "shop"),
            Parking(dispatcher, FakeParks()),
            waiting=self.waiting,
            pace=Pace(concurrency),
            pauses=self.pauses,
            given_up=self.given_up,
            metrics=self.metrics,
            traces=traces,
        )

    async def handle(self, given: Record, assignment: Assignment | None = None) -> Sequence[Outcome]:
        return await self.handling.handle(given, assignment or NoTime())

    def give_up(self, *records: Record) -> None:
        """A person gives up on records of one partition."""
        commit = as_commit([GiveUp.on(one, "ada", "no use") for one in records])
        assert commit
        self.given_up.note({records[0].place: commit})

    @property
    def called(self) -> list[str]:
        return [command.route for command in self.dispatcher.calls]

    @property
    def letters(self) -> list[tuple[str, str]]:
        """Stage and route of each."""
        return [
            ((sent.header("turnout-stage") or b"").decode(), (sent.header("turnout-route") or b"").decode())
            for sent in self.sink.sent
        ]


def fact(type_: str, data: Mapping[str, Any] = ORDER, *, topic: str = "shop.orders") -> Record:
    return record(
        1042,
        topic=topic,
        partition=2,
        value=json.dumps(data).encode(),
        headers=(
            ("ce_specversion", b"1.0"),
            ("ce_id", b"e-1"),
            ("ce_source", b"/shop"),
            ("ce_type", type_.encode()),
        ),
    )


def letters_in(world: World) -> Sequence[Letter]:
    found = [
        read_letter(record(topic=sent.topic, key=sent.key, value=sent.value, headers=sent.headers))
        for sent in world.sink.sent
    ]
    return [letter for letter in found if letter]


def commands(table: RouteTable, given: Record) -> Sequence[Command]:
    event = decoder(table).decode(given)
    assert isinstance(event, Event)
    return [command for route in table.routes_for(event) if (command := route.command(event))]


def decoder(table: RouteTable) -> Decoder:
    formats = {name: topic.format for name, topic in table.topics.items()}
    return Decoder(formats, Limits(), "cluster-1")


def kinds(outcomes: Sequence[Outcome]) -> list[tuple[str, str]]:
    return [(outcome.route, outcome.kind.value) for outcome in outcomes]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 200))
async def test_an_outage_delays_a_record_but_never_makes_a_letter_of_it(
    table: RouteTable, failures: int
) -> None:
    world = World(table, ScriptedDispatcher(first=outage(failures)))
    assert kinds(await world.handle(fact("placed"))) == [("first", "accepted")]
    assert len(world.dispatcher.calls) == failures + 1
    assert len({id(command) for command in world.dispatcher.calls}) == 1
    assert world.sink.sent == []


async def test_a_letter_topic_that_cannot_be_written_to_holds_the_record(table: RouteTable) -> None:
    world = World(table, ScriptedDispatcher())
    world.sink.errors.extend(outage(20))
    assignment = NoTime()
    outcomes = await world.handle(fact("unknown"), assignment)
    assert kinds(outcomes) == [("", "dead-lettered")]
    assert len(assignment.slept) == 20
    assert len(world.sink.sent) == 1


async def test_all_matching_routes_run_in_file_order_one_after_the_other(table: RouteTable) -> None:
    world = World(table, ScriptedDispatcher(first=outage(3)))
    outcomes = await world.handle(fact("all"))
    assert kinds(outcomes) == [("first", "accepted"), ("second", "accepted"), ("third", "accepted")]
    assert world.called == ["first", "first", "first", "first", "second", "third"]


async def test_a_route_that_is_refused_does_not_stop_the_others(table: RouteTable) -> None:
    world = World(table, ScriptedDispatcher(first=[RejectedError("is too large")]))
    outcomes = await world.handle(fact("all"))
    assert kinds(outcomes) == [("first", "dead-lettered"), ("second", "accepted"), ("third", "accepted")]
    assert world.letters == [("dispatch", "first")]


async def test_a_route_that_cannot_make_its_command_does_not_stop_the_others(table: RouteTable) -> None:
    world = World(table, ScriptedDispatcher())
    outcomes = await world.handle(fact("all", FAILED_MAPPING))
    assert kinds(outcomes) == [("first", "accepted"), ("second", "dead-lettered"), ("third", "accepted")]
    assert world.letters == [("route", "second")]


async def test_a_false_when_is_a_skip_that_someone_wrote(table: RouteTable) -> None:
    world = World(table, ScriptedDispatcher())
    assert kinds(await world.handle(fact("big", {**ORDER, "total": 1}))) == [("third", "skipped")]
    assert (world.called, world.sink.sent) == ([], [])


NOT_ROUTED = {
    "unmatched, dead-letter": (fact("unknown"), OutcomeKind.DEAD_LETTERED, [("route", "")]),
    "unmatched, skip": (fact("unknown", topic="shop.news"), OutcomeKind.SKIPPED, []),
    "tombstone, skip": (record(topic="shop.orders", value=None), OutcomeKind.SKIPPED, []),
    "tombstone, not declared": (
        record(topic="shop.news", value=None),
        OutcomeKind.DEAD_LETTERED,
        [("decode", "")],
    ),
    "undecodable": (record(topic="shop.orders", value=b"\xff"), OutcomeKind.DEAD_LETTERED, [("decode", "")]),
}


@pytest.mark.parametrize(("given", "kind", "letters"), NOT_ROUTED.values(), ids=NOT_ROUTED)
async def test_what_no_route_takes_has_one_outcome(
    table: RouteTable, given: Record, kind: OutcomeKind, letters: list[tuple[str, str]]
) -> None:
    world = World(table, ScriptedDispatcher())
    assert kinds(await world.handle(given)) == [("", kind.value)]
    assert world.letters == letters
    assert world.called == []


async def test_a_record_is_abandoned_when_its_assignment_ends_while_it_waits(table: RouteTable) -> None:
    world = World(table, ScriptedDispatcher(first=outage(100)))
    with pytest.raises(Abandoned):
        await world.handle(fact("all"), NoTime(naps=3))
    assert world.called == ["first"] * 3
    assert (world.sink.sent, len(world.waiting)) == ([], 0)


async def test_a_record_whose_letter_waits_is_abandoned_too(table: RouteTable) -> None:
    world = World(table, ScriptedDispatcher())
    world.sink.errors.extend(outage(100))
    with pytest.raises(Abandoned):
        await world.handle(fact("unknown"), NoTime(naps=3))
    assert world.sink.sent == []


async def test_a_letter_says_what_is_known_where_it_was_given_up(table: RouteTable) -> None:
    world = World(table, ScriptedDispatcher(first=[RejectedError("is too large")]))
    await world.handle(fact("all", FAILED_MAPPING))
    await world.handle(fact("unknown"))
    await world.handle(record(value=b"\xff"))
    at_work = About(
        route="first", event_type="all", workflow_id="order/A-1", workflow_url="http://ui/order/A-1"
    )
    abouts = [letter.about for letter in letters_in(world)]
    assert abouts == [
        at_work,
        About(route="second", event_type="all"),
        About(event_type="unknown"),
        About(),
    ]


async def test_a_letter_sent_again_runs_its_route_alone(table: RouteTable) -> None:
    world = World(table, ScriptedDispatcher(first=[RejectedError("is too large")]))
    await world.handle(fact("all"))
    (letter,) = letters_in(world)
    world.dispatcher.calls.clear()
    outcomes = await world.handle(letter.again())
    assert (kinds(outcomes), world.called) == ([("first", "accepted")], ["first"])
    assert command_id(world.dispatcher.calls[0]) == command_id(commands(table, fact("all"))[0])
    assert len(world.sink.sent) == 1


async def test_a_letter_that_fails_again_is_a_new_letter_of_its_route_that_counts_the_send(
    table: RouteTable,
) -> None:
    world = World(table, ScriptedDispatcher(first=[RejectedError("is too large"), RejectedError("still is")]))
    await world.handle(fact("all"))
    (letter,) = letters_in(world)
    outcomes = await world.handle(letter.again())
    assert kinds(outcomes) == [("first", "dead-lettered")]
    _, again = letters_in(world)
    assert (again.record, again.about, again.sends) == (letter.record, letter.about, 1)
    assert (again.reason, again.first_failed_at) == ("still is", letter.failed_at)


async def test_a_letter_of_a_route_that_can_no_longer_be_decoded_stays_one_of_that_route(
    table: RouteTable,
) -> None:
    world = World(table, ScriptedDispatcher(first=[RejectedError("is too large")]))
    await world.handle(fact("all"))
    (letter,) = letters_in(world)
    await world.handle(replace(letter.again(), value=b"\xff"))
    _, again = letters_in(world)
    assert (again.stage, again.about.route, again.sends) == ("decode", "first", 1)


async def test_a_letter_without_route_runs_all_routes_when_it_is_sent_again(table: RouteTable) -> None:
    world = World(table, ScriptedDispatcher())
    await world.handle(replace(fact("all"), value=b"\xff"))
    (letter,) = letters_in(world)
    mended = replace(letter.again(), value=fact("all").value)
    await world.handle(mended)
    assert world.called == ["first", "second", "third"]


async def test_no_more_calls_are_in_flight_than_set(table: RouteTable) -> None:
    in_flight = most = 0

    class Slow(ScriptedDispatcher):
        async def dispatch(self, command: Command) -> Outcome:
            nonlocal in_flight, most
            in_flight += 1
            most = max(most, in_flight)
            await asyncio.sleep(0)
            in_flight -= 1
            return await super().dispatch(command)

    world = World(table, Slow(), concurrency=2)
    await asyncio.gather(*(world.handle(fact("placed")) for _ in range(10)))
    assert most == 2


async def test_a_record_that_waits_keeps_no_other_from_calling(table: RouteTable) -> None:
    world = World(table, ScriptedDispatcher(first=outage(1)), concurrency=1)
    assignment = Assignment()
    waits = asyncio.create_task(world.handle(fact("placed"), assignment))
    while not any(w.answer != "no answer yet" for w in world.waiting.longer_than(0)):  # noqa: ASYNC110 - the room tells nobody when it fills
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        assert kinds(await world.handle(fact("big"))) == [("third", "accepted")]
    assert not waits.done()
    assignment.end()
    with pytest.raises(Abandoned):
        await waits


# --- log lines ---


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    with capture_logs([merge_contextvars]) as entries:
        yield entries


PLACE = {"topic": "shop.orders", "partition": 2, "offset": 1042}
FACT = {**PLACE, "event_id": "e-1", "event_type": "all"}


async def test_a_line_says_record_event_route_and_workflow(table: RouteTable, lines: list[Any]) -> None:
    await World(table, ScriptedDispatcher()).handle(fact("all"))
    links = [
        ("first", "order/A-1"),
        ("second", "customer/c-7"),
        ("third", "order/A-1"),
    ]
    for line, (route, workflow_id) in zip(lines, links, strict=True):
        where = {"route": route, "workflow_id": workflow_id, "workflow_url": f"http://ui/{workflow_id}"}
        assert line == line | FACT | where | {"event": "accepted"}


async def test_the_lines_of_a_refused_command_say_the_same(table: RouteTable, lines: list[Any]) -> None:
    dispatcher = ScriptedDispatcher(third=[RejectedError("is too large")])
    await World(table, dispatcher).handle(fact("big"))
    where = {"route": "third", "workflow_id": "order/A-1", "workflow_url": "http://ui/order/A-1"}
    assert [line["event"] for line in lines] == ["letter written", "dead-lettered"]
    for line in lines:
        assert line == line | FACT | where | {"event_type": "big"}
    assert lines[0]["letter"] == "0@0"
    assert lines[1]["detail"] == "is too large"


async def test_an_id_that_comes_again_in_another_record_is_said(table: RouteTable, lines: list[Any]) -> None:
    world = World(table, ScriptedDispatcher())
    for offset in (1042, 1042, 1043):
        await world.handle(replace(fact("placed"), offset=offset))
    (line,) = [line for line in lines if line["event"] == "event id used again"]
    assert line == line | {"offset": 1043, "event_id": "e-1", "first": "shop.orders[2]@1042"}


async def test_what_was_bound_for_one_record_is_not_said_of_the_next(
    table: RouteTable, lines: list[Any]
) -> None:
    world = World(table, ScriptedDispatcher())
    await world.handle(fact("all"))
    lines.clear()
    await world.handle(record(9, value=None))
    (line,) = lines
    assert line == line | {"event": "skipped", "offset": 9}
    assert not {"event_id", "workflow_url"} & line.keys()


@pytest.mark.parametrize(
    "given",
    [
        fact("all"),
        fact("all", FAILED_MAPPING),
        fact("big", {**ORDER, "total": MARKER}),
        fact("placed", {"id": [MARKER]}),
        fact("placed", {"id": {MARKER: MARKER}}),
        fact("placed", {"id": f"{MARKER}\n"}),
        fact("unknown"),
        record(value=MARKER.encode()),
        record(value=f'{{"a": "{MARKER}", "a": 1}}'.encode(), headers=fact("all").headers),
        record(value=f'"{MARKER}'.encode(), headers=fact("all").headers),
    ],
)
async def test_no_line_and_no_reason_holds_a_payload_value(
    table: RouteTable, given: Record, lines: list[Any]
) -> None:
    world = World(table, ScriptedDispatcher(first=[*outage(2), RejectedError("is too large")]))
    await world.handle(given)
    assert lines
    assert MARKER not in repr(lines)
    for sent in world.sink.sent:
        assert MARKER not in repr(sent.headers)


# --- batches ---


def earned(customer: str, points: Any, number: int = 0) -> Record:
    headers = (
        ("ce_specversion", b"1.0"),
        ("ce_id", str(number).encode()),
        ("ce_source", b"/shop"),
        ("ce_type", b"earned"),
    )
    value = json.dumps({"customer": customer, "points": points}).encode()
    return record(number, topic="shop.points", value=value, headers=headers)


@pytest.mark.parametrize(
    ("queue", "told"),
    [
        ([("a", 1)], [1]),
        ([("a", 1), ("a", 2), ("a", 3)], [1, 2, 3]),
        ([("a", 1), ("b", 2), ("a", 3)], [1]),
        ([("a", 1), ("a", 0), ("a", 3)], [1]),
        ([("a", 1), ("a", 2)] * 80, [1, 2] * 50),
        ([("a", "x" * 200_000), ("a", "y" * 200_000)], ["x" * 200_000]),
    ],
    ids=["alone", "neighbours", "another target", "a skip between", "a hundred at most", "256 KiB at most"],
)
async def test_neighbours_of_one_target_are_told_as_one_signal_always_a_list(
    table: RouteTable, queue: Sequence[tuple[str, Any]], told: Sequence[Any]
) -> None:
    world = World(table, ScriptedDispatcher())
    records = [earned(customer, points, n) for n, (customer, points) in enumerate(queue)]
    assert await world.handling.handle_next(records, NoTime()) == len(told)
    assert [command.args for command in signals(world)] == [(list(told),)]
    assert [[e.id for e in command.events] for command in signals(world)] == [
        [str(n) for n in range(len(told))]
    ]


async def test_a_batch_is_frozen_until_it_is_answered(table: RouteTable) -> None:
    world = World(table, ScriptedDispatcher(points=outage(3)))
    queue = [earned("a", n, n) for n in (1, 2)]
    world.dispatcher.before_call = lambda _command: queue.append(earned("a", 9, 9))
    assert await world.handling.handle_next(queue, NoTime()) == 2
    assert {tuple(command.args[0]) for command in signals(world)} == {(1, 2)}


async def test_a_rejected_batch_is_told_one_by_one_and_takes_no_neighbour_along(table: RouteTable) -> None:
    refusal = [RejectedError("one is wrong"), RejectedError("this one")]
    world = World(table, ScriptedDispatcher(points=refusal))
    assert await world.handling.handle_next([earned("a", n, n) for n in (1, 2, 3)], NoTime()) == 3
    assert [command.args[0] for command in signals(world)] == [[1, 2, 3], [1], [2], [3]]
    assert world.letters == [("dispatch", "points")]


@pytest.mark.parametrize("type_", ["placed", "all"])
async def test_routes_that_do_not_batch_are_told_record_by_record(table: RouteTable, type_: str) -> None:
    world = World(table, ScriptedDispatcher())
    assert await world.handling.handle_next([fact(type_), fact(type_)], NoTime()) == 1


def signals(world: World) -> list[Signal]:
    return [command for command in world.dispatcher.calls if isinstance(command, Signal)]


# --- pauses ---


async def held(world: World, *records: Record, by: str) -> tuple[asyncio.Task[int], Assignment]:
    """Begin to handle `records`, seen to be held by what is paused."""
    assignment = Assignment()
    handling = asyncio.create_task(world.handling.handle_next(records, assignment))
    async with asyncio.timeout(5):
        while assignment.held_up != {records[0].offset: by}:  # noqa: ASYNC110 - a pause tells nobody whom it holds
            await asyncio.sleep(0)
    assert not handling.done()
    return handling, assignment


async def resumed(world: World, handling: asyncio.Task[int]) -> int:
    world.pauses.obey(paused())
    async with asyncio.timeout(5):
        return await handling


@pytest.mark.parametrize(
    "given", [fact("placed"), record(value=b"\xff"), record(value=None), fact("unknown")]
)
async def test_nothing_is_begun_of_a_topic_that_is_paused(table: RouteTable, given: Record) -> None:
    world = World(table, ScriptedDispatcher())
    world.pauses.obey(paused("shop.orders"))
    with capture_logs() as lines:
        handling, _ = await held(world, given, by="shop.orders")
    assert (world.called, world.sink.sent, lines) == ([], [], [])
    assert await resumed(world, handling) == 1


async def test_a_paused_route_waits_its_turn_and_those_before_it_run_once(table: RouteTable) -> None:
    world = World(table, ScriptedDispatcher())
    world.pauses.obey(paused("second"))
    handling, assignment = await held(world, fact("all"), by="second")
    assert world.called == ["first"]
    await resumed(world, handling)
    assert world.called == ["first", "second", "third"]
    assert assignment.held_up == {}


@pytest.mark.parametrize(
    ("given", "name"), [(fact("placed"), "first"), (record(1042, value=None), "shop.orders")]
)
async def test_a_pause_that_ends_for_another_holds_on(table: RouteTable, given: Record, name: str) -> None:
    world = World(table, ScriptedDispatcher())
    world.pauses.obey(paused(name, "second"))
    handling, assignment = await held(world, given, by=name)
    world.pauses.obey(paused(name))
    for _ in range(10):
        await asyncio.sleep(0)
    assert (world.called, assignment.held_up, handling.done()) == ([], {1042: name}, False)
    await resumed(world, handling)


async def test_a_false_when_of_a_paused_route_is_still_a_skip(table: RouteTable) -> None:
    world = World(table, ScriptedDispatcher())
    world.pauses.obey(paused("third"))
    async with asyncio.timeout(5):
        assert kinds(await world.handle(fact("big", {**ORDER, "total": 1}))) == [("third", "skipped")]


async def test_what_a_pause_holds_keeps_no_other_from_calling_and_is_not_called_waiting(
    table: RouteTable,
) -> None:
    world = World(table, ScriptedDispatcher(), concurrency=1)
    world.pauses.obey(paused("first"))
    handling, _ = await held(world, fact("placed"), by="first")
    async with asyncio.timeout(5):
        assert kinds(await world.handle(fact("big"))) == [("third", "accepted")]
    assert len(world.waiting) == 0
    await resumed(world, handling)


@pytest.mark.parametrize("name", ["shop.orders", "first"])
async def test_a_call_that_is_repeated_stops_when_it_is_paused(table: RouteTable, name: str) -> None:
    world = World(table, ScriptedDispatcher(first=outage(1)))
    world.dispatcher.before_call = lambda _command: world.pauses.obey(paused(name))
    handling, _ = await held(world, fact("placed"), by=name)
    assert (world.called, len(world.waiting)) == (["first"], 0)
    world.dispatcher.before_call = lambda _command: None
    await resumed(world, handling)
    assert world.called == ["first", "first"]


async def test_one_that_waits_for_its_turn_to_call_does_not_call_once_paused(table: RouteTable) -> None:
    gate = asyncio.Event()

    class Slow(ScriptedDispatcher):
        async def dispatch(self, command: Command) -> Outcome:
            await gate.wait()
            return await super().dispatch(command)

    world = World(table, Slow(), concurrency=1)
    first = asyncio.create_task(world.handle(fact("placed")))
    second = asyncio.create_task(world.handle(fact("placed"), assignment := Assignment()))
    while len(world.waiting) < 1:  # noqa: ASYNC110 - the room tells nobody when it fills
        await asyncio.sleep(0)
    world.pauses.obey(paused("first"))
    gate.set()
    await first
    async with asyncio.timeout(5):
        while not assignment.held_up:  # noqa: ASYNC110 - a pause tells nobody whom it holds
            await asyncio.sleep(0)
    assert world.called == ["first"]
    world.pauses.obey(paused())
    await second


@pytest.mark.parametrize(
    ("given", "name"),
    [(fact("all", FAILED_MAPPING), "second"), (fact("unknown"), "shop.orders"), (fact("big"), "third")],
    ids=["a failed mapping", "unmatched", "rejected by Temporal"],
)
async def test_letters_wait_while_their_route_or_topic_is_paused(
    table: RouteTable, given: Record, name: str
) -> None:
    class PausedMeanwhile(FakeSink):
        """The letter topic is away once; it is paused then."""

        async def send(self, topic: str, **what: Any) -> Written:
            if self.errors:
                world.pauses.obey(paused(name))
            return await super().send(topic, **what)

    refusals = {"third": [RejectedError("is too large")]} if name == "third" else {}
    world = World(table, ScriptedDispatcher(**refusals), PausedMeanwhile())
    world.sink.errors.extend(outage(1))
    handling, _ = await held(world, given, by=name)
    assert (world.sink.sent, len(world.sink.errors), len(world.waiting)) == ([], 0, 0)
    await resumed(world, handling)
    assert len(world.sink.sent) == 1


async def test_a_batch_of_a_paused_route_waits_whole(table: RouteTable) -> None:
    world = World(table, ScriptedDispatcher())
    world.pauses.obey(paused("points"))
    handling, _ = await held(world, *(earned("a", n, n) for n in (1, 2, 3)), by="points")
    assert world.called == []
    assert await resumed(world, handling) == 3
    assert [command.args[0] for command in signals(world)] == [[1, 2, 3]]


@pytest.mark.parametrize("name", ["shop.orders", "second"])
async def test_what_a_pause_holds_is_abandoned_at_once_when_its_partition_goes(
    table: RouteTable, name: str
) -> None:
    world = World(table, ScriptedDispatcher())
    world.pauses.obey(paused(name))
    handling, assignment = await held(world, fact("all"), by=name)
    assignment.end()
    async with asyncio.timeout(5):
        with pytest.raises(Abandoned):
            await handling
    assert (world.called, assignment.held_up) == (["first"] if name == "second" else [], {})


# --- metrics ---


async def test_each_outcome_is_counted_once_by_route_and_kind(table: RouteTable) -> None:
    world = World(table, ScriptedDispatcher(second=[RejectedError("is too large")]))
    await world.handle(fact("all"))
    await world.handle(fact("unknown"))
    await world.handle(fact("told", topic="shop.news"))
    await world.handling.handle_next([earned("a", n, n) for n in (1, 2, 3)], NoTime())
    text = world.metrics.text()
    for route, kind, count in [
        ("first", "accepted", 1),
        ("second", "dead-lettered", 1),
        ("third", "accepted", 1),
        ("", "dead-lettered", 1),
        ("news", "accepted", 1),
        ("points", "accepted", 3),
    ]:
        assert f'turnout_outcomes_total{{kind="{kind}",route="{route}"}} {count}.0\n' in text
    assert text.count("turnout_outcomes_total{") == 6
    assert 'turnout_letters_total{stage="dispatch"} 1.0' in text
    assert 'turnout_letters_total{stage="route"} 1.0' in text


class Answering(ScriptedDispatcher):
    """Has these outcomes, each once."""

    def __init__(self, **outcomes: Outcome) -> None:
        super().__init__()
        self._outcomes = outcomes

    async def dispatch(self, command: Command) -> Outcome:
        accepted = await super().dispatch(command)
        return self._outcomes.pop(command.route, accepted)


async def test_what_is_skipped_or_comes_again_is_counted_by_why(table: RouteTable) -> None:
    again = Outcome(OutcomeKind.DUPLICATE, "first", of_other=True)
    late = Outcome(OutcomeKind.SKIPPED, "second", rule="late")
    world = World(table, Answering(first=again, second=late))
    await world.handle(fact("all"))
    await world.handle(replace(fact("all"), offset=1043))
    await world.handle(fact("unheard", topic="shop.news"))
    text = world.metrics.text()
    assert 'turnout_duplicates_total{of="other-record",route="first"} 1.0' in text
    assert 'turnout_reused_ids_total{topic="shop.orders"} 1.0' in text
    assert 'turnout_skips_total{reason="late",route="second"} 1.0' in text
    assert 'turnout_skips_total{reason="unmatched",route=""} 1.0' in text


async def test_a_letter_that_a_rule_made_is_counted_by_that_rule(table: RouteTable, lines: list[Any]) -> None:
    world = World(table, ScriptedDispatcher(first=[RejectedError("has closed", rule="closed")]))
    await world.handle(fact("all"))
    counted = 'turnout_rules_total{kind="dead-lettered",route="first",rule="closed"} 1.0'
    assert counted in world.metrics.text()
    assert [line["rule"] for line in lines if line["event"] == "dead-lettered"] == ["closed"]


# --- what people give up on ---


class GivesUp(NoTime):
    """An assignment in which a person gives up on records at the n-th sleep."""

    def __init__(self, world: World, *records: Record, at: int = 3) -> None:
        super().__init__()
        self._world, self._records, self._at = world, records, at

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        if len(self.slept) == self._at:
            self._world.give_up(*self._records)


async def test_of_a_record_given_up_while_it_waits_that_route_becomes_a_letter_and_the_later_ones_run(
    table: RouteTable,
) -> None:
    world = World(table, ScriptedDispatcher(second=outage(100)))
    outcomes = await world.handle(fact("all"), GivesUp(world, fact("all")))
    assert kinds(outcomes) == [("first", "accepted"), ("second", "dead-lettered"), ("third", "accepted")]
    assert world.called == ["first", "second", "second", "second", "third"]
    (letter,) = letters_in(world)
    assert (letter.stage, letter.about.route, letter.error) == ("person", "second", "LeftOutError")
    assert letter.reason == "given up by ada: no use (it waited for: is away)"
    assert (letter.about.workflow_id, letter.about.workflow_url) == ("customer/c-7", "http://ui/customer/c-7")
    assert letter.record == fact("all")


async def test_a_later_route_of_it_that_would_have_to_wait_is_tried_once(table: RouteTable) -> None:
    world = World(table, ScriptedDispatcher(first=outage(100), third=outage(100)))
    outcomes = await world.handle(fact("all"), GivesUp(world, fact("all"), at=1))
    assert kinds(outcomes) == [("first", "dead-lettered"), ("second", "accepted"), ("third", "dead-lettered")]
    assert world.called == ["first", "second", "third"]


async def test_a_call_that_gets_through_counts_though_a_person_has_given_up(table: RouteTable) -> None:
    world = World(table, ScriptedDispatcher())
    world.dispatcher.before_call = lambda _command: world.give_up(fact("placed"))
    assert kinds(await world.handle(fact("placed"))) == [("first", "accepted")]
    assert world.sink.sent == []


async def test_a_letter_that_cannot_be_written_is_not_given_up(table: RouteTable) -> None:
    world = World(table, ScriptedDispatcher())
    world.sink.errors.extend(outage(20))
    outcomes = await world.handle(fact("unknown"), GivesUp(world, fact("unknown")))
    assert kinds(outcomes) == [("", "dead-lettered")]
    assert world.letters == [("route", "")]


async def test_one_given_up_before_is_not_tried_and_each_of_its_routes_has_its_letter(
    table: RouteTable,
) -> None:
    world = World(table, ScriptedDispatcher())
    world.give_up(fact("all", {**ORDER, "total": 1}))
    outcomes = await world.handle(fact("all", {**ORDER, "total": 1}))
    # The `when` of the third is false.
    assert kinds(outcomes) == [("first", "dead-lettered"), ("second", "dead-lettered")]
    assert world.called == []
    assert world.letters == [("person", "first"), ("person", "second")]
    assert {letter.reason for letter in letters_in(world)} == {"given up by ada: no use (it was not tried)"}


BAD_FROM_THE_START = [
    fact("unknown"),
    fact("all", FAILED_MAPPING),
    fact("told", topic="shop.orders"),
    record(1042, partition=2, value=b"\xff"),
    record(1042, partition=2, value=None),
]


@pytest.mark.parametrize("given", BAD_FROM_THE_START)
async def test_one_given_up_before_that_leads_to_no_command_has_one_letter(
    table: RouteTable, given: Record, lines: list[Any]
) -> None:
    world = World(table, ScriptedDispatcher())
    world.give_up(given)
    assert kinds(await world.handle(given)) == [("", "dead-lettered")]
    assert world.letters == [("person", "")]
    assert [line["event"] for line in lines] == ["letter written", "dead-lettered"]


async def test_one_that_the_client_could_not_read_has_one_letter_whatever_it_would_lead_to(
    table: RouteTable,
) -> None:
    unreadable = replace(fact("all"), headers=(*fact("all").headers, (r"na\xffme", b""), (MENDED, b"4")))
    world = World(table, ScriptedDispatcher())
    world.give_up(unreadable)
    assert kinds(await world.handle(unreadable)) == [("", "dead-lettered")]
    (letter,) = letters_in(world)
    assert (letter.stage, letter.about) == ("person", About())
    assert letter.reason == "given up by ada: no use (the name of a header is not UTF-8)"
    assert letter.record == unreadable
    # Sent again, all of its routes run.
    again = World(table, ScriptedDispatcher())
    await again.handle(letter.again())
    assert again.called == ["first", "second", "third"]


async def test_one_that_meets_a_defect_of_ours_can_be_given_up(
    table: RouteTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def defect(_decoder: Decoder, _record: Record) -> Event:
        raise ZeroDivisionError

    monkeypatch.setattr(Decoder, "decode", defect)
    world = World(table, ScriptedDispatcher())
    poison = earned("a", 1, 1)
    with pytest.raises(ZeroDivisionError):
        await world.handling.handle_next([poison, earned("a", 2, 2)], NoTime())
    world.give_up(poison)
    assert await world.handling.handle_next([poison, earned("a", 2, 2)], NoTime()) == 1
    assert world.letters == [("person", "")]


async def test_a_defect_in_a_later_record_does_not_hold_those_before_it(
    table: RouteTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode, poison = Decoder.decode, earned("a", 3, 3)

    def defect(decoder: Decoder, record: Record) -> Event | Tombstone:
        if record == poison:
            raise ZeroDivisionError
        return decode(decoder, record)

    monkeypatch.setattr(Decoder, "decode", defect)
    world = World(table, ScriptedDispatcher())
    assert await world.handling.handle_next([earned("a", 1, 1), earned("a", 2, 2), poison], NoTime()) == 2
    assert [command.args[0] for command in signals(world)] == [[1, 2]]


@pytest.mark.parametrize("which", [1, 2, 3])
async def test_of_a_batch_that_waits_only_the_one_given_up_becomes_a_letter(
    table: RouteTable, which: int
) -> None:
    world = World(table, ScriptedDispatcher(points=outage(3)))
    queue = [earned("a", n, n) for n in (1, 2, 3)]
    assert await world.handling.handle_next(queue, GivesUp(world, queue[which - 1])) == 3
    told = [command.args[0] for command in signals(world)]
    assert told == [[1, 2, 3]] * 3 + [[n] for n in (1, 2, 3) if n != which]
    (letter,) = letters_in(world)
    assert (letter.record, letter.about.route) == (queue[which - 1], "points")


@pytest.mark.parametrize(("which", "told"), [(1, [[2, 3]]), (2, [[1], [3]]), (3, [[1, 2]])])
async def test_one_given_up_before_is_in_no_batch(
    table: RouteTable, which: int, told: list[list[int]]
) -> None:
    world = World(table, ScriptedDispatcher())
    queue = [earned("a", n, n) for n in (1, 2, 3)]
    world.give_up(queue[which - 1])
    while queue:
        del queue[: await world.handling.handle_next(queue, NoTime())]
    assert [command.args[0] for command in signals(world)] == told
    assert world.letters == [("person", "points")]


async def test_what_is_paused_is_given_up_only_when_it_is_resumed(table: RouteTable) -> None:
    world = World(table, ScriptedDispatcher())
    world.give_up(fact("placed"))
    world.pauses.obey(paused("shop.orders"))
    task, _ = await held(world, fact("placed"), by="shop.orders")
    assert world.letters == []
    world.pauses.obey(paused())
    assert await task == 1
    assert world.letters == [("person", "first")]
