"""The service as its users have it: one group with topics and routes, run here and watched from outside."""

import asyncio
import json
import string
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

import pytest
import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError
from pydantic import SecretStr
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest, ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from service.failures.letters import HEADROOM_BYTES, letter_topic
from service.intake import loop
from service.kafka.record import Record
from service.settings import (
    CallsSettings,
    ClosingSettings,
    IntakeSettings,
    KafkaSettings,
    Settings,
    TemporalSettings,
    WorkerSettings,
)
from service.temporal.client import for_namespace
from service.wiring import Roles, serve
from tests.servers import create_topic

T = TypeVar("T")
Headers = Sequence[tuple[str, bytes]]

BOTH = Roles(bridge=True, worker=True)
FLOWS = "tests.integration.flows"
CALLS_SECRET = "a secret of tests"
LARGEST_RECORD_BYTES = 8 << 20
PATIENCE_SECONDS = 60
OUTCOMES = frozenset({"accepted", "duplicate", "parked", "dead-lettered", "skipped"})
DEFECTS = frozenset(
    {"defect while handling a record", "rebalance failed", "defect while a call was answered"}
)

HEAD = """
version: 1
topics:
  @in: {}
"""
OUT = """\
  @out: {out: true}
"""
NOTE_ROUTE = """\
  - name: note
    from: @in
    type: noted
    signal:
      to: "@id/${data.id}"
      name: note
      input: ${data.n}
      or_start: {workflow: Keep, task_queue: @queue, input: "${data}"}
"""
ECHO_ROUTE = """\
  - name: echo
    from: @in
    type: placed
    start: {workflow: Echo, id: "@id/${data.id}", task_queue: @queue, args: ["${data}", @out]}
"""

NOTES = f"{HEAD}routes:\n{NOTE_ROUTE}"
"""Routes of events that each workflow of their key notes, in order."""

ECHOES = f"{HEAD}{OUT}routes:\n{ECHO_ROUTE}"
"""Routes of events that each start a workflow, which publishes what it was given."""

NOTES_AND_ECHOES = f"{HEAD}{OUT}routes:\n{NOTE_ROUTE}{ECHO_ROUTE}"


class RouteText(string.Template):
    """Routes with names to fill in: `@in` and other topics, `@queue`, and `@id` to make ids unique."""

    delimiter = "@"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record lies."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"


@dataclass(frozen=True, slots=True)
class Said:
    """An outcome as the log tells it."""

    kind: str
    route: str
    detail: str


