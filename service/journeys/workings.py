"""The end of a journey: the workflow that took the command, and what it waits for."""

from collections.abc import Iterator

from service.journeys.facts import Pending, Target
from service.journeys.journey import Cause, Mark, Step
from service.journeys.saying import at, count
from service.temporal.chronicle import PUBLISH

CALLED_BACK = "succeeded"
GAVE_UP = "failed"
"""States of a completion callback; all others mean that Temporal goes on trying."""

CLOSED_WELL = frozenset({"completed", "continued-as-new", "canceled"})
"""Someone, or an event, asked for a cancellation: that is an end as it was meant."""


def workings(target: Target, signal: str = "") -> Iterator[Step]:
    """What the workflow does now, or how it ended; `signal` is the one that it was told, if it was."""
    running = target.status == "running"
    if running:
        yield from _worker(target)
        yield from _handler(target, signal)
        yield from (_pending(one) for one in target.pending)
    else:
        yield _ended(target)
    yield from _results(target)
    yield from (_callback(target, *one) for one in target.callbacks)


def _worker(target: Target) -> Iterator[Step]:
    since = f" since {at(target.started_at)}" if target.started_at else ""
    yield Step(Mark.DONE, f"{target.id}, a {target.workflow}, is running{since}", url=target.url)
    if target.pollers == 0:
        waits = " and it has a task that waits" if target.task_waits else ""
        yield Step(
            Mark.WRONG,
            f"no worker polls its task queue {target.task_queue}{waits}",
            Cause.NO_WORKER,
            f"start a worker for task queue {target.task_queue}, or look why it has stopped",
        )
    elif target.task_waits > 1:
        yield Step(
            Mark.WRONG,
            f"its task fails, and is tried for the {target.task_waits}th time",
            Cause.WORKFLOW,
            "see the failed task in its history; after a change of its code: turnout replay-check",
            url=target.url,
        )
    elif target.task_waits:
        yield Step(Mark.WAITS, "it has a task that waits for a worker to take it", Cause.NO_WORKER)


def _handler(target: Target, signal: str) -> Iterator[Step]:
    if not signal or target.pollers == 0:
        return
    if target.handlers is None:
        yield Step(
            Mark.UNKNOWN,
            f"whether its worker has a handler for signal {signal} is not known: "
            f"{target.handlers_hidden or 'no worker answers a query'}",
            next=""
            if target.handlers_hidden
            else "ask again while a worker runs, or see the queries of the workflow in the Temporal UI",
        )
        return
    # The handler without a name takes all others.
    if signal in target.handlers or "" in target.handlers:
        return
    known = f"; it has {', '.join(sorted(target.handlers))}" if target.handlers else ""
    yield Step(
        Mark.WRONG,
        f"its worker has no handler for signal {signal}, which waits in vain{known}",
        Cause.NO_HANDLER,
        f"add a handler named {signal} to {target.workflow} and deploy it: Temporal has kept the signal; or "
        "mend `name` in the route",
    )


def _pending(one: Pending) -> Step:
    again = f", attempt {one.attempt}" if one.attempt > 1 else ""
    failure = f": {one.failure}" if one.failure else ""
    next_try = f"; tried again at {at(one.next_try)}" if one.next_try else ""
    text = f"it waits for activity {one.type}{again}{failure}{next_try}"
    if one.type == PUBLISH:
        cure = "look at Kafka and at the result topic: publishing is tried again without limit"
        return Step(Mark.WRONG if one.failure else Mark.WAITS, text, Cause.NOT_PUBLISHED, cure)
    return Step(Mark.WAITS, text, Cause.WORKFLOW, "see its failure in the Temporal UI" if one.failure else "")


def _ended(target: Target) -> Step:
    closed = f" at {at(target.closed_at)}" if target.closed_at else ""
    text = f"{target.id}, a {target.workflow}, {target.status.replace('-', ' ')}{closed}"
    if target.status in CLOSED_WELL:
        return Step(Mark.DONE, text, url=target.url)
    cure = "see the last event of its history; mend the cause, then reset it in the Temporal UI"
    return Step(Mark.WRONG, text, Cause.WORKFLOW, cure, url=target.url)


def _results(target: Target) -> Iterator[Step]:
    waits = sum(one.type == PUBLISH for one in target.pending)
    lacking = 0
    for one in target.published:
        name = one.type or "a result"
        if one.offset is not None:
            where = f"{one.topic}/{one.partition}/{one.offset}"
            yield Step(Mark.DONE, f"it published {name}: {where}")
        elif one.hidden:
            yield Step(Mark.UNKNOWN, f"it published {name}; where is not known: {one.hidden}")
        elif one.failure:
            yield Step(
                Mark.WRONG,
                f"{name} is not published on {one.topic}: {one.failure}",
                Cause.NOT_PUBLISHED,
                "mend what the workflow publishes, then reset it to before",
            )
        else:
            lacking += 1
    if target.status == "running" or lacking <= waits:
        return
    yield Step(
        Mark.WRONG,
        f"it closed before {count(lacking, 'result')} of it was in Kafka",
        Cause.NOT_PUBLISHED,
        "reset it in the Temporal UI to before its end: the result keeps its id",
    )


def _callback(target: Target, state: str, failure: str) -> Step:
    if state == CALLED_BACK:
        return Step(Mark.DONE, "how it ended is published")
    if target.status == "running":
        return Step(Mark.DONE, "how it ends will be published")
    why = f": {failure}" if failure else ""
    cure = "look whether bridges run and TURNOUT_CLOSING__URL leads to them; then: turnout closing --since 1d"
    if state == GAVE_UP:
        return Step(Mark.WRONG, f"how it ended is not published{why}", Cause.NOT_PUBLISHED, cure)
    return Step(Mark.WAITS, f"how it ended is not published yet{why}", Cause.NOT_PUBLISHED, cure)
