"""Records that expired stop their partition, and a person says where it goes on."""

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import structlog
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from service.local import LocalTemporal
from tests.integration.service import Place, Site, site
from tests.pages import page

ROOT = Path(__file__).parents[2]
ROUTES = """
version: 1
topics:
  @in: {}
routes:
  - name: keep
    from: @in
    type: kept
    start: {workflow: Keep, id: "@id/${data.id}", task_queue: @queue, input: "${data}"}
"""


async def test_a_partition_whose_records_expired_goes_on_where_a_person_said_while_the_bridge_runs(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with site(kafka, temporal.address, tmp_path, ROUTES, partitions=2) as here:
        await _read_one_record_of_each(here)
        lost = await _send(here, 0, ["lost-1", "lost-2"])
        there = await _send(here, 0, ["there-1", "there-2"])
        await _expire(here, before=there[0])
        async with here.running():
            line = await _logged(here, "partition stopped")
            assert (line["topic"], line["partition"], line["offset"]) == (here.topics["in"], 0, 1)
            assert f"turnout seek {here.topics['in']}/0 --to" in line["reason"]
            others = await _send(here, 1, ["other-1", "other-2"])
            await here.past(*others)
            assert await here.committed() == {0: 1, 1: 3}
            said = await _turnout_seek(here, *_documented())
            assert f"{here.topics['in']}[0] goes on at 3; it was stuck at 1 (it holds 3 to 4)." in said
            assert "gone before they were read: offsets 1 to 2, at most 2 records" in said
            assert "skipped" not in said
            await here.past(*there)
            line = await _logged(here, "partition goes on")
            assert (line["offset"], line["instead_of"]) == (3, 1)
            assert line["said"].endswith(" because=the gap is known, ticket 4711")
            await here.past(*await _send(here, 0, ["new"]))
        assert not any(here.said(place) for place in lost)
        started = ["first-0", "first-1", "new", "other-1", "other-2", "there-1", "there-2"]
        assert await _started(here, started) == started
        assert not await here.letters()


async def test_what_a_person_says_while_no_bridge_runs_is_done_by_the_next_one(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with site(kafka, temporal.address, tmp_path, ROUTES, partitions=2) as here:
        await _read_one_record_of_each(here)
        _, left_out, there = await _send(here, 0, ["lost", "left-out", "there"])
        await _expire(here, before=left_out)
        said = await _turnout_seek(here, "--to", str(there.offset))
        assert "gone before they were read: offset 1\n" in said
        assert "skipped, though they are there: offset 2\n" in said
        assert (await here.committed())[0] == 1
        async with here.running():
            await here.past(there)
        assert await _started(here, ["first-0", "first-1", "there"]) == ["first-0", "first-1", "there"]
        assert not await here.letters()


async def test_what_was_said_once_does_not_act_when_records_expire_again(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with site(kafka, temporal.address, tmp_path, ROUTES, partitions=2) as here:
        await _read_one_record_of_each(here)
        _, there = await _send(here, 0, ["lost", "there"])
        await _expire(here, before=there)
        await _turnout_seek(here, "--to", "latest")
        async with here.running():
            await _logged(here, "partition goes on")
        # `latest`: nothing was read, and the group still knows where it is.
        assert (await here.committed())[0] == there.offset + 1
        _, again = await _send(here, 0, ["lost-again", "there-again"])
        await _expire(here, before=again)
        here.lines.clear()
        async with here.running():
            await _logged(here, "partition stopped")
            ignored = "seek ignored: it was said for another offset; say it again if it is still meant"
            line = await _logged(here, ignored)
            assert (line["said_for"], line["stuck_at"]) == (1, there.offset + 1)
            await here.past(*await _send(here, 1, ["other"]))
            assert not _lines(here, "partition goes on")
            await _turnout_seek(here, "--to", "earliest")
            await here.past(again)
        started = ["first-0", "first-1", "other", "there-again"]
        assert await _started(here, started) == started


async def test_a_healthy_group_is_not_moved(kafka: str, temporal: LocalTemporal, tmp_path: Path) -> None:
    async with site(kafka, temporal.address, tmp_path, ROUTES, partitions=2) as here:
        await _read_one_record_of_each(here)
        said = await _turnout_seek(here, "--to", "latest", exit_code=1)
        assert said.startswith(
            f"turnout: {here.topics['in']}[0] is not stuck: group {here.group} goes on at offset 1"
        )
        assert "kafka-consumer-groups.sh" in said


async def _read_one_record_of_each(here: Site) -> None:
    async with here.running():
        places = [await here.send("kept", {"id": f"first-{n}"}, partition=n) for n in range(2)]
        await here.past(*places)


async def _send(here: Site, partition: int, names: Sequence[str]) -> list[Place]:
    return [await here.send("kept", {"id": name}, partition=partition) for name in names]


async def _expire(here: Site, *, before: Place) -> None:
    place = TopicPartition(before.topic, before.partition)
    await here.admin.delete_records({place: RecordsToDelete(before.offset)})


def _lines(here: Site, event: str) -> list[structlog.typing.EventDict]:
    return [line for line in here.lines if line["event"] == event]


async def _logged(here: Site, event: str) -> structlog.typing.EventDict:
    """Wait for a line of the log."""

    async def lines() -> list[structlog.typing.EventDict]:
        return _lines(here, event)

    return (await here.until(lines))[0]


def _documented() -> list[str]:
    """The options of the command that the documentation gives."""
    [(_, *options)] = page("docs/operate.md").commands("turnout", "seek")
    return options


async def _turnout_seek(here: Site, *options: str, exit_code: int = 0) -> str:
    """What the command says for partition 0, in a process of its own."""
    argv = [sys.executable, "-W", "error", "-m", "service", "seek", f"{here.topics['in']}/0", *options]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *argv, cwd=ROOT, env=os.environ | here.env, stdout=pipe, stderr=pipe
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode == exit_code, out + err
    assert not (out and err)
    return (out or err).decode()


async def _started(here: Site, expected: Sequence[str]) -> list[str]:
    """What was started, when it is all listed."""

    async def all_listed() -> bool:
        return len(await here.runs()) >= len(expected)

    await here.until(all_listed)
    return await here.runs()
