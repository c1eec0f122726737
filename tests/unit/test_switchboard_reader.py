"""How a bridge keeps with the switchboard: before it begins, in an outage, and when someone ends it."""

import asyncio
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from service.errors import NotNow, Unreachable
from service.intake import switchboard
from service.intake.pauses import Pauses
from service.intake.switchboard import SwitchboardReader
from service.temporal import switchboard as outside
from service.temporal.switchboard import Reading, SwitchboardClient
from tests.unit.fakes import paused
from workflows.switchboard import Names, State

NAMES = Names(topics=("shop.orders",), routes=("order-placed",))
Answer = Reading | Exception


class ScriptedBoard(SwitchboardClient):
    """Answers what it was given to answer, the last of it for ever."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = deque(answers)
        self.told: list[tuple[str, object, State | None]] = []
        self.asked = asyncio.Event()

    async def read(self) -> Reading:
        if len(self.answers) == 1:
            self.asked.set()
        answer = self.answers[0] if len(self.answers) == 1 else self.answers.popleft()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def tell(self, signal: str, what: object, *, last: State | None) -> None:
        self.told.append((signal, what, last))


def says(*names: str, running: bool = True, settled: bool = True) -> Reading:
    return Reading(paused(*names), running=running, settled=settled)


NOTHING = Reading(None, running=False, settled=True)
AWAY = Unreachable("Temporal is away")


@pytest.fixture(autouse=True)
def no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switchboard, "READ_SECONDS", 0)
    monkeypatch.setattr(outside, "STEP_SECONDS", 0)


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    with capture_logs() as entries:
        yield entries


async def read_all(board: ScriptedBoard, pauses: Pauses, *, only_looks: bool = False) -> None:
    """Read until the last answer was given."""
    reader = SwitchboardReader(board, pauses, only_looks=only_looks)
    reading = asyncio.create_task(reader.keep_reading())
    async with asyncio.timeout(5):
        await board.asked.wait()
        await asyncio.sleep(0.01)
    assert not reading.done()
    reading.cancel()


def names(pauses: Pauses) -> list[str]:
    return [one.name for one in pauses.now]


# --- at the start ---


async def test_what_was_paused_before_is_obeyed_before_anything_begins() -> None:
    board, pauses = ScriptedBoard(says("shop.orders")), Pauses(NAMES)
    await SwitchboardReader(board, pauses).begin()
    assert names(pauses) == ["shop.orders"]
    assert board.told == [("routes_loaded", NAMES, paused("shop.orders"))]


async def test_a_start_waits_until_what_was_said_meanwhile_is_taken_in() -> None:
    board = ScriptedBoard(says(), says(settled=False), says(settled=False), says("shop.orders"))
    pauses = Pauses(NAMES)
    await SwitchboardReader(board, pauses).begin()
    assert names(pauses) == ["shop.orders"]


async def test_a_start_goes_by_what_is_known_when_the_rest_is_not_taken_in(
    monkeypatch: pytest.MonkeyPatch, lines: list[Any]
) -> None:
    monkeypatch.setattr(switchboard, "SETTLE_SECONDS", 0)
    pauses = Pauses(NAMES)
    await SwitchboardReader(ScriptedBoard(says("shop.orders", settled=False)), pauses).begin()
    assert names(pauses) == ["shop.orders"]
    assert lines[0]["event"] == "the switchboard has not taken in all that it was told"


async def test_a_start_begins_a_switchboard_where_there_is_none() -> None:
    board, pauses = ScriptedBoard(NOTHING, says()), Pauses(NAMES)
    await SwitchboardReader(board, pauses).begin()
    assert board.told == [("routes_loaded", NAMES, None)]


async def test_a_start_without_temporal_is_for_the_caller_to_repeat() -> None:
    with pytest.raises(Unreachable):
        await SwitchboardReader(ScriptedBoard(AWAY), Pauses(NAMES)).begin()


async def test_one_that_only_looks_obeys_begins_none_and_tells_nothing() -> None:
    board, pauses = ScriptedBoard(NOTHING, says("shop.orders", running=False)), Pauses(NAMES)
    reader = SwitchboardReader(board, pauses, only_looks=True)
    await reader.begin()
    assert names(pauses) == []
    await read_all(board, pauses, only_looks=True)
    assert (names(pauses), board.told) == (["shop.orders"], [])


async def test_one_that_only_looks_goes_by_nothing_that_is_not_taken_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(switchboard, "SETTLE_SECONDS", 0)
    board, pauses = ScriptedBoard(says(settled=False)), Pauses(NAMES)
    with pytest.raises(NotNow, match="no bridge of the group runs; start one"):
        await SwitchboardReader(board, pauses, only_looks=True).begin()


# --- later ---


async def test_what_it_says_is_obeyed() -> None:
    pauses = Pauses(NAMES)
    await read_all(ScriptedBoard(says("shop.orders"), says("order-placed")), pauses)
    assert names(pauses) == ["order-placed"]


async def test_what_it_said_last_stays_while_it_cannot_be_read_and_that_is_said_once(
    lines: list[Any],
) -> None:
    pauses = Pauses(NAMES)
    await read_all(ScriptedBoard(says("shop.orders"), *[AWAY] * 20), pauses)
    assert names(pauses) == ["shop.orders"]
    (line,) = [line for line in lines if line["event"].startswith("the switchboard cannot be read")]
    assert (line["reason"], line["paused"]) == ("Temporal is away", ["shop.orders"])
    assert line["seconds"] == 0


async def test_an_outage_that_lasts_is_said_again_and_a_new_one_at_once(
    monkeypatch: pytest.MonkeyPatch, lines: list[Any]
) -> None:
    monkeypatch.setattr(switchboard, "SAY_SECONDS", 0)
    await read_all(ScriptedBoard(AWAY, AWAY, says()), Pauses(NAMES))
    assert len(lines) == 2
    monkeypatch.undo()
    monkeypatch.setattr(switchboard, "READ_SECONDS", 0)
    lines.clear()
    await read_all(ScriptedBoard(AWAY, AWAY, says(), AWAY, AWAY, says()), Pauses(NAMES))
    assert len(lines) == 2


async def test_one_that_someone_ended_begins_anew_with_what_it_knew() -> None:
    board = ScriptedBoard(says(), says("shop.orders", running=False), says("shop.orders"))
    await read_all(board, Pauses(NAMES))
    assert board.told == [("routes_loaded", NAMES, paused("shop.orders"))]


async def test_one_that_is_gone_begins_anew_with_what_was_known_here() -> None:
    board, pauses = ScriptedBoard(says("shop.orders"), NOTHING, says("shop.orders")), Pauses(NAMES)
    await read_all(board, pauses)
    assert board.told == [("routes_loaded", NAMES, paused("shop.orders"))]
    assert names(pauses) == ["shop.orders"]
