"""The sweep of a group, begun."""

from datetime import datetime

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError, RPCStatusCode

from service.errors import Unreachable
from service.temporal.client import no_answer
from service.temporal.worker import service_queue
from workflows.encryption import NotReadable
from workflows.sweep import MEMO, Sweep


def sweep_id(group: str) -> str:
    """The id of the group's sweep, in the client's namespace."""
    return f"closings/{group}"


async def begin_sweep(client: Client, group: str, since: datetime) -> None:
    """See that there is a sweep: from where an earlier one ended, or else from `since`.

    Raises:
        Unreachable: Temporal does not answer, or what has its id is none.
    """
    try:
        if (begin := await _begin(client, group, since)) is None:
            return
        await client.start_workflow(
            Sweep.run,
            begin,
            id=sweep_id(group),
            task_queue=service_queue(group),
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            memo={MEMO: begin},
            static_summary=f"Publishes how the workflows of group {group} ended",
        )
    except RPCError as error:
        raise no_answer(client, error) from error


async def _begin(client: Client, group: str, since: datetime) -> datetime | None:
    """Where one is to begin; None if one runs."""
    try:
        found = await client.get_workflow_handle(sweep_id(group)).describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return since
        raise
    if found.status is WorkflowExecutionStatus.RUNNING:
        return None
    try:
        return await found.memo_value(MEMO, since, type_hint=datetime)
    except NotReadable as error:
        raise Unreachable(f"the memo of workflow {sweep_id(group)}: {error}") from error
    except ValueError as error:
        raise Unreachable(f"the memo of workflow {sweep_id(group)} is none of a sweep") from error
