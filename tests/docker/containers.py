"""Containers by testcontainers-python, which has no class for Apache Kafka's own image nor for Temporal's."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Self

from docker.errors import DockerException
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError
from testcontainers.core.container import DockerContainer

from service.errors import Unreachable
from service.local import HOST, speaks_kafka
from tests.servers import random_port

START_SECONDS = 60


class LoopbackContainer(DockerContainer):
    """A container of an image that is here, whose ports are published on 127.0.0.1 alone.

    Args:
        image: Its name.
    """

    def published(self, port: int) -> int:
        """Publish `port`, and say where: at a port that is free now."""
        outside = random_port()
        # testcontainers' own way publishes on all addresses; Docker's library takes a pair as well.
        self.ports[f"{port}/tcp"] = (HOST, outside)  # type: ignore[assignment]
        return outside

    @property
    def said(self) -> str:
        """All that it has printed."""
        printed: bytes = self.get_wrapped_container().logs()
        return printed.decode(errors="replace")

    async def until(self, true: Callable[[], Coroutine[Any, Any, bool]]) -> None:
        """Wait until `true` says so.

        Raises:
            Unreachable: The container ended, or it took too long; the text ends with what it said.
        """
        try:
            async with asyncio.timeout(START_SECONDS):
                while not await true():
                    self.reload()
                    if self.status == "exited":
                        raise Unreachable(f"the container of {self.image} ended:\n{self.said[-4_000:]}")
                    await asyncio.sleep(0.2)
        except TimeoutError:
            raise Unreachable(f"{self.image} is not ready in time:\n{self.said[-4_000:]}") from None


class ApacheKafkaContainer(LoopbackContainer):
    """One node of Apache Kafka in KRaft mode, of the image apache/kafka or one like it.

    There are two ways in, since a broker tells its clients where to go on: `address` for this machine,
    `inside` for containers of its network. Topics must be created.

    Args:
        image: Its name.
        alias: What it is called in its network.
    """

    def __init__(self, image: str, alias: str = "kafka") -> None:
        super().__init__(image)
        self.with_network_aliases(alias)
        self.address = f"{HOST}:{self.published(9092)}"
        self.inside = f"{alias}:19092"
        self.with_envs(
            KAFKA_PROCESS_ROLES="broker,controller",
            KAFKA_NODE_ID="1",
            KAFKA_CONTROLLER_QUORUM_VOTERS="1@localhost:9093",
            KAFKA_LISTENERS="OUTSIDE://:9092,INSIDE://:19092,CONTROLLER://localhost:9093",
            KAFKA_ADVERTISED_LISTENERS=f"OUTSIDE://{self.address},INSIDE://{self.inside}",
            KAFKA_LISTENER_SECURITY_PROTOCOL_MAP="OUTSIDE:PLAINTEXT,INSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT",
            KAFKA_CONTROLLER_LISTENER_NAMES="CONTROLLER",
            KAFKA_INTER_BROKER_LISTENER_NAME="INSIDE",
            KAFKA_AUTO_CREATE_TOPICS_ENABLE="false",
            KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR="1",
            KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS="3",
            KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR="1",
            KAFKA_TRANSACTION_STATE_LOG_MIN_ISR="1",
            KAFKA_TRANSACTION_STATE_LOG_NUM_PARTITIONS="3",
            KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS="0",
        )

    async def ready(self) -> Self:
        """Wait until it answers at `address`."""
        port = int(self.address.rpartition(":")[2])
        await self.until(lambda: speaks_kafka(port))
        return self


class TemporalContainer(LoopbackContainer):
    """Temporal's development server, of the image temporalio/temporal or one like it.

    In memory, with the namespace `default` and `search_attributes`, all keywords.

    Args:
        image: Its name.
        search_attributes: Their names.
        alias: What it is called in its network.
    """

    def __init__(self, image: str, search_attributes: tuple[str, ...] = (), alias: str = "temporal") -> None:
        super().__init__(image)
        self.with_network_aliases(alias)
        self.address = f"{HOST}:{self.published(7233)}"
        self.inside = f"{alias}:7233"
        keywords = [part for name in search_attributes for part in ("--search-attribute", f"{name}=Keyword")]
        self.with_command(["server", "start-dev", "--ip", "0.0.0.0", "--log-level", "error", *keywords])

    async def ready(self) -> Self:
        """Wait until it answers at `address`."""
        await self.until(self._answers)
        return self

    async def client(self) -> Client:
        """A client of it."""
        return await Client.connect(self.address)

    async def _answers(self) -> bool:
        try:
            client = await self.client()
            await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace="default"))
        except (RPCError, RuntimeError):
            return False
        return True


class TurnoutContainer(LoopbackContainer):
    """The service as docs/containers.md has it run: root read-only, no rights, not even to get some.

    Args:
        image: Its name.
        role: What it runs: `run`, `bridge` or `worker`.
    """

    def __init__(self, image: str, role: str) -> None:
        super().__init__(image)
        self.with_command([role])
        self.with_kwargs(read_only=True, cap_drop=["ALL"], security_opt=["no-new-privileges:true"])

    @property
    def health(self) -> str:
        """What Docker's check of it says: `starting`, `healthy` or `unhealthy`."""
        self.reload()
        state = self.get_wrapped_container().attrs["State"]
        return str(state["Health"]["Status"])

    def ended(self, grace_seconds: int) -> int:
        """Stop it as `docker stop` does, and return its exit code; 137 means that it had to be killed.

        Raises:
            Unreachable: It does not end even then.
        """
        container = self.get_wrapped_container()
        try:
            container.stop(timeout=grace_seconds)
            return int(container.wait(timeout=grace_seconds)["StatusCode"])
        except DockerException as error:
            raise Unreachable(f"the container of {self.image} does not stop: {error}") from error
