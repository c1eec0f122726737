"""Where an event is: the twelve ways to do nothing, told from Kafka and Temporal with the service down."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import RecordsToDelete
from aiokafka.structs import TopicPartition

from service import expressions, neighbours, pipeline
from service.access import temporal_access
from service.cli import app as app_module
from service.cli import status as status_module
from service.cli import where as where_module
from service.desk import discard_letters
from service.journeys.journey import Cause, Journey, Mark, Step
from service.local import LocalTemporal
from service.overview import overview
from service.redrive.choosing import Choice
from service.redrive.letterbox import Place as RecordPlace
from service.routing.table import load_routes
from service.settings import IntakeSettings
from service.temporal.client import connect
from service.temporal.switchboard import SwitchboardClient
from service.whereabouts import Bounds, Progress, journeys
from service.wiring import Roles
from tests.integration.letters import slashed
from tests.integration.service import Place, Site, event_headers, site
from tests.integration.test_transactions import transaction
from tests.servers import random_port

ROUTES = """
version: 1
task_queues: {"@queue": {inbox: true}}
topics:
  @in: {}
  @quiet: {unmatched: skip}
  @held: {}
  @gone: {}
  @out: {out: true}
routes:
  - name: keep
    from: [@in, @quiet, @held, @gone]
    type: kept
    start: {workflow: Keep, id: "@id/${data.id}", task_queue: @queue, input: "${data}", running: skip}
  - name: large
    from: @in
    type: kept
    when: data.id != "" && data.n > 10
    start: {workflow: Keep, id: "@id/large-${data.id}", task_queue: @queue, input: "${data}"}
  - name: note
    from: @in
    type: noted
    signal: {to: "@id/${data.id}", name: note, input: "${data.n}", missing: {park: 15m}}
  - {name: shout, from: @in, type: shouted, signal: {to: "@id/${data.id}", name: shout, input: "${data.n}"}}
  - name: weigh
    from: @in
    type: weighed
    start: {workflow: Weigh, id: "@id/parcel-${data.id}", task_queue: @queue, input: "${data}"}
  - name: lonely
    from: @in
    type: lonely
    start: {workflow: Keep, id: "@id/${data.id}", task_queue: "@queue.nobody", input: "${data}"}
  - name: echo
    from: @in
    type: echoed
    start: {workflow: Echo, id: "@id/${data.id}", task_queue: @queue, args: ["${data}", "${data.topic}"]}
  - name: echo-here
    from: @in
    type: echoed-here
    start: {workflow: EchoHere, id: "@id/${data.id}", task_queue: @queue, args: ["${data}", @out]}
  - name: stuck
    from: @in
    type: stuck
    start: {workflow: Keep, id: "@id/stuck-${data.id}", task_queue: "/_sys/none", input: "${data}"}
