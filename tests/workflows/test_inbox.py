"""The inbox drops repeats inside workflows that know nothing of it, against a server."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from temporalio import workflow
from temporalio.client import WorkflowHandle
from temporalio.common import RawValue
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Replayer, Worker

from service.dispatch.identity import INBOX_HEADER
from tests.telling import id_of, tell
from workflows import inbox
from workflows.inbox import ID_HEADER, QUERY, WINDOW, Inbox


@workflow.defn(sandboxed=False)
class Collects:
    """Keeps what it is told; starts a new run on `turn over`."""

    @workflow.init
    def __init__(self, taken: list[str]) -> None:
        self._taken = list(taken)
        self._turn_over = self._end = False

    @workflow.run
    async def run(self, taken: list[str]) -> list[str]:
        await workflow.wait_condition(lambda: self._turn_over or self._end)
        if not self._end:
            workflow.continue_as_new(self._taken)
        return self._taken

    @workflow.signal
    def told(self, item: str) -> None:
        self._taken.append(item)

    @workflow.signal
    def told_many(self, items: list[str]) -> None:
        self._taken += items

    @workflow.signal
    def told_raw(self, items: RawValue) -> None:
        self._taken += workflow.payload_converter().from_payload(items.payload, list[str])

    @workflow.signal(dynamic=True)
    def told_somehow(self, name: str, args: Sequence[RawValue]) -> None:
        items = workflow.payload_converter().from_payload(args[0].payload)
        self._taken += [f"{name} {item}" for item in items]

    @workflow.signal
    def turn_over(self) -> None:
        self._turn_over = True

    @workflow.signal
    def end(self) -> None:
        self._end = True

    @workflow.query
    def taken(self) -> list[str]:
        return self._taken


Handle = WorkflowHandle[Collects, list[str]]


@asynccontextmanager
async def collecting(env: WorkflowEnvironment, cached: int) -> AsyncIterator[Handle]:
    queue = uuid.uuid4().hex
    async with Worker(
        env.client, task_queue=queue, workflows=[Collects], plugins=[Inbox()], max_cached_workflows=cached
    ):
        handle = await env.client.start_workflow(Collects.run, [], id=queue, task_queue=queue)
        yield handle
        await handle.signal(Collects.end)
        await handle.result()


async def test_what_it_dropped_is_told_by_a_query(
    env: WorkflowEnvironment, max_cached_workflows: int
) -> None:
    async with collecting(env, max_cached_workflows) as handle:
        for name in ("a", "b", "a", "a"):
            await tell(env.client, handle.id, "told", name, id_of(name))
        assert await handle.query(QUERY) == {"remembered": 2, "dropped": 2}


async def test_a_repeat_is_dropped_and_another_is_not(
    env: WorkflowEnvironment, max_cached_workflows: int
) -> None:
    async with collecting(env, max_cached_workflows) as handle:
        for name in ("a", "b", "a", "c", "b"):
            await tell(env.client, handle.id, "told", name, id_of(name))
        assert await handle.query(Collects.taken) == ["a", "b", "c"]


async def test_a_signal_from_elsewhere_always_passes(
    env: WorkflowEnvironment, max_cached_workflows: int
) -> None:
    async with collecting(env, max_cached_workflows) as handle:
        await tell(env.client, handle.id, "told", "by hand")
        await tell(env.client, handle.id, "told", "by hand")
        assert await handle.query(Collects.taken) == ["by hand", "by hand"]


async def test_a_repeat_is_dropped_by_later_runs_of_the_chain(
    env: WorkflowEnvironment, max_cached_workflows: int
) -> None:
    async with collecting(env, max_cached_workflows) as handle:
        await tell(env.client, handle.id, "told", "a", id_of("a"))
        for _ in range(2):
            before = (await handle.describe()).run_id
            await handle.signal(Collects.turn_over)
            async with asyncio.timeout(30):
                while (await handle.describe()).run_id == before:  # noqa: ASYNC110 - only the server knows
                    await asyncio.sleep(0.01)
            await tell(env.client, handle.id, "told", "a", id_of("a"))
        await tell(env.client, handle.id, "told", "b", id_of("b"))
        assert await handle.query(Collects.taken) == ["a", "b"]


async def test_of_a_batch_only_the_news_are_taken(
    env: WorkflowEnvironment, max_cached_workflows: int
) -> None:
    async with collecting(env, max_cached_workflows) as handle:
        await tell(env.client, handle.id, "told_many", ["a", "b"], id_of("a"), id_of("b"))
        await tell(env.client, handle.id, "told_many", ["b", "c", "a", "d"], *map(id_of, "bcad"))
        await tell(env.client, handle.id, "told_many", ["a", "d"], *map(id_of, "ad"))
        assert await handle.query(Collects.taken) == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("signal", "taken"), [("told_raw", ["a", "b", "c"]), ("to", ["to a", "to b", "to c"])]
)
async def test_of_a_batch_only_the_news_are_taken_also_undecoded(
    env: WorkflowEnvironment, max_cached_workflows: int, signal: str, taken: Sequence[str]
) -> None:
    async with collecting(env, max_cached_workflows) as handle:
        await tell(env.client, handle.id, signal, ["a", "b"], id_of("a"), id_of("b"))
        await tell(env.client, handle.id, signal, ["b", "c"], id_of("b"), id_of("c"))
        assert await handle.query(Collects.taken) == taken


async def test_a_history_with_repeats_replays(env: WorkflowEnvironment, max_cached_workflows: int) -> None:
    async with collecting(env, max_cached_workflows) as handle:
        for name in "aba":
            await tell(env.client, handle.id, "told", name, id_of(name))
    replayer = Replayer(workflows=[Collects], plugins=[Inbox()], data_converter=pydantic_data_converter)
    await replayer.replay_workflow(await handle.fetch_history())


@given(st.lists(st.integers(0, 30), max_size=200), st.integers(1, 20))
@settings(max_examples=50)
def test_the_window_holds_the_newest_ids_and_survives_being_packed(order: Sequence[int], window: int) -> None:
    expected: list[bytes] = []
    seen = inbox._Seen()  # noqa: SLF001
    seen._ids = {}  # noqa: SLF001 - no workflow here to read them from
    original, inbox.WINDOW = inbox.WINDOW, window
    try:
        for number in order:
            id_ = id_of(str(number))
            assert seen.first_time(id_) == (id_ not in expected)
            if id_ not in expected:
                expected = [*expected, id_][-window:]
    finally:
        inbox.WINDOW = original
    assert list(inbox._split(seen.packed())) == expected  # noqa: SLF001


def test_the_window_is_what_histories_were_written_with() -> None:
    assert WINDOW == 1_000


def test_bridge_and_inbox_mean_the_same_header() -> None:
    assert INBOX_HEADER == ID_HEADER
