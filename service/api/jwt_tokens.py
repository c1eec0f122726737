"""JSON Web Tokens of one issuer, for us, signed with a key of its key set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from service.api.auth import MISSING_EXTRA, Caller, NotAllowed
from service.api.keys import Keys
from service.errors import ConfigurationError

LEEWAY_SECONDS = 10
"""How far the issuer's clock may be from ours."""

NAME_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Rules:
    """What a token must be: all of it as the settings have it."""

    issuer: str
    audiences: Sequence[str]
    algorithms: Sequence[str]


class JwtTokens:
    """Tokens signed by an issuer; implements `Kind`.

    Source: RFC 7519, and RFC 8725 for what is to be refused.

    Args:
        rules: What a token must be.
        keys: The issuer's keys.

    Raises:
        ConfigurationError: The extra `api` is not installed.
    """

    def __init__(self, rules: Rules, keys: Keys) -> None:
        try:
            import jwt
        except ImportError as error:
            raise ConfigurationError(MISSING_EXTRA) from error
        self._jwt = jwt
        self._rules = rules
        self._keys = keys
        self._refusals: Mapping[type[Exception], tuple[str, str]] = {
            jwt.ExpiredSignatureError: ("the token has expired", "the caller gets a new one"),
            jwt.ImmatureSignatureError: (
                "the token is not valid yet",
                "compare our clock with that of the issuer",
            ),
            jwt.InvalidAudienceError: (
                "the token is for another audience",
                f"`aud` must have one of TURNOUT_API__JWT__AUDIENCE: {', '.join(rules.audiences)}",
            ),
            jwt.InvalidIssuerError: (
                "the token is of another issuer",
                f"TURNOUT_API__JWT__ISSUER is {rules.issuer}, and `iss` must be the same text",
            ),
            jwt.MissingRequiredClaimError: (
                "the token lacks exp, iss or aud",
                "the issuer puts all three of them into it",
            ),
            jwt.InvalidSignatureError: (
                "the token's signature is wrong",
                "the caller gets a new one, and sends it unchanged",
            ),
        }

    async def caller(self, token: str) -> Caller | None:
        """The subject of the token.

        Raises:
            NotAllowed: It is not good, or its key cannot be had at present.
        """
        if token.count(".") != 2:
            return None
        try:
            header = self._jwt.get_unverified_header(token)
            algorithm = header.get("alg")
            if not isinstance(algorithm, str) or algorithm not in self._rules.algorithms:
                raise NotAllowed(
                    "the token is signed in a way that is not accepted",
                    why=f"its `alg` is {_shown(algorithm)}",
                    cure=f"TURNOUT_API__JWT__ALGORITHMS has {', '.join(self._rules.algorithms)}",
                )
            key = await self._keys.key(header.get("kid"), algorithm)
            claims = self._jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=self._rules.audiences,
                issuer=self._rules.issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud"]},
            )
        except self._jwt.PyJWTError as error:
            raise self._refusal(error) from None  # its text may hold values of the token
        claim, subject = _subject(claims)
        # Two tokens that name nobody are not known to be of one caller.
        identity = f"{claim} {subject}" if claim else sha256(token.encode()).hexdigest()
        return Caller(_printable(subject), "jwt", identity)

    async def close(self) -> None:
        """End what is done in the background."""
        await self._keys.close()

    def _refusal(self, error: Exception) -> NotAllowed:
        for kind, (reason, cure) in self._refusals.items():
            if isinstance(error, kind):
                return NotAllowed(reason, cure=cure)
        return NotAllowed(
            "the token is no JSON Web Token that can be read",
            why=type(error).__name__,
            cure="the caller sends it unchanged",
        )


def _subject(claims: Mapping[str, Any]) -> tuple[str, str]:
    """Which claim says who it is, and what: the subject, or the client of an issuer that names none."""
    for claim in ("sub", "client_id", "azp"):
        if isinstance(name := claims.get(claim), str) and name:
            return claim, name
    return "", "?"


def _printable(name: str) -> str:
    return "".join(one if one.isprintable() else "?" for one in name[:NAME_CHARACTERS])


def _shown(value: object) -> str:
    return repr(value[:20]) if isinstance(value, str) else "no text"
