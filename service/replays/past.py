"""What of a partition was handled without a route: its past, which a replay makes up for."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from service.intake.offset_map import decode
from service.kafka.record import Commit
from service.kafka.route_log import RouteLog


@dataclass(frozen=True, slots=True)
class Done:
    """The offsets that a group has done: all before `point`, and some `ahead` of it."""

    point: int
    ahead: frozenset[int] = field(default_factory=frozenset)

    @classmethod
    def by(cls, commit: Commit) -> "Done":
        """What `commit` says is done.

        Raises:
            ValueError: Its map is none of ours, or damaged.
        """
        return cls(commit.offset, decode(commit.offset, commit.metadata))

    def __contains__(self, offset: int) -> bool:
        return offset < self.point or offset in self.ahead

    @property
    def end(self) -> int:
        """The offset after the last of them."""
        return max(self.ahead, default=self.point - 1) + 1


@dataclass(frozen=True, slots=True)
class Span:
    """What was done at `until` and not yet at `since`; without that, all that was done at `until`."""

    until: Done
    since: Done | None = None

    def __contains__(self, offset: int) -> bool:
        return offset in self.until and (self.since is None or offset not in self.since)


@dataclass(frozen=True, slots=True)
class Past:
    """The offsets of a partition before `end` that were handled without a route; `live`: it runs now."""

    spans: Sequence[Span]
    end: int
    live: bool

    def __contains__(self, offset: int) -> bool:
        return offset < self.end and any(offset in span for span in self.spans)


def past_of(route: str, log: RouteLog | None, now: Commit | None) -> Past | None:
    """What was handled without `route`; None where that is not known.

    Args:
        route: Its name.
        log: Where routes began and ended to run on the partition. To be asked for after `now`: what was
            done by then was done without a route that began later.
        now: What the bridges' group has committed for it.
    """
    if log is None:
        return before(None) if now is None else None
    if not log.whole and route in log.changes[0].began:
        return None
    try:
        return _spans(route, log, now)
    except ValueError:
        return None


def before(commit: Commit | None) -> Past:
    """All before a commit point."""
    return Past([Span(Done(commit.offset))], commit.offset, live=False) if commit else Past((), 0, live=False)


def _spans(route: str, log: RouteLog, now: Commit | None) -> Past:
    spans: list[Span] = []
    since: Done | None = None
    live = False
    for change in log.changes:
        if not live and route in change.began:
            spans.append(Span(Done.by(change.at), since))
            live = True
        elif live and route in change.ended:
            since, live = Done.by(change.at), False
    if live:
        return Past(spans, max(span.until.end for span in spans), live)
    # Nothing ahead of the point: the next replay goes on behind what this one has seen, and what lies in
    # between may still be handled without the route.
    point = now.offset if now else 0
    return Past([*spans, Span(Done(point), since)], point, live)
