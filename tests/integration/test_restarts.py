"""A service that stops has committed what it did, and one that starts again does nothing twice."""

from pathlib import Path

from service.local import LocalTemporal
from tests.integration.service import site

ROUTES = """
version: 1
topics:
  @in: {unmatched: skip}
  @out: {out: true}
routes:
  - name: echo
    from: @in
    type: placed
    start: {workflow: Echo, id: "@id/${data.id}", task_queue: @queue, args: ["${data}", @out]}
  - name: keep
    from: @in
    type: kept
    start: {workflow: Keep, id: "@id/${data.id}", task_queue: @queue, input: "${data}"}
  - name: note
    from: @in
    type: note
    signal: {to: "@id/${data.id}", name: note, input: "${data.n}"}
"""


async def test_a_record_delivered_again_after_a_restart_starts_nothing(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with site(kafka, temporal.address, tmp_path, ROUTES) as here:
        async with here.running():
            place = await here.send("placed", {"id": "redelivered"})
            await here.past(place)
            await here.workflow("redelivered").result()
            workflow = await here.started("redelivered")
        assert [said.kind for said in here.said(place)] == ["accepted"]
        await here.rewind(place)
        async with here.running():
            _, again = await here.outcomes(place, 2)
            await here.past(place)
        assert again.kind == "duplicate"
        assert (await here.started("redelivered")).run_id == workflow.run_id
        assert len(await here.read("out")) == 1
        assert not await here.letters()


async def test_signals_delivered_again_after_a_restart_reach_their_workflow_once(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with site(kafka, temporal.address, tmp_path, ROUTES) as here:
        async with here.running():
            await here.send("kept", {"id": "told"}, key="told")
            places = [await here.send("note", {"id": "told", "n": n}, key="told") for n in range(3)]
            await here.past(*places)
        await here.rewind(places[0])
        async with here.running():
            await here.outcomes(places[-1], 2)
            assert await here.workflow("told").query("noted") == [0, 1, 2]
        assert not await here.letters()


async def test_stopping_commits_what_was_done_and_nothing_comes_again(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with site(kafka, temporal.address, tmp_path, ROUTES) as here:
        async with here.running(commit_seconds=3600):
            place = await here.send("kept", {"id": "stopped"})
            await here.outcomes(place)
            assert not any((await here.committed()).values())
        assert (await here.committed())[place.partition] == place.offset + 1
