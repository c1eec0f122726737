"""The checker finds each build that is broken on purpose, by the one fault that shows it.

Each fault is put to the sound build too, or what was found would be the fault's own doing.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from aiokafka import TopicPartition

from service.local import Child, LocalTemporal
from tests.delivery.checker import MAY_COME, Report, check
from tests.delivery.group import caught_up, group, log_lines, observe, process, running, set_topic, settled
from tests.delivery.ledger import Ledger, ledger
from tests.delivery.wire import Wire, wire
from tests.integration.proxy import Mode
from tests.integration.service import PATIENCE_SECONDS, Site
from tests.servers import ApacheKafka, random_port, why_no_apache_kafka

SETTLE_SECONDS = 3
DAY_SECONDS = 86_400
SOON = timedelta(seconds=20)
NOTHING_YET = "nothing holds this"
"""To be able to hold something later, connections must be read call by call from the start."""


@dataclass
class Scene:
    """A group before a Temporal that can be cut off, with the processes that were started for it."""

    here: Site
    told: Ledger
    before_temporal: Wire
    folder: Path
    stack: AsyncExitStack
    children: list[Child] = field(default_factory=list)

    async def start(self, build: str, command: str = "run", **env: str) -> Child:
        child = process(self.here, command, self.folder, build=build, name=f"{len(self.children)}", **env)
        await self.stack.enter_async_context(running(child))
        self.children.append(child)
        return child

    async def says(self, child: Child, event: str, count: int = 1) -> None:
        """Wait until the process has logged `event` so often."""

        async def said() -> bool:
            assert child.alive, child.tail()
            return [line["event"] for line in log_lines(child)].count(event) >= count

        await self.here.until(said)

    async def is_given(self, child: Child, count: int) -> None:
        """Wait until the process has so many records in hand, or has committed them."""

        async def given() -> bool:
            held = [line["records"] for line in log_lines(child) if line["event"] == "held"]
            return max(held, default=0) >= count or sum((await self.here.committed()).values()) >= count

        await self.here.until(given)

    async def holds(self) -> bool:
        return self.before_temporal.holding.is_set()

    async def is_turned_down(self) -> bool:
        return self.before_temporal.turned_down > 0

    async def has_committed_something(self) -> bool:
        found = await self.here.admin.list_consumer_group_offsets(self.here.group)
        return any(at.offset or at.metadata for at in found.values())

    async def has_continued(self) -> bool:
        runs = [
            run async for run in self.here.client.list_workflows(f"WorkflowId = '{self.here.group}/rec/k'")
        ]
        return len(runs) > 1

    async def has_been_tidied(self) -> None:
        """Wait until the broker has deleted all that it may, from all topics."""
        place = TopicPartition(self.here.topics["out"], 0)
        await set_topic(self.here, "out", {"retention.ms": str(DAY_SECONDS * 1000)})

        async def is_gone(offset: int) -> bool:
            begins: int = (await self.here.reader.beginning_offsets([place]))[place]
            return begins > offset

        # The first may be gone while the broker has yet to look at other topics; then comes the next.
        for _ in range(2):
            old = await self.here.write(b"", to="out", partition=0, timestamp_ms=1)
            await self.here.until(partial(is_gone, old.offset))

    async def is_past(self) -> None:
        await self.here.until(lambda: caught_up(self.here))

    async def finds(self, found: Mapping[str, int], *, past: bool = True) -> None:
        """Assert what the checker finds, once the group has committed all and what is under way has come.

        Without `past`, some of it may be left for ever.
        """
        if past:
            await self.is_past()

        async def look() -> dict[str, int]:
            return faults(check(await observe(self.here, self.told, self.children)))

        def has_come(seen: Mapping[str, int]) -> bool:
            return not seen.keys() & MAY_COME

        def is_found(seen: Mapping[str, int]) -> bool:
            return seen == found

        if found.keys() & MAY_COME:
            await settled(look, seconds=SETTLE_SECONDS, done=has_come)
            assert await settled(look, seconds=PATIENCE_SECONDS, done=is_found) == found
        else:
            assert await settled(look, seconds=PATIENCE_SECONDS, done=has_come) == found


@asynccontextmanager
async def scene(
    kafka: str,
    temporal: LocalTemporal,
    folder: Path,
    *,
    limit: int = 50,
    move_to: str = "",
    window: int = 2_000,
    hold: str = "",
) -> AsyncIterator[Scene]:
    """A scene; calls to Temporal that hold the text `hold` are held back from the start."""
    async with (
        wire(temporal.address, random_port()) as before_temporal,
        group(kafka, before_temporal.address, folder, limit=limit, move_to=move_to, window=window) as here,
        ledger(kafka, here.topics["in"]) as told,
        AsyncExitStack() as stack,
    ):
        if hold:
            before_temporal.hold(hold.encode())
        yield Scene(here, told, before_temporal, folder, stack)


def faults(report: Report) -> dict[str, int]:
    return {name: figure.count for name, figure in report.faults.items()}


@pytest.mark.parametrize(("build", "found"), [("sound", {}), ("no-ids", {"duplicated": 3})])
async def test_without_ids_and_inbox_a_record_written_twice_takes_effect_twice(
    kafka: str, temporal: LocalTemporal, tmp_path: Path, build: str, found: dict[str, int]
) -> None:
    async with scene(kafka, temporal, tmp_path) as it:
        await it.start(build)
        await it.told.event("opened")
        for _ in range(2):
            for n in range(1, 4):
                await it.told.event("noted", number=n)
        await it.finds(found)


@pytest.mark.parametrize(("build", "found"), [("sound", {}), ("inbox-by-event", {"lost": 1})])
async def test_an_inbox_that_knows_the_event_alone_swallows_the_second_signal_of_one_event(
    kafka: str, temporal: LocalTemporal, tmp_path: Path, build: str, found: dict[str, int]
) -> None:
    async with scene(kafka, temporal, tmp_path) as it:
        await it.start(build)
        await it.told.event("opened")
        await it.told.event("noted.twice", number=1)
        await it.finds(found)


@pytest.mark.parametrize(("build", "found"), [("sound", {}), ("commit-before-start", {"lost": 2})])
async def test_committing_before_the_start_loses_what_a_killed_bridge_had_in_hand(
    kafka: str, temporal: LocalTemporal, tmp_path: Path, build: str, found: dict[str, int]
) -> None:
    async with scene(kafka, temporal, tmp_path) as it:
        first = await it.start(build, "bridge")
        await it.says(first, "rebalance")
        it.before_temporal.become(Mode.SILENT)
        await it.told.event("ordered", "a", 1)
        await it.told.event("ordered", "b", 1)
        await (it.is_given(first, 2) if build == "sound" else it.is_past())
        first.kill()
        it.before_temporal.become(Mode.FORWARD)
        await it.start(build)
        await it.finds(found)


@pytest.mark.parametrize(("build", "found"), [("sound", {}), ("highest-seen", {"lost": 1})])
async def test_committing_the_highest_offset_loses_the_slow_record_below_it(
    kafka: str, temporal: LocalTemporal, tmp_path: Path, build: str, found: dict[str, int]
) -> None:
    async with scene(kafka, temporal, tmp_path, hold="slow.0001") as it:
        first = await it.start(build, "bridge")
        await it.told.event("ordered", "slow", 1, partition=0)
        await it.here.until(it.holds)
        await it.told.event("ordered", "quick", 1, partition=0)
        await it.says(first, "accepted")
        await it.here.until(it.has_committed_something)
        first.kill()
        it.before_temporal.drop()
        await it.start(build)
        await it.finds(found)


@pytest.mark.parametrize(("build", "found"), [("sound", {}), ("unordered-lanes", {"reordered": 1})])
async def test_without_lanes_a_record_passes_the_slow_one_of_its_key(
    kafka: str, temporal: LocalTemporal, tmp_path: Path, build: str, found: dict[str, int]
) -> None:
    async with scene(kafka, temporal, tmp_path, hold="k.0001") as it:
        bridge = await it.start(build)
        await it.told.event("opened")
        await it.is_past()
        await it.told.event("noted", number=1)
        await it.here.until(it.holds)
        await it.told.event("noted", number=2)
        await it.is_given(bridge, 2)
        if build != "sound":
            await it.says(bridge, "accepted", 2)
        it.before_temporal.release()
        await it.finds(found)


@pytest.mark.parametrize(("build", "found"), [("sound", {}), ("late-window", {"duplicated": 2})])
async def test_a_window_read_when_the_workflow_begins_misses_the_repeats_before_it(
    kafka: str, temporal: LocalTemporal, tmp_path: Path, build: str, found: dict[str, int]
) -> None:
    # The second run waits on a task queue without a worker until the repeats have come.
    later = f"later-{uuid.uuid4().hex[:8]}"
    async with scene(kafka, temporal, tmp_path, limit=2, move_to=later) as it:
        await it.start(build)
        await it.told.event("opened")
        for _ in range(2):
            await it.told.event("noted", number=1)
            await it.told.event("noted", number=2)
            await it.here.until(it.has_continued)
        await it.is_past()
        await it.start(build, "worker", TURNOUT_WORKER__TASK_QUEUE=later)
        await it.finds(found)


@pytest.mark.parametrize(("build", "found"), [("sound", {}), ("empty-poll", {"overrun": 4})])
async def test_polling_an_empty_list_takes_in_more_than_the_window(
    kafka: str, temporal: LocalTemporal, tmp_path: Path, build: str, found: dict[str, int]
) -> None:
    async with scene(kafka, temporal, tmp_path, window=4) as it:
        bridge = await it.start(build)
        await it.says(bridge, "rebalance")
        it.before_temporal.become(Mode.SILENT)
        for n in range(4):
            await it.told.event("ordered", f"k{n}", 1)
        await it.is_given(bridge, 4)
        for n in range(4, 8):
            await it.told.event("ordered", f"k{n}", 1)
        # The sound one polls on meanwhile, and is given nothing.
        await (it.is_given(bridge, 8) if found else asyncio.sleep(1))
        it.before_temporal.become(Mode.FORWARD)
        await it.finds(found)


@pytest.mark.parametrize(("build", "found"), [("sound", {}), ("rejected-by-proxy", {"misjudged": 2})])
async def test_a_proxys_404_taken_for_a_rejection_makes_letters_of_good_events(
    kafka: str, temporal: LocalTemporal, tmp_path: Path, build: str, found: dict[str, int]
) -> None:
    async with scene(kafka, temporal, tmp_path) as it:
        bridge = await it.start(build)
        await it.says(bridge, "rebalance")
        it.before_temporal.become(Mode.NOT_FOUND)
        for n in range(2):
            await it.told.event("ordered", f"k{n}", 1)
        await it.here.until(it.is_turned_down)
        if build != "sound":
            await it.says(bridge, "dead-lettered", 2)
        it.before_temporal.become(Mode.FORWARD)
        await it.finds(found)


@pytest.mark.parametrize(("build", "found"), [("sound", {}), ("parks-in-memory", {"reordered": 1})])
async def test_a_bridge_that_does_not_ask_passes_what_the_one_before_it_has_parked(
    kafka: str, temporal: LocalTemporal, tmp_path: Path, build: str, found: dict[str, int]
) -> None:
    async with scene(kafka, temporal, tmp_path, hold=NOTHING_YET) as it:
        first = await it.start(build, "bridge")
        await it.told.event("late", number=1)
        await it.says(first, "parked")
        await it.is_past()
        # In good order: the park learns of a try that died with its bridge after half a minute only.
        await first.terminate(SOON)
        it.before_temporal.hold(b"k.0001.late")
        second = await it.start(build)
        await it.told.event("begun")
        await it.says(second, "accepted")
        await it.told.event("late", number=2)
        await (it.says(second, "accepted", 2) if found else it.says(second, "parked"))
        it.before_temporal.release()
        await it.finds(found)


@pytest.mark.parametrize(("build", "found"), [("sound", {}), ("start-ends-park", {"reordered": 1})])
async def test_a_bridge_that_takes_a_start_for_the_end_of_the_park_passes_what_is_in_it(
    kafka: str, temporal: LocalTemporal, tmp_path: Path, build: str, found: dict[str, int]
) -> None:
    async with scene(kafka, temporal, tmp_path, hold=NOTHING_YET) as it:
        bridge = await it.start(build)
        await it.told.event("late", number=1)
        await it.says(bridge, "parked")
        it.before_temporal.hold(b"k.0001.late")
        await it.told.event("begun")
        await it.told.event("late", number=2)
        await (it.says(bridge, "accepted", 2) if found else it.says(bridge, "parked", 2))
        it.before_temporal.release()
        await it.finds(found)


@pytest.mark.parametrize(("build", "found"), [("sound", {}), ("start-waits", {"left_parked": 1, "lost": 2})])
async def test_a_start_that_waits_for_the_park_waits_for_what_waits_for_it(
    kafka: str, temporal: LocalTemporal, tmp_path: Path, build: str, found: dict[str, int]
) -> None:
    async with scene(kafka, temporal, tmp_path) as it:
        await it.start(build)
        await it.told.event("late", number=1)
        await it.told.event("begun")
        await it.told.event("late", number=2)
        await it.finds(found, past=not found)


@pytest.mark.parametrize(("build", "found"), [("sound", {}), ("async-park", {"lost": 3})])
async def test_a_park_whose_handler_takes_its_time_closes_without_what_came(
    kafka: str, temporal: LocalTemporal, tmp_path: Path, build: str, found: dict[str, int]
) -> None:
    async with scene(kafka, temporal, tmp_path) as it:
        bridge = await it.start(build)
        for n in range(1, 4):
            await it.told.event("late", number=n)
        await it.says(bridge, "parked", 3)
        await it.told.event("begun")
        await it.finds(found)


@pytest.fixture(scope="module")
async def tidy_kafka(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ApacheKafka]:
    """A broker that looks five times a second for what is past its retention."""
    if missing := why_no_apache_kafka():
        pytest.skip(f"needs {missing}")
    looks = {"log.retention.check.interval.ms": "200", "log.initial.task.delay.ms": "200"}
    broker = ApacheKafka(tmp_path_factory.mktemp("tidy"), overrides=looks)
    try:
        await broker.start()
        yield broker
    finally:
        broker.kill()


@pytest.mark.parametrize(("build", "found"), [("sound", {}), ("backdated-letters", {"lost": 2})])
async def test_letters_with_the_time_of_their_records_are_gone_at_once_where_that_is_long_ago(
    tidy_kafka: ApacheKafka,
    temporal: LocalTemporal,
    tmp_path: Path,
    build: str,
    found: dict[str, int],
) -> None:
    async with scene(tidy_kafka.address, temporal, tmp_path) as it:
        await set_topic(it.here, "letters", {"retention.ms": str(DAY_SECONDS * 1000)})
        bridge = await it.start(build)
        long_ago = time.time() - 2 * DAY_SECONDS
        await it.told.event("opened", at=long_ago)
        await it.told.event("spoilt", number=1, at=long_ago)
        await it.told.event("split", number=2, at=long_ago)
        await it.says(bridge, "dead-lettered", 2)
        await it.is_past()
        await it.has_been_tidied()
        await it.finds(found)
