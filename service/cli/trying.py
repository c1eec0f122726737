"""`turnout routes try`: what routes would do with the records that are there."""

import asyncio
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

import orjson
import typer

from service.cli.bar import Bar
from service.cli.moments import moment_of
from service.cli.trial_printing import Shown, as_json, show
from service.lifecycle import stop_on_signals
from service.settings import Settings, load_settings
from service.telemetry.logs import configure_logging
from service.trial import ToTry, Tried, routes_to_try, try_routes

FAILS, INTERRUPTED = 1, 130
LAST = 10_000


def add_to(family: typer.Typer) -> None:
    """Add this command."""
    family.command("try")(try_)


def try_(
    path: Annotated[Path, typer.Argument(metavar="PATH", exists=True, help="The routes: a file or folder.")],
    topic: Annotated[
        list[str] | None,
        typer.Option(help="This topic; may be repeated. Without it, all that the routes read."),
    ] = None,
    last: Annotated[
        int | None,
        typer.Option(min=1, help=f"So many of the newest records of each topic; {LAST} if none is said."),
    ] = None,
    since: Annotated[
        str, typer.Option(help="What was written since then: 2h (ago), or 2026-01-31T12:00:00Z.")
    ] = "",
    against: Annotated[
        Path | None,
        typer.Option(
            exists=True, help="The routes that run now, to compare with; or TURNOUT_ROUTES, if it is another."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object, for programs.")] = False,
) -> None:
    """Say what routes would do with the records that lie in Kafka, and what of it differs from now.

    Nothing is done, and no call is made: what only Temporal knows is not asked. Exit codes: 0 nothing would
    fail that does not fail now; 1 something would, a topic is not there, or the routes cannot be used;
    2 usage; 3 Kafka is not there.
    """
    sys.path.insert(0, str(Path.cwd()))
    span = _span(last, since)
    settings = load_settings(need_group=False)
    configure_logging("error", settings.log.format)
    if against is None and settings.routes.exists() and not settings.routes.samefile(path):
        against = settings.routes
    to_try = routes_to_try(settings, path, against)
    topics = _topics(topic or (), to_try)
    tried = asyncio.run(_try(settings, to_try, topics, span))
    shown = Shown(path, against, to_try, tried, () if topic else to_try.only_before)
    if json:
        sys.stdout.write(orjson.dumps(as_json(shown)).decode() + "\n")
    else:
        show(shown)
    if not tried.complete:
        raise typer.Exit(INTERRUPTED)
    if tried.missing or (tried.tally.failing_newly if against else tried.tally.failing):
        raise typer.Exit(FAILS)


async def _try(settings: Settings, to_try: ToTry, topics: Sequence[str], span: int | datetime) -> Tried:
    stop = stop_on_signals()
    with Bar() as bar:
        return await try_routes(
            settings, to_try, topics, span, counted=bar.counted, moved=bar.moved, stop=stop
        )


def _span(last: int | None, since: str) -> int | datetime:
    if last is not None and since:
        raise typer.BadParameter("--last and --since exclude each other; write one of them")
    return moment_of(since, "--since") or last or LAST


def _topics(named: Sequence[str], to_try: ToTry) -> Sequence[str]:
    read = [*to_try.table.topics, *to_try.only_before]
    tables = [table for table in (to_try.table, to_try.before) if table]
    if unread := [topic for topic in named if not any(topic in table.topics for table in tables)]:
        raise typer.BadParameter(
            f"no route reads {', '.join(unread)}; they read {', '.join(sorted(read))}", param_hint="--topic"
        )
    return list(dict.fromkeys(named)) or list(to_try.table.topics)
