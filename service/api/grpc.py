"""The gRPC skin of the handler API: messages become calls, answers messages, refusals statuses."""

import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import structlog
from grpc_reflection.v1alpha import reflection

from service.api.auth import Bearer, NotAllowed
from service.api.callers import Caller
from service.api.grpc_health import HealthService
from service.api.grpc_messages import METHODS, Method
from service.api.grpc_reading import metadata_of, one_message
from service.api.grpc_refusals import told_of
from service.api.handler import Handler
from service.api.models import Call
from service.api.proto.turnout.api.v1 import handler_pb2 as pb
from service.api.reading import checked_key
from service.api.refusals import Kind, Refusal
from service.errors import ConfigurationError
from service.telemetry.health import Health

log = structlog.get_logger(__name__)

SETTING = "TURNOUT_API__GRPC_ADDRESS"
SERVICE = pb.DESCRIPTOR.services_by_name["Handler"].full_name

MESSAGE_MARGIN = 64 << 10
"""How much larger than a value a message may be: it has ids and attributes, too."""

METADATA_BYTES = 16 << 10
"""A token of 8 KiB, and what else comes with a call."""

MORE_CALLS = 50
"""So many calls beyond those that the handler takes are read, to be told that it takes no more."""

GRACE_SECONDS = 5.0
IDLE_MS = 5 * 60 * 1000
HANDSHAKE_MS = 10_000

ANSWER_SHARE, ANSWER_SECONDS = 0.1, 1.0
"""What is left of a client's deadline for our answer to reach it: a share, and at most so long."""

Context = grpc.aio.ServicerContext[Any, Any]

_caller: ContextVar[Caller | None] = ContextVar("caller", default=None)


@dataclass(frozen=True, slots=True)
class Tls:
    """Our certificate and its key, as files in PEM; read again for each connection."""

    cert_file: Path
    key_file: Path


@asynccontextmanager
async def serving_grpc(
    handler: Handler,
    guard: Bearer | None,
    health: Health,
    address: str,
    *,
    calls: int,
    connections: int,
    tls: Tls | None = None,
) -> AsyncIterator[str]:
    """Serve `handler` over gRPC at `address` (`host:port`) in this block, with health and reflection.

    It is served at the address that is yielded; with port 0, the system chose the port.

    Args:
        handler: Does what is asked.
        guard: Tells who may call; None lets everybody in.
        health: What the health service tells.
        address: Where.
        calls: How many calls the handler takes at once.
        connections: More at one time are refused.
        tls: Our certificate; without, nothing is encrypted.

    Raises:
        ConfigurationError: Nothing can listen there, or the certificate cannot be used.
    """
    server = grpc.aio.server(
        interceptors=[_Door(guard)],
        maximum_concurrent_rpcs=calls + MORE_CALLS,
        options=[
            ("grpc.max_receive_message_length", handler.limits.value_bytes + MESSAGE_MARGIN),
            ("grpc.max_metadata_size", METADATA_BYTES),
            ("grpc.absolute_max_metadata_size", 2 * METADATA_BYTES),
            ("grpc.max_allowed_incoming_connections", connections),
            ("grpc.max_connection_idle_ms", IDLE_MS),
            ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),
            ("grpc.so_reuseport", 0),  # who else listens there is an error, and not half of our calls
        ],
    )
    methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        name: grpc.stream_unary_rpc_method_handler(partial(_answer, handler, name, method))
        for name, method in METHODS.items()
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    probes = HealthService(health, SERVICE)
    server.add_generic_rpc_handlers((probes.methods,))
    reflection.enable_server_reflection((SERVICE, probes.name, reflection.SERVICE_NAME), server)
    served = f"{address.rpartition(':')[0]}:{_listen(server, address, tls)}"
    await server.start()
    log.info("gRPC", address=served, tls=tls is not None, tokens=guard is not None)
    try:
        yield served
    finally:
        probes.end()
        await server.stop(GRACE_SECONDS)


def _listen(server: grpc.aio.Server, address: str, tls: Tls | None) -> int:
    """The port."""
    _try(address)  # gRPC itself says only to its own log why it cannot
    try:
        if tls:
            return server.add_secure_port(address, _credentials(tls))
        return server.add_insecure_port(address)
    except RuntimeError as error:
        raise ConfigurationError(f"{SETTING}={address}: nothing can listen there") from error


