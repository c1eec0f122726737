"""Commands as parks keep them, and back: the same call on the wire, with the same ids."""

from datetime import timedelta
from typing import Any

from activities.parked import (
    KeptRecord,
    Parked,
    ParkedCommand,
    ParkedEvent,
    ParkedOptions,
    ParkedStart,
)
from service.dispatch.identity import command_id
from service.events.event import Event
from service.kafka.record import Record, Redelivery
from service.routing.commands import Cancel, OrStart, Rule, Signal, StartOptions
from service.telemetry.trace_context import context_in

Parkable = Signal | Cancel
"""What can be parked; a start never waits for its own target."""


def to_parked(command: Parkable, *, answer: str, patience: timedelta) -> Parked:
    """`command` with its records, to be parked for as long as `patience` because of `answer`."""
    parked = Parked(
        id=str(command_id(command)),
        command=_kept(command),
        records=tuple(_kept_record(event.record) for event in command.events),
        answer=answer,
        patience=patience,
    )
    return parked.model_copy(update={"size_bytes": len(parked.model_dump_json().encode())})


def to_command(kept: ParkedCommand) -> Parkable:
    """The command that was kept; its events have neither data nor the bytes of their records."""
    first, *others = (_event(event) for event in kept.events)
    common: dict[str, Any] = {
        "route": kept.route,
        "event": first,
        "namespace": kept.namespace,
        "workflow_id": kept.workflow_id,
        "where": kept.where,
        "missing": kept.missing if isinstance(kept.missing, timedelta) else Rule(kept.missing),
        "closed": Rule(kept.closed),
    }
    match kept.kind:
        case "signal":
            return Signal(
                **common,
                others=others,
                name=kept.name,
                args=kept.args,
                batch=kept.batch,
                or_start=_or_start(kept.or_start) if kept.or_start else None,
            )
        case "cancel":
            return Cancel(**common, reason=kept.reason)


def to_record(kept: KeptRecord, route: str) -> Record:
    """The record, byte for byte, as it was handled by `route`."""
    return Record(
        kept.topic,
        kept.partition,
        kept.offset,
        kept.key,
        kept.value,
        tuple(kept.headers),
        kept.timestamp_ms,
        _redelivery(kept, route),
    )


def _redelivery(kept: KeptRecord, route: str) -> Redelivery | None:
    if kept.first_failed_at is None:
        return None
    return Redelivery(route=route, sends=kept.sends, first_failed_at=kept.first_failed_at)


def _kept(command: Parkable) -> ParkedCommand:
    common: dict[str, Any] = {
        "route": command.route,
        "namespace": command.namespace,
        "workflow_id": command.workflow_id,
        "where": dict(command.where) if command.where else None,
        "events": tuple(_kept_event(event) for event in command.events),
        "missing": command.missing if isinstance(command.missing, timedelta) else command.missing.value,
        "closed": command.closed.value,
    }
    match command:
        case Signal():
            return ParkedCommand(
                kind="signal",
                **common,
                name=command.name,
                args=tuple(command.args),
                batch=command.batch,
                or_start=_kept_start(command.or_start) if command.or_start else None,
            )
        case Cancel():
            return ParkedCommand(kind="cancel", **common, reason=command.reason)


def _kept_event(event: Event) -> ParkedEvent:
    return ParkedEvent(
        key=event.key,
        id=event.id,
        source=event.source,
        type=event.type,
        topic=event.record.topic,
        partition=event.record.partition,
        offset=event.record.offset,
        headers=dict(context_in(event.headers)),
    )


def _event(kept: ParkedEvent) -> Event:
    return Event(
        key=tuple(kept.key),
        id=kept.id,
        source=kept.source,
        type=kept.type,
        subject="",
        time="",
        data=None,
        has_data=False,
        record=Record(kept.topic, kept.partition, kept.offset, None, None, (), 0),
        headers=kept.headers,
    )


def _kept_start(or_start: OrStart) -> ParkedStart:
    return ParkedStart(
        workflow=or_start.workflow,
        task_queue=or_start.task_queue,
        args=tuple(or_start.args),
        options=ParkedOptions.model_validate(or_start.options),
    )


def _or_start(kept: ParkedStart) -> OrStart:
    options = StartOptions(**kept.options.model_dump())
    return OrStart(workflow=kept.workflow, task_queue=kept.task_queue, args=kept.args, options=options)


def _kept_record(record: Record) -> KeptRecord:
    return KeptRecord(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        key=record.key,
        value=record.value,
        headers=record.headers,
        timestamp_ms=record.timestamp_ms,
        sends=record.redelivery.sends if record.redelivery else 0,
        first_failed_at=record.redelivery.first_failed_at if record.redelivery else None,
    )
