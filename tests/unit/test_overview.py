"""How far a group is: what follows from what Kafka and Temporal say, and how it is shown."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from service.cli import app as app_module
from service.cli import status as status_module
from service.cli.printing import json_of
from service.cli.status_printing import as_dict, shown
from service.failures.parks import OpenPark
from service.journeys.facts import Unasked
from service.journeys.progress import Overview, PartitionState, name_of
from service.kafka.members import Member, Members
from service.kafka.outside import Extent
from service.kafka.raw import MENDED
from service.kafka.record import Commit, Partition
from service.routing.table import load_routes
from service.settings import Settings
from tests.unit.records import record
from workflows.park import ParkStatus
from workflows.switchboard import Names, State, Switch

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
ROUTES = Path(__file__).parents[2] / "deploy/demo/routes"
P0, P1 = Partition("shop.orders", 0), Partition("shop.orders", 1)
ONE = Members("Stable", [Member("turnout", "10.0.0.1", [P0, P1])])


def at(offset: int, minutes_ago: float = 0, partition: int = 0, **more: Any) -> Any:
    written = int((NOW - timedelta(minutes=minutes_ago)).timestamp() * 1000)
    return record(offset, partition=partition, timestamp_ms=written, **more)


def state(partition: Partition = P0, **known: Any) -> PartitionState:
    return replace(PartitionState(partition, Extent(10, 100, 100), Commit(100)), **known)


def seen(*partitions: PartitionState, **known: Any) -> Overview:
    return replace(Overview(group="shop", now=NOW, partitions=partitions, members=ONE), **known)


def printed(overview: Overview) -> str:
    out = StringIO()
    Console(file=out, width=300).print(shown(overview))
    return out.getvalue()


# --- what follows ---


@given(
    st.integers(0, 50),
    st.integers(0, 50),
    st.integers(0, 50),
    st.frozensets(st.integers(0, 120), max_size=20),
)
def test_the_lag_is_what_lies_there_and_is_not_finished(
    first: int, held: int, point: int, finished: frozenset[int]
) -> None:
    end = first + held
    beyond = frozenset(one for one in finished if point < one < end)
    one = PartitionState(P0, Extent(first, end, end), Commit(point), beyond)
    unfinished = {offset for offset in range(first, end) if offset >= point and offset not in beyond}
    assert one.lag == len(unfinished)


def test_what_its_group_has_not_begun_with_lags_whole() -> None:
    assert state(commit=None).lag == 90


def test_the_oldest_are_those_of_all_partitions_in_the_order_they_were_written() -> None:
    a = state(commit=Commit(50), unfinished=[at(50, 3), at(51, 1)])
    b = state(P1, commit=Commit(7), unfinished=[at(20 + n, 2, partition=1) for n in range(10)])
    overview = seen(a, b)
    assert [(one.partition, one.offset) for one in overview.oldest[:3]] == [(0, 50), (1, 20), (1, 21)]
    assert len(overview.oldest) == 10
    (topic,) = overview.topics
    assert topic.age(NOW) == timedelta(minutes=3)
    assert topic.lag == a.lag + b.lag


def test_a_record_is_named_by_its_event_or_a_digest_of_its_key_and_never_by_the_key() -> None:
    assert name_of(at(1, headers=(("ce_id", b"E-1"),))) == "event E-1"
    assert name_of(at(1, key=b"ada@example.org")).startswith("key #")
    assert "ada" not in name_of(at(1, key=b"ada@example.org"))
    assert name_of(at(1, key=None)) == "no key"


UNREADABLE = at(50, headers=((r"na\xffme", b"x"), (MENDED, b"0")))


@pytest.mark.parametrize(
    ("partition", "said"),
    [
        (
            state(commit=Commit(5)),
            ["is stopped: its group goes on at offset 5", "turnout seek shop.orders/0"],
        ),
        (
            state(commit=Commit(50), unfinished=[UNREADABLE]),
            ["cannot read the record at offset 50", "turnout letters add shop.orders/0/50"],
        ),
        (
            state(held=Extent(10, 90, 100), commit=Commit(90), open_since=NOW - timedelta(minutes=5)),
            ["10 offsets wait for a transaction that is open for 5 min", "find-hanging"],
        ),
    ],
)
def test_what_does_not_mend_itself_is_told_with_what_to_do(
    partition: PartitionState, said: Sequence[str]
) -> None:
    (problem,) = seen(partition).problems()
    assert all(text in problem for text in said)
    assert problem in " ".join(printed(seen(partition)).split("\n"))


@pytest.mark.parametrize(
    "partition",
    [
        state(commit=Commit(50), unfinished=[UNREADABLE], given_up=frozenset({50})),
        state(held=Extent(10, 90, 100), commit=Commit(90), open_since=NOW - timedelta(seconds=5)),
        state(commit=Commit(50), unfinished=[at(50, 600)]),
    ],
    ids=["given up", "a short transaction", "slow"],
)
def test_what_mends_itself_is_no_problem(partition: PartitionState) -> None:
    assert not [*seen(partition).problems()]


def test_records_that_nobody_reads_are_a_problem_and_a_rebalance_is_none() -> None:
    behind = state(commit=Commit(50))
    nobody, elsewhere = Members("Empty"), Members("Stable", [Member("turnout", "10.0.0.1", [P1])])
    assert "no process of group shop runs" in "".join(seen(behind, members=nobody).problems())
    assert "read by no process" in "".join(seen(behind, members=elsewhere).problems())
    assert not [*seen(behind, members=Members("CompletingRebalance")).problems()]
    assert not [*seen(state(), members=nobody).problems()]
    assert "topic shop.news is not there" in "".join(seen(missing=["shop.news"]).problems())


# --- how it is shown ---

PARK = OpenPark("p", "order/[b]A", "default", ParkStatus(commands=3, since=NOW, gives_up_at=NOW), "[/]no", "")
BOARD = State(
    paused=(Switch(name="shop.orders", since=NOW, by="ada", because="totals"),),
    names=Names(topics=("shop.orders",), routes=()),
)


def test_all_of_it_is_shown_and_texts_of_others_as_they_are() -> None:
    text = printed(
        seen(
            state(commit=Commit(50), unfinished=[at(50, 3, headers=(("ce_id", b"[red]E\x1b[0m"),))]),
            state(P1),
            board=BOARD,
            open_letters=4,
            parks=[PARK],
            unasked=[Unasked("Kafka", "away")],
        )
    )
    for said in (
        "group shop at 2026-11-29T12:00:00Z",
        "50 records",
        "3 min",
        "turnout at 10.0.0.1: shop.orders 0-1",
        r"event [red]E\x1b[0m",
        "paused: topic shop.orders since 2026-11-29 12:00:00 UTC by ada: totals",
        "open letters: 4; see turnout letters",
        "parks: 1, 3 commands; see turnout parked",
        "order/[b]A",
        "[/]no",
        "? Kafka could not be asked: away",
    ):
        assert said in text, text


def test_a_standby_and_partitions_apart_are_told() -> None:
    apart = [Partition("a", n) for n in (0, 1, 2, 5, 7, 8)]
    members = Members("Stable", [Member("one", "h", apart), Member("two", "h", [])])
    text = printed(seen(members=members))
    assert "one at h: a 0-2, 5, 7-8" in text
    assert "two at h: no partition (standby)" in text


def test_programs_get_all_of_it() -> None:
    told = orjson.loads(
        json_of(
            as_dict(
                seen(
                    state(commit=Commit(50), finished=frozenset({60}), unfinished=[at(50, 3)]),
                    board=BOARD,
                    parks=[PARK],
                )
            )
        )
    )
    (topic,) = told["topics"]
    assert (topic["lag_records"], topic["oldest_seconds"]) == (49, 180.0)
    (partition,) = topic["partitions"]
    assert (partition["committed"], partition["finished_ahead"], partition["process"]) == (50, 1, "turnout")
    assert told["paused"][0]["because"] == "totals"
    assert told["parks"][0]["commands"] == 3
    assert told["oldest"][0]["record"] == "shop.orders/0/50"


@pytest.mark.parametrize(
    ("overview", "code"),
    [
        (seen(state()), 0),
        (seen(state(commit=Commit(5))), 1),
        (seen(state(), unasked=[Unasked("open letters", "there is no topic")]), 1),
        (seen(state(commit=Commit(5)), unasked=[Unasked("Temporal", "away")]), 3),
    ],
)
@pytest.mark.parametrize("command", [["status"], ["status", "--format", "json"], ["top"]])
@pytest.mark.usefixtures("logging_as_before")
def test_exit_codes_tell_what_stands_still_from_who_is_away(
    monkeypatch: pytest.MonkeyPatch, overview: Overview, code: int, command: Sequence[str]
) -> None:
    codes: list[int] = []

    async def look(*_asked: object) -> Overview:
        return overview

    monkeypatch.setenv("TURNOUT_GROUP", "shop")
    monkeypatch.setenv("TURNOUT_ROUTES", str(ROUTES))
    monkeypatch.setattr(status_module, "overview", look)
    monkeypatch.setattr("sys.argv", ["turnout", *command])
    monkeypatch.setattr(app_module, "leave", codes.append)
    app_module.main()
    assert codes == [code]


async def test_top_looks_again_until_it_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    out, stop, looks = StringIO(), asyncio.Event(), 0

    async def look(*_asked: object) -> Overview:
        nonlocal looks
        looks += 1
        if looks == 3:
            stop.set()
        return seen(state(commit=Commit(50 + looks)))

    monkeypatch.setattr(status_module, "console", Console(file=out, width=200, force_terminal=True))
    monkeypatch.setattr(status_module, "overview", look)
    monkeypatch.setattr(status_module, "stop_on_signals", lambda: stop)
    async with asyncio.timeout(10):
        await status_module.live(Settings(group="shop"), load_routes(ROUTES), 0.01)
    assert looks == 3
    assert "49 records" in out.getvalue()
    assert "48 records" in out.getvalue()
    assert "Ctrl-C ends it" in out.getvalue()
    assert "\x1b[?1049l" in out.getvalue()  # the screen as it was before


async def test_top_ends_at_once_also_while_it_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = asyncio.Event()

    async def look(*_asked: object) -> Overview:
        stop.set()
        await asyncio.Event().wait()
        return seen()

    monkeypatch.setattr(status_module, "console", Console(file=StringIO(), force_terminal=True))
    monkeypatch.setattr(status_module, "overview", look)
    monkeypatch.setattr(status_module, "stop_on_signals", lambda: stop)
    async with asyncio.timeout(10):
        await status_module.live(Settings(group="shop"), load_routes(ROUTES), 60)
