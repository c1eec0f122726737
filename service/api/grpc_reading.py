"""Reads what comes with a call over gRPC: its metadata, and the one message of a method that takes one.

Methods are served as if a stream of messages came, which looks the same on the wire: so who is let in is
asked before anything is read, and whoever sends no message is not waited for without end.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

import grpc

from service.api.refusals import Kind, Refusal

MESSAGE_SECONDS = 10.0
"""How long a message may take to come."""

ONCE = frozenset({"authorization", "idempotency-key"})

Metadata = Mapping[str, str]


def metadata_of(pairs: Iterable[tuple[str, Any]] | None) -> Metadata:
    """The metadata that are text, by name; the last of a repeated one wins.

    Raises:
        Refusal: What may be said only once is repeated.
    """
    metadata: dict[str, str] = {}
    for name, value in pairs or ():
        if name in metadata and name in ONCE:
            raise Refusal(Kind.INVALID_ARGUMENT, f"{name} comes twice in the metadata", "send it once")
        if isinstance(value, str):
            metadata[name] = value
    return metadata


async def one_message(context: "grpc.aio.ServicerContext[Any, Any]") -> bytes:
    """The message of a call; others after it are not looked at.

    Raises:
        Refusal: None came, or not in time.
    """
    try:
        async with asyncio.timeout(MESSAGE_SECONDS):
            message = await context.read()
    except TimeoutError as error:
        raise Refusal(
            Kind.TIME_IS_UP, f"no message was there within {MESSAGE_SECONDS:g} s", "send it faster"
        ) from error
    if message is grpc.aio.EOF:
        raise Refusal(Kind.INVALID_ARGUMENT, "no message came", "send one")
    return bytes(message)
