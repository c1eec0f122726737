"""The requests of starts and signals: those that the SDK's own client sends, encrypted where its are."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload
from temporalio.client import Client
from temporalio.common import Priority, TypedSearchAttributes, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DataConverter

from service.dispatch.attributes import typed_pair
from service.dispatch.links import NOWHERE
from service.dispatch.requests import AttributeNames, Requests
from service.routing.commands import OrStart, StartOptions
from service.temporal.closed import MEMO
from tests.unit.test_dispatcher import EVENT, TYPES, Wire, signal, start
from workflows.encryption import ENCODING, Encryption, new_key

SOON = timedelta(seconds=1)
SECRET = "the-secret-of-a-payload"


def client(converter: DataConverter = pydantic_data_converter, wire: Wire | None = None) -> Client:
    return Client(wire or Wire(), namespace="shop", data_converter=converter)


def requests(names: AttributeNames | None = None) -> Requests:
    return Requests(names, TYPES, NOWHERE, "shop")


# --- as the SDK's ---

any_time = settings(deadline=None)
"""A loop that is busy with others makes an example take long."""

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
arguments = st.lists(values, max_size=3)
spans = st.none() | st.timedeltas(timedelta(milliseconds=1), timedelta(days=400))
options = st.builds(
    StartOptions,
    execution_timeout=spans,
    run_timeout=spans,
    task_timeout=spans,
    start_delay=spans,
    search_attributes=st.fixed_dictionaries(
        {},
        optional={
            "Word": texts,
            "Count": st.integers(-(2**53), 2**53),
            "Words": st.lists(texts, min_size=1, max_size=3),
            "Flag": st.booleans(),
        },
    ),
    memo=st.dictionaries(texts.filter(lambda name: name != MEMO), values, max_size=3),
    summary=st.none() | texts.filter(bool),
    priority=st.none() | st.integers(1, 5),
    fairness_key=st.none() | texts.filter(bool),
    fairness_weight=st.none() | st.floats(1, 1000, width=32),
)


@any_time
@given(arguments, options, st.booleans())
async def test_a_start_is_asked_for_as_the_sdk_does(
    args: list[Any], options: StartOptions, eager: bool
) -> None:
    wire = Wire()
    asking = client(wire=wire)
    ours = await requests().start(asking, replace(start(options), args=args), eager=eager)
    await asking.start_workflow(
        "OrderFulfilment",
        args=args,
        id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
        request_eager_start=eager and options.start_delay is None,
        **as_the_sdk_is_told(options, ours),
    )
    assert same(ours, wire.requests[-1][1])


@any_time
@given(arguments, arguments, options)
async def test_a_signal_with_start_is_asked_for_as_the_sdk_does(
    args: list[Any], of_signal: list[Any], options: StartOptions
) -> None:
    wire = Wire()
    asking = client(wire=wire)
    or_start = OrStart(workflow="OrderFulfilment", task_queue="orders", args=args, options=options)
    ours = await requests().signal_with_start(asking, replace(signal(), args=of_signal), or_start)
    await asking.start_workflow(
        "OrderFulfilment",
        args=args,
        start_signal="paid",
        start_signal_args=of_signal,
        **as_the_sdk_is_told(options, ours),
    )
    assert same(ours, wire.requests[-1][1])


@any_time
@given(arguments)
async def test_a_signal_is_sent_as_the_sdk_does(args: list[Any]) -> None:
    wire = Wire()
    asking = client(wire=wire)
    ours = await requests().signal(asking, replace(signal(), args=args))
    await asking.get_workflow_handle("order/A-1").signal("paid", args=args, rpc_timeout=SOON)
    assert same(ours, wire.requests[-1][1])


def as_the_sdk_is_told(options: StartOptions, ours: Any) -> dict[str, Any]:
    pairs = [typed_pair(name, TYPES[name], value) for name, value in options.search_attributes.items()]
    return {
        "id": "order/A-1",
        "rpc_timeout": SOON,
        "task_queue": "orders",
        "id_reuse_policy": WorkflowIDReusePolicy.REJECT_DUPLICATE,
        "execution_timeout": options.execution_timeout,
        "run_timeout": options.run_timeout,
        "task_timeout": options.task_timeout,
        "start_delay": options.start_delay,
        "memo": {**options.memo, MEMO: value_of(ours.memo.fields[MEMO])},
        "search_attributes": TypedSearchAttributes(pairs),
        "static_summary": value_of(ours.user_metadata.summary),
        "static_details": value_of(ours.user_metadata.details),
        "priority": Priority(options.priority, options.fairness_key, options.fairness_weight),
    }


def value_of(payload: Payload) -> Any:
    return json.loads(payload.data) if payload.data else None


def same(ours: Any, of_sdk: Any) -> bool:
    of_sdk.request_id = ours.request_id  # it is random there
    fields = ours.DESCRIPTOR.fields_by_name
    for one in (ours, of_sdk):
        # Empty or absent: the same for the server.
        for name in ("priority", "search_attributes", "header", "input", "signal_input"):
            if name in fields and not getattr(one, name).ByteSize():
                one.ClearField(name)
        attributes = one.search_attributes.indexed_fields if "search_attributes" in fields else {}
        for payload in attributes.values():
            payload.data = json.dumps(value_of(payload)).encode()  # the SDK escapes what is not ASCII
    assert ours == of_sdk
    return True


# --- encrypted ---


@pytest.fixture
def encryption(tmp_path: Path) -> Encryption:
    keys = tmp_path / "keys"
    keys.write_text(new_key("a"))
    return Encryption(keys)


async def test_what_a_route_passes_on_is_encrypted_and_what_tells_of_the_event_is_not(
    encryption: Encryption,
) -> None:
    converter = encryption.encrypting(pydantic_data_converter)
    options = StartOptions(memo={"note": SECRET}, summary=SECRET)
    command, or_start = (
        replace(start(options), args=[{"card": SECRET}, SECRET]),
        OrStart(workflow="OrderFulfilment", task_queue="orders", args=[SECRET], options=options),
    )
    asking, made = client(converter), requests(AttributeNames())
    started = await made.start(asking, command, eager=False)
    signalled = await made.signal(asking, replace(signal(), args=[SECRET]))
    both = await made.signal_with_start(asking, replace(signal(), args=[{"card": SECRET}]), or_start)
    for request in (started, signalled, both):
        assert SECRET.encode() not in request.SerializeToString()
    assert await converter.decode(started.input.payloads) == [{"card": SECRET}, SECRET]
    assert (
        await converter.decode([started.memo.fields["note"], started.user_metadata.summary]) == [SECRET] * 2
    )
    assert started.user_metadata.details.metadata["encoding"] == ENCODING
    assert await converter.decode(both.signal_input.payloads) == [{"card": SECRET}]
    assert await converter.decode(signalled.input.payloads) == [SECRET]
    assert value_of(started.memo.fields[MEMO])["event"] == EVENT.id
    assert value_of(both.search_attributes.indexed_fields["TurnoutEventId"]) == EVENT.id
