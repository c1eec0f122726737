"""`turnout replay` on real servers: a topic's past acts by one new route, once, in order, and no further."""

import asyncio
import re
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import RecordsToDelete
from aiokafka.structs import TopicPartition

from service.errors import ConfigurationError, NotNow
from service.local import LocalTemporal
from service.replay import Result, Told, rehearse_replay
from service.replay import replay as replay_
from service.replays.plan import Asked, Plan
from tests.integration.letters import ROOT, called, mend, start, told
from tests.integration.service import HEAD, Place, Site, headers_of, site

DAY_MS = 86_400_000
OLD = f"""{HEAD}\
routes:
  - name: old
    from: @in
    type: [placed, other]
    signal:
      to: "@id/old-${{data.id}}"
      name: note
      input: ${{data.n}}
      or_start: {{workflow: Keep, task_queue: @queue, input: "${{data}}"}}
"""
NOTE = """\
  - name: note
    from: @in
    type: placed
    when: data.n != 3
    signal:
      to: "@id/new-${data.id}"
      name: note
      input: ${data.n}
      or_start: {workflow: Keep, task_queue: @queue, input: "${data}"}
"""
BEGIN = """\
  - name: begin
    from: @in
    type: placed
    start: {workflow: Keep, id: "@id/begun-${data.id}-${data.n}", task_queue: @queue, input: "${data}"}
"""
FOLLOW = """\
  - name: follow
    from: @in
    type: other
    signal: {to: "@id/late-${data.id}", name: note, input: "${data.n}", missing: {park: 5m}}
"""
REPLY = """\
  - {name: answered, from: @in, type: answered, complete: {correlation: "${headers.c}", result: "${data}"}}
"""
NEW = OLD + NOTE
"""The same, and a route that was added later; it has nothing to do with number 3."""


async def placed(
    here: Site, keys: Sequence[str], numbers: Sequence[int], type_: str = "placed", **how: Any
) -> list[Place]:
    return [await here.send(type_, {"id": key, "n": n}, key=key, **how) for n in numbers for key in keys]


@dataclass(frozen=True, slots=True)
class Done:
    """A replay in this process: what was planned for each partition, and what became of it."""

    stretches: Sequence[str]
    warnings: Sequence[str]
    said: Sequence[str]
    result: Result

    @property
    def tally(self) -> str:
        return str(self.result.tally)

    @property
    def kinds(self) -> dict[str, int]:
        return {kind.value: count for kind, count in self.result.kinds.items()}


async def replay(
    here: Site, route: str = "note", days: float = 0.1, *, dry_run: bool = False, **asked: Any
) -> Done:
    """Replay within a block in which the service runs."""
    plans, said = list[Plan](), list[str]()
    told_to = Told(plans.append, lambda _: None, said.append)
    what = Asked(route=route, since=datetime.now(UTC) - timedelta(days=days), **asked)
    async with asyncio.timeout(60):
        result = (
            await rehearse_replay(here.settings, what, told_to)
            if dry_run
            else await replay_(here.settings, what, None, told_to, asyncio.Event())
        )
    (plan,) = plans
    return Done([str(one) for one in plan.stretches.values()], plan.warnings, said, result)


