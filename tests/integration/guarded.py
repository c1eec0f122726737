"""A Kafka that asks who one is: by password, token or certificate, and gives nobody a right by itself."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiokafka.protocol.admin import CreateAclsRequest
from pydantic import SecretStr

from service.local import HOST
from service.settings import KafkaSettings
from tests.certificates import Authority
from tests.integration.service import Site
from tests.servers import ApacheKafka, random_port, why_no_apache_kafka

# Numbers of the protocol, from the Javadoc of ResourceType, AclOperation, PatternType and AclPermissionType.
TOPIC, GROUP = 2, 3
READ, WRITE, DESCRIBE, DESCRIBE_CONFIGS = 3, 4, 8, 10
LITERAL, PREFIXED, ALLOW = 3, 4, 3

_MODULES = "org.apache.kafka.common.security"
REAUTH_MS = 1_500
"""How long a login by SCRAM-SHA-256 or a token holds at most, until the broker cuts the connection."""


@dataclass(frozen=True)
class Guarded:
    """A broker with a door for tests, who may do all, one that takes logins, and one that takes certificates.

    `app` and `stranger` are users with the password `app-pw`, `app` by SCRAM too; who comes with a
    certificate is called as it says, and who brings a token as its `sub` says.
    """

    door: str
    guarded_door: str
    certificate_door: str
    folder: Path
    authority: Authority

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca.pem"

    def settings(self, **changes: Any) -> KafkaSettings:
        options: dict[str, Any] = {
            "bootstrap_servers": self.guarded_door,
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "PLAIN",
            "username": "app",
            "password": SecretStr("app-pw"),
            "tls_ca_file": self.ca_file,
        }
        return KafkaSettings(**{k: v for k, v in (options | changes).items() if v is not None})

    def with_certificate(self, name: str = "app", **changes: Any) -> KafkaSettings:
        options: dict[str, Any] = {
            "bootstrap_servers": self.certificate_door,
            "security_protocol": "SSL",
            "tls_ca_file": self.ca_file,
            "tls_cert_file": self.folder / f"{name}.pem",
            "tls_key_file": self.folder / f"{name}.key",
        }
        return KafkaSettings(**{k: v for k, v in (options | changes).items() if v is not None})


@asynccontextmanager
async def guarded_kafka(folder: Path) -> AsyncIterator[Guarded]:
    if missing := why_no_apache_kafka():
        pytest.skip(f"needs {missing}")
    authority, other = Authority("ca"), Authority("otherca")
    (folder / "ca.pem").write_bytes(authority.certificate)
    (folder / "otherca.pem").write_bytes(other.certificate)
    for name in ("broker", "app", "newcomer"):
        authority.issue(name).write(folder, name)
    other.issue("app").write(folder, "other")
    port, guarded_port, certificate_port, controller = (random_port() for _ in range(4))
    doors = f"PLAINTEXT://{HOST}:{port},GUARDED://{HOST}:{guarded_port},CERTIFIED://{HOST}:{certificate_port}"
    protocols = {
        "CONTROLLER": "PLAINTEXT",
        "PLAINTEXT": "PLAINTEXT",
        "GUARDED": "SASL_SSL",
        "CERTIFIED": "SSL",
    }
    users = 'user_app="app-pw" user_stranger="app-pw"'
    scram = f"{_MODULES}.scram.ScramLoginModule required;"
    guarded = "listener.name.guarded"
    broker = ApacheKafka(
        folder / "kafka",
        port=port,
        scram_users={"app": "app-pw"},
        overrides={
            "controller.quorum.voters": f"1@{HOST}:{controller}",
            "listeners": f"{doors},CONTROLLER://{HOST}:{controller}",
            "advertised.listeners": doors,
            "listener.security.protocol.map": ",".join(f"{door}:{how}" for door, how in protocols.items()),
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
            f"{guarded}.plain.sasl.jaas.config": f"{_MODULES}.plain.PlainLoginModule required {users};",
            f"{guarded}.scram-sha-256.sasl.jaas.config": scram,
            f"{guarded}.scram-sha-512.sasl.jaas.config": scram,
            # Kafka's own check of tokens that nobody signed: for tests, and there by default.
            f"{guarded}.oauthbearer.sasl.jaas.config": (
                f"{_MODULES}.oauthbearer.OAuthBearerLoginModule required "
                'unsecuredLoginStringClaim_sub="broker";'
            ),
            f"{guarded}.scram-sha-256.connections.max.reauth.ms": str(REAUTH_MS),
            f"{guarded}.oauthbearer.connections.max.reauth.ms": str(REAUTH_MS),
            "listener.name.certified.ssl.client.auth": "required",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(folder / "broker.bundle.pem"),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(folder / "ca.pem"),
            "ssl.principal.mapping.rules": "RULE:^CN=([^,]+).*$/$1/,DEFAULT",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
        },
    )
    await broker.start()
    try:
        yield Guarded(
            broker.address, f"{HOST}:{guarded_port}", f"{HOST}:{certificate_port}", folder, authority
        )
    finally:
        broker.kill()


async def allow(here: Site, operation: int, *names: str, user: str = "app") -> None:
    """Give `user` the right to topics by their names in routes, or to `group` and groups that begin so."""
    for name in names:
        if name.startswith("group"):
            kind, full = GROUP, name.replace("group", here.group, 1)
        else:
            kind, full = TOPIC, here.topics[name]
        await grant(here, operation, kind, full, user=user)


async def grant(
    here: Site, operation: int, kind: int, name: str, *, pattern: int = LITERAL, user: str = "app"
) -> None:
    """Give `user` the right to what is called `name`, or begins so."""
    request = CreateAclsRequest(kind, name, pattern, f"User:{user}", "*", operation, ALLOW)
    answer = await here.admin._send_to_controller(request)  # noqa: SLF001 - the client has no word for it
    assert [code for code, _ in answer.creation_responses] == [0]
