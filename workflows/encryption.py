"""Encrypts what workflows are given, told and return, with keys that only clients and workers have.

Add it to any Python client in one line; its workers take it from there:

    client = await Client.connect(…, plugins=[Encryption("/run/secrets/temporal-keys")])

This file imports only the standard library, temporalio and cryptography, so a team can copy it.

The contract, for clients and workers in other languages: a payload whose metadata `encoding` is
`binary/encrypted` names its key in `encryption-key-id`. Its data is 12 bytes of nonce, then what AES-256-GCM
made, without associated data, of the payload that it stands for, serialized by Protobuf, then 16 bytes of
tag. It is the format of the encryption samples of Temporal's SDKs.

A payload that is not encrypted is read as it is, so that workflows that run already go on.
"""

import base64
import binascii
import logging
import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    DataConverter,
    DefaultFailureConverter,
    DefaultFailureConverterWithEncodedAttributes,
    PayloadCodec,
)
from temporalio.plugin import SimplePlugin

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

log = logging.getLogger(__name__)

ENCODING = b"binary/encrypted"
KEY_ID = "encryption-key-id"
KEY_BYTES, NONCE_BYTES = 32, 12

LOOK_SECONDS = 1.0
"""How often, at most, it is looked whether a file of keys has changed."""

NEW_KEY = "turnout codec new-key"
_ID = re.compile(r"[A-Za-z0-9._-]{1,100}", re.ASCII)


class NotReadable(RuntimeError):  # noqa: N818 - a state of the keys, mostly
    """An encrypted payload cannot be read: by these keys, now.

    In a worker it fails the workflow task, which Temporal repeats: nothing is lost until the key is there.
    """


@dataclass(frozen=True, slots=True)
class Key:
    """A key with its id; the key never appears in its text."""

    id: str
    cipher: "AESGCM"

    def __repr__(self) -> str:
        return f"Key({self.id!r})"


class Keys(Protocol):
    """Where keys come from; a key management service is one more class with these two."""

    def active(self) -> Key:
        """The key that encrypts from now on."""
        ...

    def find(self, key_id: str) -> Key | None:
        """The key with that id; None where it is not known."""
        ...


