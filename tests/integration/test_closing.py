"""Workflows that close are told of in a topic, however they end, and whatever was away when they did."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import CallbackState
from temporalio.api.workflow.v1 import CallbackInfo
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest

from service.errors import ConfigurationError
from service.kafka.record import Record
from service.local import HOST, LocalTemporal
from service.results import receiver
from service.results.closing import TYPE
from service.settings import ClosingSettings
from service.temporal.sweep import sweep_id
from service.wiring import Roles, serve
from tests.conftest import StartKafka
from tests.integration.letters import called
from tests.integration.service import Site, headers_of, site
from tests.pages import page
from tests.servers import random_port

ROUTES = """
version: 1
topics:
  @in: {unmatched: skip}
  @out: {out: true}
routes:
  - name: end
    from: @in
    type: ended
    start: {workflow: End, id: "@id/${data.id}", task_queue: @queue, input: "${data}", publish_closing: @out}
  - name: end-soon
    from: @in
    type: ended.soon
    start: {workflow: End, id: "@id/${data.id}", task_queue: @queue, input: "${data}", publish_closing: @out,
            execution_timeout: 1s}
  - name: end-untold
    from: @in
    type: ended.untold
    start: {workflow: End, id: "@id/${data.id}", task_queue: @queue, input: "${data}"}
