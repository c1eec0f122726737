"""The codec server: who gets which payloads, over HTTP as the Temporal UI asks."""

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from temporalio.api.common.v1 import Payload

from service import codec as codec_server
from service.api.auth import Bearer
from service.api.callers import Guard
from service.api.tokens import StaticTokens
from service.cli import app as app_module
from service.cli import codec as codec_family
from service.codec import MOST_BYTES, CodecServer
from service.errors import ConfigurationError
from workflows.encryption import ENCODING, EncryptionCodec, KeyFile, new_key

UI = "https://temporal.shop"
JSON = {"content-type": "application/json"}
SECRET = b'{"card": "4711"}'
TOKEN = "one-token-of-the-file"


@pytest.fixture
def codec(tmp_path: Path) -> EncryptionCodec:
    file = tmp_path / "keys"
    file.write_text(new_key("k"))
    return EncryptionCodec(KeyFile(file))


@asynccontextmanager
async def served(
    codec: EncryptionCodec, guard: Guard | None = None, **options: Any
) -> AsyncIterator[httpx.AsyncClient]:
    app = CodecServer(codec, guard, origins=[UI], **options).app()
    transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]  # it is an ASGI application
    async with httpx.AsyncClient(transport=transport, base_url="http://codec") as client:
        yield client


def body_of(*payloads: Payload) -> bytes:
    def b64(raw: bytes) -> str:
        return base64.b64encode(raw).decode()

    asked = [{"metadata": {n: b64(v) for n, v in p.metadata.items()}, "data": b64(p.data)} for p in payloads]
    return json.dumps({"payloads": asked}).encode()


def data_in(answer: httpx.Response) -> list[bytes]:
    assert answer.status_code == 200, answer.text
    return [base64.b64decode(payload["data"]) for payload in answer.json()["payloads"]]


