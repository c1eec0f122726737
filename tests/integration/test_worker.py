"""The worker: how it stops, how much it takes on, and what its workflows import."""

import asyncio
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity
from temporalio.client import Client, WorkflowHandle
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Worker

from activities.ports import Published, ResultEvent
from service.errors import ConfigurationError
from service.local import LocalTemporal
from service.temporal.worker import Capacity, Found, make_worker
from tests.integration.workers import models
from tests.integration.workers.flows import WhichCopy, Work
from tests.integration.workers.unloadable import Dated

LONG = timedelta(seconds=30)


class Nowhere:
    async def publish(self, event: ResultEvent) -> Published:
        raise NotImplementedError


class Hands:
    """The activity `work`: tells when it has begun, and returns the number of its attempt.

    It ends when it may, or when its worker stops, `left` later.
    """

    def __init__(self, left: timedelta = LONG) -> None:
        self.begun: asyncio.Queue[int] = asyncio.Queue()
        self.may_end = asyncio.Event()
        self._left = left.total_seconds()

    @activity.defn
    async def work(self) -> int:
        attempt = activity.info().attempt
        self.begun.put_nowait(attempt)
        ending = asyncio.create_task(self._end_with_the_worker())
        await self.may_end.wait()
        ending.cancel()
        return attempt

    async def _end_with_the_worker(self) -> None:
        await activity.wait_for_worker_shutdown()
        await asyncio.sleep(self._left)
        self.may_end.set()


class Place:
    """A task queue of its own, for workers and workflows."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.queue = f"worker-{uuid.uuid4().hex[:8]}"

    def worker(
        self,
        hands: Hands,
        *,
        grace: timedelta = LONG,
        capacity: Capacity | None = None,
        flow: type | None = None,
    ) -> Worker:
        workflows = [flow] if flow else [Work, WhichCopy]
        activities: list[Callable[..., Any]] = [hands.work]
        found = Found(workflows, activities)
        return make_worker(
            self.client, self.queue, found, Nowhere(), grace=grace, capacity=capacity or Capacity()
        )

    async def start(self, name: str = "Work") -> WorkflowHandle[Any, Any]:
        return await self.client.start_workflow(
            name, id=f"{self.queue}/{uuid.uuid4()}", task_queue=self.queue
        )


@pytest.fixture
async def place(temporal: LocalTemporal) -> Place:
    return Place(await Client.connect(temporal.address, data_converter=pydantic_data_converter))


async def test_an_activity_under_way_ends_within_the_grace_and_is_not_done_twice(place: Place) -> None:
    hands, other = Hands(left=timedelta(milliseconds=200)), Hands()
    other.may_end.set()
    async with asyncio.timeout(60):
        async with place.worker(hands):
            work = await place.start()
            await hands.begun.get()
        async with place.worker(other):
            assert await work.result() == 1


async def test_an_activity_that_takes_longer_than_the_grace_is_done_by_another_worker(place: Place) -> None:
    other = Hands()
    other.may_end.set()
    async with asyncio.timeout(60):
        hands = Hands()
        async with place.worker(hands, grace=timedelta(milliseconds=10)):
            work = await place.start()
            await hands.begun.get()
        async with place.worker(other):
            assert await work.result() == 2


async def test_no_more_activities_run_at_once_than_there_are_slots(place: Place) -> None:
    hands = Hands()
    async with asyncio.timeout(60), place.worker(hands, capacity=Capacity(activity_slots=1)):
        works = [await place.start() for _ in range(2)]
        await hands.begun.get()
        # Both are scheduled by now, and one of them has no slot.
        for work in works:
            while not (await work.describe()).raw_description.pending_activities:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert hands.begun.empty()
        hands.may_end.set()
        assert await asyncio.gather(*(work.result() for work in works)) == [1, 1]


async def test_what_workflows_keep_in_memory_and_how_many_run_is_as_set(place: Place) -> None:
    worker = place.worker(Hands(), capacity=Capacity(cached_workflows=3, workflow_slots=4, pollers=2))
    config = worker.config()
    assert config["max_cached_workflows"] == 3
    assert config["max_concurrent_workflow_tasks"] == 4
    async with worker, asyncio.timeout(30):  # the SDK takes it
        assert await (await place.start("WhichCopy")).result()


@pytest.mark.parametrize(
    ("passed", "is_ours"), [((), False), (("tests.integration.workers.models",), True)], ids=["not", "passed"]
)
async def test_a_module_that_is_passed_through_is_loaded_once_for_all_workflows(
    place: Place, passed: tuple[str, ...], is_ours: bool
) -> None:
    async with asyncio.timeout(60), place.worker(Hands(), capacity=Capacity(pass_through=passed)):
        assert (await (await place.start("WhichCopy")).result() == id(models)) is is_ours


async def test_a_workflow_that_cannot_be_loaded_is_named_with_the_cure(place: Place) -> None:
    with pytest.raises(ConfigurationError, match=r"Dated: .*datetime.*named in TURNOUT_WORKER__PASS_THROUGH"):
        place.worker(Hands(), flow=Dated)
    # And that is a cure.
    capacity = Capacity(pass_through=["tests.integration.workers.unloadable"])
    place.worker(Hands(), flow=Dated, capacity=capacity)
