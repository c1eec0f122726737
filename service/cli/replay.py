"""`turnout replay`: act on a topic's past by one new route."""

import asyncio
from types import TracebackType
from typing import Annotated, Self

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from service.cli.moments import moment_of
from service.cli.places import place_of
from service.cli.printing import console, plain
from service.cli.stopping import until_stopped
from service.cli.who import user
from service.dispatch.answers import OutcomeKind
from service.replay import Result, Told, rehearse_replay, replay
from service.replays.plan import Asked, Plan
from service.settings import load_settings
from service.telemetry.logs import configure_logging

NOT_ALL = 1


def add_to(app: typer.Typer) -> None:
    """Add this family's command."""
    app.command("replay")(replay_)


def replay_(
    route: Annotated[str, typer.Option(help="The route; no other acts.")],
    since: Annotated[
        str, typer.Option("--from", help="Records written since then: 2h (ago), or 2026-01-31T12:00:00Z.")
    ],
    until: Annotated[
        str, typer.Option(help="Records written before then; without it, to where the route went live.")
    ] = "",
    rate: Annotated[float | None, typer.Option(min=0.001, help="At most so many commands a second.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be done.")] = False,
    accept_repeats: Annotated[
        bool,
        typer.Option(
            "--accept-repeats",
            help="Also records older than what Temporal remembers: what took effect then does so again.",
        ),
    ] = False,
    leave_out: Annotated[
        list[str] | None,
        typer.Option(metavar="PLACE", help="A record that cannot get through: it becomes a letter, untried."),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Begin at --from also where the route was replayed before.")
    ] = False,
) -> None:
    """Act on a topic's past by one route that was added later; bridges may run meanwhile.

    It ends where the route went live: later records had it already. Those of one key keep their order.
    Ctrl-C ends after what is on its way; said again, it goes on where it ended. Exit codes: 0 done, 1 some
    records became letters, 3 it is paused, or Temporal or Kafka is not there.
    """
    moment = moment_of(since, "--from")
    if moment is None:
        raise typer.BadParameter("is empty", param_hint="--from")
    end = moment_of(until, "--until")
    if end and end <= moment:
        raise typer.BadParameter("is not after --from", param_hint="--until")
    asked = Asked(
        route=route,
        since=moment,
        until=end,
        again=again,
        accept_repeats=accept_repeats,
        leave_out=frozenset(place_of(text, "--leave-out") for text in leave_out or ()),
        by=user("unknown"),
    )
    settings = load_settings()
    # What becomes of the records is counted: lines about each would be as many as these.
    configure_logging("error", settings.log.format)
    with _Report() as report:
        if dry_run:
            report.done("would be", asyncio.run(rehearse_replay(settings, asked, report.told)))
            return

        async def act(stop: asyncio.Event) -> None:
            report.done("replayed", await replay(settings, asked, rate, report.told, stop))

        until_stopped(act)
    if report.letters:
        raise typer.Exit(NOT_ALL)


class _Report:
    """Says what is to be read, how far it is on a terminal, and in the end what became of it."""

    def __init__(self) -> None:
        self.told = Told(self._planned, self._progressed, self._say)
        self.letters = 0
        self._bar = Progress(
            BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console, transient=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _where: TracebackType | None,
    ) -> None:
        self._end_bar()

    def _planned(self, plan: Plan) -> None:
        for warning in plan.warnings:
            typer.echo(f"note: {warning}")
        for partition, stretch in plan.stretches.items():
            typer.echo(f"{partition}: {stretch}")
        if console.is_terminal and plan.offsets:
            self._bar.add_task("replaying", total=plan.offsets)
            self._bar.start()

    def _progressed(self, offsets: int) -> None:
        if self._bar.tasks:
            self._bar.update(self._bar.tasks[0].id, completed=offsets)

    def _say(self, line: str) -> None:
        self._bar.console.print(plain(line), markup=False)

    def done(self, word: str, result: Result) -> None:
        """Say what became of it."""
        self._end_bar()
        if result.gone:
            typer.echo(f"note: {result.gone} offsets were no longer in the topic when their turn came")
        typer.echo(f"{word}: {result.tally}")
        if result.kinds:
            parts = [f"{count} {kind.value}" for kind in OutcomeKind if (count := result.kinds[kind])]
            typer.echo(f"became: {', '.join(parts)}")
        self.letters = result.kinds[OutcomeKind.DEAD_LETTERED]

    def _end_bar(self) -> None:
        if self._bar.tasks:  # else it would print an empty line all the same
            self._bar.stop()