def turnout(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run a command in this process; returns its exit code."""
    codes: list[int] = []
    monkeypatch.setattr(app_module, "leave", codes.append)
    monkeypatch.setattr(sys, "argv", ["turnout", *arguments])
    app_module.main()
    return codes[0]


async def encrypted(codec: EncryptionCodec, data: bytes = SECRET) -> Payload:
    (payload,) = await codec.encode([Payload(metadata={"encoding": b"json/plain"}, data=data)])
    return payload


async def test_what_was_encrypted_is_shown_and_what_people_write_is_encrypted(codec: EncryptionCodec) -> None:
    payload = await encrypted(codec)
    async with served(codec) as client:
        decoded = await client.post("/decode", content=body_of(payload, payload), headers=JSON)
        assert data_in(decoded) == [SECRET, SECRET]
        plain = Payload(metadata={"encoding": b"json/plain"}, data=b'"by hand"')
        answer = await client.post("/encode", content=body_of(plain), headers=JSON)
        (told,) = answer.json()["payloads"]
    assert base64.b64decode(told["metadata"]["encoding"]) == ENCODING
    again = Payload(
        metadata={name: base64.b64decode(text) for name, text in told["metadata"].items()},
        data=base64.b64decode(told["data"]),
    )
    assert await codec.decode([again]) == [plain]


async def test_what_cannot_be_decrypted_stays_as_it_is_and_the_rest_is_shown(
    codec: EncryptionCodec, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text(new_key("lost"))
    lost = await encrypted(EncryptionCodec(KeyFile(elsewhere)))
    async with served(codec) as client:
        answer = await client.post("/decode", content=body_of(lost, await encrypted(codec)), headers=JSON)
    assert data_in(answer) == [lost.data, SECRET]


async def test_a_page_of_the_ui_may_ask_and_one_of_another_origin_may_not(codec: EncryptionCodec) -> None:
    asked = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type,x-namespace,authorization",
    }
    body = body_of(await encrypted(codec))
    async with served(codec) as client:
        ours = await client.options("/decode", headers={"origin": UI, **asked})
        assert (ours.status_code, ours.headers["access-control-allow-origin"]) == (200, UI)
        assert "x-namespace" in ours.headers["access-control-allow-headers"]
        assert (
            await client.options("/decode", headers={"origin": "https://evil", **asked})
        ).status_code == 400
        answer = await client.post("/decode", content=body, headers={"origin": UI, **JSON})
        assert answer.headers["access-control-allow-origin"] == UI
        refused = await client.post("/decode", content=body, headers={"origin": "https://evil", **JSON})
    assert refused.status_code == 403
    assert SECRET not in refused.content


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}\xe9"],
)
async def test_without_one_of_the_tokens_nothing_is_shown(
    codec: EncryptionCodec, tmp_path: Path, authorization: str | None
) -> None:
    (tmp_path / "tokens").write_text(f"{TOKEN}\n{TOKEN}-2\n")
    headers: dict[str, Any] = dict(JSON)
    if authorization is not None:
        headers["authorization"] = authorization.encode("latin-1")
    guard = Bearer([StaticTokens(tmp_path / "tokens", "SETTING")])
    async with served(codec, guard) as client:
        accepted = {**JSON, "authorization": f"Bearer {TOKEN}-2"}
        body = body_of(await encrypted(codec))
        assert data_in(await client.post("/decode", content=body, headers=accepted)) == [SECRET]
        for path in ("/decode", "/encode"):
            refused = await client.post(path, content=body_of(await encrypted(codec)), headers=headers)
            assert refused.status_code == 401
            assert SECRET not in refused.content


async def test_payloads_of_other_namespaces_are_not_shown(codec: EncryptionCodec) -> None:
    body = body_of(await encrypted(codec))
    async with served(codec, namespaces={"shop"}) as client:
        statuses = [
            (await client.post("/decode", content=body, headers={**JSON, **namespace})).status_code
            for namespace in ({"x-namespace": "shop"}, {"x-namespace": "bank"}, {})
        ]
    assert statuses == [200, 403, 403]


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"", JSON, 400),
        (b"[]", JSON, 400),
        (b'{"payloads": 1}', JSON, 400),
        (b'{"payloads": [{"data": 1}]}', JSON, 400),
        (b'{"payloads": [], "more": 1}', JSON, 400),
        (b'{"payloads": ' + b"[" * 100_000, JSON, 400),
        (b"\xff", JSON, 400),
        (b'{"payloads": []}', {"content-type": "text/plain"}, 415),
        (b'{"payloads": []}', {}, 415),
        (b" " * (MOST_BYTES + 1), JSON, 413),
    ],
)
async def test_what_is_no_request_is_refused(
    codec: EncryptionCodec, content: bytes, headers: Mapping[str, str], status: int
) -> None:
    async with served(codec) as client:
        assert (await client.post("/decode", content=content, headers=headers)).status_code == status


async def said_to(codec: EncryptionCodec, *parts: dict[str, Any]) -> list[Any]:
    """What a client hears that sends these parts of a request, and then nothing."""
    scope = {
        "type": "http", "http_version": "1.1", "method": "POST", "path": "/decode", "raw_path": b"/decode",
        "root_path": "", "query_string": b"", "headers": [(b"content-type", b"application/json")],
    }  # fmt: skip
    coming, heard = iter(parts), []

    async def receive() -> Mapping[str, Any]:
        for part in coming:
            return part
        return await asyncio.Future()

    async def send(message: Mapping[str, Any]) -> None:
        heard.append(message.get("status"))

    async with asyncio.timeout(10):
        await CodecServer(codec, None, origins=[UI]).app()(scope, receive, send)
    return heard


async def test_who_leaves_before_all_is_said_is_no_defect(codec: EncryptionCodec) -> None:
    begun = {"type": "http.request", "body": b"{", "more_body": True}
    await said_to(codec, begun, {"type": "http.disconnect"})


async def test_a_body_that_does_not_come_is_given_up(
    codec: EncryptionCodec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec_server, "BODY_SECONDS", 0.1)
    assert (await said_to(codec, {"type": "http.request", "body": b"{", "more_body": True}))[0] == 408


async def test_nothing_else_is_answered(codec: EncryptionCodec) -> None:
    async with served(codec) as client:
        assert (await client.get("/decode")).status_code == 405
        assert (await client.get("/")).status_code == 404
        assert (await client.post("/decode", content=b'{"payloads": []}', headers=JSON)).json() == {}


def test_without_the_package_it_is_said_what_to_install(
    codec: EncryptionCodec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "starlette.applications", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'turnout\[api\]'"):
        CodecServer(codec, None, origins=[]).app()


# --- the command ---


def test_a_new_key_is_printed_as_the_file_of_keys_wants_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert turnout(monkeypatch, "codec", "new-key", "2026-11") == 0
    file = tmp_path / "new"
    file.write_text(capsys.readouterr().out)
    assert KeyFile(file).active().id == "2026-11"
    assert turnout(monkeypatch, "codec", "new-key", "a/b") == 2


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "nothing is encrypted; set TURNOUT_ENCRYPTION__KEYS_FILE"),
        (
            {"TURNOUT_ENCRYPTION__KEYS_FILE": "keys", "TURNOUT_CODEC__ADDRESS": "0.0.0.0:8091"},
            "is reached from other machines, and whoever asks would see all payloads",
        ),
        ({"TURNOUT_ENCRYPTION__KEYS_FILE": "absent"}, "KEYS_FILE: the file of keys absent cannot be read"),
    ],
)
def test_a_codec_server_that_nobody_or_everybody_could_use_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(codec_family, "configure_logging", lambda *_: None)
    (tmp_path / "keys").write_text(new_key("k"))
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=said):
        codec_family.serve()
