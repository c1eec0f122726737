"""A topic's past through one route: what of it is read, once and in order, and what is counted."""

import asyncio
from collections import defaultdict
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import ConfigurationError, NotNow, Unreachable
from service.intake import loop, readiness
from service.intake.offset_map import encode
from service.kafka.record import Commit, Record
from service.kafka.route_log import RouteLog
from service.redrive.letterbox import Place
from service.replays import running, source
from service.replays.leaving_out import left_out
from service.replays.plan import refuse_forgotten
from service.replays.progress import Replayed, replay_group
from service.routing.commands import Command
from service.routing.table import RouteTable
from tests.unit.fakes import paused
from tests.unit.letter_world import GROUP, NOW, FakeTemporal, fact, table_in
from tests.unit.replay_world import (
    P0,
    P1,
    ROUTE,
    PastKafka,
    Run,
    asked,
    live_since,
    ms,
    plan_of,
    rehearsed,
)

ROUTES = """\
version: 1
topics:
  shop.orders: {}
  shop.stock: {}
routes:
  - name: first
    from: shop.orders
    start: {workflow: Order, id: "order/${data.id}", task_queue: orders, input: "${data}"}
  - name: second
    from: shop.orders
    type: placed
    when: data.id != "left-out"
    signal: {to: "customer/${record.key}", name: ordered, input: "${data}"}
  - name: third
    from: shop.orders
    start: {workflow: Order, id: "third/${data.id}", task_queue: orders, input: "${data}"}
  - name: counted
    from: shop.stock
    start: {workflow: Count, id: "count/${data.id}", task_queue: stock, input: "${data}"}
"""
KINDS = ["placed", "placed", "other", "torn", "torn-other", "left-out", "tombstone"]


@pytest.fixture
def table(tmp_path: Path) -> RouteTable:
    return table_in(tmp_path, ROUTES)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "COMMIT_SECONDS", 0.001)
    monkeypatch.setattr(loop, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(running, "LOOK_SECONDS", 0.001)


def lying(offset: int, kind: str = "placed", key: str = "k", partition: int = 0, **how: Any) -> Record:
    """A record of that kind."""
    where = {"key": key.encode(), "partition": partition, "timestamp_ms": ms(timedelta(hours=1)), **how}
    match kind:
        case "torn":
            return fact(offset, **{**where, "value": b'{"id": '})
        case "torn-other":
            return fact(offset, **{**where, "value": b'{"id": ', "type": "other"})
        case "left-out":
            return fact(offset, **{**where, "value": b'{"id": "left-out"}'})
        case "tombstone":
            return fact(offset, **{**where, "value": b""})
        case _:
            return fact(offset, type=kind, **where)


LOGS = st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from("ab")), min_size=1, max_size=30)


# --- once, in order, no more and no less ---


class Killed(Exception):  # noqa: N818 - an event, not an error
    """The process is killed here."""


async def _killed_at(kafka: PastKafka, temporal: FakeTemporal, table: RouteTable, steps: int) -> None:
    """A run that ends at so many calls and writes, before or after that took effect; or by itself."""
    killed, left = asyncio.Event(), iter(range(steps))

    def step(_: object = None) -> None:
        if next(left, None) is None:
            killed.set()
            raise Killed

    kafka.step, temporal.before_call, temporal.after_call = step, step, step
    run = asyncio.create_task(Run(kafka, temporal, table, await plan_of(kafka, table)).go())
    ended = asyncio.create_task(killed.wait())
    await asyncio.wait({run, ended}, return_when=asyncio.FIRST_COMPLETED)
    if run.done() and run.exception():
        assert killed.is_set()


async def _to_the_end(kafka: PastKafka, temporal: FakeTemporal, table: RouteTable) -> None:
    await Run(kafka, temporal, table, await plan_of(kafka, table)).go()
    # Nothing is left for one more.
    assert (await rehearsed(kafka, table, await plan_of(kafka, table))).records == 0


