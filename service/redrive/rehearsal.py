"""Rehearsing: what sending letters would do, told without doing it."""

from collections.abc import Callable, Sequence

from service.failures.letters import Letter
from service.intake.pauses import Pauses
from service.redrive.later import NONE, LaterRecords
from service.redrive.letterbox import Found, Place
from service.redrive.picking import Picking
from service.redrive.preview import Preview
from service.redrive.sender import Fate
from service.redrive.sending import WINDOW_LETTERS, Said


async def rehearse(
    picking: Picking, preview: Preview, later: LaterRecords, pauses: Pauses, *, said: Callable[[Said], None]
) -> None:
    """Tell of all that is picked what sending it would do; nothing is called and nothing closed.

    Raises:
        Unreachable: Kafka does not answer.
    """
    window: list[tuple[Found, Letter]] = []
    async for picked in picking.walk():
        if picked.obstacle:
            said(Said(picked.found, Fate.REFUSED, [picked.obstacle]))
        elif not (letter := picked.letter):
            continue
        elif name := pauses.holding(letter.record.topic, letter.about.route):
            said(Said(picked.found, Fate.PAUSED, [pauses.why(name)]))
        else:
            window.append((picked.found, letter))
        if len(window) >= WINDOW_LETTERS:
            await _tell(window, preview, later, said)
            window = []
    await _tell(window, preview, later, said)


async def _tell(
    window: Sequence[tuple[Found, Letter]],
    preview: Preview,
    later: LaterRecords,
    said: Callable[[Said], None],
) -> None:
    counts = await later.count([letter for _, letter in window])
    for found, letter in window:
        await preview.prepare(letter)
        count = counts.get(Place.of(letter.record), NONE)
        said(Said(found, Fate.WOULD_BE_SENT, preview.told(letter), count))
