"""Records what the serializers of confluent-kafka write: `python -m tests.recorded.recording`.

Needs `confluent-kafka[avro,json]`, which the environment of the tests does not have: its serializers bring
thirty packages, and what they write changes with the wire format only.
"""

import datetime as dt
import decimal
import json
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "confluent-kafka-2.16.1.json"

ITEM: dict[str, Any] = {
    "type": "record",
    "name": "Item",
    "namespace": "shop",
    "fields": [{"name": "sku", "type": "string"}, {"name": "count", "type": "int"}],
}
ORDER: dict[str, Any] = {
    "type": "record",
    "name": "Order",
    "namespace": "shop",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "total", "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}},
        {"name": "placed", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "paid", "type": ["null", {"type": "long", "logicalType": "timestamp-micros"}]},
        {"name": "due", "type": {"type": "int", "logicalType": "date"}},
        {"name": "at", "type": {"type": "long", "logicalType": "time-micros"}},
        {"name": "uuid", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "photo", "type": "bytes"},
        {"name": "hash", "type": {"type": "fixed", "name": "Hash", "size": 4}},
        {"name": "state", "type": {"type": "enum", "name": "State", "symbols": ["NEW", "PAID"]}},
        {"name": "labels", "type": {"type": "map", "values": "double"}},
        {"name": "items", "type": {"type": "array", "items": "shop.Item"}},
        {"name": "largest", "type": "long"},
        {"name": "note", "type": ["null", "string"], "default": None},
    ],
}
WRITTEN = {
    "id": "A-1001",
    "total": decimal.Decimal("-1250.50"),
    "placed": dt.datetime(2026, 1, 31, 12, 0, 0, 123_000, tzinfo=dt.UTC),
    "paid": dt.datetime(2026, 1, 31, 12, 0, 1, 123_456, tzinfo=dt.UTC),
    "due": dt.date(2026, 2, 28),
    "at": dt.time(23, 59, 59, 999_999),
    "uuid": uuid.UUID("5b0c7e0a-6f43-5d0e-8a55-0d9c1f3f2a11"),
    "photo": b"\x00\xff\x10",
    "hash": b"\x01\x02\x03\x04",
    "state": "PAID",
    "labels": {"a": 0.5, "Zoë": -1.0},
    "items": [{"sku": "S-1", "count": 3}, {"sku": "S-2", "count": -1}],
    "largest": 2**63 - 1,
    "note": "Zoë",
}
MEANT = {
    "id": "A-1001",
    "total": "-1250.50",
    "placed": "2026-01-31T12:00:00.123Z",
    "paid": "2026-01-31T12:00:01.123456Z",
    "due": "2026-02-28",
    "at": "23:59:59.999999",
    "uuid": "5b0c7e0a-6f43-5d0e-8a55-0d9c1f3f2a11",
    "photo": "AP8Q",
    "hash": "AQIDBA==",
    "state": "PAID",
    "labels": {"a": 0.5, "Zoë": -1.0},
    "items": [{"sku": "S-1", "count": 3}, {"sku": "S-2", "count": -1}],
    "largest": 2**63 - 1,
    "note": "Zoë",
}
NO_NOTE = {"note": None}
ONE = {"sku": "S-1", "count": 3}
JSON_ITEM = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "$id": "http://shop.example/item.json",
    "title": "Item",
    "type": "object",
    "properties": {"sku": {"type": "string"}},
    "required": ["sku"],
}
JSON_ORDER = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "$id": "http://shop.example/order.json",
    "title": "Order",
    "type": "object",
    "properties": {"id": {"type": "string"}, "items": {"type": "array", "items": {"$ref": "item.json"}}},
    "required": ["id"],
}
JSON_DATA = {"id": "A-1001", "items": [{"sku": "Zoë"}]}


