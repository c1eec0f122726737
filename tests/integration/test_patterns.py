"""Topics that match a pattern: those that come while the bridge runs, those that go, and one by its name."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from service.kafka import source
from service.kafka.connection import Connection
from service.kafka.record import Commit, Partition
from service.local import LocalTemporal
from service.temporal.switchboard import switchboard_id
from service.trial import Tried, routes_to_try, try_routes
from tests.integration.letters import called, mend
from tests.integration.service import Place, Site, site
from tests.integration.test_health import is_ready, probing
from tests.integration.test_replay import replay
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
MENDED = TENANTS.replace("${data.id}", "${data.?id.orValue('none')}")
LATER = """\
  - {name: later, from: "@id.t-*", type: kept, cancel: {to: "@id/later/${data.id}"}}
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

    async def says(self, event: str, name: str = "") -> None:
        """Wait until the log says it, of that topic if one is named."""

        async def said() -> bool:
            return any(
                line["event"] == event and (not name or line["topic"] == self.here.topics[name])
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
        ask = probing(here)
        async with here.running():
            await here.until(is_ready(ask))
            _, told = await ask("/readyz")
            assert told["patterns"] == {f"{here.group}.t-*": []}
            waits = [line for line in here.lines if line["event"].startswith("no topic matches yet")]
            assert [line["pattern"] for line in waits] == [f"{here.group}.t-*"]
            await all_.come("acme")
            first = await all_.send("acme", 1)
            await all_.is_accepted(first)
            assert await here.described("acme/1")
            assert (await here.committed("acme"))[0] == 1
            _, told = await ask("/readyz")
            assert told["patterns"] == {f"{here.group}.t-*": [here.topics["acme"]]}


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


async def test_the_commands_take_real_topics_and_patterns(
    kafka: str, temporal: LocalTemporal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal.address)
    async with tenants(kafka, temporal, tmp_path, TENANTS) as all_:
        here = all_.here
        await all_.come("acme")
        await all_.come("globex")
        acme, pattern = here.topics["acme"], f"{here.group}.t-*"
        async with here.running():
            await all_.is_accepted(await all_.send("acme", 1))
            bad = await here.send("kept", {}, to="acme")
            await here.past(bad, await all_.send("globex", 1))
            assert len(await here.letters(bad)) == 1
            board = here.client.get_workflow_handle(switchboard_id(here.group))
            await board.signal("pause", acme)
            await all_.says("paused")
            held = await all_.send("acme", 2)
            await all_.is_accepted(await all_.send("globex", 2))
            assert not here.said(held)
            await board.signal("resume", acme)
            await all_.is_accepted(held)
        tried = await tried_with(here, [pattern])
        assert {partition.topic: len(span) for partition, span in tried.held.items()} == {
            acme: 3,
            here.topics["globex"]: 2,
        }
        assert (tried.tally.records, tried.tally.failing) == (5, 1)
        mend(here, MENDED + LATER)
        rehearsed = await replay(here, "later", dry_run=True)
        assert rehearsed.stretches == [
            f"offsets 0 to {last}, to where the bridges are, without the route" for last in (2, 1)
        ]
        await called(here, "letters", "send", "--all")
        assert await here.described("acme/none")


async def tried_with(here: Site, topics: list[str]) -> Tried:
    to_try = routes_to_try(here.settings, here.settings.routes, None)
    said: list[int] = []
    return await try_routes(
        here.settings, to_try, topics, 100, counted=said.append, moved=said.append, stop=asyncio.Event()
    )


async def test_a_static_member_that_comes_back_reads_what_came_while_it_was_away(kafka: str) -> None:
    """Else the broker would give it what it had, until the next rebalance."""
    group = f"g-{uuid.uuid4().hex[:12]}"
    have: set[str] = set()

    async def revoked(_: frozenset[Partition]) -> None:
        have.clear()

    def assigned(commits: Mapping[Partition, Commit]) -> None:
        have.update(partition.topic.removeprefix(f"{group}.") for partition in commits)

    @asynccontextmanager
    async def member() -> AsyncIterator[None]:
        one = source.KafkaSource(
            Connection(kafka),
            group=group,
            topics=[f"{group}.t-*", f"{group}.named"],
            revoked=revoked,
            assigned=assigned,
            instance="one",
            drain=timedelta(seconds=1),
        )
        await one.start()
        try:
            await have_come(one)
            yield
        finally:
            await one.stop()

    async def have_come(one: source.KafkaSource) -> None:
        async with asyncio.timeout(40):
            while have != expected:
                await one.poll([], 1)

    expected = {"t-a", "named"}
    for name in expected:
        await create_topic(kafka, f"{group}.{name}", partitions=1)
    async with member():
        pass
    have.clear()
    expected = {"t-a", "named", "t-b"}
    await create_topic(kafka, f"{group}.t-b", partitions=1)
    async with member():
        pass
