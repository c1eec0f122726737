"""The sweep keeps its place: it goes on from where it was, run after run, and tries again what failed."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from activities.ports import NotYet, Swept
from activities.sweeping import SweepingActivities
from service.local import LocalTemporal
from service.temporal.sweep import begin_sweep, sweep_id
from service.temporal.worker import make_service_worker
from workflows.sweep import MEMO, Sweep

BEGIN = datetime(2026, 11, 24, 12, tzinfo=UTC)


class Counting:
    """Sweeps a minute at a time; ends after `sweeps`, and is away when it is told to be."""

    def __init__(self, sweeps: int) -> None:
        self.asked: list[datetime] = []
        self.away = 0
        self._left = sweeps

    async def sweep(self, since: datetime, now: datetime) -> Swept:
        self.asked.append(since)
        if self.away:
            self.away -= 1
            raise NotYet("Kafka is away")
        self._left -= 1
        again = timedelta(milliseconds=1) if self._left else None
        return Swept(until=since + timedelta(minutes=1), again_in=again)


async def swept(temporal: LocalTemporal, group: str, sweeper: Counting) -> Any:
    """Let the group's sweep run to its end; returns what is known of it then."""
    client = await Client.connect(temporal.address, data_converter=pydantic_data_converter)
    activities = [SweepingActivities(sweeper).sweep_closings]
    async with make_service_worker(client, group, [Sweep], activities), asyncio.timeout(60):
        await begin_sweep(client, group, BEGIN)
        await begin_sweep(client, group, BEGIN + timedelta(days=1))  # another bridge: there is one
        await client.get_workflow_handle(sweep_id(group)).result()
        told = await client.get_workflow_handle(sweep_id(group)).query(Sweep.status)
        assert told == sweeper.asked[-1] + timedelta(minutes=1)
        return await client.get_workflow_handle(sweep_id(group)).describe()


async def test_each_sweep_goes_on_from_where_the_one_before_came(temporal: LocalTemporal) -> None:
    sweeper = Counting(3)
    found = await swept(temporal, f"g-{uuid.uuid4().hex[:8]}", sweeper)
    assert sweeper.asked == [BEGIN + timedelta(minutes=number) for number in range(3)]
    assert await found.memo_value(MEMO, type_hint=datetime) == BEGIN + timedelta(minutes=3)


async def test_a_sweep_that_failed_is_done_again_from_the_same_place(temporal: LocalTemporal) -> None:
    sweeper = Counting(2)
    sweeper.away = 1
    await swept(temporal, f"g-{uuid.uuid4().hex[:8]}", sweeper)
    assert sweeper.asked == [BEGIN, BEGIN, BEGIN + timedelta(minutes=1)]


async def test_a_sweep_that_is_begun_anew_goes_on_from_where_the_old_one_ended(
    temporal: LocalTemporal,
) -> None:
    group = f"g-{uuid.uuid4().hex[:8]}"
    await swept(temporal, group, Counting(2))
    sweeper = Counting(1)
    await swept(temporal, group, sweeper)
    assert sweeper.asked == [BEGIN + timedelta(minutes=2)]
