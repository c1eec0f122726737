"""How far something is, for people who wait for it."""

from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn


class Bar:
    """How far it is, on the error output, if that is a terminal."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bar = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._bar.tasks:  # else it would print an empty line all the same
            self._bar.stop()

    def counted(self, offsets: int) -> None:
        """So many there are."""
        if self._console.is_terminal:
            self._bar.add_task("", total=offsets)
            self._bar.start()

    def moved(self, offsets: int) -> None:
        """So many are done."""
        if self._bar.tasks:
            self._bar.update(self._bar.tasks[0].id, completed=offsets)