async def test_the_past_acts_by_the_new_route_alone_in_order_once_and_ends_where_that_went_live(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    keys = ("a", "b", "c")
    async with site(kafka, temporal.address, tmp_path, OLD, topics=["in"], partitions=2) as here:
        async with here.running():
            past = await placed(here, keys, range(6)) + await placed(here, ["a"], [9], "other")
            past.append(await here.send("placed", {"id": "a"}, key="a"))
            await here.past(*past)
        mend(here, NEW)
        async with here.running():
            await here.past(*await placed(here, keys, [6, 7]))
            rehearsed = await replay(here, dry_run=True)
            assert await told(here, "new-a") == [6, 7]
            done = await replay(here)
            assert done.stretches == rehearsed.stretches
            assert all(one.endswith("to where the route went live") for one in done.stretches)
            assert done.tally == rehearsed.tally
            counts = "20 records; 15 commands (15 signal); 4 left out (3 by its `when`, 1 of another type)"
            assert done.tally == f"{counts}; 1 letters (1 route)"
            assert (done.kinds, rehearsed.kinds) == ({"accepted": 15, "dead-lettered": 1}, {})
            assert (await replay(here)).result.tally.records == 0
            for key in keys:
                # What was live before comes first: nothing waits for the past.
                assert await told(here, f"new-{key}") == [6, 7, 0, 1, 2, 4, 5]
            assert await told(here, "old-a") == [*range(6), 9, 6, 7]
        headers = [headers_of(letter) for letter in await here.letters(past[-1])]
        assert sorted(one["turnout-route"] for one in headers) == ["note", "old"]


async def test_a_route_of_several_topics_acts_on_the_past_of_each_that_was_read_before(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    old = OLD.replace("routes:", "  @more: {}\n  @new: {}\nroutes:").replace(
        "from: @in", "from: [@in, @more]"
    )
    both = old + NOTE.replace("from: @in", "from: [@in, @more, @new]")
    topics = ["in", "more", "new"]
    async with site(
        kafka, temporal.address, tmp_path, old.replace("  @new: {}\n", ""), topics=topics
    ) as here:
        never_read = await placed(here, ["c"], [0], to="new")
        async with here.running():
            await here.past(*await placed(here, ["a"], [0, 1]), *await placed(here, ["b"], [0, 1], to="more"))
        mend(here, both)
        async with here.running():
            await here.past(*never_read, *await placed(here, ["b"], [2], to="more"))
            done = await replay(here)
            assert done.kinds == {"accepted": 4}
            assert await told(here, "new-a") == [0, 1]
            assert await told(here, "new-b") == [2, 0, 1]
            assert await told(here, "new-c") == [0]


async def test_killed_in_the_middle_and_said_again_each_effect_is_there_once_and_only_one_is_at_work(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    keys = ("a", "b")
    async with site(kafka, temporal.address, tmp_path, OLD, topics=["in"], partitions=2) as here:
        async with here.running():
            await here.past(*await placed(here, keys, range(30)))
        mend(here, NEW + BEGIN)
        async with here.running():
            # Slow, so that it is there until it is killed.
            process = await start(here, "replay", "--route", "note", "--from", "1h", "--rate", "1")

            async def stored() -> bool:
                return bool(await here.admin.list_consumer_group_offsets(f"{here.group}.replay.note"))

            await here.until(stored)
            alone = f"another command is at work in group {here.group}.replay.note"
            with pytest.raises(ConfigurationError, match=alone):
                await replay(here)
            process.kill()
            await process.communicate()
            before = sum([len(await told(here, f"new-{key}")) for key in keys])
            assert 0 < before < 58
            assert any("goes on where a replay ended" in one for one in (await replay(here)).stretches)
            for key in keys:
                assert await told(here, f"new-{key}") == [n for n in range(30) if n != 3]
            # A start that is asked for again is known by its id.
            assert (await replay(here, "begin")).kinds == {"accepted": 60}
            assert (await replay(here, "begin", again=True)).kinds == {"duplicate": 60}
            assert await here.runs("WorkflowType = 'Keep'") == sorted(
                [f"begun-{key}-{n}" for key in keys for n in range(30)]
                + [f"{what}-{key}" for what in ("old", "new") for key in keys]
            )


async def test_before_the_route_goes_live_its_past_comes_first_and_the_rest_goes_on_from_there(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with site(kafka, temporal.address, tmp_path, OLD, topics=["in"], partitions=1) as here:
        async with here.running():
            await here.past(*await placed(here, ["a"], [0, 1]), *await placed(here, ["a"], [2], "other"))
            mend(here, NEW + FOLLOW)
            (stretch,) = (await replay(here)).stretches
            assert stretch == "offsets 0 to 2, to where the bridges are, without the route"
            await here.past(*await placed(here, ["a"], [4]))
        async with here.running():
            await here.past(*await placed(here, ["b"], [5]))
            (stretch,) = (await replay(here)).stretches
            assert stretch == "goes on where a replay ended: offsets 3 to 3, to where the route went live"
            await here.past(*await placed(here, ["a"], [6]))
            assert await told(here, "new-a") == [0, 1, 4, 6]
            # What comes too early for its workflow is parked, as by a bridge.
            assert (await replay(here, "follow")).kinds == {"parked": 1}
            switchboard = here.client.get_workflow_handle(f"switchboard/{here.group}")
            await switchboard.signal("pause", {"name": "follow", "because": "ticket 4713", "by": "ada"})
            once_more = {"again": True, "accept_repeats": True}
            with pytest.raises(NotNow, match=r"paused: route follow since .* by ada: ticket 4713; resume it"):
                await replay(here, "follow", **once_more)
            (said,) = (await replay(here, "follow", dry_run=True, **once_more)).said
            assert said.startswith("a replay is refused while this is paused: route follow since")


async def test_what_would_take_effect_twice_is_refused_and_what_kafka_has_deleted_is_said(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    now = int(time.time() * 1000)
    async with site(kafka, temporal.address, tmp_path, NEW + REPLY, topics=["in"], partitions=1) as here:
        async with here.running():
            old = await placed(here, ["a"], [0, 1], timestamp_ms=now - 3 * DAY_MS)
            await here.past(*old, *await placed(here, ["a"], [2]))
        mend(here, NEW + REPLY + BEGIN)
        async with here.running():
            await here.past(*await placed(here, ["a"], [4]))
            assert (await replay(here, days=5)).stretches == ["nothing, to where the route went live"]
            for dry_run in (True, False):
                with pytest.raises(ConfigurationError, match="remembers 1 days, and records are older"):
                    await replay(here, "begin", days=5, dry_run=dry_run)
            where = TopicPartition(here.topics["in"], 0)
            await here.admin.delete_records({where: RecordsToDelete(before_offset=1)})
            done = await replay(here, "begin", days=5, accept_repeats=True)
            assert re.search(r"what was written before .* is no longer in the topic", done.warnings[0])
            assert done.kinds == {"accepted": 2}
            for route, said in {
                "beginn": "there is no route beginn in .*; did you mean begin?",
                "no-such-one": "there is no route no-such-one in .*; there are: answered, begin, note, old",
                "answered": "route answered completes calls, and nobody waits",
            }.items():
                with pytest.raises(ConfigurationError, match=said):
                    await replay(here, route)


# --- the documentation ---


def _documented() -> list[str]:
    text = (ROOT / "docs/operate.md").read_text()
    section = re.search(r"^## The past through a new route$(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    assert section
    blocks = re.findall(r"^```sh\n(.*?)^```", section[1], re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines()]


async def test_each_command_of_the_documentation_does_what_it_says(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    routes = NEW.replace("name: note\n    from", "name: points-earned\n    from")
    async with site(kafka, temporal.address, tmp_path, OLD, topics=["in"], partitions=1) as here:
        async with here.running():
            await here.past(*await placed(here, ["a"], range(3)))
            mend(here, routes)
            expected = [
                r"^would be: 3 records; 3 commands \(3 signal\); 0 left out; 0 letters$",
                r"^became: 3 accepted$",
                r"^replayed: 0 records",
            ]
            for command, text in zip(_documented(), expected, strict=True):
                program, *arguments = shlex.split(command)
                assert program == "turnout"
                said = await called(here, *arguments)
                assert re.search(text, said.out, re.MULTILINE), said.out
        assert await told(here, "new-a") == [0, 1, 2]
