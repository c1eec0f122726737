"""A record that holds its lane or its partition becomes a letter when a person gives up on it."""

import asyncio
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
import structlog

from service import expressions
from service.intake import loop, readiness
from service.kafka.raw import MENDED
from service.kafka.record import Record
from service.local import Child, LocalTemporal
from tests.integration.service import Place, Site, headers_of, site
from tests.pages import page

ROOT = Path(__file__).parents[2]
ROUTES = """
version: 1
topics:
  @in: {unmatched: skip}
routes:
  - name: first
    from: @in
    type: [kept, both]
    start: {workflow: Keep, id: "@id/${data.id}", task_queue: @queue, input: "${data}"}
  - name: stuck
    from: @in
    type: [stuck, both]
    start: {workflow: Keep, id: "@id/stuck-${data.id}", task_queue: "/_sys/none", input: "${data}"}
  - name: last
    from: @in
    type: both
    start: {workflow: Keep, id: "@id/last-${data.id}", task_queue: @queue, input: "${data}"}
"""
ANSWER = "Temporal answered INVALID_ARGUMENT"
NOT_RESERVED = "from service import expressions; expressions.RESERVED_TASK_QUEUES = '?'"
COMMITS_NEVER = "from service.intake import loop; loop.COMMIT_SECONDS = 3600.0"
MAIN = "from service.__main__ import main; main()"


@pytest.fixture
async def here(
    kafka: str, temporal: LocalTemporal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Site]:
    # As if it were not known that Temporal refuses such a task queue.
    monkeypatch.setattr(expressions, "RESERVED_TASK_QUEUES", "?")
    monkeypatch.setattr(loop, "REPORT_SECONDS", 0.2)
    monkeypatch.setattr(readiness, "PATIENCE_SECONDS", 0.1)
    async with site(kafka, temporal.address, tmp_path, ROUTES, topics=["in"], partitions=1) as here:
        yield here


async def test_a_record_that_waits_becomes_a_letter_of_its_route_and_those_behind_it_go_on_in_order(
    here: Site,
) -> None:
    async with here.running():
        stuck = await here.send("both", {"id": "stuck"}, key="a")
        behind = [await here.send("kept", {"id": f"behind-{n}"}, key="a") for n in range(2)]
        line = await _waits(here, stuck)
        assert line["to_give_up"] == f"turnout letters add {_path(stuck)} --because …"
        assert not any(here.said(place) for place in behind)
        add, because = _documented()
        said = await _turnout(here, "letters", "add", _path(stuck), *add)
        assert f"it is the first record of its partition that group {here.group} has not done" in said
        await here.past(stuck, *behind)
        assert [(one.kind, one.route) for one in await here.outcomes(stuck, 3)] == [
            ("accepted", "first"),
            ("dead-lettered", "stuck"),
            ("accepted", "last"),
        ]
        (letter,) = await here.letters()
        texts = headers_of(letter)
        assert (texts["turnout-stage"], texts["turnout-route"]) == ("person", "stuck")
        assert re.fullmatch(
            rf"given up by \S+: {because} \(it waited for: {ANSWER}: .+\)", texts["__dlq.errors.message"]
        )
        assert letter.value == b'{"id": "stuck"}'
        assert texts["turnout-workflow-id"] == here.workflow_id("stuck-stuck")
        order = [line["offset"] for line in here.lines if line["event"] == "accepted"]
        assert order == [stuck.offset, stuck.offset, *(place.offset for place in behind)]
        assert "stage         person" in await _turnout(here, "letters", "show", _path(stuck))


async def test_what_is_said_while_no_bridge_runs_is_done_by_the_next_one_before_it_tries_the_record(
    here: Site,
) -> None:
    async with here.running():
        await here.past(await here.send("kept", {"id": "before"}))
    never, stuck, behind = [
        await here.send(kind, {"id": name}, key="a")
        for kind, name in [("kept", "never"), ("stuck", "stuck"), ("kept", "behind")]
    ]
    for place in (never, stuck):
        await _turnout(here, "letters", "add", _path(place), "--because", "no use")
    async with here.running():
        await here.past(never, stuck, behind)
        for place, route in ((never, "first"), (stuck, "stuck")):
            (letter,) = await here.letters(place)
            texts = headers_of(letter)
            assert (texts["turnout-stage"], texts["turnout-route"]) == ("person", route)
            assert texts["__dlq.errors.message"].endswith(": no use (it was not tried)")
    assert await here.described("behind")
    assert not await here.described("never")


