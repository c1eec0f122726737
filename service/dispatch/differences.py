"""In what two JSON values differ, place by place."""

from collections.abc import Iterator
from typing import Any, NamedTuple


class Absent:
    """Stands where one of two values has nothing."""


ABSENT = Absent()


class Difference(NamedTuple):
    """A place, like `.lines[0].sku`, and what each has there."""

    path: str
    expected: Any
    got: Any


def differences(expected: Any, got: Any, *, partly: bool = False, path: str = "") -> Iterator[Difference]:
    """Where `got` is not as `expected`; nothing where they are one JSON.

    1, 1.0 and true are three values, as they are on the wire.

    Args:
        expected: JSON.
        got: JSON.
        partly: Whether maps in `got` may have keys that `expected` does not name.
        path: Where both stand.
    """
    if isinstance(expected, dict) and isinstance(got, dict):
        names = [*expected, *(() if partly else (name for name in got if name not in expected))]
        for name in names:
            sides = expected.get(name, ABSENT), got.get(name, ABSENT)
            yield from differences(*sides, partly=partly, path=f"{path}{_step(name)}")
    elif isinstance(expected, list) and isinstance(got, list):
        for index in range(max(len(expected), len(got))):
            items = (one[index] if index < len(one) else ABSENT for one in (expected, got))
            yield from differences(*items, partly=partly, path=f"{path}[{index}]")
    elif type(expected) is not type(got) or expected != got:
        yield Difference(path, expected, got)


def _step(name: str) -> str:
    return f".{name}" if name.isidentifier() else f"[{name!r}]"
