"""The contract between Kafka and the rest of the service: one record, as delivered."""

from dataclasses import dataclass
from typing import NamedTuple

Headers = tuple[tuple[str, bytes | None], ...]


class Partition(NamedTuple):
    """A partition of a topic."""

    topic: str
    number: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.number}]"


@dataclass(frozen=True, slots=True)
class Record:
    """What Kafka delivered: bytes, and where they lie.

    `timestamp_ms` is in milliseconds since 1970 UTC, as the broker keeps it.
    Headers keep their order and their repeats.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int

    @property
    def place(self) -> Partition:
        """The partition it lies in."""
        return Partition(self.topic, self.partition)

    @property
    def size_bytes(self) -> int:
        """Bytes of key, value and headers; Kafka's framing is not counted."""
        headers = sum(len(name) + len(value or b"") for name, value in self.headers)
        return len(self.key or b"") + len(self.value or b"") + headers

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"
