"""Everything that the demo runs: two servers, the bridge, the worker, three neighbours."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from service.errors import Unreachable
from service.failures.letters import HEADROOM_BYTES, letter_topic
from service.kafka.admin import Admin
from service.kafka.connection import Connection
from service.local import (
    HOST,
    KAFKA_PORT,
    TEMPORAL_PORT,
    TEMPORAL_UI_PORT,
    Child,
    LocalKafka,
    LocalTemporal,
    free_port,
)

ROOT = Path(__file__).parents[2]
GROUP = "demo"
ORDERS, RESULTS, LETTERS = "shop.orders", "shop.results", letter_topic(GROUP)
TOPICS = (ORDERS, RESULTS, "shop.requests", "stock.events", "payments.events", "shipping.events")
NEIGHBOURS = ("stock", "payment", "shipping")
LARGEST_RECORD_BYTES = 1_048_588


@dataclass
class Stage:
    """The demo's processes, with their data and logs in `folder`.

    `times` says how many seconds each part of the start took.
    """

    folder: Path
    kafka: LocalKafka
    temporal: LocalTemporal
    replaced: Mapping[int, int]
    times: dict[str, float] = field(default_factory=dict)

    @classmethod
    def build(cls, folder: Path) -> "Stage":
        """Choose ports; `replaced` says which usual ones were taken, and what is used instead."""
        wanted = (KAFKA_PORT, TEMPORAL_PORT, TEMPORAL_UI_PORT)
        kafka, temporal, ui = ports = tuple(map(free_port, wanted))
        replaced = {usual: port for usual, port in zip(wanted, ports, strict=True) if usual != port}
        return cls(folder, LocalKafka(folder, kafka), LocalTemporal(folder, temporal, ui), replaced)

    def __post_init__(self) -> None:
        """Name the processes; nothing is started."""
        turnout = (sys.executable, "-m", "service")
        self.bridge = Child("bridge", [*turnout, "bridge"], log_path=self._log("bridge"), env=self.env)
        self.worker = Child("worker", [*turnout, "worker"], log_path=self._log("worker"), env=self.env)
        self.neighbours = [self._neighbour(name) for name in NEIGHBOURS]

    @property
    def connection(self) -> Connection:
        """How to reach the demo's Kafka."""
        return Connection(self.kafka.address)

    @property
    def ui_url(self) -> str:
        """Where the Temporal UI is."""
        return f"http://{HOST}:{self.temporal.ui_port}"

    @property
    def env(self) -> dict[str, str]:
        """The settings of bridge and worker: the same that anyone would give them."""
        return {
            "TURNOUT_GROUP": GROUP,
            "TURNOUT_ROUTES": str(ROOT / "deploy/demo/routes"),
            "TURNOUT_KAFKA__BOOTSTRAP_SERVERS": self.kafka.address,
            # A static member: killed and started again, it goes on at once.
            "TURNOUT_KAFKA__GROUP_INSTANCE_ID": "demo-1",
            "TURNOUT_TEMPORAL__UI_URL": self.ui_url,
            "TURNOUT_WORKER__MODULES": "workflows.shop,activities.shop",
            "TURNOUT_WORKER__TASK_QUEUE": "orders",
            "TURNOUT_LOG__FORMAT": "json",
            "TEMPORAL_ADDRESS": self.temporal.address,
            "TEMPORAL_NAMESPACE": "default",
        }

    async def open(self) -> None:
        """Start all of it; returns when everything is ready.

        Raises:
            Unreachable: A server does not come up; the text ends with its last log lines.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._timed("Kafka", self.kafka.start()))
            tasks.create_task(self._timed("Temporal", self.temporal.start()))
        await self._timed("topics", self._create_topics())
        await self._timed("bridge, worker, neighbours", self._start_the_rest())

    async def _start_the_rest(self) -> None:
        for child in (self.worker, self.bridge, *self.neighbours):
            child.start()
        while not all(_says(child, "ready") for child in (self.worker, self.bridge)):
            self.check()
            await asyncio.sleep(0.05)

    async def close(self) -> None:
        """End all of it, first those that use the others."""
        users = (self.bridge, self.worker, *self.neighbours)
        await asyncio.gather(*(child.terminate(timedelta(seconds=5)) for child in users))
        await asyncio.gather(self.temporal.stop(), self.kafka.stop())

    def check(self) -> None:
        """Complain when a process has ended by itself.

        Raises:
            Unreachable: It has; the text ends with its last log lines.
        """
        for child in (self.bridge, self.worker, *self.neighbours):
            if not child.alive:
                msg = f"{child.name} ended with exit code {child.returncode}:\n{child.tail()}"
                raise Unreachable(msg)

    async def kill_and_restart(self, what: str) -> None:
        """SIGKILL one of bridge, worker, Temporal, and start it again half a second later."""
        if what == "Temporal":
            self.temporal.kill()
            await asyncio.sleep(0.5)
            await self.temporal.start()
            return
        child = {"bridge": self.bridge, "worker": self.worker}[what]
        child.kill()
        await asyncio.sleep(0.5)
        child.start()

    async def _create_topics(self) -> None:
        async with Admin.connected(self.connection) as admin:
            await admin.create_topics(TOPICS, partitions=3)
            room = {"max.message.bytes": str(LARGEST_RECORD_BYTES + HEADROOM_BYTES)}
            await admin.create_topics([LETTERS], partitions=1, settings=room)

    async def _timed(self, name: str, work: Awaitable[None]) -> None:
        started = time.monotonic()
        await work
        self.times[name] = time.monotonic() - started

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _neighbour(self, name: str) -> Child:
        argv = [
            sys.executable,
            "-m",
            "deploy.demo.neighbours",
            name,
            "--bootstrap-servers",
            self.kafka.address,
        ]
        return Child(name, argv, log_path=self._log(name), cwd=ROOT)


def _says(child: Child, text: str) -> bool:
    return f'{child.name} {text}"' in child.log_path.read_text()
