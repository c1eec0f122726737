"""What the service must know of the cluster before it reads: its id, its topics and their settings."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAlreadyExistsError,
    for_code,
)

from service.errors import ConfigurationError, Unreachable
from service.kafka.connection import START_SECONDS, Connection, listening_to_client_log
from service.kafka.members import Members, members_of

NEW_TOPIC_TRIES, NEW_TOPIC_SECONDS = 10, 0.3


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster as seen once: its id, and per topic the number of partitions."""

    id: str
    brokers: int
    partitions: Mapping[str, int]


def no_such_topic(topic: str, known: Iterable[str]) -> str:
    """What to tell someone who named a topic that does not exist."""
    return f"there is no topic {topic}; there are: {', '.join(sorted(known)) or 'none'}"


class Admin:
    """Asks and changes topics; made by `connected`."""

    def __init__(self, client: AIOKafkaAdminClient) -> None:
        self._client = client

    @staticmethod
    @asynccontextmanager
    async def connected(connection: Connection) -> AsyncIterator["Admin"]:
        """An admin client for the time of the block.

        Raises:
            Unreachable: No broker answers, at first or within the block; the text says what is known.
        """
        client = connection.admin(request_timeout_ms=15_000)
        with listening_to_client_log() as heard:
            try:
                async with asyncio.timeout(START_SECONDS):
                    await client.start()
            except (KafkaError, TimeoutError) as error:
                await client.close()
                raise await connection.why_unreachable(heard) from error
        try:
            yield Admin(client)
        except KafkaError as error:
            raise Unreachable(f"Kafka does not answer any more: {type(error).__name__}") from error
        finally:
            await client.close()

    async def cluster(self) -> Cluster:
        """The cluster's id, brokers and topics that we may see."""
        described = await self._client.describe_cluster()
        topics = await self._client.describe_topics()
        partitions = {t["topic"]: len(t["partitions"]) for t in topics if t["error_code"] == 0}
        return Cluster(described["cluster_id"] or "", len(described["brokers"]), partitions)

    async def cluster_with(self, topics: Iterable[str]) -> tuple[Cluster, list[str]]:
        """The cluster, and which of `topics` it lacks; asked again for a while as long as it lacks any."""
        wanted = list(topics)
        for _ in range(NEW_TOPIC_TRIES):
            cluster = await self.cluster()
            missing = [topic for topic in wanted if topic not in cluster.partitions]
            if not missing:
                break
            # One that was made just now is not seen at once, and a broker that has just started knows little.
            await asyncio.sleep(NEW_TOPIC_SECONDS)
        return cluster, missing

    async def replicas(self, topic: str) -> int:
        """Of the partition of `topic` that has the fewest."""
        (described,) = await self._client.describe_topics([topic])
        return min(len(partition["replicas"]) for partition in described["partitions"])

    async def topic_settings(self, topic: str) -> dict[str, str]:
        """The settings of `topic` as text; empty where we may not see them."""
        return await self._settings(ConfigResource(ConfigResourceType.TOPIC, topic))

    async def broker_settings(self, broker: int) -> dict[str, str]:
        """The settings of the broker of that number as text; empty where we may not see them."""
        return await self._settings(ConfigResource(ConfigResourceType.BROKER, str(broker)))

    async def _settings(self, resource: ConfigResource) -> dict[str, str]:
        answers = await self._client.describe_configs([resource])
        return {
            entry[0]: entry[1]
            for answer in answers
            for found in answer.resources
            if found[0] == 0
            for entry in found[4]
            if entry[1] is not None
        }

    async def brokers(self) -> list[int]:
        """The numbers of all brokers."""
        return sorted(one["node_id"] for one in (await self._client.describe_cluster())["brokers"])

    async def coordinator(self, group: str) -> int:
        """The number of the broker that `group` meets at."""
        node: int = await self._client.find_coordinator(group)
        return node

    async def ask(self, request: Any, broker: int | None = None) -> Any:
        """Ask a broker, or any, what the client has no words for."""
        return await self._client._send_request(request, broker)  # noqa: SLF001

    async def may_use_group(self, group: str) -> bool:
        """Whether we may see the consumer group `group`; who may not cannot join it."""
        try:
            await self._client.find_coordinator(group)
        except GroupAuthorizationFailedError:
            return False
        except KafkaError:
            pass  # a new cluster has no coordinator yet
        return True

    async def members(self, group: str) -> Members:
        """Who is in the consumer group `group` now, and who reads what."""
        return await members_of(self._client, group)

    async def create_topics(
        self,
        topics: Iterable[str],
        *,
        partitions: int,
        settings: Mapping[str, str] | None = None,
        replicas: int | None = None,
    ) -> None:
        """Create `topics`, on three brokers where there are as many; those that exist stay as they are.

        Raises:
            ConfigurationError: The broker refuses.
        """
        copies = replicas or min((await self.cluster()).brokers, 3)
        wanted = [NewTopic(t, partitions, copies, topic_configs=dict(settings or {})) for t in topics]
        response = await self._client.create_topics(wanted)
        for topic, code, *rest in response.topic_errors:
            if code and for_code(code) is not TopicAlreadyExistsError:
                msg = f"topic {topic} cannot be created: {rest[0] if rest else for_code(code).__name__}"
                raise ConfigurationError(msg)
