"""What each command puts on the wire: ids, headers, limits of time; the same each time it is repeated."""

from dataclasses import replace

import pytest
from temporalio.service import RPCStatusCode

from service.dispatch.dispatcher import RPC_TIMEOUT, Dispatcher
from service.dispatch.identity import INBOX_HEADER, command_id, completed_by, derived_id
from service.errors import NotNow
from tests.contract.calls import (
    ASKING,
    CALLS,
    CANCEL,
    COMPLETE,
    FAIL,
    SIGNAL,
    SIGNAL_WITH_START,
    START,
)
from tests.contract.frontend import Frontend, Refusal

KINDS = {START: "start", SIGNAL: "signal", SIGNAL_WITH_START: "signal", CANCEL: "cancel"}
TELL_THE_INBOX = {SIGNAL, SIGNAL_WITH_START}


@pytest.mark.parametrize("call", CALLS)
async def test_each_call_carries_the_id_of_its_command(
    temporal_says: Frontend, dispatcher: Dispatcher, call: str
) -> None:
    command = CALLS[call].command
    CALLS[call].is_answered(temporal_says)
    await dispatcher.dispatch(command)
    assert CALLS[call].rpc in temporal_says.calls
    for asked in temporal_says.asked:
        if asked.rpc in ASKING:
            continue
        if asked.rpc in {COMPLETE, FAIL}:
            assert asked.request.identity == completed_by(command_id(command))
            continue
        id_ = derived_id(command.event.key, command.route, KINDS[asked.rpc])
        assert asked.request.request_id == str(id_)
        if asked.rpc in TELL_THE_INBOX:
            assert asked.request.header.fields[INBOX_HEADER].data == id_.bytes
        elif asked.rpc == START:
            assert INBOX_HEADER not in asked.request.header.fields


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("namespace", [None, "payments"])
async def test_each_call_goes_to_its_namespace_and_is_limited_in_time(
    temporal_says: Frontend, dispatcher: Dispatcher, call: str, namespace: str | None
) -> None:
    CALLS[call].is_answered(temporal_says)
    await dispatcher.dispatch(replace(CALLS[call].command, namespace=namespace))
    for asked in temporal_says.asked:
        assert asked.request.namespace == asked.metadata["temporal-namespace"] == (namespace or "default")
        assert asked.seconds
        assert 0 < asked.seconds <= RPC_TIMEOUT.total_seconds()


@pytest.mark.parametrize("call", CALLS)
async def test_a_call_is_made_once_and_repeated_as_the_same_call(
    temporal_says: Frontend, dispatcher: Dispatcher, call: str
) -> None:
    CALLS[call].is_answered(temporal_says, Refusal(RPCStatusCode.UNAVAILABLE, "shard is moving"))
    with pytest.raises(NotNow):
        await dispatcher.dispatch(CALLS[call].command)
    assert len(temporal_says.requests(CALLS[call].rpc)) == 1
    await dispatcher.dispatch(CALLS[call].command)
    first, again = temporal_says.requests(CALLS[call].rpc)
    assert first == again
