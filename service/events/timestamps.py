"""Times of events: RFC 3339 text."""

import re
from datetime import UTC, date, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST_MS = 253_402_300_799_999
_RFC_3339 = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt]"
    r"([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?"
    r"([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)


def is_rfc_3339(text: str) -> bool:
    """Whether `text` is a `date-time` of RFC 3339 (section 5.6), leap seconds included."""
    match = _RFC_3339.fullmatch(text)
    if match is None:
        return False
    try:
        date.fromisoformat(match[1])
    except ValueError:
        return False
    return True


def rfc_3339(timestamp_ms: int) -> str:
    """`timestamp_ms` in UTC with milliseconds; `""` if there is none or no such year.

    Brokers keep any number a producer sends: -1 means none, and microseconds in place of
    milliseconds lead beyond the year 9999, where RFC 3339 ends.
    """
    if not 0 <= timestamp_ms <= _LATEST_MS:
        return ""
    time = _EPOCH + timedelta(milliseconds=timestamp_ms)
    return f"{time.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"
