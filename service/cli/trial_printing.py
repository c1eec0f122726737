"""How a trial of routes looks: as tables and lines, and as JSON for programs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from service.cli.printing import console, plain
from service.routing.table import Route
from service.trial import ToTry, Tried
from service.trying.differences import described
from service.trying.effects import COMMANDS, Becomes
from service.trying.tally import Failure, Kind, Kinds, Tally

WIDE = 200
MOST_KINDS = 50
"""That people are shown, of failures and of differences each; programs get all."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A trial, with what was asked for; `not_looked_at` are topics that only the routes read that run now."""

    routes: Path
    against: Path | None
    to_try: ToTry
    tried: Tried
    not_looked_at: Sequence[str]

    @property
    def by_route(self) -> Sequence[tuple[str, Route]]:
        """The topics that were read, each with each route that reads it, in the order of the routes."""
        table = self.to_try.table
        return [
            (topic, route)
            for route in table.routes
            for topic in table.topics_of(route, self.topics)
            if topic in self.topics
        ]

    @property
    def topics(self) -> Sequence[str]:
        """Those that were read, in order; also without a record."""
        return list(dict.fromkeys(partition.topic for partition in self.tried.held))


# --- for people ---


def show(shown: Shown) -> None:
    """All that was found, the most frequent first."""
    tally = shown.tried.tally
    if not shown.tried.complete:
        _say("stopped before the end: this is of what was read until then")
    _say(f"{tally.records} records tried with {shown.routes}; no call was made")
    for line in _notes(shown):
        _say(line)
    if shown.topics:
        _print(_topics(shown))
    if shown.by_route:
        _print(_routes(shown))
    if tally.failing:
        _say(f"\n{tally.failing} records would fail{_newly(shown)}")
        failures = tally.failures.by_number()
        _kinds([(_failure(failure), kind, kind.text) for failure, kind in failures], tally.failures)
    if shown.against:
        _say(f"\n{tally.differing or 'no'} records would end otherwise than with {shown.against}")
        found = tally.differences.by_number()
        told = [(_of(difference.route), kind, described(difference)) for difference, kind in found]
        _kinds(told, tally.differences)
    if tally.failing or tally.differing:
        _say(f"\nlook at one: turnout routes explain TOPIC/PARTITION/OFFSET --routes {shown.routes}")


def _newly(shown: Shown) -> str:
    if not shown.against:
        return ""
    return f", {shown.tried.tally.failing_newly or 'none'} of them in a way that they do not now"


def _notes(shown: Shown) -> Iterator[str]:
    if missing := shown.tried.missing:
        yield f"there is no topic {', '.join(missing)}, or we may not see it: a bridge would not start"
    if shown.not_looked_at:
        topics = ", ".join(shown.not_looked_at)
        yield f"{shown.routes} does not read {topics}, as {shown.against} does: look at that with --topic"


def _topics(shown: Shown) -> Table:
    table = _table("topic", "records", "oldest", "newest", "tombstones", "unmatched", *_FAILED)
    tally = shown.tried.tally
    for topic in shown.topics:
        count = tally.topics.get(topic)
        times = [_time(count.oldest_ms), _time(count.newest_ms)] if count else ["", ""]
        skipped = [tally.of(topic, "", one) for one in (Becomes.TOMBSTONE, Becomes.UNMATCHED)]
        numbers = [*skipped, *_failed(tally, topic, "")]
        table.add_row(topic, str(count.records if count else 0), *times, *map(str, numbers))
    return table


def _routes(shown: Shown) -> Table:
    table = _table("route", "topic", "asks for", "commands", "skipped", *_FAILED)
    tally = shown.tried.tally
    for topic, route in shown.by_route:
        place = (topic, route.name)
        asked = [tally.of(*place, *COMMANDS), tally.of(*place, Becomes.SKIPPED)]
        numbers = [*asked, *_failed(tally, *place)]
        table.add_row(route.name, topic, _asks_for(route), *map(str, numbers))
    return table


_FAILED = {"letters": Becomes.LETTER, "held": Becomes.HOLDS, "stopped": Becomes.STOPS}


def _failed(tally: Tally, topic: str, route: str) -> Sequence[int]:
    return [tally.of(topic, route, becomes) for becomes in _FAILED.values()]


