"""Settings become clients, clients become roles: the only reader of settings."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, partial

import structlog
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.client import Client
from temporalio.worker import Worker

from activities.parking import ParkingActivities
from service.dispatch.contracts import Contracts
from service.dispatch.dispatcher import AttributeNames, Dispatcher
from service.dispatch.identity import IdentityPlugin
from service.dispatch.links import Links
from service.errors import ConfigurationError, first_reason
from service.events.decoding import Decoder
from service.events.strict_json import Limits
from service.failures.deliveries import ParkDeliveries
from service.failures.letter_topic import weaknesses
from service.failures.letters import DEFAULT_MAX_MESSAGE_BYTES, HEADROOM_BYTES, Letters, letter_topic
from service.failures.parking import Parking
from service.failures.parks import Parks
from service.intake.handling import Handling
from service.intake.lanes import Lanes, Window
from service.intake.loop import Intake, lane_key_by
from service.intake.pace import Pace
from service.intake.pauses import Pauses
from service.intake.switchboard import SwitchboardReader
from service.intake.waiting import WaitingRoom
from service.kafka.admin import Admin, Cluster
from service.kafka.connection import Connection
from service.kafka.sink import KafkaSink
from service.kafka.source import KafkaSource
from service.kafka.watchdog import WatchedSource, fresh_look
from service.lifecycle import Stopped, patiently
from service.results.publisher import KafkaResultPublisher
from service.routing.table import RouteTable, load_routes
from service.settings import KafkaSettings, Settings
from service.telemetry.metrics import Metrics, served
from service.temporal.client import (
    AttributeTypes,
    check_namespace,
    connect,
    for_namespace,
    search_attributes,
)
from service.temporal.switchboard import SwitchboardClient
from service.temporal.worker import Found, find, make_service_worker, make_worker
from workflows.park import Park
from workflows.switchboard import Names, Switchboard

log = structlog.get_logger(__name__)

NEW_TOPIC_TRIES, NEW_TOPIC_SECONDS = 10, 0.3
SINK_MARGIN_SECONDS = 5.0
WORKER_MARGIN_SECONDS = 5.0
SERVICE_GRACE = timedelta(seconds=1)
"""What turnout's own activities were about to do, another bridge does at once."""


@dataclass(frozen=True, slots=True)
class Roles:
    """What this process does."""

    bridge: bool
    worker: bool


async def serve(settings: Settings, roles: Roles, stop: asyncio.Event) -> None:
    """Do what `roles` say until `stop` is set; then leave nothing half done.

    Raises:
        ConfigurationError: Something someone wrote is wrong; all of it is said at once.
        Unreachable: Kafka or Temporal did not answer within the start timeout.
        Stopped: `stop` was set before everything was there.
    """
    found = find(settings.worker.packages)
    table = load_routes(settings.routes) if roles.bridge else None
    connection = kafka_connection(settings.kafka)
    metrics = Metrics()
    async with served(metrics, settings.metrics.address), _open_sink(settings, connection, stop) as sink:
        client = await patiently(lambda: connect([IdentityPlugin()]), settings.start_timeout, stop)
        # What the bridge starts on this queue may begin here at once, without a round by way of the server.
        eager = frozenset({settings.worker.task_queue} if roles.worker else ())
        bridge = (
            await _make_bridge(settings, connection, sink, client, table, found, eager, metrics, stop)
            if table
            else None
        )
        try:
            async with asyncio.TaskGroup() as tasks:
                if bridge:
                    tasks.create_task(bridge.run(stop))
                if roles.worker:
                    tasks.create_task(_work(settings, client, found, sink, stop))
        except BaseExceptionGroup as group:
            # One of the roles ended them all: it alone is the reason.
            raise first_reason(group) from group


def kafka_connection(kafka: KafkaSettings) -> Connection:
    """How to reach the configured cluster."""
    return Connection(
        bootstrap_servers=kafka.bootstrap_servers,
        security_protocol=kafka.security_protocol,
        sasl_mechanism=kafka.sasl_mechanism,
        username=kafka.username,
        password=kafka.secret(),
        ca_file=kafka.tls_ca_file,
        cert_file=kafka.tls_cert_file,
        key_file=kafka.tls_key_file,
    )


@asynccontextmanager
async def _open_sink(
    settings: Settings, connection: Connection, stop: asyncio.Event
) -> AsyncIterator[KafkaSink]:
    sink = KafkaSink(connection)
    await patiently(sink.start, settings.start_timeout, stop)

    async def close_in_the_end() -> None:
        # `publish` does not end before Kafka acknowledges or the producer closes. With Kafka away,
        # closing it is what lets the worker stop.
        await stop.wait()
        patience = max(settings.intake.drain, settings.worker.grace).total_seconds()
        await asyncio.sleep(patience + SINK_MARGIN_SECONDS)
        await sink.stop()

    closing = asyncio.create_task(close_in_the_end())
    try:
        yield sink
    finally:
        closing.cancel()
        await sink.stop()


