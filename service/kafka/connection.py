"""How to reach a Kafka cluster, and why it cannot be reached."""

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
)

from service.errors import ConfigurationError, TurnoutError, Unreachable
from service.kafka.commands import ANYBODY, acl_command

LACKS_RIGHT = (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
)
PROBE_SECONDS = 3.0
START_SECONDS = 10.0
"""How long a client may take to connect, whatever answers at the address."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Addresses and credentials of a cluster; the password never appears in its text."""

    bootstrap_servers: str
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    client_id: str = "turnout"

    def client_options(self) -> dict[str, Any]:
        """The options that every aiokafka client takes.

        Raises:
            ConfigurationError: A certificate file cannot be read.
        """
        return {
            "bootstrap_servers": self.bootstrap_servers,
            "client_id": self.client_id,
            "security_protocol": self.security_protocol,
            "sasl_mechanism": self.sasl_mechanism or "PLAIN",
            "sasl_plain_username": self.username,
            "sasl_plain_password": self.password,
            "ssl_context": self._ssl_context(),
        }

    def _ssl_context(self) -> ssl.SSLContext | None:
        if not self.security_protocol.endswith("SSL"):
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.cert_file:
                context.load_cert_chain(self.cert_file, self.key_file)
        except (OSError, ssl.SSLError) as error:
            files = ", ".join(str(file) for file in (self.ca_file, self.cert_file, self.key_file) if file)
            msg = f"one of the files of TURNOUT_KAFKA__TLS_… ({files}) cannot be used: {error}"
            raise ConfigurationError(msg) from error
        return context

    def right(self, operation: str, kind: str, *names: str) -> str:
        """The command that gives us the right to `Read` or `Write`, for people to run."""
        return acl_command(self.bootstrap_servers, self.username or ANYBODY, [operation], kind, names)

    def in_words(self, error: Exception, *, writing_to: str | None = None) -> str:
        """`error` as people read it; where we lack a right, with the command that gives it."""
        text = f"{type(error).__name__} {error}".strip()
        match error:
            case GroupAuthorizationFailedError(args=[str(group), *_]):
                right = self.right("Read", "group", group)
            case TopicAuthorizationFailedError() | ClusterAuthorizationFailedError() if writing_to:
                right = self.right("Write", "topic", writing_to)
            case TopicAuthorizationFailedError(args=[str(topic), *_]):
                right = self.right("Read", "topic", topic)
            case TopicAuthorizationFailedError(args=[set(topics), *_]):
                right = self.right("Read", "topic", *sorted(topics))
            case _:
                return text
        return f"{text}; let us: {right}"

    def not_asked(self, error: Exception) -> TurnoutError:
        """What to raise for `error` of a command's call; we are at fault where a right lacks."""
        kind = ConfigurationError if isinstance(error, LACKS_RIGHT) else Unreachable
        return kind(f"Kafka could not be asked: {self.in_words(error)}")

    async def why_unreachable(self, heard: list[str]) -> Unreachable:
        """Ask each address ourselves, since aiokafka raises the same error for every reason.

        `heard` is what aiokafka logged meanwhile: the only place where it names a refused login.
        Source: facts seen with aiokafka 0.14 (wrong password, unknown CA and closed port raise
        one and the same KafkaConnectionError without a cause).
        """
        lines = [f"{address}: {await _probe(address)}" for address in self.bootstrap_servers.split(",")]
        lines += [f"the client says: {line}" for line in dict.fromkeys(heard)]
        reasons = "\n  ".join(lines)
        return Unreachable(
            "Kafka cannot be reached "
            f"(TURNOUT_KAFKA__BOOTSTRAP_SERVERS={self.bootstrap_servers}):\n  {reasons}"
        )


async def _probe(address: str) -> str:
    host, _, port = address.strip().rpartition(":")
    if not host or not port.isdigit():
        return "is not host:port; write for example 127.0.0.1:9092"
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except socket.gaierror as error:
        return f"the name {host} cannot be resolved ({error.strerror})"
    except TimeoutError:
        return f"no answer within {PROBE_SECONDS:.0f} s; is a firewall in the way?"
    except OSError as error:
        # asyncio puts the address in the place of the reason.
        reason = os.strerror(error.errno) if error.errno else error
        return f"{reason}; does a broker listen there?"
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return (
        "the port is open, but no Kafka client session came about: check security protocol, "
        "credentials and certificates"
    )


@contextmanager
def listening_to_client_log() -> Iterator[list[str]]:
    """Collect what aiokafka logs as warnings and errors in this time."""
    heard: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    ear = Ear(level=logging.WARNING)
    logger = logging.getLogger("aiokafka")
    level = logger.level
    # Our own logging has set it to ERROR.
    logger.setLevel(logging.WARNING)
    logger.addHandler(ear)
    try:
        yield heard
    finally:
        logger.removeHandler(ear)
        logger.setLevel(level)
