"""How to reach Temporal: its own environment configuration (`TEMPORAL_…`), and what that does not say."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DataConverter, PayloadCodec
from temporalio.envconfig import ClientConfig
from temporalio.service import TLSConfig

from service.addresses import is_this_machine
from service.errors import ConfigurationError
from service.secret_files import secret_of
from workflows.encryption import ENCODING, Encryption, NotReadable

KEY_PATH = "TEMPORAL_TLS_CLIENT_KEY_PATH"
MOST_CHARACTERS = 300
"""Of what the SDK says, which may be a page of nested errors."""


@dataclass(frozen=True)
class Access:
    """What Temporal's environment configuration does not say.

    Attributes:
        api_key_file: A file with the API key, in place of `TEMPORAL_API_KEY`.
        keys_file: The file of keys by which payloads are encrypted; None: they are not.
        allow_insecure: Whether a way that is not encrypted is taken beyond this machine.
    """

    api_key_file: Path | None = None
    keys_file: Path | None = None
    allow_insecure: bool = False

    @cached_property
    def encryption(self) -> Encryption | None:
        """What encrypts payloads; None where they are not encrypted.

        Raises:
            ConfigurationError: The file of keys cannot be used.
        """
        if self.keys_file is None:
            return None
        try:
            return Encryption(self.keys_file)
        except ValueError as error:
            raise ConfigurationError(f"TURNOUT_ENCRYPTION__KEYS_FILE: {error}") from error

    def secret_files(self) -> Iterator[tuple[str, Path | None]]:
        """The files of Temporal's own settings that others must not read, with their settings."""
        key = os.environ.get(KEY_PATH)
        yield KEY_PATH, Path(key) if key else None

    @property
    def converter(self) -> DataConverter:
        """How values become payloads; raises as `encryption` does."""
        if self.encryption:
            return self.encryption.encrypting(pydantic_data_converter)
        return replace(pydantic_data_converter, payload_codec=_WithoutKeys())

    def connect_options(self) -> dict[str, Any]:
        """What a client connects with, as environment and files say now.

        Raises:
            ConfigurationError: It cannot be read, or it is not what a client can connect with.
        """
        try:
            options: dict[str, Any] = dict(ClientConfig.load_client_connect_config())
        except (RuntimeError, ValueError, OSError) as error:
            msg = f"Temporal's environment configuration (TEMPORAL_…) cannot be used: {error}"
            raise ConfigurationError(msg) from error
        options.setdefault("target_host", "127.0.0.1:7233")
        options.setdefault("namespace", "default")
        if self.api_key_file:
            if "api_key" in options:
                msg = "give TEMPORAL_API_KEY or TURNOUT_TEMPORAL__API_KEY_FILE, not both"
                raise ConfigurationError(msg)
            options["api_key"] = secret_of(self.api_key_file, "TURNOUT_TEMPORAL__API_KEY_FILE")
            options.setdefault("tls", True)
        problems = [*_tls_problems(options.get("tls")), *self._insecurities(options)]
        if problems:
            raise ConfigurationError(problems[0])
        return options

    def _insecurities(self, options: Mapping[str, Any]) -> Iterator[str]:
        address = str(options["target_host"])
        if not options.get("tls") and not self.allow_insecure and not is_this_machine(address):
            yield (
                f"the way to Temporal at TEMPORAL_ADDRESS={address} is not encrypted; set TEMPORAL_TLS=true "
                "(and TEMPORAL_TLS_SERVER_CA_CERT_PATH for an authority of your own), or set "
                "TURNOUT_TEMPORAL__ALLOW_INSECURE=true in a network that you trust"
            )


class _WithoutKeys(PayloadCodec):
    """Encrypts nothing, and says what is missing where others do.

    Without it a worker would take an encrypted signal for one that does not fit its workflow, and drop it.
    """

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return list(payloads)

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        if any(payload.metadata.get("encoding") == ENCODING for payload in payloads):
            raise NotReadable(
                "a payload is encrypted, and there are no keys; set TURNOUT_ENCRYPTION__KEYS_FILE"
            )
        return list(payloads)


_PARTS = (
    ("server_root_ca_cert", "TEMPORAL_TLS_SERVER_CA_CERT_PATH", b"CERTIFICATE"),
    ("client_cert", "TEMPORAL_TLS_CLIENT_CERT_PATH", b"CERTIFICATE"),
    ("client_private_key", KEY_PATH, b"PRIVATE KEY"),
)


