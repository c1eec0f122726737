"""Why a broker does not let us in: asked step by step, since the client raises one error for every reason.

TCP, TLS, the first request, the mechanism of the login, the login. The step that fails is the reason.
"""

import asyncio
import os
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiokafka.conn import AIOKafkaConnection, create_conn
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.admin import SaslHandShakeRequest
from aiokafka.protocol.metadata import MetadataRequest

from service.kafka.tokens import NoToken

STEP_SECONDS = 3.0

_NOT_VOUCHED_FOR = frozenset({18, 19, 20, 21, 2, 24, 26})
_NOT_YET, _EXPIRED = 9, 10
_OTHER_HOST = frozenset({62, 64})
"""Codes of OpenSSL (X509_V_ERR_…): no known issuer, not yet valid, expired, another host or address."""


class _Found(Exception):  # noqa: N818 - what is looked for
    """The reason."""


@dataclass(frozen=True, slots=True)
class Login:
    """What a connection is made with.

    Attributes:
        options: Those of an aiokafka client.
        ca_file: Who is trusted; None are those whom the system trusts.
        cert_file: Our certificate; None: we have none.
    """

    options: Mapping[str, Any]
    ca_file: Path | None = None
    cert_file: Path | None = None

    @property
    def protocol(self) -> str:
        """The security protocol."""
        return str(self.options["security_protocol"])

    @property
    def tls(self) -> ssl.SSLContext | None:
        """The TLS context; None without TLS."""
        context: ssl.SSLContext | None = self.options["ssl_context"]
        return context

    @property
    def mechanism(self) -> str:
        """The mechanism of the login."""
        return str(self.options["sasl_mechanism"])


async def diagnose(address: str, login: Login) -> str:
    """Why the broker at `address` (`host:port`) does not let us in, with what to do; in bounded time.

    Also says so when it does: then it was another address, or is over.
    """
    host, _, port = address.strip().rpartition(":")
    if not host or not port.isdigit():
        return "is not host:port; write for example 127.0.0.1:9092"
    host = host.strip("[]")
    try:
        await _reach(host, int(port))
        await _shake_hands(host, int(port), login)
        await _first_requests(host, int(port), login)
        if login.protocol.startswith("SASL"):
            await _log_in(host, int(port), login)
    except _Found as found:
        return str(found)
    return "it lets us in by now"


