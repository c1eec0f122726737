"""Parks on Temporal itself: nothing is lost when one closes, begins a new run, or is cancelled."""

import asyncio
import random

import pytest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError

from service.local import LocalTemporal
from tests.workflows.yard import World, Yard, parked
from workflows.park import ONE_INPUT_BYTES

CACHED = 1000


@pytest.fixture
async def client(temporal: LocalTemporal) -> Client:
    return await Client.connect(temporal.address, data_converter=pydantic_data_converter)


@pytest.mark.parametrize("seed", range(4))
async def test_a_command_that_comes_while_its_park_closes_is_delivered(client: Client, seed: int) -> None:
    chance = random.Random(seed)
    world = World(there=True)
    yard = Yard(client, world)
    delivered = asyncio.Event()

    async def tell() -> None:
        delivered.set()

    world.before_answer = tell
    async with yard.worked(CACHED):
        for number in range(20):
            delivered.clear()
            await _put(yard, number)
            await delivered.wait()
            # About as long as it takes to close: before, while, and after.
            await asyncio.sleep(chance.uniform(0, 0.05))
        await yard.until_closed()
    assert world.delivered == list(range(20))
    await yard.until(lambda: _has_runs(yard))


async def test_a_park_with_a_long_history_begins_a_new_run_that_knows_what_was_delivered(
    client: Client,
) -> None:
    padding, count = "x" * 100_000, 30
    # Not before what it holds fits into one input.
    assert count * len(padding) > ONE_INPUT_BYTES
    world = World()
    yard = Yard(client, world)

    async def repeat() -> None:
        if len(world.delivered) == count:
            await _put(yard, 0, padding)

    world.before_answer = repeat
    async with yard.worked(CACHED):
        for number in range(count):
            await _put(yard, number, padding)
        await world.tried.wait()
        assert await yard.runs() == 1
        world.there = True
        await yard.until_closed()
    assert world.delivered == list(range(count))
    await yard.until(lambda: _has_runs(yard))


@pytest.mark.parametrize("seed", range(4))
async def test_of_a_park_that_is_cancelled_each_command_is_delivered_or_becomes_a_letter(
    client: Client, seed: int
) -> None:
    chance = random.Random(seed)
    world = World()
    yard = Yard(client, world)
    some = asyncio.Event()

    async def count() -> None:
        if len(world.delivered) == 5:
            some.set()

    world.before_answer = count
    async with yard.worked(CACHED):
        for number in range(20):
            await _put(yard, number)
        world.there = True
        await some.wait()
        await asyncio.sleep(chance.uniform(0, 0.03))
        await yard.handle.cancel()
        await yard.until_closed()
    assert world.delivered + world.lettered == list(range(20))
    assert world.lettered
    assert (await yard.handle.describe()).status is WorkflowExecutionStatus.CANCELED


async def _has_runs(yard: Yard) -> bool:
    return await yard.runs() > 1


async def _put(yard: Yard, number: int, padding: str = "") -> None:
    """As the bridge does: again, when Temporal cannot take it now."""
    while True:
        try:
            return await yard.put(parked(number, padding=padding))
        except RPCError:
            await asyncio.sleep(0.01)
