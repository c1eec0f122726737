"""The bare SDK: the same calls as fast as one client can make them, with no Kafka."""

import asyncio
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from temporalio.client import Client
from temporalio.common import (
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDReusePolicy,
)

from service.local import SEARCH_ATTRIBUTES
from tests.bench.job import WORKFLOW, Figures, Job, call, order
from tests.bench.meter import Meter


async def run(job: Job) -> Figures:
    """Carry out the job with `concurrency` calls at once, or at its pace."""
    meter = Meter(job.warm, job.count)
    client = await Client.connect(job.temporal)
    numbers = iter(range(job.total))
    meter.taken()
    if job.per_second:
        await _at_its_pace(client, job, meter, numbers)
    else:
        await asyncio.gather(*(_lane(client, job, meter, numbers) for _ in range(job.concurrency)))
    return meter.figures()


async def _lane(client: Client, job: Job, meter: Meter, numbers: Iterator[int]) -> None:
    for number in numbers:
        await _one(client, job, meter, number)


async def _at_its_pace(client: Client, job: Job, meter: Meter, numbers: Iterator[int]) -> None:
    async with asyncio.TaskGroup() as tasks:
        for number in numbers:
            tasks.create_task(_one(client, job, meter, number))
            await asyncio.sleep(1 / job.per_second)


async def _one(client: Client, job: Job, meter: Meter, number: int) -> None:
    data = order(job, number)
    called = time.perf_counter()
    await (_dressed(client, job, data) if job.dressed else call(client, job, data))
    meter.accepted(time.perf_counter() - called)


async def _dressed(client: Client, job: Job, data: dict[str, Any]) -> None:
    """A start that tells Temporal as much as turnout's does."""
    id_ = data["id"]
    place = f"{job.run}.in[0]@{data['n']}"
    memo = {"id": id_, "event": id_, "source": "/tests", "type": WORKFLOW, "route": "bench", "record": place}
    await client.start_workflow(
        WORKFLOW,
        data,
        id=id_,
        task_queue=job.queue,
        id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
        memo={"turnout": memo | {"by": f"0123456789ab {place}"}},
        search_attributes=TypedSearchAttributes(
            [SearchAttributePair(SearchAttributeKey.for_keyword(name), place) for name in SEARCH_ATTRIBUTES]
        ),
        static_summary=f"bench.order.placed from {place}",
        static_details="\n".join(f"- **{name}**: `{value}`" for name, value in memo.items()),
        rpc_timeout=timedelta(seconds=10),
    )
