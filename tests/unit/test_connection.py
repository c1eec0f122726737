"""Why Kafka cannot be reached, said by address, and never with the password."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    TopicAuthorizationFailedError,
)
from cryptography.hazmat.primitives import serialization

from service.errors import ConfigurationError
from service.kafka import diagnosis
from service.kafka.connection import Connection, listening_to_client_log
from service.telemetry.logs import configure_logging
from tests.certificates import Authority, Pair


async def why(servers: str, *heard: str) -> list[str]:
    connection = Connection(servers, username="turnout", password="s3cret")
    return str(await connection.why_unreachable(list(heard))).splitlines()


async def test_a_closed_port_is_named() -> None:
    with socket.socket() as bound:  # bound and not listening: nobody else takes it meanwhile
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        head, reason = await why(address)
    assert head == f"Kafka cannot be reached (TURNOUT_KAFKA__BOOTSTRAP_SERVERS={address}):"
    assert reason.startswith(f"  {address}: ")
    assert reason.endswith("; does a broker listen there?")


async def test_a_port_that_hangs_up_points_to_tls() -> None:
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        _, reason = await why(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
    assert "the port is open, but hangs up at the first request: it expects TLS" in reason
    assert "TURNOUT_KAFKA__SECURITY_PROTOCOL=SSL or SASL_SSL" in reason


async def test_a_name_that_does_not_resolve_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(host: str, _port: int) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, f"{host} not known")

    monkeypatch.setattr(asyncio, "open_connection", unknown)
    _, reason = await why("nowhere.invalid:9092")
    assert reason == (
        "  nowhere.invalid:9092: the name nowhere.invalid cannot be resolved (nowhere.invalid not known)"
    )


async def test_an_address_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(_host: str, _port: int) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio, "open_connection", silent)
    monkeypatch.setattr(diagnosis, "STEP_SECONDS", 0.01)
    _, reason = await why("10.255.255.1:9092")
    assert "no answer within" in reason


@pytest.mark.parametrize("address", ["localhost", "localhost:", ":9092", "localhost:kafka"])
async def test_what_is_not_host_and_port_is_said_to_be_so(address: str) -> None:
    _, reason = await why(address)
    assert reason == f"  {address}: is not host:port; write for example 127.0.0.1:9092"


async def test_every_address_has_its_reason_and_the_client_is_heard_once() -> None:
    lines = await why("one,two", "Authentication failed", "Authentication failed")
    assert [line.strip().partition(":")[0] for line in lines[1:]] == ["one", "two", "the client says"]
    assert lines[-1] == "  the client says: Authentication failed"
    assert "s3cret" not in "".join(lines)


@pytest.mark.parametrize(
    ("error", "right"),
    [
        (GroupAuthorizationFailedError("shop"), "Read --group shop"),
        (TopicAuthorizationFailedError("orders"), "Read --topic orders"),
        (TopicAuthorizationFailedError({"orders", "carts"}), "Read --topic carts --topic orders"),
    ],
)
def test_a_right_that_lacks_is_said_with_the_command_that_gives_it(error: KafkaError, right: str) -> None:
    connection = Connection("kafka:9092", username="turnout", password="s3cret")
    command = "kafka-acls.sh --bootstrap-server kafka:9092 --add --allow-principal User:turnout --operation"
    assert connection.in_words(error).endswith(f"let us: {command} {right}")
    written = connection.in_words(TopicAuthorizationFailedError(), writing_to="results")
    assert written.endswith(f"let us: {command} Write --topic results")
    assert "kafka-acls" not in connection.in_words(KafkaConnectionError("gone"))


def test_what_the_client_warns_of_is_heard_only_in_that_time(logging_as_before: None) -> None:
    configure_logging()
    logger = logging.getLogger("aiokafka.conn")
    with listening_to_client_log() as heard:
        logger.info("connected")
        logger.warning("refused %s", "turnout")
    logger.warning("later")
    assert heard == ["refused turnout"]


def test_a_certificate_file_that_cannot_be_used_is_our_mistake(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    for ca_file in (tmp_path / "ca.pem", tmp_path / "absent.pem"):
        connection = Connection("127.0.0.1:9092", security_protocol="SSL", ca_file=ca_file)
        with pytest.raises(ConfigurationError, match="one of the files of TURNOUT_KAFKA__TLS_"):
            connection.client_options()


def _encrypted(key: bytes) -> bytes:
    loaded = serialization.load_pem_private_key(key, None)
    return loaded.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"a passphrase"),
    )


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (lambda _pair, _other: b"", "no certificate, or no key, is in it as PEM"),
        (lambda _pair, other: other.key, "the key is not that of the certificate"),
        (
            lambda pair, _other: _encrypted(pair.key),
            "nobody is there to type its passphrase",
        ),
        (lambda pair, _other: pair.certificate, "no certificate, or no key, is in it as PEM"),
    ],
)
def test_a_key_that_cannot_be_used_is_told_with_what_to_do(
    tmp_path: Path, key: Callable[[Pair, Pair], bytes], said: str
) -> None:
    authority = Authority("ca")
    pair, other = authority.issue("app"), authority.issue("app")
    (tmp_path / "app.pem").write_bytes(pair.certificate)
    (tmp_path / "app.key").write_bytes(key(pair, other))
    (tmp_path / "both.pem").write_bytes(pair.certificate + pair.key)
    apart = Connection(
        "127.0.0.1:9092",
        security_protocol="SSL",
        cert_file=tmp_path / "app.pem",
        key_file=tmp_path / "app.key",
    )
    with pytest.raises(ConfigurationError, match=said):
        apart.client_options()
    together = Connection("127.0.0.1:9092", security_protocol="SSL", cert_file=tmp_path / "both.pem")
    context = together.client_options()["ssl_context"]
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED


@pytest.mark.parametrize(("protocol", "encrypted"), [("PLAINTEXT", False), ("SASL_PLAINTEXT", False),
                                                     ("SSL", True), ("SASL_SSL", True)])  # fmt: skip
def test_the_protocol_decides_on_encryption(protocol: str, *, encrypted: bool) -> None:
    options = Connection("127.0.0.1:9092", security_protocol=protocol).client_options()
    assert (options["ssl_context"] is not None) == encrypted
