"""A schema registry over HTTP: what it is asked, and what its answers mean."""

import asyncio
import json
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from service.errors import ConfigurationError, NotNow, Unreachable
from service.events import registry as module
from service.events.registry import Registry, RegistryAccess
from service.events.schemas import Reference, RegisteredSchema, UnknownSchema
from service.settings import RegistrySettings
from tests.unit.registry_server import RegistryServer, answering, never

INT = '"int"'


@pytest.fixture
async def server() -> AsyncIterator[RegistryServer]:
    server = RegistryServer()
    async with server.serving():
        yield server


def client(server: RegistryServer, **access: Any) -> Registry:
    return Registry(RegistryAccess(server.url + "/", **access))


async def test_a_schema_is_found_by_id_and_by_guid(server: RegistryServer) -> None:
    number = server.put("orders-value", INT)
    json_id = server.put("x", "{}", "JSON")
    assert await client(server).schema(number) == RegisteredSchema("AVRO", INT)
    assert await client(server).schema(server.guid(json_id)) == RegisteredSchema("JSON", "{}")


async def test_what_a_schema_uses_comes_with_it_each_after_what_it_uses_itself(
    server: RegistryServer,
) -> None:
    server.put("a b/c", '"a"')
    server.put("b", '"b"', "AVRO", ("A", "a b/c"))
    server.put("d", '"d"', "AVRO", ("A", "a b/c"), ("D", "d"))  # itself, too
    number = server.put("e", '"e"', "AVRO", ("D", "d"), ("B", "b"))
    whole = await client(server).schema(number)
    assert whole.references == (Reference("A", '"a"'), Reference("D", '"d"'), Reference("B", '"b"'))
    assert ("GET", "/subjects/a%20b%2Fc/versions/1") in server.asked


async def test_only_the_registrys_own_word_is_that_it_does_not_know_a_schema(server: RegistryServer) -> None:
    with pytest.raises(UnknownSchema, match="Schema 9 not found"):
        await client(server).schema(9)
    dangling = server.put("e", '"e"', "AVRO", ("D", "gone"))
    with pytest.raises(UnknownSchema, match="Subject not found"):
        await client(server).schema(dangling)
    for answer in (
        answering(404, "<html>"),
        answering(404, '{"error_code": 404, "message": "HTTP 404 Not Found"}'),
        answering(404, '{"error_code": "40403"}'),
        answering(200, '{"error_code": 40403}'.replace("{", "[").replace("}", "]").replace(":", ",")),
        answering(200, "<html>"),
        answering(200, "[" * 100_000),
        answering(301, "", {"Location": server.url}),
        answering(401, '{"message": "Unauthorized"}'),
        answering(403),
        answering(429),
        answering(500, '{"error_code": 50001, "message": "Error in the backend data store"}'),
        answering(503),
    ):
        server.instead = answer
        with pytest.raises(NotNow, match=f"the schema registry at {server.url} answers HTTP"):
            await client(server).schema(9)


async def test_a_registry_that_is_away_or_silent_is_waited_for(
    server: RegistryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.2)
    server.instead = never
    with pytest.raises(NotNow, match="does not answer within 0 s"):
        await client(server).schema(9)
    with pytest.raises(Unreachable, match="does not answer within 0 s"):
        await client(server).check()
    away = Registry(RegistryAccess("http://127.0.0.1:1"))
    with pytest.raises(NotNow, match=r"the schema registry at http://127\.0\.0\.1:1 does not answer: Cannot"):
        await away.schema(9)


async def test_an_answer_without_end_is_cut(server: RegistryServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 1_000)
    server.instead = answering(200, json.dumps({"schema": "x" * 10_000}))
    with pytest.raises(NotNow, match="answers HTTP 200"):
        await client(server).schema(9)


async def test_a_start_sees_that_the_registry_is_there_and_lets_us_in(server: RegistryServer) -> None:
    await client(server).check()
    server.instead = answering(401)
    with pytest.raises(ConfigurationError, match=r"does not let us in \(HTTP 401\); set TURNOUT_REGISTRY__"):
        await client(server).check()
    server.instead = answering(404)
    with pytest.raises(ConfigurationError, match="that of Apicurio ends with /apis/ccompat/v7"):
        await client(server).check()
    server.instead = answering(503, '{"message": "starting"}')
    with pytest.raises(Unreachable, match="answers HTTP 503: starting"):
        await client(server).check()


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({}, None),
        ({"username": "ada", "password": "s3cret"}, "Basic YWRhOnMzY3JldA=="),
        ({"token": "t0ken"}, "Bearer t0ken"),
    ],
)
async def test_we_log_in_as_the_settings_say(
    server: RegistryServer, given: dict[str, str], sent: str | None
) -> None:
    settings = RegistrySettings.model_validate({"url": server.url, **given})
    await client(server, authorization=settings.authorization).check()
    assert server.authorizations == [sent]
    assert "s3cret" not in repr(RegistryAccess(server.url, settings.authorization))


