"""What a park keeps of a command is the same command: the same requests with the same ids."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from temporalio.contrib.pydantic import pydantic_data_converter

from activities.parked import Parked
from service.dispatch.identity import command_id
from service.events.event import Event
from service.failures.parked import Parkable, to_command, to_parked, to_record
from service.kafka.record import Record, Redelivery
from service.routing.commands import Cancel, OrStart, Rule, Signal, StartOptions, apart, joined
from tests.unit.records import event
from tests.unit.test_dispatcher import MISSING, SIGNAL, Wire, connected
from tests.unit.test_lookup import LIST, listed

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAME = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
BYTES = st.none() | st.binary(max_size=30)
SPANS = st.timedeltas(timedelta(seconds=1), timedelta(days=30))
RECORDS = st.builds(
    Record,
    topic=NAME,
    partition=st.integers(0, 2**31 - 1),
    offset=st.integers(0, 2**63 - 1),
    key=BYTES,
    value=BYTES,
    headers=st.lists(st.tuples(TEXT, BYTES), max_size=3).map(tuple),
    timestamp_ms=st.integers(-1, 2**43),
    redelivery=st.none()
    | st.builds(
        Redelivery,
        route=NAME,
        sends=st.integers(1, 2**31),
        first_failed_at=st.datetimes(timezones=st.just(UTC)),
    ),
)
PARENTS = TEXT | st.from_regex(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[0-3]", fullmatch=True)
STATES = TEXT | st.just("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE")
EVENTS = st.builds(
    Event,
    key=st.lists(TEXT | st.integers(0, 2**63 - 1), min_size=1, max_size=5).map(tuple),
    id=TEXT,
    source=TEXT,
    type=TEXT,
    subject=TEXT,
    time=st.just("2026-11-01T10:00:00Z"),
    data=JSON,
    has_data=st.booleans(),
    record=RECORDS,
    headers=st.fixed_dictionaries({}, optional={"traceparent": PARENTS, "tracestate": STATES, "other": TEXT}),
)
OPTIONS = st.builds(
    StartOptions,
    execution_timeout=st.none() | SPANS,
    run_timeout=st.none() | SPANS,
    task_timeout=st.none() | SPANS,
    start_delay=st.none() | SPANS,
    search_attributes=st.fixed_dictionaries({}, optional={"Word": TEXT, "Count": st.integers(0, 9)}),
    memo=st.dictionaries(NAME, JSON, max_size=2),
    summary=st.none() | TEXT,
    priority=st.none() | st.integers(1, 5),
    fairness_key=st.none() | NAME,
    fairness_weight=st.none() | st.floats(0.001, 1000),
)
COMMON: dict[str, Any] = {
    "route": NAME,
    "event": EVENTS,
    "namespace": st.none() | NAME,
    "workflow_id": NAME,
    "missing": st.sampled_from(Rule) | SPANS,
    "closed": st.sampled_from(Rule),
}
OR_STARTS = st.builds(
    OrStart, workflow=NAME, task_queue=NAME, args=st.lists(JSON, max_size=2).map(tuple), options=OPTIONS
)
SIGNALS = st.builds(
    Signal, **COMMON, name=NAME, args=st.lists(JSON, max_size=3).map(tuple), or_start=st.none() | OR_STARTS
)
BATCHES = st.builds(
    lambda one, items, others: replace(one, batch=True, args=([*items],), others=others[: len(items) - 1]),
    SIGNALS,
    st.lists(JSON, min_size=4, max_size=4),
    st.lists(EVENTS, min_size=3, max_size=3),
)
CANCELS = st.builds(Cancel, **COMMON, reason=TEXT)
SEEKING = st.builds(
    lambda one, text: replace(one, workflow_id="", where={"Word": text}),
    st.builds(Signal, **COMMON, name=NAME, args=st.just(())) | CANCELS,
    st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=20),
)
COMMANDS = SIGNALS | BATCHES | CANCELS | SEEKING


async def kept(command: Parkable) -> Parked:
    """What a park holds of it: through the history of a workflow and back."""
    parked = to_parked(command, answer="is not there", patience=timedelta(minutes=15))
    (back,) = await pydantic_data_converter.decode(await pydantic_data_converter.encode([parked]), [Parked])
    assert isinstance(back, Parked)
    assert back == parked
    return back


@given(COMMANDS)
async def test_a_command_from_a_park_makes_the_same_requests_with_the_same_ids(command: Parkable) -> None:
    back = to_command((await kept(command)).command)
    assert command_id(back) == command_id(command)
    assert (back.missing, back.closed) == (command.missing, command.closed)
    assert isinstance(back, Signal) == isinstance(command, Signal)
    if isinstance(back, Signal) and isinstance(command, Signal):
        assert back.batch == command.batch
    wire = Wire()
    dispatcher = await connected(wire)
    for one in (command, back):
        if isinstance(one, Signal) and one.or_start:
            wire.answers[SIGNAL].append(MISSING)
        if one.where:
            wire.answers[LIST].append(listed(("order/1", one.where)))
        await dispatcher.dispatch(one)
    half = len(wire.requests) // 2
    assert half > 0
    assert wire.requests[:half] == wire.requests[half:]


@given(COMMANDS)
async def test_the_records_of_a_command_from_a_park_are_the_same_byte_for_byte(command: Parkable) -> None:
    back = await kept(command)
    records = [to_record(one, command.route) for one in back.records]
    assert [as_sent(one) for one in records] == [as_sent(event.record) for event in command.events]


def as_sent(record: Record) -> object:
    """The record, and what is known of its being sent again; the route is the command's."""
    again = record.redelivery
    return record, again and (again.sends, again.first_failed_at)