def _try(address: str) -> None:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        socket.create_server((host, int(port)), family=family).close()
    except OSError as error:
        why = error.strerror or error
        raise ConfigurationError(f"{SETTING}={address}: nothing can listen there: {why}") from error


def _credentials(tls: Tls) -> grpc.ServerCredentials:
    def read() -> grpc.ServerCertificateConfiguration:
        pair = (tls.key_file.read_bytes(), tls.cert_file.read_bytes())
        return grpc.ssl_server_certificate_configuration([pair])

    said = ""

    def read_again() -> grpc.ServerCertificateConfiguration | None:
        nonlocal said
        try:
            _check(tls)
            again, problem = read(), ""
        except (ConfigurationError, OSError) as error:
            again, problem = None, str(error)
        if problem and problem != said:
            log.warning("the certificate cannot be read again; the one before is used", reason=problem)
        said = problem
        return again

    _check(tls)
    # None means that nothing is new, which the stubs do not know.
    return grpc.dynamic_ssl_server_credentials(read(), read_again)  # type: ignore[arg-type]


def _check(tls: Tls) -> None:
    try:
        # A password is asked for on the terminal otherwise.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tls.cert_file, tls.key_file, lambda: b"")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigurationError(
            f"TURNOUT_API__GRPC_TLS_CERT_FILE={tls.cert_file} and TURNOUT_API__GRPC_TLS_KEY_FILE="
            f"{tls.key_file} cannot be used: {reason}; write a certificate and its key without a password, "
            "in PEM"
        ) from error


class _Door(grpc.aio.ServerInterceptor):
    """Lets in who may call; what is asked is not read before. The health service is for all."""

    def __init__(self, guard: Bearer | None) -> None:
        self._guard = guard

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        details = handler_call_details
        if self._guard and not details.method.startswith(f"/{HealthService.name}/"):
            try:
                metadata = metadata_of(details.invocation_metadata)
                caller = await self._guard.check(metadata.get("authorization"))
            except NotAllowed as error:
                kind = Kind.UNAVAILABLE if error.unavailable else Kind.UNAUTHENTICATED
                return _refusing(Refusal(kind, str(error)))
            except Refusal as error:
                return _refusing(error)
            except Exception:
                log.exception("defect while a caller was looked at", method=details.method)
                return _refusing(Refusal(Kind.DEFECT, "it is not known who calls", "it may be repeated"))
            _caller.set(caller)
        return await continuation(details)


def _refusing(refusal: Refusal) -> "grpc.RpcMethodHandler[Any, Any]":
    """A method that refuses, and reads nothing."""
    return grpc.stream_unary_rpc_method_handler(partial(_refuse, refusal))


async def _answer(handler: Handler, name: str, method: Method, _: object, context: Context) -> bytes:
    try:
        metadata = metadata_of(context.invocation_metadata())
        call = Call.of(
            _caller.get(),
            key=checked_key(metadata["idempotency-key"]) if "idempotency-key" in metadata else "",
            limit=_limit(context.time_remaining()),
        )
        asked = method.ask(await one_message(context), metadata, handler.limits)
        answer = await getattr(handler, name.lower())(asked, call)
        return method.answer(answer).SerializeToString()
    except Refusal as error:
        refusal = error
    except Exception:
        log.exception("defect while a call was answered", method=name)
        refusal = Refusal(Kind.DEFECT, "it is not known what became of it", "it may be repeated")
    return await _refuse(refusal, None, context)


def _limit(remaining: float | None) -> timedelta | None:
    """How long the call may take, so that the client hears what came of it before its own time is up."""
    if remaining is None:
        return None
    limit = remaining - min(remaining * ANSWER_SHARE, ANSWER_SECONDS)
    return timedelta(seconds=max(0.0, round(limit, 1)))  # a reason names it


async def _refuse(refusal: Refusal, _: object, context: Context) -> bytes:
    told = told_of(refusal)
    await context.abort(told.status, told.message, (("grpc-status-details-bin", told.details),))
