"""What the intake says of itself: what is paused, and what waits."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from service.intake.lanes import Lanes
from service.intake.pauses import Pauses
from service.intake.waiting import Wait, WaitingRoom
from workflows.switchboard import Switch

PATIENCE_SECONDS = 3.0
"""What waits for less is nothing to speak of."""


@dataclass(frozen=True, slots=True)
class Held:
    """Something that is paused, what it is the name of, and how many records are held by it here."""

    switch: Switch
    kind: str
    records: int


@dataclass(frozen=True, slots=True)
class Detail:
    """What is paused, and the records that wait for an answer, the longest first.

    What is paused is so on purpose: it is no reason to call the service unready.
    """

    paused: Sequence[Held]
    waits: Sequence[Wait]

    @property
    def oldest_wait_seconds(self) -> float:
        """For how long the first of `waits` has waited; 0 without one."""
        return time.monotonic() - self.waits[0].since if self.waits else 0.0


def detail(pauses: Pauses, lanes: Lanes, waiting: WaitingRoom) -> Detail:
    """What can be said now."""
    held = lanes.held_up()
    return Detail(
        [Held(one, pauses.names.kind(one.name), held[one.name]) for one in pauses.now],
        waiting.longer_than(PATIENCE_SECONDS),
    )
