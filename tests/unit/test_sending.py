"""Sending letters again: once each, their route alone, in order, and nothing forgotten however it ends."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from service.dispatch.contracts import Contracts
from service.dispatch.identity import command_id
from service.errors import ConfigurationError, DecodeError, GivenUpError, NotNow, RejectedError
from service.failures.letters import About, Letter, Letters, letter_group
from service.failures.parked import Parkable
from service.intake.pauses import Pauses
from service.intake.waiting import WaitingRoom
from service.kafka.record import Commit, Partition, Record, Written
from service.redrive import closing as closing_module
from service.redrive import sender as sender_module
from service.redrive import sending as sending_module
from service.redrive.choosing import Choice
from service.redrive.closing import Closing
from service.redrive.discarding import discard
from service.redrive.later import LaterRecords
from service.redrive.letterbox import Found, Letterbox, Place, open_letterbox
from service.redrive.order import Order
from service.redrive.picking import Picking, nothing_against_it
from service.redrive.preview import Preview
from service.redrive.rehearsal import rehearse
from service.redrive.sender import Fate, Rate, Sender
from service.redrive.sending import Said, Sending
from service.routing.commands import Command
from service.routing.table import RouteTable
from tests.unit.fakes import FakeParks, outage, paused
from tests.unit.letter_world import (
    GROUP,
    LETTERS,
    Crash,
    FakeKafka,
    FakeTemporal,
    decoder_of,
    fact,
    handling_of,
    lying,
    table_in,
)
from tests.unit.records import record
from workflows.switchboard import Names

P0 = Partition(LETTERS, 0)
ALL = Choice()
with TemporaryDirectory() as _folder:
    THE_TABLE = table_in(Path(_folder))


class Desk:
    """One who sends and discards letters, between fakes."""

    def __init__(self, table: RouteTable, *, partitions: int = 1) -> None:
        self.table = table
        self.kafka = FakeKafka(partitions)
        self.temporal = FakeTemporal()
        self.said: list[Said] = []
        self.stop = asyncio.Event()
        self.obstacle: Callable[[Found], Awaitable[str]] = nothing_against_it
        self.parks = FakeParks()
        self.pauses = Pauses(Names(topics=tuple(table.topics), routes=("first", "second")))
        self.others_after: int | None = None
        """After how many sent ones someone else is at work; None is never."""

    async def send(self, choice: Choice = ALL, *, rate: float | None = None, at_once: int = 4) -> int:
        """How many were to be sent."""
        letterbox = await self.letterbox()
        waiting = WaitingRoom()
        handling = handling_of(self.table, self.temporal, self.kafka, waiting, self.pauses, self.parks)
        with Order({"shop.stock"}) as order:
            sending = Sending(
                Picking(letterbox, choice, self.obstacle),
                Letterbox(self.kafka, letterbox.standings),
                order,
                LaterRecords(self.kafka, GROUP),
                Sender(handling, waiting, self.pauses, Rate(rate), self.alone, self.stop),
                Closing(self.kafka, letterbox),
                at_once=at_once,
                said=self.said.append,
                stop=self.stop,
            )
            count = await sending.survey()
            await sending.run()
        return count

    async def alone(self) -> None:
        if self.others_after is not None and len(self.temporal.effects) >= self.others_after:
            raise ConfigurationError("another command is at work")

    async def discard(self, choice: Choice = ALL) -> None:
        letterbox = await self.letterbox()
        closing = Closing(self.kafka, letterbox)
        await discard(Picking(letterbox, choice), closing, said=self.said.append, stop=self.stop)

    async def letterbox(self) -> Letterbox:
        return await open_letterbox(self.kafka, GROUP)

    async def open(self) -> list[Letter]:
        """The letters that lie open, without repeats."""
        walk = Picking(await self.letterbox(), ALL).walk()
        return [one.found.letter async for one in walk if one.found.letter and not one.repeat_of]

    def fates(self) -> list[tuple[str, str]]:
        """What was said: fate, and the record's offset."""
        return [
            (said.fate.value, str(said.found.letter.record.offset if said.found.letter else "?"))
            for said in self.said
        ]


@pytest.fixture
def desk() -> Desk:
    return Desk(THE_TABLE)


