"""How long a consumer waits for answers: as long as joining takes where others are waited for, else short."""

from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.client import ConnectionGroup

ANSWER_SECONDS = 15.0
"""For all but the coordinator. One that is lost on its way stands still for so long, and its partitions."""

MARGIN_SECONDS = 5.0


def wait_for_members(consumer: AIOKafkaConsumer, seconds: float) -> None:
    """Let the coordinator of `consumer` take `seconds` to answer: joining waits for members that died.

    The client has one time limit for all its connections (aiokafka 0.14), but keeps one of its own to
    the coordinator.
    """
    client = consumer._client  # noqa: SLF001 - there is no public way
    connect = client._get_conn  # noqa: SLF001

    async def get_conn(node_id: int, *, group: int = ConnectionGroup.DEFAULT, no_hint: bool = False) -> Any:
        connection = await connect(node_id, group=group, no_hint=no_hint)
        if connection is not None and group == ConnectionGroup.COORDINATION:
            connection._request_timeout = seconds + MARGIN_SECONDS  # noqa: SLF001
        return connection

    client._get_conn = get_conn  # noqa: SLF001
