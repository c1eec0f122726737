"""The codec server: decrypts payloads for the Temporal UI and `temporal`, for those who may see them.

The contract is Temporal's (docs.temporal.io, "Codec Server"): POST /decode and /encode with a JSON list of
payloads, the namespace in the header X-Namespace, and CORS for the origin of the UI.
"""

import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TYPE_CHECKING, cast

import orjson
import structlog
from google.protobuf import json_format
from temporalio.api.common.v1 import Payload, Payloads

from service.api.bodies import Bodies, Gone, Heard, SlowBody
from service.api.callers import Guard, NotAllowed
from service.api.problems import STATUS
from service.api.refusals import Refusal
from service.errors import ConfigurationError
from service.serving import Answers
from workflows.encryption import EncryptionCodec, NotReadable

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

log = structlog.get_logger(__name__)

MOST_BYTES = 8 << 20
"""Of a request: a page of a history has several payloads of up to 2 MB, in base64."""

ALL_BODIES = 64 << 20
BODY_SECONDS = 10.0
AT_ONCE = 100
SAY_SECONDS = 60.0
HEADERS = ("content-type", "x-namespace", "authorization", "authorization-extras", "caller-type")
"""What the UI sends along."""


class _Refusal(Exception):  # noqa: N818 - an answer
    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class CodecServer:
    """What answers /decode and /encode.

    Args:
        codec: Has the keys.
        guard: Tells who may ask; None: everybody who reaches us.
        origins: The UIs whose pages may ask.
        namespaces: The namespaces whose payloads are meant; empty: all.
    """

    def __init__(
        self,
        codec: EncryptionCodec,
        guard: Guard | None,
        *,
        origins: Sequence[str],
        namespaces: Collection[str] = (),
    ) -> None:
        self._codec = codec
        self._guard = guard
        self._origins = origins
        self._namespaces = namespaces
        self._bodies = Bodies(MOST_BYTES, ALL_BODIES, BODY_SECONDS)
        self._said_at = -SAY_SECONDS

    def app(self) -> Answers:
        """The ASGI application.

        Raises:
            ConfigurationError: The extra `api` is missing.
        """
        try:
            from starlette.applications import Starlette
            from starlette.middleware import Middleware
            from starlette.middleware.cors import CORSMiddleware
            from starlette.routing import Route
        except ImportError as error:
            msg = "the codec server is built with starlette: pip install 'turnout[api]'"
            raise ConfigurationError(msg) from error
        cors = Middleware(
            CORSMiddleware,
            allow_origins=list(self._origins),
            allow_methods=["POST"],
            allow_headers=list(HEADERS),
            allow_private_network=True,
            max_age=600,
        )
        routes = [
            Route("/decode", self._answering(self._decoded), methods=["POST"]),
            Route("/encode", self._answering(self._encoded), methods=["POST"]),
        ]
        return cast("Answers", Starlette(routes=routes, middleware=[cors]))

    def _answering(
        self, act: Callable[[Sequence[Payload]], Awaitable[Sequence[Payload]]]
    ) -> "Callable[[Request], Awaitable[Response]]":
        from starlette.responses import PlainTextResponse, Response

        async def answer(request: "Request") -> "Response":
            try:
                asked = await self._asked(request)
                answered = Payloads(payloads=await act(asked.payloads))
            except Gone:
                return Response()  # nobody is there to read it
            except _Refusal as refusal:
                return PlainTextResponse(f"{refusal.text}\n", refusal.status)
            return Response(json_format.MessageToJson(answered, indent=None), media_type="application/json")

        return answer

    async def _asked(self, request: "Request") -> Payloads:
        origin = request.headers.get("origin")
        if origin is not None and origin not in self._origins:
            raise _Refusal(403, "this origin is not among TURNOUT_CODEC__ORIGINS")
        try:
            if self._guard:
                await self._guard.check(request.headers.get("authorization"))
        except NotAllowed as refused:
            raise _Refusal(503 if refused.unavailable else 401, str(refused)) from refused
        if self._namespaces and request.headers.get("x-namespace") not in self._namespaces:
            raise _Refusal(403, "this namespace (X-Namespace) is not among TURNOUT_CODEC__NAMESPACES")
        # A page of another origin could send it without asking first, were it any other type.
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            raise _Refusal(415, "send content-type: application/json")
        try:
            body = await self._bodies.read(request.headers.get("content-length", ""), Heard(request.receive))
        except SlowBody as refusal:
            raise _Refusal(408, str(refusal)) from refusal
        except Refusal as refusal:
            raise _Refusal(STATUS[refusal.kind], str(refusal)) from refusal
        try:
            asked = orjson.loads(body)
            if isinstance(asked, dict):
                return json_format.ParseDict(asked, Payloads(), max_recursion_depth=10)
        except (json_format.ParseError, ValueError):
            pass
        raise _Refusal(400, 'send {"payloads": […]} as Temporal does')

    async def _decoded(self, payloads: Sequence[Payload]) -> Sequence[Payload]:
        """Each payload decrypted; one that cannot be is left as it is, so that the others are seen."""
        decoded = list(payloads)
        for place, payload in enumerate(payloads):
            try:
                (decoded[place],) = await self._codec.decode([payload])
            except NotReadable as error:
                self._say(str(error))
        return decoded

    async def _encoded(self, payloads: Sequence[Payload]) -> Sequence[Payload]:
        return await self._codec.encode(payloads)

    def _say(self, reason: str) -> None:
        if time.monotonic() - self._said_at >= SAY_SECONDS:
            self._said_at = time.monotonic()
            log.warning("a payload stays encrypted", reason=reason)