async def _work(
    settings: Settings, client: Client, found: Found, sink: KafkaSink, stop: asyncio.Event
) -> None:
    publisher = KafkaResultPublisher(sink)
    worker = make_worker(client, settings.worker.task_queue, found, publisher, grace=settings.worker.grace)
    log.info(
        "worker ready",
        task_queue=settings.worker.task_queue,
        workflows=[w.__name__ for w in found.workflows],
    )
    await _run(worker, settings.worker.grace, stop)


async def _run(worker: Worker, grace: timedelta, stop: asyncio.Event) -> None:
    """Run `worker` until `stop` is set, and a little longer than its `grace`."""
    running, stopping = asyncio.create_task(worker.run()), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:  # another role ended us all
        running.cancel()
        raise
    finally:
        stopping.cancel()
    if running.done():
        running.result()
        return
    ending = asyncio.create_task(worker.shutdown())
    # With Temporal not answering, the SDK waits 30 s for its last calls, longer than Kubernetes does.
    done, _ = await asyncio.wait({ending}, timeout=grace.total_seconds() + WORKER_MARGIN_SECONDS)
    if not done:
        log.warning(
            "a worker did not stop in time; Temporal takes its tasks back after their time limits",
            task_queue=worker.task_queue,
        )


@dataclass(frozen=True, slots=True)
class Bridge:
    """The role that reads Kafka; made by `_make_bridge`, run once."""

    intake: Intake
    join: Callable[[], Awaitable[WatchedSource]]
    switchboard: SwitchboardReader
    patience: timedelta
    service_worker: Worker

    async def run(self, stop: asyncio.Event) -> None:
        """Read until `stop` is set; then drain, commit and leave the group."""
        drained = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_run(self.service_worker, SERVICE_GRACE, drained))
            try:
                await self._read(stop)
            finally:
                drained.set()

    async def _read(self, stop: asyncio.Event) -> None:
        try:
            # First, so that nothing is begun that was paused before we came.
            await patiently(self.switchboard.begin, self.patience, stop)
            source = await patiently(self.join, self.patience, stop)
        except Stopped:
            return  # a worker beside it ends in its own time
        # What is loaded by now stays: the collector need not look at it with each record.
        gc.collect()
        gc.freeze()
        log.info("bridge ready")
        try:
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(self.switchboard.keep_reading())
                await self.intake.run(source, stop)
                reading.cancel()
        finally:
            await source.stop()


async def _make_bridge(
    settings: Settings,
    connection: Connection,
    sink: KafkaSink,
    client: Client,
    table: RouteTable,
    found: Found,
    eager: frozenset[str],
    metrics: Metrics,
    stop: asyncio.Event,
) -> Bridge:
    cluster = await patiently(
        lambda: _cluster_with_topics(connection, table, settings), settings.start_timeout, stop
    )
    links = Links(settings.temporal.ui_url, settings.temporal.trace_url, settings.temporal.runbook_url)
    dispatcher = await patiently(
        lambda: _make_dispatcher(settings, client, table, found, eager, links), settings.start_timeout, stop
    )
    letters = Letters(sink, settings.group)
    waiting = WaitingRoom()
    names = Names(topics=tuple(table.topics), routes=tuple(route.name for route in table.routes))
    pauses = Pauses(names, metrics)
    formats = {name: topic.format for name, topic in table.topics.items()}
    handling = Handling(
        Decoder(formats, Limits(settings.intake.value_bytes, settings.intake.value_depth), cluster.id),
        table,
        dispatcher,
        letters,
        Parking(dispatcher, Parks(client, settings.group, links)),
        waiting=waiting,
        pace=Pace(settings.intake.concurrency),
        pauses=pauses,
        metrics=metrics,
    )
    window = Window(
        settings.intake.window_records, settings.intake.window_bytes, settings.intake.partition_records
    )
    partition_ordered = frozenset(t.name for t in table.topics.values() if t.ordering == "partition")
    intake = Intake(
        Lanes(handling.handle_next, window, pauses),
        lane_key_by(partition_ordered),
        waiting,
        drain=settings.intake.drain,
        pauses=pauses,
        metrics=metrics,
    )

    def new_source() -> KafkaSource:
        return KafkaSource(
            connection,
            group=settings.group,
            topics=sorted(table.topics),
            revoked=intake.revoked,
            assigned=intake.assigned,
            drain=settings.intake.drain,
            instance=settings.kafka.group_instance_id,
            session_timeout=settings.kafka.session_timeout,
        )

    async def join() -> WatchedSource:
        source = WatchedSource(new_source, partial(fresh_look, connection, settings.group))
        await source.start()
        return source

    board = SwitchboardReader(SwitchboardClient(client, settings.group), pauses)
    deliveries = ParkDeliveries(dispatcher, letters, paused=pauses.holding, metrics=metrics)
    parking = ParkingActivities(deliveries)
    service_worker = make_service_worker(
        client,
        settings.group,
        [Switchboard, Park],
        [parking.deliver, parking.write_letters],
        grace=SERVICE_GRACE,
    )
    return Bridge(intake, join, board, settings.start_timeout, service_worker)


