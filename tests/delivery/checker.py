"""The checker: what became of each event, told by what it did, and by what parks, letters and logs hold.

Pure functions over a `History`. The definitions are those of Jepsen's Kafka tests, per event and route:
an event has taken effect by a route when a workflow was started by it, or has taken its signal. Where it
has not, it is in a park, or among the letters, or a bridge says that the route's `when` skipped it. By
each route that matches it, it must end in exactly one of these ways.
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


class End(StrEnum):
    """What an event comes to by a route."""

    EFFECT = "effect"
    PARKED = "parked"
    LETTER = "letter"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Event:
    """An event: whom it concerns, and what it must come to by each route that matches it, in file order.

    An empty route stands for a whole record that no route can take.
    """

    id: str
    key: str
    routes: Mapping[str, End]


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the ledger."""

    event: Event
    fate: Fate


class Spot(NamedTuple):
    """Where a record lies in the topic."""

    partition: int
    offset: int


class Part(NamedTuple):
    """An event as far as one route is concerned."""

    event: str
    route: str

    def __str__(self) -> str:
        return f"{self.event} by {self.route or 'all'}"


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
    """A bridge's word that a record is done for one route; `route` is empty where none ran.

    `kind` is what became of it, as the bridge says.
    """

    spot: Spot
    route: str
    at: float
    kind: str = "accepted"


@dataclass(frozen=True, slots=True)
class Lettered:
    """A letter about an event's record at `spot`, by one route or, where that is empty, by all.

    One that was sent again is no end: what it then came to is.
    """

    event: str
    route: str
    spot: Spot
    sent_again: bool = False


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
    parked: Sequence[Part] = ()
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
    """The figures. All of the first group must be 0."""

    lost: Figure
    """Came to nothing."""
    contradicted: Figure
    """Ended in two ways by one route: an effect and a letter, say."""
    phantom: Figure
    """Ends of what was never produced, was refused, or has no such route."""
    duplicated: Figure
    reordered: Figure
    misjudged: Figure
    """Ended in another way than it had to: a letter of an event that a route could have carried out."""
    left_parked: Figure
    """Still in a park, though its target is there."""
    unwritten: Figure
    """Acknowledged by the broker, and not in the topic: not ours, but no proof of anything then."""
    results_lost: Figure
    results_differing: Figure
    """Events with results of several ids: no subscriber could drop the repeats."""
    results_repeated: Figure
    """Records that repeat the id of another: allowed where an attempt that was taken for dead still writes
    from another process, but here there is one worker."""
    overrun: Figure
    """Records held beyond the window."""

    effects: Figure
    parked: Figure
    letters: Figure
    skipped: Figure
    """How many ended so; `of` all that had to end."""
    by_park: Figure
    """Effects that a park held before; `of` all effects."""
    unknown: Figure
    """Events whose producer was not told; `of` all."""
    replayed: Figure
    """Handled again; `of` what had to be handled."""
    letters_repeated: Figure
    stalled: Stall
    """The longest time in which work waited and none was finished."""

    @property
    def faults(self) -> Mapping[str, Figure]:
        """Those of the figures that must be 0 and are not."""
        return {name: self._figure(name) for name in MUST_BE_ZERO if self._figure(name).count}

    @property
    def settled(self) -> bool:
        """Whether nothing is missing that may still come."""
        return not self.faults.keys() & MAY_COME

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
    "contradicted",
    "phantom",
    "duplicated",
    "reordered",
    "misjudged",
    "left_parked",
    "unwritten",
    "results_lost",
    "results_differing",
    "results_repeated",
    "overrun",
)


# A repeat that is in a park when its first has long taken effect leaves the park, too.
MAY_COME = frozenset({"lost", "contradicted", "left_parked", "results_lost"})


def check(history: History) -> Report:
    """Judge `history`, which must be that of a time when nothing is under way any more."""
    events = {entry.event.id: entry.event for entry in history.entries}
    ends = ends_of(history, events)
    allowed = allowed_ends(history)
    astray = _astray(ends, allowed)
    must = wanted(history)
    return Report(
        lost=_figure((str(part) for part in must if part not in ends), len(must)),
        contradicted=_figure(
            (f"{part}: {' and '.join(found)}" for part, found in ends.items() if len(found) > 1), len(ends)
        ),
        phantom=_figure(
            (f"{part}: {' and '.join(found)}" for part, found in ends.items() if part not in allowed),
            len(ends),
        ),
        duplicated=_repeats([(e.event, e.route) for e in history.effects]),
        reordered=reordered(history, events),
        misjudged=_figure((f"{part}: {end}" for part, end in astray if end is not End.PARKED), len(ends)),
        left_parked=_figure((str(part) for part, end in astray if end is End.PARKED), len(ends)),
        unwritten=_unwritten(history),
        results_lost=_results_lost(history),
        results_differing=_results_differing(history),
        results_repeated=_repeats([(r.event, r.id) for r in history.results]),
        overrun=Figure(max(history.held - history.window, 0), history.window),
        effects=_ended(End.EFFECT, must, ends),
        parked=_ended(End.PARKED, must, ends),
        letters=_ended(End.LETTER, must, ends),
        skipped=_ended(End.SKIPPED, must, ends),
        by_park=_by_park(history, ends),
        unknown=_figure((e.event.id for e in history.entries if e.fate is Fate.UNKNOWN), len(events)),
        # What a park delivers is handled once more, and is no repeat.
        replayed=_repeats([((h.spot, h.kind == End.PARKED), h.route) for h in history.handled]),
        letters_repeated=_repeats([(x.spot, x.route) for x in history.letters]),
        stalled=stalled(history),
    )