@settings(max_examples=40, deadline=None)
@given(LOGS, st.sets(st.integers(0, 29)), st.lists(st.integers(0, 60), max_size=3))
def test_killed_anywhere_and_said_again_all_of_the_past_takes_effect_once_in_order_and_nothing_else_does(
    kinds: list[tuple[str, str]], done: set[int], kills: list[int]
) -> None:
    records = [lying(n, kind, key) for n, (kind, key) in enumerate(kinds)]
    point = next(n for n in range(len(records) + 1) if n not in done or n == len(records))
    ahead = [n for n in done if point < n < len(records)]
    kafka, temporal = PastKafka(records), FakeTemporal()
    # The route went live when this was done; all of it was handled since.
    kafka.noted(p0=live_since(Commit(point, encode(point, ahead))))
    kafka.handled(p0=Commit(len(records)))

    with TemporaryDirectory() as folder:
        table = table_in(Path(folder), ROUTES)
        for kill in kills:
            asyncio.run(_killed_at(kafka, temporal, table, kill))
        kafka.step, temporal.before_call, temporal.after_call = lambda: None, lambda _: None, lambda _: None
        asyncio.run(_to_the_end(kafka, temporal, table))
    past = [r for n, r in enumerate(records) if n < point or n in ahead]
    kinds_of = {r.offset: kind for r, (kind, _) in zip(records, kinds, strict=True)}
    meant = [r.offset for r in past if kinds_of[r.offset] == "placed"]
    told: defaultdict[bytes | None, list[int]] = defaultdict(list)
    for command in temporal.effects:
        assert command.route == ROUTE
        told[command.event.record.key].append(command.event.record.offset)
    assert sorted(offset for offsets in told.values() for offset in offsets) == meant
    assert all(offsets == sorted(offsets) for offsets in told.values())
    # A letter may be there twice, as after any crash: one stays one for who sends them.
    letters = {letter.record.offset for letter in kafka.letters()}
    assert letters == {r.offset for r in past if kinds_of[r.offset] in {"torn", "tombstone"}}
    assert all(letter.about.route == ROUTE for letter in kafka.letters())


@settings(max_examples=60, deadline=None)
@given(LOGS, LOGS)
def test_a_run_reports_the_numbers_of_its_rehearsal(
    ones: list[tuple[str, str]], others: list[tuple[str, str]]
) -> None:
    records = [lying(n, kind, key) for n, (kind, key) in enumerate(ones)]
    records += [lying(n, kind, key, partition=1) for n, (kind, key) in enumerate(others)]
    kafka, temporal = PastKafka(records), FakeTemporal()
    kafka.handled(p0=Commit(len(ones)), p1=Commit(len(others)))
    kafka.noted(p0=live_since(Commit(len(ones))), p1=live_since(Commit(len(others))))

    async def both() -> None:
        with TemporaryDirectory() as folder:
            table = table_in(Path(folder), ROUTES)
            plan = await plan_of(kafka, table)
            tally = await rehearsed(kafka, table, plan)
            run = Run(kafka, temporal, table, plan)
            await run.go()
            assert str(run.tally) == str(tally)
            assert run.tally.records == len(records)
            assert run.kinds.total() == tally.of("commands") + tally.of("letters")
            assert run.progress[-1] == plan.offsets == len(records)

    asyncio.run(both())


async def test_records_of_a_key_share_a_lane_and_neighbours_go_on_beside_it(table: RouteTable) -> None:
    records = [lying(n, key="ab"[n % 2]) for n in range(6)]
    kafka, temporal = PastKafka(records), FakeTemporal()
    kafka.handled(p0=Commit(6))
    kafka.noted(p0=live_since(Commit(6)))
    held = asyncio.Event()
    temporal.before_call = lambda c: held.wait() if c.event.record.key == b"a" else None
    run = Run(kafka, temporal, table, await plan_of(kafka, table))
    going = asyncio.create_task(run.go())
    while len(temporal.effects) < 3:  # noqa: ASYNC110 - what it waits for is a number
        await asyncio.sleep(0.001)
    assert {command.event.record.key for command in temporal.effects} == {b"b"}
    held.set()
    await going
    assert [c.event.record.offset for c in temporal.effects if c.event.record.key == b"a"] == [0, 2, 4]


# --- from where, up to where ---


