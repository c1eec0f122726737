"""What the intake says of itself: what is paused, what waits, and whether nothing moves any more."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.intake.lanes import Lanes
from service.intake.pauses import Pauses, described
from service.intake.waiting import Wait, WaitingRoom
from service.telemetry.health import Problem
from service.telemetry.logs import in_the_log
from workflows.switchboard import Switch

PATIENCE_SECONDS = 3.0
"""What waits for less is nothing to speak of."""

STALL_SECONDS = 60.0
"""With records that wait, nothing finished for so long is a stall."""


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


def stall(lanes: Lanes, waiting: WaitingRoom) -> Iterator[Problem]:
    """Whether records wait, and nothing moves."""
    waits = waiting.longer_than(STALL_SECONDS)
    still = time.monotonic() - lanes.finished_at
    if not waits or still < STALL_SECONDS:
        return
    oldest = waits[0]
    what = ", ".join(
        f"{name} {in_the_log(value)}"
        for name, value in (
            ("route", oldest.what.route),
            ("event", oldest.what.event_id),
            ("workflow", oldest.what.workflow_id),
        )
        if value
    )
    text = (
        f"{len(waits)} records wait, and none was finished for {still:.0f} s; the oldest is {oldest.record}"
        f"{f' ({what})' if what else ''}: {oldest.answer}"
    )
    yield Problem(
        "stalled", text, oldest.to_give_up and f"if it is the record and no outage: {oldest.to_give_up}"
    )


def told(now: Detail, partitions: int) -> Mapping[str, Any]:
    """What is good to know of an intake, as JSON: how much it has, what is paused, what waits."""
    return {
        "partitions": partitions,
        "standby": partitions == 0,
        "paused": [{**described(one.switch, one.kind), "records": one.records} for one in now.paused],
        "waiting_records": len(now.waits),
        "oldest_wait_seconds": round(now.oldest_wait_seconds),
    }
