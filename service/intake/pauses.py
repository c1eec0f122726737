"""Pauses: what people have paused, and the waiting of what is held by it."""

import asyncio
from collections.abc import Callable, Iterable, Sequence

import structlog

from service.intake.waiting import Assignment
from service.kafka.record import Record
from service.telemetry.metrics import Metrics
from workflows.switchboard import NO_NAMES, Names, State, Switch

log = structlog.get_logger(__name__)


class PausedMeanwhile(Exception):  # noqa: N818 - not an error: someone asked for it
    """What was about to be done was paused at the last moment; nothing was done."""


class Pauses:
    """What is paused, as the switchboard last said; nothing before it said anything.

    Args:
        names: The topics and routes that there are.
        metrics: Shows what is paused.
        declaration_of: By which declared name a topic is read, if by any: who pauses a pattern pauses all
            topics that it stands for.
    """

    def __init__(
        self,
        names: Names = NO_NAMES,
        metrics: Metrics | None = None,
        declaration_of: Callable[[str], str | None] = lambda topic: topic,
    ) -> None:
        self.names = names
        self._declaration_of = declaration_of
        self._metrics = metrics or Metrics()
        self._paused: dict[str, Switch] = {}
        self._changed = asyncio.Event()

    @property
    def now(self) -> Sequence[Switch]:
        """All that is paused."""
        return list(self._paused.values())

    def obey(self, state: State) -> None:
        """Pause and resume as `state` says, with a line for each change."""
        paused = {one.name: one for one in state.paused}
        before, self._paused = self._paused, paused
        if paused == before:
            return
        self._metrics.paused((self.names.kind(name), name) for name in paused)
        self._say_changes(before, state)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _say_changes(self, before: Iterable[str], state: State) -> None:
        for one in state.paused:
            if one.name not in before:
                log.info("paused", **described(one, self.names.kind(one.name)))
        resumed = {one.name: one for one in state.resumed}
        for name in before:
            if name not in self._paused:
                who = resumed.get(name)
                said = described(who, self.names.kind(name)) if who else {"name": name}
                log.info("resumed", **said)

    def topic(self, name: str) -> bool:
        """Whether the topic is paused, or the pattern that it is read by."""
        return bool(self.holding(name, ""))

    def why(self, name: str) -> str:
        """Who paused `name`, since when, and why; only that it is, where it was resumed meanwhile."""
        one = self._paused.get(name)
        return in_words(one, self.names.kind(name)) if one else f"{name} was paused"

    def check(self, record: Record, route: str) -> None:
        """See that nothing holds what is to be done now because of `record`, by `route` ("" if by none).

        Raises:
            PausedMeanwhile: The topic or the route is paused.
        """
        if self.holding(record.topic, route):
            raise PausedMeanwhile

    async def until_open(self, record: Record, route: str, assignment: Assignment) -> None:
        """Wait until neither the record's topic nor `route` is paused.

        Raises:
            Abandoned: The partition is no longer ours.
        """
        while name := self.holding(record.topic, route):
            assignment.held_up[record.offset] = name
            try:
                await assignment.until(self._changed)
            finally:
                del assignment.held_up[record.offset]

    def holding(self, topic: str, route: str) -> str:
        """The name of what holds the route's part of a record of that topic, or nothing."""
        if not self._paused:
            return ""
        names = (topic, self._declaration_of(topic), route)
        return next((name for name in names if name in self._paused), "") or ""


def in_words(one: Switch, kind: str) -> str:
    """What people read of `one`."""
    return (
        f"{kind} {one.name} since {one.since:%Y-%m-%d %H:%M:%S} UTC"
        f" by {one.by or 'someone'}: {one.because or 'no reason given'}"
    )


def described(one: Switch, kind: str) -> dict[str, str]:
    """What a line says of `one`."""
    return {
        "name": one.name,
        "kind": kind,
        "by": one.by,
        "because": one.because,
        "since": one.since.isoformat(timespec="seconds"),
    }
