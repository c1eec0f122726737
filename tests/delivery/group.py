"""The group under test: its routes, its processes, and what is seen of it in the end."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from aiokafka import TopicPartition
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError
from temporalio.client import WorkflowExecution, WorkflowQueryFailedError, WorkflowQueryRejectedError
from temporalio.service import RPCError

from service.local import Child
from service.settings import IntakeSettings
from tests.delivery.checker import Effect, Handled, History, Lettered, Logged, Published, Spot
from tests.delivery.ledger import Ledger
from tests.delivery.parks import parked
from tests.integration.service import OUTCOMES, Site, headers_of, site

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
PARTITIONS = 4
ANSWERED = frozenset({"once"})
RECORDERS = frozenset({"rec", "mark", "late"})
CALL_SECONDS = 15
RECORD_BYTES = 100_000

ROUTES = """
version: 1
task_queues: {"@queue": {inbox: true}}
topics:
  @in: {}
  @out: {out: true}
routes:
  - name: open
    from: @in
    type: opened
    start: {workflow: Recorder, id: "@id/rec/${data.key}", task_queue: @queue, input: {limit: LIMIT}}
  - name: note
    from: @in
    type: noted
    signal: {to: "@id/rec/${data.key}", name: note, input: {event: "${data.event}", route: note}}
  - name: note-first
    from: @in
    type: noted.twice
    signal: {to: "@id/rec/${data.key}", name: note, input: {event: "${data.event}", route: note-first}}
  - name: note-second
    from: @in
    type: noted.twice
    signal: {to: "@id/rec/${data.key}", name: note, input: {event: "${data.event}", route: note-second}}
  - name: batch
    from: @in
    type: batched
    signal:
      to: "@id/rec/${data.key}"
      name: note_all
      input: {event: "${data.event}", route: batch}
      batch: true
  - name: mark
    from: @in
    type: marked
    signal:
      to: "@id/mark/${data.key}"
      name: note
      input: {event: "${data.event}", route: mark}
      or_start: {workflow: Recorder, task_queue: @queue, input: {limit: LIMIT}}
  - name: once
    from: @in
    type: ordered
    start: {workflow: Once, id: "@id/once/${data.event}", task_queue: @queue, args: ["${data.event}", @out]}
  - name: lease
    from: @in
    type: leased
    start: {workflow: Lease, id: "@id/lease/${data.event}", task_queue: @queue, input: "${data.event}"}
  - name: release
    from: @in
    type: released
    cancel: {to: "@id/lease/${data.lease}", reason: "${data.event}"}
  - name: begin
    from: @in
    type: begun
    start: {workflow: Recorder, id: "@id/late/${data.target}", task_queue: @queue, input: {limit: LIMIT}}
  - name: late
    from: @in
    type: [late, stranded]
    signal:
      to: "@id/late/${data.target}"
      name: note
      input: {event: "${data.event}", route: late}
      missing: {park: 15m}
  - name: hurry
    from: @in
    type: hurried
    signal:
      to: "@id/late/${data.target}"
      name: note
      input: {event: "${data.event}", route: hurry}
      missing: {park: 1s}
  - name: pick
    from: @in
    type: [picked, passed.over]
    when: data.wanted
    signal: {to: "@id/rec/${data.key}", name: note, input: {event: "${data.event}", route: pick}}
  - name: split-note
    from: @in
    type: split
    signal: {to: "@id/rec/${data.key}", name: note, input: {event: "${data.event}", route: split-note}}
  - name: split-start
    from: @in
    type: split
    start:
      workflow: Recorder
      id: "@id/split/${data.event}"
      task_queue: @queue
      input: {limit: "not ${data.event}"}
"""


@asynccontextmanager
async def group(
    kafka: str,
    temporal: str,
    folder: Path,
    *,
    limit: int = 50,
    move_to: str = "",
    window: int = 2_000,
    partitions: int = PARTITIONS,
) -> AsyncIterator[Site]:
    """A consumer group with these routes; recorders begin a new run after `limit` further notes."""
    notebook = f'{limit}, move_to: "{move_to}"' if move_to else str(limit)
    routes = ROUTES.replace("LIMIT", notebook)
    intake = IntakeSettings(window_records=window)
    async with site(kafka, temporal, folder, routes, partitions=partitions, intake=intake) as here:
        await set_topic(here, "in", {"max.message.bytes": str(RECORD_BYTES)})
        yield here


async def set_topic(here: Site, name: str, settings: Mapping[str, str]) -> None:
    """Give the topic `name` these settings; all others of it go back to the broker's."""
    await here.admin.alter_configs(
        [ConfigResource(ConfigResourceType.TOPIC, here.topics[name], configs=dict(settings))]
    )


def process(
    here: Site, command: str, folder: Path, *, name: str = "", build: str = "sound", **env: str
) -> Child:
    """A process of the service, of a sound or a broken build; not started yet."""
    more = {
        "TURNOUT_WORKER__MODULES": "tests.delivery.flows",
        "TURNOUT_WORKER__GRACE": "1s",
        "TURNOUT_INTAKE__WINDOW_RECORDS": str(here.settings.intake.window_records),
        "TURNOUT_INTAKE__DRAIN": "3s",
        "TURNOUT_KAFKA__SESSION_TIMEOUT": "6s",
        "TURNOUT_START_TIMEOUT": "2m",
        **env,
    }
    argv = [sys.executable, "-m", "tests.delivery.broken", build, command]
    name = name or f"{command}-{build}"
    return Child(name, argv, log_path=folder / f"{name}.log", env={**here.env, **more}, cwd=ROOT)


