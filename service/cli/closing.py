"""`turnout closing`: publish how workflows ended that closed without anybody being told."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from service.catching_up import CatchingUp, catching_up
from service.cli.moments import moment_of
from service.cli.printing import console, plain
from service.errors import NotNow
from service.lifecycle import Stopped, stop_on_signals
from service.results.left_out import LeftOut
from service.settings import load_settings
from service.telemetry.logs import configure_logging


def add_to(app: typer.Typer) -> None:
    """Add this family's commands."""
    app.command("closing")(closing)


def closing(
    since: Annotated[
        str, typer.Option(help="Look at what closed since then: 2h (ago), or 2026-01-31T12:00:00Z.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is missing.")] = False,
) -> None:
    """Publish how workflows ended whose end is in no topic, though their route has publish_closing.

    For after Temporal gave up to call us. Looks into the topics first; what is published twice all the same
    has the same id. Bridges may run or not.
    """
    moment = moment_of(since, "--since")
    if moment is None:
        raise typer.BadParameter("is empty", param_hint="--since")
    if moment > datetime.now(UTC):
        raise typer.BadParameter(f"{since} is still to come, so nothing closed since", param_hint="--since")
    asyncio.run(_catch_up(moment, dry_run=dry_run))


async def _catch_up(since: datetime, *, dry_run: bool) -> None:
    settings = load_settings()
    configure_logging("error", settings.log.format)
    with suppress(Stopped):
        async with catching_up(settings, stop_on_signals()) as catching:
            left_out = await catching.left_out(since)
            if dry_run:
                for one in left_out:
                    typer.echo(f"would publish {_line(one)} → {one.topic}")
            elif left_out:
                await _publish(catching, left_out)
            if dry_run or not left_out:
                typer.echo(f"{len(left_out) or 'none'} missing", err=True)


async def _publish(catching: CatchingUp, left_out: Sequence[LeftOut]) -> None:
    published = 0
    bar = Progress(BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console, transient=True)
    task = bar.add_task("publishing", total=len(left_out))

    def said(one: LeftOut, place: str) -> None:
        nonlocal published
        published += bool(place)
        bar.advance(task)
        line = f"published {_line(one)} → {place}" if place else f"left out {_line(one)}"
        bar.console.print(line, markup=False)

    if console.is_terminal:
        bar.start()
    try:
        refused = await catching.publish(left_out, said)
    finally:
        bar.stop()
    typer.echo(f"{published} published", err=True)
    if refused:
        reasons = "; ".join(refused.values())
        raise NotNow(f"not all of {', '.join(refused)} could be published, try again: {reasons}")


def _line(one: LeftOut) -> str:
    closed = one.closed
    return (
        f"{plain(closed.run.workflow_id)} {closed.run.run_id} {closed.status} {closed.at:%Y-%m-%dT%H:%M:%SZ}"
    )
