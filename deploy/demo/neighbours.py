"""The shop's neighbours: stock, payment and shipping, which know topics and nothing else.

Each is a process of its own: `python -m deploy.demo.neighbours stock --bootstrap-servers HOST:PORT`.
It reads `shop.requests`, answers what is asked of it and ignores the rest, what undoes a request
included. An answer carries the correlation of its request. Each writes events in another form, as
neighbours do:

* stock: `stock.events`, CloudEvents in binary mode. An article whose name starts with `RARE` lacks
  the first time an order line asks for it, and is there the next time.
* payment: `payments.events`, plain JSON whose type is in a header. The card `card-declined` is declined.
* shipping: `shipping.events`, CloudEvents in structured mode; the correlation is an attribute.

An answer's id is made of its request's id, so an answer that is given twice is the same event twice.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import signal
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID, uuid5

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord
from aiokafka.errors import KafkaError

REQUESTS = "shop.requests"
TIMES_LACKING = 1
DECLINED_CARD = "card-declined"

IDLE_LIMIT_S = 120.0
SEND_LIMIT_S = 30.0
COMMIT_LIMIT_S = 10.0
STOP_LIMIT_S = 0.5

_ANSWERS = UUID("5c1d8f5e-8a37-5d0b-8b0c-3a2d7f0e9c44")

Headers = list[tuple[str, bytes]]
Client = TypeVar("Client", AIOKafkaConsumer, AIOKafkaProducer)


@dataclass(frozen=True, slots=True)
class Request:
    """What the shop asks, as a neighbour sees it."""

    id: str
    type: str
    data: Mapping[str, Any]
    correlation: str = ""
    trace: Headers = field(default_factory=list)

    @property
    def answer_id(self) -> str:
        """The id of the event that answers it."""
        return str(uuid5(_ANSWERS, self.id))

    @property
    def copied(self) -> Headers:
        """The headers that go into the answer as they are."""
        return [("correlation", self.correlation.encode()), *self.trace]


@dataclass(frozen=True, slots=True)
class Answer:
    """A record that answers a request."""

    topic: str
    key: bytes
    value: bytes
    headers: Headers


Neighbour = Callable[[Request], Answer | None]
"""Answers a request, or returns None to one that is not meant for it."""


@dataclass
class Stock:
    """Sets articles aside; remembers in memory which requests an order line made for a rare one."""

    _asked: defaultdict[tuple[str, int], list[str]] = field(default_factory=lambda: defaultdict(list))

    def __call__(self, request: Request) -> Answer | None:
        """Answer a request for stock."""
        if request.type != "shop.stock.requested":
            return None
        reserved = self._is_there(request)
        data = {
            "order_id": request.data["order_id"],
            "request_id": request.id,
            "line": request.data["line"],
            "sku": request.data["sku"],
            "reserved": reserved,
        }
        attributes = _attributes(request, "stock.reserved" if reserved else "stock.lacking", "demo/stock")
        headers = [(f"ce_{name}", value.encode()) for name, value in attributes.items()]
        headers += [("content-type", b"application/json"), *request.copied]
        return Answer("stock.events", _key(request), _json(data), headers)

    def _is_there(self, request: Request) -> bool:
        if not request.data["sku"].startswith("RARE"):
            return True
        asked = self._asked[request.data["order_id"], request.data["line"]]
        # A request that Kafka delivers again is not another one: it gets the answer it got before.
        if request.id not in asked:
            asked.append(request.id)
        return asked.index(request.id) >= TIMES_LACKING


def payment(request: Request) -> Answer | None:
    """Answer a request to charge a card."""
    if request.type != "shop.payment.requested":
        return None
    declined = request.data["card_token"] == DECLINED_CARD
    data = {
        "event_id": request.answer_id,
        "order_id": request.data["order_id"],
        "request_id": request.id,
        "amount_cents": request.data["amount_cents"],
        "reason": "declined by the bank" if declined else "",
    }
    headers = [("event-type", b"payment.declined" if declined else b"payment.captured"), *request.copied]
    return Answer("payments.events", _key(request), _json(data), headers)


def shipping(request: Request) -> Answer | None:
    """Answer a request to ship a parcel."""
    if request.type != "shop.shipping.requested":
        return None
    event = _attributes(request, "shipping.shipped", "demo/shipping") | {
        "correlation": request.correlation,
        "datacontenttype": "application/json",
        "data": {
            "order_id": request.data["order_id"],
            "request_id": request.id,
            "tracking": f"PARCEL-{request.answer_id[:8]}",
        },
    }
    headers = [("content-type", b"application/cloudevents+json"), *request.trace]
    return Answer("shipping.events", _key(request), _json(event), headers)


def read_request(headers: Sequence[tuple[str, bytes]], value: bytes | None) -> Request | None:
    """Read a CloudEvent in binary mode; None for what is none, since others may write there too."""
    attributes = dict(headers)
    try:
        data = json.loads(value or b"")
        id_, type_ = attributes["ce_id"].decode(), attributes["ce_type"].decode()
    except (KeyError, ValueError):
        return None
    trace = [(name, text) for name, text in headers if name in {"traceparent", "tracestate"}]
    correlation = attributes.get("correlation", b"").decode(errors="replace")
    return Request(id_, type_, data, correlation, trace) if isinstance(data, dict) else None


def answers(neighbour: Neighbour, records: Iterable[ConsumerRecord[bytes, bytes]]) -> list[Answer]:
    """All answers of `neighbour` to `records`, in their order."""
    given = (_answer(neighbour, read_request(record.headers, record.value)) for record in records)
    return [answer for answer in given if answer]


def _answer(neighbour: Neighbour, request: Request | None) -> Answer | None:
    try:
        return neighbour(request) if request else None
    except (KeyError, TypeError, AttributeError):
        # Not what the shop would ask. A real neighbour makes a letter of it; this one passes over
        # it, because stopping here would leave every later order without an answer.
        return None


def _attributes(request: Request, type_: str, source: str) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": request.answer_id,
        "source": source,
        "type": type_,
        "subject": request.data["order_id"],
    }


def _key(request: Request) -> bytes:
    return str(request.data["order_id"]).encode()


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


async def _serve(name: str, neighbour: Neighbour, bootstrap_servers: str) -> None:
    """Answer for ever; start anew with new clients when anything goes wrong with the old ones."""
    while True:
        # The one cure for everything that the clients do not recover from by themselves. Nothing is
        # lost by it: what is not committed is read and answered again, with the same ids.
        with contextlib.suppress(KafkaError, OSError, TimeoutError):
            await _answer_until_broken(name, neighbour, bootstrap_servers)
        await asyncio.sleep(1)


async def _answer_until_broken(name: str, neighbour: Neighbour, bootstrap_servers: str) -> None:
    async with (
        _started(_producer(bootstrap_servers)) as producer,
        _started(_consumer(name, bootstrap_servers)) as consumer,
    ):
        while True:
            records = await asyncio.wait_for(_next_records(consumer), IDLE_LIMIT_S)
            await asyncio.wait_for(_send(producer, answers(neighbour, records)), SEND_LIMIT_S)
            # Only now: a request is done when its answer is acknowledged. With a limit, since
            # `commit` tries for ever while the broker is down.
            await asyncio.wait_for(consumer.commit(), COMMIT_LIMIT_S)


def _producer(bootstrap_servers: str) -> AIOKafkaProducer:
    # Not idempotent: aiokafka's idempotent producer never recovers once a broker has forgotten it
    # (aiokafka #1017), and its sends never time out. A repeat is harmless here, it has the same id.
    return AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers, acks="all", enable_idempotence=False, request_timeout_ms=10_000
    )


def _consumer(name: str, bootstrap_servers: str) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        REQUESTS,
        bootstrap_servers=bootstrap_servers,
        group_id=f"demo-{name}",
        # With autocommit `stop` hangs while the broker is down; with `latest` a request made before
        # the first start would never be answered.
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        request_timeout_ms=10_000,
    )


@contextlib.asynccontextmanager
async def _started(client: Client) -> AsyncIterator[Client]:
    try:
        await client.start()
        yield client
    finally:
        await _stop(client)


async def _stop(client: AIOKafkaConsumer | AIOKafkaProducer) -> None:
    """Stop in bounded time: `stop` hangs while the broker is down, or raises CancelledError by itself."""
    stopping = asyncio.ensure_future(client.stop())
    await asyncio.wait({stopping}, timeout=STOP_LIMIT_S)
    stopping.cancel()


async def _next_records(consumer: AIOKafkaConsumer) -> list[ConsumerRecord[bytes, bytes]]:
    """Wait for records. Whoever cancels it must drop the consumer, whose poll watchdog is dead then."""
    while True:
        batches = await consumer.getmany(timeout_ms=1_000)
        if batches:
            return [record for records in batches.values() for record in records]


async def _send(producer: AIOKafkaProducer, given: Iterable[Answer]) -> None:
    """Return once all are acknowledged."""
    sent = [
        await producer.send(answer.topic, key=answer.key, value=answer.value, headers=answer.headers)
        for answer in given
    ]
    await asyncio.gather(*sent)


async def _run(name: str, neighbour: Neighbour, bootstrap_servers: str) -> None:
    serving = asyncio.ensure_future(_serve(name, neighbour, bootstrap_servers))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, serving.cancel)
    print(f"{name}: answers requests from {bootstrap_servers}", file=sys.stderr, flush=True)
    with contextlib.suppress(asyncio.CancelledError):
        await serving
    print(f"{name}: stopped", file=sys.stderr, flush=True)


def main() -> None:
    """Run one neighbour until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m deploy.demo.neighbours", description=__doc__)
    parser.add_argument("neighbour", choices=("stock", "payment", "shipping"))
    parser.add_argument("--bootstrap-servers", required=True, help="HOST:PORT of Kafka")
    arguments = parser.parse_args()
    # The client reports each lost connection, and the demo takes brokers away on purpose.
    logging.disable()
    neighbours: dict[str, Neighbour] = {"stock": Stock(), "payment": payment, "shipping": shipping}
    asyncio.run(_run(arguments.neighbour, neighbours[arguments.neighbour], arguments.bootstrap_servers))


if __name__ == "__main__":
    main()
