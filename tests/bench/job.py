"""What one contender does in one process, and the events it does it with."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from temporalio.client import Client

from tests.integration.service import Headers, event_headers

WORKFLOW = "Publishes"
EVENT_TYPE = "bench.order.placed"
SLOW = "slow"
LAST = "last"

Figures = Mapping[str, float]
"""What a contender measured: `rate`, `p50_ms`, `p99_ms`, `cpu_ms_per_event`, `rss_mb`; or its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The options of a contender.

    `warm` events are carried out before the `count` that are measured. `per_second` 0 is as fast
    as it goes. `latency` says since when: the call, or the moment the broker appended the record, by
    its clock and cut to the millisecond.
    `run` makes ids unique; `targets` are how many workflows the signals go to.
    """

    kafka: str
    temporal: str
    run: str
    kind: Literal["start", "signal"] = "start"
    queue: str = "nobody"
    topic: str = ""
    out: str = ""
    routes: str = ""
    warm: int = 0
    count: int = 1
    targets: int = 1
    concurrency: int = 64
    per_second: float = 0
    latency: Literal["call", "record"] = "call"
    log_level: Literal["warning", "info"] = "info"
    stub: bool = False
    dressed: bool = False
    local: bool = False
    attributes: bool = True
    offset_map: bool = True
    life: int = 1
    seconds: float = 60
    settle: float = 8
    patience: float = 180
    profile: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        return cls(**json.loads(text))

    def text(self) -> str:
        return json.dumps(asdict(self))

    @property
    def total(self) -> int:
        """All events that the contender may come to."""
        return self.warm + self.count


def target(run: str, number: int) -> str:
    """The id of one of the workflows that signals go to."""
    return f"{run}-target-{number}"


def order(job: Job, number: int) -> dict[str, Any]:
    """The data of one event, about as large as an order is."""
    return {
        "id": f"{job.run}-{number}",
        "to": target(job.run, number % job.targets),
        "out": job.out,
        "local": job.local,
        "n": number,
        "customer": {"id": f"c-{number % 997}", "name": "Ada Lovelace", "country": "GB"},
        "lines": [{"sku": f"sku-{n}", "quantity": n + 1, "cents": 1_299} for n in range(3)],
        "total_cents": 7_794,
        "currency": "GBP",
    }


def key_of(job: Job, data: Mapping[str, Any]) -> bytes:
    """The record key: that of the workflow it is for."""
    return str(data["to"] if job.kind == "signal" else data["id"]).encode()


def headers_for(data: Mapping[str, Any]) -> Headers:
    return event_headers(EVENT_TYPE, id=data["id"])


async def call(client: Client, job: Job, data: dict[str, Any]) -> None:
    """What anybody would write to start or signal a workflow."""
    if job.kind == "start":
        await client.start_workflow(WORKFLOW, data, id=data["id"], task_queue=job.queue)
    else:
        await client.get_workflow_handle(data["to"]).signal("note", data)
