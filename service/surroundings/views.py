"""Views of the Temporal UI: lists of workflows by what routes say of them, as links to open and keep.

There is nothing to be set up on the server: the UI keeps views in the browser. A link with `savedQuery` in it
adds one under that name (seen with UI 2.54.1).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from service.dispatch.attributes import keyword_text
from service.dispatch.lookup import quoted
from service.pipeline import attribute_names
from service.redrive.letterbox import Place
from service.routing.table import Route, RouteTable
from service.settings import Settings
from service.surroundings.needs import namespaces_of
from service.temporal.worker import service_queue
from workflows.topics import is_pattern

FAILED = "ExecutionStatus IN ('Failed', 'TimedOut', 'Terminated')"
RUNNING = "ExecutionStatus = 'Running'"


@dataclass(frozen=True, slots=True)
class View:
    """A list of workflows.

    Attributes:
        name: How it is called in the UI.
        namespace: Whose workflows.
        query: What visibility is asked.
        kept: Whether it makes sense to keep it: one of today does not, tomorrow.
    """

    name: str
    namespace: str
    query: str
    kept: bool = True

    def link(self, ui_url: str) -> str:
        """Its page in the UI at `ui_url`; the browser that opens it keeps the view, if `kept`."""
        address = f"{ui_url.rstrip('/')}/namespaces/{quote(self.namespace, safe='')}/workflows"
        saved = f"&savedQuery={quote(self.name, safe='')}" if self.kept else ""
        return f"{address}?query={quote(self.query, safe='')}{saved}"


def views(settings: Settings, table: RouteTable, namespace: str, now: datetime) -> Iterator[View]:
    """All views that go with the routes; `namespace` is turnout's own. Days are those of UTC.

    Without search attributes, only what is parked can be told from other workflows.
    """
    names, group = attribute_names(settings.temporal), settings.group
    spaces = sorted({namespace, *table.namespaces})
    midnight = now.astimezone(UTC).strftime("%Y-%m-%dT00:00:00Z")
    parked = f"WorkflowType = 'Park' AND TaskQueue = {quoted(service_queue(group))} AND {RUNNING}"
    yield View(f"{group}: parked", namespace, parked)
    if names is None:
        return
    ours = f"`{names.route}` IS NOT NULL"
    for one in spaces:
        today = f"{ours} AND {FAILED} AND CloseTime >= '{midnight}'"
        yield View(f"{group}: failed today", one, today, kept=False)
        yield View(f"{group}: failed", one, f"{ours} AND {FAILED}")
        yield View(f"{group}: running", one, f"{ours} AND {RUNNING}")
    starting = [route for route in table.routes if starts(route)]
    for route in starting:
        for one in namespaces_of(route, table, namespace):
            yield View(f"route {route.name}", one, f"`{names.route}` = {quoted(keyword_text(route.name))}")
    types = {
        (one, type_)
        for route in starting
        for type_ in route.types or ()
        for one in namespaces_of(route, table, namespace)
    }
    for one, type_ in sorted(types):
        yield View(f"event {type_}", one, f"`{names.event_type}` = {quoted(keyword_text(type_))}")
    # Not of patterns: visibility knows real topics, and how they begin, which others may, too.
    topics = {
        (one, name)
        for r in starting
        for name in r.topics
        if not is_pattern(name)
        for one in namespaces_of(r, table, namespace)
    }
    for one, topic in sorted(topics):
        yield View(f"topic {topic}", one, f"`{names.record}` STARTS_WITH {quoted(f'{topic}[')}")


def view_of(
    settings: Settings, table: RouteTable, namespace: str, *, place: Place | None = None, event_id: str = ""
) -> Sequence[View]:
    """The workflows that one record, or the event of that id, has started, in each namespace."""
    names = attribute_names(settings.temporal)
    if names is None:
        return ()
    attribute, text = (
        (names.record, f"{place.partition}@{place.offset}") if place else (names.event_id, event_id)
    )
    query = f"`{attribute}` = {quoted(keyword_text(text))}"
    return [View(text, one, query, kept=False) for one in sorted({namespace, *table.namespaces})]


def starts(route: Route) -> bool:
    """Whether `route` starts workflows: only a start sets search attributes."""
    signal = route.keys.signal
    return bool(route.keys.start or (signal and signal.or_start))
