"""Events that a person writes into a file, as records: to try routes with, without Kafka."""

from base64 import b64decode
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from service.errors import ConfigurationError
from service.kafka.record import Headers, Record

_KEYS = frozenset({"topic", "key", "headers", "value", "value_base64", "partition", "offset", "timestamp"})
_SHAPES = (
    'write a CloudEvent in JSON ({"specversion": "1.0", …}), or '
    '{"topic": …, "key": …, "headers": {…}, "value": …}'
)


def record_in(text: bytes, topic: str = "") -> Record:
    """The record that `text` stands for.

    A CloudEvent in the JSON format becomes one in structured mode, byte for byte. An object with `value`
    becomes one with that JSON as its value; `value_base64` gives other bytes, and neither gives null.

    Args:
        text: JSON.
        topic: Where it came from; needed where `text` does not say it.

    Raises:
        ConfigurationError: It is neither; the text quotes nothing of it.
    """
    try:
        given = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ConfigurationError(f"the event is not JSON: {error}; {_SHAPES}") from error
    if not isinstance(given, dict):
        raise ConfigurationError(f"the event is no JSON object; {_SHAPES}")
    if "specversion" in given:
        if not topic:
            raise ConfigurationError("a CloudEvent does not say its topic; write --topic")
        headers: Headers = (("content-type", b"application/cloudevents+json"),)
        return Record(topic, 0, 0, None, text, headers, _now())
    if unknown := given.keys() - _KEYS:
        raise ConfigurationError(f"the event has {len(unknown)} keys that are not known; {_SHAPES}")
    return _raw(given, topic or given.get("topic"))


def _raw(given: Mapping[str, Any], topic: Any) -> Record:
    if not isinstance(topic, str) or not topic:
        raise ConfigurationError(f"the event does not say its topic; write --topic, or {_SHAPES}")
    key, headers = given.get("key"), given.get("headers", {})
    if not isinstance(headers, dict):
        raise ConfigurationError("`headers` of the event is no JSON object")
    partition, offset, timestamp = (
        _whole(given, name, other) for name, other in (("partition", 0), ("offset", 0), ("timestamp", _now()))
    )
    pairs = ((name, _bytes(f"header {number}", value)) for number, (name, value) in _numbered(headers))
    return Record(topic, partition, offset, _bytes("`key`", key), _value(given), tuple(pairs), timestamp)


def _numbered(headers: Mapping[str, Any]) -> Iterable[tuple[int, tuple[str, Any]]]:
    return enumerate(headers.items(), start=1)


def _bytes(what: str, value: Any) -> bytes | None:
    if value is None or isinstance(value, str):
        return value.encode() if value is not None else None
    raise ConfigurationError(f"{what} of the event is no text")


def _whole(given: Mapping[str, Any], name: str, otherwise: int) -> int:
    value = given.get(name, otherwise)
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise ConfigurationError(f"`{name}` of the event is no whole number from 0 on")
    return value


def _value(given: Mapping[str, Any]) -> bytes | None:
    if "value_base64" not in given:
        return orjson.dumps(given["value"]) if given.get("value") is not None else None
    try:
        return b64decode(given["value_base64"], validate=True)
    except (TypeError, ValueError) as error:
        raise ConfigurationError("`value_base64` of the event is not Base64") from error


def _now() -> int:
    return int(datetime.now(UTC).timestamp() * 1000)
