"""Files that hold secrets: read with words for what is wrong, and looked at again while they are in use."""

import stat
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from service.errors import ConfigurationError

LOOK_SECONDS = 1.0
"""How often, at most, it is looked whether files have changed."""


def text_of(file: Path, setting: str) -> str:
    """What `file` holds, without white space around it.

    Raises:
        ConfigurationError: It cannot be read; names the setting.
    """
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        msg = f"{setting}={file} cannot be read: {reason}"
        raise ConfigurationError(msg) from error


def secret_of(file: Path, setting: str) -> str:
    """What `file` holds, without white space around it.

    Raises:
        ConfigurationError: It cannot be read, or is empty.
    """
    if text := text_of(file, setting):
        return text
    msg = f"{setting}={file} is empty; write the secret into it"
    raise ConfigurationError(msg)


def read_by_others(files: Sequence[tuple[str, Path | None]]) -> Iterator[str]:
    """What to tell about secret files, given with their settings, that everybody here can read."""
    for setting, file in files:
        try:
            mode = file.stat().st_mode if file else 0
        except OSError:
            continue  # who reads it says so
        if mode & stat.S_IROTH:
            yield (
                f"{setting}={file} can be read by everybody on this machine; take that away: "
                f"chmod o-rwx {file}, or defaultMode: 0440 of a Kubernetes volume"
            )


class Watched:
    """Whether files have changed, be they replaced or written anew; looks once a second at most.

    Args:
        files: Which; one that is absent has changed when it is there.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files
        self._seen = self._state()
        self._looked_at = time.monotonic()

    def changed(self) -> bool:
        """Whether they have changed since the last `True`, or since the beginning."""
        if not self._files or time.monotonic() - self._looked_at < LOOK_SECONDS:
            return False
        self._looked_at = time.monotonic()
        before, self._seen = self._seen, self._state()
        return before != self._seen

    def look_again(self) -> None:
        """Take them as changed at the next look: what they held could not be used."""
        self._seen = ()

    def _state(self) -> tuple[tuple[int, ...], ...]:
        return tuple(map(_version, self._files))


def _version(file: Path) -> tuple[int, ...]:
    try:
        state = file.stat()
    except OSError:
        return ()
    return state.st_mtime_ns, state.st_size, state.st_ino
