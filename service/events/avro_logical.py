"""Logical types of Avro as JSON, both ways: decimals and times are text, as people write them.

Source: Avro 1.12 specification, section Logical Types. What is unknown or not rightly declared is its
underlying type, as the specification says.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple, NoReturn
from uuid import UUID

from service.events.codec import SchemaMisfit

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAYS_TO_EPOCH = date(1970, 1, 1).toordinal()
_FIRST_SECOND = int((datetime(1, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds())
_LAST_SECOND = int((datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC) - _EPOCH).total_seconds())
_DAY_SECONDS = 24 * 60 * 60

MOST_DIGITS = 1_000
"""Of a decimal, which else is its bytes: text of a number takes time by the square of its digits."""

_DATE = r"\d{4}-\d{2}-\d{2}"
_TIME = r"(\d{2}:\d{2}:\d{2})(?:\.(\d{1,12}))?"
_TIME_TEXT = re.compile(_TIME, re.ASCII)
_LOCAL_TEXT = re.compile(rf"({_DATE})[Tt ]{_TIME}", re.ASCII)
_MOMENT_TEXT = re.compile(rf"({_DATE})[Tt ]{_TIME}([Zz]|[+-]\d{{2}}:\d{{2}})", re.ASCII)
_DECIMAL_TEXT = re.compile(r"-?\d{1,1100}(?:\.\d{1,1100})?", re.ASCII)


class Logical(NamedTuple):
    """A logical type both ways: from what Avro's underlying type holds to JSON, and back.

    Both raise SchemaMisfit.
    """

    to_json: Callable[[Any], Any]
    from_json: Callable[[Any], Any]


def logical_of(schema: Mapping[str, Any]) -> Logical | None:
    """The logical type that `schema` declares, if it is one that is known, of a type that it may be of."""
    name, base = schema.get("logicalType"), schema["type"]
    if name == "decimal" and base in {"bytes", "fixed"}:
        return _decimal(schema)
    if name == "uuid" and base == "fixed" and schema["size"] == 16:
        return Logical(lambda raw: str(UUID(bytes=raw)), _uuid_bytes)
    return _SIMPLE.get((base, str(name)))


# --- numbers ---


def _decimal(schema: Mapping[str, Any]) -> Logical | None:
    precision, scale = schema.get("precision"), schema.get("scale", 0)
    if type(precision) is not int or type(scale) is not int or not 0 <= scale <= precision <= MOST_DIGITS:
        return None
    if precision == 0:
        return None
    most_bytes = precision * 10 // 24 + 2  # a digit has less than 10/3 bits
    size = schema.get("size")

    def to_json(raw: bytes) -> str:
        # By length first, so that bytes that mean nothing cost nothing.
        if not raw or len(raw.lstrip(b"\0" if raw[0] < 0x80 else b"\xff")) > most_bytes:
            raise SchemaMisfit(f"is no decimal of {precision} digits")
        unscaled = int.from_bytes(raw, "big", signed=True)
        if len(text := str(abs(unscaled))) > precision:
            raise SchemaMisfit(f"is no decimal of {precision} digits")
        text = text.zfill(scale + 1)
        sign = "-" if unscaled < 0 else ""
        return f"{sign}{text[:-scale]}.{text[-scale:]}" if scale else sign + text

    def from_json(value: Any) -> bytes:
        unscaled = _unscaled(value, scale)
        if len(str(abs(unscaled))) > precision:
            raise SchemaMisfit(f"has more than {precision} digits")
        length = size or (unscaled if unscaled >= 0 else ~unscaled).bit_length() // 8 + 1
        return unscaled.to_bytes(length, "big", signed=True)  # a fixed of too few was refused as a schema

    return Logical(to_json, from_json)


def _unscaled(value: Any, scale: int) -> int:
    if type(value) is int and abs(value) < 1 << 63:
        return value * int(10**scale)
    if not isinstance(value, str) or not _DECIMAL_TEXT.fullmatch(value):
        raise SchemaMisfit("is no decimal; write it as text, like 12.50")
    whole, _, fraction = value.partition(".")
    if len(fraction.rstrip("0")) > scale:
        raise SchemaMisfit(f"has more than {scale} decimal places")
    return int(whole + fraction[:scale].ljust(scale, "0"))


# --- identifiers ---


def _uuid_bytes(value: Any) -> bytes:
    return UUID(_uuid_text(value)).bytes


def _uuid_text(value: Any) -> str:
    try:
        return str(UUID(value)) if isinstance(value, str) else _no("UUID")
    except ValueError:
        _no("UUID")


def _no(what: str) -> NoReturn:
    raise SchemaMisfit(f"is no {what}")


# --- times ---


def _date_text(days: int) -> str:
    try:
        return date.fromordinal(days + _DAYS_TO_EPOCH).isoformat()
    except (ValueError, OverflowError):
        _no("date of the years 1 to 9999")


def _days(value: Any) -> int:
    with suppress(ValueError):
        if isinstance(value, str) and re.fullmatch(_DATE, value, re.ASCII):
            return date.fromisoformat(value).toordinal() - _DAYS_TO_EPOCH
    _no("date, like 2026-01-31")


def _time(digits: int) -> Logical:
    """Times of day, counted in units of 10^-`digits` seconds."""
    unit: int = 10**digits

    def to_json(count: int) -> str:
        if not 0 <= count < _DAY_SECONDS * unit:
            raise SchemaMisfit("is no time of a day")
        seconds, rest = divmod(count, unit)
        return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{rest:0{digits}}"

    def from_json(value: Any) -> int:
        match = _TIME_TEXT.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            _no("time, like 12:30:00")
        return _seconds_of_day(match[1]) * unit + _fraction(match[2], digits)

    return Logical(to_json, from_json)


def _moment(digits: int) -> Logical:
    """Moments, counted in units of 10^-`digits` seconds since 1970 UTC, as RFC 3339."""
    local = _local(digits)

    def from_json(value: Any) -> int:
        match = _MOMENT_TEXT.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            _no("time in RFC 3339, like 2026-01-31T12:00:00Z")
        return _count(match[1], match[2], match[3], digits) - _offset_seconds(match[4]) * int(10**digits)

    return Logical(lambda count: f"{local.to_json(count)}Z", from_json)


def _local(digits: int) -> Logical:
    """Moments on the clock of whoever is meant: as `_moment`, without a time zone."""
    unit: int = 10**digits

    def to_json(count: int) -> str:
        seconds, rest = divmod(count, unit)
        if not _FIRST_SECOND <= seconds <= _LAST_SECOND:
            raise SchemaMisfit("is no time of the years 1 to 9999")
        moment = _EPOCH + timedelta(seconds=seconds)
        return f"{moment.replace(tzinfo=None).isoformat(timespec='seconds')}.{rest:0{digits}}"

    def from_json(value: Any) -> int:
        match = _LOCAL_TEXT.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            _no("time without a zone, like 2026-01-31T12:00:00")
        return _count(match[1], match[2], match[3], digits)

    return Logical(to_json, from_json)


def _count(day: str, time: str, fraction: str | None, digits: int) -> int:
    seconds = _days(day) * _DAY_SECONDS + _seconds_of_day(time)
    return seconds * int(10**digits) + _fraction(fraction, digits)


def _seconds_of_day(text: str) -> int:
    hours, minutes, seconds = (int(part) for part in text.split(":"))
    # RFC 3339 has leap seconds, which Avro's counting has not.
    if hours > 23 or minutes > 59 or seconds > 59:
        raise SchemaMisfit("is no time of a day")
    return hours * 3600 + minutes * 60 + seconds


def _offset_seconds(text: str) -> int:
    if text in {"Z", "z"}:
        return 0
    seconds = _seconds_of_day(f"{text[1:]}:00")
    return -seconds if text[0] == "-" else seconds


def _fraction(digits_given: str | None, digits: int) -> int:
    # Cut, not refused: the clock of who wrote it may be finer than the schema.
    return int((digits_given or "")[:digits].ljust(digits, "0"))


_SIMPLE: Mapping[tuple[str, str], Logical] = {
    ("string", "uuid"): Logical(lambda text: text, _uuid_text),
    ("int", "date"): Logical(_date_text, _days),
    ("int", "time-millis"): _time(3),
    ("long", "time-micros"): _time(6),
    ("long", "timestamp-millis"): _moment(3),
    ("long", "timestamp-micros"): _moment(6),
    ("long", "timestamp-nanos"): _moment(9),
    ("long", "local-timestamp-millis"): _local(3),
    ("long", "local-timestamp-micros"): _local(6),
    ("long", "local-timestamp-nanos"): _local(9),
}
