"""Which topics a pattern stands for.

`*` stands for one or more characters other than a dot: `tenant-*.orders` is `tenant-acme.orders`, but neither
`tenant-.orders` nor `tenant-acme.eu.orders`. Some topics are never matched: see `is_ours_or_internal`.
"""

LETTERS = ".dead-letters"
"""The end of the names of topics that hold letters, of whatever group."""


def is_pattern(name: str) -> bool:
    """Whether a declared name stands for all topics of its kind."""
    return "*" in name


def is_ours_or_internal(topic: str) -> bool:
    """Whether no pattern matches `topic`, whatever it says: Kafka's own topics, hidden ones, and letters."""
    return topic.startswith("_") or topic.endswith(LETTERS)


def matches(pattern: str, topic: str) -> bool:
    """Whether `topic` is one of those that `pattern` stands for."""
    segments, wanted = topic.split("."), pattern.split(".")
    if is_ours_or_internal(topic) or len(segments) != len(wanted):
        return False
    return all(_is_like(*pair) for pair in zip(wanted, segments, strict=True))


def _is_like(wanted: str, segment: str) -> bool:
    # Not as a regular expression: one with many stars takes for ever where it does not match.
    first, *others = wanted.split("*")
    if not others:
        return segment == wanted
    end = len(first) if segment.startswith(first) else len(segment)
    for part in others[:-1]:
        found = segment.find(part, end + 1)
        end = found + len(part) if found >= 0 else len(segment)
    return segment.endswith(others[-1]) and len(segment) - len(others[-1]) > end
