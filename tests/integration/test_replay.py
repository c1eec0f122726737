"""`turnout replay` on real servers: a topic's past acts by one new route, once, in order, and no further."""

import re
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from aiokafka.admin import RecordsToDelete
from aiokafka.structs import TopicPartition

from service.local import LocalTemporal
from tests.integration.letters import ROOT, Ended, called, listed, mend, start, told
from tests.integration.service import HEAD, Place, Site, site

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
    here: Site, keys: Sequence[str], numbers: Sequence[int], type_: str = "placed", **how: int
) -> list[Place]:
    return [await here.send(type_, {"id": key, "n": n}, key=key, **how) for n in numbers for key in keys]


async def replay(here: Site, *arguments: str, code: int = 0, route: str = "note") -> Ended:
    return await called(here, "replay", "--route", route, "--from", "1h", *arguments, code=code)


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
            rehearsed = await replay(here, "--dry-run")
            assert await told(here, "new-a") == [6, 7]
            done = await replay(here, code=1)
            assert done.lines[:2] == rehearsed.lines[:2]
            assert all(line.endswith("to where the route went live") for line in done.lines[:2])
            counts = "20 records; 15 commands (15 signal); 4 left out (3 by its `when`, 1 of another type)"
            assert rehearsed.lines[2:] == [f"would be: {counts}; 1 letters (1 route)"]
            assert done.lines[2:] == [
                f"replayed: {counts}; 1 letters (1 route)",
                "became: 15 accepted, 1 dead-lettered",
            ]
            again = await replay(here)
            assert "replayed: 0 records" in again.lines[-1]
            for key in keys:
                # What was live before comes first: nothing waits for the past.
                assert await told(here, f"new-{key}") == [6, 7, 0, 1, 2, 4, 5]
            assert await told(here, "old-a") == [*range(6), 9, 6, 7]
        (letter,) = [one for one in await listed(here) if one["route"] == "note"]
        assert letter["sends"] == 0


async def test_killed_in_the_middle_and_said_again_each_effect_is_there_once_and_only_one_is_at_work(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    keys = ("a", "b")
    async with site(kafka, temporal.address, tmp_path, OLD, topics=["in"], partitions=2) as here:
        async with here.running():
            await here.past(*await placed(here, keys, range(40)))
        mend(here, NEW + BEGIN)
        async with here.running():
            # Slow, so that it is there until it is killed.
            process = await start(here, "replay", "--route", "note", "--from", "1h", "--rate", "2")

            async def begun() -> int:
                return len(await told(here, "new-a"))

            await here.until(begun)
            refused = await replay(here, code=1)
            assert f"another command is at work in group {here.group}.replay.note" in refused.err
            process.kill()
            await process.communicate()
            before = sum([len(await told(here, f"new-{key}")) for key in keys])
            assert 0 < before < 78
            done = await replay(here)
            assert "goes on where a replay ended" in done.out
            for key in keys:
                assert await told(here, f"new-{key}") == [n for n in range(40) if n != 3]
            # A start that is asked for again is known by its id.
            await replay(here, route="begin")
            again = await replay(here, "--again", route="begin")
            assert again.lines[-1] == "became: 80 duplicate"
            assert await here.runs("WorkflowType = 'Keep'") == sorted(
                [f"begun-{key}-{n}" for key in keys for n in range(40)]
                + [f"{what}-{key}" for what in ("old", "new") for key in keys]
            )


async def test_before_the_route_goes_live_its_past_comes_first_and_the_rest_goes_on_from_there(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with site(kafka, temporal.address, tmp_path, OLD, topics=["in"], partitions=1) as here:
        async with here.running():
            await here.past(*await placed(here, ["a"], [0, 1]), *await placed(here, ["a"], [2], "other"))
            mend(here, NEW + FOLLOW)
            done = await replay(here)
            assert done.lines[0].endswith("offsets 0 to 2, to where the bridges are, without the route")
            await here.past(*await placed(here, ["a"], [4]))
        async with here.running():
            await here.past(*await placed(here, ["b"], [5]))
            done = await replay(here)
            assert done.lines[0].endswith(
                "goes on where a replay ended: offsets 3 to 3, to where the route went live"
            )
            await here.past(*await placed(here, ["a"], [6]))
            assert await told(here, "new-a") == [0, 1, 4, 6]
            # What comes too early for its workflow is parked, as by a bridge.
            done = await replay(here, route="follow")
            assert done.lines[-1] == "became: 1 parked"
            await called(here, "pause", "follow", "--because", "ticket 4713")
            paused = await replay(here, "--again", "--accept-repeats", route="follow", code=3)
            assert re.search(r"paused: route follow since .* by .*: ticket 4713; resume it", paused.err)
            rehearsed = await replay(here, "--again", "--accept-repeats", "--dry-run", route="follow")
            assert "a replay is refused while this is paused: route follow" in rehearsed.lines[0]


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
            live = await replay(here, "--from", "5d")
            assert live.lines == [
                f"{here.topics['in']}[0]: nothing, to where the route went live",
                "replayed: 0 records; 0 commands; 0 left out; 0 letters",
            ]
            old_ones = ("--from", "5d")
            refused = await replay(here, *old_ones, route="begin", code=1)
            assert "Temporal remembers 1 days, and records are older" in refused.err
            assert refused.err == (await replay(here, *old_ones, "--dry-run", route="begin", code=1)).err
            where = TopicPartition(here.topics["in"], 0)
            await here.admin.delete_records({where: RecordsToDelete(before_offset=1)})
            done = await replay(here, *old_ones, "--accept-repeats", route="begin")
            assert re.search(r"note: .*: what was written before .* is no longer in the topic", done.lines[0])
            assert done.lines[-1] == "became: 2 accepted"
        for route, said in {
            "beginn": "there is no route beginn in .*; did you mean begin?",
            "nothing-like-it": "there is no route nothing-like-it in .*; there are: answered, begin, note, old",
            "answered": "route answered completes calls, and nobody waits",
        }.items():
            assert re.search(said, (await replay(here, route=route, code=1)).err)
        assert "is not after --from" in (await replay(here, "--until", "2h", code=2)).err


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
