"""One contender in a process of its own: `python -m tests.bench.contender NAME WORKLOAD --json-options JSON`.

Its last line on stdout is one JSON object with what it measured.
"""

import argparse
import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import ExitStack

from service.lifecycle import leave
from tests.bench import bare, naive, product
from tests.bench.job import Figures, Job
from tests.bench.stub import answering_at_once

CONTENDERS: dict[tuple[str, str], Callable[[Job], Awaitable[Figures]]] = {
    ("naive", ""): naive.run,
    ("bare", ""): bare.run,
    ("turnout", ""): product.run,
    ("turnout", "restart"): product.restart,
    ("turnout", "memory"): product.memory,
    ("worker", ""): product.worker,
}
"""By name, and by workload where that is a special one."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.contender")
    parser.add_argument("name", choices=sorted({name for name, _ in CONTENDERS}))
    parser.add_argument("workload")
    parser.add_argument("--json-options", required=True, type=Job.parse)
    arguments = parser.parse_args()
    name: str = arguments.name
    job: Job = arguments.json_options
    run = CONTENDERS.get((name, arguments.workload)) or CONTENDERS[name, ""]

    async def measure() -> None:
        async with asyncio.timeout(job.patience):
            figures = await run(job)
        print(json.dumps(figures), flush=True)  # noqa: T201 - the answer
        if job.local:
            await asyncio.Event().wait()  # its worker has yet to bring the results; it is killed
        leave(0)

    with ExitStack() as stack:
        if job.stub:
            stack.enter_context(answering_at_once())
        asyncio.run(measure())


if __name__ == "__main__":
    main()
