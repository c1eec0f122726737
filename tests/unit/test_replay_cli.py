"""`turnout replay` on the command line: what is asked for, what is said, and the exit codes."""

import asyncio
import os
import re
import signal
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.cli import app as app_module
from service.cli import replay as replay_module
from service.dispatch.answers import OutcomeKind
from service.errors import ConfigurationError, NotNow
from service.kafka.record import Commit, Partition
from service.redrive.letterbox import Place
from service.replay import Result, Told
from service.replays.past import before
from service.replays.plan import Asked, Plan, Stretch
from service.replays.progress import Replayed
from service.replays.tally import COMMAND, LETTER, NOTHING, Becomes, Tally
from service.settings import Settings

P0 = Partition("shop.orders", 0)
PLAN = Plan(
    {P0: Stretch(range(3, 9), before(Commit(9)), Replayed(3, Commit(3)), "to --until")},
    ["shop.orders[0]: some of it is gone"],
)
Capture = pytest.CaptureFixture[str]


class Command:
    """The command in this process, between fakes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[Asked] = []
        self.rates: list[float | None] = []
        self.result = Result(Tally(), Counter())
        self.error: Exception | None = None
        self.interrupted = False
        self._monkeypatch = monkeypatch

    def __call__(self, *arguments: str) -> int:
        """Its exit code."""
        codes: list[int] = []
        self._monkeypatch.setattr(app_module, "leave", codes.append)
        self._monkeypatch.setattr(sys, "argv", ["turnout", "replay", *arguments])
        app_module.main()
        (code,) = codes
        return code

    async def rehearse(self, _settings: Settings, asked: Asked, told: Told) -> Result:
        return await self._act(asked, told, None)

    async def replay(
        self, _settings: Settings, asked: Asked, rate: float | None, told: Told, stop: asyncio.Event
    ) -> Result:
        self.rates.append(rate)
        return await self._act(asked, told, stop)

    async def _act(self, asked: Asked, told: Told, stop: asyncio.Event | None) -> Result:
        self.asked.append(asked)
        if self.error:
            raise self.error
        told.planned(PLAN)
        told.say("held since\x1b[2J note is paused")
        if self.interrupted and stop:
            os.kill(os.getpid(), signal.SIGINT)
            async with asyncio.timeout(5):
                await stop.wait()
        told.progressed(6)
        return self.result


@pytest.fixture
def turnout(monkeypatch: pytest.MonkeyPatch, logging_as_before: None) -> Command:
    for name in [name for name in os.environ if name.startswith("TURNOUT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TURNOUT_GROUP", "shop")
    command = Command(monkeypatch)
    monkeypatch.setattr(replay_module, "replay", command.replay)
    monkeypatch.setattr(replay_module, "rehearse_replay", command.rehearse)
    return command


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--from", "2h"], "Missing option '--route'"),
        (["--route", "note"], "Missing option '--from'"),
        (["--route", "note", "--from", ""], "is empty"),
        (["--route", "note", "--from", "yesterday"], "is no time; write 2h for two hours ago"),
        (["--route", "note", "--from", "2h", "--until", "3h"], "is not after --from"),
        (["--route", "note", "--from", "2h", "--rate", "0"], "greater than or equal to 0.001"),
        (["--route", "note", "--from", "2h", "--leave-out", "42"], "is not TOPIC/PARTITION/OFFSET"),
    ],
)
def test_a_wrong_usage_is_told(turnout: Command, capsys: Capture, arguments: list[str], reason: str) -> None:
    assert turnout(*arguments) == 2
    assert reason in re.sub(r"[\s│]+", " ", capsys.readouterr().err)
    assert not turnout.asked


def test_what_is_asked_for_is_passed_on(turnout: Command) -> None:
    assert turnout("--route", "note", "--from", "2026-01-31T12:00:00Z") == 0
    more = ("--until", "1h", "--rate", "5", "--again", "--accept-repeats", "--leave-out", "shop.orders[0]@42")
    assert turnout("--route", "note", "--from", "2h", *more) == 0
    first, second = turnout.asked
    since = datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert first == Asked(route="note", since=since, by=first.by)
    assert second.until
    assert abs(second.until - second.since - timedelta(hours=1)) < timedelta(minutes=1)
    assert (second.again, second.accept_repeats) == (True, True)
    assert second.leave_out == {Place(P0, 42)}
    assert second.by
    assert turnout.rates == [None, 5.0]


def test_what_is_read_is_said_first_and_what_became_of_it_last(turnout: Command, capsys: Capture) -> None:
    for becomes in (Becomes(COMMAND, "signal"), Becomes(NOTHING, "tombstone"), Becomes(LETTER, "route")):
        turnout.result.tally.add(becomes)
    counts = "3 records; 1 commands (1 signal); 1 left out (1 tombstone); 1 letters (1 route)"
    expected = [
        "note: shop.orders[0]: some of it is gone",
        "shop.orders[0]: offsets 3 to 8, to --until",
        "held since\\x1b[2J note is paused",
        f"would be: {counts}",
    ]
    assert turnout("--route", "note", "--from", "2h", "--dry-run") == 0
    assert capsys.readouterr().out.splitlines() == expected
    kinds = Counter({OutcomeKind.ACCEPTED: 1, OutcomeKind.DEAD_LETTERED: 1})
    turnout.result = Result(turnout.result.tally, kinds, gone=2)
    assert turnout("--route", "note", "--from", "2h") == 1  # there is a letter
    assert capsys.readouterr().out.splitlines()[3:] == [
        "note: 2 offsets were no longer in the topic when their turn came",
        f"replayed: {counts}",
        "became: 1 accepted, 1 dead-lettered",
    ]


@pytest.mark.parametrize(("error", "code"), [(NotNow("is paused"), 3), (ConfigurationError("is wrong"), 1)])
def test_why_it_cannot_be_is_said(turnout: Command, capsys: Capture, error: Any, code: int) -> None:
    turnout.error = error
    for more in ([], ["--dry-run"]):
        assert turnout("--route", "note", "--from", "2h", *more) == code
        assert capsys.readouterr().err == f"turnout: {error}\n"


def test_ctrl_c_ends_it_in_good_order(turnout: Command, capsys: Capture) -> None:
    turnout.interrupted = True
    assert turnout("--route", "note", "--from", "2h") == 130
    assert "replayed: 0 records" in capsys.readouterr().out
