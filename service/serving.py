"""An HTTP server in this process's own loop: what it serves is answered only while the loop turns."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from service.errors import ConfigurationError

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Answers = Callable[[Scope, Receive, Send], Awaitable[None]]
"""An ASGI application for HTTP."""

SILENT_SECONDS = 8.0
"""A connection on which no request comes for so long is ended."""


@asynccontextmanager
async def serving(
    answers: Answers, address: str, setting: str, *, at_once: int, grace_seconds: float
) -> AsyncIterator[None]:
    """Serve `answers` at `address` (`host:port`) in this block.

    Args:
        answers: What is served.
        address: Where.
        setting: The name of the setting that says where.
        at_once: More requests at one time are answered 503 without a look.
        grace_seconds: How long those under way may take at the end.

    Raises:
        ConfigurationError: Nothing can listen there; names `setting`.
    """
    listener = _listener(address, setting, at_once)
    config = uvicorn.Config(
        answers,
        loop="none",
        http=_Connection,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        limit_concurrency=at_once,
        timeout_graceful_shutdown=int(grace_seconds) + 1,
    )
    server = _Server(config)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield
    finally:
        server.should_exit = True
        await running


class _Connection(H11Protocol):
    """One on which no request comes is ended: uvicorn would keep it, and each counts among those at once."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.loop.call_later(SILENT_SECONDS, self._end_if_silent)

    def _end_if_silent(self) -> None:
        if self.cycle is None:
            self.transport.close()  # type: ignore[unreachable]  # uvicorn sets it to None, and types it never so


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process: uvicorn would take them from it."""
        yield


def _listener(address: str, setting: str, backlog: int) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, int(port)), family=family, backlog=backlog)
    except OSError as error:
        msg = f"{setting}={address}: nothing can listen there: {error.strerror or error}"
        raise ConfigurationError(msg) from error
