"""The public keys of an issuer: read from its key set, kept for a while, read again when one is not known."""

import asyncio
import json
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from service.api.auth import MISSING_EXTRA, NotAllowed
from service.errors import ConfigurationError, TurnoutError

if TYPE_CHECKING:
    import jwt

log = structlog.get_logger(__name__)

MOST_BYTES = 1 << 20
MOST_KEYS = 100
ANSWER_SECONDS = 5.0
LEAST_RSA_BITS = 2048

ALGORITHMS: Mapping[str, Mapping[str, str]] = {
    **{f"{kind}S{bits}": {"kty": "RSA"} for kind in "RP" for bits in (256, 384, 512)},
    "ES256": {"kty": "EC", "crv": "P-256"},
    "ES384": {"kty": "EC", "crv": "P-384"},
    "ES512": {"kty": "EC", "crv": "P-521"},
    "EdDSA": {"kty": "OKP", "crv": "Ed25519"},
}
"""How a token may be signed, and what a key for it looks like. All with a key pair: what is signed with a
secret could be made by everyone who can read the key set."""

_PUBLIC = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
_NONE_YET = float("inf")


class KeysMissing(TurnoutError):  # noqa: N818 - a state of a neighbour, not a fault
    """The keys cannot be had now; the text says why."""


class KeySource(Protocol):
    """Where a key set is."""

    async def read(self) -> bytes:
        """The key set, at most a mebibyte.

        Raises:
            KeysMissing: It cannot be had.
        """
        ...


class KeyFile:
    """A key set in a file; implements `KeySource`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __str__(self) -> str:
        return str(self._path)

    async def read(self) -> bytes:
        """What stands in the file."""
        try:
            with self._path.open("rb") as file:
                text = file.read(MOST_BYTES + 1)
        except OSError as error:
            raise KeysMissing(f"{self} cannot be read: {error.strerror}") from error
        return _not_too_long(text, self)


class KeyServer:
    """A key set at an address; implements `KeySource`. No redirects: who may answer is who was named.

    Raises:
        ConfigurationError: The extra `api` is not installed, or `ca_file` cannot be used.
    """

    def __init__(self, url: str, ca_file: Path | None = None) -> None:
        try:
            import httpx
        except ImportError as error:
            raise ConfigurationError(MISSING_EXTRA) from error
        self._httpx = httpx
        self._url = url
        try:
            self._tls = ssl.create_default_context(cafile=ca_file)
        except OSError as error:  # ssl.SSLError is one
            raise ConfigurationError(
                f"TURNOUT_API__JWT__TLS_CA_FILE={ca_file} cannot be used: {error.strerror or error}; "
                "write a file with certificates in PEM"
            ) from error

    def __str__(self) -> str:
        return self._url

    async def read(self) -> bytes:
        """What the server answers within five seconds."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS), self._httpx.AsyncClient(verify=self._tls) as client:
                return await self._ask(client)
        except TimeoutError as error:
            raise KeysMissing(f"{self} does not answer within {ANSWER_SECONDS:.0f} s") from error
        except (self._httpx.HTTPError, self._httpx.InvalidURL) as error:
            raise KeysMissing(f"{self} does not answer: {error or type(error).__name__}") from error

    async def _ask(self, client: Any) -> bytes:
        async with client.stream("GET", self._url, headers={"accept": "application/json"}) as answer:
            if answer.status_code != 200:
                raise KeysMissing(f"{self} answers HTTP {answer.status_code}")
            text = b""
            async for part in answer.aiter_bytes():
                text = _not_too_long(text + part, self)
            return text


def _not_too_long(text: bytes, source: object) -> bytes:
    if len(text) > MOST_BYTES:
        raise KeysMissing(f"{source} is larger than 1 MiB, and so no key set")
    return text


@dataclass(frozen=True, slots=True)
class Patience:
    """How long keys are good for.

    Attributes:
        fresh: Then the key set is read again, so that a key which was taken out ends.
        kept: So long the keys are used when it cannot be read again.
        between: The time between two reads, at least.
    """

    fresh: timedelta
    kept: timedelta
    between: timedelta


