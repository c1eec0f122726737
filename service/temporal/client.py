"""Connections to Temporal, by its own environment configuration (`TEMPORAL_ADDRESS`, …)."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from urllib.parse import quote

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, GetSystemInfoRequest
from temporalio.client import Client, Plugin
from temporalio.runtime import Runtime
from temporalio.service import GrpcCompression, RPCError, RPCStatusCode

from service.errors import ConfigurationError, Unreachable
from service.temporal.access import Access, why_unreachable
from service.temporal.core import core

AttributeTypes = Mapping[str, "IndexedValueType.ValueType"]


async def connect(
    access: Access,
    plugins: Sequence[Plugin] = (),
    *,
    identity: str | None = None,
    runtime: Runtime | None = None,
) -> Client:
    """A client for the configured address and namespace, both seen to be there.

    Raises:
        Unreachable: Nothing answers at the address; the text says which and why.
        ConfigurationError: The namespace does not exist, we may not see it, or a file cannot be used.
    """
    client = await reach(access, plugins, identity=identity, runtime=runtime)
    await check_namespace(client, client.namespace)
    return client


async def reach(
    access: Access,
    plugins: Sequence[Plugin] = (),
    *,
    identity: str | None = None,
    runtime: Runtime | None = None,
) -> Client:
    """A client for the configured address and namespace, whether the latter is there or not.

    Raises:
        Unreachable: Nothing answers at the address; the text says which and why.
        ConfigurationError: A file cannot be used.
    """
    options = access.connect_options()
    address = options["target_host"]
    try:
        async with asyncio.timeout(10):
            return await Client.connect(
                **options,
                plugins=plugins,
                # Calls are small, the network near: gzip, the SDK's default, is a quarter of a start's CPU.
                grpc_compression=GrpcCompression.NONE,
                identity=identity,
                data_converter=access.converter,
                runtime=runtime or core().runtime,
            )
    except (RuntimeError, TimeoutError) as error:
        why = why_unreachable(error, options)
        raise Unreachable(f"Temporal cannot be reached (TEMPORAL_ADDRESS={address}): {why}") from error


async def check_namespace(client: Client, namespace: str) -> None:
    """See that `namespace` is there.

    Raises:
        Unreachable: Temporal does not answer.
        ConfigurationError: It is not there.
    """
    try:
        await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=namespace))
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            msg = (
                f"Temporal has no namespace {namespace} (TEMPORAL_NAMESPACE); create it with "
                f"`temporal operator namespace create -n {namespace}` or name another"
            )
            raise ConfigurationError(msg) from error
        raise no_answer(client, error) from error


async def check_answers(client: Client) -> None:
    """See that Temporal answers.

    Raises:
        Unreachable: It does not.
    """
    try:
        await client.workflow_service.get_system_info(GetSystemInfoRequest())
    except RPCError as error:
        raise no_answer(client, error) from error


async def retention(client: Client, namespace: str) -> timedelta:
    """How long `namespace` remembers a workflow after it closed.

    Raises:
        Unreachable: Temporal does not answer.
    """
    request = DescribeNamespaceRequest(namespace=namespace)
    try:
        described = await client.workflow_service.describe_namespace(request)
    except RPCError as error:
        raise no_answer(client, error) from error
    return described.config.workflow_execution_retention_ttl.ToTimedelta()


def no_answer(client: Client, error: RPCError) -> Unreachable:
    """What to raise for `error`; says where Temporal was looked for."""
    address = client.service_client.config.target_host
    return Unreachable(f"Temporal at {address} answered {error.status.name}: {error.message}")


def for_namespace(client: Client, namespace: str | None) -> Client:
    """The same connection, for another namespace; None is its own."""
    if namespace in (None, client.namespace):
        return client
    config = client.config()
    config["namespace"] = str(namespace)
    return Client(**config)


async def search_attributes(client: Client, namespace: str) -> AttributeTypes:
    """The custom search attributes registered in `namespace`, with their types.

    Raises:
        Unreachable: Temporal does not answer.
    """
    request = ListSearchAttributesRequest(namespace=namespace)
    try:
        return dict((await client.operator_service.list_search_attributes(request)).custom_attributes)
    except RPCError as error:
        raise no_answer(client, error) from error


def workflow_link(ui_url: str, namespace: str, workflow_id: str) -> str:
    """The workflow's page in the Temporal UI; empty where no UI is configured."""
    if not ui_url:
        return ""
    return (
        f"{ui_url.rstrip('/')}/namespaces/{quote(namespace, safe='')}/workflows/{quote(workflow_id, safe='')}"
    )
