"""Closing clients in bounded time, and all of them."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import ConsumerStoppedError

CLOSE_SECONDS = 5.0
REST_SECONDS = 1.0


async def close(consumer: AIOKafkaConsumer, seconds: float = CLOSE_SECONDS) -> None:
    """Leave the group if that takes no more than `seconds`, and end all that the consumer does.

    May be repeated. The client's own `stop` waits for ever for a coordinator that is away, and when one of
    its steps fails or is cancelled it leaves out the rest: heartbeats that go on would keep a member in the
    group that reads nothing. And a poll that waits for a rebalance would never end.
    """
    await bounded(consumer.stop(), seconds)
    coordinator, fetcher, client = consumer._coordinator, consumer._fetcher, consumer._client  # noqa: SLF001
    if coordinator and consumer._group_id is not None:  # noqa: SLF001 - without a group there is no heart
        await bounded(coordinator._stop_heartbeat_task(), REST_SECONDS)  # noqa: SLF001
        await bounded(coordinator._stop_commit_offsets_refresh_task(), REST_SECONDS)  # noqa: SLF001
    if fetcher:  # there is none before the client has got through
        await bounded(fetcher.close(), REST_SECONDS)
        consumer._subscription.abort_waiters(ConsumerStoppedError())  # noqa: SLF001
    await bounded(client.close(), REST_SECONDS)


async def bounded(step: Coroutine[Any, Any, None], seconds: float) -> bool:
    """Take a step of closing, and give up on it after `seconds`; whether it ended by itself."""
    task = asyncio.ensure_future(step)
    ended, _ = await asyncio.wait({task}, timeout=seconds)
    task.cancel()
    await asyncio.wait({task}, timeout=REST_SECONDS)
    if task.done() and not task.cancelled():
        task.exception()  # seen; there is nothing to be done about it
    return bool(ended)
