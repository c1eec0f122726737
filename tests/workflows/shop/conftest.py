"""A shop floor for the tests of each pattern."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment

from service.local import binary
from tests.workflows.shop.shop_floor import ShopFloor

LONG = 60
"""After so many events the real server suggests a new run."""


@pytest.fixture
def floor(env: WorkflowEnvironment, max_cached_workflows: int) -> ShopFloor:
    """On the server that skips time; its worker is for the test to start."""
    return ShopFloor(env.client, max_cached_workflows)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def real_server() -> AsyncIterator[Client]:
    """For what the server that skips time does not do: parent close policies, signals while a run ends."""
    settings = (f"limit.historyCount.suggestContinueAsNew={LONG}", "history.transferProcessorMaxPollRPS=2000")
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=str(binary("temporal")),
        dev_server_log_level="error",
        dev_server_extra_args=[part for one in settings for part in ("--dynamic-config-value", one)],
        data_converter=pydantic_data_converter,
    ) as server:
        yield server.client
