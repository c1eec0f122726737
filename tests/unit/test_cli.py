"""The command line: what is said, and the exit code that scripts go by."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import pytest
import typer
from typer.core import TyperGroup

from service.cli import app as app_module

CLOSED = "127.0.0.1:1"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, logging_as_before: None) -> None:
    for name in [name for name in os.environ if name.startswith("TURNOUT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TURNOUT_KAFKA__BOOTSTRAP_SERVERS", CLOSED)
    monkeypatch.setenv("TURNOUT_START_TIMEOUT", "0s")


def exit_code(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Of the command in this process, which goes on."""
    codes: list[int] = []
    monkeypatch.setattr(app_module, "leave", codes.append)
    monkeypatch.setattr(sys, "argv", ["turnout", *arguments])
    app_module.main()
    (code,) = codes
    return code


def turnout(*arguments: str, stdout: TextIO | int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "service", *arguments]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60, check=False)


def test_help_names_every_command_and_is_no_mistake() -> None:
    ended = turnout("--help")
    assert (ended.returncode, ended.stderr) == (0, "")
    for command in (
        "run",
        "bridge",
        "worker",
        "init",
        "dev",
        "emit",
        "tail",
        "seek",
        "pause",
        "resume",
        "paused",
        "parked",
        "replay-check",
        "letters",
        "routes",
        "docs",
        "ui",
        "setup",
        "doctor",
    ):
        assert command in ended.stdout


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_cannot_be_written_is_said_in_one_line_and_ends_with_1(
    monkeypatch: pytest.MonkeyPatch, unbuffered: str
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    with Path("/dev/full").open("w") as full:
        ended = turnout("--help", stdout=full)
    text = "turnout: the output cannot be written: No space left on device\n"
    assert (ended.returncode, ended.stderr) == (1, text)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_nobody_reads_any_more_ends_as_shells_expect_without_a_word(
    monkeypatch: pytest.MonkeyPatch, unbuffered: str
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        ended = turnout("--help", stdout=pipe)
    assert (ended.returncode, ended.stderr) == (141, "")


@pytest.mark.parametrize(
    ("arguments", "closed", "code"), [("--help", ">&-", 0), ("paused", "2>&-", 1), ("fly", "<&- >&- 2>&-", 2)]
)
def test_streams_that_are_closed_change_nothing_but_what_is_said(
    arguments: str, closed: str, code: int
) -> None:
    command = f"{sys.executable} -W error -m service {arguments} {closed}"
    ended = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == code
    assert "Traceback" not in ended.stdout + ended.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["emit"],
        ["closing", "--since", "2999-01-01T00:00:00Z"],
        ["emit", "t"],
        ["emit", "t", "--type", "x", "--data", "{"],
        ["tail", "t", "--last", "x"],
        ["pause", "t"],
        ["pause", "--because", "x"],
        ["resume"],
        ["seek", "t/0"],
        ["seek", "t", "--to", "latest"],
        ["seek", "t/x", "--to", "latest"],
        ["seek", "t/0", "--to", "-1"],
        ["seek", "t/0", "--to", "newest"],
        ["run", "--processes", "0"],
        ["worker", "--processes", "x"],
        ["replay-check", "--last", "0"],
        ["letters", "add", "t/0/1"],
        ["letters", "add", "t/0", "--because", "x"],
        ["letters", "add", "t/0/1", "--because", " "],
    ],
)
def test_a_usage_that_is_wrong_ends_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: Sequence[str]
) -> None:
    assert exit_code(monkeypatch, *arguments) == 2
    said = capsys.readouterr()
    assert "Usage: turnout" in said.out + said.err


@pytest.mark.parametrize(
    "command",
    ["run", "bridge", "worker", "paused", "parked", "seek t/0 --to 0", "letters add t/0/0 --because x"],
)
def test_a_setting_that_is_missing_ends_with_1_and_the_cure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert exit_code(monkeypatch, *command.split()) == 1
    said = capsys.readouterr().err
    assert said.startswith("turnout: these settings are wrong:\n  TURNOUT_GROUP: ")
    assert "Traceback" not in said


