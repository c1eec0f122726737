"""The HTTP skin of the handler API: requests become calls, answers become JSON, refusals problem details."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qsl, quote, unquote_to_bytes

import orjson
import structlog
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route

from service.api.bodies import Bodies, Gone, Heard, SlowBody
from service.api.callers import Caller, Guard, NotAllowed
from service.api.handler import Handler
from service.api.http_events import event_in
from service.api.models import Call, Span, Taken
from service.api.openapi import openapi
from service.api.operations import OPERATIONS, Operation
from service.api.problems import MEDIA_TYPE, problem_of
from service.api.reading import asked_as, checked_key, read_json
from service.api.refusals import Kind, Refusal
from service.events.headers import media_type
from service.serving import Receive, Scope, Send, serving

log = structlog.get_logger(__name__)

SETTING = "TURNOUT_API__HTTP_ADDRESS"
BODY_SECONDS = 10.0
"""How long a body may take to come."""

BODY_MARGIN = 64 << 10
"""How much larger than a value a body may be: an event in structured mode is more than its data."""

ALL_BODIES = 64 << 20
HEADER_BYTES = 32 << 10
GRACE_SECONDS = 5.0
RETRY_SECONDS = 1
DISCARD_SECONDS, DISCARD_BYTES = 1.0, 16 << 20
"""How long, and how much, is read past of a body that is not wanted, so that its sender hears the answer."""


class _TimeLimit(BaseModel):
    time_limit: Span | None = None


Endpoint = Callable[[Request, Heard], Awaitable[Response]]


class Http:
    """An ASGI application that serves `handler` to those whom `guard` lets in; to all, if there is none."""

    def __init__(self, handler: Handler, guard: Guard | None) -> None:
        self._handler = handler
        self._guard = guard
        self._bodies = Bodies(handler.limits.value_bytes + BODY_MARGIN, ALL_BODIES, BODY_SECONDS)
        self._document = orjson.dumps(openapi(guarded=guard is not None))
        self._routes: list[tuple[Route, Endpoint]] = [
            (_route(one.path, one.method), partial(self._call, one)) for one in OPERATIONS
        ]
        self._routes.append((_route("/openapi.json", "GET"), self._answer_document))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        # Matched as it was sent: an id may hold slashes, which are written %2F.
        request = Request({**scope, "path": scope["raw_path"].decode("latin-1"), "root_path": ""})
        heard = Heard(receive)
        try:
            response = await self._answered(request, heard)
            if not heard.ended:
                # Who waits to be told to go on needs no more than the answer.
                if request.headers.get("expect", "").lower() != "100-continue":
                    await heard.discard(DISCARD_BYTES, DISCARD_SECONDS)
                response.headers["connection"] = "close"
        except Gone:
            return
        await response(dict(scope), receive, send)  # type: ignore[arg-type]

    async def _answered(self, request: Request, heard: Heard) -> Response:
        try:
            return await self._endpoint(request)(request, heard)
        except NotAllowed as error:
            return _of_not_allowed(error)
        except SlowBody as error:
            return _told(error, HTTPStatus.REQUEST_TIMEOUT)
        except Refusal as error:
            return _told(error)
        except Gone:
            raise
        except Exception:
            log.exception("defect while a call was answered", method=request.method)
            return _told(Refusal(Kind.DEFECT, "it is not known what became of it", "it may be repeated"))

    def _endpoint(self, request: Request) -> Endpoint:
        others: list[str] = []
        for route, endpoint in self._routes:
            match, more = route.matches(request.scope)
            if match is Match.FULL:
                request.scope.update(more)
                return endpoint
            if match is Match.PARTIAL:
                others += route.methods or ()
        if others:
            return partial(_no_method, sorted(others))
        raise Refusal(Kind.NOT_FOUND, "there is no such path", "GET /openapi.json says which there are")

    async def _call(self, operation: Operation, request: Request, heard: Heard) -> Response:
        caller = await self._caller(request)
        path = {name: _segment(name, text) for name, text in request.path_params.items()}
        query = _query(request, (*operation.query, "time_limit"))
        limit = asked_as(_TimeLimit, {"time_limit": query.pop("time_limit", None)}).time_limit
        call = Call.of(caller, key=_key(request) if operation.key else "", limit=limit)
        body = await self._bodies.read(_one(request, "content-length"), heard)
        ask = getattr(self._handler, operation.name)
        if operation.asked is None:
            published = ask(event_in(path["topic"], request.headers.raw, body), call)
            return _answer(await _unless_gone(heard, published))
        given = self._given(operation.body, request, body) if operation.body else {}
        asked = ask(asked_as(operation.asked, {**given, **path, **query}), call)
        answer = await _unless_gone(heard, asked)
        return _answer(answer, created=operation.created)

    def _given(self, model: type[BaseModel], request: Request, body: bytes) -> dict[str, Any]:
        if not body:
            given: Any = {}
        elif media_type(_one(request, "content-type")) != "application/json":
            raise Refusal(
                Kind.UNSUPPORTED, "the body is not said to be JSON", "send `Content-Type: application/json`"
            )
        else:
            given = read_json(body, self._handler.limits)
        asked_as(model, given)
        return given  # type: ignore[no-any-return]

    async def _caller(self, request: Request) -> Caller | None:
        if self._guard:
            return await self._guard.check(_one(request, "authorization"))
        # Nobody says who they are here, and a page in a browser on this machine could call, too.
        if "origin" in request.headers or not _is_local(request.headers.get("host", "")):
            raise Refusal(
                Kind.FORBIDDEN,
                "without tokens only this machine's own programs may call, and no page in a browser",
                "call it by its address, like 127.0.0.1, or set TURNOUT_API__TOKEN_FILE",
            )
        return None

    async def _answer_document(self, request: Request, heard: Heard) -> Response:
        del heard
        await self._caller(request)
        return _json(self._document)


async def _unless_gone(heard: Heard, asking: Coroutine[Any, Any, BaseModel]) -> BaseModel:
    """What comes of `asking`, which is ended when nobody waits for it any more: it holds a place of few.

    Raises:
        Gone: The client has left.
    """
    answering, leaving = asyncio.create_task(asking), asyncio.create_task(heard.left())
    try:
        await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            raise Gone
        return answering.result()
    finally:
        answering.cancel()
        leaving.cancel()


def _route(path: str, method: str) -> Route:
    async def never(request: Request) -> Response:
        raise NotImplementedError(request)  # pragma: no cover - it is matched alone

    return Route(path, never, methods=[method])


async def _no_method(others: Sequence[str], request: Request, heard: Heard) -> Response:
    del heard
    refusal = Refusal(Kind.UNSUPPORTED, f"{request.method} is not taken here", f"use {' or '.join(others)}")
    response = _told(refusal, HTTPStatus.METHOD_NOT_ALLOWED)
    response.headers["allow"] = ", ".join(others)
    return response


def _segment(name: str, text: str) -> str:
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError as error:
        raise Refusal(Kind.INVALID_ARGUMENT, f"{name} is not UTF-8", "percent-encode its UTF-8") from error


def _query(request: Request, names: Sequence[str]) -> dict[str, str]:
    try:
        pairs = (
            parse_qsl(
                request.scope["query_string"].decode("ascii"),
                keep_blank_values=True,
                strict_parsing=True,
                errors="strict",
                max_num_fields=20,
            )
            if request.scope["query_string"]
            else []
        )
    except ValueError as error:
        raise Refusal(Kind.INVALID_ARGUMENT, "the query cannot be read", "write name=value, UTF-8") from error
    given = dict(pairs)
    if len(given) < len(pairs) or not set(given) <= set(names):
        raise Refusal(
            Kind.INVALID_ARGUMENT,
            "the query names something twice, or what is not known here",
            f"there may be {', '.join(names)}, each once",
        )
    return given


def _one(request: Request, name: str) -> str:
    """The header of that name; empty without one."""
    values = request.headers.getlist(name)
    if len(values) > 1:
        raise Refusal(Kind.INVALID_ARGUMENT, f"header {name} is repeated", "send it once")
    return values[0] if values else ""


def _key(request: Request) -> str:
    """The idempotency key, which may stand in quotes, as the draft of that header has it."""
    if "idempotency-key" not in request.headers:
        return ""
    key = _one(request, "idempotency-key")
    return checked_key(key[1:-1] if len(key) > 1 and key[0] == key[-1] == '"' else key)


def _is_local(host: str) -> bool:
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    try:
        ip_address(name)
    except ValueError:
        return name.lower() == "localhost"
    return True


def _answer(answer: BaseModel, *, created: bool = False) -> Response:
    response = _json(answer.model_dump_json().encode())
    if created and isinstance(answer, Taken):
        response.headers["location"] = f"/v1/workflows/{quote(answer.workflow_id, safe='')}"
        if answer.outcome == "accepted":
            response.status_code = HTTPStatus.CREATED
    return response


def _told(refusal: Refusal, status: HTTPStatus | None = None) -> Response:
    problem = problem_of(refusal, status)
    response = _json(problem.model_dump_json(exclude_defaults=True).encode(), MEDIA_TYPE)
    response.status_code = problem.status
    if refusal.kind in {Kind.BUSY, Kind.UNAVAILABLE}:
        response.headers["retry-after"] = str(RETRY_SECONDS)
    return response


def _of_not_allowed(error: NotAllowed) -> Response:
    if error.unavailable:
        return _told(Refusal(Kind.UNAVAILABLE, str(error), "call again later"))
    cure = "send a good token as `Authorization: Bearer …`"
    response = _told(Refusal(Kind.UNAUTHENTICATED, str(error), cure))
    response.headers["www-authenticate"] = error.challenge
    return response


def _json(body: bytes, kind: str = "application/json") -> Response:
    return Response(body, headers={"content-type": kind, "cache-control": "no-store"})


@asynccontextmanager
async def serving_http(
    handler: Handler, guard: Guard | None, address: str, *, connections: int
) -> AsyncIterator[None]:
    """Serve `handler` at `address` (`host:port`) in this block; more than so many connections are refused.

    Raises:
        ConfigurationError: Nothing can listen there.
    """
    async with serving(
        Http(handler, guard),
        address,
        SETTING,
        at_once=connections,
        grace_seconds=GRACE_SECONDS,
        header_bytes=HEADER_BYTES,
    ):
        log.info("api", address=f"http://{address}/openapi.json")
        yield
