"""`turnout letters` on real servers: what was given up on is looked at, mended, and takes effect once."""

import asyncio
import os
import re
import shlex
import sys
import time
from pathlib import Path

from service.cli.stopping import INTERRUPTED
from service.local import LocalTemporal
from tests.integration.letters import (
    MENDED,
    ROOT,
    ROUTES,
    both,
    ended,
    lag,
    letters,
    letters_site,
    listed,
    mend,
    slashed,
    start_letters,
    told,
)
from tests.integration.service import LARGEST_RECORD_BYTES, Site, event_headers
from tests.pages import page

DAY_MS = 86_400_000


# --- looking ---


async def test_letters_are_counted_by_reason_and_found_by_whatever_is_known_of_them(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with letters_site(kafka, temporal, tmp_path) as here:
        async with here.running():
            first, second = [(await both(here, key, [1]))[0] for key in ("a", "b")]
            torn = await here.write(b'{"id": ', key=b"\xff\x00", headers=event_headers("placed"))
            parcel = await here.send("weighed", {"id": "p"}, key="p")
            await here.past(torn, parcel)
        said = await letters(here, "list", "--limit", "2", COLUMNS="200")
        assert said.lines[0] == f"4 open letters in {here.topics['letters']}"
        counted = said.lines[2].split()
        assert counted[:4] == ["2", "route", "second", "both"]
        assert said.lines[-1] == "… and more: 4 in all"
        letter_of_torn = f"{here.topics['letters']}/0/2"
        for filters, expected in [
            (["--stage", "decode"], [torn]),
            (["--route", "second"], [first, second]),
            (["--type", "weighed"], [parcel]),
            (["--reason", "WEIGHT_grams"], [parcel]),
            (["--key", "a"], [first]),
            (["--key", "0xff00"], [torn]),
            (["--since", "1h"], [first, second, torn, parcel]),
            (["--until", "1h"], []),
            (["--route", "second", "--key", "b"], [second]),
            ([slashed(parcel), str(first)], [first, parcel]),
            ([letter_of_torn], [torn]),
        ]:
            assert [one["record"] for one in await listed(here, *filters)] == list(map(slashed, expected))
        said = await letters(here, "list", "--key", "nobody's")
        assert said.out == f"0 open letters in {here.topics['letters']}\n"


async def test_a_letter_is_shown_whole_with_where_it_is_wrong_and_what_todays_routes_would_do(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with letters_site(kafka, temporal, tmp_path) as here:
        async with here.running():
            (unmapped,) = await both(here, "a", [1])
            headers = [*event_headers("placed"), ("team", b"ada")]
            torn = await here.write(b'{"id": "a", "n": nine}', key=b"a", headers=headers)
            await here.past(torn)
        said = (await letters(here, "show", slashed(torn))).out
        for text in (
            f"record        {slashed(torn)}",
            "stage         decode",
            "  team: ada",
            '  {"id": "a", "n": nine}',
            "^ byte 17",
            "today          fails again: ",
        ):
            assert text in said
        said = (await letters(here, "show", slashed(unmapped))).out
        assert '    "id": "a",\n' in said  # one member per line
        assert "today          route second: fails again: " in said
        mend(here)
        (document,) = (await letters(here, "show", slashed(unmapped), "--json")).documents
        assert document["today"] == [
            f"route second: signals note to {here.workflow_id('second-a')}, or starts Keep"
        ]
        assert document["value"] == '{"id": "a", "n": 1}'
        missing = await letters(here, "show", f"{here.topics['in']}/0/999", code=1)
        assert "no open letter at" in missing.err


async def test_without_a_letter_topic_or_routes_the_error_says_what_to_do(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with letters_site(kafka, temporal, tmp_path) as here:
        await here.admin.delete_topics([here.topics["letters"]])
        for command in (["list"], ["discard", "--all", "--because", "x"]):
            said = await letters(here, *command, code=1)
            assert f"there is no topic {here.topics['letters']}" in said.err
            assert f"group {here.group} (TURNOUT_GROUP)" in said.err
            assert "start a bridge, which says how to create it" in said.err
        created = f"--create --topic {here.topics['letters']} --config cleanup.policy=delete"
        assert created in (await letters(here, "send", "--all", code=1)).err
        here.settings.routes.unlink()
        said = await letters(here, "send", "--all", code=1)
        assert "there is no such file or folder" in said.err


# --- the documentation ---


def _documented() -> list[str]:
    return page("docs/operate.md").section("Letters: look, mend, send again").lines()


async def test_each_command_of_the_documentation_does_what_it_says(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    broken, mended = (routes.replace("name: second", "name: order-placed") for routes in (ROUTES, MENDED))
    async with letters_site(kafka, temporal, tmp_path, broken) as here:
        async with here.running():
            await both(here, "k", [0, 1])
            await here.past(await here.write(b"no JSON", key=b"k", headers=event_headers("both")))
        expected = [
            r"^3 open letters in ",
            r"^2 open letters in ",
            r"(?s)stage +route\nroute +order-placed.*today +route order-placed: fails again: ",
            r"^would be sent .*\nwould be sent .*\n$",
            r"^sent .*\nsent .*\n$",
            r"^discarded .*  because: test records, ticket 4712 \(by \S+\)\n$",
        ]
        for command, text in zip(_documented(), expected, strict=True):
            program, family, *arguments = shlex.split(command.replace("shop.orders", here.topics["in"]))
            assert (program, family) == ("turnout", "letters")
            said = await letters(here, *arguments)
            assert re.search(text, said.out), said.out
            if arguments[0] == "show":
                mend(here, mended)
        assert await told(here, "second-k") == [0, 1]
        assert await lag(here) == 0


# --- sending ---


async def test_once_the_cause_is_mended_the_route_that_failed_takes_effect_once_in_order_and_no_other(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with letters_site(kafka, temporal, tmp_path) as here:
        async with here.running():
            places = await both(here, "k", range(5)) + await both(here, "other", range(2))
            mend(here)
            rehearsed = await letters(here, "send", "--all", "--dry-run")
            assert [line.split()[:4] for line in rehearsed.lines] == [
                ["would", "be", "sent", slashed(place)] for place in places
            ]
            assert "4 later records of its key are handled already" in rehearsed.lines[0]
            assert await here.described("second-k") is None
            assert await lag(here) == 7
            sent = await letters(here, "send", "--key", "k")
            # To ask for the other route again would have no effect, for its ids; it is not even asked for.
            assert "route first" not in sent.out
            assert sent.err == "5 sent, 4 of them after later records of their key\n"
            assert await lag(here) == 2
            await letters(here, "send", "--all")
            again = await letters(here, "send", "--all")
            assert again.err == "no open letter fits\n"
            assert await told(here, "second-k") == await told(here, "first-k") == list(range(5))
            assert await told(here, "second-other") == await told(here, "first-other") == [0, 1]
            assert await lag(here) == 0
        assert len(await here.letters()) == 7


async def test_what_fails_again_is_a_new_letter_that_counts_and_is_kept_back_after_three(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with letters_site(kafka, temporal, tmp_path) as here:
        async with here.running():
            (place,) = await both(here, "k", [7])
        (first,) = await listed(here)
        for sends in (1, 2, 3):
            said = await letters(here, "send", slashed(place), code=1)
            assert said.lines[0].startswith(f"failed again  {slashed(place)}  route second: dead-lettered")
            (letter,) = await listed(here)
            assert (letter["sends"], letter["first_failed_at"]) == (sends, first["first_failed_at"])
            assert letter["failed_at"] > first["failed_at"]
        refused = await letters(here, "send", "--all", code=1)
        assert "it came back 3 times after being sent" in refused.lines[0]
        mend(here)
        await letters(here, "send", "--all", code=1)
        await letters(here, "send", "--all", "--insist")
        async with here.running():
            assert await told(here, "second-k") == [7]
        assert await lag(here) == 0


async def test_what_temporal_may_have_forgotten_is_sent_only_if_a_person_accepts_that(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with letters_site(kafka, temporal, tmp_path) as here, here.running():
        two_days_ago = int(time.time() * 1000) - 2 * DAY_MS
        place = await here.send("both", {"id": "k", "n": 1}, key="k", timestamp_ms=two_days_ago)
        await here.past(place)
        mend(here)
        refused = await letters(here, "send", "--all", code=1)
        assert "its record is 2 days old, and Temporal remembers 1 days" in refused.lines[0]
        assert await lag(here) == 1
        await letters(here, "send", "--all", "--accept-repeats")
        assert await told(here, "second-k") == [1]
        assert await lag(here) == 0


async def test_a_second_command_is_refused_while_one_is_at_work_and_does_not_disturb_it(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with letters_site(kafka, temporal, tmp_path) as here, here.running():
        await both(here, "k", range(12))
        mend(here)
        # At work for two minutes, if nobody ends it.
        first = await start_letters(here, "send", "--all", "--rate", "0.1")
        await here.until(lambda: _has_signals(here, "second-k", 1))
        for command in (["send", "--all"], ["discard", "--all", "--because", "x"]):
            second = await letters(here, *command, code=1)
            assert f"another command is at work in group {here.group}.letters" in second.err
        before = len(await told(here, "second-k"))
        await here.until(lambda: _has_signals(here, "second-k", before + 1))
        first.terminate()
        done = await ended(first)
        assert done.code == INTERRUPTED
        signals = await told(here, "second-k")
        assert done.err.startswith(f"{len(signals)} sent, ")
        await letters(here, "send", "--all")
        assert await told(here, "second-k") == list(range(12))


async def test_a_letter_whose_target_does_not_come_is_parked_and_back_as_a_letter_that_counts(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with letters_site(kafka, temporal, tmp_path) as here, here.running():
        place = await here.send("followed", {"n": 1}, key="k")
        await here.until(lambda: _open_letters(here, 1))
        sent = await letters(here, "send", "--all")
        assert sent.lines[0].startswith(f"sent  {slashed(place)}  route follow: parked")

        async def is_back() -> bool:
            return len(await here.letters()) == 2

        await here.until(is_back)
        (letter,) = await listed(here)
        assert (letter["record"], letter["sends"], letter["error"]) == (slashed(place), 1, "GivenUpError")


async def test_the_letter_of_a_record_of_the_largest_size_fits_also_when_it_fails_again(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with letters_site(kafka, temporal, tmp_path) as here:
        headers = event_headers("both")
        # What a batch adds to its only record is 61 bytes and a few for lengths.
        overhead = 100 + sum(len(name) + len(value) + 10 for name, value in headers)
        value = b"[" + b"1" * (LARGEST_RECORD_BYTES - overhead - 2) + b"]"
        async with here.running():
            place = await here.write(value, key=b"k", headers=headers)
            await here.past(place)
        await letters(here, "send", "--all", code=1)
        (letter,) = await listed(here)
        assert (letter["record"], letter["sends"]) == (slashed(place), 1)
        assert (await here.letters())[-1].value == value
        discarded = await letters(here, "discard", slashed(place), "--because", "far too large")
        assert discarded.lines[0].startswith(f"discarded  {slashed(place)}")
        assert await lag(here) == 0


# --- discarding ---


async def test_what_is_discarded_is_said_with_who_and_why_and_comes_back_by_nothing(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with letters_site(kafka, temporal, tmp_path) as here, here.running():
        places = await both(here, "k", range(3))
        mend(here)
        said = await letters(here, "discard", slashed(places[1]), "--because", "a test order")
        assert said.lines[0].startswith(
            f"discarded  {slashed(places[1])}  route second; because: a test order"
        )
        twice = await letters(here, "discard", slashed(places[1]), "--because", "x", code=1)
        assert "it was sent or discarded" in twice.err
        await letters(here, "send", "--all")
        assert await told(here, "second-k") == [0, 2]
        assert await lag(here) == 0


# --- pauses ---


async def test_letters_of_what_is_paused_stay_open_and_say_so_until_it_is_resumed(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with letters_site(kafka, temporal, tmp_path) as here, here.running():
        await both(here, "k", range(2))
        mend(here)
        for name in ("second", here.topics["in"]):
            await _turnout(here, "pause", name, "--because", "prices are wrong")
            said = await letters(here, "send", "--all", code=3)
            assert said.err == "1 paused, 1 left open\n"
            assert f" {name} since " in said.lines[0]
            assert said.lines[0].endswith(": prices are wrong")
            assert (await letters(here, "send", "--all", "--dry-run")).lines[0].startswith("paused  ")
            assert await here.described("second-k") is None
            assert await lag(here) == 2
            await _turnout(here, "resume", name)
        await letters(here, "send", "--all")
        assert await told(here, "second-k") == [0, 1]


async def test_a_pause_is_obeyed_by_a_command_that_is_under_way(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with letters_site(kafka, temporal, tmp_path) as here, here.running():
        await both(here, "k", range(60))
        mend(here)
        sending = await start_letters(here, "send", "--all", "--rate", "1")
        await here.until(lambda: _has_signals(here, "second-k", 1))
        await _turnout(here, "pause", "second", "--because", "too much at once")
        done = await ended(sending)
        assert done.code == 3
        signals = await told(here, "second-k")
        assert signals == list(range(len(signals)))
        assert 0 < len(signals) < 60
        assert await lag(here) == 60 - len(signals)
        await _turnout(here, "resume", "second")
        await letters(here, "send", "--all")
        assert await told(here, "second-k") == list(range(60))


async def test_nothing_is_sent_while_no_bridge_has_taken_in_what_someone_paused(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with letters_site(kafka, temporal, tmp_path) as here:
        async with here.running():
            await both(here, "k", [0])
        mend(here)
        await _turnout(here, "pause", "second", "--because", "not today")
        said = await letters(here, "send", "--all", code=3)
        assert "no bridge of the group runs; start one" in said.err
        async with here.running():
            said = await letters(here, "send", "--all", code=3)
            assert said.err == "1 paused\n"
        assert await lag(here) == 1


async def _has_signals(here: Site, name: str, count: int) -> bool:
    return len(await told(here, name)) >= count


async def _open_letters(here: Site, count: int) -> bool:
    return len(await here.letters()) >= count


async def _turnout(here: Site, *arguments: str) -> None:
    argv = [sys.executable, "-m", "service", *arguments]
    process = await asyncio.create_subprocess_exec(
        *argv, cwd=ROOT, env=os.environ | here.env, stdout=asyncio.subprocess.DEVNULL
    )
    async with asyncio.timeout(60):
        assert await process.wait() == 0
