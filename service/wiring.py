"""Settings become clients, clients become roles: the only reader of settings."""

import asyncio
import gc
import os
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog
from temporalio.client import Client
from temporalio.common import WorkerDeploymentVersion
from temporalio.worker import Worker

from activities.parking import ParkingActivities
from activities.ports import ResultPublisher
from activities.sweeping import SweepingActivities
from service.access import temporal_access
from service.api.handler import Handler
from service.dispatch.contracts import Contracts
from service.dispatch.identity import IdentityPlugin
from service.dispatch.judging import judge_by
from service.errors import first_reason
from service.failures.deliveries import ParkDeliveries
from service.failures.letter_topic import LetterTopicWatch
from service.handler_api import make_handler, serving_api
from service.intake.lanes import Lanes, Window
from service.intake.loop import Intake, lane_key_by
from service.intake.switchboard import SwitchboardReader
from service.intake.waiting import Abandoned
from service.kafka.connection import Connection
from service.kafka.record import Partition
from service.kafka.sink import KafkaSink
from service.kafka.source import KafkaSource
from service.kafka.watchdog import WatchedSource, fresh_look
from service.lifecycle import Stopped, patiently
from service.pipeline import (
    encodings_with_registry,
    kafka_connection,
    make_pipeline,
    make_publisher,
    make_search,
    open_sink,
    seal_of,
)
from service.redrive.standing import StandingWatch
from service.results.closing import Closings
from service.results.receiver import Receiver, receiving
from service.results.sweeper import Sweeper
from service.routing.table import RouteTable, load_routes
from service.secret_files import read_by_others
from service.settings import Settings, WorkerSettings
from service.telemetry.health import AWAY_SECONDS, Asked, Health
from service.telemetry.metrics import Metrics
from service.telemetry.probes import probed
from service.telemetry.scraping import page_at, served
from service.telemetry.traces import Traces, make_traces
from service.temporal.client import check_answers, connect
from service.temporal.core import core
from service.temporal.renewal import Renewal
from service.temporal.sweep import begin_sweep
from service.temporal.switchboard import SwitchboardClient
from service.temporal.versions import deployment_version
from service.temporal.worker import Capacity, Found, find, make_service_worker, make_worker
from workflows.park import Park
from workflows.sweep import Sweep
from workflows.switchboard import Switchboard

log = structlog.get_logger(__name__)

GARBAGE_THINGS = 10_000
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
    version = deployment_version(os.environ)
    contracts = Contracts(found.workflows if roles.bridge else ())
    table = load_routes(settings.routes, judge_by(contracts)) if roles.bridge else None
    connection, access = kafka_connection(settings.kafka), temporal_access(settings)
    for exposed in read_by_others([*settings.secret_files(), *access.secret_files()]):
        log.warning("a secret is not secret", reason=exposed)
    # A worker alone knows from the routes how results are written, if there is a registry at all.
    topics = table or (load_routes(settings.routes) if settings.registry.url else None)
    metrics = Metrics()
    health = Health(metrics)
    traces = make_traces(
        settings.traces.export,
        os.environ,
        group=settings.group,
        harmless=(Abandoned,),
    )
    measured = core(measured=bool(settings.metrics.address))
    async with (
        served(metrics, settings.metrics.address, page_at(measured.port)),
        probed(health, settings.health.address),
        open_sink(settings, connection, stop) as sink,
    ):
        client = await patiently(
            lambda: connect(access, [IdentityPlugin()], runtime=measured.runtime),
            settings.start_timeout,
            stop,
        )
        renewal = Renewal(client, access)
        # What the bridge starts on this queue may begin here at once, without a round by way of the server.
        # Not with a version: it would begin on this one, whichever is current (seen with server 1.32).
        eager = frozenset({settings.worker.task_queue} if roles.worker and not version else ())
        encodings = await encodings_with_registry(settings, topics, stop)
        publisher = make_publisher(connection, sink, metrics, encodings, traces)
        names = tuple(contracts.workflow_names)
        known = {settings.worker.task_queue: names} if roles.worker and names else {}
        bridge = (
            await _make_bridge(
                settings,
                connection,
                sink,
                publisher,
                client,
                table,
                contracts,
                known,
                eager,
                metrics,
                health,
                traces,
                stop,
            )
            if table
            else None
        )
        if bridge:
            renewal.also_for(bridge.service_worker)
        try:
            async with asyncio.TaskGroup() as tasks:
                watching = tasks.create_task(_watch(health, sink, client, renewal, stop))
                doing = [tasks.create_task(bridge.run(stop))] if bridge else []
                if roles.worker:
                    doing.append(
                        tasks.create_task(
                            _work(settings, client, found, version, publisher, traces, renewal, stop)
                        )
                    )
                    if not bridge:
                        health.started()
                await asyncio.wait(doing)
                watching.cancel()
        except BaseExceptionGroup as group:
            # One of the roles ended them all: it alone is the reason.
            raise first_reason(group) from group
        finally:
            await traces.close()


