"""What a park holds, in its order, read from its history: its memo only tells how much that is."""

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import TypeVar

from temporalio.api.common.v1 import Payloads
from temporalio.client import Client
from temporalio.converter import DataConverter

from activities.parked import Parked
from workflows.park import Carried

T = TypeVar("T")


async def held_in(client: Client, park_id: str, commands: int, rpc_timeout: timedelta) -> Sequence[Parked]:
    """The last `commands` that came to a park and are no repeats: those are the ones that it holds.

    Raises:
        RPCError: Temporal does not say.
    """
    came: dict[str, Parked] = {}
    done: set[str] = set()
    async for one in _came(client, park_id, rpc_timeout):
        if isinstance(one, Carried):
            came = {held.parked.id: held.parked for held in one.held}
            done = set(one.done)
        elif one.id not in done:
            came.setdefault(one.id, one)
    return list(came.values())[-commands:] if commands else []


async def _came(client: Client, park_id: str, rpc_timeout: timedelta) -> AsyncIterator[Carried | Parked]:
    converter = client.data_converter
    async for event in client.get_workflow_handle(park_id).fetch_history_events(rpc_timeout=rpc_timeout):
        match event.WhichOneof("attributes"):
            case "workflow_execution_started_event_attributes":
                started = event.workflow_execution_started_event_attributes
                if carried := await _read(started.input, Carried, converter):
                    yield carried
            case "workflow_execution_signaled_event_attributes":
                signal = event.workflow_execution_signaled_event_attributes
                if signal.signal_name == "park" and (parked := await _read(signal.input, Parked, converter)):
                    yield parked


async def _read(payloads: Payloads, kind: type[T], converter: DataConverter) -> T | None:
    try:
        (read,) = await converter.decode(payloads.payloads[:1], [kind])
    except ValueError:  # of a release that we cannot read, or none at all
        return None
    return read if isinstance(read, kind) else None
