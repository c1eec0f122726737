"""A proxy that lets requests through and loses the answers, or holds one call back."""

import asyncio
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service.local import HOST
from tests.integration.proxy import Proxy

# HTTP/2 (RFC 9113): a connection begins with this text, then frames of 9 bytes and a payload.
_PREFACE_BYTES = 24
_DATA = 0


class Wire(Proxy):
    """A proxy that can also swallow answers, and hold calls; made by `wire`."""

    def __init__(self, target: str, server_port: int) -> None:
        super().__init__(target, server_port)
        self.swallowed_bytes = 0
        self._swallowing = False
        self._marker = b""
        self._released = asyncio.Event()
        self._dropping = False
        self.holding = asyncio.Event()
        """Set as long as a call is held back."""

    def swallow(self) -> None:
        """From now on requests are applied, and their answers are lost."""
        self._swallowing = True

    def stop_swallowing(self) -> None:
        """Cut the connections whose answers were lost, and be a good proxy again."""
        self._swallowing = False
        self.cut()

    def hold(self, marker: bytes) -> None:
        """Keep back each call to Temporal whose request holds `marker`; others pass it."""
        self._marker = marker
        self._dropping = False
        self._released.clear()
        self.holding.clear()

    def release(self) -> None:
        """Let pass what is held back."""
        self._marker = b""
        self._released.set()
        self.holding.clear()

    def drop(self) -> None:
        """Forget what is held back, as if it had died with its caller; what comes now passes."""
        self._dropping = True
        self.release()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(*self._target)
        requests = self._requests_by_frames if self._marker else self._requests
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(requests(reader, up_writer))
                tasks.create_task(self._answers(up_reader, writer))
        except* (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            up_writer.close()

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            if self._swallowing:
                self.swallowed_bytes += len(data)
                continue
            writer.write(data)
            await writer.drain()
        writer.close()

    async def _requests_by_frames(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(_PREFACE_BYTES))
        held: dict[bytes, list[bytes]] = {}
        async with asyncio.TaskGroup() as tasks:
            while True:
                head = await reader.readexactly(9)
                frame = head + await reader.readexactly(int.from_bytes(head[:3], "big"))
                stream = head[5:]
                if stream in held:
                    held[stream].append(frame)
                elif head[3] == _DATA and self._marker and self._marker in _message(frame[9:]):
                    held[stream] = [frame]
                    tasks.create_task(self._later(held, stream, writer))
                    self.holding.set()
                else:
                    writer.write(frame)
                    await writer.drain()

    async def _later(
        self, held: dict[bytes, list[bytes]], stream: bytes, writer: asyncio.StreamWriter
    ) -> None:
        await self._released.wait()
        frames = held.pop(stream)
        if not self._dropping:
            writer.write(b"".join(frames))
            await writer.drain()


def _message(payload: bytes) -> bytes:
    """The message of a DATA frame that holds one whole gRPC message: a flag, four bytes of length, itself."""
    if payload[:1] != b"\1":
        return payload
    try:
        return zlib.decompress(payload[5:], wbits=16 + zlib.MAX_WBITS)
    except zlib.error:  # not whole
        return b""


@asynccontextmanager
async def wire(target: str, port: int) -> AsyncIterator[Wire]:
    """A wire at `port` that forwards to `target` until it is told otherwise."""
    one = Wire(target, port)
    server = await asyncio.start_server(one.serve, HOST, port)
    try:
        yield one
    finally:
        server.close()
        one.cut()
        await server.wait_closed()
