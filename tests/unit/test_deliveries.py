"""What a park's activities do: deliver, give up when it is time, write letters."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from activities.parked import ParkedCommand
from activities.ports import NotYet, ParkedLetter, Refused
from service.errors import NotNow, RejectedError, TargetBusy, TargetMissing
from service.failures.deliveries import GRACE, ParkDeliveries
from service.failures.letters import Letters
from service.failures.parked import to_parked
from service.failures.parking import BUSY_PATIENCE
from service.routing.commands import Rule, Signal, joined
from service.telemetry.metrics import Metrics
from service.telemetry.traces import OFF, Traces
from tests.unit.fakes import FakeParks, FakeSink, ScriptedDispatcher, outage
from tests.unit.records import event, record

PATIENCE = timedelta(minutes=15)
LONG_UP = timedelta(days=30)


def missing() -> TargetMissing:
    return TargetMissing("workflow order/A-1 does not exist", PATIENCE)


def signal(number: int = 1) -> Signal:
    fact = event(f"e-{number}", of=record(number, key=b"\xff", value=b"\xfe", headers=(("h", b"\xfd"),)))
    return Signal(
        route="note", event=fact, workflow_id="order/A-1", name="note", args=([number],), batch=True
    )


def kept(command: Signal | None = None) -> ParkedCommand:
    return to_parked(command or signal(), answer="", patience=PATIENCE).command


class World:
    """Deliveries between fakes, of a bridge that has been up for a month."""

    def __init__(self, dispatcher: ScriptedDispatcher, traces: Traces = OFF) -> None:
        self.dispatcher = dispatcher
        self.sink = FakeSink()
        self.parks = FakeParks()
        self.now = 0.0
        self.paused = ""
        self.metrics = Metrics()
        self.deliveries = ParkDeliveries(
            dispatcher,
            Letters(self.sink, "shop"),
            self.parks,
            paused=lambda topic, route: self.paused if self.paused in (topic, route) else "",
            metrics=self.metrics,
            clock=lambda: self.now,
            traces=traces,
        )
        self.now = LONG_UP.total_seconds()

    async def deliver(
        self, command: ParkedCommand | None = None, *, waited: timedelta = timedelta()
    ) -> list[Refused]:
        return await self.deliveries.deliver(command or kept(), waited)


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    with capture_logs() as entries:
        yield entries


async def test_a_command_is_delivered_however_long_it_has_waited(lines: list[Any]) -> None:
    world = World(ScriptedDispatcher())
    assert await world.deliver(waited=timedelta(days=29)) == []
    (line,) = lines
    assert line == line | {
        "event": "accepted",
        "topic": "shop.orders",
        "offset": 1,
        "event_id": "e-1",
        "route": "note",
        "workflow_id": "order/A-1",
        "detail": "from its park",
    }
    assert 'turnout_outcomes_total{kind="accepted",route="note"} 1.0' in world.metrics.text()


async def test_a_command_whose_target_is_missing_is_tried_again_until_its_routes_time_is_up() -> None:
    world = World(ScriptedDispatcher(note=[missing(), missing()]))
    with pytest.raises(NotYet, match="does not exist"):
        await world.deliver(waited=PATIENCE - timedelta(seconds=1))
    assert await world.deliver(waited=PATIENCE) == [
        Refused(
            event=0,
            error="GivenUpError",
            reason="parked for 0:15:00, then given up: workflow order/A-1 does not exist",
            rule="missing",
        )
    ]


async def test_a_command_whose_target_is_busy_is_tried_again_for_a_day() -> None:
    world = World(ScriptedDispatcher(note=[TargetBusy("is busy")] * 2))
    with pytest.raises(NotYet, match="is busy"):
        await world.deliver(waited=BUSY_PATIENCE - timedelta(seconds=1))
    (refused,) = await world.deliver(waited=BUSY_PATIENCE)
    assert refused.reason == "parked for 1 day, 0:00:00, then given up: is busy"


async def test_temporals_own_trouble_makes_no_letter_however_long_it_lasts() -> None:
    world = World(ScriptedDispatcher(note=outage(1)))
    with pytest.raises(NotYet, match="is away"):
        await world.deliver(waited=timedelta(days=300))


@pytest.mark.parametrize(
    ("patience", "grace"),
    [(timedelta(seconds=2), timedelta(seconds=2)), (PATIENCE, GRACE)],
    ids=["short", "long"],
)
async def test_a_bridge_that_has_just_started_gives_up_on_nothing(
    patience: timedelta, grace: timedelta
) -> None:
    errors = [TargetMissing("does not exist", patience) for _ in range(2)]
    world = World(ScriptedDispatcher(note=errors))
    world.now = grace.total_seconds() - 1
    with pytest.raises(NotYet):
        await world.deliver(waited=timedelta(days=1))
    world.now += 1
    assert len(await world.deliver(waited=timedelta(days=1))) == 1


@pytest.mark.parametrize("name", ["shop.orders", "note"])
async def test_what_is_paused_is_neither_delivered_nor_given_up_on(name: str) -> None:
    world = World(ScriptedDispatcher())
    world.paused = name
    with pytest.raises(NotYet, match=f"^{name} is paused$"):
        await world.deliver(waited=timedelta(days=1))
    assert not world.dispatcher.calls
    world.paused = "another"
    assert await world.deliver(waited=timedelta(days=1)) == []


async def test_what_can_never_be_accepted_is_given_up_on_at_once() -> None:
    world = World(ScriptedDispatcher(note=[RejectedError("has closed")]))
    assert await world.deliver() == [Refused(event=0, error="RejectedError", reason="has closed")]


async def test_a_rejected_batch_is_told_one_by_one_and_takes_no_neighbour_along() -> None:
    world = World(ScriptedDispatcher())

    def refuse_the_second(command: Any) -> None:
        if 2 in command.args[0]:
            raise RejectedError("this one" if command.args == ([2],) else "one of them")

    world.dispatcher.before_call = refuse_the_second
    batch = kept(joined([signal(n) for n in (1, 2, 3)]))
    assert await world.deliver(batch) == [Refused(event=1, error="RejectedError", reason="this one")]
    assert [command.args for command in world.dispatcher.calls if isinstance(command, Signal)] == [
        ([1, 2, 3],),
        ([1],),
        ([2],),
        ([3],),
    ]


async def test_all_records_of_a_batch_whose_time_is_up_are_given_up_on() -> None:
    world = World(ScriptedDispatcher(note=[missing()]))
    refused = await world.deliver(kept(joined([signal(n) for n in (1, 2, 3)])), waited=PATIENCE)
    assert [one.event for one in refused] == [0, 1, 2]


async def test_a_letter_keeps_the_record_and_says_why(lines: list[Any]) -> None:
    world = World(ScriptedDispatcher())
    (given,) = to_parked(signal(), answer="", patience=PATIENCE).records
    letter = ParkedLetter(
        record=given,
        route="note",
        workflow_id="order/A-1",
        error="GivenUpError",
        reason="too long",
        event_type="shop.order.placed",
    )
    await world.deliveries.write_letter(letter)
    (sent,) = world.sink.sent
    assert (sent.key, sent.value, sent.headers[0]) == (b"\xff", b"\xfe", ("h", b"\xfd"))
    wanted = {
        "turnout-stage": b"dispatch",
        "turnout-error": b"GivenUpError",
        "turnout-route": b"note",
        "__dlq.errors.message": b"too long",
        "__dlq.errors.offset": b"1",
        "turnout-event-type": b"shop.order.placed",
        "turnout-workflow-id": b"order/A-1",
        "turnout-workflow-url": b"http://ui/order/A-1",
    }
    assert {name: sent.header(name) for name in wanted} == wanted
    (line,) = lines
    assert line == line | {"event": "dead-lettered", "letter": "0@0", "route": "note", "detail": "too long"}
    assert 'turnout_letters_total{stage="dispatch"} 1.0' in world.metrics.text()


async def test_a_letter_of_what_was_refused_says_so() -> None:
    world = World(ScriptedDispatcher())
    (given,) = to_parked(signal(), answer="", patience=PATIENCE).records
    letter = ParkedLetter(record=given, route="note", workflow_id="x", error="RejectedError", reason="no")
    await world.deliveries.write_letter(letter)
    (sent,) = world.sink.sent
    assert sent.header("turnout-error") == b"RejectedError"


async def test_a_letter_that_cannot_be_written_now_is_tried_again() -> None:
    world = World(ScriptedDispatcher())
    world.sink.errors.extend(outage(1))
    (given,) = to_parked(signal(), answer="", patience=PATIENCE).records
    letter = ParkedLetter(record=given, route="note", workflow_id="x", error="RejectedError", reason="no")
    with pytest.raises(NotYet, match="is away"):
        await world.deliveries.write_letter(letter)


# --- workflows that are looked for ---


def seeking(missing: Rule | timedelta = PATIENCE) -> ParkedCommand:
    one = replace(signal(), batch=False, workflow_id="", where={"Order": "A-1"}, missing=missing)
    return to_parked(one, answer="", patience=PATIENCE).command


async def test_a_workflow_that_is_found_by_now_is_told() -> None:
    world = World(ScriptedDispatcher())
    world.dispatcher.finds.append("order/A-1")
    assert await world.deliver(seeking()) == []
    assert [call.workflow_id for call in world.dispatcher.calls] == ["order/A-1"]


async def test_what_is_found_waits_until_the_park_of_that_workflow_is_empty() -> None:
    world = World(ScriptedDispatcher())
    await world.parks.put(replace(signal(7), batch=False), answer="", patience=PATIENCE)
    world.dispatcher.finds += ["order/A-1"] * 2
    with pytest.raises(NotYet, match="others are parked for workflow order/A-1"):
        await world.deliver(seeking())
    assert not world.dispatcher.calls
    world.parks.close("order/A-1")
    assert await world.deliver(seeking()) == []


async def test_what_is_not_found_in_time_is_given_up_on() -> None:
    world = World(ScriptedDispatcher())
    with pytest.raises(NotYet, match="no workflow is found by Order"):
        await world.deliver(seeking())
    (refused,) = await world.deliver(seeking(), waited=PATIENCE)
    assert (refused.error, refused.rule) == ("GivenUpError", "missing")
    assert refused.reason.endswith("then given up: no workflow is found by Order")


async def test_another_rule_or_several_workflows_decide_at_once() -> None:
    world = World(ScriptedDispatcher())
    assert await world.deliver(seeking(Rule.SKIP)) == []
    (refused,) = await world.deliver(seeking(Rule.DEAD_LETTER))
    assert (refused.error, refused.rule) == ("RejectedError", "missing")
    world.dispatcher.finds += [RejectedError("several"), NotNow("is away")]
    (refused,) = await world.deliver(seeking())
    assert refused.reason == "several"
    with pytest.raises(NotYet, match="is away"):
        await world.deliver(seeking(), waited=PATIENCE)
