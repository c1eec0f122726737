"""`turnout doctor`: what is wrong around the service, each finding with its cure."""

import asyncio
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from platform import python_version
from typing import Annotated

import typer

from service.cli.output_format import Format
from service.cli.printing import json_of, plain
from service.kafka.rights import Who
from service.surroundings.asking import Asked, ask
from service.surroundings.checks import DOWN, Finding, Severity
from service.surroundings.of_settings import Known, examine

FOUND, UNREACHABLE = 1, 3

_ORDER = (Severity.ERROR, Severity.WARNING, Severity.NOTE)


def add_to(app: typer.Typer, _words: Sequence[str]) -> None:
    """Add this command."""
    app.command("doctor")(doctor)


def doctor(
    live: Annotated[
        bool, typer.Option("--live", help="Ask Kafka, Temporal and the schema registry, too.")
    ] = False,
    who: Annotated[
        list[Who] | None,
        typer.Option(help="Whose rights in Kafka to judge, if not those of bridge and worker together."),
    ] = None,
    format: Annotated[  # noqa: A002
        Format, typer.Option(help="text; json: one object per line.")
    ] = Format.TEXT,
) -> None:
    """Say all that is wrong around the service, with what it means and its cure; changes nothing.

    Without --live, what settings, route files and versions tell. Codes: docs/setup.md. Exit codes: 0 nothing
    was found but notes, 1 something was, 2 usage, 3 a neighbour is not there.
    """
    # As for `python -m`: the packages of the folder that it is called in are found.
    sys.path.insert(0, str(Path.cwd()))
    known = examine(os.environ)
    judged = frozenset(who or (Who.BRIDGE, Who.WORKER))
    asked = asyncio.run(ask(known, judged)) if live else Asked()
    findings = sorted([*known.findings, *asked.findings], key=lambda one: _ORDER.index(one.severity))
    for finding in findings:
        typer.echo(_json(finding) if format is Format.JSON else _text(finding))
    typer.echo(_summary(findings, known, asked, live=live), err=True)
    if any(one.code in DOWN for one in findings):
        raise typer.Exit(UNREACHABLE)
    if any(one.severity is not Severity.NOTE for one in findings):
        raise typer.Exit(FOUND)


def _text(finding: Finding) -> str:
    lines = [
        f"{finding.severity} {finding.code} {finding.thing}: {finding.problem}",
        f"so {finding.meaning}",
        *finding.cure.splitlines(),
    ]
    return "\n  ".join(plain(line) for line in lines)


def _json(finding: Finding) -> str:
    return json_of(
        {
            "code": finding.code,
            "severity": finding.severity,
            "thing": finding.thing,
            "problem": finding.problem,
            "meaning": finding.meaning,
            "cure": finding.cure,
        }
    )


def _summary(findings: Sequence[Finding], known: Known, asked: Asked, *, live: bool) -> str:
    counts = Counter(finding.severity for finding in findings)
    found = ", ".join(f"{counts[one]} {one}{'s' * (counts[one] > 1)}" for one in _ORDER if counts[one])
    return f"{', '.join(_looked_at(known, asked, live=live))}: {found or 'nothing found'}"


def _looked_at(known: Known, asked: Asked, *, live: bool) -> Iterator[str]:
    """What was looked at, and in which version."""
    yield f"Python {python_version()}"
    if known.table:
        count = len(known.table.routes)
        yield f"{count} route{'s' * (count != 1)}"
    if asked.kafka:
        count = asked.kafka.brokers
        yield f"Kafka with {count} broker{'s' * (count != 1)}"
    if asked.temporal:
        yield f"Temporal {asked.temporal.version}"
    if not live:
        yield "no server asked (--live)"
    elif known.table is None:
        yield "no server asked (first mend settings and routes)"
