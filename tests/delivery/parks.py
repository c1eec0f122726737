"""What the parks of a group hold, told by their histories: nobody has to run for that."""

from collections.abc import Iterable, Sequence
from typing import Any

from temporalio.api.history.v1 import HistoryEvent

from activities.parked import Parked
from service.temporal.worker import service_queue
from tests.delivery.checker import Part
from tests.integration.service import Site
from workflows.park import Carried


async def parked(here: Site) -> Sequence[Part]:
    """What is in open parks now, as far as visibility knows them; it lags by a second or so."""
    ours = (
        f"WorkflowType = 'Park' AND TaskQueue = '{service_queue(here.group)}' AND ExecutionStatus = 'Running'"
    )
    parts: list[Part] = []
    async for run in here.client.list_workflows(ours):
        history = await here.client.get_workflow_handle(run.id, run_id=run.run_id).fetch_history()
        parts += [
            Part(event.id, held.command.route)
            for held in held_by(history.events)
            for event in held.command.events
        ]
    return parts


def held_by(events: Iterable[HistoryEvent]) -> Sequence[Parked]:
    """What a run holds after `events`, in order: one that is done has been delivered, or has its letters."""
    held: dict[str, Parked] = {}
    done: set[str] = set()
    activities: dict[int, str] = {}
    for event in events:
        match event.WhichOneof("attributes"):
            case "workflow_execution_started_event_attributes":
                started = event.workflow_execution_started_event_attributes
                carried = Carried.model_validate_json(_only(started.input))
                held = {one.parked.id: one.parked for one in carried.held}
                done = {*carried.done}
            case "workflow_execution_signaled_event_attributes":
                signal = event.workflow_execution_signaled_event_attributes
                parked = Parked.model_validate_json(_only(signal.input))
                if parked.id not in done:
                    held.setdefault(parked.id, parked)
            case "activity_task_scheduled_event_attributes":
                scheduled = event.activity_task_scheduled_event_attributes
                activities[event.event_id] = scheduled.activity_type.name
            case "activity_task_completed_event_attributes":
                completed = event.activity_task_completed_event_attributes
                # What a delivery gives back is still to become letters.
                if activities[completed.scheduled_event_id] != "deliver" or _only(completed.result) == b"[]":
                    first = next(iter(held))
                    del held[first]
                    done.add(first)
    return list(held.values())


def _only(payloads: Any) -> bytes:
    (payload,) = payloads.payloads
    data: bytes = payload.data
    return data
