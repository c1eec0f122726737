"""`turnout routes graph`: a picture of the way of events through the routes."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from service.cli.options import RoutePaths
from service.cli.output import put
from service.documents.flow import Flow, flow_of
from service.documents.mermaid import mermaid
from service.documents.picture import svg
from service.routing.table import load_all_routes
from service.settings import load_settings


class Drawing(StrEnum):
    """How a graph is drawn."""

    MERMAID = "mermaid"
    SVG = "svg"


_DRAWN: Mapping[Drawing, Callable[[Flow], str]] = {Drawing.MERMAID: mermaid, Drawing.SVG: svg}


def add_to(family: typer.Typer) -> None:
    """Add this command."""
    family.command("graph")(graph_)


def graph_(
    paths: RoutePaths = None,
    format: Annotated[  # noqa: A002
        Drawing, typer.Option(help="mermaid: text that GitHub draws; svg: a picture.")
    ] = Drawing.MERMAID,
    output: Annotated[Path | None, typer.Option(help="The file to write; else it is printed.")] = None,
) -> None:
    """Draw topics, routes, the workflows they ask of, and the topics that are written to.

    Needs no servers. Exit codes: 0 it is drawn, 1 the routes cannot be read, 2 usage.
    """
    table = load_all_routes(paths or [load_settings(need_group=False).routes])
    put(_DRAWN[format](flow_of(table)), output)
