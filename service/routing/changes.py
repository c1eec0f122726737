"""What changed since other routes, where that makes repeats act again or leaves workflows alone.

Judged on the values as read: the old routes may be of a grammar that this version does not know.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from service.errors import Finding
from service.routing.entries import Entry, actions_of, id_of, named_in, routes_in
from service.routing.reading import Document


def changes(old: Sequence[Document], new: Sequence[Document]) -> Iterator[Finding]:
    """Everything in `new` that does not go on where `old` ended."""
    now = [route for document in new for route in routes_in(document)]
    all_before = [route for document in old for route in routes_in(document)]
    before = {name: route for route in all_before if (name := route.text("name"))}
    gone = {name: before[name] for name in before.keys() - {route.text("name") for route in now}}
    for route in now:
        name = route.text("name")
        if name in before:
            yield from _changed_ids(before[name], route)
        elif name and (former := _former(route, gone)):
            del gone[former]
            problem = f"'{name}' was '{former}': what is delivered again acts again"
            yield route.at_value(
                "TR501", "name", problem, f"keep the name; letters of '{former}' need it too"
            )
    topics = {topic.name: topic for document in old for topic in named_in(document, "topics")}
    for topic in (topic for document in new for topic in named_in(document, "topics")):
        if topic.name in topics and _identity(topics[topic.name]) != _identity(topic):
            problem = "what tells a repeat from a new event changed: what is delivered again acts again"
            cure = "keep it, or change it when nothing is in flight"
            yield topic.document.at_key("TR503", topic.loc, problem, cure)


def _former(route: Entry, gone: Mapping[str, Entry]) -> str | None:
    return next((name for name, one in gone.items() if _likeness(one) == _likeness(route)), None)


def _likeness(route: Entry) -> Any:
    """All of a route but its name."""
    return {key: value for key, value in route.keys.items() if key != "name"}


def _changed_ids(before: Entry, route: Entry) -> Iterator[Finding]:
    former = {action.name: action for action in actions_of(before)}
    for action in actions_of(route):
        for key in (id_of(action), "namespace") if action.name in former else ():
            old, new = former[action.name].keys.get(key), action.keys.get(key)
            if old == new:
                continue
            was = "a lookup" if isinstance(old, dict) else old or "not given"
            problem = f"{key} was {was}: the workflows that it met are not met any more"
            cure = "keep it until they have closed, or write a second route"
            if key in action.keys:
                yield action.at_value("TR502", key, problem, cure)
            else:
                yield route.at_key("TR502", action.name, problem, cure)


def _identity(topic: Entry) -> Any:
    """What the ids of a topic's events are made of."""
    mapping = topic.below("event")
    return mapping.keys.get("id") if mapping else "cloudevents"
