"""`turnout routes`: look at routes before they run."""

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Annotated

import orjson
import typer

from service.cli.counting import counted
from service.cli.options import Modules, RoutePaths
from service.dispatch.contracts import Contracts
from service.dispatch.judging import judge_by
from service.dispatch.near_names import near_names
from service.errors import ConfigurationError, Finding
from service.routing.checks import severity_of
from service.routing.lint import Linted, lint
from service.settings import WorkerSettings, load_settings
from service.temporal.worker import find

FOUND = 1

_OTHERS = {"explain": "explain", "graph": "graph", "test": "route_tests", "try": "trying"}
"""The commands of this family that have modules of their own."""


def add_to(app: typer.Typer, words: Sequence[str]) -> None:
    """Add this family's commands; where `words` begin with one of them, no other module is loaded."""
    family = typer.Typer(help="Look at routes before they run.", no_args_is_help=True)
    family.command("lint")(lint_)
    word = words[0] if words else ""
    for name in [] if word == "lint" else [word] if word in _OTHERS else _OTHERS:
        import_module(f"service.cli.{_OTHERS[name]}").add_to(family)
    app.add_typer(family, name="routes")


class Format(StrEnum):
    """How findings are written."""

    TEXT = "text"
    JSON = "json"
    GITHUB = "github"


def lint_(
    paths: RoutePaths = None,
    modules: Modules = None,
    against: Annotated[
        Path | None,
        typer.Option(exists=True, help="The routes that run now: what changed that must not, is found too."),
    ] = None,
    format: Annotated[  # noqa: A002
        Format, typer.Option(help="text; json: one object per line; github: annotations of a pull request.")
    ] = Format.TEXT,
) -> None:
    """Say all that is wrong or doubtful in routes, with place, code and cure; needs no servers.

    Accept a warning by a comment in its line or above: `# lint: ok TR402 because …`.
    Exit codes: 0 nothing was found, 1 something was, 2 usage.
    """
    settings = load_settings(need_group=False)
    # As for `python -m`: the packages of the folder that it is called in are found.
    sys.path.insert(0, str(Path.cwd()))
    packages = settings.worker.packages if modules is None else WorkerSettings(modules=modules).packages
    contracts = Contracts(find(packages).workflows)
    try:
        linted = lint(
            paths or [settings.routes],
            against=against,
            judge=judge_by(contracts),
            doubters=[near_names(contracts)],
        )
    except ConfigurationError as error:
        raise typer.BadParameter(str(error), param_hint="--against") from error
    for finding in linted.findings:
        sys.stdout.write(_LINES[format](finding) + "\n")
    typer.echo(_summary(linted), err=True)
    if linted.findings:
        raise typer.Exit(FOUND)


def _summary(linted: Linted) -> str:
    counts = Counter(severity_of(finding) for finding in linted.findings)
    found = ", ".join(f"{count} {severity}{'s' * (count > 1)}" for severity, count in sorted(counts.items()))
    looked_at = f"{counted(linted.routes, 'route')} in {counted(linted.files, 'file')}"
    return f"{looked_at}: {found or 'nothing found'}"


def _text(finding: Finding) -> str:
    place = f"{finding.path}:{finding.line}:{finding.column}"
    return f"{place}: {severity_of(finding)} {finding.code} {finding.text}"


def _json(finding: Finding) -> str:
    return orjson.dumps(
        {
            "code": finding.code,
            "severity": severity_of(finding),
            "path": str(finding.path),
            "line": finding.line,
            "column": finding.column,
            "problem": finding.problem,
            "cure": finding.cure,
        }
    ).decode()


def _github(finding: Finding) -> str:
    """A workflow command. Source: GitHub's documentation, "Workflow commands for GitHub Actions"."""
    where = f"file={_property(str(finding.path))},line={finding.line or 1},col={finding.column or 1}"
    return f"::{severity_of(finding)} {where},title={finding.code}::{_escaped(finding.text)}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")


_LINES: Mapping[Format, Callable[[Finding], str]] = {
    Format.TEXT: _text,
    Format.JSON: _json,
    Format.GITHUB: _github,
}
