"""Waiting: without end, in sight, and over at once when the partition goes."""

import asyncio
from collections.abc import Callable

import pytest

from service.errors import LeftOutError, NotNow, RejectedError
from service.intake.waiting import LAST_DELAY_SECONDS, Abandoned, Assignment, WaitingRoom, What, nobody
from service.kafka.record import Partition, Record
from tests.unit.fakes import NoTime
from tests.unit.records import record


def not_yet(_answer: str) -> None:
    """A person may give up on it, and does not."""


async def insist(
    room: WaitingRoom,
    assignment: Assignment,
    of: Record,
    failures: int,
    given_up: Callable[[str], None] = not_yet,
) -> int:
    attempts = 0

    async def call() -> int:
        nonlocal attempts
        attempts += 1
        if attempts <= failures:
            raise NotNow(f"answer {attempts}")
        return attempts

    return await room.insist(of, assignment, What("order-placed"), call, given_up)


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
        await WaitingRoom().insist(record(), assignment, What(), call)
    assert assignment.slept == []


async def test_who_waits_is_seen_with_the_last_answer_until_the_wait_is_over() -> None:
    room = WaitingRoom()
    seen = []

    class Looking(NoTime):
        async def sleep(self, seconds: float) -> None:
            seen.append((len(room), room.longer_than(0)[0]))
            await super().sleep(seconds)

    await insist(room, Looking(), record(7), 2)
    assert [(count, (wait.record.offset, wait.what.route, wait.answer)) for count, wait in seen] == [
        (1, (7, "order-placed", "answer 1")),
        (1, (7, "order-placed", "answer 2")),
    ]
    assert len({wait.since for _, wait in seen}) == 1
    assert (len(room), room.longer_than(0)) == (0, [])


async def test_the_oldest_is_the_one_that_has_waited_longest() -> None:
    room, assignment = WaitingRoom(), Assignment()
    waits = []
    for offset in (5, 3, 4):  # the order of their arrival
        waits.append(asyncio.create_task(insist(room, assignment, record(offset), 10)))
        while len(room) < len(waits):  # noqa: ASYNC110 - the room tells nobody when it fills
            await asyncio.sleep(0)
    assert [wait.record.offset for wait in room.longer_than(0)] == [5, 3, 4]
    assert room.longer_than(60) == []
    assignment.end()
    assert {type(end) for end in await asyncio.gather(*waits, return_exceptions=True)} == {Abandoned}
    assert room.longer_than(0) == []


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


async def test_one_whose_first_call_does_not_come_back_is_seen_too() -> None:
    room, called, gate = WaitingRoom(), asyncio.Event(), asyncio.Event()

    async def hangs() -> None:
        called.set()
        await gate.wait()

    waits = asyncio.create_task(room.insist(record(7), NoTime(), What("order-placed"), hangs))
    await called.wait()
    assert [(wait.record.offset, wait.answer) for wait in room.longer_than(0)] == [(7, "no answer yet")]
    gate.set()
    await waits


async def test_what_waits_for_an_event_goes_on_with_it() -> None:
    assignment, event = Assignment(), asyncio.Event()
    waits = asyncio.create_task(assignment.until(event))
    await asyncio.sleep(0)
    assert not waits.done()
    event.set()
    async with asyncio.timeout(5):
        await waits


@pytest.mark.parametrize("before", [True, False])
async def test_what_waits_for_an_event_ends_when_the_assignment_is_over(before: bool) -> None:
    assignment, event = Assignment(), asyncio.Event()
    if before:
        assignment.end()
        event.set()
    waits = asyncio.create_task(assignment.until(event))
    await asyncio.sleep(0)
    assignment.end()
    async with asyncio.timeout(5):
        with pytest.raises(Abandoned):
            await waits


async def test_what_is_given_up_while_it_waits_ends_with_the_last_answer() -> None:
    answers: list[str] = []

    def look(answer: str) -> None:
        answers.append(answer)
        if len(answers) == 4:
            raise LeftOutError(f"given up ({answer})")

    async def call() -> None:
        raise NotNow(f"answer {len(answers)}")

    room, assignment = WaitingRoom(), NoTime()
    with pytest.raises(LeftOutError, match=r"given up \(answer 2\)"):
        await room.insist(record(), assignment, What(), call, look)
    assert answers == ["answer 0", "answer 0", "answer 2", "answer 2"]
    assert len(room) == 0


async def test_a_call_under_way_is_waited_for_and_what_it_does_counts() -> None:
    called, gate = asyncio.Event(), asyncio.Event()

    def look(_answer: str) -> None:
        raise LeftOutError("given up")

    async def gets_through() -> str:
        called.set()
        await gate.wait()
        return "through"

    room, assignment = WaitingRoom(), Assignment()
    waits = asyncio.create_task(room.insist(record(), assignment, What(), gets_through, look))
    await called.wait()
    assignment.stir()
    await asyncio.sleep(0)
    assert not waits.done()
    gate.set()
    assert await waits == "through"


async def test_what_sleeps_is_woken_to_look_again() -> None:
    assignment = Assignment()
    for _ in range(2):
        sleeping = asyncio.create_task(assignment.sleep(3_600))
        await asyncio.sleep(0)
        assert not sleeping.done()
        assignment.stir()
        async with asyncio.timeout(5):
            await sleeping


async def test_it_is_known_where_something_waits_that_a_person_may_give_up_on() -> None:
    room, assignment = WaitingRoom(), Assignment()
    for_letter = record(1, partition=1)
    waits = [
        asyncio.create_task(insist(room, assignment, record(1, partition=0), 10)),
        asyncio.create_task(insist(room, assignment, for_letter, 10, nobody)),
        asyncio.create_task(insist(room, assignment, record(1, partition=2), 10)),
    ]
    while len(room) < len(waits):  # noqa: ASYNC110 - the room tells nobody when it fills
        await asyncio.sleep(0)
    assert room.partitions(0) == {Partition("shop.orders", 0), Partition("shop.orders", 2)}
    assert room.partitions(60) == set()
    assert [wait.to_give_up for wait in room.longer_than(0)] == [
        "turnout letters add shop.orders/0/1 --because …",
        "",
        "turnout letters add shop.orders/2/1 --because …",
    ]
    assignment.end()
    await asyncio.gather(*waits, return_exceptions=True)
