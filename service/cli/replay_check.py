"""`turnout replay-check`: would what runs now go on with the code at hand?"""

import asyncio
import difflib
import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from service.access import temporal_access
from service.cli.printing import console, plain
from service.errors import ConfigurationError
from service.settings import Settings, load_settings
from service.temporal.client import connect, workflow_link
from service.temporal.replaying import Checked, Code, ReplayCheck, Verdict
from service.temporal.worker import find, service_queue
from workflows.inbox import Inbox
from workflows.park import Park
from workflows.switchboard import Switchboard

FAILED, NOT_ALL = 1, 2
SHOWN = 10

TO_DO = """\
What fails would stop at its next task, and wait there until its worker can replay it again. Keep the old
way for what runs already: put the change behind workflow.patched("what-changes"), or deploy this code as a
build of its own with pinned workflows, or give the new way a new workflow type. docs/change.md says which."""


def add_to(app: typer.Typer, _words: Sequence[str]) -> None:
    """Add this family's commands."""
    app.command("replay-check")(replay_check)


def replay_check(
    last: Annotated[
        int, typer.Option(min=1, help="So many open ones and so many closed ones of each type, the newest.")
    ] = 50,
    type: Annotated[list[str] | None, typer.Option(help="Only this workflow type; may be repeated.")] = None,  # noqa: A002
    query: Annotated[
        str, typer.Option(help="Only those that also fit this, as in the search of the Temporal UI.")
    ] = "",
) -> None:
    """Replay what runs in the namespace, and what ran lately, with the code at hand. Changes nothing.

    Run it before a deploy, with the settings of the worker: TURNOUT_WORKER__MODULES and
    TURNOUT_WORKER__TASK_QUEUE, and TURNOUT_GROUP for parks and the switchboard of that group alone.
    Exit code 0: all goes on. 1: something would not. 2: what was replayed goes on, but there is more.
    """
    raise typer.Exit(asyncio.run(_check(load_settings(need_group=False), last, type or [], query)))


async def _check(settings: Settings, last: int, only: Sequence[str], query: str) -> int:
    # Each failure is told below; the SDK would log it, with what a workflow's error says.
    logging.getLogger("temporalio").setLevel(logging.CRITICAL)
    code = _at_hand(settings)
    _see_that_there_are(only, [name for one in code for name in one.types])
    client = await connect(temporal_access(settings))
    check = ReplayCheck(client, code, last=last, only=only, query=query)
    there_are = await check.there_are()
    counts, failed = defaultdict[str, Counter[Verdict]](Counter), list[Checked]()
    columns = ("replaying", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        total = sum(min(last, count) for counted in there_are.values() for count in counted)
        row = bar.add_task("", total=total)
        async for one in check.run():
            counts[one.type][one.verdict] += 1
            if one.verdict is Verdict.FAILS and counts[one.type][Verdict.FAILS] <= SHOWN:
                failed.append(one)
            bar.advance(row)
    unknown = await check.without_code()
    for type_, (are_open, closed) in there_are.items():
        _say(f"{type_}: {_summed(counts[type_])} (there are {are_open} open, {closed} closed)")
    for one in failed:
        _say_failed(one, workflow_link(settings.temporal.ui_url, client.namespace, one.workflow_id))
    _say_left_out(counts, unknown)
    if failed:
        _say(TO_DO)
        return FAILED
    return NOT_ALL if unknown else 0


def _at_hand(settings: Settings) -> list[Code]:
    found, group = find(settings.worker.packages), settings.group
    queue = f"TaskQueue = '{settings.worker.task_queue}'"
    ours = (
        f"TaskQueue = '{service_queue(group)}'" if group else f"TaskQueue STARTS_WITH '{service_queue('')}'"
    )
    teams = Code(found.workflows, [Inbox()], queue, settings.worker.passed_through)
    return [teams, Code([Park, Switchboard], [], ours)]


def _see_that_there_are(only: Sequence[str], types: Sequence[str]) -> None:
    for name in only:
        if name not in types:
            close = difflib.get_close_matches(name, types, n=1)
            cure = f"did you mean {close[0]}?" if close else f"there are {', '.join(sorted(types))}"
            msg = f"no workflow of type {name} is in TURNOUT_WORKER__MODULES, nor one of ours; {cure}"
            raise ConfigurationError(msg)


def _summed(counts: Counter[Verdict]) -> str:
    words = {Verdict.REPLAYS: "replay", Verdict.FAILS: "FAIL"}
    parts = [f"{counts[verdict]} {word}" for verdict, word in words.items() if counts[verdict]]
    return ", ".join(parts) or "none replayed"


def _say_failed(one: Checked, link: str) -> None:
    state = "open" if one.open else "closed"
    _say(f"FAILS {one.type} {one.workflow_id} (run {one.run_id}, {state}) {link}".rstrip())
    _say(f"  from event {one.event} on: {one.reason}")


def _say_left_out(counts: Mapping[str, Counter[Verdict]], unknown: Counter[str]) -> None:
    for type_, of_type in counts.items():
        if more := max(0, of_type[Verdict.FAILS] - SHOWN):
            _say(f"{type_}: {more} more fail")
        for verdict, why in (
            (Verdict.PINNED, "pinned to their build, so this code does not reach them"),
            (Verdict.GONE, "deleted meanwhile"),
        ):
            if of_type[verdict]:
                _say(f"{type_}: {of_type[verdict]} left out, {why}")
    for type_, count in unknown.items():
        _say(f"NOT CHECKED {type_}: {count} open, and no such workflow is in TURNOUT_WORKER__MODULES")


def _say(text: str) -> None:
    for line in text.splitlines():
        typer.echo(plain(line))
