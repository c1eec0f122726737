"""Health over HTTP, for probes and people: `/livez` and `/readyz`, each 200 or 503 with the reasons."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import structlog

from service.serving import Receive, Scope, Send, serving
from service.telemetry.health import Health

log = structlog.get_logger(__name__)

MOST_AT_ONCE = 100


class Probes:
    """An ASGI application that reads `health`."""

    def __init__(self, health: Health) -> None:
        self._health = health

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Answer one request; its body is left unread, since none is expected."""
        status, told = self._answer(scope["method"], scope["path"])
        body = json.dumps(told, indent=2).encode() + b"\n"
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            (b"connection", b"close"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def _answer(self, method: str, path: str) -> tuple[HTTPStatus, Mapping[str, Any]]:
        if path not in {"/livez", "/readyz"}:
            return HTTPStatus.NOT_FOUND, {"there_are": ["/livez", "/readyz"]}
        if method not in {"GET", "HEAD"}:
            return HTTPStatus.METHOD_NOT_ALLOWED, {"there_are": ["GET", "HEAD"]}
        if path == "/livez":
            standing = self._health.standing()
            return _status(well=not standing), {"live": not standing, "loops_that_stand_still": standing}
        self._health.look()
        return _status(well=self._health.ready), self._health.told()


def _status(*, well: bool) -> HTTPStatus:
    return HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE


@asynccontextmanager
async def probed(health: Health, address: str) -> AsyncIterator[None]:
    """Answer probes at `address` (`host:port`) in this block; nowhere if that is empty.

    Raises:
        ConfigurationError: Nothing can listen there.
    """
    if not address:
        yield
        return
    setting = "TURNOUT_HEALTH__ADDRESS"
    async with serving(Probes(health), address, setting, at_once=MOST_AT_ONCE, grace_seconds=0):
        log.info("health", address=f"http://{address}/readyz")
        yield