async def too_old(found: Found) -> str:
    return "too old" if found.place.offset == 1 else ""


async def test_once_someone_else_may_be_at_work_no_letter_begins_and_what_was_done_is_kept(
    desk: Desk,
) -> None:
    for offset in range(6):
        await desk.kafka.give_up(fact(offset, key=b"k"))
    desk.others_after = 2
    with pytest.raises(ConfigurationError, match="another command is at work"):
        await desk.send()
    assert len(desk.temporal.effects) == 2
    assert len(await desk.open()) == 4
    desk.others_after = None
    await desk.send()
    assert len(desk.temporal.effects) == 6


async def test_a_letter_is_sent_with_the_ids_it_had_and_is_open_no_more(desk: Desk) -> None:
    await desk.kafka.give_up(fact(7))
    assert await desk.send() == 1
    (command,) = desk.temporal.effects
    event = decoder_of(desk.table).decode(fact(7))
    (route,) = desk.table.routes_for(event)  # type: ignore[arg-type] # an event, no tombstone
    expected = route.command(event)  # type: ignore[arg-type]
    assert expected is not None
    assert command_id(command) == command_id(expected)
    assert await desk.open() == []
    assert await desk.send() == 0
    assert len(desk.temporal.calls) == 1


async def test_only_the_route_that_failed_runs_and_all_run_where_none_did(desk: Desk) -> None:
    await desk.kafka.give_up(fact(1, type="both"), route="second")
    await desk.kafka.give_up(fact(2, type="both"), route="", error=DecodeError("was no JSON"))
    await desk.send()
    assert [(c.route, c.event.record.offset) for c in desk.temporal.effects] == [
        ("second", 1),
        ("first", 2),
        ("second", 2),
    ]


async def test_one_that_fails_again_becomes_a_new_letter_and_the_old_one_is_closed(desk: Desk) -> None:
    await desk.kafka.give_up(fact(1), fact(2))
    desk.temporal.refused = {"first"}
    await desk.send()
    assert [(one.record.offset, one.sends, one.reason) for one in await desk.open()] == [
        (1, 1, "is refused"),
        (2, 1, "is refused"),
    ]
    assert {fate for fate, _ in desk.fates()} == {"failed again"}
    assert desk.kafka.commits[letter_group(GROUP)][P0] == Commit(2)


async def test_what_cannot_be_sent_is_refused_with_the_reason_and_stays_open(desk: Desk) -> None:
    await desk.kafka.give_up(*map(fact, range(3)))
    desk.obstacle = too_old
    assert await desk.send() == 2
    assert desk.fates() == [("refused", "1"), ("sent", "0"), ("sent", "2")]
    assert [one.record.offset for one in await desk.open()] == [1]


async def test_a_filter_sends_what_it_chooses_and_leaves_the_rest(desk: Desk) -> None:
    await desk.kafka.give_up(fact(1, key=b"a"), fact(2, key=b"b"), fact(3, key=b"a"), fact(4, key=b"c"))
    await desk.send(Choice(key=b"a"))
    assert desk.temporal.events == ["shop.orders-0-1", "shop.orders-0-3"]
    assert [one.record.offset for one in await desk.open()] == [2, 4]
    await desk.send(Choice(key=b"c"))
    assert [one.record.offset for one in await desk.open()] == [2]


async def test_a_letter_written_twice_after_a_crash_is_sent_once_and_both_are_closed(desk: Desk) -> None:
    await desk.kafka.give_up(fact(1), fact(2), fact(1), fact(2))
    assert await desk.send() == 2
    assert len(desk.temporal.calls) == 2
    assert desk.kafka.commits[letter_group(GROUP)][P0] == Commit(4)


async def test_a_repeat_of_a_letter_that_stays_open_stays_open(desk: Desk) -> None:
    await desk.kafka.give_up(fact(1), fact(2), fact(1))
    await desk.send(Choice(places=frozenset([lying(1)])))
    letterbox = await desk.letterbox()
    assert [found.place.offset async for found in letterbox.walk()] == [0, 2]


# --- order ---


