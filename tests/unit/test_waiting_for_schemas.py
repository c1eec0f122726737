"""Records whose schema is not to be had: they wait in their lane, or become letters where nobody knows it."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from service.dispatch.contracts import Contracts
from service.events.avro import AvroCodec
from service.events.decoding import Decoder
from service.events.framing import framed
from service.events.schemas import UNKNOWN_SECONDS, Schemas
from service.events.strict_json import Limits
from service.intake.waiting import Abandoned
from service.kafka.record import Record
from service.redrive.preview import Preview
from service.replays.tally import NOT_KNOWN, Becomes, Judge
from service.routing.table import RouteTable, load_routes
from tests.unit.fakes import NoTime, ScriptedDispatcher, paused
from tests.unit.records import record
from tests.unit.registries import Clock, FakeSource, avro
from tests.unit.test_handling import World, kinds, letters_in

ROUTES = """\
version: 1
task_queues: {points: {inbox: true}}
topics:
  shop.points:
    format: avro
    event: {type: "${record.schema}", id: "${data.id}"}
routes:
  - name: points
    from: shop.points
    type: Points
    signal: {to: "customer/${data.customer}", name: earned, input: "${data.points}", batch: true}
"""
SCHEMA = {
    "type": "record",
    "name": "Points",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "customer", "type": "string"},
        {"name": "points", "type": "int"},
    ],
}
KNOWN, STRANGE = 7, 8


class SchemaWorld(World):
    """A `Handling` with a registry that is not always there."""

    def __init__(self, table: RouteTable, **errors: Any) -> None:
        self.source, self.clock = FakeSource({KNOWN: avro(SCHEMA)}), Clock()
        formats = {name: topic.format for name, topic in table.topics.items()}
        schemas = Schemas(self.source, Limits(), self.clock)
        self.decodes = Decoder(formats, Limits(), "cluster-1", schemas)
        super().__init__(table, ScriptedDispatcher(**errors), decodes=self.decodes)


class Passing(NoTime):
    """Sleeps take no time here, and as long as they say on the clock; then something may happen."""

    def __init__(self, world: SchemaWorld, naps: int | None = None) -> None:
        super().__init__(naps)
        self.world = world
        self.then: dict[int, Any] = {}

    async def sleep(self, seconds: float) -> None:
        self.world.clock.now += seconds
        self.then.get(len(self.slept), lambda: None)()
        await super().sleep(seconds)


def earned(points: int, schema: int = KNOWN, customer: str = "c-7", offset: int = 0) -> Record:
    data = {"id": f"e-{offset}", "customer": customer, "points": points}
    value = framed(schema, AvroCodec(json.dumps(SCHEMA)).encode(data))
    return record(offset, topic="shop.points", value=value)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> RouteTable:
    path = tmp_path_factory.mktemp("routes") / "shop.yaml"
    path.write_text(ROUTES)
    return load_routes(path)


async def test_a_registry_that_is_away_delays_a_record_and_never_makes_a_letter_of_it(
    table: RouteTable,
) -> None:
    world = SchemaWorld(table)
    world.source.away = True
    waits: Sequence[str] = ()

    def comes_back() -> None:
        nonlocal waits
        waits = [f"{wait.record}: {wait.answer}" for wait in world.waiting.longer_than(-1)]
        world.source.away = False

    assignment = Passing(world)
    assignment.then = {50: comes_back}
    assert kinds(await world.handle(earned(3), assignment)) == [("points", "accepted")]
    assert waits == ["shop.points[0]@0: the registry is away"]
    assert sum(assignment.slept) > 5 * UNKNOWN_SECONDS
    assert world.sink.sent == []
    # From now on it is known here, whatever the registry does.
    world.source.away = True
    assert kinds(await world.handle(earned(4, offset=1))) == [("points", "accepted")]


async def test_a_schema_that_nobody_knows_for_a_minute_makes_a_letter(table: RouteTable) -> None:
    world = SchemaWorld(table)
    assignment = Passing(world)
    assert kinds(await world.handle(earned(3, STRANGE), assignment)) == [("", "dead-lettered")]
    assert UNKNOWN_SECONDS <= sum(assignment.slept) < 2 * UNKNOWN_SECONDS
    (letter,) = letters_in(world)
    assert (letter.stage, letter.record) == ("decode", earned(3, STRANGE))
    assert letter.reason.startswith("the schema registry does not know schema 8: Schema not found; register")
    # Registered after all, the letter is sent again and takes effect.
    world.source.schemas[STRANGE] = avro(SCHEMA)
    assert kinds(await world.handle(letter.record)) == [("points", "accepted")]


async def test_a_record_that_waits_for_its_schema_is_abandoned_when_its_partition_goes(
    table: RouteTable,
) -> None:
    world = SchemaWorld(table)
    world.source.away = True
    with pytest.raises(Abandoned):
        await world.handle(earned(3), NoTime(naps=3))
    assert (len(world.waiting), world.sink.sent) == (0, [])


async def test_a_batch_ends_before_a_record_whose_schema_is_not_known_here(table: RouteTable) -> None:
    world = SchemaWorld(table)
    await world.decodes.decode_with_registry(earned(0))
    world.source.away = True
    queue = [earned(1, offset=1), earned(2, offset=2), earned(3, STRANGE, offset=3)]
    assert await world.handling.handle_next(queue, NoTime()) == 2
    (signal,) = world.dispatcher.calls
    assert signal.events[0].data["points"] == 1
    world.source.away = False
    world.source.schemas[STRANGE] = avro(SCHEMA)
    assert await world.handling.handle_next(queue[2:], NoTime()) == 1


async def test_a_person_may_give_up_on_a_record_that_waits_for_its_schema(table: RouteTable) -> None:
    world = SchemaWorld(table)
    world.source.away = True
    assignment = Passing(world)
    assignment.then = {3: lambda: world.give_up(earned(3))}
    assert kinds(await world.handle(earned(3), assignment)) == [("", "dead-lettered")]
    (letter,) = letters_in(world)
    assert letter.reason == "given up by ada: no use (it waited for: the registry is away)"
    # After a crash it is not tried, and what it would lead to is asked for once.
    world = SchemaWorld(table)
    world.source.away = True
    world.give_up(earned(3))
    with capture_logs() as lines:
        assert kinds(await world.handle(earned(3))) == [("", "dead-lettered")]
    assert [line["event"] for line in lines] == ["letter written", "dead-lettered"]
    world.source.away = False
    assert kinds(await world.handle(earned(3))) == [("points", "dead-lettered")]


async def test_nothing_is_fetched_for_a_topic_that_is_paused(table: RouteTable) -> None:
    world = SchemaWorld(table)
    world.pauses.obey(paused("shop.points"))
    world_of = Passing(world)
    world_of.end()
    with pytest.raises(Abandoned):
        await world.handle(earned(3), world_of)
    assert world.source.asked == []


async def test_a_preview_of_a_letter_says_that_the_registry_is_away(table: RouteTable) -> None:
    world = SchemaWorld(table)
    world.give_up(earned(3))
    await world.handle(earned(3))
    (one,) = letters_in(world)
    world = SchemaWorld(table)
    preview = Preview(world.decodes, table, Contracts([]))
    world.source.away = True
    await preview.prepare(one)
    assert preview.told(one) == ["waits for the schema registry: schema 7 is not fetched yet"]
    assert preview.obstacle(one) == ""
    world.source.away = False
    await preview.prepare(one)
    assert preview.told(one) == ["route points: signals earned to customer/c-7"]


async def test_a_replay_counts_what_it_knows_of_a_record_whose_schema_is_not_to_be_had(
    table: RouteTable,
) -> None:
    world = SchemaWorld(table)
    judge = Judge(world.decodes, table, Contracts([]), world.given_up)
    world.source.away = True
    assert await judge.judge(earned(3)) == NOT_KNOWN
    world.source.away = False
    assert await judge.judge(earned(3)) == Becomes("commands", "signal")
    for becomes in (NOT_KNOWN, Becomes("letters", "decode")):
        assert await judge.judge(earned(3, STRANGE)) == becomes
        world.clock.now += UNKNOWN_SECONDS
