"""Signals as the bridge sends them, but for what the server drops: each call is one of its own."""

import uuid

from temporalio.api.common.v1 import Payload, Payloads, WorkflowExecution
from temporalio.api.workflowservice.v1 import SignalWorkflowExecutionRequest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from workflows.inbox import ID_HEADER


def id_of(name: str) -> bytes:
    """The id of an event."""
    return uuid.uuid5(uuid.NAMESPACE_URL, name).bytes


def packed(*ids: bytes) -> Payload:
    """Ids as headers hold them."""
    return Payload(metadata={"encoding": b"binary/plain"}, data=b"".join(ids))


async def tell(client: Client, workflow_id: str, name: str, value: object, *ids: bytes) -> None:
    """Signal as the bridge does; each call has a request id of its own, so the server drops nothing."""
    request = SignalWorkflowExecutionRequest(
        namespace=client.namespace,
        workflow_execution=WorkflowExecution(workflow_id=workflow_id),
        signal_name=name,
        input=Payloads(payloads=await pydantic_data_converter.encode([value])),
        request_id=str(uuid.uuid4()),
    )
    if ids:
        request.header.fields[ID_HEADER].CopyFrom(packed(*ids))
    await client.workflow_service.signal_workflow_execution(request)
