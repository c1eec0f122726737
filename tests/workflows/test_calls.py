"""A workflow calls another service: it waits for the reply, and knows a no from silence."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from pydantic import BaseModel
from temporalio import workflow
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities.calling import CallingActivities
from activities.correlation import HEADER, Seal
from activities.ports import Published, ResultEvent
from workflows.calls import Calls

SEAL = Seal(["secret"])
CHARGE = "payment.charge"

SHORT = timedelta(milliseconds=200)
"""Of real time: the server does not skip any while an activity waits."""


class Charge(BaseModel):
    """What is asked."""

    cents: int


class Charged(BaseModel):
    """What the other side answers."""

    receipt: str


@workflow.defn(sandboxed=False)
class Pays:
    """Charges a card, and says what for a receipt it got."""

    @workflow.init
    def __init__(self, limit: timedelta, again: timedelta | None) -> None:
        self._calls = Calls("requests", "tests")

    @workflow.run
    async def run(self, limit: timedelta, again: timedelta | None) -> str:
        charged = await self._calls.call(
            CHARGE,
            "A-1",
            Charge(cents=4_900),
            reply=Charged,
            limit=limit,
            ask_again_after=again,
        )
        return charged.receipt


class Other:
    """The other side: reads what is published, and answers if it is told to."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.read: list[ResultEvent] = []
        self.answers: list[object] = []
        self.asked = asyncio.Event()
        self.before: dict[str, Callable[[], Awaitable[None]]] = {}

    async def publish(self, event: ResultEvent) -> Published:
        if do := self.before.get(event.type):
            await do()
        self.read.append(event)
        self.asked.set()
        if self.answers:
            await self.answer(event, self.answers.pop(0))
        return Published(topic=event.topic, partition=0, offset=len(self.read))

    async def answer(self, request: ResultEvent, answer: object) -> None:
        """As a `complete` route does; None keeps silent."""
        to = SEAL.opened(request.headers[HEADER])
        handle = self._client.get_async_activity_handle(
            workflow_id=to.workflow_id, run_id=None, activity_id=to.activity_id
        )
        if isinstance(answer, ApplicationError):
            await handle.fail(answer)
        elif answer is not None:
            await handle.complete(answer)


@pytest.fixture
def other(env: WorkflowEnvironment) -> Other:
    return Other(env.client)


@asynccontextmanager
async def paying(
    env: WorkflowEnvironment,
    other: Other,
    cached: int,
    *,
    limit: timedelta = timedelta(minutes=1),
    again: timedelta | None = None,
    seal: Seal | None = SEAL,
) -> AsyncIterator[WorkflowHandle[Pays, str]]:
    queue = str(uuid.uuid4())
    calling = CallingActivities(other, seal)
    async with Worker(
        env.client,
        task_queue=queue,
        workflows=[Pays],
        activities=[calling.call, calling.take_back],
        max_cached_workflows=cached,
    ):
        yield await env.client.start_workflow(
            Pays.run, args=[limit, again], id=f"pays/{queue}", task_queue=queue
        )


async def test_a_reply_is_typed_and_the_request_says_whom_it_is_for(
    env: WorkflowEnvironment, other: Other, max_cached_workflows: int
) -> None:
    other.answers = [{"receipt": "R-1"}]
    async with paying(env, other, max_cached_workflows) as handle:
        assert await handle.result() == "R-1"
    (request,) = other.read
    assert (request.type, request.subject, request.data) == (CHARGE, "A-1", {"cents": 4_900})
    to = SEAL.opened(request.headers[HEADER])
    assert (to.workflow_id, to.activity_id) == (handle.id, request.id)


