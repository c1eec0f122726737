"""What `turnout replay` works with: settings become what reads a topic's past and acts on it by one route."""

import asyncio
import difflib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from temporalio.client import Client

from service.access import temporal_access
from service.dispatch.answers import OutcomeKind
from service.dispatch.contracts import Contracts
from service.dispatch.identity import IdentityPlugin
from service.dispatch.judging import judge_by
from service.errors import ConfigurationError, NotNow
from service.intake.lanes import Window
from service.intake.loop import lane_key_by
from service.intake.pauses import Pauses
from service.kafka.admin import Cluster
from service.kafka.given_up import GivenUp
from service.kafka.membership import only_member
from service.kafka.reading import Reader, reader
from service.lifecycle import in_the_background, patiently
from service.pipeline import (
    kafka_connection,
    make_decoder,
    make_pauses,
    make_pipeline,
    open_sink,
    switchboard_looked_at,
)
from service.replays.leaving_out import left_out
from service.replays.plan import Asked, Plan, make_plan, refuse_forgotten
from service.replays.progress import replay_group
from service.replays.rehearsal import rehearse
from service.replays.running import Outcomes, Replay
from service.replays.source import PastSource
from service.replays.tally import Judge, Tally
from service.routing.table import Route, RouteTable, load_routes
from service.settings import Settings
from service.temporal.client import connect, retention
from service.temporal.renewal import Renewal
from service.temporal.worker import find
from service.topics import cluster_with_topics


@dataclass(frozen=True, slots=True)
class Told:
    """Who is told how it goes.

    Attributes:
        planned: What is to be read, before anything is.
        progressed: How many offsets are done with.
        say: What a person should know, in one line.
    """

    planned: Callable[[Plan], None]
    progressed: Callable[[int], None]
    say: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Result:
    """What the route made of the records, and what became of that by kind.

    `gone` offsets were deleted from the topic before their turn came.
    """

    tally: Tally
    kinds: Counter[OutcomeKind]
    gone: int = 0


async def rehearse_replay(settings: Settings, asked: Asked, told: Told) -> Result:
    """Count what `replay` would do; nothing is called and nothing changed.

    Raises:
        NotNow: It is not known what is paused.
        Unreachable: Kafka or Temporal does not answer.
        ConfigurationError: Something is not as it must be.
    """
    contracts = Contracts(find(settings.worker.packages).workflows)
    route, table = _one_route(settings, asked, contracts)
    connection = kafka_connection(settings.kafka)
    cluster = await cluster_with_topics(connection, table, settings.group)
    route = _on_real_topics(route, table, cluster)
    judge = Judge(make_decoder(settings, table, cluster), table, contracts, GivenUp())
    client, pauses = await connect(temporal_access(settings)), make_pauses(table)
    await switchboard_looked_at(settings, client, pauses).begin()
    if name := _paused(pauses, route):
        told.say(f"a replay is refused while this is paused: {pauses.why(name)}")
    async with reader(connection) as reading:
        plan = await _plan(settings, client, table, route, asked, reading)
        judge.given_up.note(await left_out(reading, plan, judge, asked.leave_out, asked.by))
        told.planned(plan)
        tally = await rehearse(reading, plan, judge, progressed=told.progressed)
        return Result(tally, Counter(), reading.gone)


async def replay(
    settings: Settings, asked: Asked, rate: float | None, told: Told, stop: asyncio.Event
) -> Result:
    """Act on the past of a topic by one route, until it is done or `stop` is set; what is done is kept.

    Raises:
        NotNow: Its topic or route is paused, or it is not known what is.
        Unreachable: Kafka or Temporal does not answer.
        ConfigurationError: Something is not as it must be, or the same route is replayed elsewhere.
        Stopped: `stop` was set before the first.
    """
    contracts = Contracts(find(settings.worker.packages).workflows)
    route, table = _one_route(settings, asked, contracts)
    connection, outcomes, tally = kafka_connection(settings.kafka), Outcomes(), Tally()
    async with (
        open_sink(settings, connection, stop) as sink,
        reader(connection) as looking,
        reader(connection) as reading,
    ):
        access = temporal_access(settings)
        client = await patiently(lambda: connect(access, [IdentityPlugin()]), settings.start_timeout, stop)
        pipeline = await make_pipeline(
            *(settings, connection, sink, client, table, contracts, frozenset[str](), outcomes, stop),
            only=route.name,
        )
        route, pauses = _on_real_topics(route, table, pipeline.cluster), pipeline.pauses
        switchboard = switchboard_looked_at(settings, client, pauses)
        await patiently(switchboard.begin, settings.start_timeout, stop)
        if name := _paused(pauses, route):
            raise NotNow(f"paused: {pauses.why(name)}; resume it, then say it again")
        async with only_member(
            connection, replay_group(settings.group, route.name), route.topics[0]
        ) as member:
            plan = await _plan(settings, client, table, route, asked, looking)
            judge = Judge(pipeline.decoder, table, contracts, pipeline.given_up)
            pipeline.given_up.note(await left_out(looking, plan, judge, asked.leave_out, asked.by))
            told.planned(plan)
            if plan.offsets:
                running = Replay(
                    PastSource(reading, member, plan.stretches),
                    pipeline.handling,
                    judge,
                    tally,
                    lane_key_by(table.ordered_by_partition),
                    pipeline.waiting,
                    pauses,
                    window=_window(settings),
                    drain=settings.intake.drain,
                    rate=rate,
                    progressed=told.progressed,
                    say=told.say,
                )
                renewal = Renewal(client, access)
                async with (
                    in_the_background(switchboard.keep_reading()),
                    in_the_background(renewal.keep_looking()),
                ):
                    await running.run(stop)
    return Result(tally, outcomes.kinds, reading.gone)


async def _plan(
    settings: Settings, client: Client, table: RouteTable, route: Route, asked: Asked, reading: Reader
) -> Plan:
    plan = await make_plan(reading, settings.group, route, asked)
    if not asked.accept_repeats:
        spans = [await retention(client, name) for name in sorted({client.namespace, *table.namespaces})]
        await refuse_forgotten(reading, route, plan, datetime.now(UTC), min(spans))
    return plan


def _one_route(settings: Settings, asked: Asked, contracts: Contracts) -> tuple[Route, RouteTable]:
    """The route, and a table with it alone; what would stop a bridge's start is refused here, too."""
    table = load_routes(settings.routes, judge_by(contracts))
    route = table.route(asked.route)
    if route is None:
        names = [one.name for one in table.routes]
        near = difflib.get_close_matches(asked.route, names, 1, cutoff=0.6)
        mean = f"; did you mean {near[0]}?" if near else f"; there are: {', '.join(sorted(names))}"
        raise ConfigurationError(f"there is no route {asked.route} in {settings.routes}{mean}")
    if route.keys.complete:
        raise ConfigurationError(
            f"route {route.name} completes calls, and nobody waits for replies of the past"
        )
    return route, table.alone(route)


def _on_real_topics(route: Route, table: RouteTable, cluster: Cluster) -> Route:
    if topics := table.topics_of(route, cluster.partitions):
        return route.on(topics)
    raise ConfigurationError(f"there is no topic {' or '.join(route.topics)}, so there is nothing to replay")


def _paused(pauses: Pauses, route: Route) -> str:
    """The name of the route, or of a topic of it, that is paused; empty if none is."""
    return next(filter(None, (pauses.holding(topic, route.name) for topic in route.topics)), "")


def _window(settings: Settings) -> Window:
    intake = settings.intake
    return Window(intake.window_records, intake.window_bytes, intake.partition_records)
