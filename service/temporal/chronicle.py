"""What the history of a workflow says of the events that it was told, and of its results."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from temporalio.api.common.v1 import Header, Payloads
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client
from temporalio.converter import DataConverter
from temporalio.service import RPCError

from service.temporal.closed import text_of
from service.temporal.workers import RPC_TIMEOUT
from workflows.encryption import NotReadable
from workflows.inbox import ID_BYTES, ID_HEADER, SEEN_HEADER

MOST_EVENTS = 60_000
"""Temporal ends a run at 51,200."""

MOST_SECONDS = 4.0
PUBLISH = "publish"
"""The activity that publishes a result; see `activities.publishing`."""

_HIDDEN = "not readable"
"""A name that no object of ours has."""


@dataclass(frozen=True, slots=True)
class Published:
    """A result of a workflow: its type and topic, and where it lies; `offset` is None where it does not yet.

    `failure` is why it never will be, by this activity. `hidden`: it is published, and why one
    does not see where.
    """

    type: str
    topic: str
    partition: int = 0
    offset: int | None = None
    failure: str = ""
    hidden: str = ""


@dataclass(slots=True)
class Chronicle:
    """One run's history, as far as it was read.

    Attributes:
        told: For each event that a signal brought: when, and by how many signals.
        seen: The events that the inbox knew when the run began.
        first_told: For each event, the number of the first signal in the history.
        last_task: The number of the last event that a worker had done a task of.
        continued: The run before, if this one goes on for it.
        whole: Whether all of it was read.
    """

    told: dict[bytes, list[datetime]] = field(default_factory=dict)
    first_told: dict[bytes, int] = field(default_factory=dict)
    seen: frozenset[bytes] = frozenset()
    last_task: int = 0
    continued: str = ""
    whole: bool = True
    results: dict[int, Published] = field(default_factory=dict)

    @property
    def published(self) -> Sequence[Published]:
        """The results, in the order in which they were to be published."""
        return list(self.results.values())


async def chronicle(client: Client, workflow_id: str, run_id: str) -> Chronicle:
    """What the history of a run says; in bounded time, and then perhaps not of its end.

    Raises:
        RPCError: Temporal does not say.
    """
    read = Chronicle()
    handle = client.get_workflow_handle(workflow_id, run_id=run_id)
    try:
        async with asyncio.timeout(MOST_SECONDS):
            # The iterator gives each call its own time limit.
            async for event in handle.fetch_history_events(rpc_timeout=RPC_TIMEOUT):
                await _note(read, event, client.data_converter)
                if event.event_id >= MOST_EVENTS:
                    read.whole = False
                    break
    except TimeoutError:
        read.whole = False
    return read


async def runs_back(client: Client, workflow_id: str, run_id: str, most: int) -> AsyncIterator[Chronicle]:
    """The histories of a run and of those it goes on for, the latest first, as long as they are kept.

    Raises:
        RPCError: Temporal does not say, of the first.
    """
    first = True
    for _ in range(most):
        try:
            read = await chronicle(client, workflow_id, run_id)
        except RPCError:
            if first:
                raise
            return
        first = False
        yield read
        if not read.continued:
            return
        run_id = read.continued


async def _note(read: Chronicle, event: HistoryEvent, converter: DataConverter) -> None:
    match event.WhichOneof("attributes"):
        case "workflow_execution_started_event_attributes":
            started = event.workflow_execution_started_event_attributes
            read.continued = started.continued_execution_run_id
            read.seen = frozenset(_ids(started.header, SEEN_HEADER))
        case "workflow_execution_signaled_event_attributes":
            for one in _ids(event.workflow_execution_signaled_event_attributes.header, ID_HEADER):
                read.told.setdefault(one, []).append(event.event_time.ToDatetime(UTC))
                read.first_told.setdefault(one, event.event_id)
        case "workflow_task_completed_event_attributes":
            read.last_task = event.workflow_task_completed_event_attributes.started_event_id
        case "marker_recorded_event_attributes":
            await _note_local(read, event, converter)
        case _:
            await _note_activity(read, event, converter)


async def _note_activity(read: Chronicle, event: HistoryEvent, converter: DataConverter) -> None:
    """What was to be published, and whether it was."""
    match event.WhichOneof("attributes"):
        case "activity_task_scheduled_event_attributes":
            scheduled = event.activity_task_scheduled_event_attributes
            if scheduled.activity_type.name == PUBLISH:
                said = await _said(scheduled.input, converter)
                read.results[event.event_id] = Published(_text(said, "type"), _text(said, "topic"))
        case "activity_task_completed_event_attributes":
            completed = event.activity_task_completed_event_attributes
            if before := read.results.get(completed.scheduled_event_id):
                written = _written(before, await _said(completed.result, converter))
                read.results[completed.scheduled_event_id] = written
        case "activity_task_failed_event_attributes":
            failed = event.activity_task_failed_event_attributes
            if before := read.results.get(failed.scheduled_event_id):
                cause = failed.failure.cause if failed.failure.HasField("cause") else failed.failure
                why = await text_of(converter, cause)
                read.results[failed.scheduled_event_id] = Published(before.type, before.topic, failure=why)


async def _note_local(read: Chronicle, event: HistoryEvent, converter: DataConverter) -> None:
    """What was published within the worker: a marker of the SDK's core has its result, not its input."""
    marker = event.marker_recorded_event_attributes
    if marker.marker_name != "core_local_activity" or marker.HasField("failure"):
        return
    try:
        about = json.loads(marker.details["data"].payloads[0].data)
    except (IndexError, ValueError):
        return
    if isinstance(about, Mapping) and about.get("activity_type") == PUBLISH:
        said = await _said(marker.details["result"], converter)
        read.results[event.event_id] = _written(Published("", _text(said, "topic")), said)


def _written(before: Published, said: Mapping[str, Any]) -> Published:
    partition, offset = said.get("partition"), said.get("offset")
    if not isinstance(partition, int) or not isinstance(offset, int):
        hidden = _text(said, _HIDDEN) or "its worker does not tell it"
        return Published(before.type, before.topic, hidden=hidden)
    return Published(before.type, _text(said, "topic") or before.topic, partition, offset)


async def _said(payloads: Payloads, converter: DataConverter) -> Mapping[str, Any]:
    """The first of `payloads`, if it is an object; where it cannot be read, only why, for who has no key."""
    try:
        (said,) = (await converter.decode(payloads.payloads[:1])) or [None]
    except NotReadable as error:
        return {_HIDDEN: str(error)}
    except Exception:  # noqa: BLE001 - what another's codec does not open is not told, and no reason to end
        return {}
    return said if isinstance(said, Mapping) else {}


def _text(said: Mapping[str, Any], name: str) -> str:
    return str(said.get(name, ""))


def _ids(header: Header, name: str) -> list[bytes]:
    packed = header.fields[name].data if name in header.fields else b""
    return [packed[at : at + ID_BYTES] for at in range(0, len(packed), ID_BYTES)]