async def test_letters_of_one_key_go_in_the_order_of_their_records_wherever_they_lie(desk: Desk) -> None:
    await desk.kafka.give_up(*map(fact, [9, 3, 7]), fact(1, key=b"b"), *map(fact, [5, 2]))
    await desk.send()
    assert [c.event.record.offset for c in desk.temporal.effects if c.event.record.key == b"A-1"] == [
        2,
        3,
        5,
        7,
        9,
    ]
    assert await desk.open() == []


@settings(deadline=None)
@given(st.permutations(range(12)), st.integers(1, 5), st.lists(st.integers(0, 2), min_size=12, max_size=12))
async def test_order_holds_however_far_apart_they_lie_and_in_whatever_partition(
    offsets: Sequence[int], window: int, keys: Sequence[int]
) -> None:
    desk = Desk(THE_TABLE, partitions=2)
    for offset in offsets:
        # As if the letter topic had got more partitions meanwhile: the letters of one lie in both.
        one = fact(offset, key=str(keys[offset]).encode())
        await Letters(Spread(desk.kafka, offset), GROUP).write(one, RejectedError("x"), About(route="first"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sending_module, "WINDOW_LETTERS", window)
        await desk.send()
    lanes: defaultdict[bytes | None, list[int]] = defaultdict(list)
    for command in desk.temporal.calls:
        lanes[command.event.record.key].append(command.event.record.offset)
    assert sorted(offset for lane in lanes.values() for offset in lane) == list(range(12))
    assert all(called == sorted(called) for called in lanes.values())
    assert await desk.open() == []


@dataclass(frozen=True)
class Spread:
    """A sink that chooses the partition by a number of its own."""

    kafka: FakeKafka
    number: int

    async def send(self, topic: str, **what: Any) -> Written:
        return await self.kafka.send(topic, **{**what, "spread": self.number})


async def test_in_a_topic_ordered_by_partition_all_letters_of_a_partition_go_in_order(desk: Desk) -> None:
    for offset in (3, 1, 2):
        await desk.kafka.give_up(fact(offset, topic="shop.stock", key=str(offset).encode()), route="counted")
    await desk.send()
    assert [command.event.record.offset for command in desk.temporal.effects] == [1, 2, 3]


async def test_letters_of_other_keys_go_side_by_side_but_no_more_at_once_than_set(desk: Desk) -> None:
    await desk.kafka.give_up(*(fact(n, key=str(n).encode()) for n in range(20)))
    now = most = 0

    async def slow() -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1

    desk.temporal.before_call = lambda _command: slow()
    await desk.send(at_once=3)
    assert most == 3


# --- when it does not go on ---


async def test_what_temporal_does_not_take_for_a_moment_waits_and_is_sent(desk: Desk) -> None:
    await desk.kafka.give_up(fact(1))
    errors = outage(2)

    def refuse(_command: object) -> None:
        if errors:
            raise errors.pop()

    desk.temporal.before_call = refuse
    await desk.send()
    assert desk.fates() == [("sent", "1")]


async def test_a_letter_that_does_not_get_through_stays_open_and_keeps_back_those_of_its_key_alone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender_module, "PATIENCE_SECONDS", 0.05)
    await desk.kafka.give_up(fact(1), fact(2), fact(3, key=b"b"))

    def refuse(command: Any) -> None:
        if command.event.record.offset == 1:
            raise NotNow("Temporal answered UNAVAILABLE")

    desk.temporal.before_call = refuse
    await desk.send()
    assert sorted(desk.fates()) == [("left open", "1"), ("left open", "2"), ("sent", "3")]
    (stuck,) = [said for said in desk.said if said.fate is Fate.LEFT_OPEN and said.found.place == lying(0)]
    assert stuck.lines == ["Temporal answered UNAVAILABLE"]
    assert [one.record.offset for one in await desk.open()] == [1, 2]


