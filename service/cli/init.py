"""`turnout init`: a folder to begin with, in which everything passes as it is."""

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from service.errors import ConfigurationError

FILES = (
    "README.md",
    "events/visitor-came.json",
    "hello/__init__.py",
    "hello/greeting.py",
    "hello/words.py",
    "routes/hello.test.yaml",
    "routes/hello.yaml",
)


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command("init")(init)


def init(
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", file_okay=False, help="Where to; it is made if it is not there."),
    ] = Path(),
) -> None:
    """Write a folder to begin with: a route with its test, a workflow, an activity, an event.

    Files that are there are never touched: if one of them stands in the way, nothing is written.
    """
    if there := [name for name in FILES if (folder / name).exists()]:
        raise ConfigurationError(
            f"{', '.join(str(folder / name) for name in there)}: there already, so nothing was written; "
            "name a folder that is empty or not there yet"
        )
    try:
        for name in FILES:
            _write(folder / name, files("service.cli.starter").joinpath(name).read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{error.filename} cannot be written: {error.strerror}") from error
    for name in FILES:
        typer.echo(f"wrote {folder / name}")
    typer.echo(_next(folder))


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:  # never one that has come meanwhile
        file.write(content)


def _next(folder: Path) -> str:
    go_there = [] if folder == Path() else [f"cd {folder}"]
    commands = [
        *go_there,
        "turnout routes test --modules hello",
        "turnout dev --modules hello --task-queue hello",
    ]
    return "\n  ".join(["Next (README.md says more):", *commands])
