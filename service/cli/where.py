"""`turnout where`: what became of an event, step by step, from Kafka and Temporal alone."""

import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from service.cli.bar import Bar
from service.cli.moments import moment_of
from service.cli.places import place_of
from service.cli.where_printing import as_json, show
from service.journeys.facts import Form
from service.journeys.journey import Journey
from service.settings import load_settings
from service.telemetry.logs import configure_logging
from service.whereabouts import IN_PART, Bounds, Progress, journeys

NOT_DONE, UNREACHABLE = 1, 3
SINCE, SECONDS = "6h", 60


class Format(StrEnum):
    """For whom it is written."""

    TEXT = "text"
    JSON = "json"


def add_to(app: typer.Typer, _words: Sequence[str]) -> None:
    """Add this family's command."""
    app.command("where")(where)


def where(
    what: Annotated[
        str,
        typer.Argument(metavar="WHAT", help="EVENT-ID, TOPIC/PARTITION/OFFSET, or WORKFLOW-ID."),
    ],
    as_: Annotated[
        Form | None,
        typer.Option(
            "--as", help="What WHAT is; without it: a place of a topic, else a workflow, else an event."
        ),
    ] = None,
    since: Annotated[
        str,
        typer.Option(
            help="Where nobody knows an event, topics are looked through back to then: 2d, or a time."
        ),
    ] = SINCE,
    seconds: Annotated[
        int, typer.Option("--for", min=1, max=3600, help="For at most so many seconds.")
    ] = SECONDS,
    format: Annotated[  # noqa: A002
        Format, typer.Option(help="text, or json: one array with one object per record that was found.")
    ] = Format.TEXT,
) -> None:
    """Say where an event is: each step of its way, and what to do where it stopped.

    Asks Kafka and Temporal alone, so bridges need not run; nothing is changed. Values of the payload are
    shown where they decided. Exit codes: 0 it is done; 1 something is wrong, or it is on its way; 2 usage;
    3 Kafka or Temporal could not be asked: what the other knows is shown.
    """
    sys.path.insert(0, str(Path.cwd()))
    _check(what, as_)
    bounds = Bounds(moment_of(since, "--since") or datetime.now(UTC), seconds)
    settings = load_settings()
    configure_logging("error", settings.log.format)
    with Bar() as bar:
        found = asyncio.run(journeys(settings, what, as_, bounds, Progress(bar.counted, bar.moved)))
    if format is Format.JSON:
        sys.stdout.write(as_json(found) + "\n")
    else:
        show(found)
    if code := _code(found):
        raise typer.Exit(code)


def _check(what: str, form: Form | None) -> None:
    try:
        is_text = bool(what.strip() and what.encode())
    except UnicodeEncodeError:  # bytes on the command line that are not UTF-8
        is_text = False
    if not is_text:
        raise typer.BadParameter("is empty, or not UTF-8", param_hint="WHAT")
    if form is Form.RECORD:
        place_of(what, "WHAT")


def _code(found: Sequence[Journey]) -> int:
    if any(one.what not in IN_PART for journey in found for one in journey.unasked):
        return UNREACHABLE
    return 0 if all(journey.is_done for journey in found) else NOT_DONE
