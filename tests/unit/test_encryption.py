"""Payloads that only those with a key can read."""

import asyncio
import base64
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError

from workflows import encryption
from workflows.encryption import ENCODING, KEY_ID, Encryption, EncryptionCodec, KeyFile, NotReadable, new_key

any_time = settings(deadline=None)
"""A loop for each example takes long on a busy machine."""

payloads = st.builds(
    lambda metadata, data: Payload(metadata=metadata, data=data),
    st.dictionaries(st.text(max_size=10), st.binary(max_size=20), max_size=3),
    st.binary(max_size=200),
)
plain_ones = payloads.filter(lambda one: one.metadata.get("encoding") != ENCODING)


@pytest.fixture(autouse=True)
def looked_for_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encryption, "LOOK_SECONDS", 0.0)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyFile:
    file = tmp_path_factory.mktemp("keys") / "keys"
    file.write_text(f"{new_key('b')}\n{new_key('a')}\n")
    return KeyFile(file)


def encode(keys: KeyFile, *payloads: Payload) -> list[Payload]:
    return asyncio.run(EncryptionCodec(keys).encode(payloads))


def decode(keys: KeyFile, *payloads: Payload) -> list[Payload]:
    return asyncio.run(EncryptionCodec(keys).decode(payloads))


# --- payloads ---


@any_time
@given(given_ones=st.lists(payloads, max_size=3))
def test_any_payload_comes_back_as_it_was(keys: KeyFile, given_ones: list[Payload]) -> None:
    assert decode(keys, *encode(keys, *given_ones)) == given_ones


@any_time
@given(data=st.binary(min_size=8, max_size=200))
def test_nothing_of_a_payload_is_in_what_it_becomes(keys: KeyFile, data: bytes) -> None:
    (one,) = encode(keys, Payload(metadata={"encoding": b"json/plain"}, data=data))
    assert dict(one.metadata) == {"encoding": ENCODING, KEY_ID: b"b"}
    assert data not in one.data
    assert b"json/plain" not in one.data


@any_time
@given(payload=payloads, place=st.integers(0), change=st.integers(1, 255))
def test_a_payload_of_which_a_byte_was_changed_is_refused(
    keys: KeyFile, payload: Payload, place: int, change: int
) -> None:
    (one,) = encode(keys, payload)
    raw = bytearray(one.data)
    raw[place % len(raw)] ^= change
    one.data = bytes(raw)
    with pytest.raises(NotReadable, match="was changed since it was encrypted with key 'b'"):
        decode(keys, one)


@any_time
@given(payload=payloads, length=st.integers(0, 27))
def test_a_payload_that_was_cut_off_is_refused(keys: KeyFile, payload: Payload, length: int) -> None:
    (one,) = encode(keys, payload)
    one.data = one.data[:length]
    with pytest.raises(NotReadable, match="was changed"):
        decode(keys, one)


@any_time
@given(payload=payloads)
def test_a_payload_is_not_read_by_another_key(keys: KeyFile, payload: Payload) -> None:
    (one,) = encode(keys, payload)
    one.metadata[KEY_ID] = b"a"
    with pytest.raises(NotReadable, match="or that is another key by the same id here"):
        decode(keys, one)


@any_time
@given(payload=payloads, key_id=st.binary(max_size=300).filter(lambda one: one not in {b"a", b"b"}))
def test_a_key_that_is_not_known_is_named(keys: KeyFile, payload: Payload, key_id: bytes) -> None:
    (one,) = encode(keys, payload)
    one.metadata[KEY_ID] = key_id
    with pytest.raises(NotReadable, match="add it to the file of keys") as raised:
        decode(keys, one)
    assert len(str(raised.value)) < 600


@any_time
@given(payload=plain_ones)
def test_a_payload_that_is_not_encrypted_is_read_as_it_is(keys: KeyFile, payload: Payload) -> None:
    assert decode(keys, payload) == [payload]


def test_the_same_payload_never_becomes_the_same_twice(keys: KeyFile) -> None:
    one, other = encode(keys, Payload(data=b"x"), Payload(data=b"x"))
    assert one.data != other.data


# --- keys ---


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "keys"
    file.write_text(f"# ours\n\n{new_key('2026-11')}\n")
    return file