def test_a_setting_that_is_wrong_ends_with_1_in_the_shell_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURNOUT_GRUOP", "shop")
    ended = turnout("tail", "shop.orders")
    assert ended.returncode == 1
    assert ended.stderr == (
        "turnout: these settings are wrong:\n"
        "  TURNOUT_GRUOP: there is no such setting; did you mean TURNOUT_GROUP?\n"
    )


def test_routes_that_are_wrong_end_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TURNOUT_GROUP", "shop")
    monkeypatch.setenv("TURNOUT_ROUTES", "no-such-folder")
    assert exit_code(monkeypatch, "bridge") == 1
    assert "there is no such file or folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["emit", "t", "--type", "x"], ["tail", "t"], ["seek", "t/0", "--to", "0"], ["worker"]]
)
def test_a_neighbour_that_is_not_there_ends_with_3_and_the_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: Sequence[str]
) -> None:
    monkeypatch.setenv("TURNOUT_GROUP", "shop")
    assert exit_code(monkeypatch, *arguments) == 3
    said = capsys.readouterr().err
    assert f"turnout: Kafka cannot be reached (TURNOUT_KAFKA__BOOTSTRAP_SERVERS={CLOSED})" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("arguments", [["pause", "t", "--because", "x"], ["resume", "t"], ["paused"]])
def test_a_temporal_that_is_not_there_ends_with_3_and_the_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: Sequence[str]
) -> None:
    monkeypatch.setenv("TURNOUT_GROUP", "shop")
    monkeypatch.setenv("TEMPORAL_ADDRESS", CLOSED)
    assert exit_code(monkeypatch, *arguments) == 3
    said = capsys.readouterr().err
    assert f"turnout: Temporal cannot be reached (TEMPORAL_ADDRESS={CLOSED})" in said
    assert "Traceback" not in said


# --- how processes end ---


def test_a_defect_of_ours_ends_with_1_and_its_traceback(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(app_module, "make_app", lambda _words: broken)
    assert exit_code(monkeypatch, "paused") == 1
    assert "this is a defect of turnout" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_several_processes_end_with_the_code_of_the_one_that_could_not_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TURNOUT_GROUP", "shop")
    monkeypatch.setenv("TURNOUT_WORKER__MODULES", "there.is.none")
    ended = turnout("worker", "--processes", "2")
    assert ended.returncode == 1
    assert "TURNOUT_WORKER__MODULES: there.is.none cannot be imported" in ended.stderr


def test_what_is_wrong_for_several_processes_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURNOUT_GROUP", "shop")
    monkeypatch.setenv("TURNOUT_METRICS__ADDRESS", "127.0.0.1:65535")
    ended = turnout("bridge", "--processes", "2")
    assert ended.returncode == 1
    assert ended.stderr.count("write a lower port, or fewer --processes") == 1


def test_each_command_is_found_by_its_first_word_with_its_family_alone() -> None:
    everything = typer.main.get_group(app_module.make_app()).commands
    assert {name for firsts in app_module.FAMILIES.values() for name in firsts} == everything.keys()
    for name in everything:
        alone = typer.main.get_group(app_module.make_app([name])).commands
        assert name in alone
        assert len(alone) <= 3


def test_each_command_of_routes_is_found_alone() -> None:
    def routes(*words: str) -> set[str]:
        group = typer.main.get_group(app_module.make_app(["routes", *words])).commands["routes"]
        assert isinstance(group, TyperGroup)
        return set(group.commands)

    assert routes() == routes("--help") == {"lint", "explain", "graph", "test", "try"}
    assert {name: routes(name) for name in routes()} == {name: {"lint", name} for name in routes()}
