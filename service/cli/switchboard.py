"""`turnout pause`, `resume` and `paused`: the switchboard from a terminal."""

import asyncio
import difflib
import socket
from collections.abc import Sequence
from typing import Annotated

import typer

from service.access import temporal_access
from service.cli.who import user
from service.errors import ConfigurationError
from service.intake.pauses import in_words
from service.settings import load_settings
from service.temporal.client import connect, workflow_link
from service.temporal.switchboard import Reading, SwitchboardClient, switchboard_id
from workflows.switchboard import State

PATIENCE_SECONDS = 5.0

Name = Annotated[str, typer.Argument(help="A topic or a route.")]
Anyway = Annotated[bool, typer.Option("--anyway", help="Take NAME though no topic or route is called so.")]


def add_to(app: typer.Typer, _words: Sequence[str]) -> None:
    """Add this family's commands."""
    app.command("pause")(pause)
    app.command("resume")(resume)
    app.command("paused")(paused)


def pause(
    name: Name,
    because: Annotated[str, typer.Option(help="Why; people will read it.")],
    anyway: Anyway = False,
) -> None:
    """Pause a topic or a route, until someone resumes it.

    Every bridge of the group obeys within five seconds. Calls in flight end, nothing new begins, nothing is
    lost, and a restart keeps it.
    """
    asyncio.run(_tell("pause", name, because, anyway=anyway))


def resume(
    name: Name,
    because: Annotated[str, typer.Option(help="Why; people will read it.")] = "",
    anyway: Anyway = False,
) -> None:
    """Resume a topic or a route: what was held goes on, in order."""
    asyncio.run(_tell("resume", name, because, anyway=anyway))


def paused() -> None:
    """Show what is paused: since when, by whom, and why."""
    asyncio.run(_show_now())


async def _tell(signal: str, name: str, because: str, *, anyway: bool) -> None:
    settings, by = load_settings(), f"{user('someone')}@{socket.gethostname()}"
    group = settings.group
    client = await connect(temporal_access(settings), identity=by)
    board = SwitchboardClient(client, group)
    state = (await board.read()).state
    if not anyway:
        _check(name, state, group)
    await board.tell(signal, {"name": name, "because": because, "by": by}, last=state)
    await _show(board, group)
    if link := workflow_link(settings.temporal.ui_url, client.namespace, switchboard_id(group)):
        typer.echo(f"See {link}")


async def _show_now() -> None:
    settings = load_settings()
    client = await connect(temporal_access(settings))
    await _show(SwitchboardClient(client, settings.group), settings.group)


async def _show(board: SwitchboardClient, group: str) -> None:
    """Print what is paused, once all that was told is taken in."""
    for line in _lines(await board.read_settled(PATIENCE_SECONDS), group):
        typer.echo(line)


def _lines(reading: Reading, group: str) -> list[str]:
    state = reading.state or State()
    lines = [f"paused: {in_words(one, state.names.kind(one.name))}" for one in state.paused]
    if not reading.settled:
        lines.append(f"Not taken in yet: no bridge of group {group} runs. Temporal keeps it until one does.")
    elif not lines:
        lines.append("nothing is paused")
    return lines + ([state.note] if state.note else [])


def _check(name: str, state: State | None, group: str) -> None:
    if state is None:
        msg = f"no bridge of group {group} (TURNOUT_GROUP) has run yet, so no topic or route is known"
        raise ConfigurationError(f"{msg}; --anyway takes {name} all the same")
    known = {*state.names.topics, *state.names.routes, *(one.name for one in state.paused)}
    if name not in known and state.names.kind(name) == "unknown":
        close = difflib.get_close_matches(name, sorted(known), n=1)
        cure = f"did you mean {close[0]}?" if close else f"there are {', '.join(sorted(known))};"
        raise ConfigurationError(
            f"no topic or route of group {group} is called {name}; {cure} --anyway takes it all the same"
        )
