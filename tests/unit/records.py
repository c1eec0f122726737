"""Records for tests."""

from service.events.event import Event
from service.kafka.record import Headers, Record


def record(
    offset: int = 0,
    *,
    topic: str = "shop.orders",
    partition: int = 0,
    key: bytes | None = b"A-1",
    value: bytes | None = b"{}",
    headers: Headers = (),
    timestamp_ms: int = 1_790_000_000_000,
) -> Record:
    return Record(topic, partition, offset, key, value, headers, timestamp_ms)


def event(
    id: str = "e-1",  # noqa: A002
    *,
    of: Record | None = None,
    type: str = "shop.order.placed",  # noqa: A002
    data: object = None,
    source: str = "/shop",
) -> Event:
    return Event(
        key=(source, id),
        id=id,
        source=source,
        type=type,
        subject="",
        time="2026-11-01T10:00:00Z",
        data=data if data is not None else {},
        has_data=True,
        record=of or record(),
    )