def main() -> None:
    """Write the file."""
    from confluent_kafka.schema_registry import (
        Schema,
        SchemaReference,
        SchemaRegistryClient,
        header_schema_id_serializer,
        prefix_schema_id_serializer,
    )
    from confluent_kafka.schema_registry.avro import AvroSerializer
    from confluent_kafka.schema_registry.json_schema import JSONSerializer
    from confluent_kafka.serialization import MessageField, SerializationContext

    registry = SchemaRegistryClient.new_client({"url": "mock://recording"})

    def schema(content: Any, type_: str, subject: str, name: str = "", uses: str = "") -> Schema:
        references = [SchemaReference(uses, f"{uses}-subject", 1)] if uses else []
        made = Schema(json.dumps(content), type_, references)
        registry.register_schema(subject, made)
        if name:
            registry.register_schema(f"{name}-subject", made)
        return made

    item = schema(ITEM, "AVRO", "items", name="shop.Item")
    order = schema(ORDER, "AVRO", "orders-value", uses="shop.Item")
    key = schema({"type": "string"}, "AVRO", "orders-key")
    union = schema(["null", "shop.Item"], "AVRO", "union-value", uses="shop.Item")
    json_item = schema(JSON_ITEM, "JSON", "json-items", name="item.json")
    json_order = schema(JSON_ORDER, "JSON", "json-orders-value", uses="item.json")
    used = {id(order): item, id(union): item, id(json_order): json_item}
    names = {id(order): "shop.Item", id(union): "shop.Item", id(json_order): "item.json"}
    cases: list[tuple[str, str, Schema, Any, Any, str, Callable[..., Any]]] = [
        ("avro", "value", order, WRITTEN, MEANT, "shop.Order", AvroSerializer),
        ("avro, null", "value", order, WRITTEN | NO_NOTE, MEANT | NO_NOTE, "shop.Order", AvroSerializer),
        ("avro key", "key", key, "A-1001", "A-1001", "", AvroSerializer),
        ("avro union", "value", union, ONE, ONE, "shop.Item", AvroSerializer),
        ("json-schema", "value", json_order, JSON_DATA, JSON_DATA, "Order", JSONSerializer),
    ]  # fmt: skip
    recorded = []
    for name, part, written_by, data, meant, full_name, serializer_of in cases:
        for where, put_id in (
            ("prefix", prefix_schema_id_serializer),
            ("header", header_schema_id_serializer),
        ):
            conf = {
                "auto.register.schemas": False,
                "use.latest.version": True,
                "schema.id.serializer": put_id,
                "subject.name.strategy": partial(_always, _subject(registry, written_by)),
            }
            args = (registry, None) if serializer_of is AvroSerializer else (written_by, registry)
            serializer = serializer_of(*args, conf=conf)
            headers: list[Any] = []
            context = SerializationContext(
                "orders", MessageField.KEY if part == "key" else MessageField.VALUE, headers
            )
            encoded = serializer(data, context)
            registered = registry.lookup_schema(_subject(registry, written_by), written_by)
            one = used.get(id(written_by))
            recorded.append(
                {
                    "name": f"{name}, id by {where}",
                    "part": part,
                    "type": written_by.schema_type,
                    "schema": written_by.schema_str,
                    "references": [[names[id(written_by)], one.schema_str]] if one else [],
                    "id": registered.schema_id,
                    "guid": registered.guid,
                    "bytes": encoded.hex(),
                    "headers": [[header, value.hex()] for header, value in headers],
                    "meant": meant,
                    "full_name": full_name,
                }
            )
    FILE.write_text(json.dumps(recorded, indent=1, ensure_ascii=False) + "\n")


def _always(subject: str, *_context: Any) -> str:
    return subject


def _subject(registry: Any, schema: Any) -> str:
    found = [one for one in registry.get_subjects() if _holds(registry, one, schema)]
    return str(found[0])


def _holds(registry: Any, subject: str, schema: Any) -> bool:
    return bool(registry.get_latest_version(subject).schema.schema_str == schema.schema_str)


if __name__ == "__main__":
    main()
