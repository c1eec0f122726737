"""Standard output that may be full, or closed at its other end."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from service.errors import TurnoutError


class OutputLost(TurnoutError):  # noqa: N818 - a state of what we write to
    """What a command says does not arrive. `closed`: who read it has gone, and knows why."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"the output cannot be written: {error.strerror}")
        self.closed = error.errno == errno.EPIPE


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
