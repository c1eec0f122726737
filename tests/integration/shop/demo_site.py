"""The service with the demo's own routes and workflows, and what a subscriber reads of it."""

import json
import sys
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from deploy.demo.stage import RESULTS, ROOT, TOPICS
from service.local import Child
from service.settings import WorkerSettings
from tests.integration.service import Place, Site, headers_of, site
from tests.servers import create_topic


class Result(NamedTuple):
    """A result event, as whoever subscribes reads it."""

    type: str
    data: dict[str, Any]
    headers: dict[str, str]


@asynccontextmanager
async def demo_site(kafka: str, temporal: str, folder: Path) -> AsyncIterator[Site]:
    """Topics under their own names: there can be one such site on a broker."""
    for topic in TOPICS:
        await create_topic(kafka, topic)
    async with site(kafka, temporal, folder, "", topics=[]) as here:
        worker = WorkerSettings(task_queue="orders", modules="workflows.shop,activities.shop")
        settings = here.settings.model_copy(update={"routes": ROOT / "deploy/demo/routes", "worker": worker})
        topics = {**here.topics, **{topic: topic for topic in TOPICS}}
        yield replace(here, settings=settings, topics=topics)


async def pay(here: Site, kind: str, data: dict[str, Any]) -> Place:
    """An event as payment writes it: plain JSON, its type in a header."""
    value = json.dumps({"event_id": f"{kind}/{data}", **data}).encode()
    headers = [("event-type", kind.encode())]
    return await here.write(value, key=data["order_id"].encode(), headers=headers, to="payments.events")


@contextmanager
def neighbours(kafka: str, folder: Path, *names: str) -> Iterator[None]:
    """Run neighbours of the demo, each a process of its own."""
    argv = [sys.executable, "-m", "deploy.demo.neighbours"]
    children = [
        Child(
            name,
            [*argv, name, "--bootstrap-servers", kafka],
            log_path=folder / f"{name}.log",
            cwd=ROOT,
        )
        for name in names
    ]
    try:
        for child in children:
            child.start()
        yield
    finally:
        for child in children:
            child.kill()


async def results(here: Site, count: int, *subjects: str) -> list[Result]:
    """Wait for so many results about `subjects`, and return all that are there then."""

    async def enough() -> list[Result]:
        found = await _about(here, RESULTS, subjects)
        return found if len(found) >= count else []

    return await here.until(enough)


async def requests(here: Site, order_id: str) -> list[Result]:
    """All that neighbours have been asked for an order, in order."""
    return await _about(here, "shop.requests", [order_id])


async def _about(here: Site, topic: str, subjects: Collection[str]) -> list[Result]:
    read = [(record, headers_of(record)) for record in await here.read(topic)]
    return [
        Result(headers["ce_type"], json.loads(record.value or b""), headers)
        for record, headers in read
        if headers.get("ce_subject") in subjects
    ]
