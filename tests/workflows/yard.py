"""A park with what it takes to fill it: a target that is there or not, and letters."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from activities.parked import KeptRecord, Parked, ParkedCommand, ParkedEvent
from activities.parking import ParkingActivities
from activities.ports import Deliveries, NotYet, ParkedLetter, Refused
from workflows.park import MEMO, Carried, Park, ParkStatus

PATIENCE = timedelta(seconds=30)
GIVEN_UP = "GivenUpError"
NOTHING = Carried()


def parked(number: int, *, events: int = 1, padding: str = "") -> Parked:
    """A signal with a number as its argument, of so many events."""
    offsets = range(number, number + events)
    return Parked(
        id=f"id-{number}",
        command=ParkedCommand(
            kind="signal",
            route="note",
            namespace=None,
            workflow_id="order/A-1",
            events=tuple(_event(offset) for offset in offsets),
            missing=PATIENCE,
            closed="dead-letter",
            name="note",
            args=(number, padding),
        ),
        records=tuple(_record(offset) for offset in offsets),
        answer="order/A-1 is not there",
        patience=PATIENCE,
        size_bytes=1_000 + len(padding),
    )


def _event(offset: int) -> ParkedEvent:
    return ParkedEvent(
        key=("/shop", f"e-{offset}"),
        id=f"e-{offset}",
        source="/shop",
        type="note",
        topic="in",
        partition=0,
        offset=offset,
    )


def _record(offset: int) -> KeptRecord:
    return KeptRecord(
        topic="in", partition=0, offset=offset, key=b"\xff", value=b"\0", headers=(), timestamp_ms=0
    )


@dataclass
class World(Deliveries):
    """A target that is there or not, and a letter topic that can be written to or not."""

    there: bool = False
    refused: dict[int, list[Refused]] = field(default_factory=dict)
    kafka_away: int = 0
    waited: list[timedelta] = field(default_factory=list)
    tried: asyncio.Event = field(default_factory=asyncio.Event)
    delivered: list[int] = field(default_factory=list)
    letters: list[tuple[int, str, str]] = field(default_factory=list)
    before_answer: Callable[[], Awaitable[object]] | None = None
    during_try: Callable[[], Awaitable[object]] | None = None

    async def deliver(self, command: ParkedCommand, waited: timedelta) -> list[Refused]:
        number = command.args[0]
        assert isinstance(number, int)
        self.waited.append(waited)
        self.tried.set()
        if self.during_try:
            await self.during_try()
        if number in self.refused:
            return self.refused[number]
        if self.there:
            self.delivered.append(number)
            if self.before_answer:
                await self.before_answer()
            return []
        if waited < PATIENCE:
            raise NotYet("order/A-1 is not there")
        return [Refused(event=n, error=GIVEN_UP, reason="too long") for n in range(len(command.events))]

    async def write_letter(self, letter: ParkedLetter) -> None:
        if self.during_try:
            await self.during_try()
        if self.kafka_away:
            self.kafka_away -= 1
            raise NotYet("Kafka is away")
        assert (letter.record.key, letter.record.value, letter.route) == (b"\xff", b"\0", "note")
        self.letters.append((letter.record.offset, letter.error, letter.reason))

    @property
    def lettered(self) -> list[int]:
        """The offsets of the records that letters were made of."""
        return [offset for offset, _, _ in self.letters]


@workflow.defn(name="Park", sandboxed=False)
class AsyncPark(Park):
    """A park as it must not be: its handler takes its time."""

    @workflow.init
    def __init__(self, carried: Carried) -> None:
        super().__init__(carried)

    @workflow.run
    async def run(self, carried: Carried) -> None:
        await super().run(carried)

    @workflow.signal(unfinished_policy=workflow.HandlerUnfinishedPolicy.ABANDON)
    async def park(self, raw: RawValue) -> None:  # type: ignore[override]
        await asyncio.sleep(1)
        super().park(raw)


async def end_try(client: Client, park: str) -> None:
    """Fail the activity that the park is trying, as someone may by hand."""
    (pending,) = (await client.get_workflow_handle(park).describe()).raw_description.pending_activities
    by_hand = client.get_async_activity_handle(workflow_id=park, run_id=None, activity_id=pending.activity_id)
    await by_hand.fail(ApplicationError("no more", non_retryable=True))


async def complete_try(client: Client, park: str, result: object) -> None:
    """Complete the activity that the park is trying, as someone may by hand."""
    (pending,) = (await client.get_workflow_handle(park).describe()).raw_description.pending_activities
    by_hand = client.get_async_activity_handle(workflow_id=park, run_id=None, activity_id=pending.activity_id)
    await by_hand.complete(result)


class Yard:
    """A park and what it takes to fill it."""

    def __init__(self, client: Client, world: World, park: type = Park) -> None:
        self.world = world
        self._client = client
        self._park = park
        self._queue = uuid.uuid4().hex
        self.handle: WorkflowHandle[Any, Any]
        self._first_run = ""

    @asynccontextmanager
    async def worked(self, cached: int, *, delivers: bool = True) -> AsyncIterator[None]:
        """Run its worker; unless it `delivers`, the park alone."""
        activities = ParkingActivities(self.world)
        async with Worker(
            self._client,
            task_queue=self._queue,
            workflows=[self._park],
            activities=[activities.deliver, activities.write_letters] if delivers else [],
            max_cached_workflows=cached,
        ):
            yield

    @asynccontextmanager
    async def delivering(self) -> AsyncIterator[None]:
        """Run its activities, and leave the park itself alone."""
        activities = ParkingActivities(self.world)
        # One connection takes one worker of a task queue.
        address = self._client.service_client.config.target_host
        client = await Client.connect(address, data_converter=self._client.data_converter)
        async with Worker(client, task_queue=self._queue, activities=[activities.deliver]):
            yield

    async def put(self, *commands: object, carried: Carried = NOTHING) -> None:
        """Put them in one after the other; the first opens it, if it is closed."""
        for one in commands:
            # Only a handle from here lets time skip while its result is awaited.
            self.handle = await self._client.start_workflow(
                "Park",
                carried,
                id=f"parked/{self._queue}",
                task_queue=self._queue,
                start_signal="park",
                start_signal_args=[one],
            )
            self._first_run = self._first_run or str(self.handle.result_run_id)

    async def memo(self) -> ParkStatus:
        """How full it says it is, without a worker."""
        return await (await self.handle.describe()).memo_value(MEMO, ParkStatus(), type_hint=ParkStatus)

    async def until(self, found: Callable[[], Awaitable[bool]]) -> None:
        """Wait for what only the server knows."""
        async with asyncio.timeout(30):
            while not await found():  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def until_it_waits_for_its_next_try(self) -> None:
        """Wait until a try has failed, and the next has not begun.

        This server loses the failure of a try that it was asked to cancel, until the try's time is up (a real
        one passes it on), and calls a try begun as soon as the one before has failed.
        """

        async def is_waiting() -> bool:
            pending = (await self.handle.describe()).raw_description.pending_activities
            return any(p.attempt > 1 for p in pending)

        await self.until(is_waiting)

    async def until_closed(self) -> None:
        """Wait for its end, by whatever."""

        async def is_closed() -> bool:
            return (await self.handle.describe()).status is not WorkflowExecutionStatus.RUNNING

        await self.until(is_closed)

    async def continued(self) -> list[Carried]:
        """What each of its runs took over from the one before, but for the first."""
        found: list[Carried] = []
        run_id = self._first_run
        while run_id:
            last = (
                await self._client.get_workflow_handle(self.handle.id, run_id=run_id).fetch_history()
            ).events[-1]
            attributes = last.workflow_execution_continued_as_new_event_attributes
            run_id = attributes.new_execution_run_id
            if run_id:
                found += await self._client.data_converter.decode(attributes.input.payloads, [Carried])
        return found

    async def runs(self) -> int:
        """How many runs it has had, whether closed and opened again or continued."""
        runs = {run.run_id async for run in self._client.list_workflows(f"WorkflowId = '{self.handle.id}'")}
        return len(runs)
