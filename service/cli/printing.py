"""How things look on a terminal."""

from datetime import datetime, timedelta
from typing import Any

import orjson
from rich.console import Console
from rich.markup import escape

from service.documents.plain import plain as plain  # noqa: PLC0414 - for those who print
from service.kafka.record import Record

console = Console(highlight=False, soft_wrap=True, emoji=False)


def show_record(record: Record) -> None:
    """One record in a few lines: place, key, headers, value; cut where long."""
    key = text_of(record.key, 80)
    console.print(f"[bold]{record}[/] key {escape(plain(key))}", markup=True)
    for name, value in record.headers:
        console.print(f"  {plain(name)}: {plain(text_of(value, 120))}", markup=False, style="dim")
    console.print(f"  {text_of(record.value, 2_000)}", markup=False)


def text_of(raw: bytes | None, limit: int = 1_000_000) -> str:
    """Bytes as people read them: text where it is text, else hexadecimal digits; cut where long."""
    if raw is None:
        return "(none)"
    text = raw.decode(errors="backslashreplace")
    if not text.replace("\n", "").replace("\t", "").isprintable():
        text = f"0x{raw.hex()}"
    return text if len(text) <= limit else f"{text[:limit]}… ({len(raw)} bytes)"


def json_of(value: Any) -> str:
    """`value` as JSON in one line; spans of time and moments as people write them."""
    return orjson.dumps(value, default=_as_text).decode()


def _as_text(value: Any) -> Any:
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g}s"
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)
