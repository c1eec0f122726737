"""How refusals are said over gRPC: a status, a text, and what a program can read as a google.rpc.Status."""

from collections.abc import Mapping
from typing import NamedTuple

import grpc
from google.protobuf.any_pb2 import Any as Packed

from service.api.grpc_messages import failure_told, outcome_told, text_told
from service.api.proto.turnout.api.v1 import handler_pb2 as pb
from service.api.refusals import Kind, Refusal
from service.cutting import cut

MESSAGE_BYTES = 1_000
DETAIL_BYTES = 2_000
"""Both come in metadata, encoded, and clients take 8 KiB of that in all."""

STATUS: Mapping[Kind, grpc.StatusCode] = {
    Kind.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Kind.ALREADY_EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    Kind.CLOSED: grpc.StatusCode.FAILED_PRECONDITION,
    Kind.INVALID_ARGUMENT: grpc.StatusCode.INVALID_ARGUMENT,
    Kind.REFUSED: grpc.StatusCode.FAILED_PRECONDITION,
    Kind.UNSUPPORTED: grpc.StatusCode.INVALID_ARGUMENT,
    Kind.NOT_JSON: grpc.StatusCode.INTERNAL,
    Kind.TOO_LARGE: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Kind.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    Kind.FORBIDDEN: grpc.StatusCode.PERMISSION_DENIED,
    Kind.BUSY: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Kind.TIME_IS_UP: grpc.StatusCode.DEADLINE_EXCEEDED,
    Kind.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Kind.DEFECT: grpc.StatusCode.INTERNAL,
}


class Told(NamedTuple):
    """A refusal for a client: its status, its text, and the bytes of `grpc-status-details-bin`."""

    status: grpc.StatusCode
    message: str
    details: bytes


def told_of(refusal: Refusal) -> Told:
    """How `refusal` is said; with less in it than there is, if it would be too large."""
    status = STATUS[refusal.kind]
    code: int = status.value[0]
    message = cut(text_told(str(refusal)), MESSAGE_BYTES)
    packed = Packed()
    packed.Pack(_detail(refusal))
    details = pb.StatusDetails(code=code, message=message, details=[packed])
    return Told(status, message, details.SerializeToString())


def _detail(refusal: Refusal) -> pb.Refusal:
    detail = pb.Refusal(
        kind=refusal.kind,
        outcomes=map(outcome_told, refusal.outcomes),
        failure=failure_told(refusal.failure) if refusal.failure else None,
    )
    if detail.ByteSize() > DETAIL_BYTES:
        for outcome in detail.outcomes:
            outcome.detail = ""
        if refusal.failure:
            detail.failure.type = cut(detail.failure.type, DETAIL_BYTES // 8)
            detail.failure.message = cut(detail.failure.message, DETAIL_BYTES // 4)
    while detail.ByteSize() > DETAIL_BYTES:
        del detail.outcomes[-1]
    return detail
