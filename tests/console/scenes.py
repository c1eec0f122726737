"""The demo in the states that an operator meets: done, waiting, failed, parked, paused, given up."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError

from deploy.demo.orders import headers, order, publish
from deploy.demo.stage import GROUP, ORDERS, Stage
from service.local import Child

PATIENCE = 60.0
PLACED = "shop.order.placed"
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
BECAUSE = "totals come in euros since noon"


class Shown(Stage):
    """The demo's processes, which know where traces and the runbook are."""

    @property
    def env(self) -> dict[str, str]:
        """The demo's settings, and these two."""
        return super().env | {
            "TURNOUT_TEMPORAL__TRACE_URL": "http://127.0.0.1:16686/trace/{trace_id}",
            "TURNOUT_TEMPORAL__RUNBOOK_URL": "http://127.0.0.1:8000/runbook#{route}",
        }


@asynccontextmanager
async def scenes(folder: Path) -> AsyncIterator[Shown]:
    """All processes, up and in those states."""
    stage = Shown(folder)
    try:
        await stage.open()
        await _play(stage)
        yield stage
    finally:
        await stage.close()


async def _play(stage: Shown) -> None:
    client = await Client.connect(stage.servers.temporal.address, data_converter=pydantic_data_converter)
    producer = AIOKafkaProducer(
        bootstrap_servers=stage.servers.kafka.address, acks="all", enable_idempotence=True
    )
    await producer.start()
    try:
        await _traced(producer, "A-1001")
        await publish(producer, ORDERS, PLACED, "A-1003", data=order("A-1003", card="card-declined"))
        await _until(client, "order/A-1001", lambda said: said["step"] == "fulfilled")
        await _until(client, "order/A-1003", lambda said: said["step"] == "rejected")
        await _neighbour(stage, "shipping").terminate(timedelta(seconds=5))
        await publish(producer, ORDERS, PLACED, "A-1006", data=order("A-1006"))
        await publish(producer, ORDERS, PLACED, "A-1005", data=b'{"order_id": "A-1005", ')
        await _invoice_paid(producer, "I-7")
        await _turnout(stage, "pause", "shop.products", "--because", BECAUSE)
        await _until(client, "order/A-1006", lambda said: "ship" in str(said).lower())
        await _until(client, f"parked/{GROUP}/invoice/I-7", lambda said: said["commands"] == 1)
        await _until(client, "customer/C-7", lambda said: said["purchases"] == 1)
        await _until(client, f"switchboard/{GROUP}", lambda said: BECAUSE in str(said))
    finally:
        await producer.stop()


async def _traced(producer: AIOKafkaProducer, order_id: str) -> None:
    context = ("traceparent", f"00-{TRACE_ID}-00f067aa0ba902b7-01".encode())
    await producer.send_and_wait(
        ORDERS,
        key=order_id.encode(),
        value=json.dumps(order(order_id)).encode(),
        headers=[*headers(PLACED, f"{PLACED}/{order_id}"), context],
    )


async def _invoice_paid(producer: AIOKafkaProducer, invoice_id: str) -> None:
    paid = {
        "event_id": f"paid/{invoice_id}",
        "order_id": "A-9",
        "invoice_id": invoice_id,
        "payment_id": "P-1",
    }
    await producer.send_and_wait(
        "payments.events",
        key=invoice_id.encode(),
        value=json.dumps(paid).encode(),
        headers=[("event-type", b"invoice.paid")],
    )


async def _turnout(stage: Shown, *words: str) -> None:
    argv = (sys.executable, "-m", "service", *words)
    done = await asyncio.create_subprocess_exec(*argv, env={**os.environ, **stage.env, "LOGNAME": "ada"})
    assert await done.wait() == 0


def _neighbour(stage: Shown, name: str) -> Child:
    return next(child for child in stage.neighbours if child.name == name)


async def _until(client: Client, workflow_id: str, so: Callable[[Any], bool]) -> None:
    """Wait until the query `status` of a workflow answers `so`."""
    said: Any = "nothing"
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                with suppress(RPCError):
                    said = await client.get_workflow_handle(workflow_id).query("status")
                    if so(said):
                        return
                await asyncio.sleep(0.1)
    except TimeoutError as error:
        raise TimeoutError(f"{workflow_id} still says {said}") from error