async def test_what_was_said_twice_makes_one_letter_with_the_last_reason(here: Site) -> None:
    async with here.running():
        await here.past(await here.send("kept", {"id": "before"}))
    stuck = await here.send("stuck", {"id": "stuck"}, key="a")
    await _turnout(here, "letters", "add", _path(stuck), "--because", "one reason")
    said = await _turnout(here, "letters", "add", _path(stuck), "--because", "a better one")
    assert re.search(r"it had been given up already by \S+: one reason\n", said)
    async with here.running():
        await here.past(stuck)
        (letter,) = await here.letters()
        assert ": a better one (" in headers_of(letter)["__dlq.errors.message"]
        done = await _turnout(here, "letters", "add", _path(stuck), "--because", "again", exit_code=1)
        assert f"{_path(stuck)} is done" in done
        assert len(await here.letters()) == 1


async def test_of_two_people_at_once_none_overwrites_what_the_other_has_said(here: Site) -> None:
    async with here.running():
        await here.past(await here.send("kept", {"id": "before"}))
    places = [await here.send("stuck", {"id": f"stuck-{n}"}, key=f"{n}") for n in range(2)]
    adds = [["letters", "add", _path(place), "--because", "no use"] for place in places]
    ended = await asyncio.gather(*(_ended(here, *add) for add in adds))
    for add, (code, said) in zip(adds, ended, strict=True):
        if code:
            assert f"another command is at work in group {here.group}.given-up" in said
            await _turnout(here, *add)
    async with here.running():
        await here.past(*places)
    assert len(await here.letters()) == 2


async def test_what_was_said_of_another_record_leaves_the_one_that_waits(here: Site) -> None:
    async with here.running():
        stuck = await here.send("stuck", {"id": "stuck"}, key="a")
        other = await here.send("stuck", {"id": "other"}, key="b")
        await _waits(here, stuck)
        said = await _turnout(here, "letters", "add", _path(other), "--because", "that one")
        assert f"has not done is at offset {stuck.offset}; whether this one holds anything" in said
        await here.outcomes(other)
        assert not here.said(stuck)
        assert len(await here.letters()) == 1
        assert (await here.committed())[0] == stuck.offset
        await _turnout(here, "letters", "add", _path(stuck), "--because", "this one, too")
        await here.past(stuck, other)
        assert len(await here.letters()) == 2


async def test_a_crash_between_letter_and_commit_loses_nothing_and_the_letter_counts_once(
    here: Site, tmp_path: Path
) -> None:
    stuck = await here.send("stuck", {"id": "stuck"}, key="a")
    behind = await here.send("kept", {"id": "behind"}, key="b")
    bridge = Child(
        "turnout",
        [sys.executable, "-c", f"{NOT_RESERVED}; {COMMITS_NEVER}; {MAIN}", "run"],
        log_path=tmp_path / "turnout.log",
        env={**here.env, "TURNOUT_KAFKA__GROUP_INSTANCE_ID": "one"},
        cwd=ROOT,
    )
    bridge.start()
    try:

        async def is_had() -> bool:
            return 0 in await here.committed()

        await here.until(is_had)
        await _turnout(here, "letters", "add", _path(stuck), "--because", "no use")

        async def written() -> list[Record]:
            return await here.letters(stuck)

        await here.until(written)
        bridge.kill()
    finally:
        await bridge.terminate(timedelta(seconds=10))
    assert (await here.committed())[0] == stuck.offset
    here.settings = here.settings.model_copy(
        update={"kafka": here.settings.kafka.model_copy(update={"group_instance_id": "one"})}
    )
    async with here.running():
        await here.past(stuck, behind)
    letters = await here.letters(stuck)
    assert len(letters) == 2
    assert {headers_of(letter)["turnout-route"] for letter in letters} == {"stuck"}
    assert "1 open letters" in await _turnout(here, "letters", "list")
    assert await here.described("behind")


async def test_records_that_the_client_cannot_read_are_given_up_one_by_one_and_their_partition_goes_on(
    here: Site, kafka: str
) -> None:
    _need_kcat()
    async with here.running():
        before = await here.send("kept", {"id": "before"}, key="a")
        await here.past(before)
        unreadable = await _write_unreadable(here, kafka, after=before)
        behind = await here.send("kept", {"id": "behind"}, key="a")
        for place in unreadable:
            line = await _stopped(here, place)
            assert line["reason"].endswith(f"turnout letters add {_path(place)} --because …")
            assert not here.said(place)
            await _turnout(here, "letters", "add", _path(place), "--because", "a broken producer")
        await here.past(behind)
        for place, value in zip(unreadable, [b"{}", b"[]"], strict=True):
            (letter,) = await here.letters(place)
            texts = headers_of(letter)
            assert (texts["turnout-stage"], texts["turnout-route"]) == ("person", "")
            assert ": a broken producer (the name of a header is not UTF-8)" in texts["__dlq.errors.message"]
            assert letter.value == value
            assert letter.headers[:3] == (("fine", b"1"), (r"na\xffme", b"x\xff"), (MENDED, b"1"))
        assert await here.described("behind")
    shown = await _turnout(here, "letters", "show", _path(unreadable[0]))
    assert r"header names  not UTF-8 in headers 1 (counted from 0)" in shown
    assert r"na\xffme: " in shown
    sent = await _turnout(here, "letters", "send", _path(unreadable[0]), exit_code=1)
    assert sent.startswith(f"failed again  {_path(unreadable[0])}  dead-lettered, ")
    assert len(await here.letters(unreadable[0])) == 2


