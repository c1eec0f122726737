"""How Temporal is reached: what is refused, and what is said of payloads that cannot be read."""

import asyncio
from pathlib import Path

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.contrib.pydantic import pydantic_data_converter

from service.errors import ConfigurationError
from service.temporal.access import Access, why_unreachable
from workflows.encryption import NotReadable, new_key


def test_what_is_encrypted_is_never_dropped_where_there_are_no_keys(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(new_key("k"))
    with_keys, without = Access(keys_file=file).converter, Access().converter
    encrypted = asyncio.run(with_keys.encode(["s3cret"]))
    assert asyncio.run(with_keys.decode(encrypted)) == ["s3cret"]
    with pytest.raises(NotReadable, match="there are no keys; set TURNOUT_ENCRYPTION__KEYS_FILE"):
        asyncio.run(without.decode(encrypted))
    plain = asyncio.run(pydantic_data_converter.encode([{"a": 1}]))
    assert asyncio.run(without.encode([{"a": 1}])) == plain
    assert asyncio.run(without.decode(plain)) == asyncio.run(with_keys.decode(plain)) == [{"a": 1}]


def test_a_file_of_keys_that_cannot_be_used_is_our_mistake(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("nothing")
    with pytest.raises(ConfigurationError, match=r"TURNOUT_ENCRYPTION__KEYS_FILE: .* line 1: write an id"):
        _ = Access(keys_file=tmp_path / "keys").converter


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ("Status { code: Unauthenticated, message: ... }", "it does not know us; check the API key"),
        ("Status { code: PermissionDenied, message: ... }", "it does not know us; check the API key"),
        ("", "no answer within 10 s"),
        ("something new", "does a Temporal frontend listen there"),
    ],
)
def test_what_the_sdk_says_is_told_with_what_to_do(said: str, means: str) -> None:
    text = why_unreachable(RuntimeError(f"Failed client connect: {said}" if said else ""), {})
    assert text.startswith(means)
    assert said in text
    assert len(why_unreachable(RuntimeError("x" * 10_000), {})) < 500


def test_the_key_of_temporals_own_settings_is_known_as_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(Access().secret_files()) == [("TEMPORAL_TLS_CLIENT_KEY_PATH", None)]
    monkeypatch.setenv("TEMPORAL_TLS_CLIENT_KEY_PATH", "/run/key")
    assert list(Access().secret_files()) == [("TEMPORAL_TLS_CLIENT_KEY_PATH", Path("/run/key"))]


def test_payloads_of_others_are_read_as_they_are() -> None:
    payload = Payload(metadata={"encoding": b"binary/plain"}, data=b"x")
    assert asyncio.run(Access().converter.decode([payload])) == [b"x"]
