# ruff: noqa: E501 - a route is a line
"""Records on their way, with a Temporal that refuses: only the closed list and the routes' rules make letters."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from activities.correlation import Correlation
from service.dispatch.dispatcher import Dispatcher
from service.events.decoding import Decoder
from service.events.strict_json import Limits
from service.failures.letters import Letters
from service.failures.parking import Parking
from service.intake.handling import Handling
from service.intake.pace import Pace
from service.intake.waiting import WaitingRoom
from service.kafka.record import Record
from service.routing.table import RouteTable, load_routes
from tests.contract.calls import ASKING, CALLS, LIST, SEAL, SIGNAL
from tests.contract.frontend import Frontend, Refusal
from tests.contract.known import CLOSED, LETTERS, MISSING, ONE_TARGETS_TROUBLE, TOO_FAST, WAITS
from tests.contract.test_answers import name
from tests.contract.unlisted import unlisted
from tests.unit.fakes import FakeParks, FakeSink, NoTime
from tests.unit.records import record

# The command of each call in `CALLS`, as a route of the event type of that name.
ROUTES = """\
version: 1
topics: {shop.orders: {format: json, event: cloudevents}}
routes:
  - name: start
    from: shop.orders
    type: [start, describe after start]
    start: {workflow: Order, id: "order/${data.id}", task_queue: orders, input: "${data}", running: skip, closed: skip}
  - name: signal
    from: shop.orders
    type: signal
    signal: {to: "order/${data.id}", name: paid, input: "${data}"}
  - name: signal-or-start
    from: shop.orders
    type: [signal first, signal with start]
    signal: {to: "order/${data.id}", name: paid, input: "${data}", or_start: {workflow: Order, task_queue: orders}}
  - name: cancel
    from: shop.orders
    type: [cancel, describe after cancel]
    cancel: {to: "order/${data.id}"}
  - name: signal-found
    from: shop.orders
    type: find to signal
    signal: {to: {where: {Order: "${data.id}"}}, name: paid, input: "${data}", missing: skip}
  - name: cancel-found
    from: shop.orders
    type: find to cancel
    cancel: {to: {where: {Order: "${data.id}"}}, missing: skip}
  - name: complete
    from: shop.orders
    type: [complete, history after complete]
    complete: {correlation: "${headers.correlation}", result: "${data}", late: skip}
  - name: fail
    from: shop.orders
    type: fail
    complete: {correlation: "${headers.correlation}", error: {type: Declined, text: "${data.note}"}}
"""
MARKER = "MARKER-of-a-payload"


@pytest.fixture(scope="package")
def routes(tmp_path_factory: pytest.TempPathFactory) -> RouteTable:
    path = tmp_path_factory.mktemp("routes") / "shop.yaml"
    path.write_text(ROUTES)
    return load_routes(path)


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    with capture_logs() as entries:
        yield entries


class Bridge:
    """A `Handling` between Kafka's fakes and a scripted Temporal."""

    def __init__(self, routes: RouteTable, dispatcher: Dispatcher) -> None:
        self.letters = FakeSink()
        self.assignment = NoTime()
        formats = {name: topic.format for name, topic in routes.topics.items()}
        self._handling = Handling(
            Decoder(formats, Limits(), "cluster-1"),
            routes,
            dispatcher,
            Letters(self.letters, "shop"),
            Parking(dispatcher, FakeParks()),
            waiting=WaitingRoom(),
            pace=Pace(8),
        )

    async def handle(self, given: Record) -> list[str]:
        """What became of its commands."""
        return [outcome.kind.value for outcome in await self._handling.handle(given, self.assignment)]


def fact(type_: str) -> Record:
    headers = {"ce_specversion": "1.0", "ce_id": "e-1", "ce_source": "/shop", "ce_type": type_}
    headers["correlation"] = SEAL.sealed(Correlation("default", "order/A-1", "request-1"))
    return record(
        value=json.dumps({"id": "A-1", "note": MARKER}).encode(),
        headers=tuple((key, value.encode()) for key, value in headers.items()),
    )