async def test_what_the_client_cannot_read_and_was_given_up_before_stops_nothing(
    here: Site, kafka: str
) -> None:
    _need_kcat()
    async with here.running():
        before = await here.send("kept", {"id": "before"}, key="a")
        await here.past(before)
    unreadable = await _write_unreadable(here, kafka, after=before)
    behind = await here.send("kept", {"id": "behind"}, key="a")
    for place in unreadable:
        await _turnout(here, "letters", "add", _path(place), "--because", "a broken producer")
    async with here.running():
        await here.past(*unreadable, behind)
    assert not [line for line in here.lines if line["event"] == "partition stopped"]
    assert [len(await here.letters(place)) for place in unreadable] == [1, 1]
    assert await here.described("behind")


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("none/0/0", "no route reads topic none"),
        ("{in}/7/0", "has no partition 7"),
        ("{in}/0/0", "is done: group"),
        ("{in}/0/1", "is not in "),
    ],
)
async def test_what_cannot_be_given_up_is_refused_with_the_reason(here: Site, place: str, said: str) -> None:
    async with here.running():
        await here.past(await here.send("kept", {"id": "before"}))
    where = place.replace("{in}", here.topics["in"])
    refused = await _turnout(here, "letters", "add", where, "--because", "no use", exit_code=1)
    assert said in refused


# --- what it takes ---


def _path(place: Place) -> str:
    return f"{place.topic}/{place.partition}/{place.offset}"


async def _waits(here: Site, place: Place) -> structlog.typing.EventDict:
    """Wait for the line that says that the record waits for an answer."""

    async def lines() -> list[structlog.typing.EventDict]:
        return [
            line
            for line in here.lines
            if line["event"] == "waiting" and line["offset"] == place.offset and ANSWER in line["answer"]
        ]

    return (await here.until(lines))[0]


async def _stopped(here: Site, place: Place) -> structlog.typing.EventDict:
    async def lines() -> list[structlog.typing.EventDict]:
        return [
            line
            for line in here.lines
            if line["event"] == "partition stopped" and line["offset"] == place.offset
        ]

    return (await here.until(lines))[0]


def _documented() -> tuple[Sequence[str], str]:
    """The options of the command that the documentation gives, and the reason in it."""
    [(_, *options)] = page("docs/operate.md").commands("turnout", "letters", "add")
    return options, options[-1]


async def _turnout(here: Site, *arguments: str, exit_code: int = 0) -> str:
    """What the command says, in a process of its own."""
    code, said = await _ended(here, *arguments)
    assert code == exit_code, said
    return said


async def _ended(here: Site, *arguments: str) -> tuple[int | None, str]:
    """How the command ends, and what it says."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-W", "error", "-c", f"{NOT_RESERVED}; {MAIN}", *arguments],
        cwd=ROOT,
        env=os.environ | here.env | {"COLUMNS": "400"},
        stdout=pipe,
        stderr=pipe,
    )
    async with asyncio.timeout(120):
        out, err = await process.communicate()
    return process.returncode, out.decode() or err.decode()


def _need_kcat() -> None:
    if shutil.which("kcat") is None and os.environ.get("CI") != "true":
        pytest.skip("needs kcat, which alone writes such a header")


async def _write_unreadable(here: Site, kafka: str, *, after: Place) -> list[Place]:
    """Two records in one batch, with a header whose name is not UTF-8."""
    where = [b"-b", kafka.encode(), b"-t", here.topics["in"].encode(), b"-p", b"0"]
    argv = [b"kcat", b"-P", *where, b"-H", b"fine=1", b"-H", b"na\xffme=x\xff"]
    process = await asyncio.create_subprocess_exec(*argv, stdin=asyncio.subprocess.PIPE)
    async with asyncio.timeout(20):
        await process.communicate(b"{}\n[]")
    assert process.returncode == 0
    return [Place(after.topic, after.partition, after.offset + n) for n in (1, 2)]
