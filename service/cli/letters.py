"""`turnout letters`: look at what was given up on, send it again, or discard it."""

import asyncio
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Self

import orjson
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from service.cli.letter_printing import as_json, in_full, line_of, show_counts, show_letters
from service.cli.moments import moment_of
from service.cli.places import place_of
from service.cli.printing import console
from service.cli.stopping import until_stopped
from service.cli.who import user
from service.desk import (
    Lifted,
    discard_letters,
    give_up,
    looking,
    previewing,
    rehearse_sending,
    send_letters,
)
from service.errors import ConfigurationError
from service.errors import Stage as ErrorStage
from service.failures.letters import letter_topic
from service.kafka.given_up import given_up_group
from service.redrive.choosing import Choice, places_of
from service.redrive.counting import Counts
from service.redrive.giving_up import GaveUp
from service.redrive.letterbox import Found, Place
from service.redrive.picking import Picking
from service.redrive.sender import Fate
from service.redrive.sending import Said
from service.settings import Settings, load_settings
from service.telemetry.logs import configure_logging

STAGE = tuple(stage.value for stage in ErrorStage)
STAGES = f"{', '.join(STAGE[:-1])} or {STAGE[-1]}"
NOT_ALL, STAY_OPEN = 1, 3

Places = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PLACE",
        help="TOPIC/PARTITION/OFFSET of the record, as the log has it, or of the letter in its own topic.",
    ),
]
Reason = Annotated[str, typer.Option(help="Those whose reason holds this text.")]
Stage = Annotated[str, typer.Option(help=f"Those given up on at this stage: {STAGES}.")]
Route = Annotated[str, typer.Option(help="Those of this route.")]
Type = Annotated[str, typer.Option(help="Those of events of this type.")]
Key = Annotated[str | None, typer.Option(help="Those with this key: text, or 0x and hexadecimal digits.")]
Since = Annotated[str, typer.Option(help="Those that failed since then: 2h (ago), or 2026-01-31T12:00:00Z.")]
Until = Annotated[str, typer.Option(help="Those that failed before then, written the same way.")]
All = Annotated[bool, typer.Option("--all", help="All letters that are open.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object per line, for programs.")]

family = typer.Typer(help="Look at letters, send them again, discard them, or add one.", no_args_is_help=True)


def add_to(app: typer.Typer, _words: Sequence[str]) -> None:
    """Add this family's commands."""
    app.add_typer(family, name="letters")


@family.command("list")
def list_(
    places: Places = None,
    reason: Reason = "",
    stage: Stage = "",
    route: Route = "",
    type: Type = "",  # noqa: A002
    key: Key = None,
    since: Since = "",
    until: Until = "",
    limit: Annotated[int, typer.Option(help="How many to show behind the counts.")] = 20,
    json: Json = False,
) -> None:
    """Show open letters: how many of each reason, then the first ones. Changes nothing."""
    choice = _choice(places, reason, stage, route, type, key, since, until)
    settings = _settings()
    asyncio.run(_list_json(settings, choice) if json else _list(settings, choice, limit))


async def _list(settings: Settings, choice: Choice, limit: int) -> None:
    counts, first, others = Counts(), list[Found](), list[Found]()
    async with looking(settings) as letterbox:
        async for picked in Picking(letterbox, choice).walk():
            if picked.letter:
                counts.add(picked.letter)
                first += [picked.found] if len(first) < limit else []
            elif not picked.found.letter and (picked.meant or choice.is_everything):
                others += [picked.found] if len(others) < limit else []
    show_counts(counts, letter_topic(settings.group))
    show_letters([*first, *others], of=counts.letters)


async def _list_json(settings: Settings, choice: Choice) -> None:
    async with looking(settings) as letterbox:
        async for picked in Picking(letterbox, choice).walk():
            foreign = picked.found.letter is None and choice.is_everything
            if picked.letter or picked.meant or foreign:
                _write(as_json(picked.found))


@family.command()
def show(
    places: Annotated[
        list[str],
        typer.Argument(
            metavar="PLACE",
            help="TOPIC/PARTITION/OFFSET of the record, or of the letter in its own topic.",
        ),
    ],
    json: Json = False,
) -> None:
    """Show letters in full: headers, payload, what is wrong and where, and what today's routes would do."""
    settings = _settings()
    asyncio.run(_show(settings, _places(places), json=json))


