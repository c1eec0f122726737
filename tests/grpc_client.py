"""A client of the gRPC API for tests: methods by name, refusals as their parts."""

import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from google.protobuf import message_factory
from google.protobuf.message import Message
from google.rpc import status_pb2
from grpc_health.v1 import health_pb2

from service.api.proto.turnout.api.v1 import handler_pb2 as pb

SERVICE = pb.DESCRIPTOR.services_by_name["Handler"]


@dataclass(frozen=True)
class Refused(Exception):  # noqa: N818
    """What a client sees of a refusal."""

    code: grpc.StatusCode
    text: str
    more: pb.Refusal | None


def refused(error: grpc.aio.AioRpcError) -> Refused:
    """The parts of a refusal, read as other clients read them."""
    details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
    more = None
    if details is not None:
        assert isinstance(details, bytes)
        status = status_pb2.Status.FromString(details)
        assert (status.code, status.message) == (error.code().value[0], error.details())
        more = pb.Refusal()
        assert status.details[0].Unpack(more)
    return Refused(error.code(), error.details() or "", more)


@dataclass(frozen=True)
class Client:
    """Asks a server."""

    channel: grpc.aio.Channel

    async def ask(self, request: Message, **how: Any) -> Any:
        """Call the method that takes `request`; raises Refused."""
        name = request.DESCRIPTOR.name.removesuffix("Request")
        answer = message_factory.GetMessageClass(SERVICE.methods_by_name[name].output_type)
        call: Any = self.channel.unary_unary(
            f"/{SERVICE.full_name}/{name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        try:
            return await call(request, **({"timeout": 10.0} | how))
        except grpc.aio.AioRpcError as error:
            raise refused(error) from None

    async def refusal(self, request: Message, **how: Any) -> Refused:
        """What a call is refused with."""
        try:
            answer = await self.ask(request, **how)
        except Refused as refusal:
            return refusal
        raise AssertionError(answer)

    async def healthy(self, service: str = "") -> str:
        """What the health service says."""
        check = self.channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        answer = await check(health_pb2.HealthCheckRequest(service=service), timeout=10)
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


@asynccontextmanager
async def client(address: str, ca: bytes | None = None) -> AsyncIterator[Client]:
    """A client of the server at `address`, over TLS if it is told whom to trust."""
    # Channels of one address share a connection otherwise, also to a server that was there before.
    options = [("grpc.use_local_subchannel_pool", 1)]
    channel = (
        grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(ca), options)
        if ca
        else grpc.aio.insecure_channel(address, options)
    )
    async with channel:
        yield Client(channel)


def write_certificate(folder: Path, name: str = "localhost") -> bytes:
    """A certificate and its key as `cert.pem` and `key.pem`; returns what a client trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    (folder / "cert.pem").write_bytes(pem)
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return pem
