"""CloudEvents 1.0 in Kafka records: both content modes decoded, binary mode encoded.

Own code, because the library stamps times by itself. Source: bindings/kafka-protocol-binding.md and
formats/json-format.md of github.com/cloudevents/spec; section numbers are those of the binding.
"""

from base64 import b64decode
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from activities.ports import ResultEvent
from service.errors import DecodeError
from service.events.attributes import CORE, check_attributes, is_attribute_name
from service.events.event import Event
from service.events.headers import media_type, require_json, require_media_type, text_headers
from service.events.strict_json import Limits, encode_json, parse_json
from service.events.timestamps import rfc_3339
from service.events.values import Values
from service.kafka.record import Headers, Record

_PREFIX = "ce_"
_CONTENT_TYPE = "content-type"
_STRUCTURED = "application/cloudevents"
_CORE_HEADERS = frozenset((_CONTENT_TYPE, *(_PREFIX + name for name in CORE)))

_Attributes = dict[str, str]  # those that are set, as text: the canonical string encoding


class EncodedRecord(NamedTuple):
    """The parts of a record that is about to be written."""

    key: bytes | None
    value: bytes
    headers: Headers


class _Payload(NamedTuple):
    """Data, and whether there is any: `null` is data too."""

    data: Any = None
    present: bool = False
    schema: str = ""


def is_tombstone(record: Record) -> bool:
    """Whether `record` deletes its key and is no event.

    A null value is a binary event without data where there are `ce_` headers (3.2.2); it is a
    tombstone where there are none, or where the content type says that the event is in the value.

    Raises:
        DecodeError: A header that tells is repeated, or not UTF-8.
    """
    if record.value is not None:
        return False
    headers, content_type = _envelope_headers(record.headers)
    return not headers or _is_structured(content_type)


def type_by_headers(record: Record) -> str:
    """The type that a record in binary mode has by its headers, whatever its value; `""` if it has none."""
    try:
        headers, content_type = _envelope_headers(record.headers)
        return "" if _is_structured(content_type) else (headers.get("ce_type") or b"").decode()
    except (DecodeError, UnicodeDecodeError):
        return ""


def decode_cloudevent(record: Record, record_key: Any, values: Values, limits: Limits) -> Event:
    """The CloudEvent in `record`, which is not a tombstone.

    In structured mode `ce_` headers are ignored (3.3.3), but still not repeated.

    Raises:
        DecodeError: It is not a CloudEvent with data that `values` decode.
        SchemaNeeded: A schema is needed that is not fetched yet.
    """
    headers, content_type = _envelope_headers(record.headers)
    if _is_structured(content_type):
        attributes, payload = _structured(record, content_type, values, limits)
    else:
        attributes, payload = _binary(record, headers, content_type, values)
    return _event(record, record_key, attributes, payload)


class Encoding(Protocol):
    """How the data of result events become bytes: `content_type` says in what format they are."""

    content_type: str

    def encode(self, event_type: str, data: Any) -> bytes:
        """`data` of an event of that type.

        Raises:
            ValueError: They cannot be written so, now or later; the text holds no values.
        """
        ...


class JsonEncoding:
    """JSON as it is."""

    content_type = "application/json"

    def encode(self, event_type: str, data: Any) -> bytes:
        """See `Encoding.encode`."""
        del event_type
        return encode_json(data)


def encode_binary(event: ResultEvent, encoding: Encoding | None = None) -> EncodedRecord:
    """`event` in binary mode, keyed by its subject; without subject there is no key.

    What would be refused from others is not published either. `headers` may hold extension
    attributes (`ce_…`), but none of the attributes that are fields of `event`.

    Raises:
        ValueError: The event cannot be a CloudEvent, now or later.
    """
    encoding = encoding or JsonEncoding()
    headers = _result_headers(event, encoding.content_type)
    value = encoding.encode(event.type, event.data)
    try:
        attribute_headers, _ = _envelope_headers(headers)
        check_attributes(_header_attributes(attribute_headers))
    except DecodeError as error:
        raise ValueError(f"the result event is not a CloudEvent: {error}") from error
    return EncodedRecord(event.subject.encode() or None, value, headers)


def _event(record: Record, record_key: Any, attributes: _Attributes, payload: _Payload) -> Event:
    return Event(
        key=(attributes["source"], attributes["id"]),
        id=attributes["id"],
        source=attributes["source"],
        type=attributes["type"],
        subject=attributes.get("subject", ""),
        time=attributes.get("time") or rfc_3339(record.timestamp_ms),
        data=payload.data,
        has_data=payload.present,
        record=record,
        ext={name: text for name, text in attributes.items() if name not in CORE},
        headers=text_headers(record.headers),
        record_key=record_key,
        schema=payload.schema or attributes.get("dataschema", ""),
    )


def _is_structured(content_type: str) -> bool:
    return media_type(content_type).startswith(_STRUCTURED)


def _envelope_headers(headers: Headers) -> tuple[dict[str, bytes | None], str]:
    """`ce_` headers by lower-case name, and the content type.

    The binding does not say that names are compared without case; the Go and Java libraries do
    it. So `ce_id` next to `CE_Id` is a repeated header.
    """
    found: dict[str, bytes | None] = {}
    for name, value in headers:
        lower = name.lower()
        if not lower.startswith(_PREFIX) and lower != _CONTENT_TYPE:
            continue
        if lower in found:
            raise DecodeError(f"header {lower!r} is repeated")
        found[lower] = value
    content_type = _header_text(_CONTENT_TYPE, found.pop(_CONTENT_TYPE, None))
    return found, content_type


