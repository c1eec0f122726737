"""`turnout parked`: what waits for workflows that are not there yet, or cannot take it."""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from service.access import temporal_access
from service.cli.printing import console
from service.dispatch.links import Links
from service.failures.parks import OpenPark, Parks
from service.settings import load_settings
from service.temporal.client import connect


def add_to(app: typer.Typer, _words: Sequence[str]) -> None:
    """Add this family's commands."""
    app.command("parked")(parked)


def parked(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line, for programs.")] = False,
) -> None:
    """Show the parks of the group that are open: for whom they hold commands, how many, and why.

    Cancel a park in the Temporal UI to make letters of what it holds.
    """
    open_parks, group = asyncio.run(_open_parks())
    if as_json:
        for park in open_parks:
            typer.echo(_json(park))
    elif open_parks:
        console.print(_table(open_parks))
    else:
        console.print(f"nothing is parked in group {group}")


async def _open_parks() -> tuple[list[OpenPark], str]:
    settings = load_settings()
    links = Links(settings.temporal.ui_url)
    parks = Parks(await connect(temporal_access(settings)), settings.group, links)
    found = [park async for park in parks.open_ones()]
    return sorted(found, key=lambda park: (park.status.since or datetime.now(UTC), park.id)), settings.group


def _table(parks: list[OpenPark]) -> Table:
    table = Table()
    for heading in ("for", "holds", "since (UTC)", "gives up at (UTC)", "last answer"):
        table.add_column(heading, overflow="fold")
    if any(park.url for park in parks):
        table.add_column("link", overflow="fold")
    for park in parks:
        status = park.status
        moments = [f"{at:%m-%d %H:%M:%S}" if at else "" for at in (status.since, status.gives_up_at)]
        cells = [park.target, str(status.commands), *moments, park.answer]
        # Texts of others: to be read as they are, not as commands for colours.
        table.add_row(*map(Text, [*cells, *([park.url] if park.url else [])]))
    return table


def _json(park: OpenPark) -> str:
    status = park.status.model_dump(mode="json", exclude={"answer"})
    whom = {"park": park.id, "target": park.target, "namespace": park.namespace}
    return json.dumps(whom | status | {"answer": park.answer, "url": park.url})
