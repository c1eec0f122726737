"""Spans of time as people write them: `30s`, `15m`, `2h`, `1d`, or ISO 8601."""

import re
from datetime import timedelta
from typing import Any

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SHORT = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def parse_duration(value: Any) -> Any:
    """Turn `30s` and the like into a timedelta; leave all else to pydantic, which reads ISO 8601.

    Raises:
        ValueError: A bare number, which has no unit.
    """
    if isinstance(value, bool | int | float) or (isinstance(value, str) and value.strip().isdigit()):
        msg = "a time span needs a unit; write for example 30s, 15m or PT30S"
        raise ValueError(msg)
    if isinstance(value, str) and (match := _SHORT.fullmatch(value.strip())):
        number, unit = match.groups()
        return timedelta(seconds=float(number) * _UNITS[unit])
    return value
