"""Which topics a pattern stands for.

`*` stands for one or more characters other than a dot: `tenant-*.orders` is `tenant-acme.orders`, but neither
`tenant-.orders` nor `tenant-acme.eu.orders`. Some topics are never matched: see `is_ours_or_internal`.
"""

import re

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
    if is_ours_or_internal(topic):
        return False
    return bool(re.fullmatch("[^.]+".join(re.escape(part) for part in pattern.split("*")), topic))
