"""What a park's activities tell Temporal, and how long they say that a command has waited."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.testing import ActivityEnvironment

from activities import heartbeats
from activities.parked import ParkedCommand
from activities.parking import Delivery, ParkingActivities
from activities.ports import Deliveries, NotYet, ParkedLetter, Refused
from tests.workflows.yard import parked

SINCE = datetime(2026, 11, 24, 12, tzinfo=UTC)
DELIVERY = Delivery(command=parked(1).command, since=SINCE)
LETTERS = [
    ParkedLetter(record=parked(n).records[0], route="note", workflow_id="x", error="", reason="")
    for n in (1, 2)
]


class Asked(Deliveries):
    """Notes what it is asked, and cannot do it now if told so."""

    def __init__(self, *, away: bool = False) -> None:
        self.waited: list[timedelta] = []
        self.letters: list[ParkedLetter] = []
        self._away = away

    async def deliver(self, command: ParkedCommand, waited: timedelta) -> list[Refused]:
        self.waited.append(waited)
        if self._away:
            raise NotYet("is away")
        return []

    async def write_letter(self, letter: ParkedLetter) -> None:
        if self._away:
            raise NotYet("is away")
        self.letters.append(letter)


async def test_the_time_in_which_no_bridge_ran_does_not_count_before_an_answer() -> None:
    """Else the first try after an outage of our own would give up on what came meanwhile."""
    environment, asked = ActivityEnvironment(), Asked()
    environment.info = replace(
        environment.info,
        scheduled_time=SINCE,
        current_attempt_scheduled_time=SINCE + timedelta(minutes=1),
        started_time=SINCE + timedelta(hours=8),
    )
    await environment.run(ParkingActivities(asked).deliver, DELIVERY)
    assert asked.waited == [timedelta(minutes=1)]


async def test_all_letters_are_written() -> None:
    asked = Asked()
    await ActivityEnvironment().run(ParkingActivities(asked).write_letters, LETTERS)
    assert asked.letters == LETTERS


async def test_one_that_waits_for_kafka_says_that_it_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a park waits for the whole time limit when the bridge that writes its letters is killed."""
    monkeypatch.setattr(heartbeats, "HEARTBEAT_INTERVAL", timedelta(milliseconds=1))
    environment, beats, enough = ActivityEnvironment(), 0, asyncio.Event()

    def beat(*_details: object) -> None:
        nonlocal beats
        beats += 1
        if beats == 3:
            enough.set()

    class Slow(Asked):
        async def write_letter(self, letter: ParkedLetter) -> None:
            async with asyncio.timeout(10):
                await enough.wait()
            await super().write_letter(letter)

    environment.on_heartbeat = beat
    slow = Slow()
    await environment.run(ParkingActivities(slow).write_letters, LETTERS)
    assert slow.letters == LETTERS


@pytest.mark.parametrize("name", ["deliver", "write_letters"])
async def test_what_cannot_be_done_yet_is_tried_again_and_is_no_line_of_a_log(name: str) -> None:
    activities = ParkingActivities(Asked(away=True))
    run = ActivityEnvironment().run
    with pytest.raises(ApplicationError, match="is away") as error:
        await (
            run(activities.deliver, DELIVERY) if name == "deliver" else run(activities.write_letters, LETTERS)
        )
    assert (error.value.category, error.value.non_retryable) == (ApplicationErrorCategory.BENIGN, False)
