"""`turnout routes test`: run the tests that stand beside the routes."""

import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli.counting import counted
from service.cli.junit import Ran, write_junit
from service.cli.options import Modules
from service.cli.printing import json_of, plain
from service.desk import Examination, examination
from service.dispatch.coverage import Gap
from service.dispatch.differences import ABSENT
from service.dispatch.examining import Fault
from service.errors import ConfigurationError
from service.routing.entries import Entry, routes_in
from service.routing.files import is_test
from service.routing.route_tests import RouteTest
from service.settings import WorkerSettings, load_settings

FAILED = 1


def add_to(family: typer.Typer) -> None:
    """Add this command."""
    family.command("test")(run_tests)


def run_tests(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATH…",
            exists=True,
            help="Folders with routes and tests, or files of either; TURNOUT_ROUTES if none is given.",
        ),
    ] = None,
    routes: Annotated[
        Path | None,
        typer.Option(exists=True, help="The routes, where no PATH holds them; or TURNOUT_ROUTES."),
    ] = None,
    modules: Modules = None,
    matching: Annotated[
        str, typer.Option("-k", "--matching", help="Only tests with this in their name or file.")
    ] = "",
    cover: Annotated[
        bool, typer.Option("--cover", help="Fail when something of the routes is seen by no test.")
    ] = False,
    junit: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write the results to this file, too, as JUnit XML.")
    ] = None,
) -> None:
    """Run the tests of routes, *.test.yaml beside them; needs no servers.

    The payload is shown. Exit codes: 0 all passed; 1 a test failed, or routes or tests are not as they must
    be, or with --cover something was seen by no test; 2 usage.
    """
    if cover and matching:
        raise typer.BadParameter("some of the tests do not cover all", param_hint="--cover")
    # As for `python -m`: the packages of the folder that it is called in are found.
    sys.path.insert(0, str(Path.cwd()))
    settings = load_settings(need_group=False)
    packages = settings.worker.packages if modules is None else WorkerSettings(modules=modules).packages
    tests = paths or [routes or settings.routes]
    of_routes = [routes] if routes else [path for path in tests if not is_test(path)] or [settings.routes]
    ready = examination(settings, of_routes, tests, packages)
    if not ready.tests.tests:
        where = ", ".join(map(str, tests))
        raise ConfigurationError(f"there are no tests of routes in {where}; write some in NAME.test.yaml")
    ran = _run(ready, matching)
    for line in _results(ran):
        typer.echo(line)
    typer.echo(_summary(ran), err=True)
    gaps = [] if matching else _gaps(ready)
    for line in gaps:
        typer.echo(line)
    if junit:
        write_junit(junit, ran, gaps if cover else ())
    if any(one.failed for one in ran) or (cover and gaps):
        raise typer.Exit(FAILED)


def _run(ready: Examination, matching: str) -> Sequence[Ran]:
    ran: list[Ran] = []
    for test in ready.tests.tests:
        if matching.casefold() not in f"{test.path} {test.name}".casefold():
            continue
        began = time.perf_counter()
        faults = ready.examining.faults(test)
        seconds = time.perf_counter() - began
        ran.append(Ran(test, [line for fault in faults for line in _lines(test, fault)], seconds))
    if not ran:
        raise typer.BadParameter(f"no test has {matching!r} in its name or file", param_hint="-k")
    return ran


# --- for people ---


def _results(ran: Sequence[Ran]) -> Iterator[str]:
    for path in dict.fromkeys(one.test.path for one in ran):
        of_file = [one for one in ran if one.test.path == path]
        yield f"{path}: {_counted(of_file)}"
        for one in of_file:
            if one.failed:
                yield f"FAILED {plain(one.test.name)}"
                yield from (f"  {line}" for line in one.failed)


def _counted(ran: Sequence[Ran]) -> str:
    counts = Counter("failed" if one.failed else "passed" for one in ran)
    return ", ".join(f"{counts[word]} {word}" for word in ("passed", "failed") if counts[word])


def _summary(ran: Sequence[Ran]) -> str:
    files = len({one.test.path for one in ran})
    return f"{counted(len(ran), 'test')} in {counted(files, 'file')}: {_counted(ran)}"


def _lines(test: RouteTest, fault: Fault) -> Iterator[str]:
    line, column = test.position(*fault.loc)
    cure = f"; {fault.cure}" if fault.cure else ""
    yield plain(f"{test.path}:{line}:{column}: {fault.problem}{cure}")
    if fault.compares:
        yield plain(f"  expected: {_shown(fault.expected)}")
        yield plain(f"  got:      {_shown(fault.got)}")
    for name, value in fault.values.items():
        yield plain(f"  {name} is {json_of(value)}")


def _shown(value: Any) -> str:
    return "nothing" if value is ABSENT else json_of(value)


# --- what no test has seen ---


def _gaps(ready: Examination) -> Sequence[str]:
    """One line for each."""
    coverage = ready.examining.coverage
    gaps = coverage.gaps()
    typer.echo(f"{coverage.covered} of {coverage.total} routes are covered", err=True)
    entries = {str(entry.text("name")): entry for one in ready.documents for entry in routes_in(one)}
    rows = [(_place(gap, entries), gap.route.name, gap.unseen) for gap in gaps]
    widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    return [
        plain(f"{place:{widths[0]}}  {name:{widths[1]}}  no test has seen {unseen}")
        for place, name, unseen in rows
    ]


def _place(gap: Gap, entries: Mapping[str, Entry]) -> str:
    entry = entries[gap.route.name]
    line, column = entry.document.position((*entry.loc, *(["when"] if gap.of_when else ["name"])))
    return f"{entry.document.path}:{line}:{column}"
