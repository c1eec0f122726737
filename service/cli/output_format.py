"""How a command writes what it found."""

from enum import StrEnum


class Format(StrEnum):
    """For people, or for programs."""

    TEXT = "text"
    JSON = "json"
