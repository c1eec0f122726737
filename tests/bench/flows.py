"""The workflow of the benchmark, found by its worker as those of any team are."""

from typing import Any

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from workflows.results import Results


@workflow.defn
class Publishes:
    """Publishes its input on the topic that is named in it, and ends."""

    @workflow.run
    async def run(self, data: dict[str, Any]) -> None:
        results = Results(data["out"], "tests/bench", local=data.get("local", False))
        await results.publish("bench.order.done", data["id"], data)