async def _watch(
    health: Health, sink: KafkaSink, client: Client, renewal: Renewal, stop: asyncio.Event
) -> None:
    """Keep `health` with how things are, and secrets as they are, until this is cancelled."""
    temporal = Asked("Temporal", partial(check_answers, client), AWAY_SECONDS)
    health.watch(sink.problems)
    health.watch(temporal)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(renewal.keep_looking())
        tasks.create_task(health.keep_looking())
        tasks.create_task(temporal.keep_asking())
        await stop.wait()
        health.stopping()


async def _work(
    settings: Settings,
    client: Client,
    found: Found,
    version: WorkerDeploymentVersion | None,
    publisher: ResultPublisher,
    traces: Traces,
    renewal: Renewal,
    stop: asyncio.Event,
) -> None:
    worker = make_worker(
        client,
        settings.worker.task_queue,
        found,
        publisher,
        grace=settings.worker.grace,
        capacity=capacity_of(settings.worker),
        version=version,
        seal=seal_of(settings.calls),
        interceptors=traces.interceptors,
    )
    log.info(
        "worker ready",
        task_queue=settings.worker.task_queue,
        workflows=[w.__name__ for w in found.workflows],
        deployment=version.deployment_name if version else "",
        build=version.build_id if version else "",
    )
    renewal.also_for(worker)
    await _run(worker, settings.worker.grace, stop)


