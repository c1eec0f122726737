"""Waiting: without end, in sight, and over at once when the partition goes."""

import asyncio

import pytest

from service.errors import NotNow, RejectedError
from service.intake.waiting import LAST_DELAY_SECONDS, Abandoned, Assignment, WaitingRoom
from service.kafka.record import Record
from tests.unit.fakes import NoTime
from tests.unit.records import record


async def insist(room: WaitingRoom, assignment: Assignment, of: Record, failures: int) -> int:
    attempts = 0

    async def call() -> int:
        nonlocal attempts
        attempts += 1
        if attempts <= failures:
            raise NotNow(f"answer {attempts}")
        return attempts

    return await room.insist(of, assignment, "order-placed", call)


@pytest.mark.parametrize("failures", [0, 1, 2_000])
async def test_a_call_is_repeated_until_it_succeeds_however_often_that_is(failures: int) -> None:
    assert await insist(WaitingRoom(), NoTime(), record(), failures) == failures + 1


async def test_pauses_grow_to_a_limit_and_no_further() -> None:
    assignment = NoTime()
    await insist(WaitingRoom(), assignment, record(), 50)
    assert assignment.slept[0] < 1
    assert max(assignment.slept) <= LAST_DELAY_SECONDS * 1.2
    assert min(assignment.slept[10:]) >= LAST_DELAY_SECONDS * 0.8


async def test_only_not_now_is_waited_for() -> None:
    async def call() -> None:
        raise RejectedError("is too large")

    assignment = NoTime()
    with pytest.raises(RejectedError):
        await WaitingRoom().insist(record(), assignment, "", call)
    assert assignment.slept == []


async def test_who_waits_is_seen_with_the_last_answer_until_the_wait_is_over() -> None:
    room = WaitingRoom()
    seen = []

    class Looking(NoTime):
        async def sleep(self, seconds: float) -> None:
            seen.append((len(room), room.oldest()))
            await super().sleep(seconds)

    await insist(room, Looking(), record(7), 2)
    assert [(count, wait and (wait.record.offset, wait.route, wait.answer)) for count, wait in seen] == [
        (1, (7, "order-placed", "answer 1")),
        (1, (7, "order-placed", "answer 2")),
    ]
    assert len({wait and wait.since for _, wait in seen}) == 1
    assert (len(room), room.oldest()) == (0, None)


async def test_the_oldest_is_the_one_that_has_waited_longest() -> None:
    room, assignment = WaitingRoom(), Assignment()
    waits = []
    for offset in (5, 3, 4):  # the order of their arrival
        waits.append(asyncio.create_task(insist(room, assignment, record(offset), 10)))
        while len(room) < len(waits):  # noqa: ASYNC110 - the room tells nobody when it fills
            await asyncio.sleep(0)
    oldest = room.oldest()
    assert oldest
    assert oldest.record.offset == 5
    assignment.end()
    assert {type(end) for end in await asyncio.gather(*waits, return_exceptions=True)} == {Abandoned}
    assert room.oldest() is None


async def test_a_wait_ends_at_once_when_the_assignment_is_over() -> None:
    assignment = Assignment()
    sleeping = asyncio.create_task(assignment.sleep(3_600))
    await asyncio.sleep(0)
    assignment.end()
    async with asyncio.timeout(5):
        with pytest.raises(Abandoned):
            await sleeping


async def test_nothing_sleeps_for_an_assignment_that_is_over() -> None:
    assignment = Assignment()
    assignment.end()
    async with asyncio.timeout(5):
        with pytest.raises(Abandoned):
            await assignment.sleep(3_600)
