"""Settings become the handler API, and what serves it."""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import cache, partial

from temporalio.client import Client

from service.api.asking import Workflows
from service.api.auth import Bearer
from service.api.handler import Bounds, Handler
from service.callers import guarding
from service.errors import ConfigurationError
from service.events.strict_json import Limits
from service.failures.parking import Parking
from service.intake.handling import Handling
from service.intake.pace import Pace
from service.intake.waiting import WaitingRoom
from service.pipeline import Pipeline, make_links
from service.settings import ApiSettings, Settings
from service.telemetry.health import Health
from service.telemetry.metrics import Metrics
from service.temporal.client import for_namespace
from service.temporal.worker import service_queue

MISSING_EXTRA = "TURNOUT_API__{}_ADDRESS needs the extra `api`; install it with pip install 'turnout[api]'"


def make_handler(
    settings: Settings,
    pipeline: Pipeline,
    client: Client,
    known: Mapping[str, Collection[str]],
    metrics: Metrics,
) -> Handler:
    """What does what clients ask: by the routes of `pipeline`, beside its records and with a pace of its own.

    `known` are the workflows of our own worker, by task queue.
    """
    links, waiting = make_links(settings.temporal), WaitingRoom()
    handling = Handling(
        pipeline.decoder,
        pipeline.table,
        pipeline.dispatcher,
        None,
        # Each call asks anew whether there is a park: they have no order in which one could be remembered.
        Parking(pipeline.dispatcher, pipeline.parks, remembered=0),
        waiting=waiting,
        pace=Pace(settings.api.calls),
        pauses=pipeline.pauses,
        metrics=metrics,
    )
    return Handler(
        handling,
        waiting,
        pipeline.dispatcher,
        pipeline.table,
        Workflows(cache(partial(for_namespace, client)), links),
        pace=Pace(settings.api.calls),
        pauses=pipeline.pauses,
        namespaces=[client.namespace, *pipeline.table.namespaces],
        # What turnout has there is started by itself alone, and of anything else its worker fails for ever.
        known={**known, service_queue(settings.group): ()},
        bounds=Bounds(
            settings.api.calls,
            settings.api.time_limit,
            Limits(settings.intake.value_bytes, settings.intake.value_depth),
        ),
    )


@asynccontextmanager
async def serving_api(settings: Settings, handler: Handler, health: Health) -> AsyncIterator[None]:
    """Serve `handler` in this block, by each skin wherever that is configured to be.

    Raises:
        ConfigurationError: Nothing can listen there, or the extra `api` is missing.
    """
    api = settings.api
    async with AsyncExitStack() as skins:
        if not (api.http_address or api.grpc_address):
            yield
            return
        guard = await skins.enter_async_context(guarding(api))
        if api.http_address:
            await skins.enter_async_context(_http(api, handler, guard))
        if api.grpc_address:
            await skins.enter_async_context(_grpc(api, handler, guard, health))
        yield


def _http(api: ApiSettings, handler: Handler, guard: Bearer | None) -> AbstractAsyncContextManager[None]:
    try:
        from service.api.http import serving_http
    except ImportError as error:
        raise ConfigurationError(MISSING_EXTRA.format("HTTP")) from error
    return serving_http(handler, guard, api.http_address, connections=api.connections)


def _grpc(
    api: ApiSettings, handler: Handler, guard: Bearer | None, health: Health
) -> AbstractAsyncContextManager[object]:
    try:
        from service.api.grpc import Tls, serving_grpc
    except ImportError as error:
        raise ConfigurationError(MISSING_EXTRA.format("GRPC")) from error
    certificate, key = api.grpc_tls_cert_file, api.grpc_tls_key_file
    return serving_grpc(
        handler,
        guard,
        health,
        api.grpc_address,
        calls=api.calls,
        connections=api.connections,
        tls=Tls(certificate, key) if certificate and key else None,
    )