async def test_a_secret_in_a_file_may_change(server: RegistryServer, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("one\n")
    ours = client(server, authorization=RegistrySettings(url=server.url, token_file=file).authorization)
    await ours.check()
    file.write_text("two\n")
    await ours.check()
    assert server.authorizations == ["Bearer one", "Bearer two"]
    file.unlink()
    with pytest.raises(NotNow, match="TURNOUT_REGISTRY__TOKEN_FILE"):
        await ours.schema(1)


async def test_what_subjects_hold_is_looked_up_registered_and_compared(server: RegistryServer) -> None:
    ours = client(server)
    with pytest.raises(UnknownSchema):
        await ours.id_in_subject("s", "AVRO", INT)
    assert await ours.misfits("s", "AVRO", INT) == []
    number = await ours.register("s", "AVRO", INT)
    assert server.bodies[-1] == {"schema": INT, "schemaType": "AVRO"}
    assert await ours.id_in_subject("s", "AVRO", INT) == number
    assert await ours.latest("s") == (number, RegisteredSchema("AVRO", INT))
    server.misfits = ["reader type:\n INT"]
    assert await ours.misfits("s", "AVRO", INT) == ["reader type: INT"]


async def test_what_several_register_at_once_is_registered_for_all(server: RegistryServer) -> None:
    async def another_was_first(request: web.Request) -> web.StreamResponse | None:
        if request.method == "POST" and request.path.endswith("/versions"):
            server.put("s", INT)
            return web.json_response({"error_code": 409, "message": "already exists"}, status=409)
        return None

    server.instead = another_was_first
    assert await client(server).register("s", "AVRO", INT) == 1
    with pytest.raises(ConfigurationError, match="refuses the schema for subject s: already exists"):
        await client(server).register("s", "AVRO", '"string"')


@pytest.mark.parametrize("status", [401, 403, 409, 422])
async def test_a_schema_that_is_refused_is_so_with_the_registrys_reason(
    server: RegistryServer, status: int
) -> None:
    server.instead = answering(status, '{"error_code": 409, "message": "INT does not fit"}')
    for ask in (client(server).register, client(server).id_in_subject, client(server).misfits):
        with pytest.raises(ConfigurationError, match="refuses the schema for subject s: INT does not fit"):
            await ask("s", "AVRO", INT)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl, to make a certificate")
async def test_a_registry_with_tls_is_believed_by_its_authority_alone(
    server: RegistryServer, tmp_path: Path
) -> None:
    certificate, key = _certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    async with server.serving(context):
        await client(server, ca_file=certificate).check()
        with pytest.raises(Unreachable, match="certificate verify failed"):
            await client(server).check()
        # With a certificate of ours, in case it asks for one.
        await client(server, ca_file=certificate, cert_file=certificate, key_file=key).check()


def test_a_tls_file_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    for content in (None, "nothing"):
        if content:
            file.write_text(content)
        with pytest.raises(ConfigurationError, match="TURNOUT_REGISTRY__TLS_… file cannot be used"):
            Registry(RegistryAccess("https://registry", ca_file=file))


async def test_few_questions_are_asked_at_once(
    server: RegistryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", 1)
    arrived, go_on = asyncio.Queue[str](), asyncio.Event()

    async def held(request: web.Request) -> web.StreamResponse | None:
        arrived.put_nowait(request.path.rpartition("/")[2])
        await go_on.wait()
        return None

    for schema in ('"int"', '"long"', '"null"'):
        server.put("s", schema)
    server.instead = held
    ours, others = client(server), client(server)
    asking = [asyncio.create_task(ours.schema(1))]
    assert await arrived.get() == "1"
    # What somebody else asks later arrives, and what we ask does not.
    asking += [asyncio.create_task(ours.schema(2)), asyncio.create_task(others.schema(3))]
    assert await arrived.get() == "3"
    go_on.set()
    assert await arrived.get() == "2"
    await asyncio.gather(*asking)


def _certificate(folder: Path) -> tuple[Path, Path]:
    certificate, key = folder / "cert.pem", folder / "key.pem"
    argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=registry"]
    argv += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(argv, check=True, capture_output=True)
    return certificate, key
