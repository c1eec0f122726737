"""How the state of a group looks: as tables, and as JSON for programs."""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from service.cli.printing import plain
from service.failures.parks import OpenPark
from service.intake.pauses import described, in_words
from service.journeys.progress import Overview, TopicState, age_of, name_of
from service.journeys.saying import at, count, span, written_at

MOST_PARKS = 10
NOT_KNOWN = "?"


def shown(seen: Overview, note: str = "") -> RenderableType:
    """All of it, for people."""
    tail = f" ({note})" if note else ""
    parts: list[RenderableType] = [Text(plain(f"group {seen.group} at {at(seen.now)}{tail}"), "bold")]
    if seen.partitions:
        parts.append(_topics(seen))
    parts += [_line(line) for line in _processes(seen)]
    if seen.oldest:
        parts.append(_oldest(seen))
    parts += [_line(line, style) for line, style in _held(seen)]
    if seen.parks:
        parts.append(_parks(seen.parks))
    parts += [_line(f"✗ {line}", "bold red") for line in seen.problems()]
    parts += [_line(f"? {one.what} could not be asked: {one.why}", "magenta") for one in seen.unasked]
    return Group(*parts)


def _line(text: str, style: str = "") -> Text:
    # Texts of others: to be read as they are, not as commands for colours.
    return Text(plain(text), style)


def _table(*headings: str) -> Table:
    table = Table()
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _row(table: Table, *cells: str) -> None:
    table.add_row(*(Text(plain(cell)) for cell in cells))


def _topics(seen: Overview) -> Table:
    table = _table("topic", "partitions", "lag", "oldest", "in transactions", "stopped")
    for topic in seen.topics:
        numbers = [str(number or "") for number in (topic.in_transaction, topic.stopped)]
        _row(
            table,
            topic.topic,
            str(len(topic.partitions)),
            count(topic.lag, "record"),
            _age(topic, seen),
            *numbers,
        )
    return table


def _age(topic: TopicState, seen: Overview) -> str:
    age = topic.age(seen.now)
    if age is None:
        return NOT_KNOWN if any(one.unfinished is None for one in topic.partitions) else ""
    return span(age)


def _processes(seen: Overview) -> Iterator[str]:
    if seen.members is None:
        yield "processes: not known"
        return
    yield f"processes: {len(seen.members.of)}, group {seen.members.state}"
    for member in seen.members.of:
        yield f"  {member.client} at {member.host}: {_runs(member.partitions)}"


def _runs(partitions: Sequence[Any]) -> str:
    """Partitions in few words: `shop.orders 0-2, shop.stock 1`."""
    by_topic: dict[str, list[int]] = {}
    for partition in partitions:
        by_topic.setdefault(partition.topic, []).append(partition.number)
    texts = [f"{topic} {', '.join(_spans(numbers))}" for topic, numbers in by_topic.items()]
    return "; ".join(texts) or "no partition (standby)"


def _spans(numbers: Sequence[int]) -> Iterator[str]:
    first = last = numbers[0]
    for number in [*numbers[1:], None]:
        if number == last + 1:
            last = number
            continue
        yield str(first) if first == last else f"{first}-{last}"
        if number is not None:
            first = last = number


def _oldest(seen: Overview) -> Table:
    table = _table("oldest not finished", "", "written", "age")
    for record in seen.oldest:
        place = f"{record.topic}/{record.partition}/{record.offset}"
        _row(table, place, name_of(record), at(written_at(record.timestamp_ms)), age_of(record, seen.now))
    return table


def _held(seen: Overview) -> Iterator[tuple[str, str]]:
    if seen.board:
        for one in seen.board.paused:
            yield f"paused: {in_words(one, seen.board.names.kind(one.name))}", "yellow"
    if not seen.settled:
        yield "the switchboard was told something that no bridge has taken in yet", "yellow"
    if seen.open_letters is not None:
        more = "; see turnout letters" if seen.open_letters else ""
        yield f"open letters: {seen.open_letters}{more}", "yellow" if seen.open_letters else ""
    if seen.parks is not None:
        held = sum(park.status.commands for park in seen.parks)
        text = f"parks: {len(seen.parks)}" + (
            f", {count(held, 'command')}; see turnout parked" if held else ""
        )
        yield text, "yellow" if seen.parks else ""


def _parks(parks: Sequence[OpenPark]) -> Table:
    table = _table("parked for", "holds", "since", "gives up", "last answer")
    for park in parks[:MOST_PARKS]:
        status = park.status
        moments = [at(moment) if moment else "" for moment in (status.since, status.gives_up_at)]
        _row(table, park.target, str(status.commands), *moments, park.answer)
    return table


def as_dict(seen: Overview) -> dict[str, Any]:
    """All of it, for programs."""
    holders = seen.holders()
    board = seen.board
    return {
        "group": seen.group,
        "at": seen.now,
        "topics": [
            {
                "topic": topic.topic,
                "lag_records": topic.lag,
                "oldest_seconds": _seconds(topic.age(seen.now)),
                "partitions": [
                    {
                        "partition": one.partition.number,
                        "first": one.held.first,
                        "stable": one.held.stable,
                        "end": one.held.end,
                        "committed": one.commit.offset if one.commit else None,
                        "finished_ahead": len(one.finished),
                        "lag_records": one.lag,
                        "oldest_seconds": _seconds(one.age(seen.now)),
                        "stopped": one.stopped or None,
                        "process": holders[one.partition].client if one.partition in holders else None,
                    }
                    for one in topic.partitions
                ],
            }
            for topic in seen.topics
        ],
        "missing": list(seen.missing),
        "processes": {
            "state": seen.members.state,
            "members": [
                {"client": one.client, "host": one.host, "partitions": [str(p) for p in one.partitions]}
                for one in seen.members.of
            ],
        }
        if seen.members
        else None,
        "oldest": [
            {
                "record": f"{one.topic}/{one.partition}/{one.offset}",
                "name": name_of(one),
                "written": written_at(one.timestamp_ms),
                "seconds": _seconds(seen.now - written_at(one.timestamp_ms)),
            }
            for one in seen.oldest
        ],
        "paused": [described(one, board.names.kind(one.name)) for one in board.paused] if board else [],
        "switchboard_settled": seen.settled,
        "open_letters": seen.open_letters,
        "parks": [
            {
                "park": park.id,
                "target": park.target,
                "commands": park.status.commands,
                "since": park.status.since,
                "gives_up_at": park.status.gives_up_at,
                "answer": park.answer,
            }
            for park in seen.parks
        ]
        if seen.parks is not None
        else None,
        "problems": list(seen.problems()),
        "not_asked": [{"what": one.what, "why": one.why} for one in seen.unasked],
    }


def _seconds(age: Any) -> float | None:
    return None if age is None else round(max(age.total_seconds(), 0.0), 3)
