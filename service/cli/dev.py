"""`turnout dev`: the service with servers of its own, started anew whenever something changes."""

import asyncio
import importlib.util
import os
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from service.cli.printing import console
from service.errors import ConfigurationError
from service.failures.letters import letter_topic, letter_topic_settings
from service.kafka.admin import Admin
from service.kafka.connection import Connection
from service.lifecycle import stop_on_signals
from service.local import KAFKA_PORT, Child, LocalServers
from service.routing.files import is_test
from service.routing.table import load_routes
from service.settings import Settings, load_settings

FOLDER = Path(".turnout")
GROUP = "dev"


def add_to(app: typer.Typer, _words: Sequence[str]) -> None:
    """Add this family's commands."""
    app.command("dev")(dev)


def dev(
    routes: Annotated[Path | None, typer.Option(help="The routes: a file or a folder.")] = None,
    modules: Annotated[
        str | None, typer.Option(help="Packages with workflows and activities, with commas.")
    ] = None,
    task_queue: Annotated[str | None, typer.Option(help="The worker's task queue.")] = None,
) -> None:
    """Run everything on this machine: Kafka, Temporal with its UI, bridge and worker.

    Data is kept in `.turnout` until you delete it. Missing topics are created, and a change of
    routes or code starts the service anew. Options stand for TURNOUT_ROUTES, TURNOUT_WORKER__MODULES
    and TURNOUT_WORKER__TASK_QUEUE.
    """
    if importlib.util.find_spec("watchfiles") is None:
        raise ConfigurationError("what `turnout dev` runs is not installed; pip install 'turnout[local]'")
    chosen = {
        "TURNOUT_ROUTES": str(routes) if routes else None,
        "TURNOUT_WORKER__MODULES": modules,
        "TURNOUT_WORKER__TASK_QUEUE": task_queue,
    }
    os.environ.setdefault("TURNOUT_GROUP", GROUP)
    os.environ.update({name: value for name, value in chosen.items() if value is not None})
    # As for `python -m`: the packages of the folder that it is called in are found.
    sys.path.insert(0, str(Path.cwd()))
    asyncio.run(_dev(load_settings()))


async def _dev(settings: Settings) -> None:
    stop = stop_on_signals()
    servers = LocalServers(FOLDER)
    for usual, port in servers.moved.items():
        console.print(f"Port {usual} is taken; using {port} instead.")
    try:
        await servers.start()
        where = f"Kafka {servers.kafka.address}   Temporal {servers.temporal.address}"
        console.print(f"{where}   UI {servers.temporal.ui_url}   Ctrl-C ends")
        if servers.kafka.port != KAFKA_PORT:
            address = f"TURNOUT_KAFKA__BOOTSTRAP_SERVERS={servers.kafka.address}"
            console.print(f"For turnout emit and tail in another terminal: export {address}")
        await _serve_and_watch(settings, servers, stop)
    finally:
        await servers.stop()


async def _serve_and_watch(settings: Settings, servers: LocalServers, stop: asyncio.Event) -> None:
    from watchfiles import awatch

    environment = servers.env | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    argv = [sys.executable, "-m", "service", "run"]
    service = Child("turnout", argv, env=environment, log_path=None)
    watched = _watched(settings)
    try:
        await _start(settings, servers, service)
        async for changes in awatch(*watched, watch_filter=is_source, stop_event=stop):
            names = sorted({Path(path).name for _, path in changes})
            console.print(f"[bold]changed: {', '.join(names)}[/]; starting anew")
            await service.terminate(timedelta(seconds=10))
            await _start(settings, servers, service)
    finally:
        await service.terminate(timedelta(seconds=10))


async def _start(settings: Settings, servers: LocalServers, service: Child) -> None:
    """Create what topics are missing and start the service; say what is wrong with the routes instead."""
    try:
        table = load_routes(settings.routes)
        async with Admin.connected(Connection(servers.kafka.address)) as admin:
            await admin.create_topics([*table.topics.named, *table.out_topics], partitions=3)
            letters = letter_topic_settings()
            await admin.create_topics([letter_topic(settings.group)], partitions=1, settings=letters)
    except ConfigurationError as error:
        console.print(f"{error}\nWaiting for a change.", style="red", markup=False)
        return
    service.start()


def _watched(settings: Settings) -> list[Path]:
    if not settings.routes.exists():
        msg = f"TURNOUT_ROUTES={settings.routes}: there is no such file or folder; try --routes PATH"
        raise ConfigurationError(msg)
    packages = [importlib.util.find_spec(name) for name in settings.worker.packages]
    folders = [Path(found.origin).parent for found in packages if found and found.origin]
    return [settings.routes, *folders]


def is_source(_change: object, path: str) -> bool:
    """Whether a change of the file at `path` changes what the service does."""
    return path.endswith((".py", ".yaml", ".yml")) and not is_test(Path(path))
