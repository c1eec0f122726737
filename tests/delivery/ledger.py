"""The ledger: events by a seed, produced one after the other per key, and what the producer was told."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from tests.delivery.checker import End, Entry, Event, Fate
from tests.integration.service import event_headers

LARGEST_BYTES = 200_000
"""More than the topic takes."""

REQUEST_SECONDS = 5
LATE_EVERY = 20
"""Among so many records of a key one workflow starts late."""

ROUTES_OF: Mapping[str, Mapping[str, End]] = {
    "opened": {"open": End.EFFECT},
    "noted": {"note": End.EFFECT},
    "noted.twice": {"note-first": End.EFFECT, "note-second": End.EFFECT},
    "batched": {"batch": End.EFFECT},
    "marked": {"mark": End.EFFECT},
    "ordered": {"once": End.EFFECT},
    "leased": {"lease": End.EFFECT},
    "released": {"release": End.EFFECT},
    "begun": {"begin": End.EFFECT},
    "late": {"late": End.EFFECT},
    "stranded": {"late": End.PARKED},
    "hurried": {"hurry": End.LETTER},
    "picked": {"pick": End.EFFECT},
    "passed.over": {"pick": End.SKIPPED},
    "split": {"split-note": End.EFFECT, "split-start": End.LETTER},
    "spoilt": {"": End.LETTER},
    "oversized": {"once": End.EFFECT},
}
"""The routes of each type of event, as in `group.py`, and what it comes to by them.