def test_a_new_key_is_used_without_a_restart_and_the_old_one_still_reads(file: Path) -> None:
    keys = KeyFile(file)
    (before,) = encode(keys, Payload(data=b"x"))
    file.write_text(f"{new_key('2026-12')}\n{file.read_text()}")
    (after,) = encode(keys, Payload(data=b"y"))
    assert (before.metadata[KEY_ID], after.metadata[KEY_ID]) == (b"2026-11", b"2026-12")
    assert [one.data for one in decode(keys, before, after)] == [b"x", b"y"]


def test_a_key_that_is_not_known_is_looked_for_at_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encryption, "LOOK_SECONDS", 3600.0)
    keys = KeyFile(file)
    keys.find("2026-11")
    elsewhere = file.with_name("elsewhere")
    elsewhere.write_text(new_key("2026-12"))
    (one,) = encode(KeyFile(elsewhere), Payload(data=b"x"))
    with pytest.raises(NotReadable):
        decode(keys, one)
    file.write_text(f"{file.read_text()}{elsewhere.read_text()}\n")
    assert decode(keys, one) == [Payload(data=b"x")]


@pytest.mark.parametrize("becomes", ["", "no key", None])
def test_a_file_that_cannot_be_used_later_leaves_the_keys_as_they_were(
    file: Path, becomes: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    keys = KeyFile(file)
    if becomes is None:
        file.unlink()
    else:
        file.write_text(becomes)
    with caplog.at_level(logging.WARNING):
        (one,) = encode(keys, Payload(data=b"x"))
        keys._look()  # noqa: SLF001 - as a second later
    assert decode(keys, one) == [Payload(data=b"x")]
    assert caplog.text.count("encryption keys stay as they were") == 1


SECRET = base64.b64encode(bytes(range(32))).decode()  # the same in each process that collects these tests


def wrong_files() -> Iterator[tuple[bytes, str]]:
    yield b"", "holds none"
    yield b"# nothing\n", "holds none"
    yield b"\xff\xfe", "is not text"
    yield SECRET.encode(), "line 1: write an id and a key"
    yield f"a {SECRET} b".encode(), "line 1: write an id and a key"
    yield f"a/b {SECRET}".encode(), "line 1: write an id and a key"
    yield f"a {SECRET}\na {SECRET}".encode(), "line 2: there is another key with this id"
    yield f"a {SECRET[:-8]}".encode(), "is not 32 bytes in base64"
    yield f"a {SECRET[:20]}!{SECRET[20:]}".encode(), "is not 32 bytes in base64"


@pytest.mark.parametrize(("content", "problem"), list(wrong_files()))
def test_a_file_of_keys_that_cannot_be_used_is_refused_with_what_to_write(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    file = tmp_path / "keys"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=problem) as raised:
        KeyFile(file)
    assert SECRET[:10] not in str(raised.value)


def test_a_file_of_keys_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"absent cannot be read: No such file"):
        KeyFile(tmp_path / "absent")


def test_without_the_package_it_is_said_what_to_install(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with pytest.raises(ValueError, match=r"pip install 'turnout\[encryption\]'"):
        KeyFile(file)


def test_a_key_is_never_in_the_text_of_what_holds_it(file: Path) -> None:
    secret = file.read_text().split()[-1]
    keys = KeyFile(file)
    assert secret not in f"{keys!r} {keys.active()!r} {keys.active()}"
    assert repr(keys.active()) == "Key('2026-11')"


# --- clients ---


def test_what_a_failure_says_is_encrypted(file: Path) -> None:
    converter = Encryption(file).encrypting(pydantic_data_converter)
    failure = Failure()
    asyncio.run(
        converter.encode_failure(ApplicationError("card 4711 refused", "4712", type="CardRefused"), failure)
    )
    assert b"4711" not in failure.SerializeToString()
    assert b"4712" not in failure.SerializeToString()
    assert failure.application_failure_info.type == "CardRefused"
    again = asyncio.run(converter.decode_failure(failure))
    assert isinstance(again, ApplicationError)
    assert (again.message, *again.details) == ("card 4711 refused", "4712")


def test_a_client_that_has_a_codec_already_is_refused(file: Path) -> None:
    once = Encryption(file).encrypting(DataConverter.default)
    with pytest.raises(ValueError, match="has a payload codec already"):
        Encryption(file).encrypting(once)


@pytest.mark.parametrize("key_id", ["", "a b", "a/b", "schlüssel", "a\n", "a" * 101])
def test_what_can_be_no_id_of_a_key_is_refused(key_id: str) -> None:
    with pytest.raises(ValueError, match="is no id of a key"):
        new_key(key_id)


def test_a_new_key_is_another_one_each_time() -> None:
    assert len({new_key("a") for _ in range(3)}) == 3
