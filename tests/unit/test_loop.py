"""What the intake loop says while it runs: who waits, and what is paused."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from service.errors import NotNow
from service.intake import loop, readiness
from service.intake.lanes import Lanes, Window
from service.intake.loop import Intake, lane_key_by
from service.intake.pauses import Pauses
from service.intake.waiting import Assignment, WaitingRoom, What
from service.kafka.record import Commit, Partition, Record
from service.telemetry.metrics import Metrics
from tests.unit.fakes import paused
from tests.unit.records import record
from workflows.switchboard import Names

PLACE = Partition("shop.orders", 0)
NAMES = Names(topics=("shop.orders",), routes=("order-placed",))
MANY_POLLS = 1_000


class FakeSource:
    """Gives all its records at once, then none."""

    def __init__(self, *records: Record) -> None:
        self._records = list(records)
        self.looked_up: list[set[Partition]] = []

    async def poll(self, partitions: Iterable[Partition], limit: int, seconds: float) -> Sequence[Record]:
        await asyncio.sleep(0.001)
        given, self._records = self._records, []
        return given

    async def commit(self, commits: Mapping[Partition, Commit]) -> Mapping[Partition, Commit]:
        return commits

    def ends(self) -> Mapping[Partition, int]:
        return {}

    async def look_up(self, partitions: Iterable[Partition]) -> frozenset[Partition]:
        self.looked_up.append(set(partitions))
        return frozenset(partitions)


def not_yet(_answer: str) -> None:
    """Nobody gives up on what waits."""


class Running:
    """An intake whose records wait for the route `order-placed`, and then for Temporal, which is away."""

    def __init__(self) -> None:
        self.pauses = Pauses(NAMES)
        self.metrics = Metrics()
        waiting = WaitingRoom()

        self.source = FakeSource()
        self.calls = 0

        async def handle(records: Sequence[Record], assignment: Assignment) -> int:
            async def away() -> None:
                self.calls += 1
                raise NotNow("Temporal is away")

            await self.pauses.until_open(records[0], "order-placed", assignment)
            await waiting.insist(records[0], assignment, What("order-placed", trace_id="4bf9"), away, not_yet)
            return 1

        lanes = Lanes(handle, Window(), self.pauses)
        lanes.assign({PLACE: Commit(0)})
        drain = timedelta(seconds=5)
        self.intake = Intake(
            lanes, lane_key_by(frozenset()), waiting, drain=drain, pauses=self.pauses, metrics=self.metrics
        )


class SourceWithoutPartitions(FakeSource):
    """Answers as aiokafka 0.14 does: at once, and without letting others run, where it need not wait."""

    polls = 0

    async def poll(self, partitions: Iterable[Partition], limit: int, seconds: float) -> Sequence[Record]:
        self.polls += 1
        if seconds:
            await asyncio.sleep(seconds)
        elif self.polls > MANY_POLLS:
            raise AssertionError("nobody else gets to run")
        return []


@asynccontextmanager
async def running(running: Running, *records: Record) -> AsyncIterator[list[Any]]:
    stop = asyncio.Event()
    running.source = FakeSource(*records)
    with capture_logs() as lines:
        task = asyncio.create_task(running.intake.run(running.source, stop))
        try:
            yield lines
        finally:
            stop.set()
            async with asyncio.timeout(10):
                await task


def about(lines: Sequence[Mapping[str, Any]], event: str) -> list[Mapping[str, Any]]:
    return [line for line in lines if line["event"] == event]


async def until(there: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not there():  # noqa: ASYNC110 - neither log nor metrics tell anybody
            await asyncio.sleep(0.001)


@pytest.fixture(autouse=True)
def no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REPORT_SECONDS", "PAUSED_SECONDS", "MEASURE_SECONDS", "LOOK_SECONDS"):
        monkeypatch.setattr(loop, name, 0.01)
    monkeypatch.setattr(readiness, "PATIENCE_SECONDS", 0)


async def test_what_is_paused_is_said_again_and_again_and_is_not_called_waiting() -> None:
    bridge = Running()
    bridge.pauses.obey(paused("order-placed"))
    async with running(bridge, record(0, key=b"A"), record(1, key=b"A"), record(2, key=b"B")) as lines:
        await until(lambda: len(about(lines, "still paused")) >= 3)
        said = about(lines, "still paused")
        what = {"name": "order-placed", "kind": "route", "by": "ada", "because": "upstream"}
        assert said[-1] == {**said[-1], **what, "records": 3, "since": "2026-11-24T12:00:00+00:00"}
        assert not about(lines, "waiting")
        assert 'turnout_waiting_records{answer="temporal"} 0.0' in bridge.metrics.text()
        (held,) = bridge.intake.detail().paused
        assert (held.switch.name, held.kind, held.records) == ("order-placed", "route", 3)


async def test_what_waits_is_said_and_measured() -> None:
    bridge = Running()
    async with running(bridge, record(0, key=b"A"), record(1, key=b"B")) as lines:
        await until(lambda: len(about(lines, "waiting")) >= 2)
        (line, *_) = [line for line in lines if line.get("answer") == "Temporal is away"]
        assert (line["lanes"], line["route"], line["offset"]) == (2, "order-placed", 0)
        assert line["trace_id"] == "4bf9"
        assert line["to_give_up"] == "turnout letters add shop.orders/0/0 --because …"
        await until(lambda: 'turnout_waiting_records{answer="temporal"} 2.0' in bridge.metrics.text())
        assert 'turnout_oldest_wait_seconds{answer="temporal"} 0.0\n' not in bridge.metrics.text()
        assert not about(lines, "still paused")
    assert bridge.intake.detail().oldest_wait_seconds == 0


async def test_what_people_give_up_on_is_looked_up_where_something_waits_which_is_then_woken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "HELD_SECONDS", 0.0)
    bridge = Running()
    bridge.pauses.obey(paused("order-placed"))
    async with running(bridge, record(0)):
        await until(lambda: len(bridge.source.looked_up) >= 3)
        # Held by the pause, which does not sleep.
        await until(lambda: bridge.source.looked_up[-1] == {PLACE})
        assert bridge.calls == 0
        bridge.pauses.obey(paused())
        # By itself it would have slept for seconds by then.
        await until(lambda: bridge.calls >= 100)
        assert bridge.source.looked_up[-1] == {PLACE}


async def test_who_has_no_partition_since_others_have_them_all_polls_in_peace() -> None:
    intake = Intake(
        Lanes(in_no_time, Window()), lane_key_by(frozenset()), WaitingRoom(), drain=timedelta(seconds=5)
    )
    source, stop = SourceWithoutPartitions(), asyncio.Event()
    task = asyncio.create_task(intake.run(source, stop))
    await until(lambda: task.done() or source.polls >= 3)
    stop.set()
    async with asyncio.timeout(10):
        await task


async def in_no_time(_records: Sequence[Record], _assignment: Assignment) -> int:
    return 1
