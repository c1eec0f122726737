"""Kafka that asks who one is: each way in works, each failure says what is wrong, secrets are replaced."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import admin as confluent
from pydantic import SecretStr

from service.errors import NotNow, Unreachable
from service.kafka.admin import Admin
from service.kafka.diagnosis import Login, diagnose
from service.kafka.reading import reader
from service.kafka.record import Partition
from service.kafka.sink import KafkaSink
from service.local import LocalTemporal
from service.pipeline import kafka_connection
from service.settings import KafkaSettings
from tests.integration.guarded import READ, WRITE, Guarded, allow
from tests.integration.service import ECHOES, Site, site
from tests.servers import random_port
from tests.token_endpoint import jwt, token_endpoint


def token(name: str = "app", *, seconds: float = 60) -> str:
    """A token as the broker of tests takes it."""
    now = time.time()
    return jwt(sub=name, iat=now - 100, exp=now + seconds)


@pytest.fixture
async def here(guarded: Guarded, temporal: LocalTemporal, tmp_path: Path) -> AsyncIterator[Site]:
    async with site(guarded.door, temporal.address, tmp_path, ECHOES, partitions=1) as here:
        yield here


# --- each way to log in ---


def by_token(guarded: Guarded, folder: Path, text: str) -> KafkaSettings:
    file = folder / "token"
    file.write_text(text)
    return guarded.settings(sasl_mechanism="OAUTHBEARER", username=None, password=None, token_file=file)


@pytest.mark.parametrize("way", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "certificate"])
async def test_who_logs_in_asks_reads_and_writes(
    here: Site, guarded: Guarded, tmp_path: Path, way: str
) -> None:
    await allow(here, READ, "in")
    await allow(here, WRITE, "in")
    match way:
        case "certificate":
            settings = guarded.with_certificate()
        case "OAUTHBEARER":
            settings = by_token(guarded, tmp_path, token())
        case _:
            settings = guarded.settings(sasl_mechanism=way)
    connection, topic = kafka_connection(settings), here.topics["in"]
    sink = KafkaSink(connection)
    await sink.start()
    try:
        written = await sink.send(topic, key=None, value=b"x", headers=())
    finally:
        await sink.stop()
    async with reader(connection) as reading:
        place, offsets = Partition(topic, written.partition), range(written.offset, written.offset + 1)
        assert [record.value async for record in reading.read(place, offsets)] == [b"x"]
    async with Admin.connected(connection) as admin:
        assert topic in (await admin.cluster()).partitions


# --- each failure, which the client hides ---

CASES: dict[str, tuple[Callable[[Guarded, Path], KafkaSettings], str]] = {
    "wrong password": (
        lambda guarded, _: guarded.settings(sasl_mechanism="SCRAM-SHA-512", password=SecretStr("wrong-pw")),
        "it knows no user 'app' with this password for SCRAM-SHA-512 .* check TURNOUT_KAFKA__USERNAME and",
    ),
    "unknown user": (
        lambda guarded, _: guarded.settings(sasl_mechanism="SCRAM-SHA-512", username="ghost"),
        "it knows no user 'ghost' with this password for SCRAM-SHA-512",
    ),
    "no login at this port": (
        lambda guarded, _: guarded.settings(
            bootstrap_servers=guarded.certificate_door,
            tls_cert_file=guarded.folder / "app.pem",
            tls_key_file=guarded.folder / "app.key",
        ),
        "there is no login at this port; set TURNOUT_KAFKA__SECURITY_PROTOCOL=SSL",
    ),
    "unknown authority": (
        lambda guarded, _: guarded.settings(tls_ca_file=guarded.folder / "otherca.pem"),
        "is not vouched for by TURNOUT_KAFKA__TLS_CA_FILE=.*otherca.pem .*; set TURNOUT_KAFKA__TLS_CA",
    ),
    "no certificate": (
        lambda guarded, _: guarded.with_certificate(tls_cert_file=None, tls_key_file=None),
        "it asks for our certificate, and we have none .*; set TURNOUT_KAFKA__TLS_CERT_FILE",
    ),
    "certificate of another authority": (
        lambda guarded, _: guarded.with_certificate("other"),
        "it does not take our certificate TURNOUT_KAFKA__TLS_CERT_FILE=.*other.pem",
    ),
    "no TLS for a port that has it": (
        lambda guarded, _: KafkaSettings(bootstrap_servers=guarded.guarded_door),
        "it expects TLS .set TURNOUT_KAFKA__SECURITY_PROTOCOL=SSL or SASL_SSL.",
    ),
    "no login for a port that wants it": (
        lambda guarded, _: KafkaSettings(
            bootstrap_servers=guarded.guarded_door, security_protocol="SSL", tls_ca_file=guarded.ca_file
        ),
        "it answers nothing before a login; set TURNOUT_KAFKA__SECURITY_PROTOCOL=SASL_SSL",
    ),
    "TLS for a port without": (
        lambda guarded, _: guarded.settings(bootstrap_servers=guarded.door),
        "does not speak TLS .*TURNOUT_KAFKA__SECURITY_PROTOCOL=SASL_PLAINTEXT",
    ),
    "closed port": (
        lambda guarded, _: guarded.settings(bootstrap_servers=f"127.0.0.1:{random_port()}"),
        "Connection refused; does a broker listen there",
    ),
    "token refused": (
        lambda guarded, folder: by_token(guarded, folder, "no-token-at-all"),
        "it refuses our token .*invalid_token",
    ),
    "token ended": (
        lambda guarded, folder: by_token(guarded, folder, token(seconds=-50)),
        "the token in TURNOUT_KAFKA__TOKEN_FILE=.* ended 5[0-9] s ago; see to what writes it",
    ),
}


@pytest.mark.parametrize("case", CASES)
async def test_who_is_not_let_in_is_told_why_and_what_to_do(
    guarded: Guarded, tmp_path: Path, case: str
) -> None:
    make, said = CASES[case]
    sink = KafkaSink(kafka_connection(make(guarded, tmp_path)))
    with pytest.raises(Unreachable, match=said) as raised:
        await sink.start()
    await sink.stop()
    assert not {"app-pw", "wrong-pw", "no-token-at-all"} & set(str(raised.value).split())


async def test_a_mechanism_that_is_not_known_is_named_with_those_that_are(guarded: Guarded) -> None:
    options = kafka_connection(guarded.settings()).client_options() | {"sasl_mechanism": "GSSAPI"}
    said = await diagnose(guarded.guarded_door, Login(options, guarded.ca_file))
    assert said.startswith("it does not know GSSAPI; set TURNOUT_KAFKA__SASL_MECHANISM to one of: ")
    assert said.endswith(": OAUTHBEARER, PLAIN, SCRAM-SHA-256, SCRAM-SHA-512")


# --- secrets that are replaced without a restart ---


def set_password(guarded: Guarded, user: str, password: str) -> None:
    kinds: Any = confluent  # its types do not say that it has these
    how = kinds.ScramCredentialInfo(kinds.ScramMechanism.SCRAM_SHA_256, 4096)
    told = kinds.UserScramCredentialUpsertion(user, how, password.encode())
    admin = kinds.AdminClient({"bootstrap.servers": guarded.door})
    for answer in admin.alter_user_scram_credentials([told]).values():
        answer.result(timeout=30)


async def test_a_password_is_replaced_while_records_flow(
    here: Site, guarded: Guarded, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text("first\n")
    await asyncio.to_thread(set_password, guarded, "rotated", "first")
    await allow(here, READ, "in", "group", "group.routes", "group.seek", "group.given-up", user="rotated")
    await allow(here, WRITE, "out", "letters", user="rotated")
    kafka = guarded.settings(
        sasl_mechanism="SCRAM-SHA-256", username="rotated", password=None, password_file=file
    )
    here.settings = here.settings.model_copy(update={"kafka": kafka})
    sent = 0

    async def send() -> Any:
        nonlocal sent
        sent += 1
        return await here.send("placed", {"id": str(sent)})

    async def said(event: str) -> bool:
        await send()
        return any(line["event"] == event for line in here.lines)

    async with here.running():
        await here.past(await send())
        await asyncio.to_thread(set_password, guarded, "rotated", "second")
        # The broker cuts its sessions soon; from then on nobody gets in by the old password.
        await here.until(lambda: said("no connection to Kafka"))
        (why,) = {line["reason"] for line in here.lines if line["event"] == "no connection to Kafka"}
        assert "it knows no user 'rotated' with this password for SCRAM-SHA-256" in why
        file.write_text("second\n")
        await here.until(lambda: said("changed secrets are used for new connections to Kafka"))
        last = await send()
        await here.past(last)
        assert len(here.services) == 1
        await here.until(lambda: _are_out(here, sent))
    assert not await here.letters()


async def _are_out(here: Site, count: int) -> bool:
    return {record.key for record in await here.read("out")} == {str(n + 1).encode() for n in range(count)}


async def test_tokens_of_an_endpoint_are_renewed_while_records_are_written(
    here: Site, guarded: Guarded
) -> None:
    await allow(here, WRITE, "in")
    async with token_endpoint() as endpoint:
        endpoint.answer = lambda: {"access_token": token(seconds=2), "expires_in": 2}
        kafka = guarded.settings(
            sasl_mechanism="OAUTHBEARER",
            username=None,
            password=None,
            token_url=endpoint.url,
            client_id="turnout",
            client_secret=SecretStr("s3cret"),
        )
        sink = KafkaSink(kafka_connection(kafka))
        await sink.start()
        try:
            while len(endpoint.asked) < 3:  # the broker ends each session with its token, or before
                await sink.send(here.topics["in"], key=None, value=b"x", headers=())
        finally:
            await sink.stop()


async def test_a_certificate_is_replaced_for_new_connections(
    here: Site, guarded: Guarded, tmp_path: Path
) -> None:
    await allow(here, WRITE, "in")

    def present(name: str) -> None:
        for kind in ("pem", "key"):
            shutil.copy(guarded.folder / f"{name}.{kind}", tmp_path / f"our.{kind}")

    present("newcomer")
    connection = kafka_connection(
        guarded.with_certificate(tls_cert_file=tmp_path / "our.pem", tls_key_file=tmp_path / "our.key")
    )
    await allow(here, WRITE, "out", user="newcomer")
    sink = KafkaSink(connection)
    await sink.start()

    async def can_write() -> bool:
        assert sink._producer  # noqa: SLF001
        for one in list(sink._producer.client._conns.values()):  # noqa: SLF001 - as when a broker ends them
            one.close()
        try:
            await sink.send(here.topics["in"], key=None, value=b"x", headers=())
        except NotNow as error:
            if "TopicAuthorizationFailed" not in str(error):
                raise
            return False
        return True

    async def is_told() -> bool:
        assert not await can_write()
        return any(line["event"] == "changed secrets cannot be used yet" for line in here.lines)

    try:
        assert not await can_write()
        shutil.copy(guarded.folder / "app.pem", tmp_path / "our.pem")  # the key comes a moment later
        await here.until(is_told)
        present("app")
        await here.until(can_write)
    finally:
        await sink.stop()
