"""The checker: what became of each event, told from the ledger, the effects and the letters alone.

Pure functions over a `History`. The definitions are those of Jepsen's Kafka tests, per event and route:
an event has taken effect by a route when a workflow was started by it, or has taken its signal.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple

EXAMPLES = 5


class Fate(StrEnum):
    """What the producer was told of an event's record."""

    ACKED = "acked"
    UNKNOWN = "unknown"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Event:
    """An event: whom it concerns, and by which routes it must take effect, in file order.

    With no routes it is a bad one: a letter is what it must come to.
    """

    id: str
    key: str
    routes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the ledger."""

    event: Event
    fate: Fate


class Spot(NamedTuple):
    """Where a record lies in the topic."""

    partition: int
    offset: int


class Stall(NamedTuple):
    """A time in which nothing was finished, in seconds, and its beginning."""

    seconds: float
    since: float


@dataclass(frozen=True, slots=True)
class Logged:
    """A record of the topic, as read in the end; `at` (seconds) is when the broker took it."""

    event: str
    spot: Spot
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Effect:
    """An effect as its target tells it; those of one target stand in the order it took them."""

    event: str
    route: str
    target: str


@dataclass(frozen=True, slots=True)
class Handled:
    """A bridge's word that a record is done for one route; `route` is empty where none ran."""

    spot: Spot
    route: str
    at: float


@dataclass(frozen=True, slots=True)
class Lettered:
    """A letter about an event, by one route or, where that is empty, by all."""

    event: str
    route: str


@dataclass(frozen=True, slots=True)
class Published:
    """A result on the result topic: of which event, with which id."""

    event: str
    id: str


@dataclass(frozen=True, slots=True)
class History:
    """All that is known after the end; times are seconds of one clock.

    `answered` names the routes whose workflows publish one result; `window` and `held` are how many records
    a bridge may hold, and the most that one said it did (0: not known).
    """

    entries: Sequence[Entry]
    log: Sequence[Logged]
    effects: Sequence[Effect] = ()
    letters: Sequence[Lettered] = ()
    handled: Sequence[Handled] = ()
    results: Sequence[Published] = ()
    answered: frozenset[str] = frozenset()
    window: int = 0
    held: int = 0
    ended: float = 0.0


@dataclass(frozen=True, slots=True)
class Figure:
    """How many, of how many, and the first of them."""

    count: int
    of: int
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.count}/{self.of}"


@dataclass(frozen=True, slots=True)
class Report:
    """The figures. All but the last group must be 0."""

    lost: Figure
    phantom: Figure
    duplicated: Figure
    reordered: Figure
    misjudged: Figure
    """Letters of events that a route could have carried out."""
    unwritten: Figure
    """Acknowledged by the broker, and not in the topic: not ours, but no proof of anything then."""
    results_lost: Figure
    results_differing: Figure
    """Events with results of several ids: no subscriber could drop the repeats."""
    overrun: Figure
    """Records held beyond the window."""

    unknown: Figure
    """Events whose producer was not told; `of` all."""
    replayed: Figure
    """Handled again; `of` what had to be handled."""
    results_repeated: Figure
    letters_repeated: Figure
    stalled: Stall
    """The longest time in which work waited and none was finished."""

    @property
    def faults(self) -> Mapping[str, Figure]:
        """Those of the figures that must be 0 and are not."""
        return {name: self._figure(name) for name in MUST_BE_ZERO if self._figure(name).count}

    def _figure(self, name: str) -> Figure:
        figure = getattr(self, name)
        assert isinstance(figure, Figure)
        return figure

    def __str__(self) -> str:
        names = [field.name for field in fields(self) if field.name != "stalled"]
        line = "  ".join(f"{name.replace('_', ' ')} {self._figure(name)}" for name in names)
        line += f"  stalled {self.stalled.seconds:.1f} s"
        more = [f"\n  {name}: {', '.join(figure.examples)}" for name, figure in self.faults.items()]
        return line + "".join(more)


MUST_BE_ZERO = (
    "lost",
    "phantom",
    "duplicated",
    "reordered",
    "misjudged",
    "unwritten",
    "results_lost",
    "results_differing",
    "overrun",
)


def check(history: History) -> Report:
    """Judge `history`, which must be that of a time when nothing is under way any more."""
    events = {entry.event.id: entry.event for entry in history.entries}
    return Report(
        lost=lost(history),
        phantom=phantom(history),
        duplicated=_repeats([(e.event, e.route) for e in history.effects]),
        reordered=reordered(history, events),
        misjudged=_figure(
            (f"{x.event} by {x.route or 'all'}" for x in history.letters if _is_good(events, x.event)),
            len(events),
        ),
        unwritten=_unwritten(history),
        results_lost=_results_lost(history),
        results_differing=_results_differing(history),
        overrun=Figure(max(history.held - history.window, 0), history.window),
        unknown=_figure((e.event.id for e in history.entries if e.fate is Fate.UNKNOWN), len(events)),
        replayed=_repeats([(h.spot, h.route) for h in history.handled]),
        results_repeated=_repeats([(r.event, r.id) for r in history.results]),
        letters_repeated=_repeats([(x.event, x.route) for x in history.letters]),
        stalled=stalled(history),
    )


