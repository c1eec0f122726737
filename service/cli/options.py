"""Options that several commands have, with one meaning and one help text."""

from pathlib import Path
from typing import Annotated

import typer

RoutePaths = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="PATH…",
        exists=True,
        help="Files or folders, read as one; TURNOUT_ROUTES if none is given.",
    ),
]
Modules = Annotated[
    str | None,
    typer.Option(help="Packages with workflows, with commas, whose inputs are known; or the setting."),
]
