"""What a park holds is read from its history alone, whatever has become of what it held before."""

from collections.abc import Sequence

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from activities.ports import Refused
from service.local import LocalTemporal
from tests.delivery.parks import held_by
from tests.workflows.yard import World, Yard, parked

FOR_EVER = 1 << 30


async def test_a_park_holds_what_is_neither_delivered_nor_a_letter_yet(temporal: LocalTemporal) -> None:
    client = await Client.connect(temporal.address, data_converter=pydantic_data_converter)
    world = World(
        kafka_away=FOR_EVER, refused={1: [Refused(event=0, error="RejectedError", reason="has closed")]}
    )
    yard = Yard(client, world)

    async def writes_in_vain() -> bool:
        return world.kafka_away < FOR_EVER

    async def all_are_held() -> bool:
        return await _held(yard) == ["id-0", "id-1", "id-2", "id-3"]

    async with yard.worked(cached=1000):
        await yard.put(*map(parked, (0, 1, 0, 2, 3)))
        await world.tried.wait()
        # A signal that comes during a task of the workflow is in the history only after that.
        await yard.until(all_are_held)
        world.there = True
        await yard.until(writes_in_vain)
        assert await _held(yard) == ["id-1", "id-2", "id-3"]
        await yard.put(parked(0))
        assert await _held(yard) == ["id-1", "id-2", "id-3"]
        world.kafka_away = 0
        await yard.until_closed()
        assert await _held(yard) == []


async def _held(yard: Yard) -> Sequence[str]:
    return [one.id for one in held_by((await yard.handle.fetch_history()).events)]
