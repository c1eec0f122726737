"""The switchboard keeps what people tell it, whatever they type, and for as long as it takes."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from temporalio import workflow
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import Client, WorkflowHandle
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Replayer, Worker

from service.local import LocalTemporal
from workflows.switchboard import (
    MEMO,
    MOST_PAUSED,
    MOST_RESUMED,
    NOT_SAID,
    Names,
    State,
    Switch,
    Switchboard,
)

Board = WorkflowHandle[Switchboard, None]

NAMES = Names(topics=("shop.orders", "both"), routes=("order-placed", "both"))
FULL = {"name": "shop.orders", "because": "totals in euros", "by": "ada"}


@asynccontextmanager
async def switchboard(client: Client, cached: int, state: State | None = None) -> AsyncIterator[Board]:
    queue = uuid.uuid4().hex
    async with Worker(client, task_queue=queue, workflows=[Switchboard], max_cached_workflows=cached):
        board = await client.start_workflow(
            Switchboard.run, state or State(names=NAMES), id=queue, task_queue=queue
        )
        try:
            yield board
        finally:
            await client.get_workflow_handle(queue).terminate()


async def paused(board: Board) -> list[tuple[str, str, str, str]]:
    status = await board.query(Switchboard.status)
    return [(one.name, one.kind, one.by, one.because) for one in status.paused]


async def kept(board: Board) -> State:
    """What the memo says, once all that was told has been taken in."""
    await board.query(Switchboard.status)
    state = await (await board.describe()).memo_value(MEMO, type_hint=State)
    assert isinstance(state, State)
    return state


async def details(board: Board) -> str:
    found = await board.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    text: str = found.current_details
    return text


async def test_what_is_paused_is_told_with_who_why_and_since_when(
    env: WorkflowEnvironment, max_cached_workflows: int
) -> None:
    async with switchboard(env.client, max_cached_workflows) as board:
        await board.signal("pause", FULL)
        status = await board.query(Switchboard.status)
        assert await paused(board) == [("shop.orders", "topic", "ada", "totals in euros")]
        assert abs(status.paused[0].since - (await board.describe()).start_time).total_seconds() < 60
        await board.signal("resume", {"name": "shop.orders", "because": "mended", "by": "grace"})
        status = await board.query(Switchboard.status)
        assert status.paused == []
        assert [(one.name, one.by, one.because) for one in status.resumed_lately] == [
            ("shop.orders", "grace", "mended")
        ]


async def test_the_memo_always_holds_what_the_query_tells(
    env: WorkflowEnvironment, max_cached_workflows: int
) -> None:
    async with switchboard(env.client, max_cached_workflows) as board:
        assert (await kept(board)).paused == ()
        for signal, name in [("pause", "a"), ("pause", "b"), ("resume", "a"), ("pause", "c")]:
            await board.signal(signal, name)
            status, state = await board.query(Switchboard.status), await kept(board)
            assert [one.name for one in state.paused] == [one.name for one in status.paused]
        assert [one.name for one in (await kept(board)).paused] == ["b", "c"]


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (["shop.orders"], ("shop.orders", "topic", "", "")),
        ([{"name": "order-placed"}], ("order-placed", "route", "", "")),
        ([{"name": "both", "by": None, "more": [1]}], ("both", "topic and route", "", "")),
        ([{"name": " shop.odrers\n", "because": "a\nb"}], ("shop.odrers", "unknown", "", "a b")),
        ([{"name": "x" * 300, "by": "y" * 300}], ("x" * 250, "unknown", "y" * 200, "")),
        (["shop.orders", "and more"], ("shop.orders", "topic", "", "")),
    ],
    ids=["text", "object", "both kinds", "a name unknown to the routes", "too long", "two inputs"],
)
async def test_people_may_say_it_as_they_like(
    env: WorkflowEnvironment,
    max_cached_workflows: int,
    told: Sequence[Any],
    expected: tuple[str, str, str, str],
) -> None:
    async with switchboard(env.client, max_cached_workflows) as board:
        await board.signal("pause", args=told)
        assert await paused(board) == [expected]
        await board.signal("resume", args=told)
        assert await paused(board) == []


@pytest.mark.parametrize("signal", ["pause", "resume", "routes_loaded"])
@pytest.mark.parametrize("told", [[], [None], [7], [[]], [{"name": 7}], [{"topics": 7, "name": " "}]])
async def test_what_is_not_understood_is_noted_and_does_no_harm(
    env: WorkflowEnvironment, max_cached_workflows: int, signal: str, told: Sequence[Any]
) -> None:
    async with switchboard(env.client, max_cached_workflows) as board:
        await board.signal("pause", FULL)
        await board.signal(signal, args=told)
        assert "was not understood; write" in (await board.query(Switchboard.status)).note
        assert "was not understood; write" in await details(board)
        assert [name for name, *_ in await paused(board)] == ["shop.orders"]
        await board.signal("resume", "shop.orders")
        assert (await board.query(Switchboard.status)).note == ""


async def test_pausing_again_keeps_the_time_and_takes_the_new_reason(
    env: WorkflowEnvironment, max_cached_workflows: int
) -> None:
    async with switchboard(env.client, max_cached_workflows) as board:
        await board.signal("pause", FULL)
        (before,) = (await kept(board)).paused
        await board.signal("pause", "shop.orders")
        (again,) = (await kept(board)).paused
        assert again.because == before.because
        await board.signal("pause", {"name": "shop.orders", "because": "still", "by": "grace"})
        (after,) = (await kept(board)).paused
        assert (after.since, after.because, after.by) == (before.since, "still", "grace")


async def test_resuming_what_is_not_paused_is_noted(
    env: WorkflowEnvironment, max_cached_workflows: int
) -> None:
    async with switchboard(env.client, max_cached_workflows) as board:
        await board.signal("resume", "shop.orders")
        assert (await kept(board)).note == "shop.orders was to be resumed, and was not paused"


async def test_names_that_the_bridges_tell_change_what_is_known(
    env: WorkflowEnvironment, max_cached_workflows: int
) -> None:
    async with switchboard(env.client, max_cached_workflows) as board:
        await board.signal("pause", "shop.refunds")
        assert (await paused(board))[0][1] == "unknown"
        await board.signal("routes_loaded", Names(topics=("shop.refunds",), routes=()))
        assert (await paused(board))[0][1] == "topic"


async def test_the_details_show_what_is_paused_and_how_to_resume_it(
    env: WorkflowEnvironment, max_cached_workflows: int
) -> None:
    async with switchboard(env.client, max_cached_workflows) as board:
        assert "### Nothing is paused" in await details(board)
        await board.signal("pause", {**FULL, "because": "a|b `c`"})
        await board.signal("pause", "order-placed")
        text = await details(board)
        assert "### Paused" in text
        assert "- topic **shop.orders**, " in text
        assert " UTC by ada: a\\|b \\`c\\`\n" in text
        assert f" UTC by {NOT_SAID}\n" in text
        assert 'send `resume` with `"NAME"`' in text
        await board.signal("resume", "order-placed")
        assert "### Resumed lately" in await details(board)


async def test_new_runs_know_all_that_was_ever_said(
    temporal: LocalTemporal, max_cached_workflows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Else it takes 4,096 events. A real server, since signals come while a run ends.
    monkeypatch.setattr(
        workflow.Info, "is_continue_as_new_suggested", lambda info: info.get_current_history_length() > 40
    )
    client = await Client.connect(temporal.address, data_converter=pydantic_data_converter)
    async with switchboard(client, max_cached_workflows) as first:
        board = client.get_workflow_handle_for(Switchboard.run, first.id)
        names = [f"topic-{n}" for n in range(100)]
        for start in range(0, len(names), 10):
            await asyncio.gather(
                *(board.signal("pause", {"name": name, "by": "ada"}) for name in names[start : start + 10])
            )
            await kept(board)
        described = await board.describe()
        assert described.run_id != first.result_run_id
        state = await kept(board)
        assert (sorted(one.name for one in state.paused), state.names) == (sorted(names), NAMES)
        history = await first.fetch_history()
    replayer = Replayer(workflows=[Switchboard], data_converter=pydantic_data_converter)
    await replayer.replay_workflow(history)


async def test_a_new_run_has_the_memo_before_any_worker_has_looked_at_it(
    temporal: LocalTemporal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        workflow.Info, "is_continue_as_new_suggested", lambda info: info.get_current_history_length() > 20
    )
    client = await Client.connect(temporal.address, data_converter=pydantic_data_converter)
    async with switchboard(client, 1000) as first:
        board = client.get_workflow_handle_for(Switchboard.run, first.id)
        await board.signal("pause", FULL)
        async with asyncio.timeout(30):
            while (now := await board.describe()).run_id == first.result_run_id:
                await board.signal("routes_loaded", NAMES)
        # The first task of a new run is a second away, and a bridge may ask now.
        state = await now.memo_value(MEMO, State(), type_hint=State)
        assert [one.name for one in state.paused] == ["shop.orders"]


async def test_it_keeps_no_more_than_can_be_read_every_few_seconds(
    env: WorkflowEnvironment, max_cached_workflows: int
) -> None:
    now = datetime(2026, 11, 24, tzinfo=UTC)
    full = State(paused=tuple(Switch(name=f"t-{n}", since=now) for n in range(MOST_PAUSED)))
    async with switchboard(env.client, max_cached_workflows, full) as board:
        await board.signal("pause", "one-more")
        await board.signal("pause", {"name": "t-7", "because": "another reason"})
        state = await kept(board)
        assert len(state.paused) == MOST_PAUSED
        assert state.paused[7].because == "another reason"
        for n in range(MOST_RESUMED + 1):
            await board.signal("resume", f"t-{n}")
        state = await kept(board)
        assert [one.name for one in state.resumed] == [f"t-{n}" for n in range(MOST_RESUMED, 0, -1)]
        assert len(state.paused) == MOST_PAUSED - MOST_RESUMED - 1


async def test_of_what_is_resumed_twice_the_last_time_is_told(
    env: WorkflowEnvironment, max_cached_workflows: int
) -> None:
    async with switchboard(env.client, max_cached_workflows) as board:
        for signal, why in [("pause", ""), ("resume", "mended"), ("pause", ""), ("resume", "mended again")]:
            await board.signal(signal, {"name": "shop.orders", "because": why})
        assert [one.because for one in (await kept(board)).resumed] == ["mended again"]


async def test_one_pause_too_many_is_noted(env: WorkflowEnvironment, max_cached_workflows: int) -> None:
    now = datetime(2026, 11, 24, tzinfo=UTC)
    full = State(paused=tuple(Switch(name=f"t-{n}", since=now) for n in range(MOST_PAUSED)))
    async with switchboard(env.client, max_cached_workflows, full) as board:
        await board.signal("pause", "one-more")
        assert (await kept(board)).note == f"one-more is not paused: {MOST_PAUSED} others are"
