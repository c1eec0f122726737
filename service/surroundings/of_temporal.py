"""What is wrong with Temporal, judged by what was seen of it."""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta

from service.dispatch.registered import (
    create_command,
    lacking,
    no_keywords,
    type_name,
    without_equality,
)
from service.surroundings.checks import Finding
from service.surroundings.needs import Needs, own_queue
from service.temporal.survey import SeenNamespace, SeenTemporal

TRIED_WITH = (1, 32)
"""The oldest server that all is tried with."""

BEHIND = timedelta(seconds=5)
"""How far a worker's last call may seem to lie in the future, before our clock is doubted."""


def judge_temporal(needs: Needs, seen: SeenTemporal, now: datetime) -> Iterator[Finding]:
    """All that is wrong; `now` is by our clock."""
    for namespace, found in seen.namespaces.items():
        if found is None:
            command = f"temporal operator namespace create -n {namespace} --retention 7d"
            whose = "TEMPORAL_NAMESPACE" if namespace == needs.namespace else "the routes name it"
            yield Finding(
                "TD302", f"namespace {namespace}", f"it is not there ({whose})", f"make it: {command}"
            )
            continue
        yield from _attributes(needs, namespace, found)
        yield from _queues(needs, namespace, found)
        yield from _clock(namespace, found, now)
    number = re.match(r"(\d+)\.(\d+)", seen.version)
    if number and tuple(map(int, number.groups())) < TRIED_WITH:
        problem = f"its server is {seen.version}"
        yield Finding("TD310", "Temporal", problem, f"use {'.'.join(map(str, TRIED_WITH))} or newer")


def _attributes(needs: Needs, namespace: str, found: SeenNamespace) -> Iterator[Finding]:
    registered, thing = found.attributes, f"namespace {namespace}"
    for name in lacking(registered, needs.attributes):
        command = create_command(namespace, name)
        cure = (
            f"make it: turnout setup, or {command}; or go without: TURNOUT_TEMPORAL__SEARCH_ATTRIBUTES=false"
        )
        yield Finding("TD303", thing, f"it has no search attribute {name}", cure)
    for name in no_keywords(registered, needs.attributes):
        problem = f"its search attribute {name} is of type {type_name(registered[name])}, not Keyword"
        # Registering it once more would be answered with OK and change nothing.
        cure = (
            "name ours otherwise: TURNOUT_TEMPORAL__ATTRIBUTE_ROUTE, …_EVENT_TYPE, …_EVENT_ID, …_RECORD; "
            "a registered one keeps its type"
        )
        yield Finding("TD304", thing, problem, cure)
    for name in lacking(registered, sorted(needs.set_by_routes | needs.looked_for)):
        cure = f"make it: turnout setup --attribute {name}=TYPE, or {create_command(namespace, name, 'TYPE')}"
        yield Finding("TD305", thing, f"it has no search attribute {name}, which a route names", cure)
    for name in without_equality(registered, needs.looked_for):
        problem = f"its search attribute {name} is of type {type_name(registered[name])}"
        cure = "look for workflows by one of type Keyword, Int or Bool; a registered one keeps its type"
        yield Finding("TD306", thing, problem, cure)


def _queues(needs: Needs, namespace: str, found: SeenNamespace) -> Iterator[Finding]:
    for name, queue in found.queues.items():
        if queue.pollers:
            continue
        thing, problem = f"task queue {name} in {namespace}", "no worker has asked it within five minutes"
        if name == own_queue(needs):
            yield Finding("TD308", thing, problem, "start one: turnout run, or turnout bridge")
        else:
            yield Finding("TD307", thing, problem, "start its workers, or mend `task_queue` in the routes")


def _clock(namespace: str, found: SeenNamespace, now: datetime) -> Iterator[Finding]:
    last = max((one.last_asked for one in found.queues.values() if one.last_asked), default=None)
    if last and last - now > BEHIND:
        problem = f"a worker asked it {(last - now).total_seconds():.0f} s from now, by our clock"
        yield Finding("TD504", f"namespace {namespace}", problem, "set the clock of this machine by NTP")
