"""`turnout run`, `bridge` and `worker`: the service itself."""

import asyncio
from contextlib import suppress

import typer

from service.lifecycle import Stopped, leave, stop_on_signals
from service.settings import load_settings
from service.telemetry.logs import configure_logging
from service.wiring import Roles, serve


def add_to(app: typer.Typer) -> None:
    """Add this family's commands."""
    app.command("run")(run)
    app.command("bridge")(bridge)
    app.command("worker")(worker)


def run() -> None:
    """Run bridge and worker in one process, until SIGTERM."""
    _serve(Roles(bridge=True, worker=True))


def bridge() -> None:
    """Read Kafka and ask Temporal, as the routes say, until SIGTERM."""
    _serve(Roles(bridge=True, worker=False))


def worker() -> None:
    """Run workflows and activities, until SIGTERM."""
    _serve(Roles(bridge=False, worker=True))


def _serve(roles: Roles) -> None:
    settings = load_settings()
    configure_logging(settings.log.level, settings.log.format)

    async def until_stopped() -> None:
        with suppress(Stopped):
            await serve(settings, roles, stop_on_signals())
        # At once: ending the loop would wait for what was given up on in time.
        leave(0)

    asyncio.run(until_stopped())
