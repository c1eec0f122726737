"""The HTTP skin alone: who is let in, and connections that are too many, silent or never done."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from service import serving
from service.api import http
from service.api.http import serving_http
from service.api.models import Call, Described, Target
from service.callers import guarding
from service.errors import ConfigurationError
from service.events.strict_json import Limits
from service.settings import ApiSettings, JwtSettings
from tests.issuer import AUDIENCE, ISSUER, Issuer
from tests.servers import random_port

HERE = "/v1/workflows/a"


class Describing:
    """A handler that knows one workflow, and can be made to wait or to break."""

    limits = Limits()

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.go = asyncio.Event()
        self.go.set()
        self.three = asyncio.Event()
        self.broken = False
        self.begun, self.given_up = asyncio.Event(), asyncio.Event()

    async def describe(self, asked: Target, call: Call) -> Described:
        self.calls.append(call)
        self.begun.set()
        if len(self.calls) == 3:
            self.three.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.given_up.set()
            raise
        if self.broken:
            raise RuntimeError("s3cret")
        return Described(
            workflow_id=asked.workflow_id,
            run_id="r",
            namespace="default",
            workflow="W",
            task_queue="q",
            status="running",
            started_at=datetime.now(UTC),
            closed_at=None,
            history_events=3,
            workers=None,
            url="",
        )


@asynccontextmanager
async def served(
    guard: Any = None, connections: int = 50
) -> AsyncIterator[tuple[Describing, httpx.AsyncClient]]:
    handler, address = Describing(), f"127.0.0.1:{random_port()}"
    async with (
        serving_http(handler, guard, address, connections=connections),  # type: ignore[arg-type]
        httpx.AsyncClient(base_url=f"http://{address}", timeout=20, trust_env=False) as client,
    ):
        yield handler, client


# --- who is let in ---


async def test_only_good_tokens_are_let_in_and_calls_are_their_callers(tmp_path: Path) -> None:
    issuer, keys = Issuer(), tmp_path / "keys.json"
    keys.write_bytes(issuer.key_set())
    api = ApiSettings(jwt=JwtSettings(jwks=str(keys), issuer=ISSUER, audience=AUDIENCE))
    async with guarding(api) as guard, served(guard) as (handler, client):
        bad = {
            "expired": issuer.token(exp=-300.0),
            "for another": issuer.token(aud="elsewhere"),
            "of another": issuer.token(iss="https://elsewhere"),
            "no token": "x.y.z",
        }
        for path in (HERE, "/openapi.json"):
            for token in bad.values():
                refused = await client.get(path, headers={"authorization": f"Bearer {token}"})
                told = refused.json()
                assert (refused.status_code, told["type"]) == (401, "urn:turnout:problem:unauthenticated")
                assert refused.headers["www-authenticate"].startswith('Bearer error="invalid_token"')
                assert token not in refused.text
            missing = await client.get(path)
            assert (missing.status_code, missing.headers["www-authenticate"]) == (401, "Bearer")
        assert handler.calls == []
        good = {"authorization": f"Bearer {issuer.token(sub='orders')}", "origin": "https://shop"}
        assert (await client.get(HERE, headers=good)).status_code == 200
        assert [call.caller for call in handler.calls] == ["orders"]
        assert "security" in (await client.get("/openapi.json", headers=good)).json()


async def test_two_tokens_are_refused_whichever_is_good(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("a-token-that-is-long-enough-to-be-one\n")
    headers = [("authorization", f"Bearer {one}") for one in (tokens.read_text().strip(), "x")]
    async with guarding(ApiSettings(token_file=tokens)) as guard, served(guard) as (handler, client):
        for both in (headers, headers[::-1]):
            answer = await client.get(HERE, headers=both)
            assert answer.status_code == 400
            assert answer.json()["detail"] == "header authorization is repeated; send it once"
        assert handler.calls == []


async def test_a_large_body_of_a_stranger_is_not_kept(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("a-token-that-is-long-enough-to-be-one\n")
    async with guarding(ApiSettings(token_file=tokens)) as guard, served(guard) as (_, client):
        refused = await client.post("/v1/workflows", content=b"x" * (1 << 20))
        assert refused.status_code == 401
        assert refused.headers["connection"] == "close"


async def test_who_waits_to_go_on_with_a_large_body_is_answered_instead() -> None:
    async with served() as (_, client):
        line = await _Line.to(client)
        head = "POST /v1/workflows HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n"
        line.say(f"{head}content-length: 3000000\r\n\r\n")
        assert (await line.answer())[0] == 413
        assert await line.ended()
        line.close()


# --- answers ---


async def test_a_defect_of_ours_is_said_without_what_it_holds() -> None:
    async with served() as (handler, client):
        handler.broken = True
        answer = await client.get(HERE)
        assert (answer.status_code, answer.json()["type"]) == (500, "urn:turnout:problem:defect")
        assert "s3cret" not in answer.text


async def test_head_is_as_get_without_a_body() -> None:
    async with served() as (_, client):
        answer = await client.head(HERE)
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("key", ["", '""', "a b", "x" * 201, "ä"])
async def test_idempotency_keys_are_short_and_printable(key: str) -> None:
    async with served() as (_, client):
        headers = {b"idempotency-key": key.encode("latin-1")}
        answer = await client.post(f"{HERE}/cancel", headers=headers)
        assert (answer.status_code, answer.json()["type"]) == (400, "urn:turnout:problem:invalid-argument")


async def test_an_address_that_is_taken_is_said_with_its_setting() -> None:
    async with served() as (handler, client):
        address = f"127.0.0.1:{client.base_url.port}"
        with pytest.raises(ConfigurationError, match="TURNOUT_API__HTTP_ADDRESS"):
            async with serving_http(handler, None, address, connections=1):  # type: ignore[arg-type]
                pass


# --- connections ---


async def test_connections_beyond_the_most_are_told_so_and_the_others_go_on() -> None:
    async with served(connections=3) as (handler, client):
        handler.go.clear()
        asking = [await _Line.to(client) for _ in range(3)]
        for line in asking:
            line.say(f"GET {HERE} HTTP/1.1\r\nhost: localhost\r\n\r\n")
        await handler.three.wait()
        beyond = [await _Line.to(client) for _ in range(5)]
        for line in beyond[:2]:
            line.say(f"GET {HERE} HTTP/1.1\r\nhost: localhost\r\n\r\n")
        for line in beyond[:2] + beyond[3:]:
            status, told = await line.answer()
            assert (status, told["status"]) == (503, 503)
            assert "too many connections" in told["title"]
            assert await line.ended()
        handler.go.set()
        assert [(await line.answer())[0] for line in asking] == [200, 200, 200]
        for line in [*asking, *beyond]:
            line.close()


async def test_connections_on_which_no_request_is_finished_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "SILENT_SECONDS", 0.2)
    async with served() as (_, client):
        silent, begun, again = [await _Line.to(client) for _ in range(3)]
        begun.say(f"GET {HERE} HTTP/1.1\r\nhost:")
        again.say(f"GET {HERE} HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert (await again.answer())[0] == 200
        again.say("GET ")
        for line in (silent, begun, again):
            assert await line.ended()
            line.close()


async def test_what_is_no_http_is_a_problem_too() -> None:
    async with served() as (_, client):
        line = await _Line.to(client)
        line.say("Hello?\r\n\r\n")
        status, told = await line.answer()
        assert (status, told["status"]) == (400, 400)
        assert await line.ended()
        line.close()


async def test_a_body_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "BODY_SECONDS", 0.1)
    monkeypatch.setattr(http, "DISCARD_SECONDS", 0.1)
    async with served() as (_, client):
        line = await _Line.to(client)
        line.say("POST /v1/workflows HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{")
        assert (await line.answer())[0] == 408
        assert await line.ended()
        line.close()


async def test_a_call_whose_client_leaves_is_ended() -> None:
    async with served() as (handler, client):
        handler.go.clear()
        line = await _Line.to(client)
        line.say(f"GET {HERE} HTTP/1.1\r\nhost: localhost\r\n\r\n" * 2)
        async with asyncio.timeout(5):
            await handler.begun.wait()
            line.close()
            await handler.given_up.wait()
        assert len(handler.calls) == 1


class _Line:
    """A connection, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def to(cls, client: httpx.AsyncClient) -> "_Line":
        return cls(*await asyncio.open_connection("127.0.0.1", client.base_url.port))

    def say(self, text: str) -> None:
        self._writer.write(text.encode())

    async def answer(self) -> tuple[int, Any]:
        async with asyncio.timeout(20):
            head = await self._reader.readuntil(b"\r\n\r\n")
            headers = dict(line.lower().split(b": ", 1) for line in head.strip().split(b"\r\n")[1:])
            body = await self._reader.readexactly(int(headers[b"content-length"]))
        return int(head.split(b" ", 2)[1]), json.loads(body)

    async def ended(self) -> bool:
        async with asyncio.timeout(20):
            return await self._reader.read() == b""

    def close(self) -> None:
        self._writer.close()
