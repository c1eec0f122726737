"""What must fit together: within a route, and between the files of a folder.

Judged on the values as read, not on the grammar's models, so that one mistake does not hide another.
"""

import difflib
from collections.abc import Iterator, Sequence
from typing import Any

from service.declarations import common_name
from service.errors import Finding
from service.routing.entries import ACTIONS, Entry, actions_of, named_in, root, routes_in
from service.routing.reading import Document
from workflows.topics import is_pattern, matches

CLOSING_TYPE = "turnout.workflow.closed"
"""The type of events that tell how workflows ended."""

LONGEST_TOPIC = 249

KEYS_OF_TOPICS_READ = frozenset({"event", "key", "ordering", "tombstones", "unmatched"})
"""They mean nothing for a topic that is only written to."""

KEYS_OF_SCHEMAS = frozenset({"subject", "schema", "register"})
"""They mean nothing for a topic that is read, or written in JSON."""


def inconsistencies(documents: Sequence[Document]) -> Iterator[Finding]:
    """Everything in `documents`, the files of one folder, that does not fit together."""
    routes = [route for document in documents for route in routes_in(document)]
    topics = [topic for document in documents for topic in named_in(document, "topics")]
    for route in routes:
        yield from _one_action(route)
        yield from _exclusive_keys(route)
    yield from _repeated(((route.text("name"), route, "name") for route in routes), "routes named")
    yield from _repeated(((str(topic.loc[-1]), topic, None) for topic in topics), "topics named")
    yield from _unknown_topics(routes, topics)
    yield from _unread_topics(routes, topics)
    yield from _overlapping(topics)
    yield from _unwritten_topics(routes, topics)
    for topic in topics:
        yield from _unused_keys_of_topic(topic)
        yield from _schema_is_said(topic)
    inboxes = {
        str(q.loc[-1]) for d in documents for q in named_in(d, "task_queues") if q.keys.get("inbox") is True
    }
    for route in routes:
        yield from _batch_needs_inbox(route, inboxes)
    if not any(_strings(document, "namespaces") for document in documents):
        yield from _open_namespaces(routes)


def _strings(document: Document, key: str) -> list[str]:
    values = root(document).get(key)
    return [value for value in values if isinstance(value, str)] if isinstance(values, list) else []


def _one_action(route: Entry) -> Iterator[Finding]:
    given = [key for key in route.keys if key in ACTIONS]
    for extra in given[1:]:
        yield route.at_key(
            "TR301", extra, f"'{given[0]}' and '{extra}' in one route", "write a route for each"
        )
    # A misspelt one, or one of a later release, is said elsewhere.
    if not given and not any(difflib.get_close_matches(key, ACTIONS, 1) for key in route.keys):
        problem = "a route without start, signal, cancel or complete"
        yield route.document.at_value("TR301", route.loc, problem, "write one of them")


def _exclusive_keys(route: Entry) -> Iterator[Finding]:
    start, signal = route.below("start"), route.below("signal")
    or_start = signal.below("or_start") if signal else None
    for action in (start, signal, or_start):
        if action and {"input", "args"} <= action.keys.keys():
            yield action.at_key(
                "TR302",
                "args",
                "'input' and 'args' together",
                "write input: for one argument, args: for a list",
            )
        if action and "contract" in action.keys and not {"input", "args"} & action.keys.keys():
            problem = "'contract' without 'input' or 'args'"
            yield action.at_key("TR302", "contract", problem, "write what it is of")
        if action and {"start_at", "start_delay"} <= action.keys.keys():
            yield action.at_key("TR302", "start_delay", "'start_at' and 'start_delay' together", "keep one")
    complete = route.below("complete")
    if complete and {"result", "error"} <= complete.keys.keys():
        yield complete.at_key(
            "TR302", "error", "'result' and 'error' together", "write a route for each, told apart by `when`"
        )
    elif complete and not {"result", "error"} & complete.keys.keys():
        yield route.at_value("TR302", "complete", "a reply without result or error", "write result: ${data}")
    if signal and signal.below("to"):
        for key in signal.keys.keys() & {"or_start", "batch"}:
            cure = "write to: and an id" if key == "or_start" else "take it away"
            yield signal.at_key("TR302", key, f"'{key}' with a workflow that is looked for", cure)
    if signal and {"missing", "or_start"} <= signal.keys.keys():
        yield signal.at_key("TR302", "missing", "'missing' never applies with 'or_start'", "leave it out")


def _repeated(named: Any, what: str) -> Iterator[Finding]:
    first: dict[str, Entry] = {}
    for name, entry, key in named:
        if name is None:
            continue
        if name in first:
            problem, cure = f"two {what} '{name}'", f"the first is at {first[name].place}"
            yield (
                entry.at_value("TR303", key, problem, cure)
                if key
                else entry.document.at_key("TR303", entry.loc, problem, cure)
            )
        first.setdefault(name, entry)


def _unknown_topics(routes: Sequence[Entry], topics: Sequence[Entry]) -> Iterator[Finding]:
    out = {str(topic.loc[-1]): topic.keys.get("out") is True for topic in topics}
    reading = [(route, name) for route in routes for name in route.texts("from") if "${" not in name]
    for route, name in reading:
        if name not in out:
            close = difflib.get_close_matches(name, out, 1)
            cure = f"did you mean {close[0]}?" if close else "declare it under topics:"
            if pattern := next((one for one in out if is_pattern(one) and matches(one, name)), None):
                cure = f"write from: {pattern}, which matches it, or declare it by its name"
            yield route.at_value("TR304", "from", f"topic '{name}' is not declared", cure)
        elif out[name]:
            yield route.at_value(
                "TR304", "from", f"topic '{name}' is one to write to", "take out: true away, or read another"
            )


