"""Events of producers that do not send CloudEvents: attributes by templates."""

from collections.abc import Mapping
from typing import Any

from service.errors import RouteError
from service.events.attributes import is_attribute_text
from service.events.codec import Decoded
from service.events.envelope import MappedEnvelope
from service.events.event import Event, EventKey
from service.events.headers import text_headers
from service.events.timestamps import is_rfc_3339, rfc_3339
from service.events.values import Values
from service.expressions import Template
from service.kafka.record import Record


def decode_mapped(
    record: Record, record_key: Any, envelope: MappedEnvelope, values: Values, cluster_id: str
) -> Event:
    """The event in `record`, its attributes by the templates of `envelope`; a null value is no data.

    Raises:
        DecodeError: The value is not what its topic declares, or a content type names another format.
        SchemaNeeded: A schema is needed that is not fetched yet.
        RouteError: A template has no result, or one that cannot be that attribute.
    """
    headers = text_headers(record.headers)
    for name, text in headers.items():
        if name.lower() == "content-type":
            values.require(text)
    value = record.value
    data, schema = Decoded(None) if value is None else values.decode(value, record.headers)
    mapped = _Attributes(_variables(record, record_key, data, headers, schema))
    mapped_id = mapped.optional("id", envelope.id)
    return Event(
        key=_key(record, mapped_id, cluster_id),
        id=mapped_id or f"{record.topic}/{record.partition}/{record.offset}",
        source=mapped.optional("source", envelope.source) or record.topic,
        type=mapped.text("type", envelope.type),
        subject=mapped.optional("subject", envelope.subject),
        time=mapped.time(envelope.time) or rfc_3339(record.timestamp_ms),
        data=data,
        has_data=record.value is not None,
        record=record,
        headers=headers,
        record_key=record_key,
        schema=schema,
    )


class _Attributes:
    """Attributes of one record."""

    def __init__(self, variables: Mapping[str, Any]) -> None:
        self._variables = variables

    def text(self, name: str, template: Template) -> str:
        try:
            text = template.text(self._variables)
        except RouteError as error:
            raise RouteError(f"event.{name}: {error.reason}", cure=error.cure) from error
        if not is_attribute_text(text):
            raise RouteError(f"event.{name} holds a control character or a noncharacter")
        return text

    def optional(self, name: str, template: Template | None) -> str:
        return self.text(name, template) if template else ""

    def time(self, template: Template | None) -> str:
        time = self.optional("time", template)
        if time and not is_rfc_3339(time):
            raise RouteError(
                "event.time is not RFC 3339", cure="map a text like 2026-01-31T12:00:00Z, or leave `time` out"
            )
        return time


def _key(record: Record, mapped_id: str, cluster_id: str) -> EventKey:
    if mapped_id:
        return (record.topic, mapped_id)
    # The cluster and the timestamp keep a place apart from the same place of another cluster, or
    # of a topic that was deleted and made again.
    return (cluster_id, record.topic, record.partition, record.offset, record.timestamp_ms)


def _variables(
    record: Record, record_key: Any, data: Any, headers: Mapping[str, str], schema: str
) -> dict[str, Any]:
    return {
        "data": data,
        "headers": headers,
        "record.topic": record.topic,
        "record.partition": record.partition,
        "record.offset": record.offset,
        "record.key": record_key,
        "record.timestamp": record.timestamp_ms,
        "record.schema": schema,
    }
