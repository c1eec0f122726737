"""`make letters-soak LETTERS=n`: what `turnout letters` costs in time and memory where very many lie open.

One letter in a thousand is written twice, as after a crash. Fails where a command needs more memory than it
may.
"""

# ruff: noqa: T201 - talks to a terminal

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from aiokafka import AIOKafkaProducer

from service.errors import RejectedError
from service.failures.letters import About, Letters, letter_topic, letter_topic_settings
from service.kafka.record import Headers, Record, Written
from service.lifecycle import leave
from service.local import LocalTemporal
from tests.servers import ApacheKafka, create_topic, random_port

GROUP = "soak"
TOPIC = "soak.orders"
BOUND_MB = 300
WRITES_AT_ONCE = 5_000
COMMANDS = ("list", "send --all --dry-run", "discard --all --because soak", "list")
ROUTES = f"""version: 1
topics:
  {TOPIC}: {{}}
routes:
  - name: order-placed
    from: {TOPIC}
    type: placed
    start: {{workflow: Order, id: "order/${{data.id}}", task_queue: orders, input: "${{data}}"}}
"""


class _Taken:
    """A sink that keeps the headers it is given, to write them many times."""

    headers: Headers = ()

    async def send(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        spread: int | None = None,
    ) -> Written:
        self.headers = headers
        return Written(topic, 0, 0)


async def measure(letters: int, folder: Path) -> int:
    """Write so many letters and run the commands; 0 if all of them kept to the bound."""
    async with (
        ApacheKafka(folder / "kafka") as kafka,
        LocalTemporal(folder, random_port(), random_port(), keep=False) as temporal,
    ):
        await create_topic(kafka.address, TOPIC, partitions=1)
        await create_topic(kafka.address, letter_topic(GROUP), partitions=1, settings=letter_topic_settings())
        began = time.monotonic()
        await _write(kafka.address, letters)
        print(f"{letters} letters written in {time.monotonic() - began:.0f} s", flush=True)
        routes = folder / "routes.yaml"
        routes.write_text(ROUTES)
        env = {
            "TURNOUT_GROUP": GROUP,
            "TURNOUT_ROUTES": str(routes),
            "TURNOUT_KAFKA__BOOTSTRAP_SERVERS": kafka.address,
            "TEMPORAL_ADDRESS": temporal.address,
        }
        kept = [await asyncio.to_thread(_run, command, env, folder / "said") for command in COMMANDS]
    return 0 if all(kept) else 1


async def _write(kafka: str, letters: int) -> None:
    taken = _Taken()
    now = int(time.time() * 1000)
    own: Headers = (
        ("ce_specversion", b"1.0"),
        ("ce_id", b"e"),
        ("ce_source", b"/soak"),
        ("ce_type", b"placed"),
        ("content-type", b"application/json"),
    )
    first = Record(TOPIC, 0, 0, b"k", b"{}", own, now)
    about = About(route="order-placed", event_type="placed", workflow_id="order/1")
    await Letters(taken, GROUP).write(first, RejectedError("input is larger than max"), about)
    at = [name for name, _ in taken.headers].index("__dlq.errors.offset")
    producer = AIOKafkaProducer(bootstrap_servers=kafka, linger_ms=5, max_batch_size=1 << 18)
    await producer.start()
    try:
        pending: list[asyncio.Future[object]] = []
        for n in range(letters):
            offset = n - 50 if n % 1_000 == 999 else n
            headers = list(taken.headers)
            headers[at] = ("__dlq.errors.offset", b"%d" % offset)
            value = b'{"id":"%d"}' % n
            pending.append(
                await producer.send(letter_topic(GROUP), value, key=b"key-%d" % (n // 1_000), headers=headers)
            )
            if len(pending) >= WRITES_AT_ONCE:
                await asyncio.gather(*pending)
                pending = []
        await asyncio.gather(*pending)
    finally:
        await producer.stop()


def _run(command: str, env: Mapping[str, str], said: Path) -> bool:
    """Run it, and say how it went; whether it kept to the bound."""
    argv = [sys.executable, "-m", "service", "letters", *command.split()]
    began = time.monotonic()
    with said.open("w") as out:
        process = subprocess.Popen(argv, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **env})
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    megabytes = usage.ru_maxrss / 1024
    cpu = usage.ru_utime + usage.ru_stime
    print(
        f"turnout letters {command:30} exit {process.returncode}, {time.monotonic() - began:6.1f} s, "
        f"{cpu:6.1f} s of CPU, {megabytes:4.0f} MB at most",
        flush=True,
    )
    with said.open() as lines:
        first = lines.readline().rstrip()
        last = first
        for line in lines:
            last = line.rstrip() or last
    print(f"  {first}\n  {last}", flush=True)
    return process.returncode == 0 and megabytes < BOUND_MB


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="turnout-letters-") as folder_name:
        code = asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000, Path(folder_name)))
    leave(code)
