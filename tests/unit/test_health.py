"""Health: what is wrong since when, when that makes us unready, and what probes get."""

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from service.errors import ConfigurationError, NotNow
from service.intake.lanes import Lanes, Window
from service.intake.readiness import stall
from service.intake.waiting import Assignment, Wait, WaitingRoom, What
from service.kafka.record import Commit, Record
from service.telemetry import health as health_module
from service.telemetry.health import TURN_SECONDS, Asked, Health, Problem
from service.telemetry.metrics import Metrics
from service.telemetry.probes import Probes, probed
from tests.servers import random_port
from tests.unit.records import record

GONE = Problem("kafka", "no broker answers", "start one", patience_seconds=15)


class World:
    """A clock that is set by hand, and one part with its problems."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.wrong: list[Problem] = []
        self.metrics = Metrics()
        self.health = Health(self.metrics, lambda: self.now)
        self.health.watch(lambda: self.wrong)

    def look(self) -> bool:
        self.health.look()
        return self.health.ready

    def problems(self) -> Sequence[Any]:
        told: Sequence[Any] = self.health.told()["problems"]
        return told


@pytest.fixture
def world() -> World:
    return World()


def test_it_is_not_ready_before_it_has_started_nor_once_it_stops(world: World) -> None:
    assert not world.look()
    assert [one["what"] for one in world.problems()] == ["starting"]
    world.health.started()
    assert world.health.ready
    assert not world.problems()
    world.health.stopping()
    assert not world.health.ready


def test_what_is_told_to_stop_while_it_starts_is_not_ready_for_a_moment(world: World) -> None:
    world.health.stopping()
    world.health.started()
    assert not world.health.ready
    assert [one["what"] for one in world.problems()] == ["stopping"]


def test_a_problem_makes_it_unready_once_it_has_lasted_as_long_as_it_may(world: World) -> None:
    world.health.started()
    world.wrong = [GONE]
    assert world.look()
    assert [one["not_ready"] for one in world.problems()] == [False]
    world.now += 14.9
    assert world.look()
    world.now += 0.1
    assert not world.look()
    (told,) = world.problems()
    assert (told["problem"], told["cure"], told["seconds"]) == ("no broker answers", "start one", 15)
    world.wrong = []
    assert world.look()


def test_a_problem_that_was_gone_meanwhile_begins_anew(world: World) -> None:
    world.health.started()
    world.wrong = [GONE]
    world.look()
    world.now += 10
    world.wrong = []
    world.look()
    world.wrong = [GONE]
    world.look()
    world.now += 10
    assert world.look()


def test_a_problem_keeps_its_beginning_while_what_is_known_of_it_changes(world: World) -> None:
    world.health.started()
    world.wrong = [Problem("stalled", "for 60 s")]
    world.look()
    world.now += 30
    world.wrong = [Problem("stalled", "for 90 s")]
    world.look()
    assert [(one["problem"], one["seconds"]) for one in world.problems()] == [("for 90 s", 30)]


def test_the_log_says_what_is_wrong_once_and_when_it_is_over(world: World) -> None:
    world.health.started()
    with capture_logs() as logs:
        world.wrong = [Problem("letters", "its topic is gone", "make it")]
        world.look()
        world.look()
        world.wrong = []
        world.look()
    assert [(line["event"], line.get("problems"), line.get("cures")) for line in logs] == [
        ("not ready", ["its topic is gone"], ["make it"]),
        ("ready", None, None),
    ]


def test_a_metric_shows_whether_it_is_ready(world: World) -> None:
    assert "turnout_ready 0.0" in world.metrics.text()
    world.health.started()
    assert "turnout_ready 1.0" in world.metrics.text()


def test_a_loop_that_does_not_turn_is_named(world: World) -> None:
    world.health.turned("polling")
    world.now += TURN_SECONDS / 2
    world.health.turned("committing")
    assert not world.health.standing()
    world.now += TURN_SECONDS / 2 + 1
    assert world.health.standing() == ["polling"]


async def test_a_neighbour_that_does_not_answer_is_a_problem_until_it_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health_module, "ASK_SECONDS", 0)
    monkeypatch.setattr(health_module, "ANSWER_SECONDS", 0.01)
    ways: Iterator[str] = iter(["refuses", "hangs", "answers"])
    seen: list[list[str]] = []

    async def ask() -> None:
        seen.append([problem.text for problem in asked()])
        match next(ways, "end"):
            case "refuses":
                raise NotNow("connection refused")
            case "hangs":
                await asyncio.Event().wait()
            case "end":
                raise asyncio.CancelledError

    asked = Asked("Kafka", ask, 15)
    with pytest.raises(asyncio.CancelledError):
        await asked.keep_asking()
    assert seen == [[], ["connection refused"], ["Kafka does not answer within 0 s"], []]


# --- a stall ---


class Waiting(WaitingRoom):
    def __init__(self, *waits: Wait) -> None:
        super().__init__()
        self._waits = {str(number): one for number, one in enumerate(waits)}


def wait(seconds: float, *, may_be_given_up: bool = True) -> Wait:
    what = What("order-placed", "e-1", "order/A-1")
    return Wait(record(offset=42), what, "is away", time.monotonic() - seconds, may_be_given_up)


def lanes(still_seconds: float) -> Lanes:
    async def handle(records: Sequence[Record], assignment: Assignment) -> int:
        return len(records)

    there_are = Lanes(handle, Window())
    there_are.finished_at = time.monotonic() - still_seconds
    return there_are


def test_records_that_wait_while_none_is_finished_are_a_stall_that_names_the_oldest() -> None:
    (problem,) = stall(lanes(70), Waiting(wait(61), wait(65)))
    assert problem.what == "stalled"
    assert problem.text.startswith("2 records wait, and none was finished for 70 s; the oldest is ")
    assert problem.text.endswith("@42 (route order-placed, event e-1, workflow order/A-1): is away")
    assert "turnout letters add" in problem.cure
    (problem,) = stall(lanes(70), Waiting(wait(61, may_be_given_up=False)))
    assert problem.cure == ""


@pytest.mark.parametrize(
    ("still", "waits"), [(70, [50]), (5, [100]), (70, [])], ids=["young", "others flow", "idle"]
)
def test_what_is_no_stall(still: float, waits: list[float]) -> None:
    assert not list(stall(lanes(still), Waiting(*map(wait, waits))))


async def test_what_is_finished_ends_a_stall() -> None:
    there_are = lanes(1_000)
    before = there_are.finished_at
    there_are.assign({record().place: Commit(0)})
    there_are.put(record(offset=0), None)
    async with asyncio.timeout(10):
        while there_are.in_flight():  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert there_are.finished_at > before + 900


# --- over HTTP ---


async def ask(to: Probes, path: str, method: str = "GET") -> tuple[int, Any]:
    sent: list[Any] = []

    async def receive() -> Any:
        raise AssertionError("nobody has to read it")

    async def send(part: Any) -> None:
        sent.append(part)

    await to({"type": "http", "method": method, "path": path}, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"] or b"null")


async def test_probes_get_200_or_503_with_the_reasons(world: World) -> None:
    probes = Probes(world.health)
    world.health.tell("intake", lambda: {"partitions": 3})
    status, told = await ask(probes, "/readyz")
    assert (status, told["ready"], told["intake"]) == (503, False, {"partitions": 3})
    world.health.started()
    assert (await ask(probes, "/readyz"))[0] == 200
    assert await ask(probes, "/readyz", "HEAD") == (200, None)
    assert await ask(probes, "/livez") == (200, {"live": True, "loops_that_stand_still": []})
    world.health.turned("polling")
    world.now += TURN_SECONDS + 1
    assert (await ask(probes, "/livez"))[0] == 503
    assert (await ask(probes, "/"))[0] == 404
    assert (await ask(probes, "/readyz", "POST"))[0] == 405


async def test_they_are_answered_where_the_setting_says_and_nowhere_without(world: World) -> None:
    address = f"127.0.0.1:{random_port()}"
    async with probed(world.health, ""), probed(world.health, address), asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(*address.split(":"))
        writer.write(b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 503 ")
        writer.close()
        with pytest.raises(ConfigurationError, match=f"TURNOUT_HEALTH__ADDRESS={address}"):
            async with probed(world.health, address):
                pass
