"""What Temporal says of one command: its target, what that was told and published, and the park before it."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.enums.v1 import CallbackState
from temporalio.client import (
    Client,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowQueryFailedError,
)
from temporalio.service import RPCError, RPCStatusCode

from service.dispatch.answers import Meaning, meaning_of, said
from service.dispatch.attributes import keyword_pair
from service.dispatch.identity import event_ids
from service.dispatch.links import Links
from service.dispatch.lookup import Lookup
from service.errors import NotNow, RejectedError, Unreachable
from service.failures.parks import OpenPark, Parks
from service.journeys.facts import ParkFact, Pending, Target, Told
from service.kafka.record import Partition
from service.redrive.letterbox import Place
from service.routing.commands import Cancel, Command, OrStart, Signal, Start
from service.temporal.chronicle import Chronicle, runs_back
from service.temporal.client import for_namespace, search_attributes
from service.temporal.closed import STATUS, start_of, text_of
from service.temporal.workers import RPC_TIMEOUT, pollers, signal_names
from workflows.encryption import NotReadable

MOST_RUNS = 5
"""So many runs of a workflow are looked through for a signal."""

MOST_FOUND = 20
MOST_PARKS = 100
"""So many parks are looked into for an event; each takes some calls."""

LONGEST_ID_BYTES = 1_000
"""Of a workflow (`limit.maxIDLength` of Temporal's dynamic configuration)."""

_CANNOT_BE_ASKED = frozenset('"\\')
"""What cannot stand in a text of a query; see `service.routing.lookups`."""

LOOK_SECONDS = 30.0
"""For all that is asked about one command."""


@dataclass(frozen=True, slots=True)
class Started:
    """A workflow that an event started, and the record that brought it, if that is told."""

    workflow_id: str
    place: Place | None


class InTemporal:
    """Asks Temporal; each call ends within seconds.

    Args:
        client: Its namespace is turnout's own.
        parks: Those of the group.
        links: Where the Temporal UI is.
        namespaces: All that commands may go to beyond the client's own.
    """

    def __init__(self, client: Client, parks: Parks, links: Links, namespaces: Iterable[str] = ()) -> None:
        self._client = client
        self._parks = parks
        self._links = links
        self._namespaces = sorted({client.namespace, *namespaces})

    async def started_by(self, attribute: str, event_id: str) -> Sequence[Started]:
        """The workflows that an event of that id started, as far as visibility knows.

        None in a namespace that does not know the attribute.

        Raises:
            Unreachable: Temporal does not answer.
        """
        # As it was set at the start: cut, without what cannot be shown.
        keyword = keyword_pair(attribute, event_id).value
        if not keyword or _CANNOT_BE_ASKED & {*keyword}:
            return []
        found: list[Started] = []
        for namespace in self._namespaces:
            client = for_namespace(self._client, namespace)
            async with _answering():
                if attribute not in await search_attributes(client, namespace):
                    continue
                async for one in client.list_workflows(
                    f'`{attribute}` = "{keyword}"', limit=MOST_FOUND, rpc_timeout=RPC_TIMEOUT
                ):
                    memo = start_of(one)
                    if memo.get("event") == event_id:
                        found.append(Started(one.id, _record_in(memo)))
        return found

    async def workflow(self, workflow_id: str) -> tuple[Target, Place | None] | None:
        """The workflow of that id, and the record that led to it, if it is one of ours; None: there is none.

        Raises:
            Unreachable: Temporal does not answer.
        """
        if len(workflow_id.encode()) > LONGEST_ID_BYTES:
            return None
        for namespace in self._namespaces:
            client = for_namespace(self._client, namespace)
            async with _answering():
                if target := await self._target(client, workflow_id, None):
                    return target, _record_in(target.memo)
        return None

    async def of_command(self, command: Command) -> tuple[Target, ParkFact | None]:
        """The target of `command`, and its park if one is open.

        Raises:
            Unreachable: Temporal does not answer.
        """
        client = for_namespace(self._client, command.namespace)
        async with _answering():
            park = None if isinstance(command, Start) else await self._park(command)
            if isinstance(command, Signal | Cancel) and command.where:
                found_id, note = await _looked_for(client, command.where)
                if not found_id:
                    return Target(id="", note=note), park
                command = replace(command, workflow_id=found_id, where=None)
            target = await self._target(client, command.workflow_id, command)
            if target is None:
                target = await _nobody(client, command)
            return target, park

    async def parked_events(self, event_id: str) -> tuple[Sequence[Place], bool]:
        """The records of events of that id that parks hold, and whether all parks were looked into.

        Raises:
            Unreachable: Temporal does not answer.
        """
        places: list[Place] = []
        count = 0
        try:
            async for park in self._parks.open_ones():
                count += 1
                if count > MOST_PARKS:
                    return places, False
                for held in await self._parks.held_by(park):
                    places += [
                        Place(Partition(event.topic, event.partition), event.offset)
                        for event in held.command.events
                        if event.id == event_id
                    ]
        except NotNow as error:
            raise Unreachable(str(error)) from error
        return places, True

    async def _park(self, command: Command) -> ParkFact | None:
        try:
            park = await self._parks.look(command)
            if park is None:
                return None
            position = await self._position(park, command)
        except NotNow as error:
            raise Unreachable(str(error)) from error
        return ParkFact(
            id=park.id,
            target=park.target,
            position=position,
            commands=park.status.commands,
            answer=park.answer,
            next_try=park.next_try if position == 1 else None,
            gives_up_at=park.status.gives_up_at if position == 1 else None,
            url=park.url,
        )

    async def _position(self, park: OpenPark, command: Command) -> int:
        for position, held in enumerate(await self._parks.held_by(park), start=1):
            events = {tuple(event.key) for event in held.command.events}
            if held.command.route == command.route and tuple(command.event.key) in events:
                return position
        return 0

    async def _target(self, client: Client, workflow_id: str, command: Command | None) -> Target | None:
        handle = client.get_workflow_handle(workflow_id)
        try:
            found = await handle.describe(rpc_timeout=RPC_TIMEOUT)
        except RPCError as error:
            # An id that Temporal does not take as one is none that a workflow has.
            if meaning_of(error) in {Meaning.MISSING, Meaning.REJECTED}:
                return None
            raise
        target = await _described(found, client, self._links.workflow(client.namespace, workflow_id))
        event = event_ids(command)[0].bytes if isinstance(command, Signal) else None
        runs = [one async for one in runs_back(client, workflow_id, found.run_id, MOST_RUNS if event else 1)]
        target = replace(target, published=[one for run in reversed(runs) for one in run.published])
        if event:
            target = replace(target, told=told_in(runs, event))
        if target.status == "running":
            target = replace(target, pollers=await pollers(client, target.task_queue))
            if isinstance(command, Signal) and target.pollers:
                target = await _with_handlers(target, client)
        return target


def _record_in(memo: Mapping[str, Any]) -> Place | None:
    place = Place.meant_by(str(memo.get("record", "")))
    return place if place and place.is_in_kafka else None


def told_in(runs: Sequence[Chronicle], event: bytes) -> Told:
    """How often the runs of a workflow, the latest first, were told of an event."""
    times = sorted(moment for run in runs for moment in run.told.get(event, ()))
    first = next((run for run in reversed(runs) if event in run.told), None)
    return Told(
        times=len(times),
        carried=bool(runs) and event in (first or runs[-1]).seen,
        taken=first is not None and first.last_task > first.first_told[event],
        at=times[0] if times else None,
        whole=all(run.whole for run in runs) and not (runs and runs[-1].continued and len(runs) == MOST_RUNS),
    )


async def _described(found: WorkflowExecutionDescription, client: Client, url: str) -> Target:
    raw = found.raw_description
    return Target(
        id=found.id,
        status=_status(found.status),
        workflow=found.workflow_type,
        task_queue=found.task_queue,
        started_at=found.start_time,
        closed_at=found.close_time,
        memo=start_of(found),
        cancel_requested=raw.workflow_extended_info.cancel_requested,
        task_waits=max(raw.pending_workflow_task.attempt, 1) if raw.HasField("pending_workflow_task") else 0,
        pending=[
            Pending(
                type=one.activity_type.name,
                id=one.activity_id,
                attempt=one.attempt,
                failure=await text_of(client.data_converter, one.last_failure),
                next_try=_moment(one.next_attempt_schedule_time),
            )
            for one in raw.pending_activities
        ],
        callbacks=[
            (
                CallbackState.Name(one.state).removeprefix("CALLBACK_STATE_").lower(),
                one.last_attempt_failure.message,
            )
            for one in raw.callbacks
        ],
        url=url,
    )


def _status(status: WorkflowExecutionStatus | None) -> str:
    if status is None:
        return "in a state without name"
    return STATUS.get(status, status.name.lower().replace("_", "-"))


async def _with_handlers(target: Target, client: Client) -> Target:
    try:
        return replace(target, handlers=await signal_names(client.get_workflow_handle(target.id)))
    except NotReadable as error:
        return replace(target, handlers_hidden=str(error))
    except (RPCError, WorkflowQueryFailedError):
        return target


async def _nobody(client: Client, command: Command) -> Target:
    """There is no such workflow; who would take it up if it was started."""
    starting = command.or_start if isinstance(command, Signal) else command
    queue = starting.task_queue if isinstance(starting, Start | OrStart) else ""
    try:
        count = await pollers(client, queue) if queue else None
    except RPCError as error:
        if error.status is not RPCStatusCode.INVALID_ARGUMENT:
            raise
        # So it answers a start with that task queue, too.
        return Target(id=command.workflow_id, task_queue=queue, note=f"of task queue {queue} {said(error)}")
    return Target(id=command.workflow_id, task_queue=queue, pollers=count)


async def _looked_for(client: Client, where: Mapping[str, str]) -> tuple[str, str]:
    """The id of the workflow that fits, or nothing and why."""
    try:
        ids = await Lookup(await search_attributes(client, client.namespace)).ids(client, where)
    except RejectedError as error:
        return "", str(error)
    if len(ids) > 1:
        return "", f"several fit, {ids[0]} and {ids[1]} among them"
    return (ids[0], "") if ids else ("", f"none is found by {' and '.join(where)}")


def _moment(stamp: Timestamp) -> datetime | None:
    return stamp.ToDatetime(UTC) if stamp.seconds else None


@asynccontextmanager
async def _answering() -> AsyncIterator[None]:
    """Calls in this block end in time; what Temporal does not answer becomes `Unreachable`."""
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            yield
    except TimeoutError as error:
        raise Unreachable(f"Temporal did not answer within {LOOK_SECONDS:.0f} s") from error
    except RPCError as error:
        raise Unreachable(said(error)) from error
