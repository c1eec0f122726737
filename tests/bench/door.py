"""A door in front of a server: open, it passes all through; shut, nobody is there."""

import asyncio
from contextlib import suppress


class Door:
    """Listens on a port of its own and passes connections on to `host:port`."""

    def __init__(self, behind: str) -> None:
        self._host, _, port = behind.rpartition(":")
        self._port = int(port)
        self._passing: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> str:
        """Begin to listen; the address."""
        self._server = await asyncio.start_server(self._pass, self._host, 0)
        host, port = self._server.sockets[0].getsockname()
        return f"{host}:{port}"

    def shut(self) -> None:
        """Cut all connections and take no more."""
        if self._server:
            self._server.close()
        for one in self._passing:
            one.cancel()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._passing.add(task)
        try:
            far_reader, far_writer = await asyncio.open_connection(self._host, self._port)
            try:
                await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
            finally:
                far_writer.close()
        except (asyncio.CancelledError, OSError):
            pass  # shut, or the other side went
        finally:
            self._passing.discard(task)
            writer.close()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await source.read(1 << 16):
            sink.write(data)
            await sink.drain()
    sink.close()
