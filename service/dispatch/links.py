"""Addresses that lead from a command to where people look: the Temporal UI, traces, the runbook."""

from dataclasses import dataclass
from urllib.parse import quote

from service.telemetry.trace_context import Context, trace_id
from service.temporal.client import workflow_link


@dataclass(frozen=True, slots=True)
class Links:
    """Where things are; what is not configured is empty.

    `trace_url` holds `{trace_id}`, `runbook_url` may hold `{route}`.
    """

    ui_url: str = ""
    trace_url: str = ""
    runbook_url: str = ""

    def workflow(self, namespace: str, workflow_id: str) -> str:
        """The workflow's page in the Temporal UI."""
        return workflow_link(self.ui_url, namespace, workflow_id)

    def trace(self, context: Context) -> str:
        """The trace that `context` is a part of, if it is."""
        found = trace_id(context)
        return self.trace_url.replace("{trace_id}", found) if self.trace_url and found else ""

    def runbook(self, route: str) -> str:
        """What to do when this route's workflows are in trouble."""
        return self.runbook_url and self.runbook_url.replace("{route}", quote(route, safe=""))


NOWHERE = Links()
"""Nothing is configured."""