@settings(deadline=None)
@given(st.sampled_from(sorted(CALLS)), st.lists(unlisted(), min_size=1, max_size=3))
async def test_what_is_not_on_the_closed_list_never_becomes_a_letter(
    only_frontend: Frontend, dispatcher: Dispatcher, routes: RouteTable, call: str, refusals: list[Refusal]
) -> None:
    only_frontend.forget()
    bridge = Bridge(routes, dispatcher)
    await waits_and_goes_on(bridge, only_frontend, call, *refusals)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("refusal", [*WAITS, *ONE_TARGETS_TROUBLE, *TOO_FAST], ids=name)
async def test_a_record_that_was_refused_waits_and_is_told_again_in_the_same_words(
    temporal_says: Frontend, dispatcher: Dispatcher, routes: RouteTable, call: str, refusal: Refusal
) -> None:
    await waits_and_goes_on(Bridge(routes, dispatcher), temporal_says, call, refusal, refusal)


async def waits_and_goes_on(bridge: Bridge, frontend: Frontend, call: str, *refusals: Refusal) -> None:
    CALLS[call].is_answered(frontend, *refusals)
    outcomes = await bridge.handle(fact(call))
    # What another event has started is skipped by its route, once it can be described.
    # And a reply that nobody waits for, once it can be looked up.
    skipped = call in {"describe after start", "history after complete"}
    assert outcomes == ["skipped" if skipped else "accepted"]
    assert bridge.letters.sent == []
    assert len(bridge.assignment.slept) == len(refusals)
    # The ids are in it, and so is all else: memo, header, input.
    first, *again = frontend.requests(CALLS[call].rpc)
    assert again == [first] * len(refusals)


@pytest.mark.parametrize("call", [name for name, call in CALLS.items() if call.rpc not in ASKING])
@pytest.mark.parametrize("refusal", LETTERS, ids=name)
async def test_what_speaks_of_the_input_is_one_letter_without_its_values(
    temporal_says: Frontend,
    dispatcher: Dispatcher,
    routes: RouteTable,
    lines: list[Any],
    call: str,
    refusal: Refusal,
) -> None:
    bridge = Bridge(routes, dispatcher)
    CALLS[call].is_answered(temporal_says, refusal)
    assert await bridge.handle(fact(call)) == ["dead-lettered"]
    (letter,) = bridge.letters.sent
    assert (letter.header("turnout-stage"), letter.header("turnout-error")) == (b"dispatch", b"RejectedError")
    assert bridge.assignment.slept == []
    assert MARKER not in repr((letter.headers, lines))


@pytest.mark.parametrize("call", ["signal", "cancel"])
@pytest.mark.parametrize("refusal", [MISSING, CLOSED], ids=name)
async def test_a_target_that_is_not_there_is_a_letter_by_the_rule_that_nobody_wrote(
    temporal_says: Frontend, dispatcher: Dispatcher, routes: RouteTable, call: str, refusal: Refusal
) -> None:
    bridge = Bridge(routes, dispatcher)
    CALLS[call].is_answered(temporal_says, refusal)
    assert await bridge.handle(fact(call)) == ["dead-lettered"]
    (letter,) = bridge.letters.sent
    rule = "missing" if refusal is MISSING else "closed"
    assert f"write `{rule}: skip`".encode() in (letter.header("__dlq.errors.message") or b"")


async def test_a_letter_about_a_workflow_that_was_found_names_it(
    temporal_says: Frontend, dispatcher: Dispatcher, routes: RouteTable
) -> None:
    bridge = Bridge(routes, dispatcher)
    temporal_says.answer(LIST, CALLS["find to signal"].goes_on or MISSING)
    temporal_says.answer(SIGNAL, CLOSED)
    assert await bridge.handle(fact("find to signal")) == ["dead-lettered"]
    (letter,) = bridge.letters.sent
    assert letter.header("turnout-workflow-id") == b"order/A-1"
