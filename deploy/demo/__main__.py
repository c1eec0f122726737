"""`make demo`: everything on this machine, shown to a newcomer. Ctrl-C leaves nothing behind."""

import argparse
import asyncio
import contextlib
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from aiokafka import AIOKafkaProducer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from deploy.demo.ledger import Ledger
from deploy.demo.stage import GROUP, LETTERS, ORDERS, RESULTS, TOPICS, Stage
from deploy.demo.story import Story
from service.errors import TurnoutError, first_reason
from service.lifecycle import leave
from service.local import KAFKA_PORT


def main() -> None:
    """Run the demo; exit 0 if everything that was promised came true."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--orders", type=int, default=100, help="how many to send during the kills (100)")
    orders = parser.parse_args().orders
    console = Console(soft_wrap=True)
    folder = Path(tempfile.mkdtemp(prefix="turnout-demo-"))
    try:
        code = asyncio.run(_demo(folder, console, orders))
    except KeyboardInterrupt:
        code = 130
    if code in (0, 130):
        shutil.rmtree(folder, ignore_errors=True)
    else:
        console.print(f"\nThe logs of all processes are kept in {folder}", highlight=False)
    leave(code)


async def _demo(folder: Path, console: Console, orders: int) -> int:
    _cancel_on_signals()
    stage = Stage(folder)
    for usual, port in stage.servers.moved.items():
        console.print(f"Port {usual} is taken; using {port} instead.", highlight=False)
    try:
        return await _on(stage, console, orders)
    except (TurnoutError, ExceptionGroup) as error:
        console.print(f"\n{first_reason(error)}", style="red", highlight=False, markup=False)
        return 1
    except asyncio.CancelledError:
        return 130
    finally:
        with console.status("stopping everything") if console.is_terminal else contextlib.nullcontext():
            await stage.close()


async def _on(stage: Stage, console: Console, orders: int) -> int:
    started = time.monotonic()
    with console.status("starting Kafka, Temporal, bridge, worker, neighbours"):
        await stage.open()
    servers = stage.servers
    parts = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in stage.times.items())
    where = (
        f"Kafka {servers.kafka.address}, Temporal {servers.temporal.address}, UI {servers.temporal.ui_url}"
    )
    console.print(f"Up in {time.monotonic() - started:.1f} s ({parts}). {where}", highlight=False)
    ledger = Ledger(stage.servers.kafka.address, [*TOPICS, LETTERS], stage.bridge_log)
    producer = AIOKafkaProducer(
        bootstrap_servers=stage.servers.kafka.address, acks="all", enable_idempotence=True
    )
    await producer.start()
    watching = asyncio.create_task(ledger.run())
    try:
        story = Story(stage, ledger, producer, console, orders=orders)
        await story.tell()
        if console.is_terminal and sys.stdin.isatty():
            await _stay(stage, ledger, console)
        return 1 if story.failures else 0
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await producer.stop()


async def _stay(stage: Stage, ledger: Ledger, console: Console) -> None:
    """Keep everything up, with one quiet line, until Ctrl-C."""
    console.print("\n[bold cyan]Now you[/] (in another terminal, in this folder)")
    for command in _commands(stage):
        console.print(f"  {command}", highlight=False, markup=False)
    started = time.monotonic()
    with Live(console=console, refresh_per_second=2) as live:
        while True:
            stage.check()
            results = len({s.id for s in ledger.sightings if s.topic == RESULTS})
            letters = sum(s.topic == LETTERS for s in ledger.sightings)
            orders = sum(s.topic == ORDERS for s in ledger.sightings)
            up = time.strftime("%H:%M:%S", time.gmtime(time.monotonic() - started))
            live.update(
                Text(
                    f"up {up}   order events {orders}   results {results}   letters {letters}   Ctrl-C ends",
                    "dim",
                )
            )
            await asyncio.sleep(0.5)


def _commands(stage: Stage) -> list[str]:
    port = stage.servers.kafka.port
    kafka = "" if port == KAFKA_PORT else f"TURNOUT_KAFKA__BOOTSTRAP_SERVERS={stage.servers.kafka.address} "
    data = (
        '{"order_id": "A-2001", "customer_id": "C-7", "lines": [{"sku": "LAMP", "quantity": 1, '
        '"price_cents": 4900}], "total_cents": 4900, "address": "1 Station Road", "card_token": "card-4242"}'
    )
    placed = "emit shop.orders --type shop.order.placed --subject A-2001"
    return [
        f"{kafka}.venv/bin/turnout {placed} --data '{data}'",
        f"{kafka}.venv/bin/turnout tail shop.results",
        f"{kafka}TURNOUT_GROUP={GROUP} .venv/bin/turnout letters list",
        f"tail -f {stage.bridge_log}",
        f"open {stage.servers.temporal.ui_url}",
    ]


def _cancel_on_signals() -> None:
    """The first signal ends the demo in good order, the second at once: the kernel ends the children."""
    task = asyncio.current_task()
    assert task is not None

    def on_signal(number: int) -> None:
        if task.cancelling():
            leave(128 + number)
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, on_signal, number)


if __name__ == "__main__":
    main()
