"""CloudEvents over HTTP become records as Kafka has them; what is wrong with them, the decoder says.

Source: bindings/http-protocol-binding.md of github.com/cloudevents/spec; section numbers are its.
"""

import re
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

import orjson

from service.api.models import Publish
from service.api.reading import PARTITION_KEY
from service.api.refusals import Kind, Refusal
from service.events.headers import media_type

PREFIX = b"ce-"
PASSED_ON = frozenset({b"traceparent", b"tracestate"})
"""Headers that an event takes along, besides its attributes."""

_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)


def event_in(topic: str, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> Publish:
    """The event of a request, as it would lie in `topic`; header names are in lower case.

    Raises:
        Refusal: It is a batch, or nothing at all.
    """
    given = list(headers)
    content_types = [value for name, value in given if name == b"content-type"]
    media = media_type(content_types[0].decode("latin-1")) if content_types else ""
    if media.startswith("application/cloudevents-batch"):
        raise Refusal(Kind.UNSUPPORTED, "a batch of events is not taken", "publish them one by one")
    kept = [(b"content-type", value) for value in content_types]
    if media.startswith("application/cloudevents"):
        # Attributes in headers beside it are not looked at (3.2.2).
        key = _key_in(body)
        value = body
    else:
        attributes = [
            (b"ce_" + name.removeprefix(PREFIX), _unescaped(value))
            for name, value in given
            if name.startswith(PREFIX)
        ]
        if not (body or attributes):
            raise Refusal(
                Kind.INVALID_ARGUMENT,
                "there is no event: neither a body nor headers ce-…",
                "send a CloudEvent, in binary or structured mode",
            )
        kept += attributes
        key = dict(attributes).get(b"ce_" + PARTITION_KEY.encode())
        # No body is an event without data; by Kafka's binding that has no value.
        value = body or None  # type: ignore[assignment]
    kept += [(name, value) for name, value in given if name in PASSED_ON]
    return Publish(
        topic=topic, key=key, value=value, headers=tuple((name.decode(), value) for name, value in kept)
    )


def _unescaped(value: bytes) -> bytes:
    """The text of a header: without quotes around it, percent-decoded (3.1.3.2)."""
    if len(value) >= 2 and value[:1] == value[-1:] == b'"':
        value = _ESCAPED.sub(rb"\1", value[1:-1])
    return unquote_to_bytes(value)


def _key_in(body: bytes) -> bytes | None:
    """The partition key in a structured event; None also where that is none, which the decoder says."""
    try:
        members = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    key = members.get(PARTITION_KEY) if isinstance(members, dict) else None
    return key.encode() if isinstance(key, str) else None