async def _make_dispatcher(
    settings: Settings, client: Client, table: RouteTable, found: Found, eager: frozenset[str], links: Links
) -> Dispatcher:
    temporal = settings.temporal
    names = AttributeNames(
        temporal.attribute_route,
        temporal.attribute_event_type,
        temporal.attribute_event_id,
        temporal.attribute_record,
    )
    ours = [names.route, names.event_type, names.event_id, names.record] if temporal.search_attributes else []
    types: dict[str, AttributeTypes] = {}
    for namespace in sorted({client.namespace, *table.namespaces}):
        await check_namespace(client, namespace)
        types[namespace] = await search_attributes(client, namespace)
        _check_attributes(namespace, types[namespace], ours, table.search_attributes)
    return Dispatcher(
        cache(lambda namespace: for_namespace(client, namespace)),
        Contracts(found.workflows),
        names=names if temporal.search_attributes else None,
        attribute_types=types[client.namespace],
        links=links,
        eager_queues=eager,
    )


def _check_attributes(
    namespace: str, registered: AttributeTypes, ours: Sequence[str], of_routes: Iterable[str]
) -> None:
    missing = [name for name in dict.fromkeys([*ours, *of_routes]) if name not in registered]
    if missing:
        commands = "\n  ".join(
            f"temporal operator search-attribute create -n {namespace} --name {name} --type "
            + ("Keyword" if name in ours else "TYPE")
            for name in missing
        )
        msg = (
            f"namespace {namespace} lacks search attributes; create them, or set "
            f"TURNOUT_TEMPORAL__SEARCH_ATTRIBUTES=false to go without ours:\n  {commands}"
        )
        raise ConfigurationError(msg)
    keyword = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
    if wrong := [name for name in ours if registered[name] != keyword]:
        msg = (
            f"in namespace {namespace} {', '.join(wrong)} must be of type Keyword and is not; name others by "
            "TURNOUT_TEMPORAL__ATTRIBUTE_ROUTE, …_EVENT_TYPE, …_EVENT_ID, …_RECORD"
        )
        raise ConfigurationError(msg)


async def _cluster_with_topics(connection: Connection, table: RouteTable, settings: Settings) -> Cluster:
    """The cluster, seen to have all topics that the routes and the letters need, as they must be."""
    letters = letter_topic(settings.group)
    wanted = dict.fromkeys([*table.topics, *table.out_topics, letters])
    async with Admin.connected(connection) as admin:
        for _ in range(NEW_TOPIC_TRIES):
            cluster = await admin.cluster()
            missing = [topic for topic in wanted if topic not in cluster.partitions]
            if not missing:
                break
            await asyncio.sleep(NEW_TOPIC_SECONDS)  # one that was made just now is not seen at once
        if missing:
            room = await _letter_bytes(admin, [topic for topic in table.topics if topic not in missing])
            rights = {topic: "Read" if topic in table.topics else "Write" for topic in missing}
            raise ConfigurationError(_how_to_create(rights, connection, letters, room, cluster.brokers))
        if not await admin.may_use_group(settings.group):
            right = connection.right("Read", "group", settings.group)
            raise ConfigurationError(f"we may not read as group {settings.group}; let us:\n  {right}")
        await _check_letter_topic(admin, letters, table, cluster.brokers, connection.bootstrap_servers)
    return cluster


def _how_to_create(
    missing: Mapping[str, str], connection: Connection, letters: str, room: int, brokers: int
) -> str:
    """What to do about `missing` topics, given with what we have to be allowed to do with them."""
    servers = connection.bootstrap_servers
    in_sync = " --config min.insync.replicas=2" if brokers > 1 else ""
    extras = {letters: f" --config cleanup.policy=delete --config max.message.bytes={room}{in_sync}"}
    lines = ["these topics do not exist, or we may not see them; create them:"]
    lines += [
        f"kafka-topics.sh --bootstrap-server {servers} --create --topic {topic}{extras.get(topic, '')}"
        for topic in missing
    ]
    if connection.security_protocol != "PLAINTEXT":
        lines[-1] += "\nand let us use them:"
        lines += [connection.right(operation, "topic", topic) for topic, operation in missing.items()]
    return "\n  ".join(lines)


async def _letter_bytes(admin: Admin, topics: Iterable[str]) -> int:
    """What a letter topic must take for the largest record of `topics`."""
    settings = [await admin.topic_settings(topic) for topic in topics]
    # Kafka's own default where we may not see it.
    sizes = [int(of_topic.get("max.message.bytes", DEFAULT_MAX_MESSAGE_BYTES)) for of_topic in settings]
    return max(sizes, default=DEFAULT_MAX_MESSAGE_BYTES) + HEADROOM_BYTES


async def _check_letter_topic(
    admin: Admin, letters: str, table: RouteTable, brokers: int, servers: str
) -> None:
    found = list(
        weaknesses(
            await admin.topic_settings(letters),
            needed_bytes=await _letter_bytes(admin, table.topics),
            replicas=await admin.replicas(letters),
            brokers=brokers,
        )
    )
    if fatal := [weakness.told(letters, servers) for weakness in found if weakness.fatal]:
        raise ConfigurationError("\n  ".join(fatal))
    for weakness in found:
        log.warning("letter topic", problem=weakness.told(letters, servers))