async def _reach(host: str, port: int) -> None:
    try:
        async with asyncio.timeout(STEP_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
    except socket.gaierror as error:
        raise _Found(f"the name {host} cannot be resolved ({error.strerror})") from error
    except TimeoutError as error:
        raise _Found(f"no answer within {STEP_SECONDS:.0f} s; is a firewall in the way?") from error
    except OSError as error:
        # asyncio puts the address in the place of the reason.
        reason = os.strerror(error.errno) if error.errno else error
        raise _Found(f"{reason}; does a broker listen there?") from error
    await _close(writer)


async def _shake_hands(host: str, port: int, login: Login) -> None:
    if login.tls is None:
        return
    try:
        async with asyncio.timeout(STEP_SECONDS):
            _, writer = await asyncio.open_connection(host, port, ssl=login.tls)
    except ssl.SSLCertVerificationError as error:
        raise _Found(_certificate(host, error, login)) from error
    except ssl.SSLError as error:
        if refusal := _alert(error, login):
            raise _Found(refusal) from error
        raise _Found(_no_tls(login, error.reason or str(error))) from error
    except TimeoutError as error:
        raise _Found(_no_tls(login, f"no TLS handshake within {STEP_SECONDS:.0f} s")) from error
    except OSError as error:
        raise _Found(_no_tls(login, "it hangs up at the TLS handshake")) from error
    await _close(writer)


def _certificate(host: str, error: ssl.SSLCertVerificationError, login: Login) -> str:
    trusted = (
        f"TURNOUT_KAFKA__TLS_CA_FILE={login.ca_file}" if login.ca_file else "the authorities of the system"
    )
    match error.verify_code:
        case code if code in _NOT_VOUCHED_FOR:
            return (
                f"its certificate is not vouched for by {trusted} ({error.verify_message}); set "
                "TURNOUT_KAFKA__TLS_CA_FILE to the authority that issued it"
            )
        case code if code in _OTHER_HOST:
            return (
                f"its certificate is not for {host} ({error.verify_message}); name the brokers as it does in "
                "TURNOUT_KAFKA__BOOTSTRAP_SERVERS and their advertised.listeners, or give it that name"
            )
        case code if code == _EXPIRED:
            return "its certificate has expired; the brokers need a new one (or is the clock here wrong?)"
        case code if code == _NOT_YET:
            return "its certificate is not valid yet; is the clock here right?"
    return f"its certificate is refused here: {error.verify_message}"


def _no_tls(login: Login, seen: str) -> str:
    other = "SASL_PLAINTEXT" if login.protocol.startswith("SASL") else "PLAINTEXT"
    return (
        f"the port is open, but does not speak TLS ({seen}): use its TLS port, or, in a network that you "
        f"trust, TURNOUT_KAFKA__SECURITY_PROTOCOL={other}"
    )


def _alert(error: BaseException | None, login: Login) -> str:
    """What a TLS alert of the broker means; empty for all else."""
    reason = getattr(error, "reason", None) or ""
    if "ALERT" not in reason:
        return ""
    alert = reason.partition("ALERT_")[2].replace("_", " ").lower()
    if "certificate" not in alert and "unknown ca" not in alert and "handshake failure" not in alert:
        return f"it ends the TLS handshake: {alert}"
    if login.cert_file is None:
        return (
            f"it asks for our certificate, and we have none ({alert}); set TURNOUT_KAFKA__TLS_CERT_FILE and "
            "TURNOUT_KAFKA__TLS_KEY_FILE"
        )
    return (
        f"it does not take our certificate TURNOUT_KAFKA__TLS_CERT_FILE={login.cert_file} ({alert}): it has "
        "expired, or its authority is not one that the brokers trust (their ssl.truststore)"
    )


async def _first_requests(host: str, port: int, login: Login) -> None:
    """What every broker answers before a login, and what only one answers that wants none."""
    transport = "SSL" if login.tls else "PLAINTEXT"
    connection = AIOKafkaConnection(
        host,
        port,
        request_timeout_ms=int(STEP_SECONDS * 1000),
        security_protocol=transport,
        ssl_context=login.tls,
    )
    try:
        with _hung_up(_not_kafka(login), login):
            await connection.connect()
        if login.protocol.startswith("SASL"):
            with _hung_up("it hangs up when we ask for a login", login):
                answer = await connection.send(SaslHandShakeRequest(login.mechanism))
            _check_mechanism(answer, transport, login.mechanism)
        else:
            with _hung_up(_wants_login(login), login):
                await connection.send(MetadataRequest([]))
    finally:
        connection.close()


@contextmanager
def _hung_up(meaning: str, login: Login) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise _Found(
            f"the port is open, but nothing answers within {STEP_SECONDS:.0f} s; is it Kafka?"
        ) from error
    except KafkaConnectionError as error:
        raise _Found(_alert(error.__cause__, login) or meaning) from error
    except (KafkaError, OSError, ValueError, AssertionError) as error:
        raise _Found(
            f"the port is open, but what answers there is no Kafka ({type(error).__name__})"
        ) from error


def _not_kafka(login: Login) -> str:
    if login.tls:
        return "TLS is fine, but it hangs up at the first request; is it Kafka?"
    other = "SASL_SSL" if login.protocol.startswith("SASL") else "SSL or SASL_SSL"
    return (
        "the port is open, but hangs up at the first request: it expects TLS (set "
        f"TURNOUT_KAFKA__SECURITY_PROTOCOL={other}), or it is no Kafka"
    )


def _wants_login(login: Login) -> str:
    other = "SASL_SSL" if login.tls else "SASL_PLAINTEXT"
    return (
        "it answers nothing before a login; set "
        f"TURNOUT_KAFKA__SECURITY_PROTOCOL={other} and TURNOUT_KAFKA__SASL_MECHANISM, or use its port "
        "without login"
    )


def _check_mechanism(answer: Any, transport: str, mechanism: str) -> None:
    if answer.error_code == IllegalSaslStateError.errno:
        raise _Found(f"there is no login at this port; set TURNOUT_KAFKA__SECURITY_PROTOCOL={transport}")
    if answer.error_code == UnsupportedSaslMechanismError.errno or mechanism not in answer.enabled_mechanisms:
        offered = ", ".join(sorted(answer.enabled_mechanisms)) or "none"
        raise _Found(f"it does not know {mechanism}; set TURNOUT_KAFKA__SASL_MECHANISM to one of: {offered}")


async def _log_in(host: str, port: int, login: Login) -> None:
    options = {
        name: login.options[name]
        for name in (
            "client_id",
            "security_protocol",
            "ssl_context",
            "sasl_mechanism",
            "sasl_plain_username",
            "sasl_plain_password",
            "sasl_oauth_token_provider",
        )
    }
    try:
        connection = await create_conn(host, port, request_timeout_ms=int(STEP_SECONDS * 1000), **options)
    except SaslAuthenticationFailed as error:
        raise _Found(_refused(str(error.args[0]) if error.args else "", login)) from error
    except NoToken as error:
        raise _Found(str(error)) from error
    except TimeoutError as error:
        raise _Found(f"the login took more than {STEP_SECONDS:.0f} s") from error
    except (KafkaError, OSError, ValueError, AssertionError) as error:
        raise _Found(f"the login failed: {type(error).__name__} {error}".strip()) from error
    connection.close()


def _refused(said: str, login: Login) -> str:
    if login.mechanism == "OAUTHBEARER":
        return (
            f"it refuses our token ({said}): expired, for another audience or from another issuer, or signed "
            "by a key that it does not know; its log says which"
        )
    apart = ": a user is made for each mechanism apart" if login.mechanism.startswith("SCRAM") else ""
    # Brokers do not tell the two apart, so that nobody can try out names.
    return (
        f"it knows no user {login.options['sasl_plain_username']!r} with this password for {login.mechanism} "
        f"({said}); check TURNOUT_KAFKA__USERNAME and TURNOUT_KAFKA__PASSWORD_FILE{apart}"
    )


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(STEP_SECONDS):
            await writer.wait_closed()
