"""`turnout routes explain`: what the routes would do with one event, and why."""

import asyncio
import sys
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli.counting import counted
from service.cli.printing import console, json_of, plain
from service.desk import Explained, explain, record_at
from service.dispatch.explaining import Verdict, described
from service.errors import ConfigurationError
from service.events.given import record_in
from service.kafka.record import Record
from service.redrive.letterbox import Place
from service.routing.commands import CallError, Command, OrStart, StartOptions
from service.routing.contract import Contract
from service.settings import Settings, load_settings

_NOT_SHOWN = frozenset({"route", "event", "others"})


def add_to(family: typer.Typer) -> None:
    """Add this command."""
    family.command("explain")(explain_)


def explain_(
    event: Annotated[
        str,
        typer.Argument(metavar="EVENT", help="A JSON file, - for standard input, or TOPIC/PARTITION/OFFSET."),
    ],
    topic: Annotated[str, typer.Option(help="The topic of an event that does not say it.")] = "",
    routes: Annotated[Path | None, typer.Option(exists=True, help="The routes; or TURNOUT_ROUTES.")] = None,
    live: Annotated[bool, typer.Option("--live", help="Ask Temporal, too, what it would meet.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object, for programs.")] = False,
) -> None:
    """Say which routes take an event, which do not and why, and what exactly they ask of Temporal.

    Nothing is done. The payload is shown. Exit codes: 0 it was explained, whatever became of it; 1 the
    event or the routes cannot be read; 2 usage; 3 Kafka or Temporal is not there.
    """
    sys.path.insert(0, str(Path.cwd()))
    settings = load_settings(need_group=False)
    record = _given(event, topic)
    explained = asyncio.run(_explained(settings, record, routes or settings.routes, live=live))
    if json:
        sys.stdout.write(json_of(_as_json(explained)) + "\n")
    else:
        _print(explained)


async def _explained(settings: Settings, given: Record | Place, routes: Path, *, live: bool) -> Explained:
    if isinstance(given, Record):
        return await explain(settings, routes, given, live=live)
    record, cluster = await record_at(settings, given)
    return await explain(settings, routes, record, cluster, live=live)


def _given(event: str, topic: str) -> Record | Place:
    if event == "-":
        return record_in(sys.stdin.buffer.read(), topic)
    file = Path(event)
    if file.is_file():
        try:
            return record_in(file.read_bytes(), topic)
        except OSError as error:
            raise ConfigurationError(f"{event} cannot be read: {error.strerror}") from error
    if place := Place.meant_by(event):
        return place
    raise typer.BadParameter(f"{event!r} is no file and not TOPIC/PARTITION/OFFSET", param_hint="EVENT")


# --- for people ---


def _print(explained: Explained) -> None:
    console.print(f"{explained.record}", style="bold", markup=False)
    if event := explained.event:
        _line(f"event {event.id} of type {event.type} from {event.source}")
    if explained.outcome:
        _line(explained.outcome)
    for verdict in explained.verdicts:
        _verdict(verdict, explained.met.get(verdict.route.name, ()))
    if elsewhere := explained.elsewhere:
        _line(f"{counted(elsewhere, 'route')} {'reads' if elsewhere == 1 else 'read'} other topics")


def _verdict(verdict: Verdict, met: Any) -> None:
    console.print(f"route {verdict.route.name}: ", end="", style="bold", markup=False)
    if verdict.error:
        _line(f"makes a letter: {str(verdict.error).removeprefix(f'route {verdict.route.name}: ')}")
    elif verdict.command is None:
        _line(f"nothing: {verdict.why_not}")
        for name, value in verdict.values.items():
            _line(f"  {name} is {json_of(value)}")
    else:
        _line(described(verdict.command))
        for name, value in _details(verdict.command).items():
            _line(f"  {name}: {json_of(value)}")
    for sentence in met:
        _line(f"  now: {sentence}")


def _line(text: str) -> None:
    console.print(plain(text), markup=False)


# --- for programs ---


def _as_json(explained: Explained) -> dict[str, Any]:
    event = explained.event
    return {
        "record": str(explained.record),
        "event": {"id": event.id, "type": event.type, "source": event.source} if event else None,
        "outcome": explained.outcome,
        "routes": [
            {
                "route": one.route.name,
                "does": described(one.command) if one.command else None,
                "command": _details(one.command) if one.command else None,
                "letter": str(one.error) if one.error else None,
                "why_not": one.why_not or None,
                "values": one.values,
                "now": list(explained.met.get(one.route.name, ())),
            }
            for one in explained.verdicts
        ],
        "elsewhere": explained.elsewhere,
    }


def _details(command: Command) -> dict[str, Any]:
    """All that is said to Temporal, and the rules; what is not given, or empty, is left out."""
    return {"kind": type(command).__name__, **dict(_given_in(command))}


def _given_in(said: Any) -> Iterator[tuple[str, Any]]:
    for name in (one.name for one in fields(said) if one.name not in _NOT_SHOWN):
        match getattr(said, name):
            case StartOptions() as options:
                yield from ((option, value) for option, value in asdict(options).items() if value)
            case Contract():  # or else a letter would have been told
                yield name, "fits"
            case OrStart() | CallError() as inner:
                yield name, dict(_given_in(inner))
            case None | "" | ():
                continue
            case value:
                yield name, value
