"""Walking through open letters and telling which of them are meant."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from service.failures.letters import Letter
from service.redrive.choosing import Choice
from service.redrive.letterbox import Found, Letterbox, Place, Repeats


@dataclass(frozen=True, slots=True)
class Picked:
    """Something that lies open, and what to think of it.

    `repeat_of` is where the letter lies that it only repeats: what becomes of that becomes of this one, which
    is not meant by itself.
    `obstacle` is why nothing can be done about one that is meant, with the cure.
    """

    found: Found
    meant: bool
    repeat_of: Place | None = None
    obstacle: str = ""

    @property
    def letter(self) -> Letter | None:
        """The letter, if it is one that is to be acted on."""
        return self.found.letter if self.meant and not self.obstacle else None


async def nothing_against_it(_found: Found) -> str:
    """Nothing has an obstacle."""
    return ""


class Picking:
    """Picks, each time it is walked, the same letters.

    Args:
        letterbox: What lies open.
        choice: Which are meant.
        obstacle: Why nothing can be done about one that is; `""` where something can.
    """

    def __init__(
        self,
        letterbox: Letterbox,
        choice: Choice,
        obstacle: Callable[[Found], Awaitable[str]] = nothing_against_it,
    ) -> None:
        self._letterbox = letterbox
        self._choice = choice
        self._obstacle = obstacle

    async def walk(self) -> AsyncIterator[Picked]:
        """All that lies open, in the order it lies."""
        repeats = Repeats()
        async for found in self._letterbox.walk():
            if first := repeats.first(found):
                yield Picked(found, meant=False, repeat_of=first)
            elif not self._choice.means(found):
                yield Picked(found, meant=False)
            else:
                yield Picked(found, meant=True, obstacle=await self._obstacle(found))