def capacity_of(worker: WorkerSettings) -> Capacity:
    """How much the configured worker takes on."""
    return Capacity(
        cached_workflows=worker.cached_workflows,
        workflow_slots=worker.workflow_slots,
        activity_slots=worker.activity_slots,
        pollers=worker.pollers,
        pass_through=worker.passed_through,
    )


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
    letter_topic: LetterTopicWatch
    standing: StandingWatch
    patience: timedelta
    service_worker: Worker
    receiver: Receiver | None
    receiver_address: str
    begin_sweep: Callable[[], Awaitable[None]] | None
    health: Health
    handler: Handler
    api: AbstractAsyncContextManager[None]

    async def run(self, stop: asyncio.Event) -> None:
        """Read until `stop` is set; then drain, commit and leave the group."""
        drained = asyncio.Event()
        async with receiving(self.receiver, self.receiver_address), self.api, asyncio.TaskGroup() as tasks:
            tasks.create_task(_run(self.service_worker, SERVICE_GRACE, drained))
            try:
                await self._read(stop)
            finally:
                drained.set()

    async def _read(self, stop: asyncio.Event) -> None:
        try:
            # First, so that nothing is begun that was paused before we came.
            await patiently(self.switchboard.begin, self.patience, stop)
            if self.begin_sweep:
                # Before anything is started, so that nothing closes before it began.
                await patiently(self.begin_sweep, self.patience, stop)
            source = await patiently(self.join, self.patience, stop)
        except Stopped:
            return  # a worker beside it ends in its own time
        # What is loaded by now stays: the collector need not look at it with each record. Nor need it come
        # each time that some hundred things are kept: a record in flight is a few dozen, all of which go by
        # themselves (measured: a tenth of the CPU of each record).
        gc.collect()
        gc.freeze()
        gc.set_threshold(GARBAGE_THINGS)
        self.health.watch(source.problems)
        self.health.watch(self.intake.problems)
        self.health.watch(self.letter_topic.told)
        self.health.tell("intake", self.intake.told)
        if source.found():
            self.health.tell("patterns", source.found)
        self.health.started()
        self.handler.open()
        log.info("bridge ready")
        try:
            async with asyncio.TaskGroup() as tasks:
                looking = [
                    tasks.create_task(self._close_api(stop)),
                    tasks.create_task(self.switchboard.keep_reading()),
                    tasks.create_task(self.letter_topic.keep_looking()),
                    tasks.create_task(self.standing.keep_looking(lambda: self._counts(source))),
                ]
                await self.intake.run(source, stop)
                for one in looking:
                    one.cancel()
        finally:
            await source.stop()

    def _counts(self, source: WatchedSource) -> bool:
        """Whether this process counts for all of the group: the one that has the first partition does."""
        return self.intake.holds(Partition(min(source.topics, default=""), 0))

    async def _close_api(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self.handler.close()


async def _make_bridge(
    settings: Settings,
    connection: Connection,
    sink: KafkaSink,
    publisher: ResultPublisher,
    client: Client,
    table: RouteTable,
    contracts: Contracts,
    known: Mapping[str, Collection[str]],
    eager: frozenset[str],
    metrics: Metrics,
    health: Health,
    traces: Traces,
    stop: asyncio.Event,
) -> Bridge:
    pipeline = await make_pipeline(
        settings, connection, sink, client, table, contracts, eager, metrics, stop, traces=traces
    )
    health.watch(pipeline.decoder.problems)
    pauses = pipeline.pauses
    window = Window(
        settings.intake.window_records, settings.intake.window_bytes, settings.intake.partition_records
    )
    intake = Intake(
        Lanes(pipeline.handling.handle_next, window, pauses, metrics),
        lane_key_by(table.ordered_by_partition),
        pipeline.waiting,
        drain=settings.intake.drain,
        pauses=pauses,
        metrics=metrics,
        health=health,
    )

    def new_source() -> KafkaSource:
        return KafkaSource(
            connection,
            group=settings.group,
            topics=table.topics,
            revoked=intake.revoked,
            assigned=intake.assigned,
            drain=settings.intake.drain,
            instance=settings.kafka.group_instance_id,
            given_up=pipeline.given_up,
            session_timeout=settings.kafka.session_timeout,
            routes=table.by_topic,
        )

    async def join() -> WatchedSource:
        source = WatchedSource(new_source, partial(fresh_look, connection, settings.group))
        await source.start()
        return source

    board = SwitchboardReader(SwitchboardClient(client, settings.group), pauses)
    deliveries = ParkDeliveries(
        pipeline.dispatcher,
        pipeline.letters,
        pipeline.parks,
        paused=pauses.holding,
        metrics=metrics,
        traces=traces,
    )
    parking = ParkingActivities(deliveries)
    closing, callbacks = settings.closing, pipeline.callbacks
    closings = Closings(client, publisher, metrics)
    search = make_search(settings, connection, client, table, closings)
    sweeping = SweepingActivities(
        Sweeper(search, every=closing.sweep_every, lag=closing.visibility_lag, ends=not closing.sweep)
    )
    service_worker = make_service_worker(
        client,
        settings.group,
        [Switchboard, Park, Sweep],
        [parking.deliver, parking.write_letters, sweeping.sweep_closings],
        grace=SERVICE_GRACE,
    )
    letter_topic = LetterTopicWatch(connection, settings.group, table.topics.real, metrics)
    standing = StandingWatch(connection, settings.group, pipeline.parks, metrics)
    handler = make_handler(settings, pipeline, client, known, metrics)
    began = datetime.now(UTC) - closing.visibility_lag
    return Bridge(
        intake,
        join,
        board,
        letter_topic,
        standing,
        settings.start_timeout,
        service_worker,
        receiver=Receiver(callbacks, closings) if callbacks and closing.address else None,
        receiver_address=closing.address,
        begin_sweep=partial(begin_sweep, client, settings.group, began) if closing.sweep else None,
        health=health,
        handler=handler,
        api=serving_api(settings, handler, health),
    )
