"""`turnout status` and `turnout top`: how far a group is and what holds it, once or all the time."""

import asyncio
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

from service.cli.printing import console, json_of
from service.cli.status_printing import as_dict, shown
from service.cli.where import Format
from service.journeys.progress import Overview
from service.lifecycle import stop_on_signals
from service.overview import IN_PART, overview
from service.routing.table import RouteTable, load_routes
from service.settings import Settings, load_settings
from service.telemetry.logs import configure_logging

WRONG, UNREACHABLE = 1, 3
WIDE = 200


def add_to(app: typer.Typer, _words: Sequence[str]) -> None:
    """Add this family's commands."""
    app.command("status")(status)
    app.command("top")(top)


def status(
    format: Annotated[Format, typer.Option(help="text, or json: one object.")] = Format.TEXT,  # noqa: A002
) -> None:
    """Show how far the group is: topics, processes, the ten oldest records, what is paused, letters, parks.

    Asks Kafka and Temporal alone, so bridges need not run. Keys are shown as digests. Exit codes: 0 nothing
    stands still; 1 something does that does not mend itself; 2 usage; 3 Kafka or Temporal could not be asked:
    what the other knows is shown.
    """
    settings, table = _ready()
    seen = asyncio.run(overview(settings, table))
    if format is Format.JSON:
        sys.stdout.write(json_of(as_dict(seen)) + "\n")
    else:
        _print(seen)
    if code := _code(seen):
        raise typer.Exit(code)


def top(
    every: Annotated[
        float, typer.Option("--every", min=0.5, max=3600, help="Look again after so many seconds.")
    ] = 2.0,
) -> None:
    """Show what `turnout status` shows, all the time, until Ctrl-C.

    Where the output is no terminal, it is shown once. Exit codes: 0 it was ended; else as `turnout status`.
    """
    settings, table = _ready()
    if not console.is_terminal:
        typer.echo("the output is no terminal: shown once, as by turnout status", err=True)
        seen = asyncio.run(overview(settings, table))
        _print(seen)
        if code := _code(seen):
            raise typer.Exit(code)
        return
    asyncio.run(live(settings, table, every))


async def live(settings: Settings, table: RouteTable, every: float) -> None:
    """Show it on a screen of its own, anew every so many seconds, until someone stops the process."""
    stop = stop_on_signals()
    # On a screen of its own: what was there before is there again afterwards.
    with Live("looking …", console=console, screen=True, auto_refresh=False) as live:
        while not stop.is_set():
            looking = asyncio.ensure_future(overview(settings, table))
            stopping = asyncio.ensure_future(stop.wait())
            await asyncio.wait({looking, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if looking.done():
                live.update(shown(looking.result(), note=f"every {every:g} s; Ctrl-C ends it"), refresh=True)
                await asyncio.wait({stopping}, timeout=every)
            looking.cancel()
            stopping.cancel()
            await asyncio.wait({looking, stopping})


def _print(seen: Overview) -> None:
    # In a file nobody's window cuts it.
    out = console if console.is_terminal else Console(highlight=False, emoji=False, width=WIDE)
    out.print(shown(seen))


def _ready() -> tuple[Settings, RouteTable]:
    settings = load_settings()
    configure_logging("error", settings.log.format)
    return settings, load_routes(settings.routes)


def _code(seen: Overview) -> int:
    if any(one.what not in IN_PART for one in seen.unasked):
        return UNREACHABLE
    return WRONG if seen.unasked or any(seen.problems()) else 0
