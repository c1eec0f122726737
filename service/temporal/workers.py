"""Who works on a task queue, and which signals the worker of a workflow knows."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import Client, WorkflowHandle

from service.temporal.survey import queue_seen

RPC_TIMEOUT = timedelta(seconds=5)
METADATA = "__temporal_workflow_metadata"


async def pollers(client: Client, task_queue: str) -> int:
    """How many workers poll for tasks of workflows, or did a moment ago.

    Raises:
        RPCError: Temporal does not say.
    """
    return (await queue_seen(client, client.namespace, task_queue)).pollers


async def signal_names(handle: WorkflowHandle[Any, Any]) -> Sequence[str]:
    """The signals for which the worker of a workflow has handlers; `""` stands for one that takes all others.

    Raises:
        RPCError: No worker answers.
        WorkflowQueryFailedError: It does not say.
    """
    metadata = await handle.query(METADATA, result_type=WorkflowMetadata, rpc_timeout=RPC_TIMEOUT)
    return [signal.name for signal in metadata.definition.signal_definitions]
