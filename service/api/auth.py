"""Who calls: a bearer token becomes the name of a caller, or a refusal that says nothing of the token."""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import structlog

from service.api import callers

log = structlog.get_logger(__name__)

MOST_TOKEN_CHARACTERS = 8 << 10
"""A longer token is not looked at."""

QUIET_SECONDS = 10.0
"""The same refusal is logged once in this time: whoever has no token must not fill the log."""

MISSING_EXTRA = (
    "TURNOUT_API__JWT__… needs the extra `api`; install it with pip install 'turnout[api]', or use "
    "TURNOUT_API__TOKEN_FILE alone"
)

_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/-]+=*) *", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls.

    Attributes:
        name: As the log may name them: printable, at most 200 characters.
        kind: How it is known who they are.
        subject: All that the token says of who they are, where that is more than the name.
    """

    name: str
    kind: Literal["token", "jwt"]
    subject: str = field(default="", compare=False, repr=False)

    @property
    def identity(self) -> str:
        """What tells them from all others, also from those with the same name."""
        return f"{self.kind} {self.subject or self.name}"


class NotAllowed(callers.NotAllowed):
    """The call is not let in; the text is for the client, short, and holds nothing of the token.

    Args:
        reason: What the client is told.
        why: What the log says besides: what is wrong with the token or with us, without the token.
        cure: What a person does about it.
        unavailable: We cannot tell at present, and the same token may be let in soon: HTTP 503, gRPC
            UNAVAILABLE. Else it is HTTP 401, gRPC UNAUTHENTICATED.
        presented: Whether a token came at all.

    Attributes:
        challenge: What the header `WWW-Authenticate` of a 401 says. Source: RFC 6750, section 3.
    """

    def __init__(
        self,
        reason: str,
        *,
        why: str = "",
        cure: str = "",
        unavailable: bool = False,
        presented: bool = True,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.why = why
        self.cure = cure
        self.unavailable = unavailable
        told = f' error="invalid_token", error_description="{reason}"' if presented else ""
        self.challenge = f"Bearer{told}"


class Kind(Protocol):
    """One kind of tokens."""

    async def caller(self, token: str) -> Caller | None:
        """Whose token it is; None if it is none of this kind.

        Raises:
            NotAllowed: It is of this kind, and not good; or we cannot tell at present.
        """
        ...

    async def close(self) -> None:
        """End what is done in the background."""
        ...


class Bearer:
    """Lets in who has a good token of any of the `kinds`, asked in their order.

    Args:
        kinds: At least one.
        clock: Monotonic seconds.
    """

    def __init__(self, kinds: Sequence[Kind], clock: Callable[[], float] = time.monotonic) -> None:
        self._kinds = kinds
        self._clock = clock
        self._said: dict[str, float] = {}

    async def check(self, authorization: str | None) -> Caller:
        """Who calls with this text of the header `Authorization`.

        Takes as long as fetching the keys of the issuer where that is due, else microseconds; changes
        nothing, and may be repeated.

        Raises:
            NotAllowed: Nobody whom we let in; or we cannot tell at present.
        """
        try:
            return await self._caller(_token(authorization))
        except NotAllowed as refused:
            self._say(refused)
            raise

    async def close(self) -> None:
        """End what is done in the background."""
        for kind in self._kinds:
            await kind.close()

    async def _caller(self, token: str) -> Caller:
        refused: NotAllowed | None = None
        for kind in self._kinds:
            try:
                caller = await kind.caller(token)
            except NotAllowed as error:
                refused = error
            else:
                if caller is not None:
                    return caller
        raise refused or NotAllowed(
            "the token is not known",
            cure="the caller takes a token that is in TURNOUT_API__TOKEN_FILE, or one of the issuer",
        )

    def _say(self, refused: NotAllowed) -> None:
        now = self._clock()
        if now - self._said.get(refused.reason, -QUIET_SECONDS) < QUIET_SECONDS:
            return
        self._said[refused.reason] = now
        log.warning("a call was not let in", reason=refused.reason, why=refused.why, cure=refused.cure)


def _token(authorization: str | None) -> str:
    if not authorization:
        raise NotAllowed(
            "a bearer token is needed", cure="the caller sends `Authorization: Bearer …`", presented=False
        )
    if len(authorization) > MOST_TOKEN_CHARACTERS + len("Bearer "):
        raise NotAllowed(
            "the token is too long",
            why=f"{len(authorization):,} characters, and at most {MOST_TOKEN_CHARACTERS:,} are looked at",
            cure="the issuer puts less into it",
        )
    found = _BEARER.fullmatch(authorization)
    if not found:
        raise NotAllowed(
            "the header Authorization holds no bearer token",
            why="it is not the word Bearer, a blank and a token of letters, digits and - . _ ~ + / =",
            cure="the caller sends `Authorization: Bearer …`",
        )
    return found[1]
