"""Tokens to log in with: from a file, and from an endpoint that gives them for a while."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiokafka.conn
import pytest
from aiokafka.errors import SaslAuthenticationFailed
from hypothesis import given
from hypothesis import strategies as st

from service.errors import ConfigurationError
from service.kafka import tokens
from service.kafka.tokens import (
    EndpointTokens,
    NoToken,
    TokenEndpoint,
    TokenFile,
    end_of,
    http_client,
    see_refused_tokens,
)
from service.serving import Receive, Scope, Send
from tests.token_endpoint import Endpoint, jwt, token_endpoint

SECRET = "the-secret-of-the-client"


@dataclass
class Clock:
    """Seconds since 1970, as the tokens see them."""

    now: float = 1_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(tokens, "time", clock)
    return clock


# --- files ---


async def test_a_token_is_read_anew_for_each_login_and_one_that_has_ended_is_named(
    tmp_path: Path, clock: Clock
) -> None:
    file = tmp_path / "token"
    provider = TokenFile(file)
    with pytest.raises(NoToken, match=r"TURNOUT_KAFKA__TOKEN_FILE=.* cannot be read: No such file"):
        await provider.token()
    for text in (jwt(exp=clock.now + 1), "opaque", jwt(sub="no end")):
        file.write_text(f"{text}\n")
        assert await provider.token() == text
    file.write_text(jwt(exp=clock.now - 5))
    with pytest.raises(NoToken, match="ended 5 s ago; see to what writes it"):
        await provider.token()
    file.write_text("\n")
    with pytest.raises(NoToken, match="is empty; write the secret into it"):
        await provider.token()


@given(st.text(max_size=50) | st.from_regex(r"[\w-]*\.[\w-]*\.[\w-]*", fullmatch=True))
def test_any_text_has_an_end_or_none(text: str) -> None:
    assert end_of(text) is None or isinstance(end_of(text), float)


@given(st.integers(0, 1 << 40) | st.floats(0, 1e12))
def test_the_end_of_a_token_is_what_it_says(end: float) -> None:
    assert end_of(jwt(exp=end)) == end


@pytest.mark.parametrize(
    "claims", [{"exp": "soon"}, {"exp": True}, {"exp": None}, {}, {"exp": 10**400}, {"exp": float("nan")}]
)
def test_an_end_that_is_no_number_is_none(claims: Mapping[str, Any]) -> None:
    assert end_of(jwt(**claims)) is None


# --- endpoints ---


def provider_of(endpoint: Endpoint, **more: Any) -> EndpointTokens:
    return EndpointTokens(TokenEndpoint(endpoint.url, "turnout", **({"client_secret": SECRET} | more)))


async def test_a_token_is_used_until_most_of_its_time_is_over(clock: Clock) -> None:
    async with token_endpoint() as endpoint:
        provider = provider_of(endpoint, scope="kafka")
        for _ in range(3):
            assert await provider.token() == "one"
        assert endpoint.asked == [
            (f"turnout:{SECRET}", {"grant_type": ["client_credentials"], "scope": ["kafka"]})
        ]
        endpoint.answer = {"access_token": "two", "expires_in": 100}
        clock.now += 79
        assert await provider.token() == "one"
        clock.now += 2
        assert await provider.token() == "two"


async def test_while_the_endpoint_is_away_the_token_is_used_for_as_long_as_it_lasts(clock: Clock) -> None:
    async with token_endpoint() as endpoint:
        provider = provider_of(endpoint)
        assert await provider.token() == "one"
    clock.now += 99
    assert await provider.token() == "one"
    clock.now += 2
    with pytest.raises(NoToken, match=r"TURNOUT_KAFKA__TOKEN_URL=http://.* cannot be asked: .*"):
        await provider.token()


@pytest.mark.parametrize(
    ("answer", "lasts"),
    [
        ({"access_token": jwt(exp=1_000_010), "expires_in": None}, 8),
        ({"access_token": jwt(exp=1_000_010)}, 8),
        ({"access_token": "opaque"}, 48),
    ],
)
async def test_when_a_token_ends_is_told_by_the_endpoint_or_by_itself_or_guessed(
    clock: Clock, answer: Any, lasts: float
) -> None:
    async with token_endpoint() as endpoint:
        endpoint.answer = answer
        provider = provider_of(endpoint)
        await provider.token()
        clock.now += lasts - 0.5
        await provider.token()
        assert len(endpoint.asked) == 1
        clock.now += 1
        await provider.token()
        assert len(endpoint.asked) == 2


async def test_a_secret_of_the_client_is_read_anew_for_each_token(clock: Clock, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("first\n")
    async with token_endpoint() as endpoint:
        provider = provider_of(endpoint, client_secret=None, client_secret_file=file)
        await provider.token()
        file.write_text("second\n")
        clock.now += 90
        await provider.token()
        file.unlink()
        clock.now += 100
        with pytest.raises(NoToken, match=r"CLIENT_SECRET_FILE=.* cannot be read"):
            await provider.token()
    assert [who for who, _ in endpoint.asked] == ["turnout:first", "turnout:second"]


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (401, {"error": "invalid_client"}, "401 invalid_client; check TURNOUT_KAFKA__CLIENT_ID"),
        (400, {"error": "invalid_scope"}, "400 invalid_scope; check TURNOUT_KAFKA__TOKEN_SCOPE"),
        (400, {}, "400 without a reason; see its log"),
        (200, {}, "answered without access_token"),
        (200, {"access_token": 7}, "answered without access_token"),
        (200, [], "answered 200, and no JSON object; is it the right URL"),
        (404, b"<html>", "answered 404, and no JSON object; is it the right URL"),
    ],
)
async def test_an_endpoint_that_gives_no_token_is_named_with_the_reason(
    clock: Clock, status: int, answer: Any, said: str
) -> None:
    async with token_endpoint() as endpoint:
        endpoint.status, endpoint.answer = status, answer
        with pytest.raises(NoToken, match=said) as raised:
            await provider_of(endpoint).token()
    # The Kafka client goes on after an OSError, and ends its own tasks by anything that it does not know.
    assert isinstance(raised.value, OSError)
    assert SECRET not in str(raised.value) + repr(provider_of(endpoint)._endpoint)  # noqa: SLF001


def test_without_the_package_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'turnout\[api\]', or use "):
        http_client()


async def test_an_endpoint_that_never_answers_is_given_up(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "ANSWER_SECONDS", 0.1)
    async with token_endpoint() as endpoint:
        monkeypatch.setattr(Endpoint, "__call__", _silent)
        with pytest.raises(NoToken, match=r"did not answer within|cannot be asked: ReadTimeout"):
            await provider_of(endpoint).token()


async def _silent(_self: Endpoint, _scope: Scope, receive: Receive, _send: Send) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


# --- what the client makes of a refusal ---


async def test_a_token_that_the_broker_refuses_is_no_login(tmp_path: Path) -> None:
    see_refused_tokens()
    (tmp_path / "token").write_text("opaque")

    async def after(answer: bytes) -> Any:
        provider = TokenFile(tmp_path / "token")
        authenticator = aiokafka.conn.OAuthAuthenticator(sasl_oauth_token_provider=provider)
        first, _ = await authenticator.step(None)
        assert first == b"n,,\x01auth=Bearer opaque\x01\x01"
        return await authenticator.step(answer)

    assert await after(b"") is None
    with pytest.raises(SaslAuthenticationFailed, match=r"the broker refuses the token: .*invalid_token"):
        await after(b'{"status":"invalid_token"}')
