"""Static tokens: a file with one per line, read again when it changes, so that they rotate as we run."""

import hashlib
import hmac
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from service.api.auth import Caller, NotAllowed
from service.errors import ConfigurationError

log = structlog.get_logger(__name__)

LOOK_SECONDS = 1.0
"""The file is read at most so often."""

KEPT_SECONDS = 60.0
"""With a file that cannot be used, those read last are valid for so long: who writes it may not be done."""

LEAST_CHARACTERS = 16
MOST_BYTES = 1 << 20

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*", re.ASCII)
_NAME = re.compile(r"[!-~]{1,200}", re.ASCII)

Tokens = Mapping[bytes, str]
"""The digest of each token, and whose it is."""


class StaticTokens:
    """The tokens of a file; implements `Kind`.

    A line is a token, or a name, a blank and that one's token; empty lines and those that begin with # are
    left out. All of them are valid at once. A token without a name is called by digits made of it, which
    stay the same wherever its line stands.

    Args:
        file: The file.
        setting: The name of the setting that says where it is.
        clock: Monotonic seconds.

    Raises:
        ConfigurationError: The file cannot be read, or a line of it is no token; names the line.
    """

    def __init__(self, file: Path, setting: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._file = file
        self._setting = setting
        self._clock = clock
        self._text = self._read()
        self._tokens = self._parsed(self._text)
        self._looked = clock()
        self._problem = ""
        self._problem_since = 0.0

    async def caller(self, token: str) -> Caller | None:
        """Whose token it is.

        Raises:
            NotAllowed: The file could not be used for longer than a minute.
        """
        self._look()
        # All are compared, with digests of one length: the time tells nothing of what fits where.
        asked = _digest("token", token)
        name = None
        for digest, whose in self._tokens.items():
            if hmac.compare_digest(digest, asked):
                name = whose
        if name is not None:
            return Caller(name, "token")
        if not self._tokens:
            raise NotAllowed(
                "tokens cannot be checked at present", why=self._problem, cure=_MEND, unavailable=True
            )
        return None

    async def close(self) -> None:
        """Nothing is done in the background."""

    def _look(self) -> None:
        now = self._clock()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        try:
            text = self._read()
            if text != self._text or self._problem:
                tokens = self._parsed(text)
                log.info("tokens were read again", file=str(self._file), tokens=len(tokens))
                self._text, self._tokens, self._problem = text, tokens, ""
        except ConfigurationError as error:
            if not self._problem:
                self._problem_since = now
            if str(error) != self._problem:
                self._problem = str(error)
                log.warning(
                    "tokens cannot be read again; those read last are valid for a minute more",
                    reason=self._problem,
                    cure=_MEND,
                )
            if now - self._problem_since >= KEPT_SECONDS:
                self._tokens = {}

    def _read(self) -> bytes:
        try:
            with self._file.open("rb") as file:
                text = file.read(MOST_BYTES + 1)
        except OSError as error:
            raise self._wrong(f"cannot be read: {error.strerror}") from error
        if len(text) > MOST_BYTES:
            raise self._wrong("is larger than 1 MiB; write one token per line, and nothing else")
        return text

    def _parsed(self, text: bytes) -> Tokens:
        tokens: dict[bytes, str] = {}
        # Never decoded as a whole: an error's text would hold what stands there.
        for number, line in enumerate(text.decode("latin-1").split("\n"), start=1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            token = words[-1]
            name = words[0] if len(words) > 1 else f"token-{_digest('caller', token).hex()[:6]}"
            if len(words) > 2 or not _TOKEN.fullmatch(token) or len(token) < LEAST_CHARACTERS:
                raise self._wrong(
                    f"line {number} is no token of at least {LEAST_CHARACTERS} letters, digits and "
                    "- . _ ~ + / =, nor a name, a blank and a token; openssl rand -hex 32 makes one"
                )
            if not _NAME.fullmatch(name):
                raise self._wrong(f"the name in line {number} is not ASCII, or longer than 200 characters")
            tokens[_digest("token", token)] = name
        if not tokens:
            raise self._wrong("holds no token; write one per line, which openssl rand -hex 32 makes")
        return tokens

    def _wrong(self, problem: str) -> ConfigurationError:
        return ConfigurationError(f"{self._setting}={self._file} {problem}")


def _digest(use: str, token: str) -> bytes:
    return hashlib.sha256(f"{use} {token}".encode()).digest()


_MEND = "mend the file; it is read again within a second"