def _tls_problems(tls: TLSConfig | bool | None) -> Iterator[str]:
    if not isinstance(tls, TLSConfig):
        return
    # The SDK takes any bytes for a certificate, and then trusts nobody.
    for field, setting, kind in _PARTS:
        content: bytes | None = getattr(tls, field)
        if content is not None and b"-----BEGIN " not in content:
            yield f"{setting} (or …_DATA) holds no {kind.decode().lower()} as PEM"
        if content and b"ENCRYPTED" in content:
            yield (
                f"{setting}: the key is encrypted, and nobody is there to type its passphrase; write it "
                "without one: openssl pkey -in KEY -out NEW, readable by turnout alone"
            )
    if bool(tls.client_cert) != bool(tls.client_private_key):
        yield "TEMPORAL_TLS_CLIENT_CERT_PATH needs TEMPORAL_TLS_CLIENT_KEY_PATH, and this needs that"


def why_unreachable(error: Exception, options: Mapping[str, Any]) -> str:
    """What `error` of a first call means, with what to do; the SDK has one type for all of them.

    Source: texts seen with SDK 1.35 before a door with TLS, and Temporal Server 1.32 (facts of October 2026).
    """
    said, tls = str(error), options.get("tls")
    if not said:
        return "no answer within 10 s; is it Temporal's frontend, and no firewall in the way?"
    means = next((cure for texts, cure in _meanings(tls) if any(text in said for text in texts)), "")
    if not means:
        means = "does a Temporal frontend listen there, and is TLS (TEMPORAL_TLS) as it expects?"
    return f"{means} (the SDK says: {said.removeprefix('Failed client connect: ')[:MOST_CHARACTERS]})"


def _meanings(tls: TLSConfig | bool | None) -> Iterator[tuple[tuple[str, ...], str]]:
    own = isinstance(tls, TLSConfig) and tls.server_root_ca_cert
    trusted = "TEMPORAL_TLS_SERVER_CA_CERT_PATH" if own else "the authorities of the system"
    yield ("Connection refused",), "the connection is refused: does a Temporal frontend listen there?"
    yield ("dns error",), "the name cannot be resolved"
    yield (
        ("UnknownIssuer",),
        (
            f"its certificate is not vouched for by {trusted}; set TEMPORAL_TLS_SERVER_CA_CERT_PATH to the "
            "authority that issued it"
        ),
    )
    yield (
        ("NotValidForName",),
        "its certificate is not for this address; set TEMPORAL_TLS_SERVER_NAME to a name that it is for",
    )
    yield ("InvalidCertificate(Expired",), "its certificate has expired; the frontend needs a new one"
    yield ("InvalidCertificate(NotValidYet",), "its certificate is not valid yet; is the clock here right?"
    yield (
        ("KeyMismatch",),
        "TEMPORAL_TLS_CLIENT_KEY_PATH is not the key of the certificate in TEMPORAL_TLS_CLIENT_CERT_PATH",
    )
    yield ("PrivateKeyParseError",), "TEMPORAL_TLS_CLIENT_KEY_PATH holds no key that can be used"
    yield (
        ("InvalidContentType", "InvalidMessage"),
        "it does not speak TLS; use its TLS port, or TEMPORAL_TLS=false in a network that you trust",
    )
    yield (
        ("Unauthenticated", "PermissionDenied", "UNAUTHENTICATED", "PERMISSION_DENIED"),
        (
            "it does not know us; check the API key (TEMPORAL_API_KEY or "
            "TURNOUT_TEMPORAL__API_KEY_FILE), and what it may do"
        ),
    )
    hangs_up = ("transport error", "connection closed", "CertificateRequired", "AlertReceived", "broken pipe")
    if not tls:
        yield hangs_up, "it hangs up at the first call: it expects TLS (TEMPORAL_TLS=true)"
    elif isinstance(tls, TLSConfig) and tls.client_cert:
        yield (
            hangs_up,
            (
                "it hangs up after the TLS handshake: most likely it does not take our certificate "
                "(TEMPORAL_TLS_CLIENT_CERT_PATH), which has expired, or whose authority it does not trust"
            ),
        )
    else:
        yield (
            hangs_up,
            (
                "it hangs up after the TLS handshake: most likely it asks for our certificate; set "
                "TEMPORAL_TLS_CLIENT_CERT_PATH and TEMPORAL_TLS_CLIENT_KEY_PATH"
            ),
        )
