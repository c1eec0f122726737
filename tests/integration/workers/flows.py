"""A workflow that waits for an activity, and one that tells which copy of a module it has."""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

from tests.integration.workers import models  # not passed through


@workflow.defn
class Work:
    @workflow.run
    async def run(self) -> int:
        attempt: int = await workflow.execute_activity(
            "work",
            result_type=int,
            start_to_close_timeout=timedelta(seconds=60),
            retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=10)),
        )
        return attempt


@workflow.defn
class WhichCopy:
    @workflow.run
    async def run(self) -> int:
        return id(models)