async def test_a_no_has_the_name_that_the_other_side_gave_it(
    env: WorkflowEnvironment, other: Other, max_cached_workflows: int
) -> None:
    other.answers = [ApplicationError("no funds", type="Declined", non_retryable=True)]
    async with paying(env, other, max_cached_workflows, again=SHORT) as handle:
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
    cause = failed.value.cause
    assert isinstance(cause, ApplicationError)
    assert (cause.type, cause.message) == ("Declined", "no funds")
    assert len(other.read) == 1


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({"receipt": 4711}, "the reply is no Charged: receipt: string_type"),
        ({"slip": "4711"}, "the reply is no Charged: receipt: missing"),
        (["4711"], "the reply is no Charged: it: model_type"),
    ],
)
async def test_a_reply_that_does_not_fit_ends_the_call_by_name_and_without_its_values(
    env: WorkflowEnvironment,
    other: Other,
    max_cached_workflows: int,
    caplog: pytest.LogCaptureFixture,
    answer: object,
    why: str,
) -> None:
    other.answers = [answer]
    async with paying(env, other, max_cached_workflows) as handle:
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
    cause = failed.value.cause
    assert isinstance(cause, ApplicationError)
    assert (cause.type, cause.message) == ("ReplyInvalid", why)
    assert "4711" not in caplog.text
    assert taken_back(other)


async def test_silence_is_asked_again_with_the_same_id(
    env: WorkflowEnvironment, other: Other, max_cached_workflows: int
) -> None:
    other.answers = [None, None, {"receipt": "R-3"}]
    async with paying(env, other, max_cached_workflows, again=SHORT) as handle:
        assert await handle.result() == "R-3"
    assert len(other.read) == 3
    assert len({request.id for request in other.read}) == 1


async def test_silence_ends_at_the_limit(
    env: WorkflowEnvironment, other: Other, max_cached_workflows: int
) -> None:
    async with paying(env, other, max_cached_workflows, limit=SHORT) as handle:
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.type == "NoAnswer"
    assert taken_back(other)


async def test_a_last_attempt_that_could_not_publish_is_no_answer_either(
    env: WorkflowEnvironment, other: Other, max_cached_workflows: int
) -> None:
    async def once() -> None:
        del other.before[CHARGE]
        raise ConnectionError

    other.before[CHARGE] = once
    async with paying(env, other, max_cached_workflows, limit=SHORT) as handle:
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.type == "NoAnswer"
    assert taken_back(other)


async def test_a_cancelled_workflow_takes_its_request_back(
    env: WorkflowEnvironment, other: Other, max_cached_workflows: int
) -> None:
    async with paying(env, other, max_cached_workflows) as handle:
        async with asyncio.timeout(10):
            await other.asked.wait()
        await handle.cancel()
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
    assert isinstance(failed.value.cause, CancelledError)
    assert taken_back(other)


async def test_a_cancellation_while_a_request_is_taken_back_does_not_leave_that_half_done(
    env: WorkflowEnvironment, other: Other, max_cached_workflows: int
) -> None:
    async with paying(env, other, max_cached_workflows, limit=SHORT) as handle:
        other.before[f"{CHARGE}.cancelled"] = handle.cancel
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.type == "NoAnswer"
    assert taken_back(other)


def taken_back(other: Other) -> bool:
    """Whether the last that the other side reads is the end of the one request before."""
    *requests, end = other.read
    (id_,) = {request.id for request in requests}
    assert all(HEADER in request.headers for request in requests)
    return (end.type, end.subject, end.data) == (f"{CHARGE}.cancelled", "A-1", {"request_id": id_})


async def test_without_a_secret_nothing_is_asked(
    env: WorkflowEnvironment, other: Other, max_cached_workflows: int
) -> None:
    async with paying(env, other, max_cached_workflows, seal=None) as handle:
        async with asyncio.timeout(10):
            while not (said := await failures(handle)):
                pass
        await handle.terminate()
    assert said == {"calls need TURNOUT_CALLS__SECRET on this worker"}
    assert not other.read


async def failures(handle: WorkflowHandle[Pays, str]) -> set[str]:
    pending = (await handle.describe()).raw_description.pending_activities
    return {one.last_failure.message for one in pending if one.HasField("last_failure")}
