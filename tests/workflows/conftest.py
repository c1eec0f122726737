"""A Temporal server that skips time, for all tests of workflows."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment

from service.local import binary


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def env() -> AsyncIterator[WorkflowEnvironment]:
    """The server; its clock jumps to the next timer while a result is awaited, and stands else.

    One for each file: its clock also stands while an activity waits that someone else is to complete, even
    after its workflow has ended.
    """
    async with await WorkflowEnvironment.start_time_skipping(
        data_converter=pydantic_data_converter,
        test_server_existing_path=str(binary("temporal-test-server")),
    ) as environment:
        yield environment


@pytest.fixture(params=[1000, 0], ids=["cached", "replayed"])
def max_cached_workflows(request: pytest.FixtureRequest) -> int:
    """With 0 the whole history is replayed at each task, which finds what is not deterministic."""
    cached: int = request.param
    return cached
