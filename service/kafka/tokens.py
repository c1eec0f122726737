"""Tokens for logins by OAUTHBEARER: from a file, or from an endpoint that gives them to clients."""

import asyncio
import base64
import json
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import aiokafka.conn
from aiokafka.abc import AbstractTokenProvider
from aiokafka.conn import OAuthAuthenticator
from aiokafka.errors import SaslAuthenticationFailed

from service.errors import ConfigurationError
from service.secret_files import secret_of

ANSWER_SECONDS = 5.0
"""How long an endpoint may take: a login waits for it, and with it whatever goes to that broker."""

USED_SHARE = 0.8
"""Of the time from a token's issue to its end, for which it is used for new logins."""

UNKNOWN_SECONDS = 60.0
"""For how long a token of which nobody says when it ends is used."""


class NoToken(ConnectionError):  # noqa: N818 - a state of a neighbour, mostly
    """There is no token to log in with now; says why and what to do.

    A ConnectionError, since the Kafka client would end its own tasks by anything that it does not know.
    """


class TokenFile(AbstractTokenProvider):  # type: ignore[misc] # aiokafka has no types
    """The token in a file, which another process keeps fresh; read anew for each login."""

    def __init__(self, file: Path) -> None:
        self._file = file

    async def token(self) -> str:
        """The token.

        Raises:
            NoToken: It cannot be read, or has ended.
        """
        try:
            token = secret_of(self._file, "TURNOUT_KAFKA__TOKEN_FILE")
        except ConfigurationError as error:
            raise NoToken(str(error)) from error
        if (ends_at := end_of(token)) is not None and ends_at <= time.time():
            ago = time.time() - ends_at
            msg = (
                f"the token in TURNOUT_KAFKA__TOKEN_FILE={self._file} ended {ago:.0f} s ago; "
                "see to what writes it"
            )
            raise NoToken(msg)
        return token


@dataclass(frozen=True, slots=True)
class TokenEndpoint:
    """Where tokens are given (OAuth 2.0, client credentials); the secret never appears in its text."""

    url: str
    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    client_secret_file: Path | None = None
    scope: str = ""
    ca_file: Path | None = None

    def secret(self) -> str:
        """The client's secret, as its file says now."""
        if self.client_secret_file:
            return secret_of(self.client_secret_file, "TURNOUT_KAFKA__CLIENT_SECRET_FILE")
        return self.client_secret or ""


class EndpointTokens(AbstractTokenProvider):  # type: ignore[misc] # aiokafka has no types
    """Tokens of an endpoint; one is used for all logins until most of its time is over, then a new one.

    While the endpoint is away, the old one is used for as long as it lasts.
    """

    def __init__(self, endpoint: TokenEndpoint) -> None:
        self._endpoint = endpoint
        self._asking = asyncio.Lock()
        self._token = ""
        self._new_at = self._ends_at = 0.0

    async def token(self) -> str:
        """The token.

        Raises:
            NoToken: The endpoint gives none, and there is none left.
        """
        async with self._asking:
            if time.time() >= self._new_at:
                try:
                    await self._ask()
                except NoToken:
                    if time.time() >= self._ends_at:
                        raise
            return self._token

    async def _ask(self) -> None:
        asked_at = time.time()
        answer = await self._answer()
        token = answer.get("access_token")
        if not isinstance(token, str) or not token:
            raise NoToken(f"{self._name} answered without access_token")
        lasts = _number(answer.get("expires_in"))
        ends_at = asked_at + lasts if lasts is not None else end_of(token)
        self._token = token
        self._ends_at = ends_at if ends_at is not None else asked_at + UNKNOWN_SECONDS
        self._new_at = asked_at + USED_SHARE * (self._ends_at - asked_at)

    async def _answer(self) -> Mapping[str, Any]:
        httpx, endpoint = http_client(), self._endpoint
        asked = {"grant_type": "client_credentials"} | ({"scope": endpoint.scope} if endpoint.scope else {})
        try:
            secret = endpoint.secret()
            context = ssl.create_default_context(cafile=endpoint.ca_file)
            async with httpx.AsyncClient(timeout=ANSWER_SECONDS, verify=context, trust_env=False) as client:
                # One bound on all of it: a slow body would pass those of the client.
                async with asyncio.timeout(ANSWER_SECONDS):
                    answer = await client.post(endpoint.url, data=asked, auth=(endpoint.client_id, secret))
        except ConfigurationError as error:
            raise NoToken(str(error)) from error
        except TimeoutError as error:
            raise NoToken(f"{self._name} did not answer within {ANSWER_SECONDS:.0f} s") from error
        except (OSError, httpx.HTTPError) as error:
            raise NoToken(f"{self._name} cannot be asked: {error or type(error).__name__}") from error
        try:
            told = answer.json()
        except ValueError:
            told = None
        if not isinstance(told, dict):
            raise NoToken(
                f"{self._name} answered {answer.status_code}, and no JSON object; is it the right URL?"
            )
        if answer.status_code != httpx.codes.OK:
            raise NoToken(self._refused(answer.status_code, str(told.get("error", ""))[:100]))
        return told

    def _refused(self, status: int, error: str) -> str:
        cures = {
            "invalid_client": "check TURNOUT_KAFKA__CLIENT_ID and TURNOUT_KAFKA__CLIENT_SECRET_FILE",
            "invalid_scope": "check TURNOUT_KAFKA__TOKEN_SCOPE",
            "unauthorized_client": "let this client use the grant client_credentials",
        }
        cure = cures.get(error, "see its log")
        return f"{self._name} refuses a token: {status} {error or 'without a reason'}; {cure}"

    @property
    def _name(self) -> str:
        return f"the token endpoint TURNOUT_KAFKA__TOKEN_URL={self._endpoint.url}"


def http_client() -> ModuleType:
    """The HTTP client.

    Raises:
        ConfigurationError: It is not installed.
    """
    try:
        import httpx
    except ImportError as error:
        msg = (
            "tokens are fetched by the package httpx: pip install 'turnout[api]', "
            "or use TURNOUT_KAFKA__TOKEN_FILE"
        )
        raise ConfigurationError(msg) from error
    return httpx


def end_of(token: str) -> float | None:
    """When a JWT ends (seconds since 1970); None for what is none, or does not say. Nothing is verified."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return None
    return _number(claims.get("exp")) if isinstance(claims, dict) else None


def _number(value: object) -> float | None:
    # What is no moment that anybody means is none: it may not even fit a float.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1 << 50:
        return None
    return float(value)


class _SeesRefusals(OAuthAuthenticator):  # type: ignore[misc] # aiokafka has no types
    async def step(self, payload: bytes | None) -> tuple[bytes, bool] | None:
        if payload:
            said = payload.decode(errors="replace")[:200]
            raise SaslAuthenticationFailed(f"the broker refuses the token: {said}")
        step: tuple[bytes, bool] | None = await super().step(payload)
        return step


@cache
def see_refused_tokens() -> None:
    """Let a login by a token that the broker refuses fail; may be called again.

    aiokafka 0.14 takes the broker's error for the end of a good login, and then the answer to its next
    request for a cluster without brokers. By RFC 7628 3.2.2 a good login is answered by nothing, a bad one
    by JSON.
    """
    aiokafka.conn.OAuthAuthenticator = _SeesRefusals
