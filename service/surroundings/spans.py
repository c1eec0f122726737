"""Spans of time as people say them."""

FOREVER_MS = -1
_UNITS = (("days", 86_400_000), ("hours", 3_600_000), ("minutes", 60_000), ("seconds", 1_000))


def days(milliseconds: int) -> str:
    """A span as people say it: in days where it is one or more, else in smaller units; -1 is for ever."""
    if milliseconds == FOREVER_MS:
        return "for ever"
    for unit, size in _UNITS:
        if milliseconds >= size:
            number = f"{milliseconds / size:.3g}"
            return f"{number} {unit.removesuffix('s') if number == '1' else unit}"
    return f"{milliseconds} ms"
