"""Files with secrets: seen when they change, and told of when everybody can read them."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from service import secret_files
from service.addresses import is_this_machine
from service.secret_files import Watched, read_by_others


@pytest.fixture(autouse=True)
def looked_for_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secret_files, "LOOK_SECONDS", 0.0)


def _rewritten(file: Path) -> None:
    file.write_text("another secret")


def _replaced(file: Path) -> None:
    new = file.with_name("new")
    new.write_text(file.read_text())
    new.replace(file)


def _swapped_as_kubernetes_does(file: Path) -> None:
    folder = file.with_name("..data-2")
    folder.mkdir()
    (folder / "secret").write_text("s3cret")
    link = file.with_name("link")
    link.symlink_to(folder / "secret")
    link.replace(file)


def _taken_away(file: Path) -> None:
    file.unlink()


@pytest.mark.parametrize("change", [_rewritten, _replaced, _swapped_as_kubernetes_does, _taken_away])
def test_a_file_that_changes_is_seen_once(tmp_path: Path, change: Callable[[Path], None]) -> None:
    file, other = tmp_path / "secret", tmp_path / "other"
    file.write_text("s3cret")
    watched = Watched([other, file])
    assert not watched.changed()
    change(file)
    assert watched.changed()
    assert not watched.changed()
    watched.look_again()
    assert watched.changed()


def test_a_file_that_comes_is_seen(tmp_path: Path) -> None:
    watched = Watched([tmp_path / "secret"])
    (tmp_path / "secret").write_text("s3cret")
    assert watched.changed()


def test_files_are_looked_at_once_a_second_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secret_files, "LOOK_SECONDS", 3600.0)
    watched = Watched([tmp_path / "secret"])
    (tmp_path / "secret").write_text("s3cret")
    assert not watched.changed()


def test_a_secret_that_everybody_can_read_is_told_of(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("s3cret")
    for mode, told in ((0o600, False), (0o640, False), (0o604, True), (0o644, True)):
        file.chmod(mode)
        lines = list(read_by_others([("SETTING", file), ("NONE", None), ("ABSENT", tmp_path / "absent")]))
        assert [f"chmod o-rwx {os.fspath(file)}" in line for line in lines] == [True] * told


@pytest.mark.parametrize(
    ("address", "is_it"),
    [
        ("127.0.0.1:9092", True),
        ("127.9.9.9:9092", True),
        ("[::1]:9092", True),
        ("localhost:9092", True),
        (" LocalHost.:9092", True),
        ("kafka.localhost:9092", True),
        ("10.0.0.1:9092", False),
        ("0.0.0.0:9092", False),
        ("[::]:9092", False),
        ("[2001:db8::1]:9092", False),
        ("kafka:9092", False),
        ("localhost.shop:9092", False),
        ("127.0.0.1.shop:9092", False),
        ("", False),
    ],
)
def test_only_loopback_is_this_machine(address: str, *, is_it: bool) -> None:
    assert is_this_machine(address) == is_it
