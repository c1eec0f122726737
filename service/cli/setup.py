"""`turnout setup`: the topics and search attributes that the service needs, made or printed."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from service.access import temporal_access
from service.cli.moments import span_of
from service.cli.output_format import Format
from service.cli.printing import json_of, plain
from service.dispatch.registered import types_by_name
from service.kafka.rights import Who
from service.pipeline import kafka_connection
from service.routing.table import load_routes
from service.settings import KafkaSettings, Settings, load_settings
from service.surroundings.as_commands import as_commands
from service.surroundings.as_strimzi import Login, as_strimzi
from service.surroundings.as_terraform import as_terraform
from service.surroundings.making import Thing, make_attributes, make_topics
from service.surroundings.needs import Needs, needs_of
from service.surroundings.wanted import LETTERS_KEPT, Choices, wanted_attributes, wanted_topics
from service.temporal.client import reach

FOUND = 1


class Manifest(StrEnum):
    """As what it is printed."""

    COMMANDS = "commands"
    STRIMZI = "strimzi"
    TERRAFORM = "terraform"


def add_to(app: typer.Typer, _words: Sequence[str]) -> None:
    """Add this command."""
    app.command("setup")(setup)


def setup(
    routes: Annotated[
        Path | None, typer.Option(exists=True, help="The routes; TURNOUT_ROUTES if none is given.")
    ] = None,
    topics: Annotated[
        bool, typer.Option("--topics", help="Make the topics that routes declare, too, not letters alone.")
    ] = False,
    partitions: Annotated[int, typer.Option(min=1, help="Of these.")] = 3,
    retention: Annotated[str, typer.Option(help="Of these, for example 7d; else the brokers' own.")] = "",
    letters: Annotated[str, typer.Option(help="How long letters are kept.")] = f"{LETTERS_KEPT.days}d",
    replicas: Annotated[
        int, typer.Option(min=0, help="Of all topics; 0 takes three, or as many as there are brokers.")
    ] = 0,
    attribute: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=TYPE", help="The type of a search attribute that a route names."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what is missing, and make nothing.")
    ] = False,
    print_: Annotated[
        Manifest | None, typer.Option("--print", help="Print all that is needed, and ask nobody.")
    ] = None,
    principal: Annotated[
        str, typer.Option(help="Whom the printed rights are for, if not the user of the settings.")
    ] = "",
    who: Annotated[
        list[Who] | None, typer.Option(help="Whose rights are printed, if not those of all.")
    ] = None,
    cluster: Annotated[str, typer.Option(help="How Strimzi calls the cluster.")] = "kafka",
    format: Annotated[  # noqa: A002
        Format, typer.Option(help="text; json: one object per line.")
    ] = Format.TEXT,
) -> None:
    """Make the topics and search attributes that are missing; what is there stays as it is.

    With --print it makes nothing, and prints what would, with the least rights. Exit codes: 0 all is there,
    1 something is missing or is not as it must be, 2 usage, 3 Kafka or Temporal is not there.
    """
    choices = Choices(
        topics=topics,
        partitions=partitions,
        retention=span_of(retention, "--retention"),
        letters_kept=span_of(letters, "--letters") or LETTERS_KEPT,
        replicas=replicas or None,
        types=dict(_type_in(one) for one in attribute or ()),
    )
    settings = load_settings()
    table = load_routes(routes or settings.routes)
    namespace = temporal_access(settings).connect_options()["namespace"]
    needs = needs_of(settings, table, namespace, principal)
    if print_:
        text = _manifest(print_, needs, choices, settings.kafka, frozenset(who or Who), cluster)
        typer.echo(text, nl=False)
        return
    if not asyncio.run(_make(settings, needs, choices, format, dry=dry_run)):
        raise typer.Exit(FOUND)


def _type_in(text: str) -> tuple[str, str]:
    name, _, kind = text.partition("=")
    known = {one.casefold(): one for one in types_by_name()}
    if not name or kind.casefold() not in known:
        said = f"{text!r} is not NAME=TYPE; types are {', '.join(types_by_name())}"
        raise typer.BadParameter(said, param_hint="--attribute")
    return name, known[kind.casefold()]


def _manifest(
    kind: Manifest, needs: Needs, choices: Choices, kafka: KafkaSettings, who: frozenset[Who], cluster: str
) -> str:
    topics = [one for one in wanted_topics(needs, choices) if choices.topics or one.name == needs.letters]
    attributes = list(wanted_attributes(needs, choices.types))
    rights = [right for right in needs.rights if right.who in who]
    match kind:
        case Manifest.COMMANDS:
            return as_commands(needs, topics, attributes, rights)
        case Manifest.TERRAFORM:
            return as_terraform(needs, topics, attributes, rights)
    return as_strimzi(needs, topics, attributes, rights, cluster=cluster, login=_login(kafka))


def _login(kafka: KafkaSettings) -> Login:
    """How the settings log in, where Strimzi has such credentials."""
    if kafka.sasl_mechanism == "SCRAM-SHA-512":
        return "scram-sha-512"
    return "tls" if kafka.tls_cert_file else None


async def _make(settings: Settings, needs: Needs, choices: Choices, form: Format, *, dry: bool) -> bool:
    """Make what is missing, and tell; whether all is as it must be."""
    well = True
    async for thing in _things(settings, needs, choices, dry=dry):
        typer.echo(_json(thing) if form is Format.JSON else _text(thing))
        well = well and thing.state.well
    return well


async def _things(settings: Settings, needs: Needs, choices: Choices, *, dry: bool) -> AsyncIterator[Thing]:
    async for thing in make_topics(kafka_connection(settings.kafka), needs, choices, dry=dry):
        yield thing
    async for thing in make_attributes(await reach(temporal_access(settings)), needs, choices, dry=dry):
        yield thing


def _text(thing: Thing) -> str:
    lines = [f"{thing.state:8} {thing.what}{f': {thing.problem}' if thing.problem else ''}"]
    return "\n         ".join(plain(line) for line in [*lines, *thing.cure.splitlines()])


def _json(thing: Thing) -> str:
    return json_of({"what": thing.what, "state": thing.state, "problem": thing.problem, "cure": thing.cure})
