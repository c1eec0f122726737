"""`turnout letters` on the command line: which letters are meant, what is said, and the exit codes."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from service.cli import app as app_module
from service.cli import letters as letters_module
from service.desk import Lifted
from service.errors import ConfigurationError, DecodeError, NotNow, RouteError
from service.kafka.record import Partition
from service.redrive.choosing import Choice
from service.redrive.letterbox import Letterbox, Place, open_letterbox
from service.redrive.picking import Picking
from service.redrive.preview import Preview
from service.redrive.sender import Fate
from service.redrive.sending import Said
from service.settings import Settings
from tests.unit.letter_world import GROUP, LETTERS, FakeKafka, decoder_of, fact, no_contracts, table_in
from tests.unit.records import record

Say = Callable[[Said], None]


class Command:
    """The command in this process, between fakes: `fates` are those that letters meet, in order."""

    def __init__(self, kafka: FakeKafka, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kafka = kafka
        self.fates: list[Fate] = []
        self.choices: list[Choice] = []
        self.asked: dict[str, Any] = {}
        self.error: Exception | None = None
        self.interrupted = False
        self.line = "route first: accepted order/1"
        self._monkeypatch = monkeypatch

    def __call__(self, *arguments: str) -> int:
        """Its exit code."""
        codes: list[int] = []
        self._monkeypatch.setattr(app_module, "leave", codes.append)
        self._monkeypatch.setattr(sys, "argv", ["turnout", "letters", *arguments])
        app_module.main()
        (code,) = codes
        return code

    @property
    def choice(self) -> Choice:
        """What the last run meant."""
        return self.choices[-1]

    @asynccontextmanager
    async def looking(self, _settings: Settings) -> AsyncIterator[Letterbox]:
        yield await open_letterbox(self.kafka, GROUP)

    async def send(
        self, _settings: Settings, choice: Choice, lifted: Lifted, rate: float | None = None, **how: Any
    ) -> None:
        self.asked = {"lifted": lifted, "rate": rate}
        await self._act(choice, how["said"], how.get("stop"))

    async def rehearse(self, _settings: Settings, choice: Choice, lifted: Lifted, said: Say) -> None:
        self.asked = {"lifted": lifted, "rehearsed": True}
        await self._act(choice, said, None)

    async def discard(self, _settings: Settings, choice: Choice, **how: Any) -> None:
        await self._act(choice, how["said"], how["stop"])

    async def _act(self, choice: Choice, said: Say, stop: asyncio.Event | None) -> None:
        self.choices.append(choice)
        if self.error:
            raise self.error
        if self.interrupted and stop:
            os.kill(os.getpid(), signal.SIGINT)
            async with asyncio.timeout(5):
                await stop.wait()
        fates = iter(self.fates)
        async for picked in Picking(await open_letterbox(self.kafka, GROUP), choice).walk():
            if picked.letter and (fate := next(fates, None)):
                said(Said(picked.found, fate, [self.line]))


@pytest.fixture
async def kafka() -> FakeKafka:
    kafka = FakeKafka()
    await kafka.give_up(
        fact(1, key=b"a"), fact(2, key=b"\xff\x00"), error=RouteError("total_cents is missing")
    )
    await kafka.give_up(
        fact(3, value=b"{", key=None), route="", error=DecodeError("is no JSON", position="byte 1")
    )
    return kafka


@pytest.fixture
def turnout(
    kafka: FakeKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logging_as_before: None
) -> Command:
    for name in [name for name in os.environ if name.startswith("TURNOUT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TURNOUT_GROUP", GROUP)
    command = Command(kafka, monkeypatch)
    table = table_in(tmp_path)

    async def previewing(_settings: Settings) -> Preview:
        return Preview(decoder_of(table), table, no_contracts())

    monkeypatch.setattr(letters_module, "looking", command.looking)
    monkeypatch.setattr(letters_module, "previewing", previewing)
    monkeypatch.setattr(letters_module, "send_letters", command.send)
    monkeypatch.setattr(letters_module, "rehearse_sending", command.rehearse)
    monkeypatch.setattr(letters_module, "discard_letters", command.discard)
    return command


Capture = pytest.CaptureFixture[str]

# --- which letters ---


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["list", "shop.orders/0"], "is not TOPIC/PARTITION/OFFSET; write for example shop.orders/0/42"),
        (["list", "shop.orders/x/1"], "is not TOPIC/PARTITION/OFFSET"),
        (["list", "shop.orders/0/-1"], "is not TOPIC/PARTITION/OFFSET"),
        (["show", "a topic/0/1"], "is not TOPIC/PARTITION/OFFSET"),
        (["show"], "Missing argument"),
        (["list", "--since", "yesterday"], "is no time; write 2h for two hours ago"),
        (["list", "--until", "2026-01-31"], "is no time"),
        (["list", "--until", "2026-01-31T12:00:00"], "is no time"),
        (["list", "--key", "0xfg"], "0x is to be followed by hexadecimal digits"),
        (["list", "--stage", "rout"], "is no stage; write decode, route, dispatch or person"),
        (["send"], "say which letters"),
        (["send", "--dry-run"], "say which letters"),
        (["send", "--reason", ""], "say which letters"),
        (["send", "--all", "--route", "first"], "--all means every letter"),
        (["send", "--all", "--rate", "0"], "--rate"),
        (["discard", "--because", "x"], "say which letters"),
        (["discard", "--all"], "Missing option '--because'"),
        (["discard", "--all", "shop.orders/0/1", "--because", "x"], "--all means every letter"),
    ],
)
def test_what_is_not_said_well_ends_with_2_and_nothing_is_done(
    turnout: Command, capsys: Capture, arguments: Sequence[str], reason: str
) -> None:
    assert turnout(*arguments) == 2
    said = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert reason in said
    assert turnout.choices == []


P0 = Partition("shop.orders", 0)


@pytest.mark.parametrize(
    ("arguments", "choice"),
    [
        (["--all"], Choice()),
        (["shop.orders/0/42"], Choice(places=frozenset([Place(P0, 42)]))),
        (["shop.orders[0]@42", "shop.orders/0/43"], Choice(places=frozenset([Place(P0, 42), Place(P0, 43)]))),
        (["--key", "A-1"], Choice(key=b"A-1")),
        (["--key", ""], Choice(key=b"")),
        (["--key", "0xfF00"], Choice(key=b"\xff\x00")),
        (["--reason", "large", "--stage", "route"], Choice(reason="large", stage="route")),
        (["--route", "first", "--type", "placed"], Choice(route="first", type="placed")),
        (
            ["--since", "2026-01-31T12:00:00Z", "--until", "2026-01-31T14:00:00+01:00"],
            Choice(
                since=datetime(2026, 1, 31, 12, tzinfo=UTC),
                until=datetime(2026, 1, 31, 13, tzinfo=UTC),
            ),
        ),
    ],
)
@pytest.mark.parametrize("command", [["send"], ["send", "--dry-run"], ["discard", "--because", "x"]])
def test_letters_are_meant_by_place_reason_stage_route_type_key_and_time(
    turnout: Command, command: Sequence[str], arguments: Sequence[str], choice: Choice
) -> None:
    turnout(*command, *arguments)
    assert turnout.choices == [choice]


def test_a_span_means_so_long_ago(turnout: Command) -> None:
    turnout("send", "--since", "2h", "--until", "PT30M")
    now = datetime.now(UTC)
    assert turnout.choice.since
    assert turnout.choice.until
    assert timedelta(0) <= now - timedelta(hours=2) - turnout.choice.since < timedelta(minutes=1)
    assert timedelta(0) <= now - timedelta(minutes=30) - turnout.choice.until < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        ([], {"lifted": Lifted(), "rate": None}),
        (["--insist"], {"lifted": Lifted(insist=True), "rate": None}),
        (["--accept-repeats", "--rate", "0.5"], {"lifted": Lifted(accept_repeats=True), "rate": 0.5}),
        (["--dry-run", "--insist"], {"lifted": Lifted(insist=True), "rehearsed": True}),
    ],
)
def test_what_keeps_letters_back_is_lifted_only_where_someone_says_so(
    turnout: Command, arguments: Sequence[str], asked: dict[str, Any]
) -> None:
    turnout("send", "--all", *arguments)
    assert turnout.asked == asked


# --- how it ends ---


@pytest.mark.parametrize(
    ("fates", "code", "summary"),
    [
        ([], 0, "no open letter fits"),
        ([Fate.SENT, Fate.SENT, Fate.SENT], 0, "3 sent"),
        ([Fate.SENT, Fate.REFUSED], 1, "1 sent, 1 refused"),
        ([Fate.FAILED_AGAIN, Fate.SENT], 1, "1 failed again, 1 sent"),
        ([Fate.SENT, Fate.LEFT_OPEN], 3, "1 sent, 1 left open"),
        ([Fate.PAUSED, Fate.REFUSED, Fate.SENT], 3, "1 paused, 1 refused, 1 sent"),
    ],
)
def test_the_exit_code_tells_scripts_whether_all_were_sent(
    turnout: Command, capsys: Capture, fates: list[Fate], code: int, summary: str
) -> None:
    turnout.fates = fates
    assert turnout("send", "--all") == code
    said = capsys.readouterr()
    assert said.err == f"{summary}\n"
    assert [line.partition("  ")[0] for line in said.out.splitlines()] == [fate.value for fate in fates]


def test_a_rehearsal_ends_with_0_whatever_it_tells(turnout: Command) -> None:
    turnout.fates = [Fate.REFUSED, Fate.PAUSED, Fate.WOULD_BE_SENT]
    assert turnout("send", "--all", "--dry-run") == 0


@pytest.mark.parametrize("command", [["send"], ["discard", "--because", "x"]])
def test_one_that_is_interrupted_ends_with_130_and_says_what_it_did(
    turnout: Command, capsys: Capture, command: Sequence[str]
) -> None:
    turnout.interrupted, turnout.fates = True, [Fate.SENT]
    assert turnout(*command, "--all") == 130
    assert capsys.readouterr().err == "1 sent\n"


def test_a_neighbour_that_takes_nothing_ends_with_3_and_its_answer(turnout: Command, capsys: Capture) -> None:
    turnout.error = NotNow("no letter gets through: Temporal answered UNAVAILABLE; what was done is kept")
    assert turnout("send", "--all") == 3
    assert f"turnout: {turnout.error}\n" in capsys.readouterr().err


def test_where_it_is_not_known_which_letters_are_open_none_is_said_to_be_missing(
    turnout: Command, capsys: Capture
) -> None:
    turnout.error = ConfigurationError("another command is at work")
    for command in (["send"], ["send", "--dry-run"], ["discard", "--because", "x"]):
        assert turnout(*command, "--all") == 1
        assert capsys.readouterr().err == "turnout: another command is at work\n"


@pytest.mark.parametrize("command", [["send"], ["discard", "--because", "x"]])
def test_a_place_at_which_nothing_is_open_ends_with_1_and_is_named(
    turnout: Command, capsys: Capture, command: Sequence[str]
) -> None:
    turnout.fates = [Fate.SENT]
    assert turnout(*command, "shop.orders/0/1", "shop.orders/0/9") == 1
    assert "turnout: no open letter at shop.orders/0/9: it was sent or discarded" in capsys.readouterr().err


def test_who_discards_and_why_is_said_with_each_letter(turnout: Command, capsys: Capture) -> None:
    turnout.fates = [Fate.DISCARDED]
    assert turnout("discard", "--key", "a", "--because", "a test order") == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("discarded  shop.orders/0/1  route first")
    assert "; because: a test order (by " in line


# --- looking ---


def test_letters_are_listed_as_one_json_object_a_line_and_other_records_with_all_alone(
    turnout: Command, kafka: FakeKafka, capsys: Capture
) -> None:
    kafka.topics[Partition(LETTERS, 0)].append(record(3, topic=LETTERS))
    assert turnout("list", "--json") == 0
    lines = [orjson.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["letter"], line.get("record"), line.get("key")) for line in lines] == [
        (f"{LETTERS}/0/0", "shop.orders/0/1", "a"),
        (f"{LETTERS}/0/1", "shop.orders/0/2", "0xff00"),
        (f"{LETTERS}/0/2", "shop.orders/0/3", None),
        (f"{LETTERS}/0/3", None, None),
    ]
    assert [line["is_letter"] for line in lines] == [True, True, True, False]
    assert not any("value" in line or "value_base64" in line for line in lines)
    assert turnout("list", "--json", "--stage", "decode") == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert orjson.loads(line)["position"] == "byte 1"


def test_one_that_is_shown_as_json_has_payload_headers_and_what_routes_would_do(
    turnout: Command, capsys: Capture
) -> None:
    assert turnout("show", f"{LETTERS}/0/0", "--json") == 0
    shown = orjson.loads(capsys.readouterr().out)
    assert shown["value"] == '{"id":"shop.orders-0-1"}'
    assert {"name": "ce_source", "value": "/shop"} in shown["headers"]
    assert shown["today"] == ["route first: starts Order order/shop.orders-0-1 on orders"]


def test_the_byte_that_is_wrong_is_pointed_at(turnout: Command, capsys: Capture) -> None:
    assert turnout("show", "shop.orders/0/3") == 0
    assert "wrong here\n  {\n   ^ byte 1\n" in capsys.readouterr().out


@pytest.fixture
async def hostile(kafka: FakeKafka) -> None:
    """A letter whose texts would clear the terminal, forge lines, and become pictures."""
    headers = (("ce_type", b"pla\x1b[2Jced\nnot a line"), ("na\x1b[2Jme", b"a\x85\nb"))
    error = RouteError("it is \x1b[2J[/red] so\nnot a line")
    await kafka.give_up(fact(9, key=b"shop:package:7", value=b"\xc2\x9b2J", headers=headers), error=error)


@pytest.mark.parametrize(
    "command", [["list"], ["show", "shop.orders/0/9"], ["send", "shop.orders/0/9"]], ids=lambda one: one[0]
)
@pytest.mark.usefixtures("hostile")
def test_texts_of_others_are_shown_as_they_are_and_nothing_in_them_is_obeyed(
    turnout: Command, capsys: Capture, command: list[str]
) -> None:
    turnout.fates, turnout.line = [Fate.FAILED_AGAIN], "fails: \x1b[2J\nnot a line"
    turnout(*command)
    shown = capsys.readouterr().out
    assert all(line.isprintable() and not line.startswith("not a line") for line in shown.split("\n"))
    assert "\\x1b[2J" in shown
    assert command[0] == "send" or "shop:package:7" in shown
