"""The endpoint that Prometheus reads: ours and those of Temporal's client, as one page."""

import asyncio
import http.client
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import structlog

from service.errors import ConfigurationError
from service.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

SETTING = "TURNOUT_METRICS__ADDRESS"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SILENT_SECONDS = 10.0
"""A connection on which nothing comes for so long is ended."""

OTHER_SECONDS = 2.0
"""So long we wait for the other part of the page, which this process serves, too."""

MOST_BYTES = 64 << 20


def page_at(port: int) -> Callable[[], bytes]:
    """What is served at that port of this machine; empty where it does not answer."""
    said = False

    def page() -> bytes:
        nonlocal said
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=OTHER_SECONDS)
        try:
            connection.request("GET", "/metrics")
            answer = connection.getresponse()
            return answer.read(MOST_BYTES) if answer.status == http.HTTPStatus.OK else b""
        except (OSError, http.client.HTTPException) as error:
            if not said:
                log.warning("metrics of Temporal's client are not to be had", reason=str(error))
            said = True
            return b""
        finally:
            connection.close()

    return page


def _nothing() -> bytes:
    return b""


@asynccontextmanager
async def served(
    metrics: Metrics, address: str, other: Callable[[], bytes] = _nothing
) -> AsyncIterator[None]:
    """Serve `metrics` at `address` (`host:port`) in this block, from threads; nowhere if that is empty.

    What `other` says comes behind them. Threads, so that it is answered also while the event loop is busy.

    Raises:
        ConfigurationError: Nothing can listen there.
    """
    if not address:
        yield
        return

    class Scrape(BaseHTTPRequestHandler):
        timeout = SILENT_SECONDS

        def do_GET(self) -> None:
            body = metrics.text().encode() + other()
            self.send_response(http.HTTPStatus.OK)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with suppress(OSError):  # who asked has gone
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Nobody wants a line for each scrape."""

    host, _, port = address.rpartition(":")
    try:
        # In a thread: it may look names up.
        server = await asyncio.to_thread(_listen, host.strip("[]"), int(port), Scrape)
    except OSError as error:
        msg = f"{SETTING}={address}: nothing can listen there: {error.strerror or error}"
        raise ConfigurationError(msg) from error
    thread = Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    log.info("metrics", address=f"http://{address}/metrics")
    try:
        yield
    finally:
        # Both wait, for at most half a second.
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        await asyncio.to_thread(thread.join)


def _listen(host: str, port: int, handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: object, client_address: object) -> None:
            """A connection that breaks is nothing to speak of."""

    return Server((host, port), handler)
