"""Payloads: values as Temporal keeps them, in the words that all of its SDKs understand."""

from collections.abc import Sequence
from typing import Any

from pydantic_core import to_json
from temporalio.api.common.v1 import Payload
from temporalio.converter import DataConverter

# Copied, since the map of the metadata takes longer to make than all the rest.
_NULL = Payload(metadata={"encoding": b"binary/null"})
_JSON = Payload(metadata={"encoding": b"json/plain"})
_KEYWORD = Payload(metadata={"encoding": b"json/plain", "type": b"Keyword"})


def payload_of(value: Any) -> Payload:
    """Plain JSON as the SDK's own converter writes it, which tries five formats on each value.

    Source: `temporalio.contrib.pydantic`, and the payload converters of Temporal's SDKs.
    """
    payload = Payload()
    if value is None:
        payload.CopyFrom(_NULL)
    else:
        payload.CopyFrom(_JSON)
        payload.data = to_json(value)
    return payload


def keyword_payload(text: str) -> Payload:
    """A search attribute of type Keyword."""
    payload = Payload()
    payload.CopyFrom(_KEYWORD)
    payload.data = to_json(text)
    return payload


async def encoded(converter: DataConverter, values: Sequence[Any]) -> Sequence[Payload]:
    """Plain JSON values, encrypted where `converter` does so; one payload for each."""
    payloads = [payload_of(value) for value in values]
    codec = converter.payload_codec
    return await codec.encode(payloads) if codec else payloads
