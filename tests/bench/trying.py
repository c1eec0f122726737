"""`make try-bench RECORDS=n`: what `turnout routes try` costs in time and memory on very many records.

They are orders as CloudEvents, over three partitions; the routes are five, tried alone, and against others.
Fails where a command needs more memory than it may.
"""

# ruff: noqa: T201 - talks to a terminal

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from aiokafka import AIOKafkaProducer

from service.lifecycle import leave
from tests.servers import ApacheKafka, create_topic

TOPIC = "bench.orders"
PARTITIONS = 3
BOUND_MB = 300
WRITES_AT_ONCE = 5_000
KINDS = ("placed", "placed", "placed", "changed", "withdrawn")
ROUTES = f"""version: 1
topics:
  {TOPIC}: {{unmatched: skip}}
task_queues:
  customers: {{inbox: true}}
routes:
  - name: order-placed
    from: {TOPIC}
    type: placed
    start:
      workflow: OrderFulfilment
      id: order/${{data.order_id}}
      task_queue: orders
      input: ${{data}}
      running: skip
      contract: {{type: object, required: [order_id, lines], properties: {{lines: {{type: array}}}}}}
      summary: ${{event.type}} from ${{record.topic}}[${{record.partition}}]@${{record.offset}}
  - name: points-earned
    from: {TOPIC}
    type: placed
    when: has(data.customer_id)
    signal:
      to: customer/${{data.customer_id}}
      name: points_earned
      input: ${{data}}
      batch: true
      or_start: {{workflow: Customer, task_queue: customers, input: {{customer_id: "${{data.customer_id}}"}}}}
  - name: large-order-placed
    from: {TOPIC}
    type: placed
    when: data.total_cents > 15000
    start: {{workflow: Review, id: "review/${{data.order_id}}", task_queue: orders, input: "${{data}}"}}
  - name: order-changed
    from: {TOPIC}
    type: changed
    signal: {{to: "order/${{data.order_id}}", name: changed, input: "${{data}}", missing: {{park: 15m}}}}
  - name: order-withdrawn
    from: {TOPIC}
    type: withdrawn
    cancel: {{to: "order/${{data.order_id}}", reason: withdrawn, closed: skip}}
"""
CHANGED = (
    ROUTES.replace("order/${data.order_id}", "orders/${data.order_id}", 1)
    .replace("> 15000", "> 5000")
    .replace("required: [order_id,", "required: [order_id, voucher,")
)


def order(number: int) -> bytes:
    """One of several hundred bytes."""
    lines = [
        {"sku": f"sku-{number % 97}-{line}", "quantity": (number + line) % 10 + 1, "unit_cents": 995}
        for line in range(3)
    ]
    return json.dumps(
        {
            "order_id": f"A-{number}",
            "customer_id": f"C-{number % 5_000}",
            "currency": "EUR" if number % 20 else "SEK",
            "total_cents": number % 20_000,
            "lines": lines,
            "ship_to": {"name": "Ada Lovelace", "street": "12 St James's Square", "city": "London"},
            **({"voucher": "V-7"} if number % 3 else {}),
        }
    ).encode()


async def measure(records: int, folder: Path) -> int:
    """Write so many records and try routes on them; 0 if that kept to the bound."""
    async with ApacheKafka(folder / "kafka") as kafka:
        await create_topic(kafka.address, TOPIC, partitions=PARTITIONS)
        await _write(kafka.address, records)
        for name, text in {"running": ROUTES, "changed": CHANGED}.items():
            (folder / name).mkdir()
            (folder / name / "routes.yaml").write_text(text)
        env = {
            "TURNOUT_ROUTES": str(folder / "nowhere"),
            "TURNOUT_KAFKA__BOOTSTRAP_SERVERS": kafka.address,
            "COLUMNS": "140",
        }
        commands = (
            f"{folder}/running --last {records}",
            f"{folder}/changed --last {records} --against {folder}/running",
        )
        kept = [await asyncio.to_thread(_run, command, env, folder / "said") for command in commands]
    return 0 if all(kept) else 1


async def _write(kafka: str, records: int) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka, linger_ms=5, max_batch_size=1 << 18)
    await producer.start()
    try:
        pending: list[asyncio.Future[object]] = []
        for n in range(records):
            headers = [
                ("ce_specversion", b"1.0"),
                ("ce_id", b"e-%d" % n),
                ("ce_source", b"/shop"),
                ("ce_type", KINDS[n % len(KINDS)].encode()),
                ("ce_time", b"2026-01-31T12:00:00Z"),
                ("content-type", b"application/json"),
                ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            ]
            pending.append(await producer.send(TOPIC, order(n), key=b"A-%d" % n, headers=headers))
            if len(pending) >= WRITES_AT_ONCE:
                await asyncio.gather(*pending)
                pending = []
        await asyncio.gather(*pending)
    finally:
        await producer.stop()


def _run(command: str, env: Mapping[str, str], said: Path) -> bool:
    """Run it, and say how it went; whether it kept to the bound."""
    argv = [sys.executable, "-m", "service", "routes", "try", *command.split()]
    began = time.monotonic()
    with said.open("w") as out:
        process = subprocess.Popen(argv, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **env})
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    megabytes = usage.ru_maxrss / 1024
    print(
        f"exit {process.returncode}, {time.monotonic() - began:.1f} s, "
        f"{usage.ru_utime + usage.ru_stime:.1f} s of CPU, {megabytes:.0f} MB at most\n{said.read_text()}",
        flush=True,
    )
    return process.returncode in {0, 1} and megabytes < BOUND_MB


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="turnout-try-") as folder_name:
        code = asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000, Path(folder_name)))
    leave(code)
