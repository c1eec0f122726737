"""What unit tests must leave as they found it."""

import logging
from collections.abc import Iterator

import pytest
import structlog

LOGGERS = ("", "aiokafka", "temporalio")


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
