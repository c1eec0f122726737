"""`turnout ui`: views of the Temporal UI that go with the routes, as links."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from service.access import temporal_access
from service.cli.output_format import Format
from service.cli.places import place_of
from service.cli.printing import json_of, plain
from service.errors import ConfigurationError
from service.routing.table import load_routes
from service.settings import load_settings
from service.surroundings.views import View, view_of, views


def add_to(app: typer.Typer, _words: Sequence[str]) -> None:
    """Add this command."""
    app.command("ui")(ui)


def ui(
    record: Annotated[
        str, typer.Option(metavar="PLACE", help="What this record has started; TOPIC/PARTITION/OFFSET.")
    ] = "",
    event: Annotated[str, typer.Option(metavar="ID", help="What the event of this id has started.")] = "",
    routes: Annotated[
        Path | None, typer.Option(exists=True, help="The routes; TURNOUT_ROUTES if none is given.")
    ] = None,
    url: Annotated[str, typer.Option(help="Where the UI is; TURNOUT_TEMPORAL__UI_URL if not given.")] = "",
    format: Annotated[  # noqa: A002
        Format, typer.Option(help="text; json: one object per line.")
    ] = Format.TEXT,
) -> None:
    """Print links to views of the Temporal UI: by route, event type and topic, what failed, what is parked.

    Opening one keeps it in the browser, under its name. Needs no servers.
    """
    if record and event:
        raise typer.BadParameter("give one of --record and --event", param_hint="--event")
    settings = load_settings()
    if not (address := url or settings.temporal.ui_url):
        raise ConfigurationError(
            "nobody has said where the Temporal UI is; set TURNOUT_TEMPORAL__UI_URL, or say --url, for "
            "example --url http://127.0.0.1:8088"
        )
    table = load_routes(routes or settings.routes)
    namespace = temporal_access(settings).connect_options()["namespace"]
    found: Sequence[View]
    if record or event:
        place = place_of(record, "--record") if record else None
        found = view_of(settings, table, namespace, place=place, event_id=event)
    else:
        found = list(views(settings, table, namespace, datetime.now(UTC)))
    if settings.temporal.search_attributes is False:
        typer.echo("without search attributes, workflows of routes cannot be told from others", err=True)
    for view in found:
        typer.echo(_json(view, address) if format is Format.JSON else _text(view, address))


def _text(view: View, address: str) -> str:
    return f"{plain(view.name)} ({plain(view.namespace)})\n  {view.link(address)}"


def _json(view: View, address: str) -> str:
    return json_of(
        {
            "name": view.name,
            "namespace": view.namespace,
            "query": view.query,
            "url": view.link(address),
            "kept": view.kept,
        }
    )
