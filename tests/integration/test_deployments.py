"""Worker deployments: a build keeps what is pinned to it, and gives the rest to the one that is current."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio import activity
from temporalio.api.enums.v1 import RoutingConfigUpdateState
from temporalio.api.workflowservice.v1 import (
    DescribeWorkerDeploymentRequest,
    SetWorkerDeploymentCurrentVersionRequest,
)
from temporalio.client import Client, WorkflowHandle
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError, RPCStatusCode

from activities.ports import Published, ResultEvent
from service.local import LocalTemporal
from service.temporal.replaying import Code, ReplayCheck, Verdict
from service.temporal.worker import Found, make_worker, service_queue
from tests.integration.builds import LongLived, Short
from tests.integration.flows import Echo
from tests.integration.service import ECHOES, site
from workflows.switchboard import Switchboard

GRACE = timedelta(seconds=1)
_TOLD = RoutingConfigUpdateState.ROUTING_CONFIG_UPDATE_STATE_COMPLETED


class Nowhere:
    async def publish(self, event: ResultEvent) -> Published:
        raise NotImplementedError


@pytest.fixture
def deployment() -> str:
    return f"shop/{uuid.uuid4().hex[:8]}"  # as the worker controller names them: namespace/name


async def test_a_pinned_workflow_stays_with_its_build_and_an_upgrading_one_moves_on(
    temporal: LocalTemporal, deployment: str
) -> None:
    client = await _client(temporal)
    async with _build(client, deployment, "one"):
        await _make_current(client, deployment, "one")
        short, long_lived = [await _start(client, deployment, name) for name in ("Short", "LongLived")]
        for workflow in (short, long_lived):
            await workflow.query("started")  # its first task is done, by the first build
        async with _build(await _client(temporal), deployment, "two"):
            await _make_current(client, deployment, "two")
            for workflow in (short, long_lived):
                await workflow.signal("go_on")
            assert [await short.result(), await long_lived.result()] == ["one", "two"]
            later = await _start(client, deployment, "Short", id="later")
            await later.signal("go_on")
            assert await later.result() == "two"


async def test_without_a_deployment_a_workflow_that_names_a_behaviour_runs_all_the_same(
    temporal: LocalTemporal, deployment: str
) -> None:
    client = await _client(temporal)
    async with _build(client, deployment, None):
        workflow = await _start(client, deployment, "LongLived")
        await workflow.signal("go_on")
        async with asyncio.timeout(30):
            assert await workflow.result() == "no build"
    events = (await workflow.fetch_history()).events
    assert not any(one.HasField("workflow_task_failed_event_attributes") for one in events)


async def test_the_service_is_the_build_that_its_environment_names_and_leaves_the_start_to_the_server(
    kafka: str, temporal: LocalTemporal, tmp_path: Path, deployment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPORAL_DEPLOYMENT_NAME", deployment)
    monkeypatch.setenv("TEMPORAL_WORKER_BUILD_ID", "one")
    async with site(kafka, temporal.address, tmp_path, ECHOES) as here, here.running():
        await _make_current(here.client, deployment, "one")
        await here.past(await here.send("placed", {"id": "a"}))
        await here.workflow("a").result()
        found = (await here.started("a")).raw_description.workflow_execution_info.versioning_info
        assert VersioningBehavior(found.behavior) is VersioningBehavior.PINNED
        assert found.deployment_version.build_id == "one"
        events = (await here.workflow("a").fetch_history()).events
        # It would begin here, though another build may be the current one.
        assert not events[0].workflow_execution_started_event_attributes.eager_execution_accepted


async def test_before_a_deploy_what_is_pinned_to_its_build_is_left_out(
    kafka: str, temporal: LocalTemporal, tmp_path: Path, deployment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPORAL_DEPLOYMENT_NAME", deployment)
    monkeypatch.setenv("TEMPORAL_WORKER_BUILD_ID", "one")
    async with site(kafka, temporal.address, tmp_path, ECHOES) as here, here.running():
        await _make_current(here.client, deployment, "one")
        await here.past(await here.send("placed", {"id": "a"}))
        await here.workflow("a").result()

        async def verdicts() -> dict[str, Verdict]:
            code = [
                Code([Echo], [], f"TaskQueue = '{here.group}'"),
                Code([Switchboard], [], f"TaskQueue = '{service_queue(here.group)}'"),
            ]
            check = ReplayCheck(await _client(temporal), code, last=1, only=(), query="")
            found = {one.type: one.verdict async for one in check.run()}
            return found if len(found) == 2 else {}  # visibility lags

        # turnout's own have no builds.
        assert await here.until(verdicts) == {"Echo": Verdict.PINNED, "Switchboard": Verdict.REPLAYS}


async def _client(temporal: LocalTemporal) -> Client:
    """Each worker has its own: one client can have two workers of one queue only if they are of one build."""
    return await Client.connect(temporal.address, data_converter=pydantic_data_converter)


@asynccontextmanager
async def _build(client: Client, deployment: str, build: str | None) -> AsyncIterator[None]:
    @activity.defn(name="build_here")
    async def build_here() -> str:
        return build or "no build"

    activities: list[Callable[..., Any]] = [build_here]
    version = WorkerDeploymentVersion(deployment, build) if build else None
    found = Found([Short, LongLived], activities)
    async with make_worker(client, deployment, found, Nowhere(), grace=GRACE, version=version):
        yield


async def _start(client: Client, deployment: str, name: str, *, id: str = "") -> WorkflowHandle[Any, Any]:  # noqa: A002
    return await client.start_workflow(name, id=f"{deployment}/{id or name}", task_queue=deployment)


async def _make_current(client: Client, deployment: str, build: str) -> None:
    request = SetWorkerDeploymentCurrentVersionRequest(
        namespace="default", deployment_name=deployment, build_id=build
    )
    async with asyncio.timeout(60):
        while True:
            try:
                await client.workflow_service.set_worker_deployment_current_version(request)
            except RPCError as error:
                # Until a worker of that build has asked for tasks.
                if error.status not in {RPCStatusCode.NOT_FOUND, RPCStatusCode.FAILED_PRECONDITION}:
                    raise
                await asyncio.sleep(0.1)
            else:
                break
        # It is said at once; the task queues are told afterwards.
        question = DescribeWorkerDeploymentRequest(namespace="default", deployment_name=deployment)
        while True:
            answer = await client.workflow_service.describe_worker_deployment(question)
            if answer.worker_deployment_info.routing_config_update_state == _TOLD:
                return
            await asyncio.sleep(0.1)
