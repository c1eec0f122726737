"""What the recorded workflows went through: one story for each way that one of ours takes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowFailureError, WorkflowHandle

from activities.parking import ParkingActivities
from activities.ports import NotYet, Refused, Swept
from activities.sweeping import SweepingActivities
from service.dispatch.links import Links
from service.failures.parks import Parks
from service.routing.commands import Signal
from service.temporal.sweep import begin_sweep, sweep_id
from service.temporal.switchboard import SwitchboardClient, switchboard_id
from service.temporal.worker import make_service_worker
from tests.unit.records import event, record
from tests.workflows.yard import GIVEN_UP, PATIENCE, World, end_try
from workflows.park import Park
from workflows.sweep import Sweep
from workflows.switchboard import Names, Switchboard

TARGET = "order/A-1"
NAMES = Names(topics=("shop.orders",), routes=("note",))
LONG_EVENTS = 60
"""After so many events, Temporal suggests a new run to the workflows of these stories."""

Handle = WorkflowHandle[Any, Any]


class Sweeper:
    """Sweeps a minute at a time; away at its second sweep, and not wanted any more after its eighth."""

    def __init__(self) -> None:
        self._sweeps = 0

    async def sweep(self, since: datetime, now: datetime) -> Swept:
        self._sweeps += 1
        if self._sweeps == 2:
            raise NotYet("Kafka is away")
        again = timedelta(milliseconds=1) if self._sweeps < 8 else None
        return Swept(until=since + timedelta(minutes=1), again_in=again)


class Stage:
    """The parks, the switchboard and the sweep of `group`; its worker delivers to `world`."""

    def __init__(self, client: Client, group: str) -> None:
        self.world = World()
        self.client = client
        self.group = group
        self.sweeper = Sweeper()
        self._parks = Parks(client, group, Links("http://temporal", runbook_url="http://runbooks/{route}"))
        self._board = SwitchboardClient(client, group)
        self.switchboard: Handle = client.get_workflow_handle(switchboard_id(group))
        self.park: Handle = client.get_workflow_handle(self._parks.id_for(_signal(0)))

    async def put(self, *numbers: int) -> None:
        """Park a signal with each of the numbers."""
        for number in numbers:
            await self._parks.put(
                _signal(number), answer=f"workflow {TARGET} does not exist", patience=PATIENCE
            )

    async def closed(self) -> None:
        """Wait for the end of the park."""
        async with asyncio.timeout(60):
            with suppress(WorkflowFailureError):
                await self.park.result()

    async def tell(self, signal: str, said: object) -> None:
        """Tell the switchboard something, and see that it has taken it in."""
        await self._board.tell(signal, said, last=None)
        assert (await self._board.read_settled(30)).settled

    async def end_try(self) -> None:
        """End the tries of what it tries now, as someone may by hand; those after it go on."""
        self.world.during_try = None
        await end_try(self.client, self.park.id)

    async def until(self, found: Callable[[], Awaitable[bool]]) -> None:
        """Wait for what only the server knows."""
        async with asyncio.timeout(30):
            while not await found():  # noqa: ASYNC110
                await asyncio.sleep(0.01)


def _signal(number: int) -> Signal:
    fact = event(f"e-{number}", of=record(number, key=b"\xff", value=b"\0"))
    return Signal(route="note", event=fact, workflow_id=TARGET, name="note", args=(number,), missing=PATIENCE)


async def park_delivered(stage: Stage) -> Handle:
    """Three commands and a repeat, whose target comes while the first of them is tried."""
    await stage.put(0, 1, 0, 2)
    await stage.world.tried.wait()
    stage.world.there = True
    await stage.closed()
    return stage.park


async def park_given_up(stage: Stage) -> Handle:
    """The first of two becomes a letter, for which Kafka is away at first."""
    stage.world.refused[0] = [Refused(event=0, error=GIVEN_UP, reason="too long")]
    stage.world.kafka_away = 1
    stage.world.there = True
    await stage.put(0, 1)
    await stage.closed()
    return stage.park


async def park_cancelled(stage: Stage) -> Handle:
    """Someone cancels it while it waits."""
    await stage.put(0, 1, 2)
    await stage.world.tried.wait()
    await stage.park.cancel()
    await stage.closed()
    return stage.park


async def park_cancelled_while_it_delivers(stage: Stage) -> Handle:
    """Someone cancels it after a command has reached its target, before the park knows."""

    async def is_told() -> bool:
        events = (await stage.park.fetch_history()).events
        return any(one.HasField("activity_task_cancel_requested_event_attributes") for one in events)

    async def cancel() -> None:
        await stage.put(1)
        stage.world.there = False
        await stage.park.cancel()
        await stage.until(is_told)

    stage.world.there = True
    stage.world.before_answer = cancel
    await stage.put(0)
    await stage.closed()
    return stage.park


async def park_tries_ended_by_hand(stage: Stage) -> Handle:
    """Someone ends the tries of a delivery, and then those of the letter that it becomes."""

    async def end_both() -> None:
        await stage.end_try()
        stage.world.during_try = stage.end_try

    stage.world.during_try = end_both
    await stage.put(0)
    await stage.closed()
    return stage.park


async def park_continued(stage: Stage) -> Handle:
    """So many commands that it takes several runs; the last of them hears of the first command again."""

    async def again() -> None:
        if stage.world.delivered[-1] == 15:
            await stage.put(0)

    stage.world.before_answer = again
    await stage.put(*range(16))
    await stage.world.tried.wait()
    stage.world.there = True
    await stage.closed()
    assert stage.world.delivered == [*range(16)]
    return stage.park


async def switchboard_paused_and_resumed(stage: Stage) -> Handle:
    """All that people and bridges may say to it, and what it does not understand."""
    await stage.tell("routes_loaded", NAMES)
    await stage.tell("pause", {"name": "shop.orders", "because": "totals in euros", "by": "ada"})
    await stage.tell("pause", "shop.orders")
    await stage.tell("pause", 7)
    await stage.tell("resume", "note")
    await stage.tell("resume", {"name": "shop.orders", "because": "mended", "by": "grace"})
    return stage.switchboard


async def switchboard_continued(stage: Stage) -> Handle:
    """It takes several runs, and knows in each what was paused in the first."""
    await stage.tell("pause", {"name": "shop.orders", "because": "totals in euros", "by": "ada"})
    first = (await stage.switchboard.describe()).run_id
    while (await stage.switchboard.describe()).run_id == first:
        await stage.tell("routes_loaded", NAMES)
    await stage.tell("resume", "shop.orders")
    return stage.switchboard


async def sweep_continued(stage: Stage) -> Handle:
    """It takes two runs, and ends when it is not wanted any more."""
    await begin_sweep(stage.client, stage.group, datetime(2026, 11, 24, 12, tzinfo=UTC))
    sweep: Handle = stage.client.get_workflow_handle(sweep_id(stage.group))
    async with asyncio.timeout(60):
        await sweep.result()
    return sweep


Story = Callable[[Any], Awaitable[Handle]]


@dataclass(frozen=True)
class Play:
    """Stories of some workflows, told on stages of one kind; recorded into `folder`, by version."""

    folder: Path
    stories: Sequence[Story]
    stage: Callable[[Client, str], AbstractAsyncContextManager[Any]]

    @property
    def recorded(self) -> Path:
        """Where the histories of this version are."""
        return self.folder / version("turnout")


@asynccontextmanager
async def _stage(client: Client, group: str) -> AsyncIterator[Stage]:
    stage = Stage(client, group)
    parking = ParkingActivities(stage.world)
    activities: list[Callable[..., Any]] = [parking.deliver, parking.write_letters]
    activities.append(SweepingActivities(stage.sweeper).sweep_closings)
    async with make_service_worker(client, group, [Switchboard, Park, Sweep], activities):
        yield stage


OURS = Play(
    Path(__file__).parent,
    (
        park_delivered,
        park_given_up,
        park_cancelled,
        park_cancelled_while_it_delivers,
        park_tries_ended_by_hand,
        park_continued,
        switchboard_paused_and_resumed,
        switchboard_continued,
        sweep_continued,
    ),
    _stage,
)
"""Of the workflows of turnout itself."""


def story_name(story: Story) -> str:
    """How the files with its histories are called."""
    return story.__name__.replace("_", "-")
