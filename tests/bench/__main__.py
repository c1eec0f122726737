"""`python -m tests.bench`, or `make bench`: run the workloads and print their table."""

import argparse
import asyncio
import json
import logging
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from service.lifecycle import leave
from tests.bench.job import Figures
from tests.bench.rows import MEASURES, Name, Round, Row, figures_table, medians_of, rows_of, table_of
from tests.bench.stage import ContenderFailed, open_stage
from tests.bench.workloads import ALL, Entry, Size, Workloads
from tests.servers import KAFKA_VERSION, why_no_apache_kafka

ANSWERS = Path(__file__).parent.parent.parent / "build" / "bench.json"
QUIET_LOAD = 0.5
FAILURES = (ContenderFailed, TimeoutError)


@dataclass(frozen=True, slots=True)
class Measured:
    """What a run came to."""

    rows: Sequence[Row]
    rounds: Sequence[Round]
    failures: Sequence[str]


def main() -> int:
    arguments = _arguments()
    # A topic that was just made has no leader for a moment, which the client says at length.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    console = Console()
    if missing := why_no_apache_kafka():
        console.print(f"the benchmark needs {missing}")
        return 1
    machine = _machine()
    console.print(
        f"{machine['cores']} cores, load {machine['load']:.2f}, {machine['cpu']}, {machine['python']}, "
        f"Kafka {machine['kafka']}; turnout logs at {arguments.log_level}"
    )
    if machine["load"] > QUIET_LOAD:
        console.print(f"[yellow]the load is above {QUIET_LOAD}: others are at work, trust no figure[/]")
    folder = Path(tempfile.mkdtemp(prefix="turnout-bench-"))
    size = Size(arguments.scale, arguments.log_level, arguments.profile)
    measured = asyncio.run(measure(folder, size, arguments.only or ALL, arguments.rounds, console))
    console.print(figures_table(measured.rounds), table_of(measured.rows, rounds=arguments.rounds))
    _write(arguments.output, measured, machine | {"scale": size.scale, "log_level": size.log_level})
    console.print(f"written to {arguments.output}")
    for failure in measured.failures:
        console.print(f"[red]failed:[/] {failure}", markup=True)
    if not measured.failures:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if measured.failures else 0


async def measure(
    folder: Path, size: Size, workloads: Sequence[str], rounds: int, console: Console
) -> Measured:
    """Run all contenders of all workloads, round by round, each round in the other direction."""
    done: list[Round] = []
    failures: list[str] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    async with open_stage(folder) as stage, Workloads(stage, size).open() as all_of_them:
        plan = [_in_turn(all_of_them, workloads, number) for number in range(rounds)]
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("", total=sum(map(len, plan)))
            for number, entries in enumerate(plan):
                figures: dict[Name, Figures] = {}
                done.append(figures)
                for entry in entries:
                    progress.update(task, description=f"round {number + 1}: {entry.workload} {entry.name}")
                    try:
                        figures[entry.workload, entry.name] = await entry.measure()
                    except FAILURES as error:
                        failures.append(f"{entry.workload} {entry.name}: {error or type(error).__name__}")
                    progress.advance(task)
    named = frozenset(entry.workload for entries in plan for entry in entries)
    return Measured(rows_of(done, named, MEASURES), done, failures)


def _in_turn(all_of_them: Workloads, workloads: Sequence[str], number: int) -> list[Entry]:
    """The contenders of one round; those of a workload are neighbours in time."""
    turns: list[Entry] = []
    for workload in workloads:
        entries = all_of_them.entries(workload, first=number == 0)
        # The server slows down as it fills: who came last comes first next time.
        turns += reversed(entries) if number % 2 else entries
    return turns


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench ARGS=...", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="interleaved; their median counts")
    parser.add_argument("--only", action="append", choices=ALL, help="this workload; may be repeated")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies all counts")
    parser.add_argument("--log-level", choices=["warning", "info"], default="info", help="turnout's")
    parser.add_argument("--output", type=Path, default=ANSWERS, help="where the rows go, as JSON")
    parser.add_argument("--profile", default="", help="a folder for cProfile's statistics of turnout")
    return parser.parse_args()


def _machine() -> dict[str, Any]:
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": os.getloadavg()[0],
        "cpu": _cpu(),
        "python": f"Python {platform.python_version()}",
        "kafka": KAFKA_VERSION,
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _write(path: Path, measured: Measured, machine: dict[str, Any]) -> None:
    names = dict.fromkeys(name for one in measured.rounds for name in one)
    figures = {" ".join(name): medians_of(measured.rounds, name) for name in names}
    answer = {
        "rows": [row.as_json() for row in measured.rows],
        "figures": figures,
        "machine": machine,
        "failures": list(measured.failures),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(answer, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    leave(code)
