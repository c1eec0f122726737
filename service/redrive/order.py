"""Letters of one key in the order of their records, in bounded memory."""

import sqlite3
from collections import defaultdict
from collections.abc import Container, Mapping
from hashlib import blake2b
from typing import NamedTuple, Self

from service.errors import ConfigurationError
from service.kafka.record import Partition, Record
from service.redrive.letterbox import Place

CACHE_KIB = 16_384
MOST_BEHIND = 10_000

Lane = bytes
"""Stands for the records whose order counts: those of one partition with one key."""


class Behind(NamedTuple):
    """A letter that lies behind one of a later record of its lane."""

    record_offset: int
    place: Place


class Order:
    """Finds out, of letters walked past, which lie behind later ones of their lane.

    A letter that failed again lies at the end of the topic, and so it may be that of an early record. Most
    letters lie in order, and millions of them do not fit into memory: what is noted goes to a file without a
    name where it is much, and is gone at the end of the block.

    Args:
        by_partition: Topics whose order is that of the partition, whatever the key.
    """

    def __init__(self, by_partition: Container[str] = ()) -> None:
        self._by_partition = by_partition
        self._notes = sqlite3.connect("")
        self._notes.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        self._notes.execute("CREATE TABLE kept_back (lane BLOB PRIMARY KEY) WITHOUT ROWID")
        self._notes.execute(
            "CREATE TABLE walked (n INTEGER PRIMARY KEY, lane BLOB, record_offset INTEGER, "
            "topic TEXT, number INTEGER, offset INTEGER)"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._notes.close()

    def lane(self, record: Record) -> Lane:
        """The lane of a record that was given up on."""
        key = None if record.topic in self._by_partition else record.key
        text = f"{record.topic}/{record.partition}/{'' if key is None else '='}".encode()
        return blake2b(text + (key or b""), digest_size=16).digest()

    def note(self, record: Record, place: Place) -> None:
        """Walk past the letter of `record`, which lies at `place`."""
        self._notes.execute(
            "INSERT INTO walked (lane, record_offset, topic, number, offset) VALUES (?, ?, ?, ?, ?)",
            (self.lane(record), record.offset, *place.partition, place.offset),
        )

    def keep_back(self, lane: Lane) -> None:
        """Let nothing of `lane` go any more: a letter of it stays open."""
        self._notes.execute("INSERT OR IGNORE INTO kept_back VALUES (?)", (lane,))

    def is_kept_back(self, lane: Lane) -> bool:
        """Whether a letter of `lane` stays open."""
        return bool(self._notes.execute("SELECT 1 FROM kept_back WHERE lane = ?", (lane,)).fetchone())

    def behind(self) -> Mapping[Lane, list[Behind]]:
        """The letters that lie behind later ones, by lane, in the order of their records.

        Raises:
            ConfigurationError: There are too many of them.
        """
        found: defaultdict[Lane, list[Behind]] = defaultdict(list)
        rows = self._notes.execute(
            "SELECT lane, record_offset, topic, number, offset FROM ("
            "  SELECT *, MAX(record_offset) OVER ("
            "    PARTITION BY lane ORDER BY n ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING"
            "  ) AS passed FROM walked"
            ") WHERE record_offset < passed ORDER BY lane, record_offset, n LIMIT ?",
            (MOST_BEHIND + 1,),
        )
        for count, (lane, record_offset, topic, number, offset) in enumerate(rows):
            if count == MOST_BEHIND:
                raise ConfigurationError(
                    f"more than {MOST_BEHIND} letters lie behind those of later records with the same key; "
                    "send fewer at once, by --route, --type or --until"
                )
            found[lane].append(Behind(record_offset, Place(Partition(topic, number), offset)))
        return found
