"""The topics that routes and letters need: seen to be there and to be as they must, or what to do."""

from collections.abc import Mapping

from service.errors import ConfigurationError
from service.failures.letter_topic import in_sync_settings, letter_bytes, weaknesses_of
from service.failures.letters import HEADROOM_BYTES, letter_topic, letter_topic_settings
from service.kafka.admin import Admin, Cluster
from service.kafka.commands import create_command
from service.kafka.connection import Connection
from service.routing.table import RouteTable


async def cluster_with_topics(connection: Connection, table: RouteTable, group: str) -> Cluster:
    """The cluster, seen to have all topics that the routes and the letters need, as they must be.

    Raises:
        ConfigurationError: It has not.
        Unreachable: No broker answers.
    """
    letters = letter_topic(group)
    wanted = dict.fromkeys([*table.topics.named, *table.out_topics, letters])
    async with Admin.connected(connection) as admin:
        cluster, missing = await admin.cluster_with(wanted)
        if missing:
            real = table.topics.real(cluster.partitions)
            room = await letter_bytes(admin, [topic for topic in real if topic not in missing])
            rights = {topic: "Read" if topic in table.topics else "Write" for topic in missing}
            raise ConfigurationError(_how_to_create(rights, connection, letters, room, cluster.brokers))
        if not await admin.may_use_group(group):
            right = connection.right("Read", "group", group)
            raise ConfigurationError(f"we may not read as group {group}; let us:\n  {right}")
        await _check_letter_topic(admin, letters, table, cluster, connection.bootstrap_servers)
    return cluster


def _how_to_create(
    missing: Mapping[str, str], connection: Connection, letters: str, room: int, brokers: int
) -> str:
    """What to do about `missing` topics, given with what we have to be allowed to do with them."""
    servers = connection.bootstrap_servers
    extras = {letters: letter_topic_settings(room - HEADROOM_BYTES) | in_sync_settings(brokers)}
    lines = ["these topics do not exist, or we may not see them; create them:"]
    lines += [create_command(servers, topic, extras.get(topic, {})) for topic in missing]
    if connection.security_protocol != "PLAINTEXT":
        lines[-1] += "\nand let us use them:"
        lines += [connection.right(operation, "topic", topic) for topic, operation in missing.items()]
    return "\n  ".join(lines)


async def _check_letter_topic(
    admin: Admin, letters: str, table: RouteTable, cluster: Cluster, servers: str
) -> None:
    found = await weaknesses_of(admin, letters, table.topics.real(cluster.partitions), cluster.brokers)
    if fatal := [weakness.told(letters, servers) for weakness in found if weakness.fatal]:
        raise ConfigurationError("\n  ".join(fatal))
