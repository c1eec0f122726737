"""Where the shop's workflows run in tests: a worker, and a Kafka that notes what it was given."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from uuid import uuid4

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle, WorkflowHistory
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from activities.ports import Published, ResultEvent
from activities.publishing import PublishingActivities
from service.temporal.versions import Unversioned
from workflows.inbox import Inbox


class ShopFloor:
    """A task queue with its worker, and what was published by it.

    `failures` says how often publishing a type fails first. `during` is awaited while an event is published.
    """

    def __init__(self, client: Client, max_cached_workflows: int) -> None:
        self.client = client
        self.name = uuid4().hex
        self.published: list[ResultEvent] = []
        self.failures: Counter[str] = Counter()
        self.during: dict[str, Callable[[ResultEvent], Awaitable[None]]] = {}
        self.most_at_once = 0
        self._at_once = 0
        self._cached = max_cached_workflows

    @asynccontextmanager
    async def worked(self, *workflows: type) -> AsyncIterator[None]:
        """Run the worker of `workflows`."""
        async with Worker(
            self.client,
            task_queue=self.name,
            workflows=workflows,
            activities=[PublishingActivities(self).publish],
            plugins=[Inbox()],
            # As in our worker: a customer's `defn` names a behavior, which needs a deployment.
            workflow_runner=Unversioned(SandboxedWorkflowRunner()),
            max_cached_workflows=self._cached,
        ):
            yield

    async def publish(self, event: ResultEvent) -> Published:
        """Note `event`, as Kafka would."""
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            if self.failures[event.type] > 0:
                self.failures[event.type] -= 1
                raise ConnectionError("no broker")
            if event.type in self.during:
                await self.during[event.type](event)
            self.published.append(event)
            return Published(topic=event.topic, partition=0, offset=len(self.published))
        finally:
            self._at_once -= 1

    async def start(self, workflow: Any, given: object, **options: Any) -> WorkflowHandle[Any, Any]:
        """Start a workflow under the floor's name."""
        return await self.client.start_workflow(
            workflow, given, id=self.name, task_queue=self.name, **options
        )

    def handle(self, id_: str | None = None) -> WorkflowHandle[Any, Any]:
        """For what tells a workflow something; to await its result does not skip time."""
        return self.client.get_workflow_handle(id_ or self.name)

    def types(self) -> list[str]:
        """What was published, in order."""
        return [event.type.removeprefix("shop.") for event in self.published]

    async def until(self, found: Callable[[], Awaitable[bool]]) -> None:
        """Wait for what only the server knows."""
        async with asyncio.timeout(30):
            while not await found():  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def until_open(self, *ids: str) -> None:
        """Wait until workflows of these ids run."""
        for id_ in ids:
            await self.until(partial(self._is_open, id_))

    async def _is_open(self, id_: str) -> bool:
        try:
            return (await self.handle(id_).describe()).status is WorkflowExecutionStatus.RUNNING
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return False
            raise

    async def until_idle(self) -> None:
        """Wait until the workflow has taken in all that it was told, in whichever run."""

        async def idle() -> bool:
            last = (await self.handle().fetch_history()).events[-1]
            return last.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED

        await self.until(idle)

    async def histories(self) -> list[WorkflowHistory]:
        """Those of all runs, the first first."""
        first = (await self.handle().describe()).raw_description.workflow_execution_info.first_run_id
        run_id, found = first, []
        while run_id:
            found.append(await self.client.get_workflow_handle(self.name, run_id=run_id).fetch_history())
            last = found[-1].events[-1]
            run_id = last.workflow_execution_continued_as_new_event_attributes.new_execution_run_id
        return found


def count(history: WorkflowHistory, kind: EventType.ValueType) -> int:
    """How many events of `kind` a history has."""
    return sum(event.event_type == kind for event in history.events)
