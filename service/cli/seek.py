"""`turnout seek`: say where a partition goes on whose offset is no longer in the topic."""

import asyncio
import re
from collections.abc import Sequence
from typing import Annotated

import typer

from service.cli.who import user
from service.kafka.record import Partition
from service.kafka.seeking import End, Sought, Where, seek, seek_group
from service.pipeline import kafka_connection
from service.settings import load_settings

_PLACE = re.compile(r"([A-Za-z0-9._-]{1,249})/([0-9]{1,9})")
_OFFSET = re.compile(r"[0-9]{1,18}")


def add_to(app: typer.Typer, _words: Sequence[str]) -> None:
    """Add this family's command."""
    app.command("seek")(seek_)


def seek_(
    partition: Annotated[str, typer.Argument(help="TOPIC/PARTITION, for example shop.orders/0.")],
    to: Annotated[str, typer.Option(help="Where it goes on: earliest, latest, or an offset.")],
    because: Annotated[str, typer.Option(help="Why; kept, and said in the bridge's log.")] = "",
) -> None:
    """Let a partition go on that stopped, since its committed offset is no longer in the topic.

    Bridges may run meanwhile: the one that holds the partition goes there within seconds. With none
    running, the next one does.
    """
    place, where = _partition(partition), _where(to)
    settings = load_settings()
    by = f"by={user('unknown')}"
    note = f"{by} because={because}" if because else by
    sought = asyncio.run(seek(kafka_connection(settings.kafka), settings.group, place, where, note))
    typer.echo(_text(place, sought, settings.group))


def _partition(text: str) -> Partition:
    if not (form := _PLACE.fullmatch(text)):
        raise typer.BadParameter(
            f"{text!r} is not TOPIC/PARTITION; write for example shop.orders/0", param_hint="PARTITION"
        )
    return Partition(form[1], int(form[2]))


def _where(text: str) -> Where:
    if text in set(End):
        return End(text)
    if not _OFFSET.fullmatch(text):
        raise typer.BadParameter(f"{text!r} is not earliest, latest or an offset", param_hint="--to")
    return int(text)


def _text(place: Partition, sought: Sought, group: str) -> str:
    said = (
        f"Said in group {seek_group(group)}: the bridge that holds the partition goes there within seconds, "
        "or one does when it starts. Its log says so: partition goes on."
    )
    lines = [
        f"{place} goes on at {sought.seek.to}; it was stuck at {sought.seek.stuck_at} ({sought.held}).",
        *_count("gone before they were read", sought.expired),
        *_count("skipped, though they are there", sought.skipped),
        *_count("read again, if they were read before", sought.read_again),
        said,
    ]
    return "\n".join(lines)


def _count(what: str, offsets: range) -> list[str]:
    match len(offsets):
        case 0:
            return []
        case 1:
            return [f"{what}: offset {offsets[0]}"]
        case count:
            return [f"{what}: offsets {offsets[0]} to {offsets[-1]}, at most {count} records"]