def _unread_topics(routes: Sequence[Entry], topics: Sequence[Entry]) -> Iterator[Finding]:
    read = {name for route in routes for name in route.texts("from")}
    for topic in topics:
        name = str(topic.loc[-1])
        if name not in read and topic.keys.get("out") is not True:
            cure = "write a route from it, out: true if it is only written to, or take it away"
            yield topic.document.at_key("TR305", topic.loc, f"no route reads topic '{name}'", cure)


def _overlapping(topics: Sequence[Entry]) -> Iterator[Finding]:
    """Else a topic that somebody makes one day would be two things."""
    patterns = [topic for topic in topics if is_pattern(topic.name) and len(topic.name) <= LONGEST_TOPIC]
    for at, topic in enumerate(patterns):
        if topic.keys.get("out") is True:
            problem = f"'{topic.name}' is a pattern, and to be written to"
            yield topic.at_key("TR311", "out", problem, "declare each topic that is written to by its name")
        for earlier in patterns[:at]:
            both = common_name(earlier.name, topic.name)
            if both and earlier.name != topic.name:
                problem = f"'{earlier.name}' and '{topic.name}' both match '{both}'"
                cure = "make them exclude each other, or declare by its name what one of them is for"
                yield topic.document.at_key("TR311", topic.loc, problem, cure)


def _unwritten_topics(routes: Sequence[Entry], topics: Sequence[Entry]) -> Iterator[Finding]:
    out = {str(topic.loc[-1]): topic.keys.get("out") is True for topic in topics}
    without_schema = {
        str(topic.loc[-1])
        for topic in topics
        if (schemas := topic.below("schema")) and CLOSING_TYPE not in schemas.keys
    }
    for start in (route.below("start") for route in routes):
        name = start.text("publish_closing") if start else None
        if start and name in without_schema:
            problem = f"topic '{name}' has no schema for how workflows end"
            yield start.at_value(
                "TR310", "publish_closing", problem, f"write schema: {{{CLOSING_TYPE}: FILE}}"
            )
        if start is None or name is None or "${" in name or out.get(name):
            continue
        if name in out:
            problem, cure = f"topic '{name}' is one to read", "name one with out: true"
        else:
            close = difflib.get_close_matches(name, [one for one, written in out.items() if written], 1)
            problem = f"topic '{name}' is not declared"
            cure = f"did you mean {close[0]}?" if close else f"declare it: topics: {{{name}: {{out: true}}}}"
        yield start.at_value("TR310", "publish_closing", problem, cure)


def _unused_keys_of_topic(topic: Entry) -> Iterator[Finding]:
    is_out = topic.keys.get("out") is True
    unused = {key: "that is only written to" for key in KEYS_OF_TOPICS_READ if is_out}
    if not is_out or topic.keys.get("format", "json") == "json":
        why = "that is written in JSON" if is_out else "that is read"
        unused |= dict.fromkeys(KEYS_OF_SCHEMAS, why)
    for key in sorted(topic.keys.keys() & unused.keys()):
        yield topic.at_key("TR306", key, f"'{key}' means nothing for a topic {unused[key]}", "leave it out")


def _schema_is_said(topic: Entry) -> Iterator[Finding]:
    """What is registered must be said; so must what a subject is named for."""
    keys = topic.keys
    if keys.get("out") is not True or keys.get("format", "json") == "json" or "schema" in keys:
        return
    if keys.get("register") is True:
        yield topic.at_key("TR302", "register", "'register' without 'schema'", "write which: schema: FILE")
    if topic.text("subject") in {"record-name", "topic-record-name"}:
        cure = "write schema: FILE, or one for each type of event: schema: {TYPE: FILE}"
        yield topic.at_key("TR302", "subject", "a subject named for a record, without 'schema'", cure)


def _batch_needs_inbox(route: Entry, inboxes: set[str]) -> Iterator[Finding]:
    """A batch is put together anew after a crash: only the inbox can tell what of it was taken already."""
    signal = route.below("signal")
    if signal is None or signal.keys.get("batch") is not True:
        return
    if "args" in signal.keys or "input" not in signal.keys:
        yield signal.at_key(
            "TR302", "batch", "'batch' needs 'input'", "write input: it becomes an item of the list"
        )
    or_start = signal.below("or_start")
    queue = or_start.text("task_queue") if or_start else None
    if queue is None and not inboxes:
        cure = "declare the task queue of its workers: task_queues: {NAME: {inbox: true}}"
        yield signal.at_key(
            "TR307", "batch", "'batch' for workers that are not known to have the inbox", cure
        )
    elif queue is not None and "${" not in queue and queue not in inboxes:
        cure = f"declare task_queues: {{{queue}: {{inbox: true}}}} if its workers have it"
        yield signal.at_key(
            "TR307", "batch", f"'batch', but workers of '{queue}' are not known to have the inbox", cure
        )


def _open_namespaces(routes: Sequence[Entry]) -> Iterator[Finding]:
    for route in routes:
        for action in actions_of(route):
            if "${" in (action.text("namespace") or "").replace("$${", ""):
                cure = "write namespaces: [ … ] at the top of a file, with those that are allowed"
                yield action.at_value(
                    "TR308", "namespace", "a namespace that is an expression needs an allow-list", cure
                )
