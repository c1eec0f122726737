"""What `turnout letters` and `turnout routes` work with: settings become what looks, explains and sends."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from temporalio.client import Client

from activities.correlation import Seal
from service.access import temporal_access
from service.dispatch.contracts import Contracts
from service.dispatch.examining import Examining
from service.dispatch.explaining import Explaining, Verdict
from service.dispatch.identity import IdentityPlugin
from service.dispatch.judging import judge_by
from service.dispatch.meeting import met_by
from service.errors import ConfigurationError, Finding, RecordError
from service.events.decoding import Tombstone
from service.events.event import Event
from service.failures.letters import letter_group, letter_topic
from service.kafka.admin import Admin, Cluster
from service.kafka.given_up import given_up_group
from service.kafka.membership import only_member
from service.kafka.outside import extent
from service.kafka.reading import reader
from service.kafka.record import Record
from service.lifecycle import in_the_background, patiently
from service.pipeline import (
    Pipeline,
    kafka_connection,
    make_decoder,
    make_pauses,
    make_pipeline,
    open_sink,
    seal_of,
    switchboard_looked_at,
)
from service.redrive.choosing import Choice
from service.redrive.closing import STORE_LETTERS, Closing
from service.redrive.discarding import discard
from service.redrive.giving_up import GaveUp, find_open, say
from service.redrive.guards import Guards
from service.redrive.later import LaterRecords
from service.redrive.letterbox import Found, Letterbox, Place, letter_extents, open_letterbox
from service.redrive.order import Order
from service.redrive.picking import Picking
from service.redrive.preview import Preview
from service.redrive.rehearsal import rehearse
from service.redrive.sender import Rate, Sender
from service.redrive.sending import Said, Sending
from service.routing.commands import Rule
from service.routing.reading import Document
from service.routing.route_tests import RouteTestsAsRead, read_tests
from service.routing.table import RouteTable, load_routes, read_routes
from service.settings import Settings
from service.telemetry.metrics import Metrics
from service.temporal.client import connect, for_namespace, retention
from service.temporal.renewal import Renewal
from service.temporal.worker import find
from service.topics import cluster_with_topics

NO_LETTER = "it is no letter of ours; look at it with `show`, then discard it"


@dataclass(frozen=True, slots=True)
class Lifted:
    """Which rules that keep a letter from being sent a person has lifted."""

    accept_repeats: bool = False
    insist: bool = False


NO_CLUSTER = Cluster("", 0, {})
"""Where an event is that lies in no topic."""


@dataclass(frozen=True, slots=True)
class Explained:
    """What the routes would do with a record.

    `outcome` is what becomes of it before or without any route. `met` is what Temporal says of each
    route's target now, if it was asked. `elsewhere` counts routes of other topics.
    """

    record: Record
    event: Event | None = None
    outcome: str = ""
    verdicts: Sequence[Verdict] = ()
    met: Mapping[str, Sequence[str]] = field(default_factory=dict)
    elsewhere: int = 0


async def record_at(settings: Settings, place: Place) -> tuple[Record, Cluster]:
    """The record that lies at `place`, and the cluster that it lies in.

    Raises:
        Unreachable: Kafka does not answer.
        ConfigurationError: There is none.
    """
    connection = kafka_connection(settings.kafka)
    held = await extent(connection, place.partition)
    if not held.first <= place.offset < held.stable:
        raise ConfigurationError(f"offset {place.offset} is not in {place.partition}: {held}")
    async with reader(connection) as reading:
        async for record in reading.read(place.partition, range(place.offset, place.offset + 1)):
            async with Admin.connected(connection) as admin:
                return record, await admin.cluster()
    raise ConfigurationError(f"there is no record at {place}: it was compacted away, or marks a transaction")


async def explain(
    settings: Settings, routes: Path, record: Record, cluster: Cluster | None = None, *, live: bool
) -> Explained:
    """What the routes at `routes` would do with `record`; with `live`, also what that would meet now.

    Without `cluster`, `record` is what a person wrote: JSON that stands for what its bytes would mean.

    Raises:
        Unreachable: Temporal does not answer.
        NotNow: The schema registry does not.
        ConfigurationError: The routes or workflows are not as they must be.
    """
    table = load_routes(routes)
    elsewhere = sum(not table.reads(route, record.topic) for route in table.routes)
    try:
        decoder = make_decoder(settings, table, cluster or NO_CLUSTER, given=cluster is None)
        event = await decoder.decode_with_registry(record)
    except RecordError as error:
        return Explained(record, outcome=f"it becomes a letter: {error}", elsewhere=elsewhere)
    if isinstance(event, Tombstone):
        return Explained(record, outcome="nothing: tombstones of its topic are skipped", elsewhere=elsewhere)
    contracts = Contracts(find(settings.worker.packages).workflows)
    verdicts = Explaining(table, contracts, seal_of(settings.calls)).verdicts(event)
    outcome = ""
    if not table.routes_for(event):
        rule = table.topics[record.topic].unmatched
        becomes = "nothing becomes of it" if rule is Rule.SKIP else "it becomes a letter"
        outcome = f"{becomes}: no route takes type {event.type}, and its topic says unmatched: {rule}"
    met = await _met(settings, verdicts) if live else {}
    return Explained(record, event, outcome, verdicts, met, elsewhere)


@dataclass(frozen=True, slots=True)
class Examination:
    """Tests of routes, and what runs them; the files of the routes tell where something stands."""

    tests: RouteTestsAsRead
    examining: Examining
    documents: Sequence[Document]


def examination(
    settings: Settings, routes: Sequence[Path], tests: Sequence[Path], packages: Sequence[str]
) -> Examination:
    """The tests at `tests` of the routes at `routes`, made ready; needs no servers.

    Inputs are checked against the workflows in `packages`. Replies to calls are signed, and looked at, by a
    secret of the tests' own; those that were signed by ours pass, too.

    Raises:
        ConfigurationError: Routes, tests or workflows are not as they must be; with all findings.
    """
    contracts = Contracts(find(packages).workflows)
    as_read = read_routes(routes, judge_by(contracts))
    _without_mistakes("the routes", as_read.findings)
    table, seal = RouteTable(as_read.files), Seal(["tests of routes", *settings.calls.secrets()])
    found = read_tests(tests, table, seal)
    _without_mistakes("the tests of routes", found.findings)
    explaining = Explaining(table, contracts, seal)
    examining = Examining(make_decoder(settings, table, NO_CLUSTER, given=True), table, explaining)
    return Examination(found, examining, as_read.documents)


def _without_mistakes(what: str, findings: Sequence[Finding]) -> None:
    if findings:
        count = "1 mistake" if len(findings) == 1 else f"{len(findings)} mistakes"
        raise ConfigurationError(f"{what} cannot be used: {count}", findings)


async def _met(settings: Settings, verdicts: Sequence[Verdict]) -> dict[str, Sequence[str]]:
    client = await connect(temporal_access(settings))
    return {
        one.route.name: [
            sentence async for sentence in met_by(one.command, for_namespace(client, one.command.namespace))
        ]
        for one in verdicts
        if one.command
    }


@asynccontextmanager
async def looking(settings: Settings) -> AsyncIterator[Letterbox]:
    """The letterbox, to look into: nothing is changed.

    Raises:
        Unreachable: Kafka does not answer.
        ConfigurationError: There is no letter topic.
    """
    async with reader(kafka_connection(settings.kafka)) as reading:
        yield await open_letterbox(reading, settings.group)


async def previewing(settings: Settings) -> Preview:
    """What today's routes would do.

    Raises:
        ConfigurationError: The routes, topics or workflows are not as they must be.
        Unreachable: Kafka does not answer.
    """
    return await _preview_of(settings, load_routes(settings.routes))


async def _preview_of(settings: Settings, table: RouteTable) -> Preview:
    cluster = await cluster_with_topics(kafka_connection(settings.kafka), table, settings.group)
    contracts = Contracts(find(settings.worker.packages).workflows)
    return Preview(make_decoder(settings, table, cluster), table, contracts, seal_of(settings.calls))


async def rehearse_sending(
    settings: Settings, choice: Choice, lifted: Lifted, said: Callable[[Said], None]
) -> None:
    """Tell what `send_letters` would do; nothing is called and nothing changed.

    Raises:
        NotNow: It is not known what is paused.
        Unreachable: Kafka or Temporal does not answer.
        ConfigurationError: Something is not as it must be.
    """
    table = load_routes(settings.routes)
    preview = await _preview_of(settings, table)
    client = await connect(temporal_access(settings))
    guards = await _guards(client, table, lifted)
    connection, pauses = kafka_connection(settings.kafka), make_pauses(table)
    await switchboard_looked_at(settings, client, pauses).begin()
    async with looking(settings) as letterbox, reader(connection) as source_topics:
        later = LaterRecords(source_topics, settings.group, table.ordered_by_partition)
        picking = Picking(letterbox, choice, _obstacles(guards, preview))
        await rehearse(picking, preview, later, pauses, said=said)


async def send_letters(
    settings: Settings,
    choice: Choice,
    lifted: Lifted,
    rate: float | None,
    *,
    counted: Callable[[int], None],
    said: Callable[[Said], None],
    stop: asyncio.Event,
) -> None:
    """Send the letters that are meant, until the end or until `stop` is set; what is done is kept.

    Args:
        settings: Ours.
        choice: Which letters.
        lifted: Which rules do not hold.
        rate: How many a second at most.
        counted: Told how many they are, before the first is sent.
        said: Told what became of each.
        stop: Set to end.

    Raises:
        NotNow: No letter gets through, or it is not known what is paused.
        Unreachable: Kafka or Temporal does not answer.
        ConfigurationError: Something is not as it must be, or someone else is at work on the letters.
        Stopped: `stop` was set before the first.
    """
    connection, table = kafka_connection(settings.kafka), load_routes(settings.routes)
    contracts = Contracts(find(settings.worker.packages).workflows)
    async with (
        open_sink(settings, connection, stop) as sink,
        reader(connection) as walking,
        reader(connection) as aside,
    ):
        access = temporal_access(settings)
        client = await patiently(lambda: connect(access, [IdentityPlugin()]), settings.start_timeout, stop)
        pipeline = await make_pipeline(
            settings, connection, sink, client, table, contracts, frozenset(), Metrics(), stop
        )
        guards = await _guards(client, table, lifted)
        switchboard = switchboard_looked_at(settings, client, pipeline.pauses)
        await patiently(switchboard.begin, settings.start_timeout, stop)
        group, topic = letter_group(settings.group), letter_topic(settings.group)
        async with only_member(connection, group, topic) as member:
            letterbox = await open_letterbox(walking, settings.group, await member.commits())
            with Order(table.ordered_by_partition) as order:
                sending = Sending(
                    Picking(letterbox, choice, _obstacles(guards, _preview(pipeline))),
                    Letterbox(aside, letterbox.standings),
                    order,
                    LaterRecords(aside, settings.group, table.ordered_by_partition),
                    Sender(
                        pipeline.handling, pipeline.waiting, pipeline.pauses, Rate(rate), member.alone, stop
                    ),
                    Closing(member, letterbox),
                    at_once=min(settings.intake.concurrency, STORE_LETTERS),
                    said=said,
                    stop=stop,
                )
                counted(await sending.survey())
                renewal = Renewal(client, access)
                async with (
                    in_the_background(switchboard.keep_reading()),
                    in_the_background(renewal.keep_looking()),
                ):
                    await sending.run()


async def discard_letters(
    settings: Settings, choice: Choice, *, said: Callable[[Said], None], stop: asyncio.Event
) -> None:
    """Close the letters that are meant, without sending them.

    Raises:
        Unreachable: Kafka does not answer.
        ConfigurationError: There is no letter topic, or someone else is at work on the letters.
    """
    connection, topic = kafka_connection(settings.kafka), letter_topic(settings.group)
    async with reader(connection) as reading:
        await letter_extents(
            reading, settings.group
        )  # or it would look as if someone else had all of its partitions
        async with only_member(connection, letter_group(settings.group), topic) as member:
            letterbox = await open_letterbox(reading, settings.group, await member.commits())
            await discard(Picking(letterbox, choice), Closing(member, letterbox), said=said, stop=stop)


async def give_up(settings: Settings, place: Place, by: str, because: str) -> GaveUp:
    """Say to the bridges that a person gives up on the record at `place`.

    Raises:
        Unreachable: Kafka does not answer.
        ConfigurationError: There is no such record to give up on, or someone else is saying something.
    """
    topics = load_routes(settings.routes).topics
    topic = place.partition.topic
    if topic not in topics:
        raise ConfigurationError(
            f"no route reads topic {topic}, so no bridge of group {settings.group} is held up by it; "
            f"they read {', '.join(sorted(topics))}"
        )
    connection = kafka_connection(settings.kafka)
    held = await extent(connection, place.partition)
    async with reader(connection) as reading:
        found = await find_open(reading, settings.group, place, held)
    async with only_member(connection, given_up_group(settings.group), topic) as member:
        return await say(member, found, by, because)


async def _guards(client: Client, table: RouteTable, lifted: Lifted) -> Guards:
    spans = [await retention(client, name) for name in sorted({client.namespace, *table.namespaces})]
    return Guards(
        retention=min(spans, default=timedelta()),
        now=datetime.now(UTC),
        accept_repeats=lifted.accept_repeats,
        insist=lifted.insist,
    )


def _preview(pipeline: Pipeline) -> Preview:
    return Preview(pipeline.decoder, pipeline.table, pipeline.contracts)


def _obstacles(guards: Guards, preview: Preview) -> Callable[[Found], Awaitable[str]]:
    async def obstacle(found: Found) -> str:
        if found.letter is None:
            return NO_LETTER
        if refused := guards.obstacle(found.letter):
            return refused
        await preview.prepare(found.letter)
        return preview.obstacle(found.letter)

    return obstacle