@asynccontextmanager
async def running(*children: Child) -> AsyncIterator[None]:
    """Start them, and end them in good order."""
    try:
        for child in children:
            child.start()
        yield
    finally:
        await asyncio.gather(*(child.terminate(timedelta(seconds=20)) for child in children))


async def caught_up(here: Site) -> bool:
    """Whether the group has committed all that is in its topic."""
    places = [TopicPartition(here.topics["in"], n) for n in range(here.partitions)]
    try:
        async with asyncio.timeout(CALL_SECONDS):
            ends = await here.reader.end_offsets(places)
            committed = await here.committed()
    except (KafkaError, TimeoutError):
        return False
    return all(committed.get(place.partition, 0) >= end for place, end in ends.items())


async def observe(here: Site, told: Ledger, children: Iterable[Child], *, ended: float = 0.0) -> History:
    """All that is known now."""
    log = [
        Logged(headers_of(record)["ce_id"], Spot(record.partition, record.offset), record.timestamp_ms / 1000)
        for record in await here.read("in")
    ]
    lines = [line for child in children for line in log_lines(child)]
    runs = await _first_runs(here)
    notes = [effect for run in dict.fromkeys(runs) for effect in await _noted(here, run)]
    return History(
        entries=list(told.entries.values()),
        log=log,
        effects=[*notes, *_starts(runs), *await _leases(here, runs)],
        # After the effects: what goes from one to the other meanwhile is missing, and looked for again.
        parked=await parked(here),
        letters=[_lettered(headers_of(record)) for record in await here.letters()],
        handled=[*_handled(lines)],
        results=[
            Published(record.key.decode(), headers_of(record)["ce_id"])
            for record in await here.read("out")
            if record.key
        ],
        answered=ANSWERED,
        window=here.settings.intake.window_records,
        held=max((line["records"] for line in lines if line["event"] == "held"), default=0),
        ended=ended,
    )


def log_lines(child: Child) -> list[dict[str, Any]]:
    """The whole lines that a process has logged."""
    assert child.log_path
    if not child.log_path.exists():
        return []
    whole = child.log_path.read_text(errors="replace").rpartition("\n")[0]
    lines = []
    for line in whole.splitlines():
        # A process that was killed leaves half a line, to which its successor appends.
        try:
            lines.append(json.loads(line[line.index('{"') :]))
        except ValueError:
            continue
    return [line for line in lines if isinstance(line, dict) and "event" in line]


def _handled(lines: Sequence[Mapping[str, Any]]) -> Iterable[Handled]:
    for line in lines:
        if line["event"] in OUTCOMES and "offset" in line:
            at = datetime.fromisoformat(line["timestamp"]).timestamp()
            yield Handled(Spot(line["partition"], line["offset"]), line.get("route", ""), at, line["event"])


def _lettered(headers: Mapping[str, str]) -> Lettered:
    partition, offset = (int(headers[f"__dlq.errors.{name}"]) for name in ("partition", "offset"))
    return Lettered(headers["ce_id"], headers["turnout-route"], Spot(partition, offset))


async def _first_runs(here: Site) -> list[str]:
    """The ids of this group's workflows, once per chain of runs."""
    found = here.client.list_workflows(f"WorkflowId STARTS_WITH '{here.group}/'")
    chains = {(run.id, await _first_run(here, run)) async for run in found}
    return sorted(id_.removeprefix(f"{here.group}/") for id_, _ in chains)


async def _first_run(here: Site, run: WorkflowExecution) -> str:
    if run.workflow_type != "Recorder":
        return run.run_id
    # Not in the list's answer.
    described = await here.client.get_workflow_handle(run.id, run_id=run.run_id).describe()
    return described.raw_info.first_run_id


def _starts(runs: Sequence[str]) -> Iterable[Effect]:
    for run in runs:
        kind, _, name = run.partition("/")
        match kind:
            case "once":
                yield Effect(name, "once", run)
            case "rec":
                yield Effect(f"{name}.0000.opened", "open", f"start of {run}")
            case "late":
                yield Effect(f"{name}.0000.begun", "begin", f"start of {run}")
            case "split":
                yield Effect(name, "split-start", run)


async def _leases(here: Site, runs: Sequence[str]) -> list[Effect]:
    """Starts of leases, and what cancelled them: the reason names the event."""
    effects: list[Effect] = []
    for run in runs:
        kind, _, name = run.partition("/")
        if kind == "lease":
            effects.append(Effect(name, "lease", run))
            history = await here.workflow(run).fetch_history()
            effects += [
                Effect(event.workflow_execution_cancel_requested_event_attributes.cause, "release", run)
                for event in history.events
                if event.HasField("workflow_execution_cancel_requested_event_attributes")
            ]
    return effects


async def _noted(here: Site, run: str) -> list[Effect]:
    if run.partition("/")[0] not in RECORDERS:
        return []

    async def ask() -> list[Any] | None:
        try:
            async with asyncio.timeout(CALL_SECONDS):
                return [await here.workflow(run).query("noted")]
        except (RPCError, TimeoutError, WorkflowQueryFailedError, WorkflowQueryRejectedError):
            return None  # a new run has just begun, or its worker has

    (notes,) = await here.until(ask) or [[]]
    return [Effect(note["event"], note["route"], run) for note in notes]


async def settled(look: Callable[[], Awaitable[T]], *, seconds: float, done: Callable[[T], bool]) -> T:
    """What `look` sees as soon as `done` is content with it, or in the end."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while True:
        seen = await look()
        if done(seen) or loop.time() > deadline:
            return seen
        await asyncio.sleep(0.25)
