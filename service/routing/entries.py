"""Maps of route files as they were read, each with its place: what is judged without the grammar's models.

One mistake must not hide another: a file that the grammar refuses is judged all the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from service.errors import Finding
from service.routing.reading import Document, Loc

ACTIONS = ("start", "signal", "cancel", "complete")


@dataclass(frozen=True, slots=True)
class Entry:
    """A map somewhere in a file."""

    document: Document
    loc: Loc
    keys: dict[str, Any]

    @property
    def name(self) -> str:
        """The key that it stands under."""
        return str(self.loc[-1])

    def text(self, key: str) -> str | None:
        """The text under `key`, if there is one."""
        value = self.keys.get(key)
        return value if isinstance(value, str) else None

    def texts(self, key: str) -> list[str]:
        """The texts under `key`: one, or those of a list."""
        value = self.keys.get(key)
        return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]

    def below(self, key: str) -> "Entry | None":
        """The map under `key`, if there is one."""
        value = self.keys.get(key)
        return Entry(self.document, (*self.loc, key), value) if isinstance(value, dict) else None

    def at_key(self, code: str, key: str, problem: str, cure: str = "") -> Finding:
        """A finding at `key`."""
        return self.document.at_key(code, (*self.loc, key), problem, cure)

    def at_value(self, code: str, key: str, problem: str, cure: str = "") -> Finding:
        """A finding at the value of `key`."""
        return self.document.at_value(code, (*self.loc, key), problem, cure)

    @property
    def place(self) -> str:
        """Where it stands, for people."""
        return self.document.place(self.loc)


def root(document: Document) -> dict[str, Any]:
    """The keys of a whole file."""
    return document.values if isinstance(document.values, dict) else {}


def routes_in(document: Document) -> Iterator[Entry]:
    """Its routes, in order."""
    routes = root(document).get("routes")
    for index, keys in enumerate(routes if isinstance(routes, list) else ()):
        if isinstance(keys, dict):
            yield Entry(document, ("routes", index), keys)


def named_in(document: Document, key: str) -> Iterator[Entry]:
    """What it declares by name under `key`: topics, task queues."""
    entries = root(document).get(key)
    for name, keys in (entries if isinstance(entries, dict) else {}).items():
        yield Entry(document, (key, name), keys if isinstance(keys, dict) else {})


def actions_of(route: Entry) -> Iterator[Entry]:
    """What a route asks for."""
    return (action for name in ACTIONS if (action := route.below(name)))


def starts_of(route: Entry) -> Iterator[Entry]:
    """The starts in it: its own, and that of a signal's `or_start`."""
    signal = route.below("signal")
    return (start for start in (route.below("start"), signal.below("or_start") if signal else None) if start)


def id_of(action: Entry) -> str:
    """The key that holds the id of its workflow."""
    return "id" if action.name == "start" else "to"
