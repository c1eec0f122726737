"""Payloads: values as Temporal keeps them, in the words that all of its SDKs understand."""

from collections.abc import Sequence
from typing import Any

from pydantic_core import to_json
from temporalio.api.common.v1 import Payload
from temporalio.converter import DataConverter

_ENCODING = "encoding"
_JSON, _NULL = b"json/plain", b"binary/null"


def payload_of(value: Any) -> Payload:
    """Plain JSON as the SDK's own converter writes it, which tries five formats on each value.

    Source: `temporalio.contrib.pydantic`, and the payload converters of Temporal's SDKs.
    """
    if value is None:
        return Payload(metadata={_ENCODING: _NULL})
    return Payload(metadata={_ENCODING: _JSON}, data=to_json(value))


def keyword_payload(text: str) -> Payload:
    """A search attribute of type Keyword."""
    return Payload(metadata={_ENCODING: _JSON, "type": b"Keyword"}, data=to_json(text))


async def encoded(converter: DataConverter, values: Sequence[Any]) -> Sequence[Payload]:
    """Plain JSON values, encrypted where `converter` does so; one payload for each."""
    payloads = [payload_of(value) for value in values]
    codec = converter.payload_codec
    return await codec.encode(payloads) if codec else payloads
