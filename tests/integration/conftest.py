"""Servers that several files of this folder share."""

from collections.abc import AsyncIterator

import pytest

from tests.integration.guarded import Guarded, guarded_kafka


@pytest.fixture(scope="session")
async def guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Guarded]:
    """A broker that asks who one is; shared. Nobody has a right that no test gave."""
    async with guarded_kafka(tmp_path_factory.mktemp("guarded")) as one:
        yield one
