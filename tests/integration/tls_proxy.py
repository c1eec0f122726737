"""A door with TLS before a server that has none, like a proxy or a mesh in production."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from service.local import HOST
from tests.integration.proxy import copy


class Door:
    """One TCP port with TLS in front of `target`; made by `tls_door`."""

    def __init__(self, target: str, context: ssl.SSLContext) -> None:
        host, _, port = target.partition(":")
        self._target = (host, int(port))
        self.context = context
        self.address = ""
        self.names: list[str] = []
        """The names in the certificates of those that came, in order; empty for one without."""
        self._connections: set[asyncio.Task[None]] = set()

    def cut(self) -> None:
        """Cut all connections."""
        for connection in self._connections:
            connection.cancel()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its beginning to its end."""
        task = asyncio.current_task()
        assert task
        self._connections.add(task)
        self.names.append(_name_in(writer.get_extra_info("peercert") or {}))
        try:
            with suppress(OSError, asyncio.CancelledError):
                await self._forward(reader, writer)
        finally:
            self._connections.discard(task)
            writer.close()

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


def _name_in(certificate: dict[str, object]) -> str:
    subject = certificate.get("subject", ())
    assert isinstance(subject, tuple)
    return next((value for part in subject for name, value in part if name == "commonName"), "")


@asynccontextmanager
async def tls_door(target: str, folder: Path, *, certificate: str = "broker") -> AsyncIterator[Door]:
    """Asks who comes for a certificate of the authority in `folder`, and has its own from there."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=folder / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(folder / f"{certificate}.bundle.pem")
    context.set_alpn_protocols(["h2"])
    door = Door(target, context)
    server = await asyncio.start_server(door.serve, HOST, 0, ssl=context)
    door.address = f"{HOST}:{server.sockets[0].getsockname()[1]}"
    try:
        yield door
    finally:
        server.close()
        door.cut()
        await server.wait_closed()
