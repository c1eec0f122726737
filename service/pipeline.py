"""Settings become the way of a record: from its bytes to what Temporal is asked, or to a letter."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache

from temporalio.client import Client

from activities.correlation import Seal
from service.dispatch.callbacks import Callbacks, check_allowed
from service.dispatch.contracts import Contracts
from service.dispatch.dispatcher import Dispatcher
from service.dispatch.links import Links
from service.dispatch.registered import create_commands, lacking, no_keywords, without_equality
from service.dispatch.requests import AttributeNames
from service.errors import ConfigurationError
from service.events.cloudevents import Encoding
from service.events.decoding import Decoder
from service.events.registry import NoRegistry, Registry, RegistryAccess
from service.events.schemas import Schemas
from service.events.strict_json import Limits
from service.failures.letters import Letters
from service.failures.parking import Parking
from service.failures.parks import Parks
from service.intake.handling import Handling
from service.intake.pace import Pace
from service.intake.pauses import Pauses
from service.intake.switchboard import SwitchboardReader
from service.intake.waiting import WaitingRoom
from service.kafka.admin import Cluster
from service.kafka.connection import Connection
from service.kafka.given_up import GivenUp
from service.kafka.reading import reader
from service.kafka.sink import KafkaSink
from service.kafka.tokens import EndpointTokens, TokenEndpoint, TokenFile, http_client
from service.lifecycle import patiently
from service.results.closing import Closings
from service.results.encodings import make_encodings
from service.results.left_out import Search
from service.results.looking_back import LookBack
from service.results.publisher import KafkaResultPublisher
from service.routing.table import RouteTable
from service.settings import (
    CallsSettings,
    ClosingSettings,
    KafkaSettings,
    RegistrySettings,
    Settings,
    TemporalSettings,
)
from service.telemetry.metrics import Metrics
from service.telemetry.traces import OFF, Traces
from service.temporal.client import AttributeTypes, check_namespace, for_namespace, search_attributes
from service.temporal.switchboard import SwitchboardClient
from service.topics import cluster_with_topics
from workflows.switchboard import Names

SINK_MARGIN_SECONDS = 5.0


def kafka_connection(kafka: KafkaSettings) -> Connection:
    """How to reach the configured cluster.

    Raises:
        ConfigurationError: A package is missing, or a file cannot be used.
    """
    connection = Connection(
        bootstrap_servers=kafka.bootstrap_servers,
        security_protocol=kafka.security_protocol,
        sasl_mechanism=kafka.sasl_mechanism,
        username=kafka.username,
        password=kafka.password.get_secret_value() if kafka.password else None,
        password_file=kafka.password_file,
        ca_file=kafka.tls_ca_file,
        cert_file=kafka.tls_cert_file,
        key_file=kafka.tls_key_file,
        tokens=_tokens(kafka),
    )
    connection.client_options()  # a file that cannot be used is said at once
    return connection


def _tokens(kafka: KafkaSettings) -> EndpointTokens | TokenFile | None:
    if kafka.token_file:
        return TokenFile(kafka.token_file)
    if not kafka.token_url:
        return None
    http_client()
    return EndpointTokens(
        TokenEndpoint(
            kafka.token_url,
            kafka.client_id,
            kafka.client_secret.get_secret_value() if kafka.client_secret else None,
            kafka.client_secret_file,
            kafka.token_scope,
            kafka.token_ca_file,
        )
    )


@asynccontextmanager
async def open_sink(
    settings: Settings, connection: Connection, stop: asyncio.Event
) -> AsyncIterator[KafkaSink]:
    """A sink for the time of the block; some time after `stop` was set it gives up, so that nobody hangs.

    Raises:
        Unreachable: No broker answers within the start timeout.
        Stopped: `stop` was set before.
    """
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


def make_links(temporal: TemporalSettings) -> Links:
    """Where people look, as configured."""
    return Links(temporal.ui_url, temporal.trace_url, temporal.runbook_url)


def make_callbacks(closing: ClosingSettings, table: RouteTable) -> Callbacks | None:
    """How Temporal is asked to call when workflows have closed; None where it is not.

    Also without a route that asks for it: workflows that were started by one may still run.

    Raises:
        ConfigurationError: Routes ask for it, and there is no secret.
    """
    secrets = closing.secrets() if closing.callbacks else []
    if secrets:
        return Callbacks(closing.called_at, secrets)
    if closing.callbacks and table.closing_topics:
        raise ConfigurationError(
            "routes with publish_closing need a secret, by which callbacks are told from other calls; set "
            "TURNOUT_CLOSING__SECRET_FILE to a file with a long random line, the same for all bridges, or do "
            "without callbacks: TURNOUT_CLOSING__BY=sweep"
        )
    return None


def make_search(
    settings: Settings, connection: Connection, client: Client, table: RouteTable, closings: Closings
) -> Search:
    """What finds closings of our group that nobody was told of, in all namespaces of the routes."""
    temporal = settings.temporal
    return Search(
        client,
        {client.namespace, *table.namespaces},
        connection,
        closings,
        group=settings.group,
        marked=temporal.attribute_route if temporal.search_attributes else "",
    )


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The way of a record, from its bytes to what Temporal was asked; made by `make_pipeline`."""

    table: RouteTable
    decoder: Decoder
    contracts: Contracts
    dispatcher: Dispatcher
    letters: Letters
    parks: Parks
    handling: Handling
    waiting: WaitingRoom
    pauses: Pauses
    given_up: GivenUp
    callbacks: Callbacks | None
    cluster: Cluster


