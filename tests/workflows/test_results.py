"""Results that are published within the worker first, and the usual way where that fails."""

import asyncio
import uuid
from collections import Counter
from datetime import datetime, timedelta

import pytest
from temporalio import activity, workflow
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHandle
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities.ports import Published, ResultEvent
from activities.publishing import PublishingActivities
from workflows.results import Results


@workflow.defn(sandboxed=False)
class Tells:
    """Publishes two results, locally first if told so."""

    @workflow.run
    async def run(self, local: bool) -> list[int]:
        results = Results("results", "tests", local=local)
        told = [await results.publish("told", "subject", {"n": n}) for n in range(2)]
        return [published.offset for published in told]


@workflow.defn(sandboxed=False)
class TellsAll:
    """Publishes three results at once."""

    @workflow.run
    async def run(self) -> list[int]:
        results = Results("results", "tests")
        published = await results.publish_all(results.event("told", f"s{n}", n) for n in range(3))
        return [one.partition for one in published]


class Kafka:
    """Publishes, but not before as many attempts have failed as it is told."""

    def __init__(self, refusals: int = 0) -> None:
        self.refusals = refusals
        self.written: list[ResultEvent] = []
        self.tried: list[ResultEvent] = []
        self.attempts: Counter[str] = Counter()

    async def publish(self, event: ResultEvent) -> Published:
        where = "local" if activity.info().is_local else "scheduled"
        self.attempts[where] += 1
        self.tried.append(event)
        if self.refusals:
            self.refusals -= 1
            raise ConnectionError("no broker")
        self.written.append(event)
        return Published(topic=event.topic, partition=0, offset=len(self.written))


async def told(
    env: WorkflowEnvironment, kafka: Kafka, max_cached_workflows: int, *, local: bool
) -> WorkflowHandle[Tells, list[int]]:
    queue = str(uuid.uuid4())
    async with Worker(
        env.client,
        task_queue=queue,
        workflows=[Tells],
        activities=[PublishingActivities(kafka).publish],
        max_cached_workflows=max_cached_workflows,
    ):
        handle = await env.client.start_workflow(
            Tells.run, local, id=str(uuid.uuid4()), task_queue=queue, run_timeout=timedelta(minutes=5)
        )
        assert await handle.result() == [1, 2]
    return handle


async def scheduled(handle: WorkflowHandle[Tells, list[int]]) -> int:
    events = [event.event_type async for event in handle.fetch_history_events()]
    return events.count(EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED)


async def test_a_local_result_needs_no_task_of_the_server(
    env: WorkflowEnvironment, max_cached_workflows: int
) -> None:
    kafka = Kafka()
    handle = await told(env, kafka, max_cached_workflows, local=True)
    assert await scheduled(handle) == 0
    assert kafka.attempts == {"local": 2}


async def test_what_is_not_published_locally_goes_the_usual_way_with_the_same_id(
    env: WorkflowEnvironment, max_cached_workflows: int
) -> None:
    kafka = Kafka(refusals=2)
    handle = await told(env, kafka, max_cached_workflows, local=True)
    assert await scheduled(handle) == 1
    assert kafka.attempts == {"local": 2, "scheduled": 2}
    assert len({event.id for event in kafka.written}) == 2


@pytest.mark.parametrize("refusals", [0, 3])
async def test_ids_do_not_depend_on_the_way(
    env: WorkflowEnvironment, max_cached_workflows: int, refusals: int
) -> None:
    kafka = Kafka(refusals)
    await told(env, kafka, max_cached_workflows, local=False)
    assert kafka.attempts == {"scheduled": 2 + refusals}


async def test_only_the_first_attempt_does_not_say_since_when_others_were_made(
    env: WorkflowEnvironment, max_cached_workflows: int
) -> None:
    kafka = Kafka(refusals=2)
    await told(env, kafka, max_cached_workflows, local=False)
    since = [event.tried_since for event in kafka.tried]
    assert since[0] is None
    assert since[3] is None  # of the second result
    assert since[1]
    assert since[1] == since[2]
    made = datetime.fromisoformat(kafka.tried[0].time)
    assert made <= since[1] <= made + timedelta(seconds=5)


async def test_what_was_tried_locally_says_so_when_it_goes_the_usual_way(
    env: WorkflowEnvironment, max_cached_workflows: int
) -> None:
    kafka = Kafka(refusals=2)
    await told(env, kafka, max_cached_workflows, local=True)
    made = datetime.fromisoformat(kafka.tried[0].time)
    assert [event.tried_since for event in kafka.tried] == [None, made, made, None]


async def test_of_several_published_at_once_each_place_is_told_in_the_order_given(
    env: WorkflowEnvironment, max_cached_workflows: int
) -> None:
    class Slow(Kafka):
        async def publish(self, event: ResultEvent) -> Published:
            # The last one is the first to be written.
            await asyncio.wait_for(self.until(2 - int(event.subject[1:])), 10)
            self.written.append(event)
            return Published(topic=event.topic, partition=int(event.subject[1:]), offset=0)

        async def until(self, count: int) -> None:
            while len(self.written) < count:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    queue, kafka = str(uuid.uuid4()), Slow()
    async with Worker(
        env.client,
        task_queue=queue,
        workflows=[TellsAll],
        activities=[PublishingActivities(kafka).publish],
        max_cached_workflows=max_cached_workflows,
    ):
        places = await env.client.execute_workflow(TellsAll.run, id=str(uuid.uuid4()), task_queue=queue)
    assert places == [0, 1, 2]
    assert [event.subject for event in kafka.written] == ["s2", "s1", "s0"]
