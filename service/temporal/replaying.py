"""Replays what runs in a namespace against the code at hand, as a worker of it would after a deploy."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from itertools import product

from temporalio import workflow
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus, WorkflowHistory
from temporalio.common import VersioningBehavior
from temporalio.converter import DataConverter
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Plugin, Replayer

from service.errors import ConfigurationError
from service.temporal.client import no_answer
from service.temporal.core import core
from service.temporal.worker import loading, sandbox

MOST_UNKNOWN = 1_000
"""How many open workflows without code are looked at, to tell their types."""

_CORE_SAYS = re.compile(r'message: "((?:[^"\\]|\\.)*)"')
_RAISED = re.compile(r'r#type: "(\w+)"')

Replay = Callable[[WorkflowHistory], Awaitable[Exception | None]]


@dataclass(frozen=True, slots=True)
class Code:
    """What one worker runs: its workflows and plugins, and in the words of visibility, its task queue."""

    workflows: Sequence[type]
    plugins: Sequence[Plugin]
    queue: str
    pass_through: Sequence[str] = ()

    @property
    def types(self) -> Sequence[str]:
        """The names of its workflow types, as Temporal knows them."""
        definitions = [workflow._Definition.must_from_class(one) for one in self.workflows]  # noqa: SLF001
        return [one.name for one in definitions if one.name]


class Verdict(StrEnum):
    """What became of one history."""

    REPLAYS = "replays"
    FAILS = "fails"
    PINNED = "stays with its build"
    GONE = "was deleted meanwhile"


@dataclass(frozen=True, slots=True)
class Checked:
    """One run: whether it would go on with this code, and if not, the first event that differs, and how."""

    type: str
    workflow_id: str
    run_id: str
    open: bool
    verdict: Verdict
    event: str = ""
    reason: str = ""


class ReplayCheck:
    """The newest runs of a namespace, each replayed by the code that its worker would have.

    Of each type the `last` open ones and the `last` closed ones, the newest first. One history is in memory
    at a time.

    Args:
        client: For the namespace.
        code: What is at hand.
        last: How many of each.
        only: Types to look at; none are all.
        query: A condition for visibility that they must also fit; may be empty.
    """

    def __init__(
        self, client: Client, code: Sequence[Code], *, last: int, only: Collection[str], query: str
    ) -> None:
        self._client = client
        self._code = code
        self._last = last
        self._only = only
        self._also = f" AND ({query})" if query else ""

    async def there_are(self) -> Mapping[str, tuple[int, int]]:
        """How many runs of each type there are, open and closed.

        Raises:
            ConfigurationError: The query is none.
            Unreachable: Temporal does not answer.
        """
        return {
            type_: (
                await self._count(self._of(code, type_, is_open=True)),
                await self._count(self._of(code, type_, is_open=False)),
            )
            for code in self._code
            for type_ in self._types(code)
        }

    async def run(self) -> AsyncIterator[Checked]:
        """Replay one after the other; what is wrong with one of them is its verdict, and no error.

        Raises:
            ConfigurationError: The query is none, or a workflow cannot be loaded.
            Unreachable: Temporal does not answer.
        """
        for code in self._code:
            if not (types := self._types(code)):
                continue
            async with _replaying(code, self._client.data_converter) as replay:
                for type_, is_open in product(types, (True, False)):
                    for one in await self._list(self._of(code, type_, is_open=is_open), self._last):
                        yield await self._check(one, replay)

    async def without_code(self) -> Counter[str]:
        """The types of open workflows on the same task queues for which there is no code, and how many.

        Raises:
            Unreachable: Temporal does not answer.
        """
        unknown = Counter[str]()
        for code in () if self._only else self._code:
            known = ", ".join(f"'{name}'" for name in code.types)
            others = f" AND WorkflowType NOT IN ({known})" if known else ""
            query = f"{code.queue} AND ExecutionStatus = 'Running'{others}{self._also}"
            unknown.update(one.workflow_type for one in await self._list(query, MOST_UNKNOWN))
        return unknown

    def _types(self, code: Code) -> list[str]:
        return [name for name in code.types if not self._only or name in self._only]

    def _of(self, code: Code, type_: str, *, is_open: bool) -> str:
        sign = "=" if is_open else "!="
        return f"{code.queue} AND WorkflowType = '{type_}' AND ExecutionStatus {sign} 'Running'{self._also}"

    async def _count(self, query: str) -> int:
        try:
            return (await self._client.count_workflows(query)).count
        except RPCError as error:
            raise self._why(error) from error

    async def _list(self, query: str, most: int) -> list[WorkflowExecution]:
        try:
            return [one async for one in self._client.list_workflows(query, limit=most)]
        except RPCError as error:
            raise self._why(error) from error

    def _why(self, error: RPCError) -> Exception:
        if error.status is RPCStatusCode.INVALID_ARGUMENT and self._also:
            return ConfigurationError(f"--query is not one that Temporal takes: {error.message}")
        return no_answer(self._client, error)

    async def _check(self, one: WorkflowExecution, replay: Replay) -> Checked:
        verdict, event, reason = await self._verdict(one, replay)
        is_open = one.status is WorkflowExecutionStatus.RUNNING
        return Checked(one.workflow_type, one.id, one.run_id, is_open, verdict, event, reason)

    async def _verdict(self, one: WorkflowExecution, replay: Replay) -> tuple[Verdict, str, str]:
        try:
            history = await self._client.get_workflow_handle(one.id, run_id=one.run_id).fetch_history()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return Verdict.GONE, "", ""
            raise self._why(error) from error
        if build := _pinned_to(history):
            return Verdict.PINNED, "", build
        failure = await replay(history)
        if failure is None:
            return Verdict.REPLAYS, "", ""
        return Verdict.FAILS, _named(await _first_that_differs(history, replay)), _reason(failure)


@asynccontextmanager
async def _replaying(code: Code, converter: DataConverter) -> AsyncIterator[Replay]:
    """Replays histories one by one, in one worker for all of them: that is twice as fast as one for each."""
    asked = asyncio.Queue[WorkflowHistory]()

    async def histories() -> AsyncIterator[WorkflowHistory]:
        while True:
            yield await asked.get()

    replayer = Replayer(
        workflows=code.workflows,
        plugins=code.plugins,
        workflow_runner=sandbox(code.pass_through),
        data_converter=converter,
        runtime=core().runtime,
    )
    async with AsyncExitStack() as stack:
        with loading():
            results = await stack.enter_async_context(replayer.workflow_replay_iterator(histories()))

        async def replay(history: WorkflowHistory) -> Exception | None:
            await asked.put(history)
            return (await anext(results)).replay_failure

        yield replay


def _pinned_to(history: WorkflowHistory) -> str:
    """The build that the run stays with, whatever is deployed; empty if it moves on."""
    for event in reversed(history.events):
        if event.HasField("workflow_task_completed_event_attributes"):
            task = event.workflow_task_completed_event_attributes
            pinned = task.versioning_behavior == int(VersioningBehavior.PINNED)
            return task.deployment_version.build_id if pinned else ""
    return ""


async def _first_that_differs(history: WorkflowHistory, replay: Replay) -> HistoryEvent:
    """The first event that came of the first task to fail; the SDK names none, or one of that task."""
    events = history.events
    # Cut off behind the start of a task, a history replays all tasks before that one.
    starts = [n for n, one in enumerate(events) if one.HasField("workflow_task_started_event_attributes")]
    ends = [*(n + 1 for n in starts), len(events)]
    low, high = 0, len(ends) - 1
    while low < high:
        middle = (low + high) // 2
        if await replay(WorkflowHistory(history.workflow_id, events[: ends[middle]])):
            high = middle
        else:
            low = middle + 1
    tasks = [
        n
        for n, one in enumerate(events[: ends[low]])
        if one.HasField("workflow_task_completed_event_attributes")
    ]
    return events[min(tasks[-1] + 1 if tasks else 0, len(events) - 1)]


def _named(event: HistoryEvent) -> str:
    """As the Temporal UI has it: `7 ActivityTaskScheduled`."""
    words = EventType.Name(event.event_type).removeprefix("EVENT_TYPE_").split("_")
    return f"{event.event_id} {''.join(word.capitalize() for word in words)}"


def _reason(failure: Exception) -> str:
    """What the SDK says; of an error of the workflow's own code just the type, since its text may be data."""
    text = str(failure)
    if isinstance(failure, workflow.NondeterminismError):
        said = _CORE_SAYS.search(text)
        return said[1].partition("Nondeterminism error: ")[2] or said[1] if said else text
    raised = _RAISED.search(text)
    return f"its code raises {raised[1] if raised else type(failure).__name__}"