def wanted(history: History) -> list[Part]:
    """What must have come to an end.

    Of all that was acknowledged, and of all whose producer was not told but which the topic holds.
    """
    written = {logged.event for logged in history.log}
    return [
        Part(entry.event.id, route)
        for entry in history.entries
        if entry.fate is Fate.ACKED or entry.event.id in written
        for route in entry.event.routes
    ]


def ends_of(history: History, events: Mapping[str, Event]) -> Mapping[Part, Sequence[End]]:
    """What each part came to, with each way once; a letter or a skip by no route is one by all."""
    ends: dict[Part, list[End]] = defaultdict(list)

    def ended(part: Part, end: End) -> None:
        all_routes = events[part.event].routes if part.event in events else ("",)
        for route in (part.route,) if part.route else all_routes:
            if end not in ends[part._replace(route=route)]:
                ends[part._replace(route=route)].append(end)

    for effect in history.effects:
        ended(Part(effect.event, effect.route), End.EFFECT)
    for part in history.parked:
        ended(part, End.PARKED)
    for letter in history.letters:
        if not letter.sent_again:
            ended(Part(letter.event, letter.route), End.LETTER)
    for part in _handled_as(End.SKIPPED, history):
        ended(part, End.SKIPPED)
    return dict(ends)


def allowed_ends(history: History) -> Mapping[Part, End]:
    """What each part had to come to, if its event was written."""
    return {
        Part(entry.event.id, route): end
        for entry in history.entries
        if entry.fate is not Fate.FAILED
        for route, end in entry.event.routes.items()
    }


def reordered(history: History, events: Mapping[str, Event]) -> Figure:
    """Neighbouring effects of one target whose records lie the other way round in one partition.

    Of a repeated event its first record counts and its first effect: what comes again is a duplicate, if
    anything. The routes of one record take effect in the order of the file. What was parked keeps its
    place; a letter that is sent again comes after everything.
    """
    places = _first_places(history.log)
    late = {(letter.event, letter.route) for letter in history.letters if letter.sent_again}
    by_target: dict[str, list[Effect]] = defaultdict(list)
    for effect in dict.fromkeys(history.effects):
        known = effect.event in events and effect.route in events[effect.event].routes
        if known and effect.event in places and not late & {(effect.event, effect.route), (effect.event, "")}:
            by_target[effect.target].append(effect)
    pairs = [pair for effects in by_target.values() for pair in pairwise(effects)]
    pairs = [pair for pair in pairs if places[pair[0].event].partition == places[pair[1].event].partition]

    def order(effect: Effect) -> tuple[int, int]:
        return places[effect.event].offset, [*events[effect.event].routes].index(effect.route)

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


def _handled_as(kind: End, history: History) -> list[Part]:
    """What a bridge says has become of which event by which route."""
    event_at = {logged.spot: logged.event for logged in history.log}
    handled = [one for one in history.handled if one.kind == kind and one.spot in event_at]
    return [Part(event_at[one.spot], one.route) for one in handled]


def _astray(ends: Mapping[Part, Sequence[End]], allowed: Mapping[Part, End]) -> list[tuple[Part, End]]:
    """Parts with one end that is not the one they had to come to."""
    single = [(part, found[0]) for part, found in ends.items() if len(found) == 1]
    return [(part, end) for part, end in single if allowed.get(part, end) is not end]


def _ended(end: End, must: Sequence[Part], ends: Mapping[Part, Sequence[End]]) -> Figure:
    return Figure(sum(end in ends.get(part, ()) for part in must), len(must))


def _by_park(history: History, ends: Mapping[Part, Sequence[End]]) -> Figure:
    effects = {part for part, found in ends.items() if End.EFFECT in found}
    return Figure(len(effects.intersection(_handled_as(End.PARKED, history))), len(effects))


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
