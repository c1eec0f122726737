"""What `turnout closing` works with: settings become what finds and publishes what was left out."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

from temporalio.client import Client
from temporalio.service import RPCError

from service.access import temporal_access
from service.lifecycle import patiently
from service.pipeline import encodings_with_registry, kafka_connection, make_publisher, make_search, open_sink
from service.results.closing import Closings
from service.results.left_out import LeftOut, Said, Search
from service.routing.table import load_routes
from service.settings import Settings
from service.telemetry.metrics import Metrics
from service.temporal.client import connect, no_answer


class CatchingUp:
    """Finds what was left out, and publishes it; made by `catching_up`."""

    def __init__(self, client: Client, search: Search) -> None:
        self._client = client
        self._search = search

    async def left_out(self, since: datetime) -> Sequence[LeftOut]:
        """See `Search.left_out`.

        Raises:
            Unreachable: Temporal or Kafka does not answer.
        """
        try:
            return await self._search.left_out(since)
        except RPCError as error:
            raise no_answer(self._client, error) from error

    async def publish(self, left_out: Sequence[LeftOut], said: Said) -> Mapping[str, str]:
        """See `Search.publish`.

        Raises:
            Unreachable: Temporal does not answer.
        """
        try:
            return await self._search.publish(left_out, said, by="person")
        except RPCError as error:
            raise no_answer(self._client, error) from error


@asynccontextmanager
async def catching_up(settings: Settings, stop: asyncio.Event) -> AsyncIterator[CatchingUp]:
    """What it takes, for the time of the block.

    Raises:
        ConfigurationError: The routes are not as they must be.
        Unreachable: Temporal or Kafka does not answer.
        Stopped: `stop` was set before.
    """
    connection, table = kafka_connection(settings.kafka), load_routes(settings.routes)
    encodings = await encodings_with_registry(settings, table, stop)
    async with open_sink(settings, connection, stop) as sink:
        client = await patiently(lambda: connect(temporal_access(settings)), settings.start_timeout, stop)
        metrics = Metrics()
        closings = Closings(client, make_publisher(connection, sink, metrics, encodings), metrics)
        yield CatchingUp(client, make_search(settings, connection, client, table, closings))
