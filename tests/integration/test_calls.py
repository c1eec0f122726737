"""A workflow calls a service that knows nothing but topics; each reply is taken once, or goes by its rule."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError
from temporalio.exceptions import ApplicationError, CancelledError

from activities.correlation import HEADER, Correlation, Seal
from service.dispatch.meeting import met_by
from service.local import LocalTemporal
from service.routing.commands import Complete
from service.settings import EncryptionSettings
from service.temporal.client import for_namespace
from service.wiring import Roles
from tests.integration.flows import Ask, Asked
from tests.integration.service import CALLS_SECRET, Place, Said, Site, headers_of, register_namespace, site
from tests.integration.test_encrypted import with_key
from tests.unit.records import event
from workflows.encryption import new_key
from workflows.results import result_id

ROUTES = """
version: 1
topics:
  @in: {}
  @out: {out: true}
routes:
  - name: answered
    from: @in
    type: answered
    complete: {correlation: "${headers.correlation}", result: "${data}"}
  - name: answered-lightly
    from: @in
    type: answered.lightly
    complete: {correlation: "${headers.correlation}", result: "${data}", late: skip}
  - name: declined
    from: @in
    type: declined
    complete: {correlation: "${headers.correlation}", error: {type: "${data.name}", text: "${data.why}"}}
