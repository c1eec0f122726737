"""What is paused, and how a change of it is said."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from service.intake.pauses import Pauses
from service.intake.waiting import Assignment
from service.telemetry.metrics import Metrics
from tests.unit.fakes import paused
from tests.unit.records import record
from workflows.switchboard import Names, State

NAMES = Names(topics=("shop.orders",), routes=("order-placed",))


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    with capture_logs() as entries:
        yield entries


def test_a_change_is_said_once_with_who_and_why(lines: list[Any]) -> None:
    pauses = Pauses(NAMES)
    before = paused("shop.orders")
    pauses.obey(before)
    pauses.obey(before)
    (one,) = before.paused
    pauses.obey(State(resumed=(one.model_copy(update={"by": "grace", "because": "mended"}),)))
    expected = {
        "name": "shop.orders",
        "kind": "topic",
        "since": "2026-11-24T12:00:00+00:00",
        "log_level": "info",
    }
    assert lines == [
        {"event": "paused", "by": "ada", "because": "upstream", **expected},
        {"event": "resumed", "by": "grace", "because": "mended", **expected},
    ]


def test_one_whose_resuming_is_forgotten_is_said_to_be_resumed_all_the_same(lines: list[Any]) -> None:
    pauses = Pauses(NAMES)
    pauses.obey(paused("shop.orders"))
    pauses.obey(paused())
    assert lines[1] == {"event": "resumed", "name": "shop.orders", "log_level": "info"}


def test_metrics_show_what_is_paused_and_what_it_is() -> None:
    metrics = Metrics()
    pauses = Pauses(NAMES, metrics)
    pauses.obey(paused("order-placed", "shop.odrers"))
    assert 'turnout_paused{kind="route",name="order-placed"} 1.0' in metrics.text()
    assert 'turnout_paused{kind="unknown",name="shop.odrers"} 1.0' in metrics.text()
    pauses.obey(paused())
    assert "turnout_paused{" not in metrics.text()


async def test_what_a_pause_holds_is_woken_by_a_change_alone() -> None:
    waits = 0

    class Counting(Assignment):
        async def until(self, event: asyncio.Event) -> None:
            nonlocal waits
            waits += 1
            await super().until(event)

    pauses = Pauses(NAMES)
    pauses.obey(paused("shop.orders"))
    held = asyncio.create_task(pauses.until_open(record(), "", Counting()))
    for state in (paused("shop.orders"), paused("shop.orders"), paused("shop.orders", "other")):
        for _ in range(10):
            await asyncio.sleep(0)
        pauses.obey(state)
    for _ in range(10):
        await asyncio.sleep(0)
    assert waits == 2
    pauses.obey(paused())
    async with asyncio.timeout(5):
        await held
