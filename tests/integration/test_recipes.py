"""What the pages of docs/recipes do at run time, by their own routes, workflows and records."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Any

import pytest
from ruamel.yaml import YAML
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle

from service.events.given import record_in
from service.failures import parking
from service.local import LocalTemporal
from service.settings import WorkerSettings
from tests.integration.attributes import have_keywords
from tests.integration.service import Place, Site, site
from tests.recipes import Recipe, recipes

RECIPES = recipes()
RUN = ["change-data-capture", "debounce", "delayed-start", "lookup", "repeating-process"]
ATTRIBUTES = ["PaymentReference", "BasketId", "SubscriptionId"]
QUIET_SECONDS = 1


def test_all_pages_with_a_workflow_are_run() -> None:
    assert [recipe.name for recipe in RECIPES.values() if recipe.workflow] == RUN


def topic_name(topic: str) -> str:
    """A page's topic as the name of one of the site's topics."""
    return topic.replace(".", "_").replace("-", "_")


def all_routes(queue: str) -> tuple[str, list[str]]:
    """The routes of all these pages as one file, for one worker, and the names of their topics."""
    files = [YAML(typ="safe").load(RECIPES[name].routes) for name in RUN]
    topics = {topic: keys for file in files for topic, keys in file["topics"].items()}
    routes = [route for file in files for route in file["routes"]]
    for start in (start for route in routes for start in starts_of(route)):
        start["task_queue"] = queue
    text = json.dumps(
        {"version": 1, "task_queues": {queue: {"inbox": True}}, "topics": topics, "routes": routes}
    )
    for topic in topics:
        text = text.replace(json.dumps(topic), f'"@{topic_name(topic)}"')
    seconds = '"quiet_seconds": 30'
    assert seconds in text
    return text.replace(seconds, f'"quiet_seconds": {QUIET_SECONDS}'), [topic_name(topic) for topic in topics]


def starts_of(route: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [one for one in (route.get("start"), route.get("signal", {}).get("or_start")) if one]


@pytest.fixture(scope="module")
async def here(
    kafka: str, temporal: LocalTemporal, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    """A service with all these pages, running."""
    folder = tmp_path_factory.mktemp("recipes")
    await have_keywords(await Client.connect(temporal.address), *ATTRIBUTES)
    modules = [RECIPES[name].module(folder).__name__ for name in RUN]
    routes, topics = all_routes("recipes")
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(folder)
        patched.setattr(parking, "LOOKING_SECONDS", 1.0)
        async with site(kafka, temporal.address, folder, routes, topics=topics, partitions=1) as here:
            worker = WorkerSettings(task_queue="recipes", modules=",".join(modules))
            here.settings = here.settings.model_copy(update={"worker": worker})
            async with here.running():
                yield here


class Page:
    """Sends records that are like those of a page."""

    def __init__(self, here: Site, name: str) -> None:
        self.here = here
        self._recipe: Recipe = RECIPES[name]

    async def send(self, number: int = 0, **changes: Any) -> Place:
        """Write the page's record of that number, with some of it changed."""
        given = json.loads(self._recipe.tries[number].record)
        for name, value in changes.items():
            given[name] = {**given[name], **value} if isinstance(given.get(name), dict) else value
        record = record_in(json.dumps(given).encode())
        headers = [(name, value) for name, value in record.headers if value is not None]
        return await self.here.write(
            record.value, key=record.key, headers=headers, to=topic_name(record.topic)
        )

    async def event(self, kind: str, id_: str, value: Any) -> Place:
        """Write the page's record as another event."""
        return await self.send(headers={"ce_type": kind, "ce_id": id_}, value=value)

    async def is_accepted(self, place: Place) -> None:
        assert [said.kind for said in await self.here.outcomes(place)] == ["accepted"]

    def workflow(self, workflow_id: str) -> WorkflowHandle[Any, Any]:
        return self.here.client.get_workflow_handle(workflow_id)

    async def ends(self, workflow_id: str, status: WorkflowExecutionStatus) -> None:
        async def ended() -> bool:
            return (await self.workflow(workflow_id).describe()).status is status

        await self.here.until(ended)