async def make_pipeline(
    settings: Settings,
    connection: Connection,
    sink: KafkaSink,
    client: Client,
    table: RouteTable,
    contracts: Contracts,
    eager: frozenset[str],
    metrics: Metrics,
    stop: asyncio.Event,
    *,
    only: str = "",
    traces: Traces = OFF,
) -> Pipeline:
    """All that handling a record takes, once topics and search attributes are seen to be there.

    `only` is the one route of `table`, where no other is to know of the records.

    Raises:
        ConfigurationError: Something is missing, or not as it must be.
        Unreachable: Kafka or Temporal did not answer within the start timeout.
        Stopped: `stop` was set before.
    """
    seal = needed_seal(settings.calls, table)
    cluster = await patiently(
        lambda: cluster_with_topics(connection, table, settings.group), settings.start_timeout, stop
    )
    links = make_links(settings.temporal)
    callbacks = make_callbacks(settings.closing, table)
    dispatcher = await patiently(
        lambda: _make_dispatcher(settings, client, table, contracts, eager, links, seal, callbacks),
        settings.start_timeout,
        stop,
    )
    letters, parks = Letters(sink, settings.group), Parks(client, settings.group, links)
    waiting = WaitingRoom()
    pauses, given_up = make_pauses(table, metrics), GivenUp()
    decoder = make_decoder(settings, table, cluster)
    handling = Handling(
        decoder,
        table,
        dispatcher,
        letters,
        Parking(dispatcher, parks),
        waiting=waiting,
        pace=Pace(settings.intake.concurrency),
        pauses=pauses,
        given_up=given_up,
        metrics=metrics,
        only=only,
        traces=traces,
    )
    return Pipeline(
        table=table,
        decoder=decoder,
        contracts=contracts,
        dispatcher=dispatcher,
        letters=letters,
        parks=parks,
        handling=handling,
        waiting=waiting,
        pauses=pauses,
        given_up=given_up,
        callbacks=callbacks,
        cluster=cluster,
    )


def make_pauses(table: RouteTable, metrics: Metrics | None = None) -> Pauses:
    """What of the topics and routes people have paused: nothing, before the switchboard is asked."""
    names = Names(topics=tuple(table.topics), routes=tuple(route.name for route in table.routes))
    return Pauses(names, metrics, table.topics.declaration_of)


def switchboard_looked_at(settings: Settings, client: Client, pauses: Pauses) -> SwitchboardReader:
    """The group's switchboard, for a command that obeys it and leaves it as it is."""
    return SwitchboardReader(SwitchboardClient(client, settings.group), pauses, only_looks=True)


def make_decoder(settings: Settings, table: RouteTable, cluster: Cluster, *, given: bool = False) -> Decoder:
    """The decoder for the topics that `table` declares; with `given`, of what a person wrote into a file.

    Raises:
        ConfigurationError: A topic needs a schema registry, and there is none, or no way to ask one.
    """
    formats = table.topics.each(lambda topic: topic.format)
    limits = Limits(settings.intake.value_bytes, settings.intake.value_depth)
    needing = [name for name, format_ in formats.items() if format_.needs_registry]
    if not needing:
        return Decoder(formats, limits, cluster.id)
    registry = make_registry(settings.registry, needing, optional=given)
    return Decoder(formats, limits, cluster.id, Schemas(registry, limits), given=given)


def topics_with_schemas(table: RouteTable) -> Sequence[str]:
    """The topics whose records, or results, are written by schemas of a registry."""
    return [
        *(name for name, topic in table.topics.items() if topic.format.needs_registry),
        *table.out_formats,
    ]


def make_registry(
    registry: RegistrySettings, needing: Sequence[str], *, optional: bool = False
) -> Registry | NoRegistry:
    """The schema registry that the topics `needing` need; with `optional`, whatever is said of it.

    Raises:
        ConfigurationError: There is none, or its TLS files or the extra `registry` are missing.
    """
    if registry.url:
        return Registry(
            RegistryAccess(
                registry.url,
                registry.authorization,
                registry.tls_ca_file,
                registry.tls_cert_file,
                registry.tls_key_file,
            )
        )
    if optional:
        return NoRegistry()
    raise ConfigurationError(
        f"topic {needing[0]} is written by schemas of a registry; say which: TURNOUT_REGISTRY__URL"
    )


