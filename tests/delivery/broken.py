"""Builds that are broken on purpose: `python -m tests.delivery.broken NAME bridge`.

Each takes one promise back by replacing one thing of the service before that starts. The checker has to
find each; `sound` replaces nothing. All of them log how many records they hold.
"""

# ruff: noqa: SLF001 - they replace what nobody else may touch

import asyncio
import json
import sys
import uuid
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from itertools import count
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer, TopicPartition
from temporalio.plugin import SimplePlugin
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import ExecuteWorkflowInput

import service.dispatch.dispatcher
import service.dispatch.identity
import service.temporal.worker
import service.wiring
import workflows.inbox
from service.cli.app import main as turnout
from service.dispatch.answers import Meaning, Outcome
from service.dispatch.identity import TURNOUT, Identity
from service.errors import NotNow, RecordError
from service.failures.letters import Letters
from service.failures.parked import Parkable
from service.failures.parking import Way
from service.failures.parks import Parks
from service.intake.lanes import Lanes
from service.intake.offsets import OffsetTracker
from service.kafka.record import Commit, Record, Written
from service.kafka.source import NOWHERE, KafkaSource
from service.results.looking_back import LookBack
from service.results.publisher import KafkaResultPublisher
from service.routing.commands import Command, Start
from tests.workflows.yard import AsyncPark

log = structlog.get_logger(__name__)


def replace(target: Any, name: str, make: Callable[[Any], Any]) -> None:
    """Put what `make` gives for the present thing in its place; without one, the double is out of date."""
    setattr(target, name, make(getattr(target, name)))


def commit_before_start() -> None:
    """A record counts as done when it is received."""

    def make(receive: Any) -> Any:
        def received(self: OffsetTracker, offset: int) -> bool:
            new: bool = receive(self, offset)
            if new:
                finish(self, offset)
            return new

        return received

    finish = OffsetTracker.finish
    replace(OffsetTracker, "receive", make)
    replace(OffsetTracker, "finish", lambda _: lambda _self, _offset: None)


def highest_seen() -> None:
    """Commits the offset after the highest finished one, whatever is unfinished below."""
    highest: dict[int, int] = {}

    def make_finish(finish: Any) -> Any:
        def finished(self: OffsetTracker, offset: int) -> None:
            finish(self, offset)
            highest[id(self)] = max(offset + 1, highest.get(id(self), 0))

        return finished

    def make_to_commit(to_commit: Any) -> Any:
        def commit(self: OffsetTracker) -> Commit | None:
            found: Commit | None = to_commit(self)
            return found and Commit(max(found.offset, highest.get(id(self), 0)))

        return commit

    replace(OffsetTracker, "finish", make_finish)
    replace(OffsetTracker, "to_commit", make_to_commit)


def no_ids() -> None:
    """No ids of ours on the wire, and no inbox in the worker."""
    replace(service.dispatch.identity, "_identify", lambda _: lambda *_: None)
    replace(service.dispatch.identity, "_tell_inbox", lambda _: lambda *_: None)
    replace(service.temporal.worker, "Inbox", lambda _: lambda: SimplePlugin("no.inbox"))


def inbox_by_event() -> None:
    """The inbox is told the event alone, not the route by which it comes."""

    def make(identity_of: Any) -> Any:
        def by_event(command: Any) -> Identity:
            identity: Identity = identity_of(command)
            names = [json.dumps(list(event.key)) for event in command.events]
            return Identity(identity.request, [uuid.uuid5(TURNOUT, name) for name in names])

        return by_event

    replace(service.dispatch.dispatcher, "identity_of", make)


def late_window() -> None:
    """The inbox reads what its earlier runs have seen when the workflow's own code begins."""
    seen = workflows.inbox._Seen

    def make_known(_: Any) -> Any:
        def known(self: Any) -> dict[bytes, None]:
            if self._ids is None:
                self._ids = {}
            ids: dict[bytes, None] = self._ids
            return ids

        return known

    read = seen._known

    async def execute(self: Any, input: ExecuteWorkflowInput) -> Any:  # noqa: A002 - the SDK's name
        so_far = self._seen._ids or {}
        self._seen._ids = None
        self._seen._ids = {**read(self._seen), **so_far}
        return await self.next.execute_workflow(input)

    replace(seen, "_known", make_known)
    replace(workflows.inbox._Inbound, "execute_workflow", lambda _: execute)


def unordered_lanes() -> None:
    """Each record has a lane of its own."""
    numbers = count()

    def make(_: Any) -> Any:
        def lane_key_by(*_args: Any, **_how: Any) -> Callable[[Record], bytes]:
            return lambda _record: str(next(numbers)).encode()

        return lane_key_by

    replace(service.wiring, "lane_key_by", make)