@given(COMMANDS)
async def test_a_parked_command_takes_about_the_room_that_it_says(command: Parkable) -> None:
    parked = to_parked(command, answer="is not there", patience=timedelta(minutes=15))
    (payload,) = await pydantic_data_converter.encode([parked])
    assert parked.size_bytes <= len(payload.data) <= parked.size_bytes + 20


async def test_a_moment_to_start_at_stays_the_same() -> None:
    moment = datetime(2026, 11, 1, 10, tzinfo=UTC)
    or_start = OrStart(workflow="Keep", task_queue="q", options=StartOptions(start_at=moment))
    signal = Signal(route="r", event=event(), workflow_id="x", name="note", args=(), or_start=or_start)
    back = to_command((await kept(signal)).command)
    assert isinstance(back, Signal)
    assert back.or_start
    assert back.or_start.options == or_start.options


@given(COMMANDS)
def test_what_a_later_release_adds_does_no_harm_to_an_earlier_one(command: Parkable) -> None:
    parked = to_parked(command, answer="is not there", patience=timedelta(minutes=15))

    later = parked.model_dump(mode="json") | {"later": 1}
    for part in (later["command"], *later["records"], *later["command"]["events"]):
        part["later"] = 1
    if later["command"]["or_start"]:
        later["command"]["or_start"]["later"] = later["command"]["or_start"]["options"]["later"] = 1
    assert Parked.model_validate_json(json.dumps(later)) == parked


def test_an_error_about_what_is_parked_tells_nothing_of_it() -> None:
    with pytest.raises(ValidationError) as error:
        Parked.model_validate({"id": 5, "command": "secret", "records": [{"value": "secret"}]})
    assert "secret" not in str(error.value)


def test_a_batch_taken_apart_tells_what_was_joined() -> None:
    singles = [
        Signal(route="r", event=event(f"e-{n}"), workflow_id="x", name="note", args=([n],), batch=True)
        for n in range(3)
    ]
    assert apart(joined(singles)) == singles
    assert apart(singles[0]) == (singles[0],)
