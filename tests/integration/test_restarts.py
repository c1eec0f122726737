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


async def test_stopping_commits_what_was_done_and_nothing_comes_again(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with site(kafka, temporal.address, tmp_path, ROUTES) as here:
        async with here.running(commit_seconds=3600):
            place = await here.send("kept", {"id": "stopped"})
            await here.outcomes(place)
            assert not any((await here.committed()).values())
        assert (await here.committed())[place.partition] == place.offset + 1
