"""How letters look: as tables, in full, and as JSON for programs."""

import re
from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from service.cli.printing import console, plain, text_of
from service.failures.letters import Letter
from service.kafka.raw import MENDED
from service.kafka.record import Record
from service.redrive.choosing import type_of
from service.redrive.counting import Counts
from service.redrive.letterbox import Found, Place
from service.redrive.sending import Said

WIDE = 200
MOST_KINDS = 50
AROUND = 40

_BYTE = re.compile(r"byte (\d+)")


def show_counts(counts: Counts, topic: str) -> None:
    """How many letters of which kind."""
    _print(f"{counts.letters} open letters in {topic}")
    if not counts.letters:
        return
    table = _table("letters", "stage", "route", "type", "reason", "first", "last")
    for kind, count in islice(counts.by_number(), MOST_KINDS):
        table.add_row(str(count.letters), *map(plain, kind), _time(count.first), _time(count.last))
    _print(table)


def show_letters(found: Sequence[Found], *, of: int) -> None:
    """One row each."""
    if not found:
        return
    table = _table("record", "route", "key", "failed", "sends", "reason")
    for one in found:
        if letter := one.letter:
            key = text_of(letter.record.key, 40)
            row = [letter.about.route, key, _time(letter.failed_at), str(letter.sends), letter.reason]
            table.add_row(*map(plain, [str(Place.of(letter.record)), *row]))
        else:
            table.add_row(str(one.place), "", plain(text_of(one.lies.key, 40)), "", "", "(no letter of ours)")
    _print(table)
    if len(found) < of:
        _print(f"… and more: {of} in all")


def line_of(said: Said, note: str = "") -> str:
    """What became of one letter, in one line."""
    letter = said.found.letter
    record = str(Place.of(letter.record)) if letter else str(said.found.place)
    route = f"route {letter.about.route}" if letter and letter.about.route else ""
    more = [*said.lines, str(said.later), note]
    if route and any(line.startswith(route) for line in said.lines):
        route = ""
    words = "; ".join(part for part in [route, *more] if part)
    return plain(f"{said.fate.value}  {record}  {words}".rstrip())


def in_full(found: Found, would: Sequence[str]) -> None:
    """All that is known of one, with its payload, and what today's routes would do."""
    letter, record = found.letter, found.letter.record if found.letter else found.lies
    facts = {"letter": str(found.place), "record": str(Place.of(record)) if letter else "", **_facts(letter)}
    for name, fact in facts.items():
        if fact:
            _print(f"[bold]{name:<14}[/]", end="", markup=True)
            _print(plain(fact))
    if mended := _mended(record):
        _print(f"{'header names':<14}{plain(mended)}")
    _print(f"{'key':<14}{plain(text_of(record.key, 200))}")
    _print("headers")
    for name, value in record.headers:
        _print(f"  {plain(name)}: {plain(text_of(value, 500))}")
    _print("payload")
    for line in _payload(record).splitlines():
        _print(f"  {plain(line)}")
    if letter and (pointer := _pointer(record, letter.position)):
        _print(f"wrong here\n{pointer}")
    for line in would:
        _print(f"today          {plain(line)}")
    _print("")


def as_json(found: Found, would: Sequence[str] | None = None) -> dict[str, Any]:
    """The same for programs; with `would`, headers, payload and what today's routes would do, too."""
    letter, record = found.letter, found.letter.record if found.letter else found.lies
    document: dict[str, Any] = {"letter": str(found.place), "is_letter": letter is not None}
    if letter:
        document |= {
            "record": str(Place.of(record)),
            "key": text_of(record.key) if record.key is not None else None,
            "stage": letter.stage,
            "route": letter.about.route,
            "type": type_of(letter),
            "error": letter.error,
            "retriable": letter.retriable,
            "reason": letter.reason,
            "position": letter.position,
            "workflow_id": letter.about.workflow_id,
            "workflow_url": letter.about.workflow_url,
            "sends": letter.sends,
            "first_failed_at": letter.first_failed_at.isoformat(),
            "failed_at": letter.failed_at.isoformat(),
        }
    if would is not None:
        headers = [{"name": name, **_raw("value", value)} for name, value in record.headers]
        document |= {"headers": headers, **_raw("value", record.value), "today": list(would)}
    return document


def _facts(letter: Letter | None) -> dict[str, str]:
    if letter is None:
        return {"is": "no letter of ours"}
    written = letter.record.timestamp_ms
    return {
        "written": _time(datetime.fromtimestamp(written / 1000, UTC)) if 0 <= written < 1 << 47 else "",
        "stage": letter.stage,
        "route": letter.about.route or "(none ran; all run when it is sent)",
        "type": type_of(letter),
        "error": f"{letter.error}, {'may pass as it is' if letter.retriable else 'needs something mended'}",
        "reason": letter.reason,
        "position": letter.position,
        "workflow": letter.about.workflow_url or letter.about.workflow_id,
        "sent again": f"{letter.sends} times" if letter.sends else "",
        "first failed": _time(letter.first_failed_at),
        "failed": _time(letter.failed_at),
    }


def _mended(record: Record) -> str:
    """That the record is not quite as it was delivered, and so not when it is sent again either."""
    places = dict(record.headers).get(MENDED)
    if not places:
        return ""
    return (
        f"not UTF-8 in headers {text_of(places, 100)} (counted from 0): bytes that are none are written as "
        "\\xff here, and so they are when it is sent again"
    )


def _payload(record: Record) -> str:
    """JSON with one member per line; all else as it is."""
    try:
        return orjson.dumps(orjson.loads(record.value or b""), option=orjson.OPT_INDENT_2).decode()
    except (orjson.JSONDecodeError, TypeError):
        return text_of(record.value, 10_000)


def _pointer(record: Record, position: str) -> str:
    """The bytes around the one that is wrong, which is pointed at."""
    form = _BYTE.fullmatch(position)
    if not form or record.value is None:
        return ""
    at = int(form[1])
    before = plain(text_of(record.value[max(at - AROUND, 0) : at])) if at else ""
    behind = plain(text_of(record.value[at : at + AROUND]))
    return f"  {before}{behind}\n  {' ' * len(before)}^ byte {at}"


def _raw(name: str, value: bytes | None) -> dict[str, str | None]:
    """Text where it is text, else Base64 under a name that says so."""
    if value is None:
        return {name: None}
    try:
        return {name: value.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": b64encode(value).decode()}


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        numbers = column in {"letters", "sends"}
        table.add_column(column, overflow="fold", justify="right" if numbers else "left")
    return table


def _print(what: Any, *, end: str = "\n", markup: bool = False) -> None:
    # Into a file or another program, nothing is to be folded for a narrow terminal.
    to = console if console.is_terminal else Console(width=WIDE, highlight=False, emoji=False)
    to.print(what, end=end, markup=markup, soft_wrap=isinstance(what, str))
