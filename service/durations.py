"""Spans of time as people write them: `30s`, `15m`, `2h`, `1d`, or ISO 8601 up to days."""

import re
from datetime import timedelta

_SHORT = re.compile(r"([0-9]{1,9})(s|m|h|d)", re.ASCII)
_ISO_8601 = re.compile(
    r"P(?:(?P<days>[0-9]{1,6})D)?"
    r"(?:T(?:(?P<hours>[0-9]{1,9})H)?(?:(?P<minutes>[0-9]{1,9})M)?(?:(?P<seconds>[0-9]{1,9}(?:\.[0-9]{1,6})?)S)?)?"
)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_LONGEST = timedelta(days=36_525)

PATTERN = (
    r"^([0-9]{1,9}[smhd]"
    r"|P(?!$)([0-9]{1,6}D)?(T(?=[0-9])([0-9]{1,9}H)?([0-9]{1,9}M)?([0-9]{1,9}(\.[0-9]{1,6})?S)?)?)$"
)
"""How spans are written, for those who read them without us: it does not know which are too long."""


def parse_duration(text: str) -> timedelta | None:
    """The span that `text` names, or None if it names none or one of more than 100 years."""
    if short := _SHORT.fullmatch(text):
        span = timedelta(**{_UNITS[short[2]]: int(short[1])})
    # Not `P` or `PT`: each part may be absent, but not all.
    elif text[-1:] not in "PT" and (iso := _ISO_8601.fullmatch(text)):
        span = timedelta(**{unit: float(number) for unit, number in iso.groupdict().items() if number})
    else:
        return None
    return span if span <= _LONGEST else None
