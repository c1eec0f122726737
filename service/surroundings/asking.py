"""Asking Kafka, Temporal and the schema registry how they are, all at once; nothing is changed."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

from service.access import temporal_access
from service.dispatch.callbacks import check_allowed
from service.errors import ConfigurationError, TurnoutError, Unreachable
from service.events.registry import NoRegistry
from service.kafka.admin import Admin
from service.kafka.connection import Connection
from service.kafka.rights import Who
from service.kafka.survey import SeenKafka
from service.kafka.survey import survey as survey_kafka
from service.pipeline import make_callbacks, make_registry, topics_with_schemas
from service.routing.table import RouteTable
from service.settings import Settings
from service.surroundings.checks import Finding
from service.surroundings.needs import Needs, needs_of, own_queue
from service.surroundings.of_kafka import judge_kafka
from service.surroundings.of_retention import judge_retention
from service.surroundings.of_settings import Known, halved
from service.surroundings.of_temporal import judge_temporal
from service.temporal.client import for_namespace, reach
from service.temporal.survey import SeenTemporal
from service.temporal.survey import survey as survey_temporal

T = TypeVar("T")

PATIENCE_SECONDS = 60.0
"""After how long without an answer something counts as not there."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What they said, as far as they said anything, and all that is wrong."""

    findings: Sequence[Finding] = ()
    kafka: SeenKafka | None = None
    temporal: SeenTemporal | None = None


@dataclass(slots=True)
class _Asking:
    """Asks, and keeps what went wrong with that."""

    findings: list[Finding] = field(default_factory=list)

    async def answer(self, thing: str, down: str, wrong: str, ask: Callable[[], Awaitable[T]]) -> T | None:
        """What `ask` gives; else a finding: `down` where it does not answer, `wrong` where it says no."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await ask()
        except TimeoutError:
            self.findings.append(Finding(down, thing, f"no answer within {PATIENCE_SECONDS:.0f} s"))
        except ConfigurationError as error:
            self.findings.append(halved(wrong, thing, str(error)))
        except TurnoutError as error:
            self.findings.append(halved(down, thing, str(error)))
        return None


async def ask(known: Known, who: frozenset[Who]) -> Asked:
    """Ask all of them what `known` needs; `who` are those in whose place we are."""
    settings, table, connection = known.settings, known.table, known.connection
    if settings is None or table is None:
        return Asked()
    needs, asking = needs_of(settings, table, known.namespace), _Asking()
    seen, temporal, _ = await asyncio.gather(
        _ask_kafka(asking, needs, connection),
        _ask_temporal(asking, needs, settings, table, known.address),
        _ask_registry(asking, settings, table),
    )
    findings = asking.findings
    needs, kafka = seen or (needs, None)
    if kafka:
        findings += judge_kafka(
            needs,
            kafka,
            who=who,
            value_bytes=settings.intake.value_bytes,
            session_timeout=settings.kafka.session_timeout,
        )
        findings += judge_retention(needs, kafka, temporal)
    if temporal:
        findings += judge_temporal(needs, temporal, datetime.now(UTC))
    return Asked(findings, kafka, temporal)


# What cannot be asked, since how is not known, was found without asking.


async def _ask_kafka(
    asking: _Asking, needs: Needs, connection: Connection | None
) -> tuple[Needs, SeenKafka] | None:
    if connection is None:
        return None
    return await asking.answer("Kafka", "TD201", "TD105", lambda: _see_kafka(needs, connection))


async def _see_kafka(needs: Needs, connection: Connection) -> tuple[Needs, SeenKafka]:
    """The cluster, and what is needed with the topics that patterns match there."""
    if needs.declared.patterns:
        async with Admin.connected(connection) as admin:
            needs = needs.with_topics((await admin.cluster()).partitions)
    return needs, await survey_kafka(connection, needs.topics, needs.groups)


async def _ask_temporal(
    asking: _Asking, needs: Needs, settings: Settings, table: RouteTable, address: str
) -> SeenTemporal | None:
    if not address:
        return None
    return await asking.answer(
        "Temporal", "TD301", "TD302", lambda: _see_temporal(asking, needs, settings, table)
    )


async def _see_temporal(asking: _Asking, needs: Needs, settings: Settings, table: RouteTable) -> SeenTemporal:
    client = await reach(temporal_access(settings))
    queues = {name: list(queues) for name, queues in needs.queues.items()}
    queues[needs.namespace] = [*queues[needs.namespace], own_queue(needs)]
    seen = await survey_temporal(client, queues)
    try:
        callbacks = make_callbacks(settings.closing, table)
    except ConfigurationError:
        return seen  # it was found without asking
    for name in [name for name, found in seen.namespaces.items() if found]:
        if callbacks and table.closing_topics:
            here = for_namespace(client, name)
            check = partial(check_allowed, here, callbacks)
            await asking.answer(f"namespace {name}", "TD301", "TD309", check)
    return seen


async def _ask_registry(asking: _Asking, settings: Settings, table: RouteTable) -> None:
    if not (needing := topics_with_schemas(table)) or not settings.registry.url:
        return
    try:
        registry = make_registry(settings.registry, needing)
    except (ConfigurationError, Unreachable):
        return  # it was found without asking
    if not isinstance(registry, NoRegistry):
        await asking.answer("schema registry", "TD501", "TD502", registry.check)
