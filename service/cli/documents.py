"""`turnout docs`: what others read of routes, written from the routes and from what reads them."""

import re
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from service.api.openapi import openapi
from service.cli.options import Modules, RoutePaths
from service.cli.output import put
from service.dispatch.contracts import Contracts
from service.dispatch.judging import judge_by
from service.documents.asyncapi import About, asyncapi
from service.documents.metrics_page import metrics_page
from service.documents.reference import reference
from service.documents.route_schema import route_schema
from service.documents.yaml_text import as_yaml
from service.routing.table import load_all_routes
from service.settings import WorkerSettings, load_settings
from service.temporal.worker import find

family = typer.Typer(help="Write what others read of routes.", no_args_is_help=True)

Output = Annotated[Path | None, typer.Option(help="The file to write; else it is printed.")]


class Syntax(StrEnum):
    """How a document is written."""

    YAML = "yaml"
    JSON = "json"


def add_to(app: typer.Typer, _words: Sequence[str]) -> None:
    """Add this family's commands."""
    app.add_typer(family, name="docs")


@family.command("asyncapi")
def asyncapi_(
    paths: RoutePaths = None,
    modules: Modules = None,
    title: Annotated[str, typer.Option(help="What the document is called.")] = "turnout",
    release: Annotated[str, typer.Option(help="The version that it says it is of.")] = "1.0.0",
    server: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=HOST:PORT", help="A server to name; kafka-secure://HOST:PORT with TLS."),
    ] = None,
    format: Annotated[Syntax, typer.Option(help="yaml or json.")] = Syntax.YAML,  # noqa: A002
    output: Output = None,
) -> None:
    """Write AsyncAPI 3.0 of all topics of the routes: what is taken from them, what is written to them.

    Payloads are those of `contract:` and of the workflows in --modules, where they are given `${data}`.
    Servers are named by --server alone. Exit codes: 0 it is written, 1 routes cannot be read, 2 usage.
    """
    settings = load_settings(need_group=False)
    # As for `python -m`: the packages of the folder that it is called in are found.
    sys.path.insert(0, str(Path.cwd()))
    packages = settings.worker.packages if modules is None else WorkerSettings(modules=modules).packages
    contracts = Contracts(find(packages).workflows)
    table = load_all_routes(paths or [settings.routes], judge_by(contracts))
    about = About(title, release, dict(map(_server, server or ())))
    document = asyncapi(table, contracts, about)
    put(as_yaml(document) if format is Syntax.YAML else _json(document), output)


_SERVER = re.compile(r"([A-Za-z0-9_-]+)=(?:(kafka|kafka-secure)://)?([A-Za-z0-9._\[\]:-]+:[0-9]{1,5})")


def _server(text: str) -> tuple[str, tuple[str, str]]:
    if not (form := _SERVER.fullmatch(text)):
        problem = f"{text!r} is not NAME=HOST:PORT, like production=kafka.shop:9092"
        raise typer.BadParameter(problem, param_hint="--server")
    return form[1], (form[3], form[2] or "kafka")


@family.command("schema")
def schema_(output: Output = None) -> None:
    """Write the JSON Schema of route files, for editors; `# yaml-language-server: $schema=FILE` names it."""
    put(_json(route_schema()), output)


@family.command("metrics")
def metrics_(output: Output = None) -> None:
    """Write the page of all metrics, in Markdown."""
    put(metrics_page(), output)


@family.command("openapi")
def openapi_(
    format: Annotated[Syntax, typer.Option(help="yaml or json.")] = Syntax.YAML,  # noqa: A002
    output: Output = None,
) -> None:
    """Write OpenAPI 3.1 of the handler API over HTTP; a running service has it at /openapi.json."""
    document = openapi()
    put(as_yaml(document) if format is Syntax.YAML else _json(document), output)


@family.command("reference")
def reference_(output: Output = None) -> None:
    """Write the page of all keys and settings, in Markdown."""
    put(reference(), output)


def _json(document: Any) -> str:
    return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n"
