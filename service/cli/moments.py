"""Moments as people write them in options."""

from datetime import UTC, datetime, timedelta

import typer

from service.durations import parse_duration
from service.routing.grammar import rfc_3339


def moment_of(text: str, option: str) -> datetime | None:
    """The moment that `text` means: so long ago, or a time; None where there is no text.

    Raises:
        BadParameter: It means none; names `option`.
    """
    if not text:
        return None
    span = parse_duration(text)
    moment = datetime.now(UTC) - span if span is not None else rfc_3339(text)
    if moment is None:
        raise typer.BadParameter(
            f"{text!r} is no time; write 2h for two hours ago, or 2026-01-31T12:00:00Z", param_hint=option
        )
    return moment


def span_of(text: str, option: str) -> timedelta | None:
    """The span of time that `text` means; None where there is no text.

    Raises:
        BadParameter: It means none, or one of no length; names `option`.
    """
    if not text:
        return None
    if not (span := parse_duration(text)):
        raise typer.BadParameter(f"{text!r} is no time span; write for example 7d or 12h", param_hint=option)
    return span
