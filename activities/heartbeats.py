"""Heartbeats of activities that may take long, so that one whose worker was killed is begun anew soon."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from temporalio import activity

HEARTBEAT_INTERVAL = timedelta(seconds=3)

HEARTBEAT_TIMEOUT = timedelta(seconds=15)
"""What a workflow gives such an activity: several heartbeats may be late or lost."""


@asynccontextmanager
async def heartbeats() -> AsyncIterator[None]:
    """Tell Temporal in this block, every few seconds, that the attempt goes on."""

    async def beat() -> None:
        while True:
            activity.heartbeat()
            await asyncio.sleep(HEARTBEAT_INTERVAL.total_seconds())

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()