async def test_debounce_reacts_once_after_the_changes_have_ceased(here: Site) -> None:
    page = Page(here, "debounce")
    kind = "catalog.product.changed"
    for burst, count in enumerate([5, 2], start=1):
        for n in range(count):
            await page.event(kind, f"{burst}-{n}", {"title": f"{burst}-{n}"})

        async def is_indexed(times: int = burst) -> dict[str, Any] | None:
            try:
                indexed: dict[str, Any] = await page.workflow("index/P-1").query("indexed")
            except Exception:  # noqa: BLE001 - it is not there yet
                return None
            return indexed if indexed["times"] >= times else None

        indexed = await here.until(is_indexed)
        assert indexed
        assert indexed["times"] == burst
        assert indexed["changes"] == (5 if burst == 1 else 7)


async def test_a_deletion_ends_what_follows_the_row_and_the_tombstone_behind_it_is_skipped(
    here: Site,
) -> None:
    page = Page(here, "change-data-capture")
    row = {"id": 1001, "status": "trial"}
    await page.is_accepted(
        await page.send(value={"op": "c", "before": None, "after": row, "source": {"lsn": 1}})
    )
    await page.is_accepted(await page.send())
    assert (await page.workflow("account/1001").query("row"))["status"] == "paying"
    same = await page.send(value={"before": row, "after": row, "source": {"lsn": 3}})
    assert [said.detail for said in await here.outcomes(same)] == ["`when` is false"]
    await page.is_accepted(
        await page.send(value={"op": "d", "before": row, "after": None, "source": {"lsn": 4}})
    )
    await page.ends("account/1001", WorkflowExecutionStatus.CANCELED)
    (tombstone,) = await here.outcomes(await page.send(1))
    assert (tombstone.kind, tombstone.detail) == ("skipped", "tombstone")


async def test_a_null_value_that_is_the_deletion_is_an_event(here: Site) -> None:
    page = Page(here, "change-data-capture")
    await page.is_accepted(await page.send(2, value={"plan": "year"}))
    assert await page.workflow("subscription/S-7").query("row") == {"plan": "year"}
    await page.is_accepted(await page.send(2))
    await page.ends("subscription/S-7", WorkflowExecutionStatus.CANCELED)


async def test_a_lookup_finds_the_workflow_by_what_the_event_knows(here: Site) -> None:
    page = Page(here, "lookup")
    begun = {"order_id": "A-1", "payment_reference": "P-77"}
    early = await page.send()
    assert [said.kind for said in await here.outcomes(early)] == ["parked"]
    await page.is_accepted(
        await page.send(topic="shop.checkouts", headers={"ce_type": "shop.checkout.begun"}, value=begun)
    )
    assert await page.workflow("checkout/A-1").result() == "A-1 was paid"
    assert [said.kind for said in await here.outcomes(early, 2)] == ["parked", "accepted"]


async def test_a_delayed_start_is_called_off_before_it_begins(here: Site) -> None:
    page = Page(here, "delayed-start")
    left = {"basket_id": "B-1"}
    await page.is_accepted(await page.event("shop.basket.left", "E-left", left))
    found = await page.workflow("reminder/B-1/E-left").describe()
    assert found.execution_time
    assert found.execution_time - found.start_time == timedelta(days=1)
    await page.is_accepted(await page.event("shop.basket.taken-up", "E-taken", left))
    await page.ends("reminder/B-1/E-left", WorkflowExecutionStatus.CANCELED)
    await page.is_accepted(await page.send())
    trial = await page.workflow("trial/T-1").describe()
    assert trial.execution_time
    assert f"{trial.execution_time:%Y-%m-%dT%H:%MZ}" == "2030-01-31T12:00Z"
    past = {"trial_id": "T-2", "ends_at": "2020-01-31T12:00:00Z"}
    await page.is_accepted(await page.event("shop.trial.begun", "E-past", past))
    assert await page.workflow("trial/T-2").result() == "reminded"
    await page.is_accepted(await page.event("shop.trial.bought", "E-bought", {"trial_id": "T-1"}))
    await page.ends("trial/T-1", WorkflowExecutionStatus.CANCELED)


async def test_a_process_that_repeats_begins_anew_and_its_events_find_the_one_that_runs(here: Site) -> None:
    page = Page(here, "repeating-process")
    for number, period in enumerate(["2026-12", "2027-01"]):
        about = {"subscription_id": "S-1", "period": period}
        due = await page.event("billing.renewal.due", f"due-{number}", about)
        paid = await page.event("billing.renewal.paid", f"paid-{number}", about)
        await page.is_accepted(due)
        result = page.workflow(f"renewal/S-1/due-{number}").result()
        assert await asyncio.wait_for(result, 60) == f"renewed for {period}"
        await page.is_accepted(paid)
    assert not await here.letters()