class Keys:
    """The keys of one issuer.

    Args:
        source: Where its key set is.
        algorithms: How tokens may be signed: some of `ALGORITHMS`.
        patience: How long keys are good for.
        clock: Monotonic seconds.

    Raises:
        ConfigurationError: The extra `api` is not installed.
    """

    def __init__(
        self,
        source: KeySource,
        algorithms: tuple[str, ...],
        patience: Patience,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        try:
            import jwt
        except ImportError as error:
            raise ConfigurationError(MISSING_EXTRA) from error
        self._jwt = jwt
        self._source = source
        self._algorithms = algorithms
        self._fresh = patience.fresh.total_seconds()
        self._kept = patience.kept.total_seconds()
        self._between = patience.between.total_seconds()
        self._clock = clock
        self._text = b""
        self._keys: dict[str, dict[str | None, list[jwt.PyJWK]]] = {}
        self._read_at = -_NONE_YET
        self._tried_at = -_NONE_YET
        self._why = ""
        self._reading: asyncio.Task[None] | None = None

    async def read(self) -> str:
        """Read the key set now; what is wrong with it, or nothing."""
        await self._again()
        return self._why

    async def key(self, key_id: str | None, algorithm: str) -> "jwt.PyJWK":
        """The key of that id which makes signatures of that kind; without an id, the only one.

        Raises:
            NotAllowed: There is none; or the key set cannot be read, and the keys are too old, or it is
                one that we do not know.
        """
        age = self._clock() - self._read_at
        if age > self._kept or (age > self._fresh and not self._why):
            await self._again()
        elif age > self._fresh:  # it did not answer the last time: nobody waits for it again
            self._begin()
        if self._clock() - self._read_at > self._kept:
            raise self._unavailable()
        found = self._found(key_id, algorithm)
        if not found:
            await self._again()
            found = self._found(key_id, algorithm)
        if not found:
            raise self._unavailable() if self._why else self._unknown(key_id, algorithm)
        if len(found) > 1:
            raise NotAllowed(
                "the token does not say which key it was signed with",
                why=f"{len(found)} keys of {self._source} fit {algorithm}",
                cure="the issuer puts the id of the key into the header `kid`, one id for one key",
            )
        return found[0]

    async def close(self) -> None:
        """End a read that is under way."""
        if self._reading:
            self._reading.cancel()
            await asyncio.wait([self._reading])

    def _found(self, key_id: str | None, algorithm: str) -> "list[jwt.PyJWK]":
        by_id = self._keys.get(algorithm, {})
        return (
            by_id.get(key_id, []) if key_id is not None else [key for keys in by_id.values() for key in keys]
        )

    def _unavailable(self) -> NotAllowed:
        return NotAllowed(
            "tokens cannot be checked at present",
            why=f"the keys of the issuer cannot be had: {self._why}",
            cure="see that TURNOUT_API__JWT__JWKS is right and answers",
            unavailable=True,
        )

    def _unknown(self, key_id: str | None, algorithm: str) -> NotAllowed:
        what = "without `kid`" if key_id is None else f"`kid` {key_id[:100]!r}"
        return NotAllowed(
            "the token is signed with a key that is not known",
            why=f"{self._source} has no key for {algorithm}, {what}",
            cure="the caller gets a new token; else see that TURNOUT_API__JWT__JWKS is that of its issuer",
        )

    async def _again(self) -> None:
        """Read the key set, if that was not done just now; together with all who wait for the same."""
        self._begin()
        if self._reading:
            await asyncio.shield(self._reading)

    def _begin(self) -> None:
        if not self._reading and self._clock() - self._tried_at >= self._between:
            self._tried_at = self._clock()
            self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            text = await self._source.read()
            if text != self._text or not self._keys:
                self._keys = self._parsed(text)
                self._text = text
                ids = sorted({str(key_id) for keys in self._keys.values() for key_id in keys})
                log.info("keys of the issuer were read", jwks=str(self._source), keys=ids)
        except KeysMissing as error:
            if str(error) != self._why:
                self._why = str(error)
                log.warning("keys of the issuer cannot be read", reason=self._why, cure=_GOES_ON)
        else:
            if self._why:
                log.info("keys of the issuer can be read again", jwks=str(self._source))
            self._why = ""
            self._read_at = self._clock()
        finally:
            self._reading = None

    def _parsed(self, text: bytes) -> "dict[str, dict[str | None, list[jwt.PyJWK]]]":
        try:
            keys = json.loads(text)["keys"]
            entries = [one for one in keys if isinstance(one, dict)][:MOST_KEYS]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise KeysMissing(f"{self._source} is no key set: no JSON object with a list `keys`") from error
        known: dict[str, dict[str | None, list[jwt.PyJWK]]] = {}
        for algorithm in self._algorithms:
            for entry in entries:
                if key := self._made(entry, algorithm):
                    key_id = entry.get("kid")
                    named = key_id if isinstance(key_id, str) else None
                    known.setdefault(algorithm, {}).setdefault(named, []).append(key)
        if not known:
            raise KeysMissing(
                f"none of the {len(entries)} keys of {self._source} makes signatures of "
                f"{', '.join(self._algorithms)}; see TURNOUT_API__JWT__ALGORITHMS"
            )
        return known

    def _made(self, entry: Mapping[str, Any], algorithm: str) -> "jwt.PyJWK | None":
        """The public key of an entry, if it is one for `algorithm`; others may stand beside it."""
        if any(entry.get(name) != value for name, value in ALGORITHMS[algorithm].items()):
            return None
        if entry.get("use", "sig") != "sig" or entry.get("alg", algorithm) != algorithm:
            return None
        # Only what is public: a key set that shows a private key by mistake is still one to check with.
        public = {name: entry[name] for name in _PUBLIC[entry["kty"]] if name in entry}
        try:
            key = self._jwt.PyJWK({"kty": entry["kty"], **public}, algorithm)
        except (self._jwt.PyJWTError, ValueError, TypeError, KeyError):
            return None
        weak = entry["kty"] == "RSA" and key.key.key_size < LEAST_RSA_BITS
        return None if weak else key


_GOES_ON = (
    "see that TURNOUT_API__JWT__JWKS is right and answers; the keys read last are used for "
    "TURNOUT_API__JWT__KEYS_KEPT, then calls with such tokens are answered 503"
)
