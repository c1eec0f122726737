"""Settings become what lets callers of the handler API, and of the codec server, in."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import structlog

from service.api.auth import Bearer, Kind
from service.api.jwt_tokens import JwtTokens, Rules
from service.api.keys import KeyFile, Keys, KeyServer, KeySource, Patience
from service.api.tokens import StaticTokens
from service.errors import ConfigurationError
from service.settings import ApiSettings, JwtSettings

log = structlog.get_logger(__name__)

SERVER_FRESH, SERVER_BETWEEN = timedelta(minutes=5), timedelta(seconds=10)
FILE_FRESH = timedelta(seconds=1)


def guarding(api: ApiSettings) -> AbstractAsyncContextManager[Bearer | None]:
    """What lets callers of the handler API in: see `letting_in`."""
    return letting_in(api.token_file, "TURNOUT_API__TOKEN_FILE", api.jwt)


@asynccontextmanager
async def letting_in(token_file: Path | None, setting: str, jwt: JwtSettings) -> AsyncIterator[Bearer | None]:
    """What lets callers in, for the time of the block; None where nobody needs a token.

    A key server that is not there now holds up nothing: until it answers, calls are answered 503.

    Raises:
        ConfigurationError: A file cannot be used, or the extra `api` is not installed.
    """
    kinds: list[Kind] = []
    if token_file:
        kinds.append(StaticTokens(token_file, setting))
    if jwt.jwks:
        kinds.append(await _jwt(jwt))
    if not kinds:
        yield None
        return
    bearer = Bearer(kinds)
    try:
        yield bearer
    finally:
        await bearer.close()


async def _jwt(jwt: JwtSettings) -> JwtTokens:
    source: KeySource
    if at_server := jwt.jwks.startswith(("https:", "http:")):
        source = KeyServer(jwt.jwks, jwt.tls_ca_file)
        patience = Patience(SERVER_FRESH, max(jwt.keys_kept, SERVER_FRESH), SERVER_BETWEEN)
    else:
        source = KeyFile(Path(jwt.jwks))
        patience = Patience(FILE_FRESH, max(jwt.keys_kept, FILE_FRESH), FILE_FRESH)
    keys = Keys(source, jwt.signed, patience)
    problem = await keys.read()
    if problem and not at_server:
        raise ConfigurationError(f"TURNOUT_API__JWT__JWKS={jwt.jwks}: {problem}")
    return JwtTokens(Rules(jwt.issuer, jwt.audiences, jwt.signed), keys)
