"""A service that knows only topics: it answers each request with how long its subject is.

Called with: bootstrap servers, its group, the topic of requests, the topic of replies.
"""

import json
import sys

from confluent_kafka import Consumer, Message, Producer

COPIED = ("ce_subject", "correlation", "traceparent", "tracestate")
"""What a reply takes over from its request, byte for byte; all but `correlation` may be absent."""


def main(bootstrap: str, group: str, requests: str, replies: str) -> None:
    """Answer until it is ended."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
    consumer.subscribe([requests])
    while True:
        request = consumer.poll(1.0)
        if request is None:
            continue
        if request.error():
            raise RuntimeError(str(request.error()))
        answer(request, producer, replies)
        # Only what is answered: after a crash a request is read again, and answered with the same id.
        consumer.commit(message=request, asynchronous=False)


def answer(request: Message, producer: Producer, replies: str) -> None:
    """Publish the reply, if it is a request; it is in Kafka when this returns."""
    texts = dict(request.headers() or [])
    headers = {name: value for name, value in texts.items() if isinstance(value, bytes)}
    if headers.get("ce_type") != b"asked":
        return  # what takes a request back, and all that comes one day
    reply = {name: headers[name] for name in COPIED if name in headers} | {
        "ce_specversion": b"1.0",
        "ce_id": headers["ce_id"] + b"/reply",
        "ce_source": b"/services/python",
        "ce_type": b"answered",
        "content-type": b"application/json",
    }
    value = json.dumps({"n": len(headers["ce_subject"].decode())}).encode()
    producer.produce(replies, key=request.key(), value=value, headers={**reply})
    if left := producer.flush(30):
        raise RuntimeError(f"{left} replies were not acknowledged")


if __name__ == "__main__":
    main(*sys.argv[1:])
