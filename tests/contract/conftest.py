"""One scripted frontend and one connected client for all; each test finds the frontend as new."""

from collections.abc import AsyncIterator

import pytest
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.client import Client

from service.dispatch.contracts import Contracts
from service.dispatch.dispatcher import Dispatcher
from service.dispatch.identity import IdentityPlugin
from service.temporal.access import Access
from service.temporal.client import connect, for_namespace
from tests.contract.calls import SEAL
from tests.contract.frontend import Frontend, frontend


@pytest.fixture(scope="package")
async def only_frontend() -> AsyncIterator[Frontend]:
    async with frontend() as one:
        yield one


@pytest.fixture
def temporal_says(only_frontend: Frontend) -> Frontend:
    """The frontend, as if nobody had called it yet."""
    only_frontend.forget()
    return only_frontend


@pytest.fixture(scope="package")
async def client(only_frontend: Frontend) -> Client:
    """Connected as the service does it."""
    return await connected(only_frontend.address)


@pytest.fixture(scope="package")
def dispatcher(client: Client) -> Dispatcher:
    return dispatching(client)


async def connected(address: str) -> Client:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TEMPORAL_ADDRESS", address)
        return await connect(Access(), [IdentityPlugin()])


def dispatching(client: Client) -> Dispatcher:
    return Dispatcher(
        lambda namespace: for_namespace(client, namespace),
        Contracts([]),
        names=None,
        attribute_types={"Order": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD},
        seal=SEAL,
    )
