"""Record headers as text, and what a content type says about the value."""

import re

from service.errors import DecodeError
from service.kafka.record import Headers

# Source: RFC 2045, section 5.1: a type and a subtype, both tokens.
_MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+", re.ASCII)


def text_headers(headers: Headers) -> dict[str, str]:
    """The headers that are UTF-8, as expressions see them; the last of a repeated one wins."""
    return {name: text for name, value in headers if (text := _text(value)) is not None}


def media_type(content_type: str) -> str:
    """The media type in lower case, without parameters; `""` if none is declared.

    Source: RFC 2045, section 5.1 (types and subtypes are matched case-insensitively).
    """
    return content_type.partition(";")[0].strip().lower()


def require_json(content_type: str) -> None:
    """Refuse a content type that is not JSON; `""` declares none and passes.

    JSON is `*/json` or `*/*+json`. A charset is not looked at: RFC 8259 (section 11) knows none,
    and bytes that are not UTF-8 are refused in any case.
    Source: CloudEvents JSON format, section 3.1.1.

    Raises:
        DecodeError: It names another format, or a batch of events.
    """
    media = _of_one_event(content_type)
    if media and not media.endswith(("/json", "+json")):
        raise DecodeError(
            "the content type names another format than the declared one",
            cure="send JSON as application/json, or declare the topic's format",
        )


def require_avro(content_type: str) -> None:
    """Refuse a content type that is not Avro's binary encoding; `""` declares none and passes.

    There is no registered one: producers write `application/avro`, `avro/binary`, `application/*+avro`
    and vendors' names. `application/octet-stream` says no more than that it is bytes.

    Raises:
        DecodeError: It names another format, or a batch of events.
    """
    media = _of_one_event(content_type)
    if media and media != "application/octet-stream" and ("avro" not in media or "json" in media):
        raise DecodeError(
            "the content type names another format than the declared one",
            cure="send Avro as application/avro, or declare the topic's format",
        )


def _of_one_event(content_type: str) -> str:
    media = media_type(content_type)
    if media.startswith("application/cloudevents-batch"):
        raise DecodeError("a batch of CloudEvents is not read", cure="send one event per record")
    return media


def require_media_type(content_type: str) -> None:
    """Refuse a content type that is none; an event without data may have any.

    Raises:
        DecodeError: It is not a type and a subtype.
    """
    if content_type and not _MEDIA_TYPE.fullmatch(media_type(content_type)):
        raise DecodeError("the content type is no media type", cure="send one like application/json, or none")


def _text(value: bytes | None) -> str | None:
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None
