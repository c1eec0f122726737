"""How to reach a Kafka cluster, and why it cannot be reached."""

import asyncio
import logging
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.abc import AbstractTokenProvider
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
)

from service.errors import ConfigurationError, TurnoutError, Unreachable
from service.kafka.commands import ANYBODY, acl_command
from service.kafka.diagnosis import Login, diagnose
from service.kafka.tokens import see_refused_tokens
from service.secret_files import Watched, secret_of

log = structlog.get_logger(__name__)

LACKS_RIGHT = (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
)
START_SECONDS = 10.0
"""How long a client may take to connect, whatever answers at the address."""

SAY_SECONDS = 60.0
"""How often, at most, it is found out why no connection comes about while clients run."""


@dataclass(slots=True)
class Trouble:
    """What was found out of connections that do not come about; shared by all clients of a connection."""

    reason: str = ""
    asked_at: float = float("-inf")
    unusable: str = ""
    """What is wrong with secrets that have changed."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Addresses and credentials of a cluster; secrets never appear in its text.

    It makes all clients. What lies in files is read for each, and read anew for each connection to a broker
    after it has changed: passwords, certificates and tokens are replaced without a restart.
    """

    bootstrap_servers: str
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    password_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    tokens: AbstractTokenProvider | None = None
    client_id: str = "turnout"
    trouble: Trouble = field(default_factory=Trouble, compare=False, repr=False)

    def consumer(self, **options: Any) -> AIOKafkaConsumer:
        """A consumer that is not started yet.

        Raises:
            ConfigurationError: A file with a secret or a certificate cannot be used.
        """
        consumer = AIOKafkaConsumer(**self.client_options(), **options)
        self._keep_fresh(consumer._client)  # noqa: SLF001 - the library has no public word for it
        return consumer

    def producer(self, **options: Any) -> AIOKafkaProducer:
        """A producer that is not started yet; raises as `consumer` does."""
        producer = AIOKafkaProducer(**self.client_options(), **options)
        self._keep_fresh(producer.client)
        return producer

    def admin(self, **options: Any) -> AIOKafkaAdminClient:
        """An admin client that is not started yet; raises as `consumer` does."""
        admin = AIOKafkaAdminClient(**self.client_options(), **options)
        self._keep_fresh(admin._client)  # noqa: SLF001
        return admin

    def client_options(self) -> dict[str, Any]:
        """How every aiokafka client logs in, as files say now.

        Raises:
            ConfigurationError: A file with a secret or a certificate cannot be used.
        """
        see_refused_tokens()
        return {
            "bootstrap_servers": self.bootstrap_servers,
            "client_id": self.client_id,
            "security_protocol": self.security_protocol,
            "sasl_mechanism": self.sasl_mechanism or "PLAIN",
            "sasl_plain_username": self.username,
            "sasl_plain_password": self._password(),
            "sasl_oauth_token_provider": self.tokens,
            "ssl_context": self._ssl_context(),
        }

    def _password(self) -> str | None:
        if self.password_file:
            return secret_of(self.password_file, "TURNOUT_KAFKA__PASSWORD_FILE")
        return self.password

    def _ssl_context(self) -> ssl.SSLContext | None:
        if not self.security_protocol.endswith("SSL"):
            return None
        try:
            # Host names are checked, and certificates are asked for: there is no setting against it.
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.cert_file:
                context.load_cert_chain(self.cert_file, self.key_file, password=_no_passphrase)
        except (OSError, ssl.SSLError, _EncryptedKeyError) as error:
            files = ", ".join(str(file) for file in (self.ca_file, self.cert_file, self.key_file) if file)
            msg = f"one of the files of TURNOUT_KAFKA__TLS_… ({files}) cannot be used: {_tls_problem(error)}"
            raise ConfigurationError(msg) from error
        return context

    def _keep_fresh(self, client: AIOKafkaClient) -> None:
        """Have `client` connect with what files say by then, and say why it cannot."""
        files = [f for f in (self.password_file, self.ca_file, self.cert_file, self.key_file) if f]
        watched = Watched(files)
        connect = client._get_conn  # noqa: SLF001 - each connection but the first is made by it

        async def connected(node_id: Any, **options: Any) -> Any:
            if watched.changed():
                try:
                    password, context = self._password(), self._ssl_context()
                except ConfigurationError as error:  # a certificate may come before its key
                    watched.look_again()
                    self._say_unusable(str(error))
                else:
                    client._sasl_plain_password, client._ssl_context = password, context  # noqa: SLF001
                    self.trouble.unusable = ""
                    log.info("changed secrets are used for new connections to Kafka")
            connection = await connect(node_id, **options)
            if connection is None:
                await self._find_out_why(client.cluster.broker_metadata(node_id))
            elif self.trouble.reason:
                self.trouble.reason = ""
            return connection

        client._get_conn = connected  # noqa: SLF001

    def _say_unusable(self, reason: str) -> None:
        if reason != self.trouble.unusable:
            log.warning("changed secrets cannot be used yet", reason=reason)
        self.trouble.unusable = reason

    async def _find_out_why(self, broker: Any) -> None:
        if broker is None or time.monotonic() - self.trouble.asked_at < SAY_SECONDS:
            return
        self.trouble.asked_at = time.monotonic()
        address = f"{broker.host}:{broker.port}"
        self.trouble.reason = await self._diagnosed(address)
        log.warning("no connection to Kafka", broker=address, reason=self.trouble.reason)

    async def _diagnosed(self, address: str) -> str:
        try:
            options = self.client_options()
        except ConfigurationError as error:
            return str(error)
        return await diagnose(address, Login(options, self.ca_file, self.cert_file))

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

        `heard` is what aiokafka logged meanwhile.
        """
        addresses = self.bootstrap_servers.split(",")
        reasons = await asyncio.gather(*map(self._diagnosed, addresses))
        lines = [f"{address}: {reason}" for address, reason in zip(addresses, reasons, strict=True)]
        lines += [f"the client says: {line}" for line in dict.fromkeys(heard)]
        listed = "\n  ".join(lines)
        return Unreachable(
            "Kafka cannot be reached "
            f"(TURNOUT_KAFKA__BOOTSTRAP_SERVERS={self.bootstrap_servers}):\n  {listed}"
        )


class _EncryptedKeyError(Exception):
    pass


def _no_passphrase() -> str:
    # Without it, Python would ask for one at the terminal, and wait for ever.
    raise _EncryptedKeyError


def _tls_problem(error: Exception) -> str:
    match error:
        case _EncryptedKeyError():
            return (
                "the key is encrypted, and nobody is there to type its passphrase; write it without one: "
                "openssl pkey -in KEY -out NEW, readable by turnout alone"
            )
        case ssl.SSLError(reason="KEY_VALUES_MISMATCH"):
            return "the key is not that of the certificate"
        case ssl.SSLError():
            return f"no certificate, or no key, is in it as PEM ({error})"
    return str(error)


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
