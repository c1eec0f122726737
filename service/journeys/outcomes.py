"""What became of one route's part of a record: of the command that it asks for, or of none."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from shlex import quote

from service.dispatch.explaining import described
from service.dispatch.identity import command_id
from service.journeys.facts import Facts, LetterFact, ParkFact, RouteFacts, Target
from service.journeys.journey import Cause, Mark, Step
from service.journeys.saying import at
from service.journeys.workings import workings
from service.routing.commands import Cancel, Command, Complete, Rule, Signal, Start
from workflows.switchboard import Switch

LOST_SIGHT = "it may have closed longer ago than its namespace remembers, or someone deleted it"


def of_route(part: RouteFacts, facts: Facts, *, finished: bool) -> Iterator[Step]:
    """The steps of a route's part, each with its name; `finished`: the group is done with the record."""
    for step in _of_route(part, facts, finished=finished):
        yield replace(step, route=part.verdict.route.name)


def letter_step(letter: LetterFact) -> Step:
    """A letter, open or not."""
    text = f"letter {letter.place} of stage {letter.stage}, at {at(letter.failed_at)}: {letter.reason}"
    if letter.open:
        place = letter.place
        cure = f"see all of it: turnout letters show {place}; mend it, then: turnout letters send {place}"
        return Step(Mark.WRONG, text, Cause.LETTER, cure)
    return Step(Mark.NOTHING, f"{text}; it was sent again or discarded since", Cause.LETTER)


def newest(letters: Sequence[LetterFact]) -> LetterFact | None:
    """The one that holds: an open one before those that are done with, then the last one."""
    return max(letters, key=lambda letter: (letter.open, letter.failed_at), default=None)


def paused_step(one: Switch, what: str) -> Step:
    """That `what` is paused."""
    by, why = one.by or "someone", one.because or "no reason given"
    text = f"{what} {one.name} is paused since {at(one.since)} by {by}: {why}"
    return Step(Mark.WAITS, text, Cause.PAUSED, f"turnout resume {quote(one.name)}")


def _of_route(part: RouteFacts, facts: Facts, *, finished: bool) -> Iterator[Step]:
    verdict, letter = part.verdict, newest(part.letters)
    if letter:
        yield letter_step(letter)
        if letter.open:
            return
    if verdict.error:
        yield from _would_be_letter(part, finished=finished)
    elif verdict.command is None:
        yield Step(Mark.NOTHING, f"nothing: {verdict.why_not}", Cause.NO_ROUTE, values=verdict.values)
    else:
        yield from _of_command(part, verdict.command, facts, finished=finished)


def _would_be_letter(part: RouteFacts, *, finished: bool) -> Iterator[Step]:
    reason = str(part.verdict.error).removeprefix(f"route {part.verdict.route.name}: ")
    if not finished:
        yield Step(Mark.WAITS, f"it will become a letter: {reason}")
    elif not part.letters:
        yield Step(
            Mark.UNKNOWN,
            f"by these routes it would be a letter, and there is none: {reason}",
            next="see whether the bridges run other routes, or the letter has expired",
        )


def _of_command(part: RouteFacts, command: Command, facts: Facts, *, finished: bool) -> Iterator[Step]:
    park, target = part.park, part.target
    if park and park.position:
        yield _parked(park)
        return
    if target is None:
        yield Step(Mark.UNKNOWN, f"it {described(command)}; Temporal was not asked")
        return
    took = list(_taken(command, target, facts, finished=finished))
    if took:
        yield from took
    elif finished:
        yield from _not_taken(command, target, has_letter=bool(part.letters))
    else:
        yield from _to_come(command, target, park, facts)


def _parked(park: ParkFact) -> Step:
    gives_up = f", gives up at {at(park.gives_up_at)}" if park.gives_up_at else ""
    next_try = f", next try at {at(park.next_try)}" if park.next_try else ""
    return Step(
        Mark.WAITS,
        f"parked for {park.target}, {park.position} of {park.commands}{next_try}{gives_up}: {park.answer}",
        Cause.PARKED,
        f"let {park.target} be there; or make letters of all it holds: cancel {park.id} in the Temporal UI",
        url=park.url,
    )


# --- what Temporal has of it ---


def _taken(command: Command, target: Target, facts: Facts, *, finished: bool) -> Iterator[Step]:
    """What shows that Temporal has taken the command, or had its event before; nothing if it has not."""
    match command:
        case Start():
            yield from _started(command, target, facts)
        case Signal():
            yield from _signalled(command, target, facts)
        case Cancel() if target.cancel_requested:
            yield Step(Mark.DONE, f"{target.id} was asked to cancel itself")
            yield from workings(target)
        case Complete() if finished and target.is_there:
            yield from _completed(command, target)


def _started(start: Start, target: Target, facts: Facts) -> Iterator[Step]:
    if target.memo.get("id") != str(command_id(start)):
        return
    record = str(target.memo.get("record", ""))
    if facts.log and facts.log.record and record != str(facts.log.record):
        yield _duplicate(record, f"it started {target.id}")
    else:
        yield Step(Mark.DONE, f"it started {target.id}, a {target.workflow}", url=target.url)
    yield from workings(target)


