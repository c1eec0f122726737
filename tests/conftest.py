"""Servers and topics for all tests; see tests/servers.py."""

import atexit
import os
import re
import sys
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Protocol

import pytest
from hypothesis import HealthCheck, settings

from service.local import LocalKafka, LocalServer, LocalTemporal
from tests.servers import (
    KAFKA_VERSION,
    ApacheKafka,
    EarlyStart,
    create_topic,
    random_port,
    why_no_apache_kafka,
)

# A machine that is busy is no defect: a first text alone takes seconds there, and any one may.
settings.register_profile("any machine", suppress_health_check=[HealthCheck.too_slow], deadline=None)
settings.load_profile("any machine")
FEW_EXAMPLES = "few"
settings.register_profile(FEW_EXAMPLES, max_examples=5)

_KAFKA = pytest.StashKey[EarlyStart]()
_SERVERS = frozenset({"kafka_server", "start_kafka", "temporal"})


class NewTopic(Protocol):
    """Creates a topic that is the test's alone, and returns its name."""

    async def __call__(
        self, name: str = "topic", *, partitions: int = 3, settings: Mapping[str, str] | None = None
    ) -> str: ...


class StartKafka(Protocol):
    """Starts an Apache Kafka broker that is the test's alone, to be mistreated; it ends with the test."""

    async def __call__(self, overrides: Mapping[str, str] | None = None) -> ApacheKafka: ...


@pytest.fixture(scope="session")
async def kafka_server(pytestconfig: pytest.Config) -> LocalServer:
    """The run's broker, shared by all: not to be stopped. Apache Kafka, or what the header says."""
    return await pytestconfig.stash[_KAFKA].server()


@pytest.fixture(scope="session")
def kafka(kafka_server: LocalServer) -> str:
    """The bootstrap servers of the run's broker."""
    return kafka_server.address


@pytest.fixture
async def new_topic(kafka: str, request: pytest.FixtureRequest) -> NewTopic:
    """Creates topics on the run's broker, named for the test and unique in the run."""

    async def create(
        name: str = "topic", *, partitions: int = 3, settings: Mapping[str, str] | None = None
    ) -> str:
        test = re.sub(r"[^A-Za-z0-9_]+", "_", request.node.name)[:100]
        unique = f"{name}.{test}.{uuid.uuid4().hex[:8]}"
        await create_topic(kafka, unique, partitions=partitions, settings=settings)
        return unique

    return create


@pytest.fixture
async def start_kafka(tmp_path: Path) -> AsyncIterator[StartKafka]:
    """Starts brokers for this test alone; without Java the test is skipped."""
    if missing := why_no_apache_kafka():
        pytest.skip(f"needs {missing}")
    async with AsyncExitStack() as brokers:
        count = 0

        async def start(overrides: Mapping[str, str] | None = None) -> ApacheKafka:
            nonlocal count
            count += 1
            broker = ApacheKafka(tmp_path / f"kafka-{count}", overrides=overrides)
            # Killed at the end: nobody reads its data any more, and a stop takes a second.
            brokers.callback(broker.kill)
            await broker.start()
            return broker

        yield start


@pytest.fixture(scope="session")
async def temporal(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalTemporal]:
    """The run's Temporal server (`.address`, `.ui_port`), in memory, shared by all: not to be stopped."""
    folder = tmp_path_factory.mktemp("temporal")
    async with LocalTemporal(folder, random_port(), random_port(), keep=False) as server:
        yield server


def pytest_configure(config: pytest.Config) -> None:
    missing = why_no_apache_kafka()
    if missing and os.environ.get("CI") == "true":
        raise pytest.UsageError(f"with CI=true the tests need Apache Kafka; missing: {missing}")
    config.stash[_KAFKA] = EarlyStart(
        (lambda folder: LocalKafka(folder, random_port())) if missing else ApacheKafka
    )
    _leave_without_finalizing(config)


# Last of the hooks that add lines, and so the first of their lines.
@pytest.hookimpl(trylast=True)
def pytest_report_header() -> str:
    if missing := why_no_apache_kafka():
        return f"kafka: EMBEDDED noida-db, not Apache Kafka; missing: {missing}"
    return f"kafka: Apache Kafka {KAFKA_VERSION}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Files that begin with a server come last: it starts while the others run.
    first = {item.path: item for item in reversed(items)}
    needing = {path for path, item in first.items() if _SERVERS & _fixtures(item)}
    items.sort(key=lambda item: item.path in needing)


def pytest_collection_finish(session: pytest.Session) -> None:
    if not session.config.option.collectonly and any("kafka_server" in _fixtures(i) for i in session.items):
        session.config.stash[_KAFKA].begin()


def _fixtures(item: pytest.Item) -> frozenset[str]:
    return frozenset(getattr(item, "fixturenames", ()))


def pytest_sessionfinish(session: pytest.Session) -> None:
    session.config.stash[_KAFKA].close()


def _leave_without_finalizing(config: pytest.Config) -> None:
    """End the process at its very end, before Python tears itself down, with the right exit code.

    With temporalio loaded, that tearing down aborts now and then (SIGABRT in
    PyGILState_Release, github.com/temporalio/sdk-python/issues/300), and a green
    run ends with code 134. Not done in a pytest hook: pytest still looks for
    leaks after its last one. An exit handler comes after all of pytest and
    after the printing of an exception that escaped it, which is noted here.
    """
    report_uncaught = sys.excepthook
    crashed = False

    def note(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        nonlocal crashed
        crashed = True
        report_uncaught(kind, error, trace)

    def leave() -> None:
        session = config.pluginmanager.get_plugin("session")
        status = getattr(session, "exitstatus", None)
        if "temporalio.bridge" in sys.modules and (crashed or status is not None):
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(int(status or crashed))

    sys.excepthook = note
    atexit.register(leave)
