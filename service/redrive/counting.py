"""Letters counted by what is wrong with them, in bounded memory."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from service.failures.letters import Letter
from service.redrive.choosing import type_of

MOST_KINDS = 1_000

_NUMBER = re.compile(r"(?<![\w.-])\d+(?!\w|[.-]\w)")  # by itself, not within a name


class Kind(NamedTuple):
    """What letters have in common; the reason without what is each one's own."""

    stage: str
    route: str
    type: str
    reason: str


OTHERS = Kind("", "", "", "(other reasons)")


@dataclass(slots=True)
class Count:
    """How many letters of a kind, and when the first and the last of them failed."""

    letters: int
    first: datetime
    last: datetime


class Counts:
    """Counts letters by their kind; after a thousand kinds all further ones are one."""

    def __init__(self) -> None:
        self._counts: dict[Kind, Count] = {}

    def add(self, letter: Letter) -> None:
        """Count one more."""
        kind = kind_of(letter)
        if kind not in self._counts and len(self._counts) >= MOST_KINDS:
            kind = OTHERS
        count = self._counts.setdefault(kind, Count(0, letter.failed_at, letter.failed_at))
        count.letters += 1
        count.first = min(count.first, letter.failed_at)
        count.last = max(count.last, letter.failed_at)

    @property
    def letters(self) -> int:
        """All that were counted."""
        return sum(count.letters for count in self._counts.values())

    def by_number(self) -> Sequence[tuple[Kind, Count]]:
        """The kinds and their counts, the largest first."""
        return sorted(self._counts.items(), key=lambda item: (-item[1].letters, item[0]))


def kind_of(letter: Letter) -> Kind:
    """Letters with the same fault are of one kind, whatever ids and numbers their reasons hold."""
    own = letter.about.workflow_id
    reason = letter.reason.replace(own, "…") if own else letter.reason
    return Kind(letter.stage, letter.about.route, type_of(letter), without_numbers(reason))


def without_numbers(reason: str) -> str:
    """What reasons have in common that differ by numbers alone."""
    return _NUMBER.sub("#", reason)
