"""What unit tests share, and must leave as they found it."""

import logging
from collections.abc import Iterator

import pytest
import structlog

from service.kafka import source
from tests.unit.source_world import FakeConsumer, World, read_batch

LOGGERS = ("", "aiokafka", "temporalio", "httpx")


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    """Undoes `configure_logging`, which is for the whole process."""
    root = logging.getLogger()
    handlers, levels = root.handlers[:], [logging.getLogger(name).level for name in LOGGERS]
    yield
    structlog.reset_defaults()
    root.handlers = handlers
    for name, level in zip(LOGGERS, levels, strict=True):
        logging.getLogger(name).setLevel(level)


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """A source whose client is a fake."""
    monkeypatch.setattr("service.kafka.connection.AIOKafkaConsumer", FakeConsumer)
    monkeypatch.setattr(source, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(source, "CALL_SECONDS", 0.2)
    monkeypatch.setattr(source, "read_batch", read_batch)
    world = World()
    await world.source.start()
    return world
