"""An HTTP server in this process's own loop: what it serves is answered only while the loop turns."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from http import HTTPStatus
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
    answers: Answers,
    address: str,
    setting: str,
    *,
    at_once: int,
    grace_seconds: float,
    header_bytes: int = 64 << 10,
) -> AsyncIterator[None]:
    """Serve `answers` at `address` (`host:port`) in this block.

    Args:
        answers: What is served.
        address: Where.
        setting: The name of the setting that says where.
        at_once: More connections at one time are answered 503 without a look, twice as many not even that.
        grace_seconds: How long those under way may take at the end.
        header_bytes: How large the headers of a request may be.

    Raises:
        ConfigurationError: Nothing can listen there; names `setting`.
    """
    listener = _listener(address, setting, at_once)
    config = uvicorn.Config(
        answers,
        loop="none",
        http=partial(_Connection, at_once),  # type: ignore[arg-type]  # called, and no more
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=header_bytes,
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
    """One that is ended when no request comes on it, and refused where there are too many.

    uvicorn would keep one on which a request never begins or is never finished, and take them without end:
    each is a file of this process, which Kafka and Temporal need, too.
    """

    def __init__(self, at_once: int, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._at_once = at_once
        self._full = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._full = len(self.connections) > self._at_once
        if len(self.connections) > 2 * self._at_once:
            self._refuse()
        else:
            self.loop.call_later(SILENT_SECONDS, self._end_if_silent, None)

    def data_received(self, data: bytes) -> None:
        if self._full:
            self._refuse()
        else:
            super().data_received(data)

    def send_400_response(self, msg: str) -> None:
        self._end_with(400, "this is not HTTP as it is understood here", msg)

    def _end_if_silent(self, before: object) -> None:
        if self.transport.is_closing():
            return
        silent = self.cycle is None or self.cycle.response_complete
        if silent and self.cycle is before:
            self.transport.close()
        else:
            self.loop.call_later(SILENT_SECONDS, self._end_if_silent, self.cycle)

    def _refuse(self) -> None:
        self._end_with(503, "there are too many connections", "call again in a second, on fewer at once")

    def _end_with(self, status: int, title: str, detail: str) -> None:
        if self.transport.is_closing():
            return
        body = json.dumps(
            {"type": "about:blank", "title": title, "status": status, "detail": detail}
        ).encode()
        head = [
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
            "content-type: application/problem+json",
            f"content-length: {len(body)}",
            "connection: close",
        ]
        self.transport.write("\r\n".join([*head, "", ""]).encode() + body)
        self.transport.close()


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