@dataclass
class Site:
    """A consumer group with its topics and routes, and what it takes to use and watch the service.

    `topics` are by the name that the routes use; `lines` is the log of what runs in this process.
    """

    settings: Settings
    temporal: str
    topics: Mapping[str, str]
    partitions: int
    client: Client
    producer: AIOKafkaProducer
    admin: AIOKafkaAdminClient
    reader: AIOKafkaConsumer
    lines: list[structlog.typing.EventDict]
    services: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def group(self) -> str:
        return self.settings.group

    @property
    def env(self) -> dict[str, str]:
        """The same settings for a process of its own."""
        return {
            "TURNOUT_GROUP": self.group,
            "TURNOUT_ROUTES": str(self.settings.routes),
            "TURNOUT_KAFKA__BOOTSTRAP_SERVERS": self.settings.kafka.bootstrap_servers,
            "TURNOUT_INTAKE__CONCURRENCY": str(self.settings.intake.concurrency),
            "TURNOUT_WORKER__MODULES": self.settings.worker.modules,
            "TURNOUT_WORKER__TASK_QUEUE": self.settings.worker.task_queue,
            "TURNOUT_CALLS__SECRET": CALLS_SECRET,
            "TURNOUT_LOG__FORMAT": "json",
            "TEMPORAL_ADDRESS": self.temporal,
        }

    # --- running it ---

    @asynccontextmanager
    async def running(self, roles: Roles = BOTH, *, commit_seconds: float = 0.1) -> AsyncIterator[None]:
        """Run the service in this process; it is stopped in good order at the end of the block.

        It commits more often than it does elsewhere, since so many tests wait for that.
        """
        stop = asyncio.Event()
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("TEMPORAL_ADDRESS", self.temporal)
            environment.setattr(loop, "COMMIT_SECONDS", commit_seconds)
            service = asyncio.create_task(serve(self.settings, roles, stop))
            self.services.add(service)
            try:
                yield
            finally:
                stop.set()
                self.services.discard(service)
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await service
        assert not [line for line in self.lines if line["event"] in DEFECTS]

    async def until(self, found: Callable[[], Awaitable[T]], seconds: float = PATIENCE_SECONDS) -> T:
        """Wait until `found` finds something; ends early when a service does."""
        try:
            async with asyncio.timeout(seconds):
                while not (answer := await found()):
                    for service in self.services:
                        if service.done():
                            service.result()
                            raise AssertionError("the service ended by itself")
                    await asyncio.sleep(0.05)
        except TimeoutError as error:
            error.add_note("\n".join(map(str, [f"last answer: {answer}", *self.lines[-30:]])))
            raise
        return answer

    # --- Kafka ---

    async def send(self, kind: str, data: Any, *, key: str | None = None, **how: Any) -> Place:
        """Send a CloudEvent in binary mode; `how` is as for `event_headers` and `write`."""
        attributes = {name: how.pop(name) for name in ("id", "more") if name in how}
        value = json.dumps(data).encode()
        raw_key = None if key is None else key.encode()
        return await self.write(value, key=raw_key, headers=event_headers(kind, **attributes), **how)

    async def write(
        self,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Headers = (),
        to: str = "in",
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> Place:
        """Write a record of these very bytes."""
        done = await self.producer.send_and_wait(
            self.topics[to],
            (value,),
            key=key,
            headers=list(headers),
            partition=partition,
            timestamp_ms=timestamp_ms,
        )
        return Place(done.topic, done.partition, done.offset)

    async def read(self, name: str) -> list[Record]:
        """All records that are in the topic now."""
        places = [TopicPartition(self.topics[name], n) for n in range(self._count(name))]
        self.reader.assign(places)
        await self.reader.seek_to_beginning(*places)
        ends = await self.reader.end_offsets(places)
        records: list[Record] = []
        while any([await self.reader.position(place) < ends[place] for place in places]):
            batches = await self.reader.getmany(timeout_ms=100)
            records += [_record(raw) for batch in batches.values() for raw in batch]
        return records

    async def letters(self, place: Place | None = None) -> list[Record]:
        """All letters, or those about one record."""
        letters = await self.read("letters")
        return [letter for letter in letters if place is None or _about(letter) == str(place)]

    async def committed(self, name: str = "in") -> dict[int, int]:
        """The group's committed offset per partition of the topic."""
        try:
            offsets = await self.admin.list_consumer_group_offsets(self.group)
        except GroupCoordinatorNotAvailableError:  # a new broker has none yet
            return {}
        topic = self.topics[name]
        return {place.partition: at.offset for place, at in offsets.items() if place.topic == topic}

    async def members(self) -> int:
        """How many members share the partitions now; 0 while they are being shared out."""
        try:
            (answer,) = await self.admin.describe_consumer_groups([self.group])
        except GroupCoordinatorNotAvailableError:
            return 0
        _, _, state, _, _, members, *_ = answer.groups[0]
        return len(members) if state == "Stable" else 0

    async def rewind(self, place: Place) -> None:
        """Set the group back to `place`; nothing of the group may run."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.settings.kafka.bootstrap_servers,
            group_id=self.group,
            enable_auto_commit=False,
        )
        await consumer.start()
        try:
            where = TopicPartition(place.topic, place.partition)
            consumer.assign([where])
            await consumer.commit({where: place.offset})
        finally:
            await consumer.stop()

    async def past(self, *places: Place) -> None:
        """Wait until the group has committed all of `places`."""
        written = {place.topic for place in places}
        names = [name for name, topic in self.topics.items() if topic in written]

        async def all_committed() -> bool:
            committed = {self.topics[name]: await self.committed(name) for name in names}
            return all(committed[p.topic].get(p.partition, -1) > p.offset for p in places)

        await self.until(all_committed)

    # --- Temporal, and what was said ---

    def workflow_id(self, name: str) -> str:
        """The id that routes write as `@id/name`."""
        return f"{self.group}/{name}"

    def workflow(self, name: str) -> WorkflowHandle[Any, Any]:
        return self.client.get_workflow_handle(self.workflow_id(name))

    async def described(self, name: str) -> WorkflowExecutionDescription | None:
        """The workflow `@id/name`, or None if there is none."""
        try:
            return await self.workflow(name).describe()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return None
            raise

    async def started(self, name: str) -> WorkflowExecutionDescription:
        """Wait for the workflow `@id/name`."""
        found = await self.until(lambda: self.described(name))
        assert found is not None
        return found

    async def reset(self, name: str, run: str) -> None:
        """Have a workflow begin again behind its first task, and take again all signals that came later."""
        history = await self.client.get_workflow_handle(self.workflow_id(name), run_id=run).fetch_history()
        first_task = next(
            event.event_id
            for event in history.events
            if event.HasField("workflow_task_completed_event_attributes")
        )
        request = ResetWorkflowExecutionRequest(
            namespace=self.client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=self.workflow_id(name), run_id=run),
            reason="a mistake that was mended",
            workflow_task_finish_event_id=first_task,
            request_id=str(uuid.uuid4()),
        )
        await self.client.workflow_service.reset_workflow_execution(request)

    async def runs(self, query: str = "") -> list[str]:
        """The ids of all runs of this group's workflows that fit; an id with two runs comes twice."""
        ours = f"WorkflowId STARTS_WITH '{self.group}/'"
        found = self.client.list_workflows(f"{ours} AND {query}" if query else ours)
        return sorted([run.id.removeprefix(f"{self.group}/") async for run in found])

    def said(self, place: Place) -> list[Said]:
        """The outcomes of a record, in the order they came."""
        where = (place.topic, place.partition, place.offset)
        return [
            Said(line["event"], line["route"], line["detail"])
            for line in self.lines
            if line["event"] in OUTCOMES
            and (line.get("topic"), line.get("partition"), line.get("offset")) == where
        ]

    async def outcomes(self, place: Place, count: int = 1) -> list[Said]:
        """Wait for `count` outcomes of a record."""

        async def enough() -> list[Said]:
            said = self.said(place)
            return said if len(said) >= count else []

        return await self.until(enough)

    def _count(self, name: str) -> int:
        return 1 if name == "letters" else self.partitions


@asynccontextmanager
async def site(
    kafka: str,
    temporal: str,
    folder: Path,
    routes: str,
    *,
    topics: Sequence[str] = ("in", "out"),
    partitions: int = 3,
    intake: IntakeSettings | None = None,
    topic_settings: Mapping[str, str] | None = None,
    closing: ClosingSettings | None = None,
) -> AsyncIterator[Site]:
    """Create topics and write the routes file; everything has names that nobody else has."""
    group = f"g-{uuid.uuid4().hex[:12]}"
    names = {name: f"{group}.{name}" for name in topics}
    room = {"max.message.bytes": str(LARGEST_RECORD_BYTES), **(topic_settings or {})}
    more_room = {"max.message.bytes": str(LARGEST_RECORD_BYTES + HEADROOM_BYTES)}
    for topic in names.values():
        await create_topic(kafka, topic, partitions=partitions, settings=room)
    await create_topic(kafka, letter_topic(group), partitions=1, settings=more_room)
    file = folder / f"{group}.yaml"
    file.write_text(RouteText(routes).substitute({**names, "queue": group, "id": group}))
    settings = Settings(
        group=group,
        routes=file,
        kafka=KafkaSettings(bootstrap_servers=kafka),
        temporal=TemporalSettings(),
        intake=intake or IntakeSettings(),
        closing=closing or ClosingSettings(),
        worker=WorkerSettings(task_queue=group, modules=FLOWS),
        calls=CallsSettings(secret=SecretStr(CALLS_SECRET)),
    )
    # Values come in a tuple: the client refuses a record with neither key nor value.
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka, acks="all", max_request_size=1 << 24, value_serializer=itemgetter(0)
    )
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    reader = AIOKafkaConsumer(bootstrap_servers=kafka, max_partition_fetch_bytes=1 << 24)
    clients = (producer, admin, reader)
    lines: list[structlog.typing.EventDict] = []
    try:
        for client in clients:
            await client.start()
        with _log_to(lines):
            yield Site(
                settings,
                temporal,
                {**names, "letters": letter_topic(group)},
                partitions,
                await Client.connect(temporal, lazy=True),
                *clients,
                lines=lines,
            )
    finally:
        await reader.stop()
        await admin.close()
        await producer.stop()


