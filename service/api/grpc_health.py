"""The health service of gRPC: serving while the process is ready; for probes, which have no tokens.

Source: grpc/health/v1/health.proto of github.com/grpc/grpc.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import grpc
from google.protobuf.message import DecodeError as NoMessage
from grpc_health.v1 import health_pb2 as pb

from service.api.grpc_reading import one_message
from service.api.refusals import Refusal
from service.telemetry.health import LOOK_SECONDS, Health

MOST_WATCHERS = 20
"""More are turned away: they hold calls, and have no tokens."""

MOST_SILENT = 20
"""So many are waited for that have not said yet what they ask; they hold calls, too."""

Context = grpc.aio.ServicerContext[Any, Any]


class HealthService:
    """Tells of `health`, for the whole and for `service`, which is the same.

    Args:
        health: Whether the process is ready.
        service: The name of the service.
    """

    name: str = pb.DESCRIPTOR.services_by_name["Health"].full_name

    def __init__(self, health: Health, service: str) -> None:
        self._health = health
        self._services = ("", service)
        self._watchers = 0
        self._silent = 0
        self._ended = asyncio.Event()

    def end(self) -> None:
        """Tell those who watch how it is now, and that this was the last of it."""
        self._ended.set()

    @property
    def methods(self) -> grpc.GenericRpcHandler:
        """What a server is given."""
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Check": grpc.stream_unary_rpc_method_handler(self._check),
            "List": grpc.stream_unary_rpc_method_handler(self._list),
            "Watch": grpc.stream_stream_rpc_method_handler(self._watch),
        }
        return grpc.method_handlers_generic_handler(self.name, methods)

    async def _check(self, _: object, context: Context) -> bytes:
        service = await self._asked(context)
        if service not in self._services:
            await context.abort(
                grpc.StatusCode.NOT_FOUND, f"there is {' and '.join(map(repr, self._services))}"
            )
        return _told(self._now())

    async def _list(self, _: object, context: Context) -> bytes:
        del context
        now = pb.HealthCheckResponse(status=self._now())
        return bytes(pb.HealthListResponse(statuses=dict.fromkeys(self._services, now)).SerializeToString())

    async def _watch(self, _: object, context: Context) -> AsyncIterator[bytes]:
        service = await self._asked(context)
        if self._watchers >= MOST_WATCHERS:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{MOST_WATCHERS} watch already")
        self._watchers += 1
        try:
            told, last = None, False
            while not last:
                last = self._ended.is_set()
                now = self._now() if service in self._services else pb.HealthCheckResponse.SERVICE_UNKNOWN
                if now != told:
                    yield _told(now)
                    told = now
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self._ended.wait()
        finally:
            self._watchers -= 1

    def _now(self) -> Any:
        self._health.look()
        return pb.HealthCheckResponse.SERVING if self._health.ready else pb.HealthCheckResponse.NOT_SERVING

    async def _asked(self, context: Context) -> str:
        if self._silent >= MOST_SILENT:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{MOST_SILENT} have sent no message yet")
        self._silent += 1
        try:
            return str(pb.HealthCheckRequest.FromString(await one_message(context)).service)
        except (NoMessage, Refusal):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "a HealthCheckRequest is needed")
        finally:
            self._silent -= 1


def _told(status: Any) -> bytes:
    return bytes(pb.HealthCheckResponse(status=status).SerializeToString())
