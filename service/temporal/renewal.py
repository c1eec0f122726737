"""Keeps the way to Temporal as environment and files say: new keys and certificates need no restart."""

import asyncio
from typing import Any

import structlog
from temporalio.client import Client
from temporalio.service import ConnectConfig, ServiceClient
from temporalio.worker import Worker

from service.errors import ConfigurationError
from service.temporal.access import Access, why_unreachable

log = structlog.get_logger(__name__)

LOOK_SECONDS = 5.0
CONNECT_SECONDS = 10.0


class Renewal:
    """Looks every few seconds what the files say, and has the client and its workers use it.

    Args:
        client: Whose connection is renewed, and that of all clients made from it.
        access: How it was made.
    """

    def __init__(self, client: Client, access: Access) -> None:
        self._client = client
        self._access = access
        self._used = access.connect_options()
        self._workers: list[Worker] = []
        self._said = ""

    def also_for(self, worker: Worker) -> None:
        """Have `worker`, which runs as long as we look, use what is new."""
        self._workers.append(worker)

    async def keep_looking(self) -> None:
        """Look until this is cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Use what has changed since the last time; what cannot be used is logged, and tried again."""
        try:
            options = self._access.connect_options()
            if options == self._used:
                self._said = ""
                return
            if options.get("tls") != self._used.get("tls"):
                await self._connect_anew(options)
        except ConfigurationError as error:
            self._say(str(error))
            return
        except (RuntimeError, ValueError, TimeoutError) as error:
            self._say(why_unreachable(error, options))
            return
        if (key := options.get("api_key")) != self._used.get("api_key"):
            self._client.api_key = key
            log.info("changed API key is used for Temporal")
        self._client.rpc_metadata = options.get("rpc_metadata", {})
        self._used = options

    async def _connect_anew(self, options: dict[str, Any]) -> None:
        """Put a new connection in the place of the old one, in all clients that share it and all workers."""
        ours = self._client.service_client.worker_service_client
        config = ConnectConfig(
            target_host=ours.config.target_host,  # another one would be another Temporal
            api_key=options.get("api_key"),
            tls=options.get("tls"),
            rpc_metadata=options.get("rpc_metadata", {}),
            identity=ours.config.identity,
            runtime=ours.config.runtime,
            grpc_compression=ours.config.grpc_compression,
        )
        async with asyncio.timeout(CONNECT_SECONDS):
            fresh = (await ServiceClient.connect(config)).worker_service_client
        # The SDK swaps clients of workers, but has no word for the calls of clients that share a connection.
        ours.config = config
        ours._bridge_config = fresh._bridge_config  # noqa: SLF001
        ours._bridge_client = fresh._bridge_client  # noqa: SLF001
        for worker in self._workers:
            worker.client = worker.client
        log.info("changed certificates are used for Temporal")

    def _say(self, reason: str) -> None:
        if reason != self._said:
            log.warning("changed secrets for Temporal cannot be used yet", reason=reason)
        self._said = reason