async def _show(settings: Settings, places: frozenset[Place], *, json: bool) -> None:
    preview = await previewing(settings)
    topic, shown = letter_topic(settings.group), set[Place]()

    async def show_one(found: Found) -> None:
        if found.letter:
            await preview.prepare(found.letter)
        would = preview.told(found.letter) if found.letter else []
        if json:
            _write(as_json(found, would=would))
        else:
            in_full(found, would)
        shown.update(places_of(found))

    async with looking(settings) as letterbox:
        for place in sorted(place for place in places if place.partition.topic == topic):
            if found := await letterbox.at(place):  # also one that is closed
                await show_one(found)
        if of_records := frozenset(place for place in places if place.partition.topic != topic):
            async for picked in Picking(letterbox, Choice(places=of_records)).walk():
                if picked.letter:
                    await show_one(picked.found)
    _all_found(places, shown)


@family.command()
def send(
    places: Places = None,
    reason: Reason = "",
    stage: Stage = "",
    route: Route = "",
    type: Type = "",  # noqa: A002
    key: Key = None,
    since: Since = "",
    until: Until = "",
    everything: All = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done for each, and do nothing.")
    ] = False,
    rate: Annotated[float | None, typer.Option(min=0.001, help="At most so many a second.")] = None,
    accept_repeats: Annotated[
        bool,
        typer.Option(
            "--accept-repeats",
            help="Also those older than what Temporal remembers: what took effect then does so again.",
        ),
    ] = False,
    insist: Annotated[
        bool, typer.Option("--insist", help="Also those that came back three times after being sent.")
    ] = False,
) -> None:
    """Send letters again: the route of each alone, as it is today; those of one key in order.

    A letter is closed when all it led to is durable; one that fails again becomes a new letter. Ctrl-C
    ends after what is on its way, and keeps what is done. Exit codes: 0 all were sent, 1 some were refused
    or failed again, 3 some stay open since they are paused or Temporal or Kafka does not take them now.
    """
    choice = _choice(places, reason, stage, route, type, key, since, until)
    _refuse_everything(choice, everything=everything)
    settings, lifted = _settings(), Lifted(accept_repeats, insist)
    with _Report(choice) as report:
        if dry_run:
            asyncio.run(rehearse_sending(settings, choice, lifted, report.said))
            return
        until_stopped(
            lambda stop: send_letters(
                settings, choice, lifted, rate, counted=report.counted, said=report.said, stop=stop
            )
        )
    report.judge()


@family.command()
def discard(
    because: Annotated[str, typer.Option(help="Why; said with each letter.")],
    places: Places = None,
    reason: Reason = "",
    stage: Stage = "",
    route: Route = "",
    type: Type = "",  # noqa: A002
    key: Key = None,
    since: Since = "",
    until: Until = "",
    everything: All = False,
) -> None:
    """Close letters without sending them; they stay in the topic until its retention ends.

    Who discarded which letter, and why, is said on the output, one line each, and nowhere else.
    """
    choice = _choice(places, reason, stage, route, type, key, since, until)
    _refuse_everything(choice, everything=everything)
    settings = _settings()
    with _Report(choice, f"because: {because} (by {user('unknown')})") as report:
        until_stopped(lambda stop: discard_letters(settings, choice, said=report.said, stop=stop))
    report.judge()


@family.command()
def add(
    place: Annotated[
        str, typer.Argument(metavar="PLACE", help="TOPIC/PARTITION/OFFSET of the record, as the log has it.")
    ],
    because: Annotated[str, typer.Option(help="Why; kept in the letter.")],
) -> None:
    """Give up on a record that holds its lane or its partition: it becomes a letter, the others go on.

    Bridges may run meanwhile: the one that holds the partition does it within seconds. With none running,
    the next one does, before it tries the record. `turnout letters send` sends it again later.
    """
    where = place_of(place)
    if not because.strip():
        raise typer.BadParameter("say why; it is kept in the letter", param_hint="--because")
    settings = _settings()
    gave_up = asyncio.run(give_up(settings, where, user("unknown"), because))
    typer.echo(_said(where, gave_up, settings.group))