class KeyFile:
    """The keys in a file, one per line: an id, a space, and 32 bytes in base64.

    The first encrypts, all decrypt.

    The file is read anew when it has changed; one that cannot be used then is logged, and the keys stay as
    they were.

    Args:
        file: Where they are.

    Raises:
        ValueError: It cannot be used; says what to write.
    """

    def __init__(self, file: str | Path) -> None:
        self._file = Path(file)
        self._keys: Mapping[str, Key] = {}
        self._version: tuple[int, ...] = ()
        self._looked_at = 0.0
        self._trouble = ""
        self._read(self._state())

    def active(self) -> Key:
        """The key that encrypts from now on."""
        if time.monotonic() - self._looked_at >= LOOK_SECONDS:
            self._look()
        return next(iter(self._keys.values()))

    def find(self, key_id: str) -> Key | None:
        """The key with that id; None where it is not known."""
        if key_id not in self._keys or time.monotonic() - self._looked_at >= LOOK_SECONDS:
            self._look()
        return self._keys.get(key_id)

    def _look(self) -> None:
        self._looked_at = time.monotonic()
        try:
            version = self._state()
            if version != self._version:
                self._read(version)
                log.info("encryption keys read anew: %s", ", ".join(self._keys))
            self._trouble = ""
        except ValueError as error:
            if str(error) != self._trouble:
                log.warning("encryption keys stay as they were: %s", error)
            self._trouble = str(error)

    def _state(self) -> tuple[int, ...]:
        try:
            state = self._file.stat()
        except OSError as error:
            raise ValueError(f"the file of keys {self._file} cannot be read: {error.strerror}") from error
        return state.st_mtime_ns, state.st_size, state.st_ino

    def _read(self, version: tuple[int, ...]) -> None:
        try:
            lines = self._file.read_text("ascii").splitlines()
        except OSError as error:
            raise ValueError(f"the file of keys {self._file} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError:
            raise ValueError(
                f"the file of keys {self._file} is not text; make a line by `{NEW_KEY}`"
            ) from None
        self._keys = {key.id: key for key in self._keys_in(lines)}
        self._version = version

    def _keys_in(self, lines: Sequence[str]) -> Iterable[Key]:
        ids: set[str] = set()
        for number, line in enumerate(lines, 1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            # Nothing of the line is repeated: it may be a key.
            where = f"the file of keys {self._file}, line {number}"
            if len(words) != 2 or not _ID.fullmatch(words[0]):
                raise ValueError(f"{where}: write an id and a key, as `{NEW_KEY}` prints them")
            if words[0] in ids:
                raise ValueError(f"{where}: there is another key with this id; give each its own")
            ids.add(words[0])
            yield make_key(words[0], _decoded(words[1], where))
        if not ids:
            raise ValueError(f"the file of keys {self._file} holds none; make a line by `{NEW_KEY}`")


def _decoded(text: str, where: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error:
        raw = b""
    if len(raw) != KEY_BYTES:
        raise ValueError(f"{where}: the key is not {KEY_BYTES} bytes in base64; make one by `{NEW_KEY}`")
    return raw


def make_key(key_id: str, raw: bytes) -> Key:
    """The key of these 32 bytes.

    Raises:
        ValueError: The package `cryptography` is missing.
    """
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        msg = "payloads are encrypted by the package cryptography: pip install 'turnout[encryption]'"
        raise ValueError(msg) from error
    return Key(key_id, AESGCM(raw))


def new_key(key_id: str) -> str:
    """A line for a file of keys, with a key that nobody has seen.

    Raises:
        ValueError: The id cannot be one.
    """
    if not _ID.fullmatch(key_id):
        raise ValueError(f"{key_id!r} is no id of a key; write up to 100 letters, digits and . _ -")
    return f"{key_id} {base64.b64encode(os.urandom(KEY_BYTES)).decode()}"


class EncryptionCodec(PayloadCodec):
    """Encrypts payloads with the active key of `keys`, and decrypts them with the key that they name."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Each payload encrypted, with a nonce of its own."""
        key = self._keys.active()
        return [_encrypted(payload, key) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Each payload as it was; one that is not encrypted as it is.

        Raises:
            NotReadable: The key is not known, or the payload is not what was encrypted with it.
        """
        return [self._decrypted(payload) for payload in payloads]

    def _decrypted(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") != ENCODING:
            return payload
        key_id = payload.metadata.get(KEY_ID, b"").decode(errors="backslashreplace")
        key = self._keys.find(key_id)
        if key is None:
            raise NotReadable(
                f"a payload is encrypted with key {key_id[:100]!r}, which is not among the keys here; "
                "add it to the file of keys, it is read without a restart"
            )
        from cryptography.exceptions import InvalidTag

        nonce, data = payload.data[:NONCE_BYTES], payload.data[NONCE_BYTES:]
        try:
            return Payload.FromString(key.cipher.decrypt(nonce, data, None))
        except (InvalidTag, DecodeError, ValueError) as error:
            raise NotReadable(
                f"a payload was changed since it was encrypted with key {key.id!r}, or that is another key "
                "by the same id here; give each key an id of its own"
            ) from error


def _encrypted(payload: Payload, key: Key) -> Payload:
    nonce = os.urandom(NONCE_BYTES)
    data = nonce + key.cipher.encrypt(nonce, payload.SerializeToString(), None)
    return Payload(metadata={"encoding": ENCODING, KEY_ID: key.id.encode()}, data=data)


class Encryption(SimplePlugin):
    """A client plugin that encrypts payloads, and what failures say.

    Args:
        keys: A file of keys, or another source of them.

    Raises:
        ValueError: The file cannot be used; says what to write.
    """

    def __init__(self, keys: str | Path | Keys) -> None:
        self.codec = EncryptionCodec(KeyFile(keys) if isinstance(keys, str | Path) else keys)
        super().__init__("turnout.encryption", data_converter=self.encrypting)

    def encrypting(self, converter: DataConverter | None) -> DataConverter:
        """`converter`, and then encryption.

        Raises:
            ValueError: It has a codec already.
        """
        converter = converter or DataConverter.default
        if converter.payload_codec is not None:
            raise ValueError("the client has a payload codec already; let that one call EncryptionCodec")
        failures = converter.failure_converter_class
        if failures is DefaultFailureConverter:  # its texts may hold what the payloads do
            failures = DefaultFailureConverterWithEncodedAttributes
        return replace(converter, payload_codec=self.codec, failure_converter_class=failures)
