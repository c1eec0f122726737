"""Faults by a seed: which, when, to whom and for how long; the plan is made before anything runs."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

BRIDGES = ("bridge-1", "bridge-2")
STATIC = "bridge-2"
"""A static member: its partitions wait for it, for a session's time."""

GUEST = "bridge-3"
SESSION_SECONDS = 6.0
"""After this time without a sign of life a bridge loses its partitions: see `group.process`."""


@dataclass(frozen=True, slots=True)
class Fault:
    """After `gap` seconds of peace, `kind` happens to `target`, for `seconds`."""

    gap: float
    kind: str
    target: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.kind} {self.target} {self.seconds:.1f} s"


Kind = tuple[str, str, tuple[float, float]]

OF_BRIDGES: Sequence[Kind] = (
    *(("kill", bridge, (0.0, 2.0)) for bridge in BRIDGES),
    *(("freeze", bridge, (0.5, 3.0)) for bridge in BRIDGES),
    # Long enough to be put out of the group, and to come back as a zombie.
    *(("freeze", bridge, (SESSION_SECONDS + 2, SESSION_SECONDS + 4)) for bridge in BRIDGES),
    *(("stop", bridge, (0.0, 2.0)) for bridge in BRIDGES),
    ("visit", GUEST, (4.0, 8.0)),
    ("rewind", "group", (0.0, 1.0)),
)
OF_NEIGHBOURS: Sequence[Kind] = (
    ("kill", "kafka", (0.0, 2.0)),
    ("freeze", "kafka", (1.0, 4.0)),
    ("stop", "kafka", (0.0, 1.0)),
    ("swallow", "kafka", (0.2, 2.0)),
    ("swallow", "kafka", (0.2, 2.0)),
    ("kill", "temporal", (0.0, 3.0)),
    ("freeze", "temporal", (1.0, 4.0)),
    ("stop", "temporal", (0.0, 3.0)),
    ("swallow", "temporal", (0.2, 2.0)),
    ("swallow", "temporal", (0.2, 2.0)),
    ("answer 404", "temporal", (0.5, 3.0)),
    ("answer 502", "temporal", (0.5, 3.0)),
    ("kill", "worker", (0.0, 3.0)),
    ("freeze", "worker", (1.0, 4.0)),
    ("stop", "worker", (0.0, 3.0)),
)


def make_faults(seed: int, kinds: Sequence[Kind], *, seconds: float) -> Sequence[Fault]:
    """Faults for about `seconds`; each of `kinds` once before any comes again."""
    chance = random.Random(f"faults {seed} {len(kinds)}")
    faults: list[Fault] = []
    total = 0.0
    for kind, target, (shortest, longest) in _dealt(chance, kinds):
        fault = Fault(chance.uniform(0.5, 2.5), kind, target, chance.uniform(shortest, longest))
        total += fault.gap + fault.seconds
        if total > seconds:
            break
        faults.append(fault)
    return faults


def _dealt(chance: random.Random, kinds: Sequence[Kind]) -> Iterator[Kind]:
    while True:
        yield from chance.sample(kinds, len(kinds))
