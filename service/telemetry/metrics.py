"""Metrics for Prometheus: counted always, served where an address is set; no label by key or workflow id."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from service.errors import Answered, Stage
from service.telemetry.floods import WATCHED, Floods

log = structlog.get_logger(__name__)


SPANS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
AGES = (0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3_600, 21_600, 86_400)
"""Upper ends of what is counted together, in seconds."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What waits for people; None is not known."""

    open_letters: int | None
    open_parks: int | None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a partition is, in records; the age of its oldest one that is not done, in seconds."""

    lag_records: int
    in_flight: int
    finished_ahead: int
    oldest_seconds: float


LABELS: Mapping[str, str] = {
    "answer": "of what kind the answer is that is waited for: " + ", ".join(f"`{one}`" for one in Answered),
    "by": "how it was learned: `callback`, `sweep`, or `person`",
    "group": "the consumer group",
    "kind": "of an outcome: `accepted`, `duplicate`, `parked`, `dead-lettered`, `skipped`, `refused` (by the "
    "handler API, what would else be a letter); of a call: `start`, `signal`, `cancel`, `complete`; of what "
    "is paused: `topic`, `route`, `unknown`",
    "name": "of the topic or route",
    "of": "`same-record`: Kafka delivered it again; `other-record`: another record has the same event id",
    "partition": "its number",
    "reason": "why nothing was done: `tombstone`, `unmatched`, `when` (it is false), or the rule that "
    "decided: `running`, `closed`, `missing`, `late`",
    "route": "its name; empty where no route took the record",
    "rule": "`running`, `closed`, `missing`, `late`",
    "stage": "how far the record had come: " + ", ".join(f"`{one}`" for one in Stage),
    "topic": "its name",
    "what": "`letters` or `parks`",
}
"""All labels that there are, and their values: few in number, whatever comes in."""


@dataclass(frozen=True, slots=True)
class Described:
    """A metric as queries name it, of what type it is, its labels, and what it tells."""

    name: str
    type: str
    labels: Sequence[str]
    text: str


class _Registry(CollectorRegistry):
    """A registry that can tell what its metrics are, also of those that count nothing yet."""

    def __init__(self) -> None:
        super().__init__()
        self.collectors: list[Any] = []

    def register(self, collector: Any) -> None:
        super().register(collector)
        self.collectors.append(collector)

    def described(self) -> Iterable[Described]:
        for collector in self.collectors:
            if isinstance(collector, ProcessCollector):
                continue  # what it has differs from system to system
            labels = getattr(collector, "_labelnames", ())
            for one in collector.describe():
                name = f"{one.name}_total" if one.type == "counter" else one.name
                yield Described(name, one.type, labels, one.documentation)


class Metrics:
    """All metrics of this process; counting one event takes about a microsecond.

    Only the event loop writes them. The endpoint's thread reads.

    Args:
        clock: Monotonic seconds, for what is a flood.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # a second series each that nobody reads
        self.registry = _Registry()
        ProcessCollector(registry=self.registry)
        self._outcomes = Counter(
            "turnout_outcomes",
            "What became of commands, and of records that led to none (route is then empty).",
            ["route", "kind"],
            registry=self.registry,
        )
        self._letters = Counter(
            "turnout_letters",
            "Letters written, by how far the record had come.",
            ["stage"],
            registry=self.registry,
        )
        self._rules = Counter(
            "turnout_rules",
            "Commands whose target was not as expected, by the rule of their route that decided.",
            ["route", "rule", "kind"],
            registry=self.registry,
        )
        self._parked = Counter(
            "turnout_parked",
            "Commands that were parked until their workflow can take them.",
            ["route"],
            registry=self.registry,
        )
        self._skips = Counter(
            "turnout_skips",
            "Records or commands that were skipped, by why.",
            ["route", "reason"],
            registry=self.registry,
        )
        self._duplicates = Counter(
            "turnout_duplicates",
            "Starts that were done before, by the same record or by another one.",
            ["route", "of"],
            registry=self.registry,
        )
        self._reused = Counter(
            "turnout_reused_ids",
            "Records with an event id that another record had lately: they take no effect again.",
            ["topic"],
            registry=self.registry,
        )
        self._open_letters = Gauge(
            "turnout_open_letters",
            "Letters not sent again or discarded yet; of all processes of a group one tells, each minute.",
            ["group"],
            registry=self.registry,
        )
        self._open_parks = Gauge(
            "turnout_open_parks",
            "Workflows for which commands are parked; of all processes of a group one tells, each minute.",
            ["group"],
            registry=self.registry,
        )
        self._paused = Gauge(
            "turnout_paused",
            "1 while a topic or route is paused; kind unknown: no topic or route here is called so.",
            ["kind", "name"],
            registry=self.registry,
        )
        self._waiting = Gauge(
            "turnout_waiting_records",
            "Records whose call has not been through for some seconds; paused ones are not among them.",
            ["answer"],
            registry=self.registry,
        )
        self._oldest = Gauge(
            "turnout_oldest_wait_seconds",
            "For how long the one of them has waited that waits longest; 0 where none does.",
            ["answer"],
            registry=self.registry,
        )
        self._flood = Gauge(
            "turnout_flood",
            "1 while more than a tenth of a minute's outcomes, and at least 20, are letters or parks.",
            ["what"],
            registry=self.registry,
        )
        self._letter_topic = Gauge(
            "turnout_letter_topic_problems",
            "What is wrong with the letter topic, so that letters could be lost or not be written.",
            registry=self.registry,
        )
        self._closings = Counter(
            "turnout_closings",
            "Events published that tell how a workflow ended, by how that was learned.",
            ["by"],
            registry=self.registry,
        )
        self._ready = Gauge(
            "turnout_ready",
            "1 while the process is ready; /readyz says what is wrong.",
            registry=self.registry,
        )
        self._lag = Gauge(
            "turnout_lag_records",
            "Records of a partition that are in the topic, or were read, and are not done yet.",
            ["topic", "partition"],
            registry=self.registry,
        )
        self._lag_seconds = Gauge(
            "turnout_lag_seconds",
            "Age of the oldest record of a partition that was read and is not done yet; 0 where all is done.",
            ["topic", "partition"],
            registry=self.registry,
        )
        self._in_flight = Gauge(
            "turnout_in_flight_records",
            "Records of a partition that were read and are not done yet.",
            ["topic", "partition"],
            registry=self.registry,
        )
        self._ahead = Gauge(
            "turnout_finished_ahead_records",
            "Records of a partition that are done, with one before them that is not.",
            ["topic", "partition"],
            registry=self.registry,
        )
        self._age = Histogram(
            "turnout_event_age_seconds",
            "Age of a record when all that it led to was durable.",
            buckets=AGES,
            registry=self.registry,
        )
        self._calls = Histogram(
            "turnout_call_seconds",
            "What one try of a command took, whatever came of it.",
            ["kind"],
            buckets=SPANS,
            registry=self.registry,
        )
        self._publishing = Histogram(
            "turnout_publish_seconds",
            "What it took until Kafka had acknowledged a result, or had not.",
            buckets=SPANS,
            registry=self.registry,
        )
        self._rebalances = Counter(
            "turnout_rebalances",
            "Times that partitions came or went.",
            registry=self.registry,
        )
        self._loop_lag = Gauge(
            "turnout_loop_lag_seconds",
            "By how much the event loop was late lately; all else waits as long.",
            registry=self.registry,
        )
        self._partitions: frozenset[tuple[str, int]] = frozenset()
        self._paused_now: frozenset[tuple[str, str]] = frozenset()
        self._floods = Floods(clock)
        self._flooding = dict.fromkeys(WATCHED, False)
        # Bound once: to look a child up takes longer than to count with it.
        self._outcome_children: dict[tuple[str, str], Counter] = {}
        self._call_children: dict[str, Histogram] = {}
        self._letter_children = {stage: self._letters.labels(stage.value) for stage in Stage}
        self._waiting_children = {one: self._waiting.labels(one.value) for one in Answered}
        self._oldest_children = {one: self._oldest.labels(one.value) for one in Answered}
        for what in WATCHED:
            self._flood.labels(what).set(0)

    def outcome(self, route: str, kind: str, rule: str = "") -> None:
        """Count what became of one command, and which rule of its route decided that, if one did."""
        child = self._outcome_children.get((route, kind))
        if child is None:
            child = self._outcome_children[route, kind] = self._outcomes.labels(route, kind)
        child.inc()
        self._floods.note(kind)
        if rule:
            self._rules.labels(route, rule, kind).inc()
        if kind == WATCHED["parks"]:
            self._parked.labels(route).inc()

    def skipped(self, route: str, reason: str) -> None:
        """Count what was skipped, by why."""
        self._skips.labels(route, reason).inc()

    def duplicate(self, route: str, of: str) -> None:
        """Count a start that was done before."""
        self._duplicates.labels(route, of).inc()

    def reused_id(self, topic: str) -> None:
        """Count a record whose event id another record had."""
        self._reused.labels(topic).inc()

    def standing(self, group: str, now: "Standing | None") -> None:
        """Show what waits for people; None: that is for another process to show, or not known."""
        letters, parks = (now.open_letters, now.open_parks) if now else (None, None)
        for gauge, value in ((self._open_letters, letters), (self._open_parks, parks)):
            if value is not None:
                gauge.labels(group).set(value)
            else:
                with suppress(KeyError):
                    gauge.remove(group)

    def letter(self, stage: Stage) -> None:
        """Count a letter that was written."""
        self._letter_children[stage].inc()

    def closing(self, by: str) -> None:
        """Count an event that tells how a workflow ended."""
        self._closings.labels(by).inc()

    def ready(self, ready: bool) -> None:
        """Show whether the process is ready."""
        self._ready.set(ready)

    def letter_topic(self, problems: int) -> None:
        """Show how much is wrong with the letter topic."""
        self._letter_topic.set(problems)

    def paused(self, now: Iterable[tuple[str, str]]) -> None:
        """Show what is paused now: kind and name of each, and of nothing else."""
        current = frozenset(now)
        # Not all at once: a scrape in between would see the others gone, and an alert begin anew.
        for gone in self._paused_now - current:
            self._paused.remove(*gone)
        for one in current - self._paused_now:
            self._paused.labels(*one).set(1)
        self._paused_now = current

    def measure(self, waits: Iterable[tuple[Answered, float]]) -> None:
        """Note what waits now, and look whether there is a flood; to be called every second or so.

        Args:
            waits: Of each record that waits, for what, and for how many seconds already.
        """
        counts, oldest = dict.fromkeys(Answered, 0), dict.fromkeys(Answered, 0.0)
        for answer, seconds in waits:
            counts[answer] += 1
            oldest[answer] = max(oldest[answer], seconds)
        for one in Answered:
            self._waiting_children[one].set(counts[one])
            self._oldest_children[one].set(oldest[one])
        for what, floods in self._floods.now().items():
            self._flood.labels(what).set(floods)
            if floods and not self._flooding[what]:
                log.warning("flood", of=what, cure="find the route or topic, then: turnout pause NAME")
            self._flooding[what] = floods

    def finished(self, age_seconds: float) -> None:
        """Count a record that is done, of that age."""
        self._age.observe(max(age_seconds, 0))

    def called(self, kind: str, seconds: float) -> None:
        """Count one try of a command."""
        child = self._call_children.get(kind)
        if child is None:
            child = self._call_children[kind] = self._calls.labels(kind)
        child.observe(seconds)

    def published(self, seconds: float) -> None:
        """Count one result, or one try of it."""
        self._publishing.observe(seconds)

    def rebalanced(self) -> None:
        """Count a step of a rebalance."""
        self._rebalances.inc()

    def loop_lag(self, seconds: float) -> None:
        """Show by how much the event loop is late."""
        self._loop_lag.set(max(seconds, 0))

    def progress(self, now: Mapping[tuple[str, int], "Progress"]) -> None:
        """Show how far the partitions are that we have now, and no others."""
        shown = (self._lag, self._lag_seconds, self._in_flight, self._ahead)
        for topic, number in self._partitions - now.keys():
            for gauge in shown:
                gauge.remove(topic, str(number))
        for (topic, number), one in now.items():
            values = (one.lag_records, one.oldest_seconds, one.in_flight, one.finished_ahead)
            for gauge, value in zip(shown, values, strict=True):
                gauge.labels(topic, str(number)).set(value)
        self._partitions = frozenset(now)

    def text(self) -> str:
        """All of it as Prometheus reads it."""
        return generate_latest(self.registry).decode()

    def described(self) -> Sequence[Described]:
        """What there is to see, also of what counts nothing yet."""
        return list(self.registry.described())
