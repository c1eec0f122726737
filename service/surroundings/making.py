"""Making what is missing: topics and search attributes; what is there stays as it is, and is looked at."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.api.workflowservice.v1 import CountWorkflowExecutionsRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from service.dispatch.registered import type_name, types_by_name
from service.errors import ConfigurationError, Unreachable
from service.failures.letter_topic import letter_bytes, weaknesses_of
from service.failures.letters import HEADROOM_BYTES
from service.kafka.admin import Admin
from service.kafka.commands import acl_command, set_command
from service.kafka.connection import Connection
from service.kafka.survey import SeenTopic, Unseen, topics_seen
from service.surroundings.needs import Needs
from service.surroundings.wanted import (
    Choices,
    WantedAttribute,
    WantedTopic,
    wanted_attributes,
    wanted_topics,
)
from service.temporal.client import AttributeTypes, no_answer, search_attributes
from service.temporal.survey import survey

USABLE_SECONDS, RETRY_SECONDS = 30.0, 0.2
"""How long a server may take until all of it knows a new search attribute; some keep the old list 10 s."""


class State(StrEnum):
    """How something is now."""

    EXISTS = "exists"
    MADE = "made"
    DIFFERS = "differs"
    LACKS = "lacks"
    REFUSED = "refused"

    @property
    def well(self) -> bool:
        """Whether nobody has to do anything."""
        return self in {State.EXISTS, State.MADE}


@dataclass(frozen=True, slots=True)
class Thing:
    """Something that is needed: how it is now, and what to do where it is not as it must be."""

    what: str
    state: State
    problem: str = ""
    cure: str = ""


async def make_topics(
    connection: Connection, needs: Needs, choices: Choices, *, dry: bool
) -> AsyncIterator[Thing]:
    """Make the topics that are missing, with `dry` none of them; each is told as soon as it is known.

    Raises:
        Unreachable: No broker answers.
    """
    async with Admin.connected(connection) as admin:
        seen = await topics_seen(admin, needs.topics)
        matching = needs.declared.among((await admin.cluster()).partitions)
        sources = [*(name for name in needs.read if isinstance(seen[name], SeenTopic)), *matching]
        largest = await letter_bytes(admin, sources) - HEADROOM_BYTES
        brokers = len(await admin.brokers())
        for topic in wanted_topics(needs, choices, brokers=brokers, largest_record_bytes=largest):
            match seen[topic.name]:
                case Unseen.MISSING:
                    yield await _make_topic(admin, topic, needs, choices, dry=dry)
                case Unseen.HIDDEN:
                    right = _right(needs, "Describe", topic.name)
                    yield Thing(f"topic {topic.name}", State.REFUSED, "we may not see it", f"let us: {right}")
                case SeenTopic() as there if topic.name != needs.letters:
                    yield _compared(topic, there, needs, choices)
                case _:
                    yield await _letters(admin, needs, sources, brokers)


async def _make_topic(
    admin: Admin, topic: WantedTopic, needs: Needs, choices: Choices, *, dry: bool
) -> Thing:
    what = f"topic {topic.name}"
    if topic.name != needs.letters and not choices.topics:
        return Thing(what, State.LACKS, "it is not there", "say --topics, or let whoever owns it make it")
    if dry:
        return Thing(what, State.LACKS, "it is not there", "it is made without --dry-run")
    try:
        await admin.create_topics(
            [topic.name], partitions=topic.partitions, settings=topic.settings, replicas=topic.replicas
        )
    except ConfigurationError as error:
        right = _right(needs, "Create", topic.name)
        return Thing(what, State.REFUSED, str(error), f"if it is for lack of a right, let us: {right}")
    return Thing(what, State.MADE)


def _compared(topic: WantedTopic, there: SeenTopic, needs: Needs, choices: Choices) -> Thing:
    """A topic that routes declare, beside what was chosen for these: others own it, so only that counts."""
    what, chosen = f"topic {topic.name}", topic.settings.get("retention.ms") if choices.topics else None
    has = there.settings.get("retention.ms", chosen)
    if chosen in {None, has}:
        return Thing(what, State.EXISTS)
    setting = f"retention.ms={chosen}"
    return Thing(
        what, State.DIFFERS, f"its retention.ms is {has}", set_command(needs.servers, topic.name, setting)
    )


async def _letters(admin: Admin, needs: Needs, sources: Sequence[str], brokers: int) -> Thing:
    found = await weaknesses_of(admin, needs.letters, sources, brokers)
    if not found:
        return Thing(f"topic {needs.letters}", State.EXISTS)
    return Thing(
        f"topic {needs.letters}",
        State.DIFFERS,
        "; ".join(f"it {weakness.problem}" for weakness in found),
        "\n".join(
            set_command(needs.servers, needs.letters, weakness.setting)
            for weakness in found
            if weakness.setting
        ),
    )


def _right(needs: Needs, operation: str, topic: str) -> str:
    return acl_command(needs.servers, needs.principal, [operation], "topic", [topic])


async def make_attributes(
    client: Client, needs: Needs, choices: Choices, *, dry: bool
) -> AsyncIterator[Thing]:
    """Register the search attributes that are missing, with `dry` none of them.

    Raises:
        Unreachable: Temporal does not answer.
    """
    seen = await survey(client, dict.fromkeys(needs.queues, ()))
    wanted: defaultdict[str, list[WantedAttribute]] = defaultdict(list)
    for attribute in wanted_attributes(needs, choices.types):
        wanted[attribute.namespace].append(attribute)
    for namespace, found in seen.namespaces.items():
        if found is None:
            command = f"temporal operator namespace create -n {namespace} --retention 7d"
            yield Thing(f"namespace {namespace}", State.LACKS, "it is not there", command)
            continue
        yield Thing(f"namespace {namespace}", State.EXISTS)
        new = {
            one.name: one.type
            for one in wanted[namespace]
            if one.type and one.name not in found.attributes and not dry
        }
        refusal = await _register(client, namespace, new) if new else ""
        now = await search_attributes(client, namespace) if new else found.attributes
        for one in wanted[namespace]:
            yield _attribute(one, now, made=one.name in new, refusal=refusal)


def _attribute(wanted: WantedAttribute, registered: AttributeTypes, *, made: bool, refusal: str) -> Thing:
    what = f"search attribute {wanted.name} in {wanted.namespace}"
    if wanted.name in registered:
        has = type_name(registered[wanted.name])
        if wanted.type in {has, ""}:
            return Thing(what, State.MADE if made else State.EXISTS)
        # To register it once more is answered with OK, and changes nothing.
        cure = "take another name for it; a registered one keeps its type"
        return Thing(what, State.DIFFERS, f"it is of type {has}, not {wanted.type}", cure)
    if not wanted.type:
        cure = f"say which: --attribute {wanted.name}=Keyword, or another type"
        return Thing(what, State.LACKS, "it is not there, and nobody said its type", cure)
    if refusal:
        cure = "where it is Temporal Cloud, by turnout setup --print terraform, or tcld"
        return Thing(what, State.REFUSED, refusal, cure)
    return Thing(what, State.LACKS, "it is not there", "it is made without --dry-run")


async def _register(client: Client, namespace: str, types: Mapping[str, str]) -> str:
    """Register `types`, and return once they can be used; gives what Temporal has against it."""
    by_name = types_by_name()
    request = AddSearchAttributesRequest(
        namespace=namespace, search_attributes={name: by_name[kind] for name, kind in types.items()}
    )
    try:
        await client.operator_service.add_search_attributes(request)
    except RPCError as error:
        if error.status is RPCStatusCode.UNAVAILABLE:
            raise no_answer(client, error) from error
        return f"Temporal answered {error.status.name}: {error.message}"
    await _usable(client, namespace, types)
    return ""


async def _usable(client: Client, namespace: str, names: Mapping[str, str]) -> None:
    """Wait until queries may name them: a frontend may go by the list that it had before.

    Raises:
        Unreachable: It takes too long.
    """
    query = " AND ".join(f"`{name}` IS NULL" for name in names)
    request = CountWorkflowExecutionsRequest(namespace=namespace, query=query)
    said = "no answer"
    try:
        async with asyncio.timeout(USABLE_SECONDS):
            while True:
                try:
                    await client.workflow_service.count_workflow_executions(request)
                except RPCError as error:
                    said = f"{error.status.name}: {error.message}"
                else:
                    return
                await asyncio.sleep(RETRY_SECONDS)
    except TimeoutError as error:
        text = (
            f"the search attributes are registered, and cannot be used after {USABLE_SECONDS:.0f} s: {said}"
        )
        raise Unreachable(text) from error
