"""Commands that come to an end in good order on the first Ctrl-C."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import typer

from service.lifecycle import Stopped, stop_on_signals

INTERRUPTED = 130


def until_stopped(act: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Do it until it is done; on the first Ctrl-C come to an end in good order.

    Raises:
        Exit: It was ended.
    """

    async def acting() -> bool:
        stop = stop_on_signals()
        with suppress(Stopped):
            await act(stop)
        return stop.is_set()

    if asyncio.run(acting()):
        raise typer.Exit(INTERRUPTED)