def empty_poll() -> None:
    """With no partition that has room, the client is asked for an empty list of them: for all, that is."""

    def make(take: Any) -> Any:
        async def taken(self: KafkaSource, *places: TopicPartition, **how: Any) -> list[Record]:
            wanted = () if places == (NOWHERE,) else places
            records: list[Record] = await take(self, *wanted, **how)
            return records

        return taken

    replace(KafkaSource, "_take", make)


def rejected_by_proxy() -> None:
    """A proxy's 404, which arrives as UNIMPLEMENTED, is taken for Temporal's own judgement."""

    def make(meaning_of: Any) -> Any:
        def judged(error: RPCError) -> Meaning:
            if error.status is RPCStatusCode.UNIMPLEMENTED:
                return Meaning.REJECTED
            meaning: Meaning = meaning_of(error)
            return meaning

        return judged

    replace(service.dispatch.dispatcher, "meaning_of", make)


def parks_in_memory() -> None:
    """A bridge knows only of the parks that it filled itself, and does not ask for those before it."""
    filled: set[str] = set()

    def make_is_open(is_open: Any) -> Any:
        async def known(self: Parks, command: Command) -> bool:
            return self.id_for(command) in filled and await is_open(self, command)

        return known

    def make_put(put: Any) -> Any:
        async def noted(self: Parks, command: Parkable, **why: Any) -> None:
            filled.add(self.id_for(command))
            await put(self, command, **why)

        return noted

    replace(Parks, "is_open", make_is_open)
    replace(Parks, "put", make_put)


def start_waits() -> None:
    """A start keeps its place too: it waits until the park of its target is empty."""

    def make(go: Any) -> Any:
        async def queued(self: Way) -> Outcome:
            command = self._command
            if isinstance(command, Start) and await self._parking._parks.is_open(command):
                raise NotNow("others before it are parked")
            outcome: Outcome = await go(self)
            return outcome

        return queued

    replace(Way, "go", make)


def start_ends_park() -> None:
    """Once a lane has started a target, it takes that for all that was in the way."""

    def make(go: Any) -> Any:
        async def gone(self: Way) -> Outcome:
            outcome: Outcome = await go(self)
            if isinstance(self._command, Start):
                self._parking._closed[self._assignment, self._parking._parks.id_for(self._command)] = None
            return outcome

        return gone

    replace(Way, "go", make)


def async_park() -> None:
    """The handler of the park is asynchronous."""
    replace(service.wiring, "Park", lambda _: AsyncPark)


def backdated_letters() -> None:
    """Letters have the time of their records."""
    at: ContextVar[int | None] = ContextVar("at", default=None)

    def make_write(write: Any) -> Any:
        async def written(self: Letters, record: Record, error: RecordError, *about: Any) -> Written:
            token = at.set(record.timestamp_ms)
            try:
                place: Written = await write(self, record, error, *about)
            finally:
                at.reset(token)
            return place

        return written

    def make_send(send: Any) -> Any:
        async def sent(self: AIOKafkaProducer, *where: Any, **what: Any) -> Any:
            return await send(self, *where, **what, timestamp_ms=at.get())

        return sent

    replace(Letters, "write", make_write)
    replace(AIOKafkaProducer, "send", make_send)


def results_untold() -> None:
    """Results are written, but Temporal never hears that they are."""

    def make(publish: Any) -> Any:
        async def published(self: KafkaResultPublisher, event: Any) -> None:
            await publish(self, event)
            log.info("result written")
            await asyncio.Event().wait()

        return published

    replace(KafkaResultPublisher, "publish", make)


def no_look_back() -> None:
    """A result is written by each attempt, whatever an earlier one has written."""

    async def nothing(_self: LookBack, _sought: object) -> None:
        return None

    replace(LookBack, "find", lambda _: nothing)


BUILDS: dict[str, Callable[[], None]] = {
    "sound": lambda: None,
    "commit-before-start": commit_before_start,
    "highest-seen": highest_seen,
    "no-ids": no_ids,
    "inbox-by-event": inbox_by_event,
    "late-window": late_window,
    "unordered-lanes": unordered_lanes,
    "empty-poll": empty_poll,
    "rejected-by-proxy": rejected_by_proxy,
    "parks-in-memory": parks_in_memory,
    "start-waits": start_waits,
    "start-ends-park": start_ends_park,
    "async-park": async_park,
    "backdated-letters": backdated_letters,
    "results-untold": results_untold,
    "no-look-back": no_look_back,
}


def _tell_what_is_held() -> None:
    most = 0

    def make(put: Any) -> Any:
        def watched(self: Lanes, *record_and_key: Any, **how: Any) -> None:
            nonlocal most
            put(self, *record_and_key, **how)
            if self.in_flight() > most:
                most = self.in_flight()
                log.info("held", records=most)

        return watched

    replace(Lanes, "put", make)


def main(arguments: Iterable[str]) -> None:
    """Break the service as the first argument says, and run it with the others."""
    name, *others = arguments
    BUILDS[name]()
    _tell_what_is_held()
    sys.argv[1:] = others
    turnout()


if __name__ == "__main__":
    main(sys.argv[1:])