"""
ACCEPTED = Said("accepted", "answered", "")


@pytest.fixture(scope="module")
async def running(
    kafka: str, temporal: LocalTemporal, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    """A running service that these tests share; each has workflows of its own."""
    folder = tmp_path_factory.mktemp("calls")
    async with site(kafka, temporal.address, folder, ROUTES) as here, here.running():
        yield here


@pytest.fixture(scope="module")
async def sealed(
    kafka: str, temporal: LocalTemporal, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    """As `running`, with encrypted payloads."""
    folder = tmp_path_factory.mktemp("sealed-calls")
    keys = folder / "keys"
    keys.write_text(f"{new_key('first')}\n")
    async with site(kafka, temporal.address, folder, ROUTES) as here:
        here.settings = here.settings.model_copy(update={"encryption": EncryptionSettings(keys_file=keys)})
        here.client = await with_key(here, keys)
        async with here.running():
            yield here


async def test_a_reply_is_the_result_of_the_call_which_is_one_bar_in_the_timeline(running: Site) -> None:
    here = running
    await ask(here, "simple")
    request = await here.until(lambda: requested(here, "simple"))
    assert (request["ce_type"], request["ce_source"]) == ("asked", "tests/ask")
    await here.past(place := await reply(here, "answered", {"n": 7}, to=request))
    assert await here.workflow("simple").result() == 7
    assert here.said(place) == [ACCEPTED]
    history = await here.workflow("simple").fetch_history()
    (bar,) = [e for e in history.events if e.HasField("activity_task_scheduled_event_attributes")]
    assert bar.activity_task_scheduled_event_attributes.activity_id == request["ce_id"]
    # Asked again, should the worker have died before the request was in the topic.
    assert bar.activity_task_scheduled_event_attributes.start_to_close_timeout.seconds == 60
    assert bar.user_metadata.summary.data == f'"asked → {here.topics["out"]}"'.encode()


async def test_a_no_is_an_error_with_the_name_that_the_route_gives(running: Site) -> None:
    here = running
    await ask(here, "declined")
    request = await here.until(lambda: requested(here, "declined"))
    await reply(here, "declined", {"name": "NoFunds", "why": "the card is empty"}, to=request)
    error = await failure(here, "declined")
    assert isinstance(error, ApplicationError)
    assert (error.type, error.message, error.non_retryable) == ("NoFunds", "the card is empty", True)


async def test_whether_a_call_waits_for_a_reply_is_told_before_there_is_one(running: Site) -> None:
    here = running
    await ask(here, "foretold")
    request = await here.until(lambda: requested(here, "foretold"))
    to = Correlation.read(request[HEADER])
    complete = Complete(
        route="answered",
        event=event(),
        workflow_id=to.workflow_id,
        correlation=request[HEADER],
        activity_id=to.activity_id,
    )
    *_, waits = [sentence async for sentence in met_by(complete, here.client)]
    assert waits == "its call waits for that reply"
    *_, other = [s async for s in met_by(replace(complete, activity_id="another"), here.client)]
    assert other == "it has no call that waits for that reply; late: dead-letter"
    await reply(here, "answered", {"n": 7}, to=request)
    await here.workflow("foretold").result()
    (ended,) = [sentence async for sentence in met_by(complete, here.client)]
    assert ended.startswith(f"{to.workflow_id} is completed since ")
    assert ended.endswith("; late: dead-letter")


async def test_a_second_reply_goes_by_the_rule_and_a_repeat_of_the_first_does_not(running: Site) -> None:
    here = running
    await ask(here, "double")
    request = await here.until(lambda: requested(here, "double"))
    first = await reply(here, "answered", {"n": 1}, to=request, id="reply-1")
    again = await reply(here, "answered", {"n": 1}, to=request, id="reply-1")
    second = await reply(here, "answered", {"n": 2}, to=request, id="reply-2")
    lightly = await reply(here, "answered.lightly", {"n": 3}, to=request)
    await here.past(first, again, second, lightly)
    assert await here.workflow("double").result() == 1
    assert here.said(first) == [ACCEPTED]
    assert here.said(again) == [Said("accepted", "answered", "by an earlier try")]
    assert [said.kind for said in here.said(second)] == ["dead-lettered"]
    assert here.said(lightly) == [Said("skipped", "answered-lightly", "the reply is late")]
    (letter,) = await here.letters(second)
    assert "write `late: skip` in route answered" in headers_of(letter)["__dlq.errors.message"]
    assert [line["rule"] for line in here.lines if line.get("rule")] == ["late", "late"]


async def test_silence_ends_with_a_timeout_and_a_reply_after_that_is_late(running: Site) -> None:
    here = running
    await ask(here, "silent", Asked(topic=here.topics["out"], limit=0.5))
    error = await failure(here, "silent")
    assert isinstance(error, ApplicationError)
    assert error.type == "NoAnswer"
    request = await here.until(lambda: requested(here, "silent"))
    await here.past(place := await reply(here, "answered.lightly", {"n": 1}, to=request))
    assert here.said(place) == [Said("skipped", "answered-lightly", "the reply is late")]


async def test_a_reply_while_the_next_attempt_backs_off_is_taken(running: Site) -> None:
    here = running
    await ask(here, "slow", Asked(topic=here.topics["out"], again=0.3))
    request = await here.until(lambda: requested(here, "slow"))
    await here.until(lambda: backs_off(here, "slow"))
    await reply(here, "answered", {"n": 5}, to=request)
    assert await here.workflow("slow").result() == 5
    assert len({request["ce_id"] for request in await requests(here, "slow")}) == 1


async def test_a_reply_that_is_too_early_waits_for_its_call(running: Site) -> None:
    here = running
    await ask(here, "early", Asked(topic=here.topics["out"], at_once=False))
    run = (await here.workflow("early").describe()).run_id
    id_ = here.workflow_id("early")
    call = result_id(id_, str(run), "asked", 0, subject=id_, data={"what": "n"})
    correlation = Seal([CALLS_SECRET]).sealed(Correlation("default", id_, call))
    place = await reply(here, "answered", {"n": 4}, to={HEADER: correlation}, key="early")

    async def waits() -> bool:
        return any("does not call" in str(line.get("reason", line)) for line in here.lines)

    await here.until(waits)
    assert here.said(place) == []
    await here.workflow("early").signal(Ask.tell)
    assert await here.workflow("early").result() == 4
    await here.past(place)
    assert here.said(place) == [ACCEPTED]


@pytest.mark.parametrize("forged", ["", "nonsense", "1.eyJ.x", None, "by another secret"])
async def test_a_forged_correlation_is_a_letter(running: Site, forged: str | None) -> None:
    here, name = running, f"forged-{forged}"
    await ask(here, name)
    request = await here.until(lambda: requested(here, name))
    if forged == "by another secret":
        forged = Seal(["guessed"]).sealed(Correlation("default", here.workflow_id(name), request["ce_id"]))
    to = {} if forged is None else {HEADER: forged}
    await here.past(place := await reply(here, "answered", {"n": 666}, to=to))
    (letter,) = await here.letters(place)
    texts = headers_of(letter)
    assert "correlation" in texts["__dlq.errors.message"]
    assert (await here.started(name)).status is WorkflowExecutionStatus.RUNNING


@pytest.mark.parametrize("name", ["reset", 'it\'s \\ "odd"'])
async def test_a_workflow_that_is_reset_finds_its_reply_and_asks_for_nothing_twice(
    running: Site, name: str
) -> None:
    here = running
    request = await requested_late(here, name)
    await reply(here, "answered", {"n": 9}, to=request)
    assert await here.workflow(name).result() == 9
    for _ in range(2):
        before = (await here.started(name)).run_id
        await here.reset(name, str(before))
        assert (await here.started(name)).run_id != before
        assert await here.workflow(name).result() == 9
    assert len(await requests(here, name)) == 1


@pytest.mark.parametrize("encrypted", [False, True])
async def test_a_workflow_that_is_reset_finds_a_yes_or_a_no_encrypted_or_not(
    running: Site, sealed: Site, *, encrypted: bool
) -> None:
    here = sealed if encrypted else running
    no = {"name": "Declined", "why": "no"}
    answers = {"reset-yes": ("answered", {"n": 3}), "reset-no": ("declined", no)}
    for name, (kind, data) in answers.items():
        request = await requested_late(here, name)
        await reply(here, kind, data, to=request)
    for again in (False, True):
        for name in answers:
            if again:
                await here.reset(name, str((await here.started(name)).run_id))
        assert await here.workflow("reset-yes").result() == 3
        error = await failure(here, "reset-no")
        assert isinstance(error, ApplicationError)
        assert (error.type, error.message) == ("Declined", "no")
    for name in answers:
        assert len(await requests(here, name)) == 1
        assert not await requests(here, name, "asked.cancelled")


async def test_a_workflow_that_is_reset_while_it_waits_takes_the_reply_to_its_first_request(
    running: Site,
) -> None:
    here = running
    request = await requested_late(here, "reset-open")
    before = (await here.started("reset-open")).run_id
    place, _ = await asyncio.gather(
        reply(here, "answered", {"n": 8}, to=request), here.reset("reset-open", str(before))
    )
    await here.past(place)
    assert await here.workflow("reset-open").result() == 8
    assert {request["ce_id"] for request in await requests(here, "reset-open")} == {request["ce_id"]}


async def test_a_cancelled_workflow_tells_the_other_side(running: Site) -> None:
    here = running
    await ask(here, "cancelled")
    request = await here.until(lambda: requested(here, "cancelled"))
    await here.workflow("cancelled").cancel()

    async def taken_back() -> list[Mapping[str, str]]:
        return await requests(here, "cancelled", "asked.cancelled")

    (taken,) = await here.until(taken_back)
    assert json.loads(taken["value"]) == {"request_id": request["ce_id"]}
    with pytest.raises(WorkflowFailureError):
        await here.workflow("cancelled").result()
    assert (await here.started("cancelled")).status is WorkflowExecutionStatus.CANCELED


async def test_a_cancellation_between_two_attempts_takes_back_what_was_asked(running: Site) -> None:
    here = running
    await ask(here, "given-up", Asked(topic=here.topics["out"], again=0.3))
    request = await here.until(lambda: requested(here, "given-up"))
    await here.until(lambda: backs_off(here, "given-up"))
    await here.workflow("given-up").cancel()
    with pytest.raises(WorkflowFailureError) as ended:
        await here.workflow("given-up").result()
    assert isinstance(ended.value.cause, CancelledError)
    (taken,) = await requests(here, "given-up", "asked.cancelled")
    assert json.loads(taken["value"]) == {"request_id": request["ce_id"]}


async def test_a_reply_reaches_a_workflow_of_another_namespace_than_the_bridge(
    kafka: str, temporal: LocalTemporal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"asking-{uuid.uuid4().hex[:8]}"
    async with (
        site(kafka, temporal.address, tmp_path, ROUTES) as here,
        here.running(Roles(bridge=True, worker=False)),
    ):
        await here.until(here.members)
        await register_namespace(here.client, name)
        monkeypatch.setenv("TEMPORAL_NAMESPACE", name)
        async with here.running(Roles(bridge=False, worker=True)):
            here.client = for_namespace(here.client, name)
            await ask(here, "abroad")
            request = await here.until(lambda: requested(here, "abroad"))
            assert Correlation.read(request[HEADER]).namespace == name
            await here.past(place := await reply(here, "answered", {"n": 9}, to=request))
            assert await here.workflow("abroad").result() == 9
            assert here.said(place) == [ACCEPTED]


async def test_a_reply_that_is_delivered_again_after_a_crash_changes_nothing(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with site(kafka, temporal.address, tmp_path, ROUTES) as here:
        async with here.running():
            await ask(here, "again")
            request = await here.until(lambda: requested(here, "again"))
            await here.past(place := await reply(here, "answered", {"n": 3}, to=request))
        await here.rewind(place)
        here.lines.clear()
        async with here.running():
            await here.past(place)
            assert here.said(place) == [Said("accepted", "answered", "by an earlier try")]
        assert not await here.letters()


async def ask(here: Site, name: str, how: Asked | None = None) -> None:
    await here.client.start_workflow(
        Ask.__name__,
        (how or Asked(topic=here.topics["out"])).model_dump(),
        id=here.workflow_id(name),
        task_queue=here.settings.worker.task_queue,
    )


async def requested_late(here: Site, name: str) -> Mapping[str, str]:
    """Start a workflow that asks only when it is told to, behind its first task; its request."""
    await ask(here, name, Asked(topic=here.topics["out"], at_once=False))
    await here.workflow(name).query("__temporal_workflow_metadata")  # its first task is done
    await here.workflow(name).signal(Ask.tell)
    return await here.until(lambda: requested(here, name))


async def requests(here: Site, name: str, kind: str = "asked") -> list[Mapping[str, str]]:
    """Headers and value of each request of a workflow, with `kind` for its type."""
    found = [
        {**headers_of(record), "value": (record.value or b"").decode()} for record in await here.read("out")
    ]
    return [one for one in found if (one["ce_subject"], one["ce_type"]) == (here.workflow_id(name), kind)]


async def requested(here: Site, name: str) -> Mapping[str, str]:
    """The first request of a workflow, or nothing."""
    return next(iter(await requests(here, name)), {})


async def backs_off(here: Site, name: str) -> bool:
    """Whether an attempt of the workflow's call is over, and the next has not begun."""
    pending = (await here.workflow(name).describe()).raw_description.pending_activities
    scheduled = PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED
    return any(p.attempt > 1 and p.state == scheduled for p in pending)


async def reply(here: Site, kind: str, data: object, *, to: Mapping[str, str], **how: str) -> Place:
    """Answer as a plain service does: it copies one header."""
    more = {HEADER: to[HEADER]} if HEADER in to else {}
    return await here.send(kind, data, more=more, **{"key": "replies", **how})


async def failure(here: Site, name: str) -> BaseException:
    with pytest.raises(WorkflowFailureError) as failed:
        await here.workflow(name).result()
    return failed.value.cause
