"""A proxy before Temporal that forwards, answers errors as proxies do, or keeps silent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import Enum, auto
from typing import Self

from service.local import HOST

# HTTP/2 (RFC 9113): 9 bytes of length, type, flags and stream, then the payload.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS, _PING = 0, 1, 4, 6
_ACK, _END_STREAM, _END_HEADERS = 1, 1, 4


@dataclass(frozen=True, slots=True)
class Page:
    """What a proxy answers by itself, whatever was asked: a status, with a page for people or without."""

    status: int
    http_2: bool = True
    html: bytes = b""

    @property
    def head(self) -> bytes:
        """Its headers: in HTTP/2 two names of the static table of HPACK (RFC 7541), each with a value."""
        if self.http_2:
            return b"\x08\x03%d\x0f\x10\x09text/html" % self.status
        lines = (
            b"HTTP/1.1 %d Nothing to see" % self.status,
            b"content-type: text/html",
            b"content-length: %d" % len(self.html),
            b"connection: close",
        )
        return b"\r\n".join((*lines, b"", b""))


class Mode(Enum):
    """What it does."""

    FORWARD = auto()
    SILENT = auto()
    NOT_FOUND = Page(404)
    FORBIDDEN = Page(403)
    TOO_MANY_REQUESTS = Page(429)
    BAD_GATEWAY = Page(502)
    NO_HTTP_2 = Page(502, http_2=False)


class Proxy:
    """One TCP port in front of `target`; made by `proxy`."""

    def __init__(self, target: str, server_port: int) -> None:
        host, _, port = target.partition(":")
        self._target = (host, int(port))
        self._mode: Mode | Page = Mode.FORWARD
        self._connections: set[asyncio.Task[None]] = set()
        self.address = f"{HOST}:{server_port}"
        self.turned_down = 0
        """How many calls it has answered itself, or left without an answer."""

    def become(self, mode: Mode | Page) -> Self:
        """Do otherwise from now on; connections are cut, as when a proxy is replaced."""
        value = mode.value if isinstance(mode, Mode) else mode
        self._mode = value if isinstance(value, Page) else Mode(value)
        self.turned_down = 0
        self.cut()
        return self

    def cut(self) -> None:
        """Cut all connections."""
        for connection in self._connections:
            connection.cancel()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its beginning to its end."""
        task = asyncio.current_task()
        assert task
        self._connections.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._serve(reader, writer)
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        match self._mode:
            case Mode.FORWARD:
                await self._forward(reader, writer)
            case Page(http_2=False) as page:
                await reader.read(1)
                self.turned_down += 1
                writer.write(page.head + page.html)
                await writer.drain()
            case _:
                await self._answer(reader, writer)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(*self._target)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(copy(reader, up_writer))
                tasks.create_task(copy(up_reader, writer))
        except* OSError:
            pass
        finally:
            up_writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(len(_PREFACE)) == _PREFACE
        writer.write(_frame(_SETTINGS, 0, 0))
        while True:
            head = await reader.readexactly(9)
            payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
            kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
            if kind in {_SETTINGS, _PING} and not flags & _ACK:
                writer.write(_frame(kind, _ACK, 0, payload if kind == _PING else b""))
            if kind == _HEADERS:
                self.turned_down += 1
                if isinstance(self._mode, Page):
                    self._write(writer, stream, self._mode)
            await writer.drain()

    def _write(self, writer: asyncio.StreamWriter, stream: int, page: Page) -> None:
        end = 0 if page.html else _END_STREAM
        writer.write(_frame(_HEADERS, _END_HEADERS | end, stream, page.head))
        if page.html:
            writer.write(_frame(_DATA, _END_STREAM, stream, page.html))


@asynccontextmanager
async def proxy(target: str, port: int) -> AsyncIterator[Proxy]:
    """A proxy at `port` that forwards to `target` until it is told otherwise."""
    one = Proxy(target, port)
    server = await asyncio.start_server(one.serve, HOST, port)
    try:
        yield one
    finally:
        server.close()
        one.cut()
        await server.wait_closed()


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on all that comes, then hang up."""
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.close()


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload
