"""`make compose-test`: deploy/compose.yaml with images made here; an order goes all the way round.

Needs Compose 2.20 or newer: as `docker compose`, or as the program that the variable COMPOSE names. Takes
minutes the first time, since Temporal's server is compiled. It is no part of the gate.
"""

import asyncio
import os
import shlex
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from temporalio.client import Client

from deploy.demo.orders import order, publish
from tests.docker.engine import engine, why_no_engine
from tests.docker.images import images_for_compose, why_no_images
from tests.servers import random_port

DEPLOY = Path(__file__).parents[2] / "deploy"
ORDER = "A-4711"
UP_SECONDS = 300
RESULT_SECONDS = 60


def main() -> int:
    """Start all of it, twice; follow an order; end all of it. Exit 0 if all of that came true."""
    if missing := why_no_engine() or why_no_images():
        sys.stderr.write(f"compose-test needs {missing}\n")
        return 3
    with engine():
        ports = {name: str(random_port()) for name in ("KAFKA_PORT", "TEMPORAL_PORT", "UI_PORT")}
        environment = {**os.environ, **images_for_compose(), **ports, "COMPOSE_PROJECT_NAME": "turnout-test"}
        # The secrets of a stage that someone runs from this folder are used as well, and stay.
        subprocess.run([DEPLOY / "compose" / "secrets.sh"], check=True)
        command = shlex.split(os.environ.get("COMPOSE", "docker compose"))

        def compose(*words: str, told: bool = False) -> str:
            argv = [*command, "--file", str(DEPLOY / "compose.yaml"), *words]
            stdout = subprocess.PIPE if told else None
            done = subprocess.run(
                argv, check=True, env=environment, stdin=subprocess.DEVNULL, stdout=stdout, timeout=UP_SECONDS
            )
            return done.stdout.decode() if told else ""

        try:
            _try(compose, ports)
        except BaseException:
            compose("ps", "--all")
            compose("logs", "--no-color", "--tail=30")
            raise
        finally:
            compose("down", "--volumes", "--timeout=40")
    return 0


def _try(compose: Callable[..., str], ports: Mapping[str, str]) -> None:
    compose("up", "--wait", "--no-build", "--quiet-pull")
    # What is there already stays as it is: the jobs that set things up run again.
    compose("up", "--wait", "--no-build", "--quiet-pull")
    asyncio.run(_follow_an_order(f"127.0.0.1:{ports['KAFKA_PORT']}", f"127.0.0.1:{ports['TEMPORAL_PORT']}"))
    with urllib.request.urlopen(
        f"http://127.0.0.1:{ports['UI_PORT']}/api/v1/namespaces/default/workflows"
    ) as page:
        assert f"order/{ORDER}".encode() in page.read()
    compose("stop", "--timeout=40", "bridge", "worker")
    codes = compose("ps", "--all", "--format={{.Service}} {{.ExitCode}}", "bridge", "worker", told=True)
    assert sorted(codes.splitlines()) == ["bridge 0", "worker 0"], codes
    sys.stdout.write(
        "the order came back, its workflow is in the UI, a second `up` changed nothing, a stop is clean\n"
    )


async def _follow_an_order(kafka: str, temporal: str) -> None:
    async with (
        AIOKafkaConsumer("shop.results", bootstrap_servers=kafka, auto_offset_reset="earliest") as results,
        AIOKafkaProducer(bootstrap_servers=kafka, acks="all") as producer,
    ):
        await publish(producer, "shop.orders", "shop.order.placed", ORDER, data=order(ORDER))
        async with asyncio.timeout(RESULT_SECONDS):
            async for record in results:
                if record.key == ORDER.encode() and ("ce_type", b"shop.order.fulfilled") in record.headers:
                    break
    client = await Client.connect(temporal)
    described = await client.get_workflow_handle(f"order/{ORDER}").describe()
    assert described.search_attributes["TurnoutRoute"] == ["order-placed"]


if __name__ == "__main__":
    sys.exit(main())
