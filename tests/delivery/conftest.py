"""The mark of the tests that take minutes, and their seed."""

import os
import random

import pytest

_SEED = pytest.StashKey[int]()


@pytest.fixture
def seed(pytestconfig: pytest.Config) -> int:
    """TURNOUT_SEED, or another one each time."""
    return pytestconfig.stash[_SEED]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "delivery: crashes real processes for two minutes")


def pytest_collection_modifyitems(config: pytest.Config) -> None:
    # Not earlier: processes that share the tests are started before, and are to find it, too.
    # Taken away: the service's processes refuse settings that they do not know.
    config.stash[_SEED] = int(os.environ.pop("TURNOUT_SEED", "") or random.randrange(1 << 31))
