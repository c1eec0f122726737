"""Discarding letters: they are done with, and nothing is sent."""

import asyncio
from collections.abc import Callable

from service.errors import ConfigurationError
from service.redrive.closing import Closing
from service.redrive.picking import Picked, Picking
from service.redrive.sender import Fate
from service.redrive.sending import Said


async def discard(
    picking: Picking, closing: Closing, *, said: Callable[[Said], None], stop: asyncio.Event
) -> None:
    """Close all that is picked, until the end or until it is to stop; what is done is stored in any case.

    Raises:
        Unreachable: Kafka does not answer.
        ConfigurationError: Someone else is at work on the letters, or what is done cannot be remembered.
    """
    await closing.store()
    try:
        async for picked in picking.walk():
            if stop.is_set():
                break
            place = picked.found.place
            if not _is_to_go(picked, closing):
                closing.leave(place)
                continue
            if closing.is_full(place):
                raise ConfigurationError(closing.why_full(place))
            closing.take(place)
            await closing.close(place)
            if picked.meant:
                said(Said(picked.found, Fate.DISCARDED, []))
    finally:
        await closing.store()


def _is_to_go(picked: Picked, closing: Closing) -> bool:
    return closing.is_closed(picked.repeat_of) if picked.repeat_of else picked.meant
