"""`python -m tests.bench.sandbox`: what it saves to pass modules through the sandbox.

A workflow imports a module of its team with MODELS pydantic models: anew for each workflow, or passed through
(TURNOUT_WORKER__PASS_THROUGH). Each figure is of a process of its own; printed is the median of ROUNDS of
them, with the least and the most. Only the shares mean anything on another machine.
"""

# ruff: noqa: T201 - talks to a terminal

import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from activities.ports import Published, ResultEvent
from service.lifecycle import leave
from service.local import LocalTemporal
from service.temporal.core import core
from service.temporal.worker import Capacity, find, make_worker
from tests.servers import random_port

MODELS = 50
TYPES = 4
ROUNDS = 5
WORKFLOWS = 200

MODEL = """
class Model{n}(BaseModel):
    name: str
    total_cents: int
    parts: dict[str, list[int]] = {{}}
"""
FLOW = """
@workflow.defn
class Flow{n}:
    @workflow.run
    async def run(self) -> None:
        self.model = bench_models.Model0(name="a", total_cents=1)
        await workflow.wait_condition(lambda: False)
"""


class Nowhere:
    """Publishes nothing; no workflow here does."""

    async def publish(self, event: ResultEvent) -> Published:
        raise NotImplementedError


async def measure(address: str, pass_through: Sequence[str]) -> dict[str, float]:
    """Start a worker and WORKFLOWS workflows that stay in its cache; what that took."""
    client = await Client.connect(address, data_converter=pydantic_data_converter, runtime=core().runtime)
    found, queue = find(["bench_flows"]), f"sandbox-{os.getpid()}"
    before = _resident_kb()
    started = time.perf_counter()
    worker = make_worker(
        client,
        queue,
        found,
        Nowhere(),
        grace=timedelta(0),
        capacity=Capacity(pass_through=pass_through),
    )
    ready, ready_kb = time.perf_counter(), _resident_kb()
    used = time.process_time()
    async with worker:
        for number in range(WORKFLOWS):
            name = f"Flow{number % TYPES}"
            await client.start_workflow(name, id=f"{queue}/{number}", task_queue=queue)
        for number in range(WORKFLOWS):
            handle = client.get_workflow_handle(f"{queue}/{number}")
            while (await handle.describe()).history_length < 4:  # noqa: ASYNC110 - its first task is done
                await asyncio.sleep(0.02)
        return {
            "start-up, ms": (ready - started) * 1000,
            "start-up, MB": (ready_kb - before) / 1024,
            "CPU per workflow, ms": (time.process_time() - used) / WORKFLOWS * 1000,
            "memory per workflow, kB": (_resident_kb() - ready_kb) / WORKFLOWS,
            "in all, MB": _resident_kb() / 1024,
        }


def _resident_kb() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 1024


async def compare() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = "".join(MODEL.format(n=n) for n in range(MODELS))
        (folder / "bench_models.py").write_text(f"from pydantic import BaseModel\n{models}")
        flows = "".join(FLOW.format(n=n) for n in range(TYPES))
        (folder / "bench_flows.py").write_text(
            f"from temporalio import workflow\nimport bench_models\n{flows}"
        )
        async with LocalTemporal(folder / "temporal", random_port(), random_port(), keep=False) as server:
            figures: dict[str, list[dict[str, float]]] = {"anew for each": [], "passed through": []}
            for _ in range(ROUNDS):
                for how, rows in figures.items():
                    rows.append(_in_a_process(server.address, folder, how))
    print(
        f"{MODELS} models, {TYPES} workflow types, {WORKFLOWS} workflows; "
        f"median of {ROUNDS} rounds (least to most)"
    )
    for measure_ in figures["anew for each"][0]:
        cells = [f"{how}: {_spread([row[measure_] for row in rows])}" for how, rows in figures.items()]
        print(f"{measure_:26} {'   '.join(cells)}")


def _in_a_process(address: str, folder: Path, how: str) -> dict[str, float]:
    where: Mapping[str, str] = {"PYTHONPATH": os.pathsep.join([str(folder), *filter(None, sys.path)])}
    passed = "bench_models" if how == "passed through" else ""
    argv = [sys.executable, "-m", __spec__.name, address, passed]
    done = subprocess.run(
        argv, env=os.environ | where, check=True, capture_output=True, text=True, timeout=120
    )
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _spread(numbers: Sequence[float]) -> str:
    return f"{statistics.median(numbers):.1f} ({min(numbers):.1f} to {max(numbers):.1f})"


def main() -> None:
    """Compare; or, called with an address and what to pass through, print one row as JSON."""
    if len(sys.argv) > 1:
        address, passed = sys.argv[1:]
        print(json.dumps(asyncio.run(measure(address, list(filter(None, [passed]))))))
    else:
        asyncio.run(compare())
    leave(0)


if __name__ == "__main__":
    main()
