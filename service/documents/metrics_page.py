"""The page of all metrics, in Markdown: written from what counts them."""

from collections.abc import Iterator, Mapping

from service.telemetry.metrics import LABELS, Metrics

_HEAD = """\
# Metrics

What `TURNOUT_METRICS__ADDRESS` serves at `/metrics`, for Prometheus. `make reference` writes this page from
what counts them; [telemetry](telemetry.md) says how to use them.

## turnout

| metric | type | labels | |
|---|---|---|---|"""

CORE: Mapping[str, str] = {
    "temporal_request_total": "Calls to Temporal that were answered, by operation.",
    "temporal_request_failure_total": "Calls that were refused or not answered, by operation and status.",
    "temporal_request_latency_seconds": "What calls took, by operation.",
    "temporal_long_request_failure_total": "Polls that failed, by operation and status.",
    "temporal_workflow_task_schedule_to_start_latency_seconds": "How long workflow tasks lay in their queue.",
    "temporal_workflow_task_execution_latency_seconds": "What workflow tasks took here.",
    "temporal_workflow_task_execution_failed_total": "Workflow tasks that failed, by why.",
    "temporal_activity_schedule_to_start_latency_seconds": "How long activities lay in their queue.",
    "temporal_activity_execution_latency_seconds": "What attempts of activities took here.",
    "temporal_activity_execution_failed_total": "Attempts of activities that failed.",
    "temporal_workflow_completed_total": "Workflows that completed here.",
    "temporal_workflow_failed_total": "Workflows that failed here.",
    "temporal_workflow_endtoend_latency_seconds": "From the start of a workflow to its end.",
    "temporal_worker_task_slots_available": "How many more tasks this worker would take, by kind.",
    "temporal_worker_task_slots_used": "How many tasks this worker is at, by kind.",
    "temporal_sticky_cache_size": "Workflows that this worker has in memory.",
    "temporal_num_pollers": "Calls that wait for tasks, by kind.",
    "turnout_inbox_dropped_total": "Events of signals that inboxes dropped as repeats, by type of workflow.",
}
"""Those of Temporal's client that its users look at most; a part of what it has."""


def metrics_page() -> str:
    """The page as a whole."""
    return "\n".join([_HEAD, *_ours(), *_labels(), *_others(), ""])


def _ours() -> Iterator[str]:
    for one in Metrics().described():
        if one.name.startswith("turnout_"):
            labels = ", ".join(f"`{label}`" for label in one.labels)
            yield f"| `{one.name}` | {one.type} | {labels} | {one.text} |"


def _labels() -> Iterator[str]:
    yield "\nNo label holds a key, an id of an event or a workflow, or a text of a record:\n"
    yield "| label | values |\n|---|---|"
    for name, values in sorted(LABELS.items()):
        yield f"| `{name}` | {values} |"


_OTHERS = """
## Temporal's client, and the process

Served with them is what the Temporal client counts, times in seconds, with labels of its own:
`namespace`, `operation`, `status_code`, `task_queue`, `workflow_type`, `activity_type`, `worker_type`,
`poller_type`. Among it:

| metric | |
|---|---|"""

_PROCESS = """
`process_cpu_seconds_total`, `process_resident_memory_bytes`, `process_open_fds` and the like tell of
the process itself."""


def _others() -> Iterator[str]:
    yield _OTHERS
    for name, text in CORE.items():
        yield f"| `{name}` | {text} |"
    yield _PROCESS
