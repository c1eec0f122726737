"""How the process starts with patience and stops: the first signal drains, the second stops at once."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

import structlog

from service.errors import Unreachable

log = structlog.get_logger(__name__)
T = TypeVar("T")

RETRY_SECONDS = 2.0


def end_on_sigterm_as_first_process() -> None:
    """Have SIGTERM end this process as it ends others, if it is the first of a container.

    The kernel keeps from such a process all signals that it has no handler for. Stopped while it starts, it
    would not hear of it, and be killed when the patience of whoever stops it ends.
    """
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, lambda number, _frame: os._exit(128 + number))


def stop_on_signals(*, second_ends: bool = True, at_once: Callable[[], None] = lambda: None) -> asyncio.Event:
    """An event that SIGTERM or SIGINT sets.

    A second signal ends the process at once, after `at_once` was called; or says nothing new, if not
    `second_ends`.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(number: int) -> None:
        if stop.is_set():
            if not second_ends:
                return
            log.warning("stopped at once", signal=signal.Signals(number).name)
            at_once()
            leave(128 + number)
        log.info("stopping", signal=signal.Signals(number).name)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    return stop


def leave(code: int) -> None:
    """End the process without running the interpreter's shutdown.

    The Temporal SDK's threads make a short-lived interpreter abort there now and then, after all
    work is done (sdk-python #300).
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # full, or closed: nobody is left to be told
            stream.flush()
    os._exit(code)


class Stopped(Exception):  # noqa: N818 - not an error: someone asked for it
    """We were told to stop before everything was there."""


async def patiently(connect: Callable[[], Awaitable[T]], patience: timedelta, stop: asyncio.Event) -> T:
    """Call `connect` until it does not raise Unreachable.

    Raises:
        Unreachable: It still did after `patience`.
        Stopped: `stop` was set meanwhile.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience.total_seconds()
    while True:
        try:
            return await connect()
        except Unreachable as error:
            if loop.time() + RETRY_SECONDS > deadline:
                raise
            log.warning("not there yet", reason=str(error))
        with suppress(TimeoutError):
            async with asyncio.timeout(RETRY_SECONDS):
                await stop.wait()
        if stop.is_set():
            raise Stopped


@asynccontextmanager
async def in_the_background(act: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do it for the time of the block."""
    task = asyncio.create_task(act)
    try:
        yield
    finally:
        task.cancel()
