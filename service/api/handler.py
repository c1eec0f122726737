"""The handler API: what clients may ask directly. HTTP and gRPC are thin skins of this one contract.

What is asked of routes goes the way of a record: decoded, matched and dispatched by the same code, with the
same ids. So an event that is published here and comes by Kafka, too, takes effect once.
"""

import asyncio
import itertools
import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import structlog

from service.api.asking import Workflows
from service.api.models import (
    Answered,
    Call,
    Cancel,
    Describe,
    Described,
    Ended,
    Publish,
    Published,
    Query,
    Result,
    RouteOutcome,
    Signal,
    Start,
    Taken,
    Target,
    Update,
    Updated,
)
from service.api.reading import checked_key
from service.api.refusals import Kind, Refusal
from service.dispatch.answers import Outcome, OutcomeKind
from service.dispatch.dispatcher import Dispatcher
from service.dispatch.identity import derived_id
from service.errors import RejectedError
from service.events.event import Event, EventKey
from service.events.strict_json import Limits
from service.intake.handling import Handling
from service.intake.pace import Pace
from service.intake.pauses import Pauses
from service.intake.waiting import Abandoned, Assignment, WaitingRoom, What
from service.kafka.record import NO_PARTITION, Record
from service.routing import commands
from service.routing.table import RouteTable

T = TypeVar("T")

log = structlog.get_logger(__name__)

ROUTE = "api"
"""What stands in the place of a route's name where none was followed."""

LONGEST_TOPIC = 249
"""More characters the name of a topic cannot have, in Kafka."""

_TOPIC = re.compile(rf"[A-Za-z0-9._-]{{1,{LONGEST_TOPIC}}}")
"""What can be the name of a topic: a pattern is none, though it is declared, and matches more than these."""