async def test_without_a_note_of_the_bridges_a_signal_is_refused_but_for_until(table: RouteTable) -> None:
    kafka = PastKafka([lying(n, timestamp_ms=ms(timedelta(hours=9 - n))) for n in range(8)])
    kafka.handled(p0=Commit(6), p1=Commit(0))
    for log in (None, RouteLog.begin(Commit(2), [ROUTE], whole=False)):
        if log:
            kafka.noted(p0=log)
        with pytest.raises(
            ConfigurationError, match=r"not known since when route second runs .* say --until"
        ):
            await plan_of(kafka, table)
        plan = await plan_of(kafka, table, asked(until=NOW - timedelta(hours=5)))
        assert plan.stretches[P0].offsets == range(4)
        # No one acts on what the bridges will come to.
        plan = await plan_of(kafka, table, asked(until=NOW - timedelta(hours=1)))
        assert plan.stretches[P0].offsets == range(6)
        # Temporal knows all starts again by their ids.
        start = asked(route="third")
        assert (await plan_of(kafka, table, start)).stretches[P0].offsets == range(6)


async def test_it_ends_where_the_route_went_live_or_at_until_if_that_is_earlier(table: RouteTable) -> None:
    kafka = PastKafka([lying(n, timestamp_ms=ms(timedelta(hours=9 - n))) for n in range(8)])
    kafka.handled(p0=Commit(8), p1=Commit(0))
    kafka.noted(p0=live_since(Commit(5)))
    (told, nothing) = (await plan_of(kafka, table)).stretches.values()
    assert str(told) == "offsets 0 to 4, to where the route went live"
    # Nobody knows since when it runs there, and it does not matter.
    assert str(nothing) == "nothing, to where the bridges are; since when the route runs is not known"
    plan = await plan_of(kafka, table, asked(timedelta(hours=8), until=NOW - timedelta(hours=6)))
    assert str(plan.stretches[P0]) == "offsets 1 to 2, to --until"
    later = await plan_of(kafka, table, asked(timedelta(hours=2)))
    assert later.offsets == 0


async def test_before_it_goes_live_it_ends_where_the_bridges_are_and_later_goes_on_from_there(
    table: RouteTable,
) -> None:
    kafka, temporal = PastKafka([lying(n) for n in range(10)]), FakeTemporal()
    # Number 5 is done, and number 3 waits: it may yet be handled without the route, or with it.
    kafka.handled(p0=Commit(3, encode(3, [5])))
    kafka.noted(p0=RouteLog.begin(Commit(0), ["first"], whole=True))
    plan = await plan_of(kafka, table)
    assert str(plan.stretches[P0]) == "offsets 0 to 2, to where the bridges are, without the route"
    await Run(kafka, temporal, table, plan).go()
    kafka.noted(p0=live_since(Commit(4, encode(4, [5, 7]))))
    kafka.handled(p0=Commit(10))
    plan = await plan_of(kafka, table)
    assert str(plan.stretches[P0]) == (
        "goes on where a replay ended: offsets 3 to 7, to where the route went live"
    )
    await Run(kafka, temporal, table, plan).go()
    assert [command.event.record.offset for command in temporal.effects] == [0, 1, 2, 3, 5, 7]


async def test_what_lies_before_an_earlier_replay_is_refused_and_a_gap_behind_it_is_not_claimed(
    table: RouteTable,
) -> None:
    kafka, temporal = (
        PastKafka([lying(n, timestamp_ms=ms(timedelta(hours=9 - n))) for n in range(9)]),
        FakeTemporal(),
    )
    kafka.handled(p0=Commit(9))
    kafka.noted(p0=live_since(Commit(9)))
    first = asked(timedelta(hours=6), until=NOW - timedelta(hours=4))
    await Run(kafka, temporal, table, await plan_of(kafka, table, first)).go()
    replayed = kafka.commits[replay_group(GROUP, ROUTE)]
    assert Replayed.read(replayed[P0]) == Replayed(3, Commit(5))
    with pytest.raises(ConfigurationError, match=r"began at offset 3 .* offset 1 .* out of order"):
        await plan_of(kafka, table, asked(timedelta(hours=8)))
    await Run(kafka, temporal, table, await plan_of(kafka, table, asked(timedelta(hours=2)))).go()
    assert Replayed.read(replayed[P0]) == Replayed(7, Commit(9))
    with pytest.raises(ConfigurationError, match="--again"):
        await plan_of(kafka, table, asked(timedelta(hours=4)))
    with pytest.raises(ConfigurationError, match="--accept-repeats"):
        await plan_of(kafka, table, asked(timedelta(hours=8), again=True))
    plan = await plan_of(kafka, table, asked(timedelta(hours=8), again=True, accept_repeats=True))
    assert plan.stretches[P0].offsets == range(1, 9)


