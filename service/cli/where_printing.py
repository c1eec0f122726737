"""How a journey looks: a line per step, and as JSON for programs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.text import Text

from service.cli.printing import console, json_of, plain
from service.journeys.facts import Search
from service.journeys.journey import Journey, Mark, Step
from service.journeys.saying import at

MARKS: Mapping[Mark, tuple[str, str]] = {
    Mark.DONE: ("✓", "green"),
    Mark.NOTHING: ("○", "cyan"),
    Mark.WAITS: ("…", "yellow"),
    Mark.WRONG: ("✗", "bold red"),
    Mark.UNKNOWN: ("?", "magenta"),
}


def show(journeys: Sequence[Journey]) -> None:
    """All of them, each with its steps in order."""
    for number, journey in enumerate(journeys):
        if number:
            console.print()
        _journey(journey)


def _journey(journey: Journey) -> None:
    head = f"{journey.asked}, taken for {journey.taken_for}"
    _line(head, "bold")
    route = ""
    for step in journey.steps:
        if step.route and step.route != route:
            _line(f"route {step.route}", "bold")
        route = step.route
        _step(step, "  " if step.route else "")
    if journey.search and journey.search.offsets and not journey.record:
        for line in _searched(journey.search):
            _line(line, "dim")
    for one in journey.unasked:
        _line(f"? not known: {one.what} could not be asked: {one.why}", "magenta")


def _step(step: Step, indent: str) -> None:
    sign, style = MARKS[step.mark]
    # Texts of others: to be read as they are, not as commands for colours.
    console.print(Text(f"{indent}{sign} ", style).append(Text(plain(step.text), "default not bold")))
    for name, value in step.values.items():
        _line(f"{indent}    {name} is {json_of(value)}")
    if step.next:
        _line(f"{indent}  → {step.next}")
    if step.url:
        _line(f"{indent}    {step.url}", "dim")


def _searched(search: Search) -> Iterator[str]:
    part = "all" if search.complete else "a part"
    yield f"looked through {part} of what was written since {at(search.since)}:"
    for partition, offsets in sorted(search.offsets.items()):
        what = f"offsets {offsets.start} to {offsets.stop - 1}" if offsets else "nothing was written"
        yield f"  {partition}: {what}"


def _line(text: str, style: str = "") -> None:
    console.print(Text(plain(text), style))


def as_json(journeys: Sequence[Journey]) -> str:
    """All of them, as one array."""
    return json_of([_as_dict(journey) for journey in journeys])


def _as_dict(journey: Journey) -> dict[str, Any]:
    search = journey.search
    return {
        "asked": journey.asked,
        "taken_for": journey.taken_for,
        "record": journey.record or None,
        "at": journey.now,
        "done": journey.is_done,
        "causes": journey.causes,
        "steps": [asdict(step) for step in journey.steps],
        "searched": {
            "since": search.since,
            "complete": search.complete,
            "offsets": {
                str(partition): [offsets.start, offsets.stop] for partition, offsets in search.offsets.items()
            },
        }
        if search
        else None,
        "not_asked": [asdict(one) for one in journey.unasked],
    }