LEAST_LIMIT = timedelta(milliseconds=100)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is taken.

    Attributes:
        at_once: More calls at one time are refused at once.
        limit: How long a call may take.
        values: How large and deep what is given may be.
    """

    at_once: int = 100
    limit: timedelta = timedelta(seconds=30)
    values: Limits = field(default_factory=Limits)


class Handler:
    """Does what clients ask; each call returns an answer or raises a Refusal.

    It has a window and a pace of its own: however much is asked here, records from Kafka go on.

    Args:
        handling: The way of a record, for events that are refused instead of becoming letters.
        waiting: Where that says what it waits for.
        dispatcher: Goes to Temporal for what is asked past the routes.
        table: The routes.
        workflows: Asks workflows.
        pace: The limit on calls of `dispatcher`.
        namespaces: Where anything may be asked; the first is the default.
        known: The workflows that our own worker has, by task queue; others may have any.
        pauses: What people have paused; `handling` obeys the same.
        bounds: How much is taken.
    """

    def __init__(
        self,
        handling: Handling,
        waiting: WaitingRoom,
        dispatcher: Dispatcher,
        table: RouteTable,
        workflows: Workflows,
        *,
        pace: Pace,
        pauses: Pauses,
        namespaces: Sequence[str],
        known: Mapping[str, Collection[str]],
        bounds: Bounds,
    ) -> None:
        self._handling = handling
        self._waiting = waiting
        self._dispatcher = dispatcher
        self._table = table
        self._workflows = workflows
        self._pace = pace
        self._pauses = pauses
        self._namespaces = namespaces
        self._known = known
        self._bounds = bounds
        self._calls = 0
        self._open = False
        self._closing = asyncio.Event()
        self._places = itertools.count(time.time_ns() // 1000 << 10)

    def open(self) -> None:
        """Take calls from now on; until then each is refused."""
        self._open = True
        self._closing.clear()

    def close(self) -> None:
        """Take no new calls; those under way come to their ends, and who only waits is told to ask again."""
        self._open = False
        self._closing.set()

    @property
    def limits(self) -> Limits:
        """How large and deep a value may be."""
        return self._bounds.values

    # --- by the routes ---

    async def publish(self, asked: Publish, call: Call) -> Published:
        """Carry out all that an event leads to; it may be published again as often as one likes.

        What becomes a letter if it comes by Kafka is refused here, and nothing of it is kept. What is parked
        is kept as any other, and becomes a letter if its time is up.

        Raises:
            Refusal: Of one route's part at least; `outcomes` says what became of all.
        """
        topic = self._table.topics.get(asked.topic) if _TOPIC.fullmatch(asked.topic) else None
        if topic is None:
            raise Refusal(
                Kind.NOT_FOUND,
                f"no route reads topic {asked.topic[:LONGEST_TOPIC]}",
                "publish to one that routes are from",
            )
        if topic.format.envelope != "cloudevents":
            raise Refusal(
                Kind.UNSUPPORTED,
                f"events of topic {asked.topic} are made by a mapping, and only CloudEvents are taken",
                "write the record to Kafka, or publish to a topic with `event: cloudevents`",
            )
        record = self._record(asked.topic, asked.key, asked.value, asked.headers)

        async def handle() -> Published:
            impatience = _Impatience()
            try:
                with structlog.contextvars.bound_contextvars(caller=call.caller):
                    outcomes = [_told(one) for one in await self._handling.handle(record, impatience)]
            except Abandoned:
                reason = f"paused: {self._pauses.why(impatience.paused)}"
                raise Refusal(Kind.UNAVAILABLE, reason, "publish it again once that is resumed") from None
            refused = [one for one in outcomes if one.outcome == "refused"]
            if refused:
                raise Refusal(Kind.REFUSED, refused[0].detail, outcomes=outcomes)
            return Published(outcomes=outcomes)

        async def why() -> str:
            return self._waiting.answer(record)

        return await self._within(call, handle, why)

    # --- past the routes ---

    async def start(self, asked: Start, call: Call) -> Taken:
        """Start a workflow once under its id, also if it has closed meanwhile.

        Raises:
            Refusal: ALREADY_EXISTS where another call or event started it; others.
        """
        self._check_known(asked)
        event = self._event("start", asked.workflow_id, asked.namespace, "", call)
        by = f" by {call.caller}" if call.caller else ""
        return await self._command(
            commands.Start(
                route=ROUTE,
                event=event,
                namespace=self._namespace(asked.namespace),
                workflow_id=asked.workflow_id,
                workflow=asked.workflow,
                task_queue=asked.task_queue,
                args=asked.args,
                options=commands.StartOptions(
                    execution_timeout=asked.execution_timeout,
                    run_timeout=asked.run_timeout,
                    start_delay=asked.start_delay,
                    summary=asked.summary or f"started through the API{by}",
                    memo=asked.memo,
                ),
            ),
            call,
        )

    async def signal(self, asked: Signal, call: Call) -> Taken:
        """Send a signal to a workflow that runs.

        Raises:
            Refusal: NOT_FOUND, CLOSED; others.
        """
        event = self._event("signal", asked.workflow_id, asked.namespace, asked.name, call)
        return await self._command(
            commands.Signal(
                route=ROUTE,
                event=event,
                namespace=self._namespace(asked.namespace),
                workflow_id=asked.workflow_id,
                name=asked.name,
                args=asked.args,
            ),
            call,
        )

    async def cancel(self, asked: Cancel, call: Call) -> Taken:
        """Ask a workflow that runs to end itself; it may take its time, or not do so.

        Raises:
            Refusal: NOT_FOUND, CLOSED; others.
        """
        event = self._event("cancel", asked.workflow_id, asked.namespace, "", call)
        return await self._command(
            commands.Cancel(
                route=ROUTE,
                event=event,
                namespace=self._namespace(asked.namespace),
                workflow_id=asked.workflow_id,
                reason=asked.reason,
            ),
            call,
        )

    async def update(self, asked: Update, call: Call) -> Updated:
        """Have a workflow carry out an update, and wait for what it returns.

        With an idempotency key it is carried out once in a run of the workflow, and a repeat is answered the
        same. One that the workflow refused may be carried out when it comes again.

        Raises:
            Refusal: REFUSED with what the workflow said; NOT_FOUND, CLOSED, TIME_IS_UP; others.
        """
        try:
            self._dispatcher.check_update(asked.name, asked.args)
        except RejectedError as error:
            raise Refusal(Kind.INVALID_ARGUMENT, error.reason) from error
        event = self._event("update", asked.workflow_id, asked.namespace, asked.name, call)
        update_id = str(derived_id(event.key, ROUTE, "update"))
        return await self._ask(asked, call, lambda: self._workflows.update(asked, update_id))

    async def query(self, asked: Query, call: Call) -> Answered:
        """Ask a workflow for what it knows; changes nothing.

        Raises:
            Refusal: REFUSED with what the workflow said; NOT_FOUND, TIME_IS_UP; others.
        """
        return await self._ask(asked, call, lambda: self._workflows.query(asked))

    async def describe(self, asked: Describe, call: Call) -> Described:
        """How a workflow is now.

        Raises:
            Refusal: NOT_FOUND; others.
        """
        return await self._ask(asked, call, lambda: self._workflows.describe(asked))

    async def result(self, asked: Result, call: Call) -> Ended:
        """How a workflow ended; that it runs still, once its `wait` or the time of the call is nearly up.

        Raises:
            Refusal: NOT_FOUND; others.
        """
        longest = self._limit(call) * 0.9
        waiting = asked.model_copy(update={"wait": min(asked.wait, longest)})
        return await self._ask(asked, call, lambda: self._unless_closing(self._workflows.result(waiting)))

    # --- parts of all ---

    async def _ask(self, asked: Target, call: Call, ask: Callable[[], Awaitable[T]]) -> T:
        self._namespace(asked.namespace)
        return await self._within(call, ask, lambda: self._workflows.why_no_answer(asked))

    async def _unless_closing(self, ask: Coroutine[Any, Any, T]) -> T:
        asking, closing = asyncio.create_task(ask), asyncio.create_task(self._closing.wait())
        try:
            await asyncio.wait({asking, closing}, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                raise Refusal(Kind.UNAVAILABLE, "the service stops", "ask again, others answer")
            return asking.result()
        finally:
            asking.cancel()
            closing.cancel()

    async def _command(self, command: commands.Command, call: Call) -> Taken:
        record = command.event.record

        async def dispatch() -> Outcome:
            async with self._pace.call():
                return await self._dispatcher.dispatch(command)

        async def insist() -> Taken:
            what = What(ROUTE, command.event.id, command.workflow_id)
            try:
                outcome = await self._waiting.insist(record, Assignment(), what, dispatch)
            except RejectedError as error:
                raise _of_rejected(error, command) from error
            log.info(
                outcome.kind.value,
                route=ROUTE,
                asked=type(command).__name__.lower(),
                caller=call.caller,
                workflow_id=command.workflow_id,
            )
            kind = "duplicate" if outcome.kind is OutcomeKind.DUPLICATE else "accepted"
            return Taken(outcome=kind, workflow_id=command.workflow_id, url=self._dispatcher.link(command))

        async def why() -> str:
            return self._waiting.answer(record)

        return await self._within(call, insist, why)

    async def _within(
        self, call: Call, act: Callable[[], Awaitable[T]], why: Callable[[], Awaitable[str]]
    ) -> T:
        """Do it within the time of the call, if there is room; `why` is asked when the time is up."""
        async with self._admitted():
            acting = asyncio.ensure_future(act())
            # What it comes to after its time is nobody's to hear.
            acting.add_done_callback(lambda done: done.cancelled() or done.exception())
            try:
                done, _ = await asyncio.wait({acting}, timeout=self._limit(call).total_seconds())
                if not done:
                    raise Refusal(Kind.TIME_IS_UP, *self._in_vain(call, await why()))
                return acting.result()
            except TimeoutError as error:
                raise Refusal(Kind.TIME_IS_UP, *self._in_vain(call, await why())) from error
            finally:
                acting.cancel()

    def _in_vain(self, call: Call, why: str) -> tuple[str, str]:
        seconds = self._limit(call).total_seconds()
        reason = f"not done within {seconds:g} s" + (f": {why}" if why else "")
        return reason, "it may be done yet; repeat it, with the same idempotency key or event id"

    def _limit(self, call: Call) -> timedelta:
        if call.limit is None:
            return self._bounds.limit
        return max(min(call.limit, self._bounds.limit), LEAST_LIMIT)

    @asynccontextmanager
    async def _admitted(self) -> AsyncIterator[None]:
        if not self._open:
            raise Refusal(Kind.UNAVAILABLE, "the service starts or stops", "call again in a few seconds")
        if self._calls >= self._bounds.at_once:
            raise Refusal(
                Kind.BUSY,
                f"{self._bounds.at_once} calls are under way, and no more are taken at once",
                "call again in a second, with less at once",
            )
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1

    def _namespace(self, name: str | None) -> str | None:
        """The namespace of that name, if anything may be asked there; None is our own."""
        if name is not None and name not in self._namespaces:
            raise Refusal(
                Kind.FORBIDDEN,
                f"namespace {name} is none that this service asks anything of",
                "leave it out, or have it declared under `namespaces` in a file of routes",
            )
        return None if name == self._namespaces[0] else name

    def _check_known(self, asked: Start) -> None:
        known = self._known.get(asked.task_queue)
        if self._namespace(asked.namespace) is None and known is not None and asked.workflow not in known:
            raise Refusal(
                Kind.INVALID_ARGUMENT,
                f"the workers of task queue {asked.task_queue} have no workflow {asked.workflow}",
                f"they have {', '.join(sorted(known)) or 'none'}",
            )

    def _event(self, kind: str, workflow_id: str, namespace: str | None, name: str, call: Call) -> Event:
        """What stands in the place of an event; the same key for calls that repeat one another."""
        nonce = checked_key(call.key) if call.key else uuid.uuid4().hex
        where = self._namespace(namespace) or ""
        key: EventKey = (ROUTE, call.identity, where, workflow_id, name, nonce)
        record = self._record(ROUTE, None, None, ())
        return Event(
            key=key,
            id=nonce,
            source="turnout/api",
            type=f"api.{kind}",
            subject="",
            time=datetime.now(UTC).isoformat(),
            data=None,
            has_data=False,
            record=record,
        )

    def _record(self, topic: str, key: bytes | None, value: bytes | None, headers: Any) -> Record:
        now_ms = time.time_ns() // 1_000_000
        return Record(topic, NO_PARTITION, next(self._places), key, value, headers, now_ms)


class _Impatience(Assignment):
    """Lets an event wait for neighbours, but for no pause, which may last for days."""

    def __init__(self) -> None:
        super().__init__()
        self.paused = ""

    async def until(self, event: asyncio.Event) -> None:
        """See `Assignment.until`."""
        del event
        (self.paused,) = self.held_up.values()
        raise Abandoned


def _told(outcome: Outcome) -> RouteOutcome:
    return RouteOutcome(
        outcome=outcome.kind.value,
        route=outcome.route,
        workflow_id=outcome.workflow_id,
        detail=outcome.detail,
    )


def _of_rejected(error: RejectedError, command: commands.Command) -> Refusal:
    match error.rule, command:
        case "missing", _:
            return Refusal(Kind.NOT_FOUND, error.reason, "start it first, or look at its id")
        case (("running" | "closed"), commands.Start()):
            return Refusal(Kind.ALREADY_EXISTS, error.reason, "start it under another id")
        case "closed", _:
            return Refusal(Kind.CLOSED, error.reason)
    return Refusal(Kind.INVALID_ARGUMENT, error.reason, error.cure or "")
