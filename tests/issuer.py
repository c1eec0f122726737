"""An issuer of tokens for tests: keys that rotate, a key set in a text or over HTTP, tokens of all kinds."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

ISSUER = "https://login.shop"
AUDIENCE = "turnout"


def private_key(name: str, kind: str = "rsa") -> Any:
    """A private key; the same one for the same name."""
    return _made(name, kind)


@cache
def _made(_name: str, kind: str) -> Any:
    if kind == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    if kind == "weak":
        return rsa.generate_private_key(public_exponent=65537, key_size=1024)
    return ec.generate_private_key(ec.SECP256R1()) if kind == "ec" else ed25519.Ed25519PrivateKey.generate()


def public_jwk(name: str, kind: str = "rsa", **more: object) -> dict[str, Any]:
    """Its public half as an entry of a key set."""
    key = private_key(name, kind).public_key()
    way: Any = {"ec": ECAlgorithm, "ed": OKPAlgorithm}.get(kind, RSAAlgorithm)
    return {**json.loads(way.to_jwk(key)), "kid": name, "use": "sig", **more}


class Issuer:
    """Has keys, and serves them; `status` and `body` may make its server answer otherwise."""

    def __init__(self, *names: str) -> None:
        self.names = list(names or ["one"])
        self.status = 200
        self.body: bytes | None = None
        self.asking = asyncio.Event()
        self._go = asyncio.Event()
        self._go.set()
        self.asked = 0
        self.url = ""

    def key_set(self) -> bytes:
        """The key set with the keys of today."""
        return json.dumps({"keys": [public_jwk(name) for name in self.names]}).encode()

    def hold(self) -> None:
        """Answer nothing for now; `asking` tells of the next who asks."""
        self._go.clear()
        self.asking.clear()

    def let_go(self) -> None:
        """Answer again."""
        self._go.set()

    @staticmethod
    def token(
        key: str = "one",
        *,
        kind: str = "rsa",
        algorithm: str = "RS256",
        headers: dict[str, Any] | None = None,
        without: tuple[str, ...] = (),
        **claims: object,
    ) -> str:
        """A good token, but for what is said otherwise; times in seconds from now."""
        now = time.time()
        whole: dict[str, Any] = {"iss": ISSUER, "aud": AUDIENCE, "sub": "orders", "exp": 300.0, **claims}
        for name in ("exp", "nbf", "iat"):
            if isinstance(seconds := whole.get(name), float):
                whole[name] = int(now + seconds)
        for name in without:
            del whole[name]
        all_headers = {"kid": key} if headers is None else headers
        return jwt.encode(whole, private_key(key, kind), algorithm, headers=all_headers)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Serve the key set at `url` in this block."""
        runner = web.ServerRunner(web.Server(self._answer, handler_cancellation=True), shutdown_timeout=0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/keys"
        try:
            yield
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        self.asked += 1
        self.asking.set()
        await self._go.wait()
        body = self.key_set() if self.body is None else self.body
        return web.Response(status=self.status, body=body, headers={"location": "/elsewhere"})
