"""Who works on a task queue, and which signals the worker of a workflow knows."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client, WorkflowHandle

RPC_TIMEOUT = timedelta(seconds=5)
METADATA = "__temporal_workflow_metadata"


async def pollers(client: Client, task_queue: str) -> int:
    """How many workers poll for tasks of workflows, or did a moment ago.

    Raises:
        RPCError: Temporal does not say.
    """
    request = DescribeTaskQueueRequest(
        namespace=client.namespace,
        task_queue=TaskQueue(name=task_queue),
        task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    )
    described = await client.workflow_service.describe_task_queue(request, timeout=RPC_TIMEOUT)
    return len(described.pollers)


async def signal_names(handle: WorkflowHandle[Any, Any]) -> Sequence[str]:
    """The signals for which the worker of a workflow has handlers; `""` stands for one that takes all others.

    Raises:
        RPCError: No worker answers.
        WorkflowQueryFailedError: It does not say.
    """
    metadata = await handle.query(METADATA, result_type=WorkflowMetadata, rpc_timeout=RPC_TIMEOUT)
    return [signal.name for signal in metadata.definition.signal_definitions]
