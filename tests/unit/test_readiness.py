"""What the intake says of what waits."""

import time
from collections.abc import Sequence

from service.intake.lanes import Lanes, Window
from service.intake.pauses import Pauses
from service.intake.readiness import PATIENCE_SECONDS, Detail, detail
from service.intake.waiting import Assignment, Wait, WaitingRoom, What
from service.kafka.record import Record
from tests.unit.records import record


def wait(seconds: float) -> Wait:
    return Wait(record(), What(), "is away", time.monotonic() - seconds, may_be_given_up=True)


def test_the_oldest_wait_is_that_of_the_first_that_waits() -> None:
    assert 9 <= Detail([], [wait(9), wait(5)]).oldest_wait_seconds < 100
    assert Detail([], []).oldest_wait_seconds == 0


def test_what_waits_for_a_moment_only_is_nothing_to_speak_of() -> None:
    class Full(WaitingRoom):
        def __init__(self) -> None:
            super().__init__()
            self._waits = {"old": wait(PATIENCE_SECONDS + 1), "new": wait(PATIENCE_SECONDS / 2)}

    async def handle(records: Sequence[Record], assignment: Assignment) -> int:
        return len(records)

    told = detail(Pauses(), Lanes(handle, Window()), Full())
    assert [round(time.monotonic() - one.since) for one in told.waits] == [round(PATIENCE_SECONDS + 1)]