def _header_text(name: str, value: bytes | None) -> str:
    """UTF-8 and nothing else: percent-encoding is a rule of the HTTP binding, not of Kafka's (3.2.3)."""
    try:
        return (value or b"").decode()
    except UnicodeDecodeError as error:
        raise DecodeError(f"header {name} is not UTF-8 at byte {error.start}") from error


def _binary(
    record: Record, headers: Mapping[str, bytes | None], content_type: str, values: Values
) -> tuple[_Attributes, _Payload]:
    if not headers:
        raise DecodeError(
            "the record has neither ce_ headers nor the content type of a CloudEvent",
            cure=f"send CloudEvents, or write an `event` mapping for topic {record.topic}",
        )
    attributes = _header_attributes(headers)
    check_attributes(attributes)
    # Some producers repeat the content type as an attribute; both must name the declared format.
    for declared in (content_type, attributes.get("datacontenttype", "")):
        values.require(declared) if record.value is not None else require_media_type(declared)
    return attributes, _binary_payload(record, values)


def _header_attributes(headers: Mapping[str, bytes | None]) -> _Attributes:
    attributes: _Attributes = {}
    for header, value in headers.items():
        name = header.removeprefix(_PREFIX)
        if not is_attribute_name(name):
            raise DecodeError(
                f"header {header!r} names no attribute: ce_, then lower-case letters and digits"
            )
        if value is not None:
            attributes[name] = _header_text(header, value)
    return attributes


def _binary_payload(record: Record, values: Values) -> _Payload:
    if record.value is None:
        return _Payload()
    if not record.value:
        # "The representation of a CloudEvent with no data is a Kafka message with no value"
        # (3.2.2): zero bytes are data, and no JSON.
        raise DecodeError("the value is empty, which is not JSON", cure="send null for an event without data")
    data, schema = values.decode(record.value, record.headers)
    return _Payload(data, present=True, schema=schema)


def _structured(
    record: Record, content_type: str, values: Values, limits: Limits
) -> tuple[_Attributes, _Payload]:
    if media_type(content_type) != _STRUCTURED:  # without a suffix it can only be JSON
        require_json(content_type)
    values.require("application/json")
    members, schema = values.decode(record.value or b"", record.headers)
    if not isinstance(members, dict):
        raise DecodeError("the value is not a JSON object, as a structured CloudEvent is")
    payload_members = {name: members.pop(name) for name in ("data", "data_base64") if name in members}
    attributes = {name: _member_text(name, member) for name, member in members.items() if member is not None}
    check_attributes(attributes)
    content_type = attributes.get("datacontenttype", "")
    if "data" in payload_members or payload_members.get("data_base64") is not None:
        require_json(content_type)
    else:
        require_media_type(content_type)
    payload = _structured_payload(payload_members, content_type, limits)
    # The registry's schema is of the whole event; what its data is of, it says itself.
    return attributes, payload._replace(schema=attributes.get("dataschema", "") or schema)


def _member_text(name: str, member: Any) -> str:
    """The canonical text of an attribute; numbers and booleans only for extensions."""
    if not is_attribute_name(name):
        raise DecodeError("a member of the CloudEvent is not named in lower-case letters and digits")
    if isinstance(member, str):
        return member
    if name in CORE:
        raise DecodeError(f"attribute {name} is not a string")
    if isinstance(member, bool):
        return "true" if member else "false"
    if isinstance(member, int):
        return str(member)
    raise DecodeError(f"attribute {name} is neither a string, an integer nor a boolean")


def _structured_payload(members: Mapping[str, Any], content_type: str, limits: Limits) -> _Payload:
    encoded = members.get("data_base64")  # null is allowed by cloudevents.json and means unset
    if encoded is None:
        return _Payload(members.get("data"), present="data" in members)
    if "data" in members:
        raise DecodeError("the CloudEvent has both data and data_base64")
    if not content_type:
        # "The decoding MUST NOT make an assumption of JSON-formatted data" (JSON format, 3.1.2).
        raise DecodeError("data_base64 has no datacontenttype", cure="send datacontenttype application/json")
    return _Payload(parse_json(_base64(encoded), limits, what="data_base64"), present=True)


def _base64(text: Any) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (TypeError, ValueError) as error:
        raise DecodeError("data_base64 is not Base64") from error


def _result_headers(event: ResultEvent, content_type: str) -> Headers:
    attributes = {
        "ce_specversion": "1.0",
        "ce_id": event.id,
        "ce_source": event.source,
        "ce_type": event.type,
        "ce_subject": event.subject,
        "ce_time": event.time,
    }
    if not event.subject:
        del attributes["ce_subject"]  # an attribute that is set is never empty
    for name in event.headers:
        if name.lower() in _CORE_HEADERS:
            raise ValueError(f"header {name} of the result event is an attribute of its own")
    texts = {**attributes, _CONTENT_TYPE: content_type, **event.headers}
    return tuple((name, text.encode()) for name, text in texts.items())