"""


@dataclass
class World:
    """A group that was sent events, each with a name that is in its id, and what it was sent."""

    here: Site
    sent: dict[str, Place]

    def id(self, name: str) -> str:
        # Longer than a keyword: as search attributes, all of them are the same.
        return f"{self.here.group}'s {'x' * 255} {name}"

    async def send(
        self,
        name: str,
        kind: str,
        workflow: str,
        *,
        key: str = "",
        again: str = "",
        to: str = "in",
        **more: Any,
    ) -> Place:
        """An event about a workflow; with `again`, the one of that name once more."""
        data = {"id": workflow, "n": 1, **more}
        self.sent[name] = await self.here.send(
            kind, data, id=self.id(again or name), key=key or workflow, to=to
        )
        return self.sent[name]

    async def journeys(self, what: str, since: timedelta = timedelta(hours=1)) -> Sequence[Journey]:
        bounds = Bounds(datetime.now(UTC) - since, 30)
        return await journeys(self.here.settings, what, None, bounds, Progress(_nothing, _nothing))

    async def of(self, name: str) -> Journey:
        """Of the event of that name."""
        (journey,) = await self.journeys(self.id(name))
        return journey

    async def at(self, name: str) -> Journey:
        """Of the record that brought it."""
        (journey,) = await self.journeys(slashed(self.sent[name]))
        return journey


def _nothing(_: int) -> None:
    """Nobody waits for how far it is."""


def _step(journey: Journey, cause: Cause) -> Step:
    (found,) = [one for one in journey.steps if one.cause is cause]
    return found


async def _send_within(producer: AIOKafkaProducer, world: World, name: str) -> None:
    done = await producer.send_and_wait(
        world.here.topics["quiet"],
        json.dumps({"id": name, "n": 1}).encode(),
        key=name.encode(),
        headers=list(event_headers("kept", id=world.id(name))),
        partition=0,
    )
    world.sent[name] = Place(done.topic, done.partition, done.offset)


@pytest.fixture(scope="module")
async def world(
    kafka: str, temporal: LocalTemporal, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    """A group that was sent events of all kinds, and has stopped since."""
    topics, folder = ["in", "quiet", "held", "gone", "out"], tmp_path_factory.mktemp("where")
    with pytest.MonkeyPatch.context() as patched:
        # As if it were not known that Temporal refuses such a task queue.
        patched.setattr(expressions, "RESERVED_TASK_QUEUES", "?")
        patched.setenv("TEMPORAL_ADDRESS", temporal.address)
        # What cannot end holds up nobody when the service stops.
        soon = timedelta(seconds=1)
        patched.setattr(pipeline, "SINK_MARGIN_SECONDS", 0.5)
        intake = IntakeSettings(drain=soon)
        async with site(
            kafka, temporal.address, folder, ROUTES, topics=topics, partitions=1, intake=intake
        ) as here:
            worker = here.settings.worker.model_copy(update={"grace": soon})
            here.settings = here.settings.model_copy(update={"worker": worker})
            world = World(here, {})
            async with here.running():
                await _fill(world)
            await _fill_with_nobody_there(world, kafka)
            yield world


async def _fill(world: World) -> None:
    here, send = world.here, world.send
    await here.past(await send("kept", "kept", "a"))
    await send("repeated", "kept", "a", again="kept")
    await send("other", "kept", "a")
    await send("noted", "noted", "a")
    await send("shouted", "shouted", "a")
    await send("weighed", "weighed", "w")
    await send("weighed-too", "weighed", "v")
    await send("lonely", "lonely", "l")
    await send("published", "echoed", "e", topic=here.topics["out"])
    await here.started("e")
    await here.workflow("e").result()
    await send("published-here", "echoed-here", "eh")
    await here.started("eh")
    await here.workflow("eh").result()
    await send("unpublished", "echoed", "u", topic="nowhere.at.all")
    await send("parked", "noted", "nobody")
    await send("parked-too", "noted", "nobody")
    await send("unknown", "nobodys", "x")
    await send("gone", "kept", "g", to="gone")
    await send("ignored", "nobodys", "x", to="quiet")
    await here.past(*(world.sent[name] for name in ("unknown", "gone", "ignored")))
    # A reset forgets which calls were made: what comes again is in the history twice.
    await here.reset("a", (await here.workflow("a").describe()).run_id)
    await here.past(await send("noted-again", "noted", "a", again="noted"))
    board = SwitchboardClient(await connect(temporal_access(here.settings)), here.group)
    said = {"name": here.topics["held"], "because": "totals in euros", "by": "ada"}
    await board.tell("pause", said, last=None)
    await board.read_settled(20)
    await send("stuck", "stuck", "s")
    await send("behind", "kept", "b", key="s")
    await here.outcomes(await send("ahead", "kept", "c"))

    async def ahead_is_stored() -> bool:
        return (await world.at("ahead")).is_done

    await here.until(ahead_is_stored)


async def _fill_with_nobody_there(world: World, kafka: str) -> None:
    here = world.here
    await world.send("held", "kept", "h", to="held")
    for name in ("expired", "left"):
        await world.send(name, "kept", name, to="gone")
    left = world.sent["left"]
    where = {TopicPartition(left.topic, 0): RecordsToDelete(before_offset=left.offset)}
    await here.admin.delete_records(where)
    async with transaction(kafka, here.group) as producer:
        await _send_within(producer, world, "aborted")
        await producer.abort_transaction()


# --- the twelve, in their order ---


async def test_an_event_that_was_never_written_is_told_with_all_that_was_looked_through(world: World) -> None:
    journey = await world.of("nowhere")
    assert journey.causes == [Cause.NOT_IN_KAFKA]
    assert journey.search
    assert journey.search.complete
    looked = {partition.topic: offsets for partition, offsets in journey.search.offsets.items()}
    assert looked.keys() == {world.here.topics[name] for name in ("in", "quiet", "held", "gone")}
    assert looked[world.here.topics["in"]] == range(world.sent["ahead"].offset + 1)
    later = slashed(world.sent["ahead"]).rpartition("/")[0] + "/100000"
    (beyond,) = await world.journeys(later)
    assert (beyond.causes, beyond.is_done) == ([Cause.NOT_IN_KAFKA], False)


async def test_of_an_aborted_transaction_nothing_is_read(world: World) -> None:
    journey = await world.of("aborted")
    assert journey.record == slashed(world.sent["aborted"])
    assert (journey.causes, [one.mark for one in journey.steps]) == ([Cause.ABORTED], [Mark.WRONG])
    mark = RecordPlace.meant_by(journey.record)
    assert mark
    (of_mark,) = await world.journeys(str(mark._replace(offset=mark.offset + 1)))
    assert "it marks a transaction" in of_mark.steps[0].text


async def test_what_is_not_read_yet_is_told_with_how_much_is_before_it(world: World) -> None:
    await world.send("unread", "kept", "unread")
    journey = await world.of("unread")
    assert journey.causes == [Cause.STALLED, Cause.NOT_READ, Cause.NO_ROUTE]
    assert _step(journey, Cause.STALLED).text.startswith(f"no process of group {world.here.group} runs")
    assert re.search(
        r"2 records before it are unfinished, the oldest \d+", _step(journey, Cause.NOT_READ).text
    )


async def test_what_is_paused_is_told_with_who_and_why(world: World) -> None:
    paused = _step(await world.of("held"), Cause.PAUSED)
    assert re.search(r" is paused since \S+Z by ada: totals in euros", paused.text)
    assert paused.next == f"turnout resume {world.here.topics['held']}"


async def test_a_partition_that_stopped_names_what_to_say(world: World) -> None:
    journey = await world.of("left")
    stopped = next(one for one in journey.steps if "is stopped" in one.text)
    assert stopped.cause is Cause.STALLED
    assert f"turnout seek {world.here.topics['gone']}/0 --to earliest" in stopped.next
    assert "no longer in the topic" in (await world.at("expired")).steps[0].text


async def test_a_transaction_that_is_open_is_told(world: World, kafka: str) -> None:
    async with transaction(kafka, f"{world.here.group}.open") as producer:
        await _send_within(producer, world, "open")
        journey = await world.of("open")
        await producer.abort_transaction()
    (held,) = [one for one in journey.steps if "transaction" in one.text]
    assert (held.cause, held.mark) == (Cause.STALLED, Mark.WAITS)
    assert f"from offset {world.sent['open'].offset} on" in held.text


async def test_what_waits_in_its_lane_names_what_is_before_it_and_that_what_temporal_answers(
    world: World,
) -> None:
    behind = _step(await world.of("behind"), Cause.IN_LANE)
    assert behind.next == f"see that one: turnout where {slashed(world.sent['stuck'])}"
    stuck = await world.at("stuck")
    assert "it was read and is not finished, while" in _step(stuck, Cause.IN_LANE).text
    assert any("/_sys/none Temporal answered INVALID_ARGUMENT" in one.text for one in stuck.steps)
    assert not stuck.unasked


async def test_what_no_route_takes_is_told_with_the_value_that_decided(world: World) -> None:
    ignored = await world.of("ignored")
    assert (ignored.causes, ignored.is_done) == ([Cause.NO_ROUTE], True)
    assert "takes type nobodys, and its topic says unmatched: skip" in _step(ignored, Cause.NO_ROUTE).text
    (result,) = await world.journeys(f"{world.here.topics['out']}/0/0")
    assert result.steps[-1].text == f"no route reads topic {world.here.topics['out']}"
    kept = await world.of("kept")
    skipped = _step(kept, Cause.NO_ROUTE)
    assert (skipped.route, skipped.text) == ("large", "nothing: `data.n > 10` is false")
    assert skipped.values == {"data.n": 1}
    assert kept.is_done


async def test_a_letter_is_told_until_it_is_done_with(world: World) -> None:
    letter = _step(await world.of("weighed"), Cause.LETTER)
    assert (letter.mark, letter.route) == (Mark.WRONG, "weigh")
    assert "of stage dispatch" in letter.text
    assert "weight_grams" in letter.text
    unmatched = await world.of("unknown")
    assert "of stage route" in _step(unmatched, Cause.LETTER).text
    place = RecordPlace.meant_by(slashed(world.sent["weighed-too"]))
    assert place
    choice = Choice(places=frozenset({place}))
    await discard_letters(world.here.settings, choice, said=lambda _: None, stop=asyncio.Event())
    discarded = await world.of("weighed-too")
    assert _step(discarded, Cause.LETTER).mark is Mark.NOTHING
    assert discarded.is_done


async def test_what_is_parked_is_told_with_its_turn(world: World) -> None:
    for name, turn in (("parked", "1 of 2, gives up at "), ("parked-too", "2 of 2: ")):
        parked = _step(await world.of(name), Cause.PARKED)
        assert (parked.mark, parked.route) == (Mark.WAITS, "note")
        assert f"parked for {world.here.workflow_id('nobody')}, {turn}" in parked.text


async def test_a_duplicate_names_the_record_that_came_before(world: World) -> None:
    journey = await world.at("repeated")
    duplicate = _step(journey, Cause.DUPLICATE)
    assert (duplicate.mark, duplicate.route) == (Mark.NOTHING, "keep")
    assert f"record {world.sent['kept']} brought the same event before" in duplicate.text
    assert journey.is_done


async def test_what_another_event_has_started_is_skipped_as_the_route_says(world: World) -> None:
    other = _step(await world.of("other"), Cause.RULE)
    assert f"is running, started by record {world.sent['kept']}; skipped" in other.text
    assert other.text.endswith("running: skip")


async def test_what_the_inbox_dropped_is_told(world: World) -> None:
    async with world.here.running(Roles(bridge=False, worker=True)):
        first, again = await world.journeys(world.id("noted"))
    assert (first.record, again.record) == tuple(slashed(world.sent[n]) for n in ("noted", "noted-again"))
    for journey in (first, again):
        assert _step(journey, Cause.INBOX).text.startswith("it came 2 times; the inbox dropped")
        assert journey.is_done


async def test_a_signal_without_a_handler_waits_in_vain(world: World) -> None:
    async with world.here.running(Roles(bridge=False, worker=True)):
        journey = await world.at("shouted")
    handler = _step(journey, Cause.NO_HANDLER)
    assert handler.mark is Mark.WRONG
    assert handler.text.endswith("no handler for signal shout, which waits in vain; it has end, note")


async def test_a_task_queue_without_a_worker_is_named(world: World) -> None:
    lonely = _step(await world.of("lonely"), Cause.NO_WORKER)
    queue = f"{world.here.settings.worker.task_queue}.nobody"
    assert lonely.text == f"no worker polls its task queue {queue} and it has a task that waits"


async def test_results_are_told_with_where_they_lie_or_what_is_in_the_way(world: World) -> None:
    published = await world.of("published")
    assert published.is_done
    assert published.steps[-1].text == f"it published echoed: {world.here.topics['out']}/0/0"
    here = await world.of("published-here")
    assert here.is_done
    assert here.steps[-1].text == f"it published a result: {world.here.topics['out']}/0/1"
    unpublished = _step(await world.of("unpublished"), Cause.NOT_PUBLISHED)
    assert "it waits for activity publish" in unpublished.text


# --- the three forms, and what it takes ---


async def test_a_workflow_is_told_by_the_record_that_led_to_it(world: World) -> None:
    (journey,) = await world.journeys(world.here.workflow_id("c"))
    assert journey.record == slashed(world.sent["ahead"])
    assert journey.taken_for == "the id of a workflow"
    (as_logged,) = await world.journeys(str(world.sent["ahead"]))
    assert [one.text for one in as_logged.steps[1:]] == [one.text for one in journey.steps[1:]]


async def test_who_is_away_is_named_and_the_other_is_asked_all_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "CONNECT_SECONDS", 3.0)
    settings = world.here.settings
    nowhere = settings.kafka.model_copy(update={"bootstrap_servers": f"127.0.0.1:{random_port()}"})
    monkeypatch.setattr(world.here, "settings", settings.model_copy(update={"kafka": nowhere}))
    journey = await world.of("ahead")
    assert [one.what for one in journey.unasked] == ["Kafka"]
    assert any(
        one.text.startswith(f"{world.here.workflow_id('c')}, a Keep, is running") for one in journey.steps
    )
    monkeypatch.setattr(world.here, "settings", settings)
    monkeypatch.setenv("TEMPORAL_ADDRESS", f"127.0.0.1:{random_port()}")
    journey = await world.at("weighed")
    assert [one.what for one in journey.unasked] == ["Temporal"]
    assert _step(journey, Cause.LETTER).mark is Mark.WRONG


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("published", 0, r"✓ it published echoed: "),
        ("weighed", 1, r"✗ letter .+\n    → see all of it: turnout letters show "),
        ("held", 1, r"… topic .+ is paused since "),
    ],
)
def test_the_command_shows_each_step_with_what_to_do(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    code: int,
    said: str,
) -> None:
    out = _command(world, monkeypatch, capsys, code, "where", world.id(name))
    assert re.search(said, out), out
    (journey,) = orjson.loads(
        _command(world, monkeypatch, capsys, code, "where", world.id(name), "--format", "json")
    )
    assert journey["done"] is (code == 0)
    assert journey["record"] == slashed(world.sent[name])


def _command(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    code: int,
    *arguments: str,
) -> str:
    codes: list[int] = []
    for variable, value in world.here.env.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr(sys, "argv", ["turnout", *arguments])
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(app_module, "leave", codes.append)
    for module in (status_module, where_module):  # what the site hears is not to be changed
        monkeypatch.setattr(module, "configure_logging", lambda *_: None)
    app_module.main()
    assert codes == [code]
    return capsys.readouterr().out


# --- the state of all ---


async def test_the_state_of_a_group_is_told_with_nobody_there(world: World) -> None:
    seen = await overview(world.here.settings, load_routes(world.here.settings.routes))
    topics = {one.topic: one for one in seen.topics}
    incoming, gone = topics[world.here.topics["in"]], topics[world.here.topics["gone"]]
    assert incoming.lag >= 2
    assert incoming.age(seen.now)
    assert gone.stopped == 1
    assert [str(RecordPlace.of(one)) for one in seen.oldest[:2]] == [
        slashed(world.sent[name]) for name in ("stuck", "behind")
    ]
    assert seen.board
    assert [one.because for one in seen.board.paused] == ["totals in euros"]
    assert seen.open_letters in {2, 3}
    assert seen.parks
    assert [(one.target, one.status.commands) for one in seen.parks] == [
        (world.here.workflow_id("nobody"), 2)
    ]
    assert any("no process of group" in one for one in seen.problems())


def test_status_and_top_show_it(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = _command(world, monkeypatch, capsys, 1, "status", "--format", "json")
    told = orjson.loads(out)
    assert told["group"] == world.here.group
    assert {one["topic"]: one["lag_records"] for one in told["topics"]}[world.here.topics["held"]] == 1
    for command in ("status", "top"):
        text = _command(world, monkeypatch, capsys, 1, command)
        assert "paused: topic" in text
        assert "is stopped: its group goes on at offset" in text
        assert '"n"' not in text  # no payload
