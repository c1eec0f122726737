"""Topics that match a pattern: those that come while the bridge runs, those that go, and one by its name."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from service.kafka import source
from service.local import LocalTemporal
from tests.integration.service import Place, Site, site
from tests.servers import create_topic

TENANTS = """
version: 1
topics:
  "@id.t-*": {}
routes:
  - name: tenant
    from: "@id.t-*"
    type: kept
    start: {workflow: Keep, id: "@id/${record.topic.split('t-')[1]}/${data.id}", task_queue: @queue,
            input: "${data}"}
"""
WITH_A_NAMED_ONE = TENANTS.replace("routes:", '  "@id.t-own": {unmatched: skip}\nroutes:')
OWN_ROUTE = """\
  - name: own
    from: "@id.t-own"
    type: kept
    start: {workflow: Keep, id: "@id/by-name/${data.id}", task_queue: @queue, input: "${data}"}
"""


@pytest.fixture(autouse=True)
def _looked_for_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "FIND_SECONDS", 0.3)


class Tenants:
    """A site whose topics come and go."""

    def __init__(self, here: Site) -> None:
        self.here = here
        self._topics = here.topics

    async def come(self, name: str) -> None:
        """Create the topic `t-<name>`."""
        topic = f"{self.here.group}.t-{name}"
        await create_topic(self.here.settings.kafka.bootstrap_servers, topic, partitions=1)
        assert isinstance(self._topics, dict)
        self._topics[name] = topic

    async def go(self, name: str) -> None:
        await self.here.admin.delete_topics([self.here.topics[name]])

    async def says(self, event: str, name: str) -> None:
        """Wait until the log says it of the topic."""

        async def said() -> bool:
            return any(
                line["event"] == event and line.get("topic") == self.here.topics[name]
                for line in self.here.lines
            )

        await self.here.until(said)

    async def send(self, name: str, id_: int | str) -> Place:
        return await self.here.send("kept", {"id": str(id_)}, key=str(id_), to=name)

    async def is_accepted(self, place: Place, route: str = "tenant") -> None:
        await self.here.past(place)
        assert [(said.kind, said.route) for said in self.here.said(place)] == [("accepted", route)]


@asynccontextmanager
async def tenants(kafka: str, temporal: LocalTemporal, folder: Path, routes: str) -> AsyncIterator[Tenants]:
    async with site(kafka, temporal.address, folder, routes, topics=()) as here:
        yield Tenants(here)


async def test_where_nothing_matches_the_bridge_waits_and_takes_up_what_comes_from_its_first_record(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with tenants(kafka, temporal, tmp_path, TENANTS) as all_:
        here = all_.here
        async with here.running():

            async def ready() -> bool:
                return any(line["event"] == "bridge ready" for line in here.lines)

            await here.until(ready)
            waits = [line for line in here.lines if line["event"].startswith("no topic matches yet")]
            assert [line["pattern"] for line in waits] == [f"{here.group}.t-*"]
            await all_.come("acme")
            first = await all_.send("acme", 1)
            await all_.is_accepted(first)
            assert await here.described("acme/1")
            assert (await here.committed("acme"))[0] == 1


async def test_topics_come_and_go_and_the_rest_is_handled_once_and_a_name_wins(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with tenants(kafka, temporal, tmp_path, WITH_A_NAMED_ONE + OWN_ROUTE) as all_:
        here = all_.here
        await all_.come("own")
        await all_.come("old")
        async with here.running():
            await all_.is_accepted(await all_.send("own", "a"), "own")
            assert await here.described("by-name/a")
            # While records flow, so that some are in flight when the partitions are let go.
            flow = asyncio.create_task(flowing(all_, "old"))
            await all_.come("new")
            first = await all_.send("new", "first")
            await all_.says("topic found", "new")
            await all_.is_accepted(first)
            flow.cancel()
            sent = await flow
            await here.past(sent[-1])
            assert len(sent) > 5
            for place in sent:
                assert [said.kind for said in here.said(place)] == ["accepted"], place
            await all_.go("old")
            await all_.says("topic gone", "old")
            await all_.is_accepted(await all_.send("new", "later"))
            await all_.is_accepted(await all_.send("own", "later"), "own")
            await all_.come("old")
            await all_.send("old", "again")
            await here.started("old/again")


async def flowing(all_: Tenants, name: str) -> list[Place]:
    """Sends until it is cancelled; what it sent."""
    sent: list[Place] = []
    try:
        while True:
            sent.append(await asyncio.shield(all_.send(name, len(sent))))
            await asyncio.sleep(0.02)
    except asyncio.CancelledError:
        return sent
