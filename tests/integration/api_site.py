"""A running service whose handler API is called, by its contract or through a skin."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from service import handler_api, wiring
from service.api.handler import Handler
from service.api.models import Call, Publish, RouteOutcome, Start
from service.settings import ApiSettings
from tests.integration.service import ECHO_ROUTE, HEAD, NOTE_ROUTE, OUT, Site, event_headers, site

ROUTES = f"""{HEAD}{OUT}\
  @mapped: {{event: {{type: noted, id: "${{data.id}}"}}}}
routes:
{NOTE_ROUTE}{ECHO_ROUTE}\
  - name: told
    from: @in
    type: told
    signal: {{to: "@id/${{data.id}}", name: note, input: "${{data.n}}", missing: {{park: 15m}}}}
  - name: weighed
    from: @in
    type: weighed
    start: {{workflow: Weigh, id: "@id/${{data.id}}", task_queue: @queue, input: "${{data}}"}}
  - name: mapped
    from: @mapped
    signal: {{to: "@id/x", name: note, input: "${{data}}"}}
"""

NOW = Call(limit=timedelta(seconds=10))


@dataclass
class Asked:
    """A running service, and its handler."""

    site: Site
    handler: Handler

    async def publish(self, kind: str, data: Any, *, id: str = "", topic: str = "in") -> list[RouteOutcome]:  # noqa: A002
        headers = tuple(event_headers(kind, id=id or None))
        asked = Publish(topic=self.site.topics[topic], value=json.dumps(data).encode(), headers=headers)
        return list((await self.handler.publish(asked, NOW)).outcomes)

    async def start(self, name: str, workflow: str = "Keep", call: Call = NOW, **how: Any) -> str:
        asked = Start(
            workflow_id=self.id(name),
            workflow=workflow,
            task_queue=how.pop("task_queue", self.site.group),
            args=how.pop("args", [None]),
            **how,
        )
        return (await self.handler.start(asked, call)).outcome

    def id(self, name: str) -> str:
        return self.site.workflow_id(name)


@asynccontextmanager
async def asked_site(kafka: str, temporal: str, folder: Path, api: ApiSettings) -> AsyncIterator[Asked]:
    """Run the service with routes for all that is asked here."""
    made: list[Handler] = []

    def make(*args: Any) -> Handler:
        made.append(make_handler(*args))
        return made[-1]

    make_handler = handler_api.make_handler
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wiring, "make_handler", make)
        async with site(
            kafka, temporal, folder, ROUTES, topics=("in", "out", "mapped"), partitions=1
        ) as here:
            here.settings = here.settings.model_copy(update={"api": api})

            async def is_ready() -> bool:
                return any(line["event"] == "bridge ready" for line in here.lines)

            async with here.running():
                await here.until(is_ready)
                yield Asked(here, made[0])