def event_headers(kind: str, *, id: str | None = None, more: Mapping[str, str] | None = None) -> Headers:  # noqa: A002
    """The headers of a CloudEvent in binary mode."""
    texts = {
        "ce_specversion": "1.0",
        "ce_id": id or str(uuid.uuid4()),
        "ce_source": "/tests",
        "ce_type": kind,
        "content-type": "application/json",
        **(more or {}),
    }
    return [(name, text.encode()) for name, text in texts.items()]


def headers_of(record: Record) -> dict[str, str]:
    """The headers as text; of repeated ones the last."""
    return {name: (value or b"").decode(errors="backslashreplace") for name, value in record.headers}


def _record(raw: Any) -> Record:
    return Record(raw.topic, raw.partition, raw.offset, raw.key, raw.value, tuple(raw.headers), raw.timestamp)


def _about(letter: Record) -> str:
    texts = headers_of(letter)
    topic, partition, offset = (texts[f"__dlq.errors.{part}"] for part in ("topic", "partition", "offset"))
    return f"{topic}[{partition}]@{offset}"


@contextmanager
def _log_to(lines: list[structlog.typing.EventDict]) -> Iterator[None]:
    """Collect what is logged, with its context; the innermost block gets it."""

    def keep(_logger: object, _method: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
        lines.append(line)
        raise structlog.DropEvent

    before = structlog.get_config()
    merge = structlog.contextvars.merge_contextvars
    structlog.configure(processors=[merge, structlog.processors.add_log_level, keep])
    try:
        yield
    finally:
        structlog.configure(**before)


async def register_namespace(
    client: Client, namespace: str, retention: timedelta = timedelta(days=1)
) -> None:
    """Create a namespace, and wait until the server goes by it."""
    request = RegisterNamespaceRequest(namespace=namespace)
    request.workflow_execution_retention_period.FromTimedelta(retention)
    await client.workflow_service.register_namespace(request)
    nobody = for_namespace(client, namespace).get_workflow_handle("nobody")
    async with asyncio.timeout(30):
        while True:
            with pytest.raises(RPCError) as answer:
                await nobody.describe()
            if "workflow not found" in answer.value.message:
                return
            await asyncio.sleep(0.2)
