"""Temporal as it is seen once, by questions alone: namespaces, search attributes, and who works on queues."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeTaskQueueRequest,
    GetSystemInfoRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from service.temporal.client import AttributeTypes, no_answer, search_attributes

CALL_TIMEOUT = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class SeenQueue:
    """A task queue as it is now.

    Attributes:
        pollers: How many workers asked it for workflow tasks within the last minutes.
        last_asked: When the last of them did, by Temporal's clock; None where none did.
    """

    pollers: int
    last_asked: datetime | None = None


@dataclass(frozen=True, slots=True)
class SeenNamespace:
    """A namespace as it is now.

    Attributes:
        retention: For how long it remembers a workflow that has closed.
        attributes: The custom search attributes that it has registered.
        queues: The task queues that were asked for.
    """

    retention: timedelta
    attributes: AttributeTypes = field(default_factory=dict)
    queues: Mapping[str, SeenQueue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SeenTemporal:
    """Temporal as it is now: the server's version, and the namespaces that were asked for.

    A namespace that is not there is None.
    """

    version: str
    namespaces: Mapping[str, SeenNamespace | None]


async def survey(client: Client, queues: Mapping[str, Iterable[str]]) -> SeenTemporal:
    """Temporal, seen once; nothing is changed.

    Args:
        client: The connection.
        queues: The namespaces to look at, and in each the task queues.

    Raises:
        Unreachable: It does not answer, or does not let us ask.
    """
    try:
        info = await client.workflow_service.get_system_info(GetSystemInfoRequest(), timeout=CALL_TIMEOUT)
        return SeenTemporal(
            info.server_version,
            {namespace: await _namespace(client, namespace, names) for namespace, names in queues.items()},
        )
    except RPCError as error:
        raise no_answer(client, error) from error


async def _namespace(client: Client, namespace: str, queues: Iterable[str]) -> SeenNamespace | None:
    request = DescribeNamespaceRequest(namespace=namespace)
    try:
        described = await client.workflow_service.describe_namespace(request, timeout=CALL_TIMEOUT)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise
    return SeenNamespace(
        described.config.workflow_execution_retention_ttl.ToTimedelta(),
        await search_attributes(client, namespace),
        {queue: await queue_seen(client, namespace, queue) for queue in queues},
    )


async def queue_seen(client: Client, namespace: str, queue: str) -> SeenQueue:
    """The task queue as it is now.

    Raises:
        RPCError: Temporal does not say.
    """
    request = DescribeTaskQueueRequest(
        namespace=namespace,
        task_queue=TaskQueue(name=queue),
        task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    )
    described = await client.workflow_service.describe_task_queue(request, timeout=CALL_TIMEOUT)
    times = [one.last_access_time.ToDatetime(UTC) for one in described.pollers]
    return SeenQueue(len(described.pollers), max(times, default=None))