async def _make_dispatcher(
    settings: Settings,
    client: Client,
    table: RouteTable,
    contracts: Contracts,
    eager: frozenset[str],
    links: Links,
    seal: Seal | None,
    callbacks: Callbacks | None,
) -> Dispatcher:
    names = attribute_names(settings.temporal)
    ours = names.all if names else ()
    types: dict[str, AttributeTypes] = {}
    for namespace in sorted({client.namespace, *table.namespaces}):
        await check_namespace(client, namespace)
        types[namespace] = await search_attributes(client, namespace)
        _check_attributes(namespace, types[namespace], ours, table.search_attributes | table.looked_for)
        _check_lookups(namespace, types[namespace], table.looked_for)
        if callbacks and table.closing_topics:
            await check_allowed(for_namespace(client, namespace), callbacks)
    return Dispatcher(
        cache(lambda namespace: for_namespace(client, namespace)),
        contracts,
        names=names,
        attribute_types=types[client.namespace],
        links=links,
        eager_queues=eager,
        seal=seal,
        callbacks=callbacks,
        group=settings.group,
    )


def make_publisher(
    connection: Connection,
    sink: KafkaSink,
    metrics: Metrics,
    encodings: Mapping[str, Encoding],
    traces: Traces = OFF,
) -> KafkaResultPublisher:
    """What writes result events, of each topic as `encodings` say, or else in JSON."""
    look_back = LookBack(lambda: reader(connection, "read_uncommitted"))
    return KafkaResultPublisher(sink, look_back, metrics, encodings, traces)


async def encodings_with_registry(
    settings: Settings, table: RouteTable | None, stop: asyncio.Event
) -> Mapping[str, Encoding]:
    """How results are written to the topics of `table`; a registry that is needed is seen to be there.

    Raises:
        ConfigurationError: A schema does not fit, or there is no registry, or it does not let us in.
        Unreachable: It did not answer within the start timeout.
        Stopped: `stop` was set before.
    """
    formats = table.out_formats if table else {}
    if table is None or not (needing := topics_with_schemas(table)):
        return {}
    registry = make_registry(settings.registry, needing)
    if isinstance(registry, NoRegistry):
        return {}
    limits = Limits(settings.intake.value_bytes, settings.intake.value_depth)

    async def make() -> Mapping[str, Encoding]:
        await registry.check()
        return await make_encodings(registry, formats.values(), limits)

    return await patiently(make, settings.start_timeout, stop)


def seal_of(calls: CallsSettings) -> Seal | None:
    """What signs calls and tells replies to them; None where nobody said a secret.

    Raises:
        ConfigurationError: It cannot be read.
    """
    secrets = calls.secrets()
    return Seal(secrets) if secrets else None


def needed_seal(calls: CallsSettings, table: RouteTable) -> Seal | None:
    """As `seal_of`, where the routes of `table` need one.

    Raises:
        ConfigurationError: They do, and there is none, or it cannot be read.
    """
    seal = seal_of(calls)
    if table.completing and not seal:
        raise ConfigurationError(
            f"route {table.completing[0]} completes calls, but there is no secret to tell whose they are; "
            "set TURNOUT_CALLS__SECRET_FILE, the same as for the workers that call"
        )
    return seal


def attribute_names(temporal: TemporalSettings) -> AttributeNames | None:
    """How the search attributes are called that starts set; None where they set none."""
    if not temporal.search_attributes:
        return None
    return AttributeNames(
        temporal.attribute_route,
        temporal.attribute_event_type,
        temporal.attribute_event_id,
        temporal.attribute_record,
    )


def _check_attributes(
    namespace: str, registered: AttributeTypes, ours: Sequence[str], of_routes: Iterable[str]
) -> None:
    if missing := lacking(registered, [*ours, *of_routes]):
        commands = "\n  ".join(create_commands(namespace, missing, ours))
        msg = (
            f"namespace {namespace} lacks search attributes; create them, or set "
            f"TURNOUT_TEMPORAL__SEARCH_ATTRIBUTES=false to go without ours:\n  {commands}"
        )
        raise ConfigurationError(msg)
    if wrong := no_keywords(registered, ours):
        msg = (
            f"in namespace {namespace} {', '.join(wrong)} must be of type Keyword and is not; name others by "
            "TURNOUT_TEMPORAL__ATTRIBUTE_ROUTE, …_EVENT_TYPE, …_EVENT_ID, …_RECORD"
        )
        raise ConfigurationError(msg)


def _check_lookups(namespace: str, registered: AttributeTypes, names: Iterable[str]) -> None:
    if wrong := without_equality(registered, names):
        msg = (
            f"in namespace {namespace} no workflow can be looked for by {', '.join(wrong)}; register what "
            "routes look for as Keyword, Int or Bool"
        )
        raise ConfigurationError(msg)
