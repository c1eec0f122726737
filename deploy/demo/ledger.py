"""What an observer sees: every record on the demo's topics, and every outcome in the bridge's log."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Sighting:
    """A record as a subscriber reads it: its event's type and id, and the order that it is about.

    `at` is in seconds since 1970, by the clock of whoever wrote it.
    """

    place: str
    topic: str
    type: str
    id: str
    order_id: str
    at: float
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class LoggedOutcome:
    """One line of the bridge's log: what became of one route's part of a record."""

    place: str
    kind: str
    route: str
    workflow_id: str
    detail: str
    at: float


class Ledger:
    """Reads all of `topics` from the beginning, without a group, and the bridge's log beside it."""

    def __init__(self, bootstrap_servers: str, topics: Sequence[str], bridge_log: Path) -> None:
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest", fetch_max_wait_ms=50
        )
        self._topics = topics
        self._log = bridge_log
        self._read = 0
        self.sightings: list[Sighting] = []
        self.outcomes: list[LoggedOutcome] = []

    async def run(self) -> None:
        """Read until cancelled."""
        await self._consumer.start()
        try:
            places = [TopicPartition(t, p) for t in self._topics for p in await self._partitions(t)]
            self._consumer.assign(places)
            await self._consumer.seek_to_beginning(*places)
            while True:
                for batch in (await self._consumer.getmany(timeout_ms=50)).values():
                    self.sightings += map(_sighting, batch)
                self.outcomes += self._new_outcomes()
        finally:
            await self._consumer.stop()

    async def until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait until `condition` holds; False if it does not within `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                while not condition():  # noqa: ASYNC110 - conditions look at much more than one event
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            return False
        return True

    def results(self, topic: str, type_: str, order_id: str | None = None) -> list[Sighting]:
        """Events of that type, each id once: what a subscriber that drops repeats is left with."""
        found = {
            s.id: s
            for s in reversed(self.sightings)
            if s.topic == topic and s.type == type_ and order_id in (None, s.order_id)
        }
        return list(found.values())

    def repeats(self, topic: str) -> int:
        """How many records repeat the id of an earlier one."""
        return sum(n - 1 for n in Counter(s.id for s in self.sightings if s.topic == topic).values())

    def outcome(self, place: str) -> LoggedOutcome | None:
        """What became of the record at that place, as far as the log says."""
        return next((o for o in self.outcomes if o.place == place), None)

    async def _partitions(self, topic: str) -> Sequence[int]:
        await self._consumer._client.set_topics(set(self._topics))  # noqa: SLF001 - else unknown before assign
        return sorted(self._consumer.partitions_for_topic(topic) or ())

    def _new_outcomes(self) -> Iterator[LoggedOutcome]:
        if not self._log.exists():
            return
        with self._log.open("rb") as log:
            log.seek(self._read)
            for line in log:
                if not line.endswith(b"\n"):
                    return
                self._read += len(line)
                if outcome := _outcome(line):
                    yield outcome


def _outcome(line: bytes) -> LoggedOutcome | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    if not isinstance(entry, dict) or entry.get("event") not in OUTCOMES or "offset" not in entry:
        return None
    return LoggedOutcome(
        place=f"{entry['topic']}[{entry['partition']}]@{entry['offset']}",
        kind=entry["event"],
        route=entry.get("route", ""),
        workflow_id=entry.get("workflow_id", ""),
        detail=entry.get("detail", ""),
        at=datetime.fromisoformat(entry["timestamp"]).timestamp(),
    )


OUTCOMES = frozenset({"accepted", "duplicate", "dead-lettered", "skipped"})


def _sighting(record: ConsumerRecord[bytes, bytes]) -> Sighting:
    headers = {name: value.decode(errors="replace") for name, value in record.headers if value is not None}
    body = _json(record.value)
    event: dict[str, Any] = body if "specversion" in body else {}
    data = event.get("data", body)
    return Sighting(
        place=f"{record.topic}[{record.partition}]@{record.offset}",
        topic=record.topic,
        type=headers.get("ce_type") or event.get("type") or headers.get("event-type", ""),
        id=headers.get("ce_id") or event.get("id") or data.get("event_id", ""),
        order_id=str(data.get("order_id", (record.key or b"").decode(errors="replace"))),
        at=record.timestamp / 1000,
        headers=headers,
    )


def _json(value: bytes | None) -> dict[str, Any]:
    try:
        body = json.loads(value or b"")
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