A `late` one is for a target that `begun` starts, a `stranded` one for a target that nobody starts, and so
is a `hurried` one, but its route soon gives up.
"""


@dataclass(frozen=True, slots=True)
class Send:
    """One record to produce: after how many seconds, of which event, and what to do in doubt.

    `insist` sends it again until it is acknowledged, which can write it twice. `target` is the name of the
    workflow that starts late, `at` the record's own time in seconds.
    """

    after: float
    event: Event
    kind: str
    insist: bool = True
    partition: int | None = None
    target: str = ""
    at: float | None = None

    @property
    def value(self) -> bytes:
        if self.kind == "spoilt":
            return b'{"event": '
        data: dict[str, Any] = {
            "event": self.event.id,
            "key": self.event.key,
            "target": self.target or self.event.key,
            "wanted": self.kind != "passed.over",
        }
        if self.kind == "released":
            data["lease"] = self.event.id.replace("released", "leased")
        if self.kind == "oversized":
            data["padding"] = "x" * LARGEST_BYTES
        return json.dumps(data).encode()


def make_plan(
    seed: int, *, keys: int, seconds: float, per_key: int, kinds_left: Sequence[str] = ("stranded",)
) -> Sequence[Sequence[Send]]:
    """What to produce, one list per key; about `per_key` records of each, spread over `seconds`.

    `kinds_left` is of which kinds some are for targets that nobody starts.
    """
    chance = random.Random(f"plan {seed}")
    return [_plan_of(f"k{n:02}", chance, seconds, per_key, kinds_left) for n in range(keys)]


def _plan_of(
    key: str, chance: random.Random, seconds: float, count: int, kinds_left: Sequence[str]
) -> Sequence[Send]:
    sends = [Send(chance.uniform(0, 1), _event(key, "opened", 0), "opened")]
    kinds = ["noted"] * 12 + ["noted.twice"] * 3 + ["batched"] * 6 + ["marked"] * 3 + ["ordered"] * 4
    kinds += ["leased"] * 3 + ["picked", "passed.over", "split"] * 2
    for n in range(1, count):
        after = chance.expovariate(count / seconds)
        if chance.random() < 0.08:
            # The same event in another record: a producer that was not told, or is not careful.
            sends.append(replace(chance.choice(sends[-10:]), after=after, insist=True))
            continue
        kind = chance.choice(kinds) if chance.random() > 0.03 else chance.choice(["spoilt", "oversized"])
        if kind == "leased":
            # Both for certain: a release without its lease would rightly be a letter.
            sends += [Send(after, _event(key, one, n), one) for one in ("leased", "released")]
            continue
        sends.append(Send(after, _event(key, kind, n), kind, insist=chance.random() < 0.7))
    stories = int(count / LATE_EVERY + chance.random())
    for n in range(stories):
        _scatter(_late_story(key, n, chance), sends, chance)
    if stories:
        for kind in kinds_left:
            _scatter([[_late(key, f"{key}-{kind}", n, kind)] for n in range(2)], sends, chance)
    return sends


def _late_story(key: str, number: int, chance: random.Random) -> Sequence[Sequence[Send]]:
    """Signals to a workflow, what starts it, and some more signals in one go, while a park has to deliver.

    It is started from the lane of its signals, or from another one.
    """
    target = f"{key}-{number}"
    before, after = chance.randint(1, 5), chance.randint(2, 6)
    signals = [_late(key, target, n, "late") for n in range(before + after)]
    starter = _event(target, "begun", 0)
    if chance.random() < 0.5:
        starter = replace(starter, key=f"{target}-starter")
    start = Send(0, starter, "begun", target=target)
    return [*([signal] for signal in signals[:before]), [start, *signals[before:-1]], signals[-1:]]


def _late(key: str, target: str, number: int, kind: str) -> Send:
    return Send(0, replace(_event(target, kind, number), key=key), kind, target=target)


def _scatter(story: Sequence[Sequence[Send]], sends: list[Send], chance: random.Random) -> None:
    """Put the parts of `story` among `sends`, in its order."""
    places = sorted(chance.randint(1, len(sends)) for _ in story)
    for place, part in zip(places[::-1], story[::-1], strict=True):
        sends[place:place] = part


def _event(key: str, kind: str, number: int) -> Event:
    return Event(f"{key}.{number:04}.{kind}", key, ROUTES_OF[kind])


@dataclass
class Ledger:
    """Produces, and writes down what became of it; `address` is that of the broker itself."""

    producer: AIOKafkaProducer
    topic: str
    entries: dict[str, Entry] = field(default_factory=dict)
    tries: int = 0

    async def follow(self, plan: Sequence[Send]) -> None:
        """Produce what `plan` says, in its order."""
        for send in plan:
            await asyncio.sleep(send.after)
            await self.send(send)

    async def send(self, send: Send) -> Fate:
        """Produce one record, more than once if that is needed and wanted."""
        while (fate := await self._try(send)) is Fate.UNKNOWN and send.insist:  # noqa: ASYNC110
            await asyncio.sleep(0.5)
        known = self.entries.get(send.event.id)
        # An event is as good as the best that was heard of any of its records.
        ranks = [Fate.FAILED, Fate.UNKNOWN, Fate.ACKED]
        best = max(fate, known.fate, key=ranks.index) if known else fate
        self.entries[send.event.id] = Entry(send.event, best)
        return fate

    async def event(
        self,
        kind: str,
        key: str = "k",
        number: int = 0,
        *,
        partition: int | None = None,
        at: float | None = None,
    ) -> Event:
        """Produce one event that is named here."""
        event = _event(key, kind, number)
        await self.send(Send(0, event, kind, partition=partition, at=at))
        return event

    async def _try(self, send: Send) -> Fate:
        self.tries += 1
        headers = list(event_headers(send.kind, id=send.event.id))
        try:
            async with asyncio.timeout(REQUEST_SECONDS * 3):
                await self.producer.send_and_wait(
                    self.topic,
                    send.value,
                    key=send.event.key.encode(),
                    headers=headers,
                    partition=send.partition,
                    timestamp_ms=None if send.at is None else int(send.at * 1000),
                )
        except MessageSizeTooLargeError:
            return Fate.FAILED
        except (KafkaError, TimeoutError):
            return Fate.UNKNOWN
        return Fate.ACKED


@asynccontextmanager
async def ledger(address: str, topic: str) -> AsyncIterator[Ledger]:
    """A ledger for `topic` at the broker `address`."""
    # Not idempotent: such a producer of aiokafka does not outlive a broker that was killed.
    producer = AIOKafkaProducer(
        bootstrap_servers=address,
        acks="all",
        request_timeout_ms=REQUEST_SECONDS * 1000,
        max_request_size=1 << 22,
    )
    await producer.start()
    try:
        yield Ledger(producer, topic)
    finally:
        stopping = asyncio.ensure_future(producer.stop())
        await asyncio.wait({stopping}, timeout=REQUEST_SECONDS)
        stopping.cancel()
        with suppress(asyncio.CancelledError, KafkaError):
            await stopping
