"""What was found on a walk through records, counted in bounded memory."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from service.kafka.record import Record
from service.redrive.counting import without_numbers
from service.redrive.letterbox import Place
from service.trying.differences import Difference, differences, fails_newly
from service.trying.effects import FAILURES, Becomes, Effect

MOST_KINDS = 1_000
FIRST = 3
"""Of each kind, so many places are kept: the first, in the order of the walk."""

K = TypeVar("K")


class Failure(NamedTuple):
    """What failures have in common; `reason` is without the numbers that are each one's own."""

    becomes: Becomes
    stage: str
    route: str
    type: str
    reason: str


@dataclass(slots=True)
class Kind:
    """How many there are, the first of them, and what was said of the very first."""

    text: str
    count: int = 0
    first: list[Place] = field(default_factory=list)


class Kinds(Generic[K]):
    """Counts by kind; after a thousand kinds all further ones are counted together, as `others`."""

    def __init__(self) -> None:
        self._kinds: dict[K, Kind] = {}
        self.others = 0

    def add(self, kind: K, record: Record, text: str = "") -> None:
        """Count one more."""
        if kind not in self._kinds:
            if len(self._kinds) >= MOST_KINDS:
                self.others += 1
                return
            self._kinds[kind] = Kind(text)
        known = self._kinds[kind]
        known.count += 1
        if len(known.first) < FIRST:
            known.first.append(Place.of(record))

    @property
    def count(self) -> int:
        """All that were counted."""
        return self.others + sum(kind.count for kind in self._kinds.values())

    def by_number(self) -> Iterator[tuple[K, Kind]]:
        """The kinds, the most frequent first; of equal ones, the one that came first."""
        yield from sorted(self._kinds.items(), key=lambda item: -item[1].count)


@dataclass(slots=True)
class TopicCount:
    """How many records of a topic, and when the oldest and the newest were written, in ms since 1970."""

    records: int
    oldest_ms: int
    newest_ms: int


class Tally:
    """Counts what would become of records, and where that differs from what becomes of them now."""

    def __init__(self) -> None:
        self.topics: dict[str, TopicCount] = {}
        self.failures: Kinds[Failure] = Kinds()
        self.differences: Kinds[Difference] = Kinds()
        self.differing = 0
        self.failing = 0
        self.failing_newly = 0
        self._effects: Counter[tuple[str, str, Becomes]] = Counter()

    def add(self, record: Record, after: Sequence[Effect], before: Sequence[Effect] | None = None) -> None:
        """Count one record, with what becomes of it by the routes that run now, if there are such."""
        written = record.timestamp_ms
        topic = self.topics.setdefault(record.topic, TopicCount(0, written, written))
        topic.records += 1
        topic.oldest_ms, topic.newest_ms = min(topic.oldest_ms, written), max(topic.newest_ms, written)
        for effect in after:
            self._effects[record.topic, effect.route, effect.becomes] += 1
            if effect.becomes in FAILURES:
                self._add_failure(record, effect)
        self.failing += any(effect.becomes in FAILURES for effect in after)
        if before is not None:
            self._compare(record, before, after)

    def of(self, topic: str, route: str, *becomes: Becomes) -> int:
        """How many records of `topic` `route` makes one of `becomes` of; of the whole, if it is empty."""
        return sum(self._effects[topic, route, one] for one in becomes)

    @property
    def records(self) -> int:
        """All that were counted."""
        return sum(topic.records for topic in self.topics.values())

    def _add_failure(self, record: Record, effect: Effect) -> None:
        reason = without_numbers(effect.reason)
        kind = Failure(effect.becomes, effect.stage, effect.route, effect.type, reason)
        self.failures.add(kind, record, effect.reason)

    def _compare(self, record: Record, before: Sequence[Effect], after: Sequence[Effect]) -> None:
        found = list(differences(before, after))
        for difference in found:
            self.differences.add(difference, record)
        self.differing += bool(found)
        self.failing_newly += fails_newly(before, after)
