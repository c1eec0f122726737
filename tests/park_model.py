"""An exhaustive model of one lane, one target and its park: which rules keep order, and which do not.

It goes through every interleaving of what a bridge does with crashes, restarts at the commit point, bridges
that do not notice that they lost their partition, the park's deliveries and its closing, and a target that
starts at any time. Ids are assumed to work: the target takes a signal once.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple


class Phase(Enum):
    """What a bridge does next with its event."""

    DECIDE = auto()
    SEND = auto()
    PARK = auto()


class Known(Enum):
    """What a bridge knows of the park."""

    NOTHING = auto()
    OPEN = auto()
    CLOSED = auto()


class Bridge(NamedTuple):
    """One process, at the event with that index."""

    at: int = 0
    phase: Phase = Phase.DECIDE
    knows: Known = Known.NOTHING
    alive: bool = True


class World(NamedTuple):
    """All that decides what may happen next; `arriving` is what a slow handler has not queued yet."""

    bridges: tuple[Bridge, ...] = (Bridge(),)
    owner: int = 0
    committed: int = 0
    faults: int = 0
    running: bool = False
    applied: tuple[str, ...] = ()
    open: bool = False
    queue: tuple[str, ...] = ()
    arriving: tuple[str, ...] = ()
    letters: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How the bridge and the park are built, and what may happen to them.

    Attributes:
        asks: Before its first command, a bridge asks whether the park is open.
        forgets: It may forget at any time that the park is closed, and asks again.
        start_passes: A start goes straight to the target, whatever is parked.
        slow_handler: The park's handler is not done when its signal is accepted.
        gives_up: The park may make a letter of its first command as long as the target is not there.
        zombies: A bridge may not notice that it lost its partition.
        started_by_others: Someone else may start the target at any time.
    """

    asks: bool = True
    forgets: bool = False
    start_passes: bool = True
    slow_handler: bool = False
    gives_up: bool = False
    zombies: bool = True
    started_by_others: bool = True


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of it: how many states there are, and the shortest way to the first problem, if any."""

    states: int
    problem: str = ""
    way: tuple[str, ...] = ()


Step = tuple[str, World]


def check(events: Sequence[str], rules: Rules, *, faults: int) -> Verdict:
    """Go everywhere that `events` of one lane can lead, with so many crashes and rebalances.

    An event that begins with "start" starts the target; the others are signals to it.
    """
    return _Model(events, rules).search(World(faults=faults))


class _Model:
    def __init__(self, events: Sequence[str], rules: Rules) -> None:
        self._events = events
        self._rules = rules
        self._signals = [event for event in events if not _is_start(event)]

    def search(self, first: World) -> Verdict:
        came_by: dict[World, tuple[World, str] | None] = {first: None}
        ahead = deque([first])
        while ahead:
            world = ahead.popleft()
            steps = [*self._steps(world)]
            if problem := self._problem(world, steps):
                return Verdict(len(came_by), problem, tuple(_way_to(world, came_by)))
            for name, after in [*steps, *self._faults(world)]:
                if after not in came_by:
                    came_by[after] = (world, name)
                    ahead.append(after)
        return Verdict(len(came_by))

    def _problem(self, world: World, steps: Sequence[Step]) -> str:
        in_order = [signal for signal in self._signals if signal in world.applied]
        # One that became a letter may be applied later, by who parks it again: it comes after everything.
        kept = [signal for signal in world.applied if signal not in world.letters]
        if kept != [signal for signal in in_order if signal not in world.letters]:
            return f"reordered: {' '.join(world.applied)}"
        if not steps and (lost := {*self._signals} - {*world.applied} - world.letters):
            return f"stuck without {' '.join(sorted(lost))}"
        return ""

    def _steps(self, world: World) -> Iterator[Step]:
        for number, bridge in enumerate(world.bridges):
            if bridge.alive:
                yield from self._steps_of_bridge(world, number, bridge)
        if world.open:
            yield from self._steps_of_park(world)
        if self._rules.started_by_others and not world.running:
            yield "someone else starts the target", world._replace(running=True)

    def _faults(self, world: World) -> Iterator[Step]:
        if world.faults:
            fresh = Bridge(world.committed)
            bridges = (*world.bridges, fresh)
            taken = world._replace(bridges=bridges, owner=len(world.bridges), faults=world.faults - 1)
            dead = world.bridges[world.owner]._replace(alive=False)
            yield "a crash; another bridge begins at the commit point", _with(taken, world.owner, dead)
            if self._rules.zombies:
                yield "a rebalance that the bridge does not notice", taken

    def _steps_of_bridge(self, world: World, number: int, bridge: Bridge) -> Iterator[Step]:
        who = f"bridge {number}"
        if number == world.owner and bridge.phase is Phase.DECIDE and bridge.at > world.committed:
            yield f"{who} commits {bridge.at}", world._replace(committed=bridge.at)
        if bridge.at == len(self._events):
            return
        event = self._events[bridge.at]
        done = bridge._replace(at=bridge.at + 1, phase=Phase.DECIDE)
        match bridge.phase:
            case Phase.DECIDE:
                yield from self._decisions(world, number, bridge)
            case Phase.SEND if world.running:
                yield f"{who}: {event} is accepted", _applied(_with(world, number, done), event)
            case Phase.SEND:
                parks = bridge._replace(phase=Phase.PARK)
                yield f"{who}: {event} finds no target", _with(world, number, parks)
            case Phase.PARK:
                after = _with(world, number, done._replace(knows=Known.OPEN))
                yield f"{who} parks {event}", self._parked(after, event)

    def _decisions(self, world: World, number: int, bridge: Bridge) -> Iterator[Step]:
        who, event = f"bridge {number}", self._events[bridge.at]
        if self._rules.forgets and bridge.knows is Known.CLOSED:
            yield f"{who} forgets", _with(world, number, bridge._replace(knows=Known.NOTHING))
        if _is_start(event) and (self._rules.start_passes or bridge.knows is not Known.OPEN):
            done = bridge._replace(at=bridge.at + 1)
            yield f"{who}: {event} is accepted", _with(world, number, done)._replace(running=True)
        elif bridge.knows is Known.OPEN:
            # It was open when asked just now; by the time that it is told, it may not be.
            parks = bridge._replace(phase=Phase.PARK)
            yield f"{who}: {event} goes behind the park", _with(world, number, parks)
            if not world.open:
                knows = bridge._replace(knows=Known.CLOSED)
                yield f"{who} sees that the park is closed", _with(world, number, knows)
        elif bridge.knows is Known.NOTHING and self._rules.asks:
            knows = bridge._replace(knows=Known.OPEN if world.open else Known.CLOSED)
            yield f"{who} asks: the park is {knows.knows.name}", _with(world, number, knows)
        else:
            sends = bridge._replace(phase=Phase.SEND)
            yield f"{who} sends {event}", _with(world, number, sends)

    def _parked(self, world: World, event: str) -> World:
        if event in world.queue or event in world.arriving:
            return world._replace(open=True)
        if self._rules.slow_handler:
            return world._replace(open=True, arriving=(*world.arriving, event))
        return world._replace(open=True, queue=(*world.queue, event))

    def _steps_of_park(self, world: World) -> Iterator[Step]:
        if world.arriving:
            first, *others = world.arriving
            held = world._replace(queue=(*world.queue, first), arriving=tuple(others))
            yield f"the handler of {first} is done", held
        if not world.queue:
            yield "the park closes", world._replace(open=False, arriving=())
            return
        first = world.queue[0]
        without = world._replace(queue=world.queue[1:])
        if _is_start(first):
            yield f"the park delivers {first}", without._replace(running=True)
        elif first in world.applied or world.running:
            yield f"the park delivers {first}", _applied(without, first)
        elif self._rules.gives_up:
            letters = world.letters | {first}
            yield f"the park makes a letter of {first}", without._replace(letters=letters)


def _is_start(event: str) -> bool:
    return event.startswith("start")


def _with(world: World, number: int, bridge: Bridge) -> World:
    before, after = world.bridges[:number], world.bridges[number + 1 :]
    return world._replace(bridges=(*before, bridge, *after))


def _applied(world: World, event: str) -> World:
    return world if event in world.applied else world._replace(applied=(*world.applied, event))


def _way_to(world: World, came_by: dict[World, tuple[World, str] | None]) -> Sequence[str]:
    way: list[str] = []
    while step := came_by[world]:
        world, name = step
        way.append(name)
    return way[::-1]
