"""What is declared of topics, by name or by pattern; here alone it is decided which declaration a topic has.

A topic that is declared by its name is not matched by any pattern; what a pattern matches is said in
workflows/topics.py.
"""

from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from workflows.topics import is_pattern, matches

T = TypeVar("T")
U = TypeVar("U")

_MOST_KNOWN = 10_000


def common_name(one: str, other: str) -> str | None:
    """A name that both patterns stand for; None if there is none."""
    ours, theirs = one.split("."), other.split(".")
    if len(ours) != len(theirs):
        return None
    segments = [_common_segment(*pair) for pair in zip(ours, theirs, strict=True)]
    return ".".join(filter(None, segments)) if all(segments) else None


class ByTopic(Mapping[str, T], Generic[T]):
    """What each declared name has, to be asked for by the names of real topics, too.

    It goes over declared names, and `in`, `[]` and `get` take what is real. Patterns do not overlap: routes
    with such are refused.

    Args:
        declared: By declared name.
        without: Names that have a declaration elsewhere: no pattern here matches them.
    """

    def __init__(self, declared: Mapping[str, T], without: Collection[str] = ()) -> None:
        self._declared = dict(declared)
        self._without = frozenset(without)
        self._patterns = tuple(name for name in declared if is_pattern(name))
        self._known: dict[str, str | None] = {}

    def declaration_of(self, topic: str) -> str | None:
        """The declared name that stands for `topic`; None if it is not declared."""
        if topic in self._declared:
            return topic
        if not self._patterns or topic in self._without:
            return None
        if topic not in self._known:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            found = (pattern for pattern in self._patterns if matches(pattern, topic))
            self._known[topic] = next(found, None)
        return self._known[topic]

    @property
    def patterns(self) -> Collection[str]:
        """The declared names that are patterns."""
        return self._patterns

    @property
    def named(self) -> Collection[str]:
        """The declared names that are topics."""
        return [name for name in self._declared if not is_pattern(name)]

    def among(self, topics: Iterable[str]) -> list[str]:
        """Those of `topics`, which are real, that a pattern here stands for; in order of their names."""
        return sorted(topic for topic in topics if self.declaration_of(topic) in self._patterns)

    def real(self, topics: Iterable[str]) -> list[str]:
        """All topics that are meant where there are `topics`: those declared by name, and `among`."""
        return [*self.named, *self.among(topics)]

    def each(self, make: Callable[[T], U]) -> "ByTopic[U]":
        """The same names with what `make` gives for each."""
        return ByTopic({name: make(value) for name, value in self._declared.items()}, self._without)

    def where(self, fits: Callable[[T], bool]) -> "TopicsOf":
        """The topics whose declarations fit."""
        return TopicsOf(self, frozenset(name for name, value in self._declared.items() if fits(value)))

    def __getitem__(self, topic: str) -> T:
        name = self.declaration_of(topic)
        if name is None:
            raise KeyError(topic)
        return self._declared[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._declared)

    def __len__(self) -> int:
        return len(self._declared)


class TopicsOf(Container[str]):
    """All topics, real ones, whose declarations have one of some `names`."""

    def __init__(self, declared: ByTopic[Any], names: frozenset[str]) -> None:
        self._declared = declared
        self.names = names

    def __contains__(self, topic: object) -> bool:
        return bool(self.names) and self._declared.declaration_of(str(topic)) in self.names


def _common_segment(one: str, other: str) -> str | None:
    """A text without dots, not empty, that both match."""
    came: dict[tuple[int, int], tuple[tuple[int, int], str]] = {}
    open_, end = [(0, 0)], (len(one), len(other))
    while open_:
        at, there = place = open_.pop()
        if place == end:
            return _way_to(place, came)
        left, right = one[at : at + 1], other[there : there + 1]
        stars = {"*"} & {left, right}
        if not left or not right or (left != right and not stars):
            continue
        # Each `*` takes this character, and ends with it or goes on; where both are one, one of them ends.
        taken = next((character for character in (left, right) if character != "*"), "x")
        steps = [*[(1, 0)] * (right == "*"), *[(0, 1)] * (left == "*"), (1, 1)]
        for step in ((at + ours, there + theirs) for ours, theirs in steps):
            if step not in came:
                came[step] = (place, taken)
                open_.append(step)
    return None


def _way_to(place: tuple[int, int], came: Mapping[tuple[int, int], tuple[tuple[int, int], str]]) -> str:
    taken = ""
    while place != (0, 0):
        place, character = came[place]
        taken = character + taken
    return taken