async def test_where_no_letter_gets_through_it_ends_with_the_answer_and_keeps_what_was_done(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender_module, "PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(sending_module, "WINDOW_LETTERS", 2)
    await desk.kafka.give_up(*(fact(n, key=str(n).encode()) for n in range(9)))

    def refuse(command: Any) -> None:
        if command.event.record.offset > 1:
            raise NotNow("Temporal answered UNAVAILABLE")

    desk.temporal.before_call = refuse
    with pytest.raises(NotNow, match="no letter gets through: Temporal answered UNAVAILABLE"):
        await desk.send()
    assert [one.record.offset for one in await desk.open()] == list(range(2, 9))


async def test_on_stop_what_is_on_its_way_comes_to_its_end_and_nothing_else_begins(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending_module, "WINDOW_LETTERS", 4)
    await desk.kafka.give_up(*map(fact, range(9)))

    def stop_at_the_third(command: Any) -> None:
        if command.event.record.offset == 2:
            desk.stop.set()

    desk.temporal.before_call = stop_at_the_third
    await desk.send()
    assert desk.temporal.events == [f"shop.orders-0-{n}" for n in range(3)]
    assert [one.record.offset for one in await desk.open()] == list(range(3, 9))
    assert len(desk.said) == 4  # of those further on nothing is said


async def test_on_stop_a_letter_that_waits_is_given_up_at_once(desk: Desk) -> None:
    await desk.kafka.give_up(fact(1))

    def refuse(_command: object) -> None:
        asyncio.get_running_loop().call_later(0.01, desk.stop.set)
        raise NotNow("is away")

    desk.temporal.before_call = refuse
    async with asyncio.timeout(5):
        await desk.send()
    assert desk.fates() == [("left open", "1")]


async def test_no_more_begin_in_a_second_than_set(desk: Desk) -> None:
    await desk.kafka.give_up(*(fact(n, key=str(n).encode()) for n in range(6)))
    loop = asyncio.get_running_loop()
    began: list[float] = []
    desk.temporal.before_call = lambda _command: began.append(loop.time())
    before = loop.time()  # the first call may come late, the others no earlier for that
    await desk.send(rate=100)
    assert len(began) == 6
    assert began[-1] - before >= 5 / 100


async def test_it_stops_before_it_would_forget_what_it_did_and_names_the_oldest(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.redrive.closing.FULL_BYTES", 60)
    chance = random.Random(7)  # no pattern, so that it does not compress well
    keys = [b"even", *(chance.choice([b"odd", b"even"]) for _ in range(1_599))]
    await desk.kafka.give_up(*(fact(n, key=key) for n, key in enumerate(keys)))
    with pytest.raises(ConfigurationError, match=f"discard the oldest first, from {LETTERS}/0/0 on"):
        await desk.send(Choice(key=b"odd"))
    done = len(desk.temporal.calls)
    assert 0 < done < keys.count(b"odd")
    assert len(await desk.open()) == 1_600 - done
    with pytest.raises(ConfigurationError, match="the oldest first"):
        await desk.send(Choice(key=b"odd"))
    assert len(desk.temporal.calls) == done
    with pytest.raises(ConfigurationError, match="the oldest first"):
        await desk.discard(Choice(key=b"odd"))
    assert len(await desk.open()) == 1_600 - done
    with pytest.raises(ConfigurationError, match=f"from {LETTERS}/0/[1-9][0-9]* on"):
        await desk.send(Choice(key=b"even"))  # the oldest among them did go
    await desk.send()
    assert (len(desk.temporal.calls), await desk.open()) == (1_600, [])


async def test_it_stops_before_it_would_forget_also_where_letters_stay_open_against_its_will(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.redrive.closing.FULL_BYTES", 60)
    monkeypatch.setattr(sender_module, "PATIENCE_SECONDS", 0.01)
    chance = random.Random(7)
    keys = [b"stuck", *(b"stuck" if chance.random() < 0.5 else str(n).encode() for n in range(1_599))]
    await desk.kafka.give_up(*(fact(n, key=key) for n, key in enumerate(keys)))

    def refuse(command: Any) -> None:
        if command.event.record.key == b"stuck":
            raise NotNow("is away")

    desk.temporal.before_call = refuse
    with pytest.raises(ConfigurationError, match=f"from {LETTERS}/0/0 on"):
        await desk.send()
    assert len(await desk.open()) == 1_600 - len(desk.temporal.effects)


async def test_what_is_done_is_stored_though_the_store_fails_in_the_middle(desk: Desk) -> None:
    await desk.kafka.give_up(*(fact(n, key=str(n).encode()) for n in range(150)))
    steps = 0

    def fail_once() -> None:
        nonlocal steps
        steps += 1
        if steps == 3:  # the first store is that of the beginning
            raise ConfigurationError("someone else is at work")

    desk.kafka.step = fail_once
    with pytest.raises(ConfigurationError, match="someone else"):
        await desk.send()
    await desk.send()
    assert len(desk.temporal.effects) == 150
    assert await desk.open() == []


# --- what is paused ---


async def test_a_letter_of_a_paused_topic_stays_open_and_says_who_paused_it_and_why(desk: Desk) -> None:
    await desk.kafka.give_up(fact(1))
    await desk.kafka.give_up(fact(1, topic="shop.stock"), route="counted")
    desk.pauses.obey(paused("shop.orders"))
    async with asyncio.timeout(10):
        await desk.send()
    assert sorted(desk.fates()) == [("paused", "1"), ("sent", "1")]
    (held,) = [said for said in desk.said if said.fate is Fate.PAUSED]
    assert held.lines == ["topic shop.orders since 2026-11-24 12:00:00 UTC by ada: upstream"]
    assert [one.record.topic for one in await desk.open()] == ["shop.orders"]
    assert desk.temporal.events == ["shop.stock-0-1"]


async def test_a_letter_of_a_paused_route_keeps_back_those_of_its_key_and_no_others(desk: Desk) -> None:
    await desk.kafka.give_up(fact(1, type="both"), route="second")
    await desk.kafka.give_up(fact(2), fact(3, key=b"b"))
    desk.pauses.obey(paused("second"))
    await desk.send()
    assert sorted(desk.fates()) == [("left open", "2"), ("paused", "1"), ("sent", "3")]


async def test_nothing_but_paused_letters_in_sight_does_not_end_the_command(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending_module, "WINDOW_LETTERS", 2)
    await desk.kafka.give_up(*map(fact, range(5)))
    await desk.kafka.give_up(fact(1, topic="shop.stock"), route="counted")
    desk.pauses.obey(paused("shop.orders"))
    await desk.send()
    assert desk.temporal.events == ["shop.stock-0-1"]


async def test_what_is_paused_while_letters_are_sent_holds_those_that_come_and_one_that_waits(
    desk: Desk,
) -> None:
    await desk.kafka.give_up(*map(fact, range(4)))

    def pause_at_the_third(command: Any) -> None:
        if command.event.record.offset == 2:
            desk.pauses.obey(paused("first"))
            raise NotNow("Temporal answered UNAVAILABLE")

    desk.temporal.before_call = pause_at_the_third
    await desk.send()
    assert desk.fates() == [("sent", "0"), ("sent", "1"), ("paused", "2"), ("left open", "3")]
    assert [one.record.offset for one in await desk.open()] == [2, 3]


async def test_of_a_letter_without_a_route_those_that_are_not_paused_run_once(desk: Desk) -> None:
    await desk.kafka.give_up(fact(2, type="both"), route="", error=DecodeError("was no JSON"))
    desk.pauses.obey(paused("second"))
    await desk.send()
    assert [fate for fate, _ in desk.fates()] == ["paused"]
    desk.pauses.obey(paused())
    await desk.send()
    assert [command.route for command in desk.temporal.effects] == ["first", "second"]
    assert await desk.open() == []


# --- what stays open keeps its place, however far on the next of its key lies ---


async def test_a_letter_that_stays_open_keeps_back_its_key_in_all_that_follows(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending_module, "WINDOW_LETTERS", 2)
    monkeypatch.setattr(sender_module, "PATIENCE_SECONDS", 0.05)
    others = [fact(n, key=b"b") for n in range(2, 5)]
    await desk.kafka.give_up(fact(1), *others, fact(9))

    def refuse(command: Any) -> None:
        if command.event.record.offset == 1:
            raise NotNow("Temporal answered UNAVAILABLE")

    desk.temporal.before_call = refuse
    await desk.send()
    assert desk.temporal.events == [f"shop.orders-0-{n}" for n in range(2, 5)]
    assert [one.record.offset for one in await desk.open()] == [1, 9]
    assert desk.fates()[-1] == ("left open", "9")


async def test_one_that_was_to_go_before_its_turn_and_stays_open_is_told_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending_module, "WINDOW_LETTERS", 2)
    monkeypatch.setattr(sender_module, "PATIENCE_SECONDS", 0.05)
    await desk.kafka.give_up(fact(5), fact(2, key=b"b"), fact(6), fact(3, key=b"b"), fact(1))

    def refuse(command: Any) -> None:
        if command.event.record.offset == 1:
            raise NotNow("Temporal answered UNAVAILABLE")

    desk.temporal.before_call = refuse
    await desk.send()
    assert sorted(desk.fates()) == [
        ("left open", "1"),
        ("left open", "5"),
        ("left open", "6"),
        ("sent", "2"),
        ("sent", "3"),
    ]
    assert sorted(one.record.offset for one in await desk.open()) == [1, 5, 6]


# --- discarding and rehearsing ---


async def test_what_is_discarded_is_closed_and_nothing_is_called(desk: Desk) -> None:
    await desk.kafka.give_up(fact(1), fact(2, key=b"b"), fact(1))
    await desk.discard(Choice(key=b"A-1"))
    assert (desk.temporal.calls, desk.fates()) == ([], [("discarded", "1")])
    assert [one.record.offset for one in await desk.open()] == [2]
    assert desk.kafka.commits[letter_group(GROUP)][P0].offset == 1


async def test_what_is_no_letter_can_be_discarded_by_its_place_and_is_never_sent(desk: Desk) -> None:
    desk.kafka.topics[P0].append(record(0, topic=LETTERS))
    await desk.kafka.give_up(fact(1))
    await desk.send()
    assert [found.letter async for found in (await desk.letterbox()).walk()] == [None]
    await desk.discard(Choice(places=frozenset([lying(0)])))
    assert [found async for found in (await desk.letterbox()).walk()] == []


async def test_a_rehearsal_tells_what_would_be_done_and_does_nothing(desk: Desk) -> None:
    source = Partition("shop.orders", 0)
    desk.kafka.topics[source] = list(map(fact, range(5)))
    desk.kafka.commits[GROUP][source] = Commit(4)
    await desk.kafka.give_up(fact(1), fact(2))
    await desk.kafka.give_up(fact(1, topic="shop.stock"), route="counted")
    before = dict(desk.kafka.commits[letter_group(GROUP)])
    preview = Preview(decoder_of(desk.table), desk.table, Contracts([]))
    picking = Picking(await desk.letterbox(), ALL, too_old)
    desk.pauses.obey(paused("shop.stock"))
    later = LaterRecords(desk.kafka, GROUP)
    await rehearse(picking, preview, later, desk.pauses, said=desk.said.append)
    refused, held, would = desk.said
    assert (held.fate, held.found.letter and held.found.letter.record.topic) == (Fate.PAUSED, "shop.stock")
    assert (refused.fate, refused.lines) == (Fate.REFUSED, ["too old"])
    assert (would.fate, str(would.later)) == (
        Fate.WOULD_BE_SENT,
        "2 later records of its key are handled already",
    )
    assert would.lines == ["route first: starts Order order/shop.orders-0-1 on orders"]
    assert (desk.temporal.calls, desk.kafka.commits[letter_group(GROUP)]) == ([], before)


async def test_sending_tells_what_each_letter_comes_after(desk: Desk) -> None:
    source = Partition("shop.orders", 0)
    desk.kafka.topics[source] = list(map(fact, range(5)))
    desk.kafka.commits[GROUP][source] = Commit(5)
    await desk.kafka.give_up(fact(1))
    await desk.send()
    assert [said.later.records for said in desk.said] == [3]


# --- any mix of it ---

Identity = tuple[int, str]


def lane_of(one: Record) -> tuple[int, bytes | None]:
    return one.partition, one.key


class SteppedParks(FakeParks):
    """Parks before and after which a process may be killed."""

    def __init__(self, kafka: FakeKafka) -> None:
        super().__init__()
        self._kafka = kafka

    async def put(self, command: Parkable, *, answer: str, patience: timedelta) -> None:
        self._kafka.step()
        await super().put(command, answer=answer, patience=patience)
        self._kafka.step()


class LettersThroughTime(RuleBasedStateMachine):
    """Bridges and parks give up, people send, discard and pause, targets are away, processes are killed."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(closing_module, "STORE_LETTERS", 1)  # so that there is much to be killed at
        self.patch.setattr(sending_module, "WINDOW_LETTERS", 2)
        self.patch.setattr(sender_module, "PATIENCE_SECONDS", 0.001)
        self.desk = Desk(THE_TABLE, partitions=2)
        self.desk.parks = SteppedParks(self.desk.kafka)
        self.away: set[bytes | None] = set()
        self.given_up: dict[Identity, Record] = {}
        self.discarded: set[Identity] = set()  # for certain
        self.perhaps_discarded: set[Identity] = set()  # its process was killed

    # --- what happens ---

    @rule(
        offset=st.integers(0, 500),  # also of an early record after later ones, as parks do
        partition=st.integers(0, 2),
        key=st.sampled_from([b"a", b"b"]),
        both=st.booleans(),
        again=st.booleans(),
    )
    def a_bridge_gives_up(self, offset: int, partition: int, key: bytes, both: bool, again: bool) -> None:
        if any(known == offset for known, _ in self.given_up):
            return
        one = fact(offset, key=key, partition=partition, type="both")
        routes = ["first", "second"] if both else ["first"]
        for route in routes * (1 + again):  # it was killed, and did it once more
            asyncio.run(self.desk.kafka.give_up(one, route=route))
            self.given_up[offset, route] = one

    @rule(route=st.sampled_from(["first", "second"]), refused=st.booleans())
    def a_route_is_mended_or_broken(self, route: str, refused: bool) -> None:
        (self.desk.temporal.refused.add if refused else self.desk.temporal.refused.discard)(route)

    @rule(missing=st.booleans())
    def a_target_comes_or_goes(self, missing: bool) -> None:
        self.desk.temporal.without_target = {"second"} if missing else set()

    @rule(key=st.sampled_from([b"a", b"b"]), away=st.booleans())
    def targets_are_away_or_back(self, key: bytes, away: bool) -> None:
        (self.away.add if away else self.away.discard)(key)

    @rule(names=st.sets(st.sampled_from(["first", "second", "shop.orders"]), max_size=1))
    def someone_pauses_or_resumes(self, names: set[str]) -> None:
        self.desk.pauses.obey(paused(*names))

    @precondition(lambda self: self.desk.parks.held)
    @rule(gives_up=st.booleans())
    def a_park_delivers_or_gives_up(self, gives_up: bool) -> None:
        target = next(iter(self.desk.parks.held))
        for command in self.desk.parks.close(target):
            if gives_up:
                one, about = command.event.record, About(route=command.route)
                letters = Letters(self.desk.kafka, GROUP)
                asyncio.run(letters.write(one, GivenUpError("waited too long"), about))
                self.discarded.discard((one.offset, command.route))  # this is another letter of it
            else:
                self._deliver(command)

    def _deliver(self, command: Parkable) -> None:
        temporal = self.desk.temporal
        before, temporal.without_target = temporal.without_target, set()
        refused, temporal.refused = temporal.refused, set()
        asyncio.run(temporal.dispatch(command))
        temporal.without_target, temporal.refused = before, refused

    @rule(
        choice=st.sampled_from([ALL, Choice(key=b"a"), Choice(route="second")]),
        killed_at=st.none() | st.integers(1, 40),
        stopped_at=st.none() | st.integers(1, 20),
    )
    def someone_sends(self, choice: Choice, killed_at: int | None, stopped_at: int | None) -> None:
        effects, calls = set(self._effects()), len(self.desk.temporal.calls)
        before = self._lying(choice)
        finished = self._do(self.desk.send(choice), killed_at, stopped_at)
        called = [command.event.record for command in self.desk.temporal.calls[calls:]]
        for n, one in enumerate(called):
            assert all(same.offset >= one.offset for same in called[n:] if lane_of(same) == lane_of(one))
        if finished:
            stay = [one.record for place, one in self._lying(choice).items() if before.get(place) == one]
            for one in called:
                passed = [same for same in stay if same.offset < one.offset]
                assert lane_of(one) not in map(lane_of, passed)
        assert not (set(self._effects()) - effects) & self.discarded, "sent what was discarded"

    @rule(
        choice=st.sampled_from([Choice(key=b"b"), Choice(route="second")]),
        killed_at=st.none() | st.integers(1, 8),
    )
    def someone_discards(self, choice: Choice, killed_at: int | None) -> None:
        meant = {
            identity
            for identity, one in self.given_up.items()
            if identity in self._open()
            and (choice.route in {"", identity[1]})
            and choice.key in {None, one.key}
        }
        finished = self._do(self.desk.discard(choice), killed_at)
        self.perhaps_discarded |= meant
        self.discarded |= meant if finished else set()

    def _do(
        self, act: Coroutine[Any, Any, Any], killed_at: int | None = None, stopped_at: int | None = None
    ) -> bool:
        """Whether it came to its end; once killed, nothing it tries has an effect."""
        steps = 0
        self.desk.stop = asyncio.Event()  # each time in a loop of its own

        def step(_command: object = None) -> None:
            nonlocal steps
            steps += 1
            if steps == stopped_at:
                self.desk.stop.set()
            if killed_at and steps >= killed_at:
                raise Crash

        kafka, temporal = self.desk.kafka, self.desk.temporal

        def before_call(command: Command) -> None:
            step()
            if command.event.record.key in self.away:
                raise NotNow("is away")

        kafka.step, temporal.before_call, temporal.after_call = step, before_call, step
        try:
            asyncio.run(act)
        except Crash:
            return False
        except NotNow:  # no letter gets through
            pass
        finally:
            nothing = lambda *_args: None  # noqa: E731
            kafka.step, temporal.before_call, temporal.after_call = nothing, nothing, nothing
        return True

    # --- what holds ---

    @invariant()
    def nothing_is_lost(self) -> None:
        done = set(self._effects()) | self._parked() | self.perhaps_discarded
        assert self.given_up.keys() <= self._open() | done

    @invariant()
    def what_was_discarded_is_open_no_more(self) -> None:
        assert not self._open() & self.discarded

    @invariant()
    def a_letter_lies_open_once(self) -> None:
        identities = [(one.record.offset, one.about.route) for one in asyncio.run(self.desk.open())]
        assert len(identities) == len(set(identities))

    @invariant()
    def every_effect_is_that_of_a_letter_and_took_place_once(self) -> None:
        effects = self._effects()
        assert len(effects) == len(set(effects))
        assert set(effects) <= self.given_up.keys()

    @invariant()
    def a_letter_is_the_record_byte_for_byte(self) -> None:
        for one in asyncio.run(self.desk.open()):
            assert one.record == self.given_up[one.record.offset, one.about.route]

    def teardown(self) -> None:
        self.desk.temporal.refused.clear()
        self.desk.temporal.without_target.clear()
        self.away.clear()
        self.desk.pauses.obey(paused())
        for target in list(self.desk.parks.held):
            for command in self.desk.parks.close(target):
                self._deliver(command)
        assert self._do(self.desk.send())
        assert not self._open()
        assert self.given_up.keys() == set(self._effects()) | self.perhaps_discarded
        self.patch.undo()

    def _lying(self, choice: Choice) -> dict[Place, Letter]:
        """The letters that are meant and open, by where they lie."""

        async def lying() -> dict[Place, Letter]:
            walk = Picking(await self.desk.letterbox(), choice).walk()
            return {picked.found.place: picked.letter async for picked in walk if picked.letter}

        return asyncio.run(lying())

    def _parked(self) -> set[Identity]:
        held = [command for park in self.desk.parks.held.values() for command in park]
        return {(command.event.record.offset, command.route) for command in held}

    def _open(self) -> set[Identity]:
        return {(one.record.offset, one.about.route) for one in asyncio.run(self.desk.open())}

    def _effects(self) -> list[Identity]:
        return [(command.event.record.offset, command.route) for command in self.desk.temporal.effects]


TestLettersThroughTime = LettersThroughTime.TestCase
TestLettersThroughTime.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
