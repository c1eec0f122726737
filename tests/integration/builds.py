"""Workflows that tell on which build of their worker they end."""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import VersioningBehavior


class _Waiting:
    def __init__(self) -> None:
        self._go = False

    @workflow.signal
    def go_on(self) -> None:
        self._go = True

    @workflow.query
    def started(self) -> bool:
        return True

    async def _build_in_the_end(self) -> str:
        await workflow.wait_condition(lambda: self._go)
        build: str = await workflow.execute_activity(
            "build_here", result_type=str, start_to_close_timeout=timedelta(seconds=10)
        )
        return build


@workflow.defn
class Short(_Waiting):
    """Says nothing of versions: pinned, where its worker has one."""

    @workflow.run
    async def run(self) -> str:
        return await self._build_in_the_end()


@workflow.defn(versioning_behavior=VersioningBehavior.AUTO_UPGRADE)
class LongLived(_Waiting):
    """Moves on to the current build at its next task."""

    @workflow.run
    async def run(self) -> str:
        return await self._build_in_the_end()