"""

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
NOT_TAKEN = "a callback is not taken now; Temporal repeats it"
FAILED, BACKING_OFF = CallbackState.CALLBACK_STATE_FAILED, CallbackState.CALLBACK_STATE_BACKING_OFF
SUCCEEDED = CallbackState.CALLBACK_STATE_SUCCEEDED


def by_callbacks(secret: str = "s3cret", **settings: Any) -> ClosingSettings:
    return ClosingSettings(address=f"{HOST}:{random_port()}", secret=SecretStr(secret), **settings)


def by_sweep() -> ClosingSettings:
    return ClosingSettings(
        by="sweep", sweep_every=timedelta(seconds=0.2), visibility_lag=timedelta(seconds=30)
    )


@asynccontextmanager
async def closing_site(
    kafka: str, temporal: LocalTemporal, folder: Path, closing: ClosingSettings
) -> AsyncIterator[Site]:
    async with site(kafka, temporal.address, folder, ROUTES, partitions=1, closing=closing) as here:
        yield here


@dataclass
class Way:
    """A running service, and the way by which it learns of what closes."""

    here: Site
    by: str


@pytest.fixture(scope="module", params=[by_callbacks, by_sweep], ids=["callbacks", "sweep"])
async def running(
    kafka: str,
    temporal: LocalTemporal,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> AsyncIterator[Way]:
    """A running service that these tests share, once for each way; each test has ids of its own."""
    closing: Callable[[], ClosingSettings] = request.param
    folder = tmp_path_factory.mktemp("closing")
    async with closing_site(kafka, temporal, folder, closing()) as here, here.running():
        yield Way(here, "callback" if closing is by_callbacks else "sweep")


async def told(here: Site, name: str) -> list[Record]:
    """What the topic tells of how `@id/name` ended."""
    key = here.workflow_id(name).encode()
    return [one for one in await here.read("out") if one.key == key and headers_of(one)["ce_type"] == TYPE]


async def told_once(here: Site, name: str) -> dict[str, Any]:
    """Wait until it is told how the only run of `@id/name` ended; returns the data."""
    records = await here.until(lambda: told(here, name))
    assert len({headers_of(one)["ce_id"] for one in records}) == 1
    run = (await here.workflow(name).describe()).run_id
    data: dict[str, Any] = json.loads(records[0].value or b"")
    assert (data["workflow_id"], data["run_id"]) == (here.workflow_id(name), run)
    return data


async def begin(here: Site, name: str, how: str, kind: str = "ended", **more: Any) -> None:
    """Start `@id/name`; it is there when this returns."""
    await here.send(kind, {"id": name, "how": how, **more}, key=name, id=f"e-{name}")
    await here.started(name)


async def listening(address: str) -> None:
    """Wait until somebody listens there."""
    async with asyncio.timeout(30):
        while True:
            with suppress(OSError):
                _, writer = await asyncio.open_connection(*address.split(":"))
                writer.close()
                return
            await asyncio.sleep(0.05)


async def callback_of(here: Site, name: str) -> CallbackInfo:
    (info,) = (await here.workflow(name).describe()).raw_description.callbacks
    return info


async def callback_is(here: Site, name: str, state: "CallbackState.ValueType") -> CallbackInfo:
    async def reached() -> CallbackInfo | None:
        info = await callback_of(here, name)
        return info if info.state == state else None

    info = await here.until(reached)
    assert info is not None
    return info


# --- each way to end, by either way to learn of it ---


async def test_success_is_told_with_the_result_and_what_led_to_it(running: Way) -> None:
    here = running.here
    place = await here.send(
        "ended", {"id": "well", "how": "well"}, key="well", id="e-well", more={"traceparent": TRACE}
    )
    await here.past(place)
    data = await told_once(here, "well")
    assert data["status"] == "completed"
    assert data["result"] == {"id": "well", "how": "well"}
    assert data["workflow"] == "End"
    assert "failure" not in data
    (record, *_) = await told(here, "well")
    headers = headers_of(record)
    assert headers["ce_source"] == "temporal/default"
    assert headers["ce_subject"] == headers["ce_correlationid"] == here.workflow_id("well")
    assert (headers["ce_causationid"], headers["traceparent"]) == ("e-well", TRACE)
    closed = (await here.workflow("well").describe()).close_time
    assert closed is not None
    assert headers["ce_time"] == data["closed_at"] == closed.isoformat()
    assert running.by in {line["by"] for line in here.lines if line["event"] == "closing published"}


async def test_failure_is_told_with_type_text_and_all_causes(running: Way) -> None:
    await begin(running.here, "badly", "fail")
    data = await told_once(running.here, "badly")
    assert data["status"] == "failed"
    assert data["failure"] == {
        "type": "PaymentFailed",
        "text": "not paid",
        "causes": [{"type": "CardDeclined", "text": "card declined"}],
    }
    assert "result" not in data


async def test_a_timeout_is_told(running: Way) -> None:
    await begin(running.here, "late", "wait", kind="ended.soon")
    data = await told_once(running.here, "late")
    assert (data["status"], data["failure"]["type"]) == ("timed-out", "Timeout")


async def test_a_cancellation_is_told(running: Way) -> None:
    await begin(running.here, "cancelled", "wait")
    await running.here.workflow("cancelled").cancel()
    data = await told_once(running.here, "cancelled")
    assert (data["status"], data["failure"]["type"]) == ("canceled", "Canceled")


async def test_a_termination_is_told_with_its_reason(running: Way) -> None:
    await begin(running.here, "ended-by-hand", "wait")
    await running.here.workflow("ended-by-hand").terminate(reason="out of stock")
    data = await told_once(running.here, "ended-by-hand")
    failure = {"type": "Terminated", "text": "out of stock", "causes": []}
    assert (data["status"], data["failure"]) == ("terminated", failure)


async def test_a_chain_of_runs_is_told_of_once_at_its_end(running: Way) -> None:
    await begin(running.here, "chain", "well", runs=3)
    data = await told_once(running.here, "chain")
    assert (data["status"], data["result"]["runs"]) == ("completed", 0)
    assert len(await running.here.runs(f"WorkflowId = '{running.here.workflow_id('chain')}'")) == 4


async def test_a_reset_run_is_told_of_when_the_one_in_its_place_ends_and_a_closed_one_again(
    running: Way,
) -> None:
    here = running.here
    await begin(here, "reset", "wait")

    async def first_task() -> int:
        events = (await here.workflow("reset").fetch_history()).events
        done = [one for one in events if one.HasField("workflow_task_completed_event_attributes")]
        return done[0].event_id if done else 0

    async def reset() -> None:
        """Back to where its first task was done; that of the new run is done when this returns."""
        done = await here.until(first_task)
        found = await here.workflow("reset").describe()
        request = ResetWorkflowExecutionRequest(
            namespace="default",
            workflow_execution=WorkflowExecution(workflow_id=found.id, run_id=found.run_id),
            reason="a test",
            workflow_task_finish_event_id=done,
            request_id=f"reset-{found.run_id}",
        )
        await here.client.workflow_service.reset_workflow_execution(request)
        await here.until(first_task)

    await reset()
    await here.workflow("reset").terminate(reason="first")
    assert (await told_once(here, "reset"))["failure"]["text"] == "first"
    await reset()
    await here.workflow("reset").terminate(reason="second")

    async def both() -> list[Record]:
        records = await told(here, "reset")
        return records if len({headers_of(one)["ce_id"] for one in records}) == 2 else []

    records = await here.until(both)
    assert {json.loads(one.value or b"")["failure"]["text"] for one in records} == {"first", "second"}


async def test_a_result_that_no_event_can_hold_is_left_out_and_the_end_told(running: Way) -> None:
    await begin(running.here, "too-much", "huge")
    data = await told_once(running.here, "too-much")
    assert data["status"] == "completed"
    assert data["result_left_out"] == "it is no JSON that all read"
    assert "result" not in data


async def test_a_route_without_publish_closing_tells_nobody(running: Way) -> None:
    here = running.here
    await begin(here, "untold", "well", kind="ended.untold")
    await here.workflow("untold").result()
    await begin(here, "after-it", "well")
    await told_once(here, "after-it")
    assert not await told(here, "untold")


# --- what is away when a workflow closes ---


async def test_what_closes_while_the_bridge_is_down_is_told_when_it_returns(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with closing_site(kafka, temporal, tmp_path, by_callbacks()) as here:
        async with here.running():
            await begin(here, "a", "wait")
        await here.workflow("a").terminate(reason="down")
        await callback_is(here, "a", BACKING_OFF)
        async with here.running():
            assert (await told_once(here, "a"))["failure"]["text"] == "down"


async def test_with_kafka_away_the_answer_is_503_and_the_end_is_told_later(
    start_kafka: StartKafka, temporal: LocalTemporal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiver, "TAKE_SECONDS", 0.5)
    broker = await start_kafka()
    async with closing_site(broker.address, temporal, tmp_path, by_callbacks()) as here, here.running():
        await begin(here, "a", "wait")
        broker.pause()
        await here.workflow("a").terminate(reason="away")
        info = await callback_is(here, "a", BACKING_OFF)
        broker.resume()
        assert "UNAVAILABLE" in info.last_attempt_failure.message
        assert (await told_once(here, "a"))["failure"]["text"] == "away"
        assert (await callback_is(here, "a", SUCCEEDED)).attempt > 1
        assert [line["reason"] for line in here.lines if line["event"] == NOT_TAKEN] == [
            "Kafka or Temporal took too long, or the call itself"
        ]


async def test_a_secret_that_is_not_ours_gets_503_and_an_old_one_goes_on_to_work(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    first = by_callbacks("the first")
    async with closing_site(kafka, temporal, tmp_path, first) as here:
        async with here.running():
            await begin(here, "a", "wait")
        put_in(here, first.model_copy(update={"secret": SecretStr("another")}))
        async with here.running():
            await listening(first.address)
            await here.workflow("a").terminate(reason="wrong")
            info = await callback_is(here, "a", BACKING_OFF)
            assert "UNAVAILABLE" in info.last_attempt_failure.message
            assert not await told(here, "a")
        secrets = tmp_path / "secrets"
        secrets.write_text("the newest\nthe first\n")
        put_in(here, first.model_copy(update={"secret": None, "secret_file": secrets}))
        async with here.running():
            assert (await told_once(here, "a"))["failure"]["text"] == "wrong"


def put_in(here: Site, closing: ClosingSettings) -> None:
    here.settings = here.settings.model_copy(update={"closing": closing})


async def test_the_receiver_answers_503_to_all_that_is_no_callback_of_ours(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    closing = by_callbacks()
    async with closing_site(kafka, temporal, tmp_path, closing) as here, here.running():
        await listening(closing.address)
        link = "<temporal:///namespaces/default/workflows/a/b/history?x>"
        requests = [
            "GET / HTTP/1.1\r\nhost: x\r\n\r\n",
            "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}",
            f"POST / HTTP/1.1\r\nhost: x\r\nnexus-link: {link}\r\ncontent-length: 2\r\n\r\n{{}}",
            f"POST / HTTP/1.1\r\nhost: x\r\nnexus-link: {link}\r\nturnout-signature: \xff\r\n\r\n",
        ]
        for request in requests:
            reader, writer = await asyncio.open_connection(*closing.address.split(":"))
            writer.write(request.encode("latin-1"))
            assert (await reader.readline()).split()[1] == b"503"
            writer.close()


async def test_a_start_that_temporal_would_refuse_for_its_callback_stops_the_service_before(
    kafka: str, temporal: LocalTemporal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal.address)
    refused = by_callbacks(url="http://turnout.example:80/")
    without = ClosingSettings()
    # Should it start, it would run for ever.
    async with closing_site(kafka, temporal, tmp_path, refused) as here, asyncio.timeout(30):
        with pytest.raises(ConfigurationError) as error:
            await serve(here.settings, Roles(bridge=True, worker=False), asyncio.Event())
        assert 'callback.allowedAddresses: [{value: [{"Pattern": "turnout.example:80"' in str(error.value)
        put_in(here, without)
        with pytest.raises(ConfigurationError, match="TURNOUT_CLOSING__SECRET_FILE"):
            await serve(here.settings, Roles(bridge=True, worker=False), asyncio.Event())


# --- the sweep ---


async def test_the_sweep_goes_on_where_it_was_after_a_restart_and_after_someone_ended_it(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    closing = by_sweep().model_copy(update={"visibility_lag": timedelta(seconds=0)})
    async with closing_site(kafka, temporal, tmp_path, closing) as here:
        async with here.running():
            for name in "abc":
                await begin(here, name, "wait")
            await here.workflow("a").terminate(reason="up")
            await told_once(here, "a")
        await here.workflow("b").terminate(reason="down")
        async with here.running():
            await told_once(here, "b")
        await here.workflow("c").terminate(reason="down")
        await here.client.get_workflow_handle(sweep_id(here.group)).terminate(reason="by hand")
        async with here.running():
            await told_once(here, "c")
        assert [len(await told(here, name)) for name in "abc"] == [1, 1, 1]


async def test_the_sweep_of_a_group_leaves_the_workflows_of_other_groups_to_them(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with (
        closing_site(kafka, temporal, tmp_path, by_callbacks()) as other,
        closing_site(kafka, temporal, tmp_path, by_sweep()) as here,
        here.running(),
    ):
        async with other.running():
            await begin(other, "a", "wait")
        await other.workflow("a").terminate(reason="nobody is told")
        for name in "bc":
            await begin(here, name, "well")
            await told_once(here, name)
        assert not await told(other, "a")


async def test_a_sweep_that_is_not_wanted_any_more_ends(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with closing_site(kafka, temporal, tmp_path, by_sweep()) as here:
        async with here.running():
            await begin(here, "a", "well")
            await told_once(here, "a")
        put_in(here, by_callbacks())
        async with here.running():
            async with asyncio.timeout(30):
                await here.client.get_workflow_handle(sweep_id(here.group)).result()


# --- turnout closing, and the documentation ---


async def answer_404(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As a proxy may whose service is away."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    await writer.drain()
    writer.close()


def _documented() -> list[list[str]]:
    return page("docs/closing.md").commands("turnout")


async def test_what_temporal_gave_up_to_call_about_is_published_by_the_commands_of_the_documentation(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    closing = by_callbacks()
    async with closing_site(kafka, temporal, tmp_path, closing) as here:
        async with here.running():
            for name in ("kept", "lost"):
                await begin(here, name, "wait")
            await here.workflow("kept").terminate(reason="taken")
            await told_once(here, "kept")
        async with await asyncio.start_server(answer_404, *closing.address.split(":")):
            await here.workflow("lost").terminate(reason="not taken")
            await callback_is(here, "lost", FAILED)
        where = f"{re.escape(here.workflow_id('lost'))} \\S+ terminated \\S+ → {here.topics['out']}"
        expected = [rf"^would publish {where}\n$", rf"^published {where}\[0\]@\d+\n$", r"^$"]
        for arguments, text in zip([*_documented(), _documented()[-1]], expected, strict=True):
            said = await called(here, *arguments)
            assert re.search(text, said.out), said
        assert "none missing" in said.err
        assert (await told_once(here, "lost"))["failure"]["text"] == "not taken"
        assert len(await told(here, "kept")) == len(await told(here, "lost")) == 1
