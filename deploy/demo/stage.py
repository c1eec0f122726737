"""Everything that the demo runs: two servers, the bridge, the worker, three neighbours."""

import asyncio
import sys
import time
from collections.abc import Awaitable
from datetime import timedelta
from pathlib import Path

from service.errors import Unreachable
from service.failures.letters import letter_topic, letter_topic_settings
from service.kafka.admin import Admin
from service.kafka.connection import Connection
from service.local import Child, LocalServers

ROOT = Path(__file__).parents[2]
GROUP = "demo"
ORDERS, RESULTS, LETTERS = "shop.orders", "shop.results", letter_topic(GROUP)
TOPICS = (
    ORDERS,
    RESULTS,
    "shop.requests",
    "shop.products",
    "stock.events",
    "payments.events",
    "shipping.events",
    "till.receipts",
)
NEIGHBOURS = ("stock", "payment", "shipping")


class Stage:
    """The demo's processes, with their data and logs in `folder`.

    `times` says how many seconds each part of the start took.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.servers = LocalServers(folder)
        self.times: dict[str, float] = {}
        turnout = (sys.executable, "-m", "service")
        self.bridge_log = self._log("bridge")
        self.bridge = Child("bridge", [*turnout, "bridge"], log_path=self.bridge_log, env=self.env)
        self.worker = Child("worker", [*turnout, "worker"], log_path=self._log("worker"), env=self.env)
        self.neighbours = [self._neighbour(name) for name in NEIGHBOURS]

    @property
    def connection(self) -> Connection:
        """How to reach the demo's Kafka."""
        return Connection(self.servers.kafka.address)

    @property
    def env(self) -> dict[str, str]:
        """The settings of bridge and worker: the same that anyone would give them."""
        return self.servers.env | {
            "TURNOUT_GROUP": GROUP,
            "TURNOUT_ROUTES": str(ROOT / "deploy/demo/routes"),
            # A static member: killed and started again, it goes on at once.
            "TURNOUT_KAFKA__GROUP_INSTANCE_ID": "demo-1",
            "TURNOUT_WORKER__MODULES": "workflows.shop,activities.shop",
            "TURNOUT_WORKER__TASK_QUEUE": "orders",
            "TURNOUT_LOG__FORMAT": "json",
        }

    async def open(self) -> None:
        """Start all of it; returns when everything is ready.

        Raises:
            Unreachable: A server does not come up; the text ends with its last log lines.
        """
        await self._timed("Kafka and Temporal", self.servers.start())
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
        await self.servers.stop()

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
            self.servers.temporal.kill()
            await asyncio.sleep(0.5)
            await self.servers.temporal.start()
            return
        child = {"bridge": self.bridge, "worker": self.worker}[what]
        child.kill()
        await asyncio.sleep(0.5)
        child.start()

    async def _create_topics(self) -> None:
        async with Admin.connected(self.connection) as admin:
            await admin.create_topics(TOPICS, partitions=3)
            settings = letter_topic_settings()
            await admin.create_topics([LETTERS], partitions=1, settings=settings)

    async def _timed(self, name: str, work: Awaitable[None]) -> None:
        started = time.monotonic()
        await work
        self.times[name] = time.monotonic() - started

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def _neighbour(self, name: str) -> Child:
        argv = [
            sys.executable,
            "-m",
            "deploy.demo.neighbours",
            name,
            "--bootstrap-servers",
            self.servers.kafka.address,
        ]
        return Child(name, argv, log_path=self._log(name), cwd=ROOT)


def _says(child: Child, text: str) -> bool:
    return f'{child.name} {text}"' in child.tail(lines=100)
