"""A Temporal frontend over real gRPC that answers what a test tells it to, and keeps what it was asked."""

import time
import uuid
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import Message
from temporalio.api.common.v1 import GrpcStatus
from temporalio.api.workflowservice import v1 as workflowservice
from temporalio.service import RPCError, RPCStatusCode

from service.local import HOST

_SERVICE = "temporal.api.workflowservice.v1.WorkflowService"
_KINDS = vars(workflowservice)
_CALLS = [name.removesuffix("Request") for name in _KINDS if name.endswith("Request")]


@dataclass(frozen=True)
class Refusal:
    """An answer other than OK, as a server gives it; `raw` are details that are no details at all."""

    status: RPCStatusCode
    text: str
    details: Message | None = None
    raw: bytes = b""

    @property
    def trailer(self) -> bytes:
        """What goes as `grpc-status-details-bin`; empty: nothing does."""
        if self.details is None:
            return self.raw
        status = GrpcStatus(code=int(self.status), message=self.text)
        status.details.add().Pack(self.details)
        return status.SerializeToString()

    def error(self) -> RPCError:
        """What the SDK makes of it."""
        return RPCError(self.text, self.status, self.trailer)


@dataclass(frozen=True)
class Asked:
    """One request, as it came over the wire; `seconds` are how long its caller waits for the answer."""

    rpc: str
    request: Any
    metadata: Mapping[str, str | bytes]
    seconds: float | None


class Frontend:
    """Answers as told, in that order, else as a server to which all is new; made by `frontend`."""

    def __init__(self) -> None:
        self.address = ""
        self.asked: list[Asked] = []
        self._answers: defaultdict[str, deque[Refusal | Message]] = defaultdict(deque)

    def answer(self, rpc: str, *answers: Refusal | Message) -> None:
        """Answer the next calls of `rpc` like this."""
        self._answers[rpc].extend(answers)

    def forget(self) -> None:
        """Be as new."""
        self.asked.clear()
        self._answers.clear()

    @property
    def calls(self) -> list[str]:
        """What was called, in order."""
        return [asked.rpc for asked in self.asked]

    def requests(self, rpc: str) -> list[Any]:
        """The requests of one kind, in order."""
        return [asked.request for asked in self.asked if asked.rpc == rpc]

    def handlers(self) -> dict[str, Any]:
        """One gRPC handler for each call that Temporal's workflow service knows."""
        return {
            rpc: grpc.unary_unary_rpc_method_handler(
                self._handler(rpc, _KINDS[f"{rpc}Response"]),
                request_deserializer=_KINDS[f"{rpc}Request"].FromString,
                response_serializer=lambda response: response.SerializeToString(),
            )
            for rpc in _CALLS
        }

    def _handler(self, rpc: str, response: type[Message]) -> Callable[[Message, Any], Awaitable[Message]]:
        async def handle(request: Message, context: Any) -> Message:
            metadata = dict(context.invocation_metadata())
            self.asked.append(Asked(rpc, request, metadata, context.time_remaining()))
            scripted = self._answers[rpc]
            answer = scripted.popleft() if scripted else _as_new(response)
            if isinstance(answer, Refusal):
                await _refuse(context, answer)
            assert isinstance(answer, response)
            return answer

        return handle


async def _refuse(context: Any, refusal: Refusal) -> None:
    if refusal.trailer:
        context.set_trailing_metadata((("grpc-status-details-bin", refusal.trailer),))
    code = next(code for code in grpc.StatusCode if code.value[0] == refusal.status)
    await context.abort(code, refusal.text)


def _as_new(response: type[Message]) -> Message:
    return response(run_id=run_id()) if "run_id" in response.DESCRIPTOR.fields_by_name else response()


def run_id() -> str:
    """The id of a run that begins in a moment, as servers make them: a UUIDv7."""
    ms = time.time_ns() // 1_000_000 + 1_000
    return str(uuid.UUID(int=(ms << 80) | (7 << 76) | (2 << 62) | (uuid.uuid4().int & ((1 << 62) - 1))))


@asynccontextmanager
async def frontend() -> AsyncIterator[Frontend]:
    """A frontend at a free port of this machine."""
    one = Frontend()
    server = grpc.aio.server()
    handler = grpc.method_handlers_generic_handler(_SERVICE, one.handlers())
    server.add_generic_rpc_handlers((handler,))
    one.address = f"{HOST}:{server.add_insecure_port(f'{HOST}:0')}"
    await server.start()
    try:
        yield one
    finally:
        await server.stop(None)