def _said(place: Place, gave_up: GaveUp, group: str) -> str:
    said, point = gave_up.said, gave_up.open.commit.offset
    lines = [f"{place} is given up by {said.by}: {said.because}"]
    if before := gave_up.before:
        lines.append(f"it had been given up already by {before.by}: {before.because}")
    if gave_up.open.is_first:
        lines.append(f"it is the first record of its partition that group {group} has not done")
    else:
        lines.append(
            f"the first record of its partition that group {group} has not done is at offset {point}; "
            "whether this one holds anything is known to its bridge alone, whose log says `waiting`. If its "
            "turn has not come yet, it may be handled as usual: bridges look only while something is held up"
        )
    lines.append(
        f"Said in group {given_up_group(group)}: the bridge that holds the partition makes a letter of it "
        "within seconds, unless a call under way gets through; or one does when it starts. "
        f"See it then: turnout letters show {place}"
    )
    return "\n".join(lines)


class _Report:
    """Says what becomes of letters: a line for each, above a bar on a terminal, their number at the end."""

    def __init__(self, choice: Choice, note: str = "") -> None:
        self._choice = choice
        self._note = note
        self._fates: Counter[Fate] = Counter()
        self._passed = 0
        self._seen: set[Place] = set()
        self._bar = Progress(
            BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console, transient=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_where: object) -> None:
        if self._bar.tasks:  # else it would print an empty line all the same
            self._bar.stop()
        parts = [f"{count} {fate.value}" for fate, count in self._fates.items()]
        if self._passed:
            parts.append(f"{self._passed} of them after later records of their key")
        if not parts and error is None:
            parts.append("no open letter fits")
        if parts:
            typer.echo(", ".join(parts), err=True)

    def counted(self, letters: int) -> None:
        """So many are to be sent."""
        if console.is_terminal:
            self._bar.add_task("sending", total=letters)
            self._bar.start()

    def said(self, said: Said) -> None:
        """Say what became of one."""
        self._fates[said.fate] += 1
        self._passed += bool(said.later.records)
        self._seen |= places_of(said.found) & self._choice.places
        line = line_of(said, self._note)
        if self._bar.tasks and said.fate is not Fate.REFUSED:  # those are not among the counted
            self._bar.console.print(line, markup=False)
            self._bar.advance(self._bar.tasks[0].id)
        else:
            typer.echo(line)

    def judge(self) -> None:
        """End the command as befits what became of the letters.

        Raises:
            ConfigurationError: A place was named at which no open letter is.
            Exit: Not all were sent.
        """
        _all_found(self._choice.places, self._seen)
        if self._fates[Fate.LEFT_OPEN] or self._fates[Fate.PAUSED]:
            raise typer.Exit(STAY_OPEN)
        if self._fates[Fate.REFUSED] or self._fates[Fate.FAILED_AGAIN]:
            raise typer.Exit(NOT_ALL)


def _settings() -> Settings:
    settings = load_settings()
    # What becomes of each letter is said on the output: lines about it would say it twice.
    configure_logging("error", settings.log.format)
    return settings


def _choice(
    places: list[str] | None,
    reason: str,
    stage: str,
    route: str,
    type_: str,
    key: str | None,
    since: str,
    until: str,
) -> Choice:
    return Choice(
        places=_places(places or ()),
        reason=reason,
        stage=_stage(stage),
        route=route,
        type=type_,
        key=_key(key),
        since=moment_of(since, "--since"),
        until=moment_of(until, "--until"),
    )


def _stage(text: str) -> str:
    if text and text not in STAGE:
        raise typer.BadParameter(f"{text!r} is no stage; write {STAGES}", param_hint="--stage")
    return text


def _refuse_everything(choice: Choice, *, everything: bool) -> None:
    if choice.is_everything and not everything:
        raise typer.BadParameter("say which letters: a PLACE, --reason, --route, …, or --all")
    if everything and not choice.is_everything:
        raise typer.BadParameter("--all means every letter; leave it out, or all else")


def _places(texts: Iterable[str]) -> frozenset[Place]:
    return frozenset(place_of(text) for text in texts)


def _key(text: str | None) -> bytes | None:
    if text is None or not text.startswith("0x"):
        return None if text is None else text.encode()
    try:
        return bytes.fromhex(text[2:])
    except ValueError:
        raise typer.BadParameter("0x is to be followed by hexadecimal digits", param_hint="--key") from None


def _all_found(places: frozenset[Place], found: set[Place]) -> None:
    if missing := sorted(places - found):
        raise ConfigurationError(
            f"no open letter at {', '.join(map(str, missing))}: it was sent or discarded, or never was one; "
            f"see turnout letters list"
        )


def _write(document: Mapping[str, Any]) -> None:
    sys.stdout.write(orjson.dumps(document).decode() + "\n")
