"""The orders of the demo, and how a service places them: as events, knowing nothing of Temporal."""

import json
from typing import Any

from aiokafka import AIOKafkaProducer

Headers = list[tuple[str, bytes]]


def order(order_id: str, *, sku: str = "LAMP", card: str = "card-4242") -> dict[str, Any]:
    """Two lines of goods for one customer."""
    lines = [
        {"sku": sku, "quantity": 1, "price_cents": 4_900},
        {"sku": "BULB", "quantity": 2, "price_cents": 350},
    ]
    return {
        "order_id": order_id,
        "customer_id": "C-7",
        "lines": lines,
        "total_cents": 5_600,
        "address": "1 Station Road",
        "card_token": card,
    }


def headers(type_: str, event_id: str) -> Headers:
    """CloudEvents in binary mode."""
    attributes = {"specversion": "1.0", "id": event_id, "source": "demo/shop", "type": type_}
    texts = {f"ce_{name}": value for name, value in attributes.items()} | {"content-type": "application/json"}
    return [(name, value.encode()) for name, value in texts.items()]


async def publish(
    producer: AIOKafkaProducer, topic: str, type_: str, order_id: str, *, data: Any, event_id: str = ""
) -> str:
    """Write one event and return where it lies, as `topic[partition]@offset`."""
    value = data if isinstance(data, bytes) else json.dumps(data).encode()
    event_headers = headers(type_, event_id or f"{type_}/{order_id}")
    written = await producer.send_and_wait(topic, key=order_id.encode(), value=value, headers=event_headers)
    return f"{written.topic}[{written.partition}]@{written.offset}"