def _asks_for(route: Route) -> str:
    keys = route.keys
    if keys.signal:
        return "signal, or start" if keys.signal.or_start else "signal"
    return "start" if keys.start else "cancel" if keys.cancel else "complete"


def _kinds(told: Sequence[tuple[str, Kind, str]], kinds: Kinds[Any]) -> None:
    for of, kind, text in told[:MOST_KINDS]:
        _say(f"{kind.count:>8}  {of}: {text}")
        _say(f"{'':>10}first: {', '.join(map(str, kind.first))}")
    if more := kinds.count - sum(kind.count for _, kind, _ in told[:MOST_KINDS]):
        _say(f"{more:>8}  of other kinds")


def _failure(failure: Failure) -> str:
    becomes = f"letter ({failure.stage})" if failure.stage else failure.becomes.value
    return f"{_of(failure.route)}, {becomes}"


def _of(route: str) -> str:
    return f"route {route}" if route else "record"


def _time(ms: int) -> str:
    if not 0 <= ms < 1 << 47:
        return str(ms)
    return datetime.fromtimestamp(ms // 1000, UTC).isoformat().replace("+00:00", "Z")


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        text = column in {"topic", "route", "asks for", "oldest", "newest"}
        table.add_column(column, overflow="fold", justify="left" if text else "right")
    return table


def _say(text: str) -> None:
    console.print("\n".join(map(plain, text.split("\n"))), markup=False)


def _print(table: Table) -> None:
    # Into a file or another program, nothing is to be folded for a narrow terminal.
    to = console if console.is_terminal else Console(width=WIDE, highlight=False, emoji=False)
    to.print("")
    to.print(table)


# --- for programs ---


def as_json(shown: Shown) -> dict[str, Any]:
    """The same, with all kinds."""
    tried, tally = shown.tried, shown.tried.tally
    return {
        "routes": str(shown.routes),
        "against": str(shown.against) if shown.against else None,
        "complete": tried.complete,
        "missing_topics": list(tried.missing),
        "not_looked_at": list(shown.not_looked_at),
        "records": tally.records,
        "failing": tally.failing,
        "failing_newly": tally.failing_newly if shown.against else None,
        "differing": tally.differing if shown.against else None,
        "topics": [_topic_as_json(shown, topic) for topic in shown.topics],
        "by_route": [_route_as_json(tally, topic, route) for topic, route in shown.by_route],
        "failures": [
            {**failure._asdict(), "reason": kind.text, **_counted(kind)}
            for failure, kind in tally.failures.by_number()
        ],
        "differences": [
            {**difference._asdict(), **_counted(kind)} for difference, kind in tally.differences.by_number()
        ],
        "other_failures": tally.failures.others,
        "other_differences": tally.differences.others,
    }


def _topic_as_json(shown: Shown, topic: str) -> dict[str, Any]:
    tally = shown.tried.tally
    count = tally.topics.get(topic)
    held = {partition: offsets for partition, offsets in shown.tried.held.items() if partition.topic == topic}
    return {
        "topic": topic,
        "records": count.records if count else 0,
        "oldest_ms": count.oldest_ms if count else None,
        "newest_ms": count.newest_ms if count else None,
        "partitions": [
            {"partition": partition.number, "from": offsets.start, "until": offsets.stop}
            for partition, offsets in held.items()
        ],
        "tombstones": tally.of(topic, "", Becomes.TOMBSTONE),
        "unmatched": tally.of(topic, "", Becomes.UNMATCHED),
        **dict(zip(_FAILED, _failed(tally, topic, ""), strict=True)),
    }


def _route_as_json(tally: Tally, topic: str, route: Route) -> dict[str, Any]:
    return {
        "route": route.name,
        "topic": topic,
        "asks_for": _asks_for(route),
        "commands": tally.of(topic, route.name, *COMMANDS),
        "skipped": tally.of(topic, route.name, Becomes.SKIPPED),
        **dict(zip(_FAILED, _failed(tally, topic, route.name), strict=True)),
    }


def _counted(kind: Kind) -> dict[str, Any]:
    return {"count": kind.count, "first": [str(place) for place in kind.first]}
