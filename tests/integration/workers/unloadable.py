"""A workflow whose module does what the sandbox forbids, as it is imported."""

from datetime import UTC, datetime

from temporalio import workflow

LOADED_AT = datetime.now(UTC)


@workflow.defn
class Dated:
    @workflow.run
    async def run(self) -> None: ...
