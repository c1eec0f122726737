"""The values of YAML files in which nothing is unusual, read by libyaml in a sixth of the time.

libyaml and ruamel.yaml take the same values from such files. Of whatever they are known to differ in, or
not known to agree in, nothing is read here: `reading` does that, and all places and mistakes are its, too.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import yaml
from ruamel.yaml.resolver import Resolver

_TEXT = "tag:yaml.org,2002:str"
# Tabs, which only libyaml takes in plain text; breaks that are not YAML 1.2's; byte order marks; directives.
_UNUSUAL = re.compile(
    "[^\r\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd]|\r(?!\n)|^%", re.MULTILINE
)

Scalars = Mapping[str, Callable[[str], Any]]
"""By tag: what makes a value of a scalar's text; raises ValueError for one that is no value here."""


class UnusualError(Exception):
    """What stands there is left to the exact reader."""


def quick_values(text: str, scalars: Scalars, max_levels: int) -> Any:
    """The values of the one document in `text`.

    Args:
        text: Of a file of YAML 1.2.
        scalars: What may stand without quotes.
        max_levels: How deep maps and lists may be nested.

    Raises:
        UnusualError: Something is wrong with it, or might be.
    """
    if _UNUSUAL.search(text):
        raise UnusualError
    try:
        return _Values(yaml.parse(text, Loader=yaml.CSafeLoader), scalars, max_levels).of_the_document()
    except (yaml.YAMLError, ValueError) as error:
        raise UnusualError from error


class _Values:
    """Makes values of events, one after the other."""

    def __init__(self, events: Iterator[yaml.Event], scalars: Scalars, max_levels: int) -> None:
        self._events = events
        self._scalars = scalars
        self._max_levels = max_levels

    def of_the_document(self) -> Any:
        self._expect(yaml.StreamStartEvent)
        self._expect(yaml.DocumentStartEvent)
        value = self._value(next(self._events), 0)
        self._expect(yaml.DocumentEndEvent)
        self._expect(yaml.StreamEndEvent)
        return value

    def _expect(self, kind: type[yaml.Event]) -> None:
        if not isinstance(next(self._events), kind):
            raise UnusualError

    def _value(self, event: yaml.Event, level: int) -> Any:
        if level > self._max_levels or event.anchor is not None:
            raise UnusualError
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        if getattr(event, "tag", None) is not None:
            raise UnusualError
        if isinstance(event, yaml.MappingStartEvent):
            return self._map(level)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._list(level)
        raise UnusualError

    def _map(self, level: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        while not isinstance(key := next(self._events), yaml.MappingEndEvent):
            if not isinstance(key, yaml.ScalarEvent) or key.anchor or key.tag or key.value in values:
                raise UnusualError
            values[key.value] = self._value(next(self._events), level + 1)
        return values

    def _list(self, level: int) -> list[Any]:
        values = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            values.append(self._value(event, level + 1))
        return values

    def _scalar(self, event: yaml.ScalarEvent) -> Any:
        if event.tag is not None:
            raise UnusualError
        read_as = self._scalars.get(_tag(event.value) if event.implicit[0] else _TEXT)
        if not read_as:
            raise UnusualError
        return read_as(event.value)


@lru_cache(maxsize=4_096)
def _tag(plain: str) -> str:
    """What a scalar without quotes is by the rules of YAML 1.2."""
    patterns = Resolver.yaml_implicit_resolvers.get(plain[:1], ())
    return next((str(tag) for tag, pattern in patterns if pattern.match(plain)), _TEXT)
