"""The topics that are read: those that are named, and those that were found to match a pattern."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import structlog

from service.declarations import ByTopic

log = structlog.get_logger(__name__)


class FoundTopics:
    """What is to be read of the topics that there are, as they were last seen.

    One that is missing is let go only when it is missing again: a broker that has just started may not know
    all of them.

    Args:
        declared: Names, and patterns.
    """

    def __init__(self, declared: ByTopic[Any]) -> None:
        self._declared = declared
        self._matching: frozenset[str] = frozenset()
        self._missing: frozenset[str] = frozenset()
        self._seen = False

    @property
    def may_grow(self) -> bool:
        """Whether there is a pattern, and so something to look for."""
        return bool(self._declared.patterns)

    @property
    def now(self) -> Sequence[str]:
        """All that is to be read."""
        return sorted({*self._declared.named, *self._matching})

    @property
    def by_pattern(self) -> Mapping[str, Sequence[str]]:
        """What each pattern was found to stand for, be it nothing."""
        return {
            pattern: sorted(one for one in self._matching if self._declared.declaration_of(one) == pattern)
            for pattern in self._declared.patterns
        }

    def see(self, there: Collection[str]) -> None:
        """Take in which topics there are."""
        found = frozenset(self._declared.among(there))
        missing = self._matching - found
        gone, self._missing = missing & self._missing, missing
        new, self._matching = found - self._matching, (self._matching | found) - gone
        for topic in sorted(new):
            log.info("topic found", topic=topic, pattern=self._declared.declaration_of(topic))
        for topic in sorted(gone):
            log.info("topic gone", topic=topic, pattern=self._declared.declaration_of(topic))
        self._say_what_waits()

    def _say_what_waits(self) -> None:
        if not self._seen:
            for pattern, topics in self.by_pattern.items():
                if not topics:
                    log.info("no topic matches yet: they are looked for again and again", pattern=pattern)
        self._seen = True
