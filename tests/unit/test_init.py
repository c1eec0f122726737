"""`turnout init`: what it writes passes as it is, and what is there is never touched."""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import indent

import pytest

from service.cli import app as app_module
from service.cli import starter
from service.cli.init import FILES

ROOT = Path(__file__).parents[2]
Turnout = Callable[..., int]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def turnout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Turnout:
    """The command in this process, called in a folder of its own."""
    for name in [name for name in os.environ if name.startswith("TURNOUT_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def call(*arguments: str) -> int:
        codes: list[int] = []
        monkeypatch.setattr(app_module, "leave", codes.append)
        monkeypatch.setattr(sys, "argv", ["turnout", *arguments])
        app_module.main()
        return codes[0]

    return call


def forget_hello() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "hello"]:
        del sys.modules[name]


def test_the_folder_passes_lint_and_its_tests_as_it_is(
    turnout: Turnout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert turnout("init", "new/first") == 0
    said = capsys.readouterr().out
    assert all(f"wrote new/first/{name}\n" in said for name in FILES)
    assert "cd new/first\n  turnout routes test --modules hello\n  turnout dev --modules hello" in said
    monkeypatch.chdir(tmp_path / "new/first")
    try:
        assert turnout("routes", "lint", "--modules", "hello") == 0
        assert turnout("routes", "test", "--modules", "hello", "--cover") == 0
    finally:
        forget_hello()
    told = capsys.readouterr()
    assert told.out == "routes/hello.test.yaml: 3 passed\n"
    assert "1 route in 1 file: nothing found\n" in told.err
    assert "1 of 1 routes are covered\n" in told.err


def test_nothing_is_written_where_one_of_its_files_is_there_already(
    turnout: Turnout, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "routes").mkdir()
    (tmp_path / "routes/hello.yaml").write_text("mine")
    assert turnout("init") == 1
    assert (
        "routes/hello.yaml: there already, so nothing was written; name a folder" in capsys.readouterr().err
    )
    assert [path.name for path in tmp_path.rglob("*")] == ["routes", "hello.yaml"]
    assert (tmp_path / "routes/hello.yaml").read_text() == "mine"


def test_a_folder_that_cannot_be_written_to_is_said(
    turnout: Turnout, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "hello").write_text("a file")
    assert turnout("init") == 1
    assert "hello cannot be written: File exists" in capsys.readouterr().err
    assert turnout("init", "hello") == 2


def test_all_that_lies_there_is_written(tmp_path: Path) -> None:
    folder = Path(str(starter.__file__)).parent
    lies_there = {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert lies_there - {"__init__.py"} == set(FILES)


def test_the_readme_of_the_project_shows_what_is_written() -> None:
    readme, lies_in = (ROOT / "README.md").read_text(), ROOT / "service/cli/starter"
    (routes,) = re.findall(r"^```yaml\n(version: 1\n.*?)^```", readme, re.DOTALL | re.MULTILINE)
    assert (lies_in / "routes/hello.yaml").read_text().endswith(routes)
    (code,) = re.findall(r"^```python\n(text = .*?)^```", readme, re.DOTALL | re.MULTILINE)
    assert indent(code, " " * 8) in (lies_in / "hello/greeting.py").read_text()
    (commands,) = re.findall(r"^```sh\n(turnout emit .*?)^```", readme, re.DOTALL | re.MULTILINE)
    assert commands in (lies_in / "README.md").read_text()
