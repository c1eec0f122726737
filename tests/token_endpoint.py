"""An endpoint that gives tokens (OAuth 2.0), and tokens that nobody has signed."""

import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from service.local import HOST
from service.serving import Receive, Scope, Send, serving
from tests.servers import random_port


def jwt(**claims: Any) -> str:
    def part(content: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'none'})}.{part(claims)}."


@dataclass
class Endpoint:
    """A token endpoint that answers as it is told, and keeps what it was asked; made by `token_endpoint`."""

    url: str
    status: int = 200
    answer: Any = field(default_factory=lambda: {"access_token": "one", "expires_in": 100})
    asked: list[tuple[str, Mapping[str, list[str]]]] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        more = True
        while more:
            part = await receive()
            body += part.get("body", b"")
            more = part.get("more_body", False)
        headers = dict(scope["headers"])
        _, _, who = headers[b"authorization"].decode().partition("Basic ")
        self.asked.append((base64.b64decode(who).decode(), parse_qs(body.decode())))
        answer = self.answer() if callable(self.answer) else self.answer
        raw = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": raw})


@asynccontextmanager
async def token_endpoint() -> AsyncIterator[Endpoint]:
    address = f"{HOST}:{random_port()}"
    endpoint = Endpoint(f"http://{address}/token")
    async with serving(endpoint, address, "X", at_once=10, grace_seconds=1):
        yield endpoint
