"""Search attributes of tests: registered on the run's server, which all tests share."""

import asyncio
import uuid

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.client import Client
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.service import RPCError, RPCStatusCode


async def have_keywords(client: Client, *names: str) -> None:
    """Register keywords, and wait until the server takes them."""
    for name in names:
        await register(client, name, IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD)
    pairs = [SearchAttributePair(SearchAttributeKey.for_keyword(name), "none") for name in names]
    for _ in range(300):
        if await _taken(client, TypedSearchAttributes(pairs)):
            return
        await asyncio.sleep(0.1)
    raise TimeoutError


async def register(client: Client, name: str, kind: "IndexedValueType.ValueType") -> None:
    """Register one, unless another test has."""
    request = AddSearchAttributesRequest(namespace=client.namespace, search_attributes={name: kind})
    try:
        await client.operator_service.add_search_attributes(request)
    except RPCError as error:
        if error.status is not RPCStatusCode.ALREADY_EXISTS:
            raise


async def _taken(client: Client, attributes: TypedSearchAttributes) -> bool:
    try:
        probe = await client.start_workflow(
            "Nobody", id=f"probe/{uuid.uuid4()}", task_queue="nobody-listens", search_attributes=attributes
        )
    except RPCError as error:
        if error.status is RPCStatusCode.INVALID_ARGUMENT:
            return False
        raise
    await probe.terminate()
    return True
