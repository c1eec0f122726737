"""`turnout replay` on real servers: a topic's past acts by one new route, once, in order, and no further."""

from collections.abc import Sequence
from pathlib import Path

from service.local import LocalTemporal
from tests.integration.letters import Ended, called, listed, mend, told
from tests.integration.service import HEAD, Place, Site, site

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
WEIGH = """\
  - name: weigh
    from: @in
    type: placed
    start: {workflow: Keep, id: "@id/parcel-${data.id}-${data.n}", task_queue: @queue, input: "${data.w}"}
"""
NEW = OLD + NOTE
"""The same, and a route that was added later; it has nothing to do with number 3."""


async def placed(
    here: Site, keys: Sequence[str], numbers: Sequence[int], type_: str = "placed"
) -> list[Place]:
    return [await here.send(type_, {"id": key, "n": n}, key=key) for n in numbers for key in keys]


async def replayed(here: Site, *arguments: str, code: int = 0, route: str = "note") -> Ended:
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
            rehearsed = await replayed(here, "--dry-run")
            assert await told(here, "new-a") == [6, 7]
            done = await replayed(here, code=1)
            assert done.lines[:2] == rehearsed.lines[:2]
            assert all(line.endswith("to where the route went live") for line in done.lines[:2])
            counts = "20 records; 15 commands (15 signal); 4 left out (3 by its `when`, 1 of another type)"
            assert rehearsed.lines[2:] == [f"would be: {counts}; 1 letters (1 route)"]
            assert done.lines[2:] == [
                f"replayed: {counts}; 1 letters (1 route)",
                "became: 15 accepted, 1 dead-lettered",
            ]
            again = await replayed(here)
            assert "replayed: 0 records" in again.lines[-1]
            for key in keys:
                # What was live before comes first: nothing waits for the past.
                assert await told(here, f"new-{key}") == [6, 7, 0, 1, 2, 4, 5]
            assert await told(here, "old-a") == [*range(6), 9, 6, 7]
        (letter,) = [one for one in await listed(here) if one["route"] == "note"]
        assert letter["sends"] == 0
