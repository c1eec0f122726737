"""Times and numbers in the words of a journey."""

from datetime import UTC, datetime, timedelta


def at(moment: datetime) -> str:
    """A moment in UTC, to the second."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def span(time: timedelta) -> str:
    """A span of time in its two largest units: `3 h 20 min`, `45 s`."""
    seconds = max(int(time.total_seconds()), 0)
    days, rest = divmod(seconds, 86_400)
    hours, rest = divmod(rest, 3_600)
    minutes, left = divmod(rest, 60)
    units = [(days, "d"), (hours, "h"), (minutes, "min"), (left, "s")]
    first = next((n for n, (count, _) in enumerate(units) if count), len(units) - 1)
    return " ".join(f"{count} {unit}" for count, unit in units[first : first + 2] if count) or "0 s"


def written_at(timestamp_ms: int) -> datetime:
    """When a record was written; the nearest moment that there is, whatever its producer said."""
    seconds = min(max(timestamp_ms, 0) / 1000, 253_402_300_799)
    return datetime.fromtimestamp(seconds, UTC)


def count(number: int, what: str) -> str:
    """`1 record`, `3 records`."""
    return f"{number} {what}{'' if number == 1 else 's'}"