def wanted(history: History) -> list[tuple[str, str]]:
    """What must have taken effect or have a letter: (event, route), with no route for a bad event.

    Of all that was acknowledged, and of all whose producer was not told but which the topic holds.
    """
    written = {logged.event for logged in history.log}
    return [
        (entry.event.id, route)
        for entry in history.entries
        if entry.fate is Fate.ACKED or entry.event.id in written
        for route in entry.event.routes or ("",)
    ]


def lost(history: History) -> Figure:
    """Neither an effect nor a letter."""
    found = {(effect.event, effect.route) for effect in history.effects}
    found |= {(letter.event, letter.route) for letter in history.letters}
    whole = {letter.event for letter in history.letters if not letter.route}
    all_wanted = wanted(history)
    missing = [pair for pair in all_wanted if pair not in found and pair[0] not in whole]
    return _figure((f"{event} by {route or 'letter'}" for event, route in missing), len(all_wanted))


def phantom(history: History) -> Figure:
    """Effects of what was never produced, was refused, or has no such route."""
    allowed = {
        (entry.event.id, route)
        for entry in history.entries
        if entry.fate is not Fate.FAILED
        for route in entry.event.routes
    }
    return _figure(
        (f"{e.event} by {e.route}" for e in history.effects if (e.event, e.route) not in allowed),
        len(history.effects),
    )


def reordered(history: History, events: Mapping[str, Event]) -> Figure:
    """Neighbouring effects of one target whose records lie the other way round in one partition.

    Of a repeated event its first record counts and its first effect: what comes again is a duplicate, if
    anything. The routes of one record take effect in the order of the file.
    """
    places = _first_places(history.log)
    by_target: dict[str, list[Effect]] = defaultdict(list)
    for effect in dict.fromkeys(history.effects):
        if effect.event in events and effect.route in events[effect.event].routes and effect.event in places:
            by_target[effect.target].append(effect)
    pairs = [pair for effects in by_target.values() for pair in pairwise(effects)]
    pairs = [pair for pair in pairs if places[pair[0].event].partition == places[pair[1].event].partition]

    def order(effect: Effect) -> tuple[int, int]:
        return places[effect.event].offset, events[effect.event].routes.index(effect.route)

    wrong = [(one, two) for one, two in pairs if order(one) > order(two)]
    return _figure((f"{one.event} before {two.event} at {two.target}" for one, two in wrong), len(pairs))


def stalled(history: History) -> Stall:
    """The longest time in which a record waited and none was finished."""
    finished: dict[Spot, float] = {}
    for handled in history.handled:
        finished[handled.spot] = min(handled.at, finished.get(handled.spot, handled.at))
    moments: list[tuple[float, int]] = []
    for logged in history.log:
        done = finished.get(logged.spot)
        # A bridge can be quicker than the clock of the broker tells.
        moments.append((logged.at if done is None else min(logged.at, done), +1))
        if done is not None:
            moments.append((done, -1))
    stalls, waiting, since = [Stall(0.0, 0.0)], 0, 0.0
    for at, change in sorted(moments, key=lambda moment: (moment[0], -moment[1])):
        if change < 0:
            stalls.append(Stall(at - since, since))
        if change < 0 or not waiting:
            since = at
        waiting += change
    if waiting:
        stalls.append(Stall(history.ended - since, since))
    return max(stalls)


def recovery(history: History, ends: Iterable[float]) -> float:
    """The longest time, in seconds, from the end of a fault to the next completion, where there was one."""
    moments = sorted(handled.at for handled in history.handled)
    nexts = [(end, bisect_left(moments, end)) for end in ends]
    return max((moments[n] - end for end, n in nexts if n < len(moments)), default=0.0)


def _first_places(log: Iterable[Logged]) -> dict[str, Spot]:
    places: dict[str, Spot] = {}
    for logged in log:
        places[logged.event] = min(logged.spot, places.get(logged.event, logged.spot))
    return places


def _is_good(events: Mapping[str, Event], event: str) -> bool:
    return event in events and bool(events[event].routes)


def _unwritten(history: History) -> Figure:
    written = {logged.event for logged in history.log}
    acked = [entry.event.id for entry in history.entries if entry.fate is Fate.ACKED]
    return _figure((event for event in acked if event not in written), len(acked))


def _results_lost(history: History) -> Figure:
    begun = dict.fromkeys(effect.event for effect in history.effects if effect.route in history.answered)
    there = {result.event for result in history.results}
    return _figure((event for event in begun if event not in there), len(begun))


def _results_differing(history: History) -> Figure:
    ids: dict[str, set[str]] = defaultdict(set)
    for result in history.results:
        ids[result.event].add(result.id)
    return _figure((event for event, of_event in ids.items() if len(of_event) > 1), len(ids))


def _repeats(things: Sequence[tuple[object, str]]) -> Figure:
    """How many are there beyond the first of each kind."""
    counts = Counter(things)
    again = [(thing, count - 1) for thing, count in counts.items() if count > 1]
    examples = tuple(f"{what} {how} +{count}" for (what, how), count in again[:EXAMPLES])
    return Figure(sum(count for _, count in again), len(counts), examples)


def _figure(found: Iterable[str], of: int) -> Figure:
    all_found = list(found)
    return Figure(len(all_found), of, tuple(all_found[:EXAMPLES]))