async def test_a_part_of_the_time_that_is_no_longer_in_the_topic_is_said(table: RouteTable) -> None:
    kafka = PastKafka([lying(n, timestamp_ms=ms(timedelta(hours=9 - n))) for n in range(4, 9)])
    kafka.handled(p0=Commit(9))
    kafka.noted(p0=live_since(Commit(9)))
    (warning,) = (await plan_of(kafka, table)).warnings
    assert warning == (
        "shop.orders[0]: what was written before 2026-11-24T07:00:00Z is no longer in the topic "
        "(offset 4 is its first)"
    )
    assert not (await plan_of(kafka, table, asked(timedelta(hours=3)))).warnings


async def test_what_temporal_has_forgotten_is_refused_with_the_time_to_begin_at(table: RouteTable) -> None:
    kafka = PastKafka([lying(n, timestamp_ms=ms(timedelta(hours=9 - n))) for n in range(9)])
    kafka.handled(p0=Commit(9))
    kafka.noted(p0=live_since(Commit(9)))
    route = table.route(ROUTE)
    assert route
    plan = await plan_of(kafka, table)
    with pytest.raises(ConfigurationError, match="begin at --from 2026-11-24T07:01:00Z, or write --accept"):
        await refuse_forgotten(kafka, route, plan, NOW, timedelta(hours=5))
    plan = await plan_of(kafka, table, asked(timedelta(hours=4, minutes=59)))
    await refuse_forgotten(kafka, route, plan, NOW, timedelta(hours=5))


# --- on its way ---


async def test_told_to_stop_it_keeps_what_is_done_and_begins_nothing_more(table: RouteTable) -> None:
    kafka, temporal = PastKafka([lying(n, key=str(n)) for n in range(50)]), FakeTemporal()
    kafka.handled(p0=Commit(50))
    kafka.noted(p0=live_since(Commit(50)))
    run = Run(kafka, temporal, table, await plan_of(kafka, table))
    temporal.after_call = lambda _: run.stop.set() if len(temporal.calls) == 3 else None
    await run.go(rate=200)
    assert 3 <= len(temporal.calls) < 50
    await Run(kafka, temporal, table, await plan_of(kafka, table)).go()
    assert len(temporal.calls) == len(temporal.effects) == 50


async def test_no_more_commands_a_second_begin_than_it_is_told_and_what_is_left_out_takes_no_turn(
    table: RouteTable,
) -> None:
    kinds = ["placed", *["other"] * 30] * 5
    kafka, temporal = PastKafka([lying(n, kind) for n, kind in enumerate(kinds)]), FakeTemporal()
    kafka.handled(p0=Commit(len(kinds)))
    kafka.noted(p0=live_since(Commit(len(kinds))))
    at: list[float] = []
    temporal.after_call = lambda _: at.append(asyncio.get_running_loop().time())
    began = asyncio.get_running_loop().time()
    await Run(kafka, temporal, table, await plan_of(kafka, table)).go(rate=50)
    # A turn may come late, never early.
    assert [moment - began >= n / 50 - 0.001 for n, moment in enumerate(at)] == [True] * 5


async def test_a_pause_holds_it_and_is_told(table: RouteTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "SAY_SECONDS", 0.0)
    kafka, temporal = PastKafka([lying(n) for n in range(3)]), FakeTemporal()
    kafka.handled(p0=Commit(3))
    kafka.noted(p0=live_since(Commit(3)))
    for name in (ROUTE, "shop.orders"):
        run = Run(kafka, temporal, table, await plan_of(kafka, table))
        run.pauses.obey(paused(name))
        going = asyncio.create_task(run.go())
        while not run.said:  # noqa: ASYNC110 - what it waits for is a line
            await asyncio.sleep(0.001)
        assert run.said[0] == f"held since {name} is paused by ada: upstream"
        assert not temporal.calls
        run.stop.set()
        await going


