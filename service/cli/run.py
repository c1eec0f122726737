"""`turnout run`, `bridge` and `worker`: the service itself."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated

import typer

from service.lifecycle import Stopped, leave, stop_on_signals
from service.processes import run_processes
from service.settings import Settings, load_settings
from service.telemetry.logs import configure_logging
from service.wiring import Roles, serve

Processes = Annotated[
    int, typer.Option(min=1, max=256, help="How many processes share the work; all end when one does.")
]
Process = Annotated[
    int,
    typer.Option(hidden=True, min=0, help="Which of several processes this is, from 1; 0 is the only one."),
]


def add_to(app: typer.Typer, _words: Sequence[str]) -> None:
    """Add this family's commands."""
    app.command("run")(run)
    app.command("bridge")(bridge)
    app.command("worker")(worker)


def run(processes: Processes = 1, process: Process = 0) -> None:
    """Run bridge and worker in one process, until SIGTERM."""
    _run("run", Roles(bridge=True, worker=True), processes, process)


def bridge(processes: Processes = 1, process: Process = 0) -> None:
    """Read Kafka and ask Temporal, as the routes say, until SIGTERM."""
    _run("bridge", Roles(bridge=True, worker=False), processes, process)


def worker(processes: Processes = 1, process: Process = 0) -> None:
    """Run workflows and activities, until SIGTERM."""
    _run("worker", Roles(bridge=False, worker=True), processes, process)


def _run(command: str, roles: Roles, processes: int, process: int) -> None:
    settings = load_settings()
    configure_logging(settings.log.level, settings.log.format, process=process)
    if processes > 1:
        settings.for_process(processes)  # what is wrong with that is said once, before any is started
        leave(asyncio.run(run_processes(command, processes)))
    else:
        asyncio.run(_serve(settings.for_process(process) if process else settings, roles, process))


async def _serve(settings: Settings, roles: Roles, process: int) -> None:
    with suppress(Stopped):
        # One of several hears a signal from its parent, and may hear it from others too: once is enough.
        await serve(settings, roles, stop_on_signals(second_ends=not process))
    # At once: ending the loop would wait for what was given up on in time.
    leave(0)
