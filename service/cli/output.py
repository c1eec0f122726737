"""Where a command writes: a file, or standard output, which may be full, or closed at its other end."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from service.errors import ConfigurationError, TurnoutError


class OutputLost(TurnoutError):  # noqa: N818 - a state of what we write to
    """What a command says does not arrive. `closed`: who read it has gone, and knows why."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"the output cannot be written: {error.strerror}")
        self.closed = error.errno == errno.EPIPE


def open_what_is_closed() -> None:
    """Have what is written to a standard stream that was closed before we began (`>&-`) go nowhere.

    Also so that no connection gets its number, to which others than us may still write.
    """
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            number = os.open(os.devnull, os.O_RDWR)  # the least that is free, so that of the stream
            setattr(sys, name, os.fdopen(number, "r" if name == "stdin" else "w"))


class Output:
    """`stream`, whose errors are told from those of all else.

    Raises:
        OutputLost: By each `write` and `flush` that fails.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """See `TextIO.write`."""
        with _told_apart():
            return self._stream.write(text)

    def flush(self) -> None:
        """See `TextIO.flush`."""
        with _told_apart():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def _told_apart() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputLost(error) from error


def put(text: str, file: Path | None) -> None:
    """Write `text` to `file`, or print it where none is named.

    Raises:
        ConfigurationError: The file cannot be written.
    """
    if file is None:
        sys.stdout.write(text)
        return
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be written: {error.strerror}") from error