def _duplicate(record: str, what: str) -> Step:
    return Step(
        Mark.NOTHING,
        f"a duplicate: record {record} brought the same event before, and {what}",
        Cause.DUPLICATE,
        f"see that one: turnout where '{record}'; where they are two events, they need two ids",
    )


def _signalled(signal: Signal, target: Target, facts: Facts) -> Iterator[Step]:
    told = target.told
    if told is None or not (told.times or told.carried):
        return
    since = f" since {at(told.at)}" if told.at else ""
    if not told.times:
        yield Step(Mark.DONE, f"{target.id} took signal {signal.name} in an earlier run")
    elif facts.earlier and told.times == 1 and not told.carried:
        yield _duplicate(str(facts.earlier[0]), f"{target.id} has it as signal {signal.name}{since}")
    else:
        yield Step(Mark.DONE, f"signal {signal.name} is in the history of {target.id}{since}", url=target.url)
    if told.times > 1 or (told.times and told.carried):
        count = told.times + told.carried
        yield Step(
            Mark.NOTHING,
            f"it came {count} times; the inbox dropped all but the first, where its worker has one",
            Cause.INBOX,
            "none is needed if it took effect once; else add the inbox to its worker: plugins=[Inbox()]",
        )
    if told.times and not told.taken and target.status != "running":
        yield Step(
            Mark.WRONG,
            "it closed before its handler ran",
            Cause.WORKFLOW,
            "drain signals before the workflow ends; reset it in the Temporal UI to take it in",
        )
    yield from workings(target, signal.name)


def _completed(complete: Complete, target: Target) -> Iterator[Step]:
    if _waits(complete, target):
        return
    text = f"{target.id} has no call any more that waits for this reply"
    yield Step(Mark.DONE, f"{text}; where it came too late, the route says late: {complete.late}")
    yield from workings(target)


def _waits(complete: Complete, target: Target) -> bool:
    return any(one.id == complete.activity_id for one in target.pending)


# --- what it has not ---


def _not_taken(command: Command, target: Target, *, has_letter: bool) -> Iterator[Step]:
    """Of a record that is done: by a rule of its route, or out of sight."""
    name, state = _state(command, target)
    rule = getattr(command, name, None) if name else None
    if rule is Rule.SKIP:
        yield Step(Mark.NOTHING, f"{state}; skipped, since the route says {name}: skip", Cause.RULE)
    elif has_letter:
        yield Step(Mark.NOTHING, f"{state}: it was discarded, or no effect of it is left to see")
    elif target.told and not target.told.whole:
        yield Step(Mark.UNKNOWN, f"the history of {target.id} is too long to be looked through in time")
    else:
        yield Step(
            Mark.UNKNOWN,
            f"{state}, and there is no letter: {target.note or LOST_SIGHT}",
            next="see the bridges' log for the outcome of this record",
        )


def _to_come(command: Command, target: Target, park: ParkFact | None, facts: Facts) -> Iterator[Step]:
    """Of a record that is not done: what it waits for, and what it would meet now."""
    paused = next((one for one in facts.paused if one.name == command.route), None)
    if paused:
        yield paused_step(paused, "route")
    _, state = _state(command, target)
    yield Step(Mark.WAITS, f"it {described(command)}; not done yet; now {state}{_then(command, target)}")
    if park:
        yield Step(
            Mark.WAITS,
            f"commands before it are parked for {park.target}: {park.commands}; it goes behind them",
            Cause.PARKED,
            url=park.url,
        )
    queue = command.task_queue if isinstance(command, Start) else target.task_queue
    if target.pollers == 0 and queue:
        yield Step(
            Mark.WAITS, f"no worker polls task queue {queue}", Cause.NO_WORKER, f"start a worker for {queue}"
        )


def _state(command: Command, target: Target) -> tuple[str, str]:
    """The name of the rule that decides there, or nothing; and what is so."""
    if not target.is_there:
        name = "late" if isinstance(command, Complete) else "missing"
        whom = target.id or "that fits"
        known = isinstance(command, Start) or (isinstance(command, Signal) and command.or_start)
        return "" if known else name, f"there is no workflow {whom}" + (
            f" ({target.note})" if target.note else ""
        )
    if isinstance(command, Complete):
        if _waits(command, target):
            return "", f"a call of {target.id} waits for this reply"
        return "late", f"{target.id} has no call that waits for this reply"
    if target.status == "running":
        if isinstance(command, Start):
            by = target.memo.get("record")
            return "running", f"{target.id} is running, started by {f'record {by}' if by else 'another'}"
        return "", f"{target.id} is running and has not been told"
    return "closed", f"{target.id} has {target.status.replace('-', ' ')}"


def _then(command: Command, target: Target) -> str:
    """What the route says of that state."""
    name, _ = _state(command, target)
    rule = getattr(command, name, None) if name else None
    if rule is None:
        return ""
    return f"; {name}: {f'park for {rule}' if isinstance(rule, timedelta) else rule}"