async def test_what_waits_is_told_and_may_be_left_out_as_a_letter_of_the_route(
    table: RouteTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "SAY_SECONDS", 0.0)
    monkeypatch.setattr(readiness, "PATIENCE_SECONDS", 0.0)
    kafka, temporal = PastKafka([lying(0), lying(1, "other"), lying(2)]), FakeTemporal()
    kafka.handled(p0=Commit(3))
    kafka.noted(p0=live_since(Commit(3)))

    def refuse(command: Command) -> None:
        if command.event.record.offset == 0:
            raise NotNow("task queue is unknown")

    temporal.before_call = refuse
    run = Run(kafka, temporal, table, await plan_of(kafka, table))
    going = asyncio.create_task(run.go())
    while not any("task queue" in line for line in run.said):  # noqa: ASYNC110 - what it waits for is a line
        await asyncio.sleep(0.001)
    assert run.said[-1] == (
        "shop.orders[0]@0 waits for customer/k since 0 s: task queue is unknown; "
        "to give up on it, end this and add --leave-out shop.orders/0/0"
    )
    run.stop.set()
    await going
    plan = await plan_of(kafka, table)
    run = Run(kafka, temporal, table, plan)
    for place in (Place(P0, 1), Place(P0, 3), Place(P1, 0)):
        with pytest.raises(ConfigurationError, match=f"{place} is not to be replayed"):
            await left_out(kafka, plan, run.judge, [place], "ada")
    run.given_up.note(await left_out(kafka, plan, run.judge, [Place(P0, 0)], "ada"))
    await run.go()
    (letter,) = kafka.letters()
    assert (letter.record.offset, letter.about.route, letter.stage) == (0, ROUTE, "person")
    assert letter.reason == "given up by ada: left out of a replay (it was not tried)"
    assert str(run.tally) == (
        "3 records; 1 commands (1 signal); 1 left out (1 of another type); 1 letters (1 person)"
    )
    assert [command.event.record.offset for command in temporal.effects] == [2]


async def test_who_is_no_longer_alone_in_the_group_ends_with_that(table: RouteTable) -> None:
    kafka, temporal = PastKafka([lying(n) for n in range(3)]), FakeTemporal()
    kafka.handled(p0=Commit(3))
    kafka.noted(p0=live_since(Commit(3)))

    def step() -> None:
        raise ConfigurationError("another command is at work")

    kafka.step = step
    with pytest.raises(ConfigurationError, match="another command is at work"):
        await Run(kafka, temporal, table, await plan_of(kafka, table)).go()
    assert not kafka.commits[replay_group(GROUP, ROUTE)]


async def test_a_kafka_that_gives_nothing_ends_it(table: RouteTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "PATIENCE_SECONDS", 0.01)
    kafka = PastKafka([lying(n) for n in range(3)])
    kafka.handled(p0=Commit(3))
    kafka.noted(p0=live_since(Commit(3)))
    plan = await plan_of(kafka, table)
    kafka.topics[P0] = []
    with pytest.raises(Unreachable, match="gave nothing"):
        await Run(kafka, FakeTemporal(), table, plan).go()


# --- what is kept ---


@given(st.integers(0, 10**18), st.integers(0, 10**18), st.sets(st.integers(1, 3000), max_size=400))
def test_how_far_it_came_is_read_back_and_fits(since: int, point: int, ahead: set[int]) -> None:
    replayed = Replayed(since, Commit(point, encode(point, [point + n for n in ahead])))
    kept = replayed.as_commit()
    assert len(kept.metadata.encode()) <= 4_096
    assert Replayed.read(kept) == replayed


def test_a_map_that_does_not_fit_is_left_out() -> None:
    kept = Replayed(5, Commit(9, "v1:" + "x" * 4_093)).as_commit()
    assert kept == Commit(9, "from=5")


@pytest.mark.parametrize("metadata", ["", "v1:cgEB", "from=", "from=x", "from=-1"])
def test_what_another_tool_wrote_says_nothing(metadata: str) -> None:
    assert Replayed.read(Commit(9, metadata)) is None
    assert P1.topic == "shop.orders"
