"""Payloads: values as Temporal keeps them, in the words that all of its SDKs understand."""

from collections.abc import Iterable
from typing import Any

from pydantic_core import to_json
from temporalio.api.common.v1 import Payload
from temporalio.converter import DataConverter

# Copied, since to make the map of the metadata takes longer than all the rest.
_NULL = Payload(metadata={"encoding": b"binary/null"})
_JSON = Payload(metadata={"encoding": b"json/plain"})
_KEYWORD = Payload(metadata={"encoding": b"json/plain", "type": b"Keyword"})


def write(payload: Payload, value: Any) -> None:
    """Make `payload` hold plain JSON as the SDK's own converter does, which tries five formats on each value.

    Source: `temporalio.contrib.pydantic`, and the payload converters of Temporal's SDKs.
    """
    if value is None:
        payload.CopyFrom(_NULL)
    else:
        payload.CopyFrom(_JSON)
        payload.data = to_json(value)


def write_keyword(payload: Payload, text: str) -> None:
    """Make `payload` hold a search attribute of type Keyword."""
    payload.CopyFrom(_KEYWORD)
    payload.data = to_json(text)


async def encrypt(payloads: Iterable[Payload], converter: DataConverter) -> None:
    """Put in the place of each payload what the codec of `converter` makes of it, if that has one."""
    codec = converter.payload_codec
    if codec is None:
        return
    plain = list(payloads)
    for payload, sealed in zip(plain, await codec.encode(plain), strict=True):
        payload.CopyFrom(sealed)
