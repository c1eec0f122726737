"""A bad record makes one letter, byte for byte, and harms no other."""

import asyncio
import json
import os
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from service.local import LocalTemporal
from tests.integration.service import Headers, Site, event_headers, headers_of, site

ROUTES = """
version: 1
topics:
  @in: {}
  @mapped:
    event:
      type: ${headers["event-type"]}
      id: ${data.event_id}
routes:
  - name: keep
    from: @in
    type: kept
    start: {workflow: Keep, id: "@id/${data.id}", task_queue: @queue, input: "${data}"}
  - name: keep-mapped
    from: @mapped
    type: kept
    start: {workflow: Keep, id: "@id/${data.id}", task_queue: @queue, input: "${data}"}
  - name: whole-id
    from: @in
    type: whole.id
    start: {workflow: Keep, id: "${data.id}", task_queue: @queue, input: "${data}"}
  - name: weigh
    from: @in
    type: weighed
    start: {workflow: Weigh, id: "@id/${data.id}", task_queue: @queue, input: "${data}"}
  - name: thrice
    from: @in
    type: thrice
    start: {workflow: Elsewhere, id: "@id/${data.id}", task_queue: @queue,
            args: ["${data}", "${data}", "${data}"]}
  - name: five-times
    from: @in
    type: five.times
    start: {workflow: Elsewhere, id: "@id/${data.id}", task_queue: @queue,
            args: ["${data}", "${data}", "${data}", "${data}", "${data}"]}
"""

MIB = 1 << 20


@dataclass(frozen=True)
class Bad:
    """A record that cannot be handled, and what its letter says."""

    name: str
    value: bytes | None
    stage: str
    reason: str
    kind: str = "kept"
    headers: Headers | None = None
    key: bytes | None = b"bad"
    route: str = ""
    to: str = "in"


def _structured(**members: Any) -> bytes:
    return json.dumps({"specversion": "1.0", "id": "1", "source": "/t", "type": "kept", **members}).encode()


def _large(kib: int) -> bytes:
    return json.dumps({"id": "large", "filling": "x" * (kib * 1024)}).encode()


def _without(name: str) -> Headers:
    return [header for header in event_headers("kept") if header[0] != name]


def _id(name: str, value: bytes, reason: str) -> Bad:
    return Bad(name, value, "route", reason, kind="whole.id", route="whole-id")


def _input(name: str, value: bytes, reason: str) -> Bad:
    return Bad(name, value, "dispatch", reason, kind="weighed", route="weigh")


_STRUCTURED: Headers = [("content-type", b"application/cloudevents+json; charset=UTF-8")]
_OTHER_TYPE: Headers = [*_without("content-type"), ("content-type", b"application/avro")]

BAD = [
    Bad("empty value", b"", "decode", "the value is empty"),
    Bad("null without attributes", None, "decode", "the value is null", headers=[]),
    Bad("neither key nor value", None, "decode", "the value is null", headers=[], key=None),
    Bad("key that is not UTF-8", b'{"id": "x"}', "decode", "the key is not UTF-8 at byte 1", key=b"k\xff"),
    Bad("no JSON", b'{"id": ', "decode", "is not JSON"),
    Bad("value that is not UTF-8", b'{"id": "\xff\xfe"}', "decode", "is not UTF-8"),
    Bad("five MiB", b'"' + b"x" * (5 * MIB) + b'"', "decode", "more than 1048576"),
    Bad("too deep", b"[" * 65 + b"]" * 65, "decode", "nested deeper than 64"),
    Bad("NaN", b'{"id": "x", "n": NaN}', "decode", "is not JSON"),
    Bad("65 bits", b'{"id": "x", "n": 9223372036854775808}', "decode", "beyond 64 bits"),
    Bad("no ce_id", b'{"id": "x"}', "decode", "id", headers=_without("ce_id")),
    Bad("no envelope", b'{"id": "x"}', "decode", "neither ce_ headers nor", headers=[]),
    Bad(
        "repeated ce_id",
        b"{}",
        "decode",
        "'ce_id' is repeated",
        headers=[*event_headers("kept"), ("ce_id", b"2")],
    ),
    Bad("other content type", b'{"id": "x"}', "decode", "names another format", headers=_OTHER_TYPE),
    Bad(
        "structured without data",
        _structured(source=7),
        "decode",
        "source is not a string",
        headers=_STRUCTURED,
    ),
    Bad(
        "batch",
        b"[" + _structured() + b"]",
        "decode",
        "a batch of CloudEvents is not read",
        headers=[("content-type", b"application/cloudevents-batch+json")],
    ),
    Bad("unmatched", b"{}", "route", "no route takes type never.heard.of", kind="never.heard.of"),
    Bad("no id to map", b"{}", "route", "event_id", to="mapped", headers=[("event-type", b"kept")]),
    Bad("no type to map", b'{"event_id": "1"}', "route", "event.type", to="mapped", headers=[]),
    _id("id of nothing", b'{"id": ""}', "id"),
    _id("id of null", b'{"id": null}', "id"),
    _id("id of a map", b'{"id": {"a": 1}}', "id"),
    _id("id of control characters", b'{"id": "a\\nb"}', "control"),
    _id("id too long", json.dumps({"id": "x" * 241}).encode(), "240"),
    _id("absent id", b"{}", "id"),
    _input("input of another type", b'{"id": "x", "weight_grams": "much"}', "weight_grams"),
    _input("input without a field", b'{"id": "x"}', "weight_grams: Field required"),
    Bad("over Temporal's blob limit", _large(900), "dispatch", "exceeds", kind="thrice", route="thrice"),
    Bad("over gRPC's limit", _large(1000), "dispatch", "larger", kind="five.times", route="five-times"),
]


@pytest.fixture(scope="module")
async def running(
    kafka: str, temporal: LocalTemporal, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    """A running service that these tests share; all records of a topic lie in one partition."""
    folder, topics = tmp_path_factory.mktemp("bad"), ["in", "mapped"]
    async with (
        site(kafka, temporal.address, folder, ROUTES, topics=topics, partitions=1) as here,
        here.running(),
    ):
        yield here


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
async def test_a_bad_record_makes_one_letter_and_harms_no_other(running: Site, bad: Bad) -> None:
    here = running
    headers = event_headers(bad.kind) if bad.headers is None else bad.headers
    yesterday_ms = int((time.time() - 86_400) * 1000)
    place = await here.write(bad.value, key=bad.key, headers=headers, to=bad.to, timestamp_ms=yesterday_ms)
    good = {"id": f"after {bad.name}", "event_id": f"after {bad.name}"}
    good_headers = [*event_headers("kept"), ("event-type", b"kept")]
    after = await here.write(json.dumps(good).encode(), key=b"good", headers=good_headers, to=bad.to)
    await here.past(place, after)

    assert await here.described(f"after {bad.name}")
    (letter,) = await here.letters(place)
    assert (letter.key, letter.value) == (bad.key, bad.value)
    assert list(letter.headers[: len(headers)]) == list(headers)
    said = headers_of(letter)
    assert (said["turnout-stage"], said["turnout-route"]) == (bad.stage, bad.route)
    assert bad.reason in said["__dlq.errors.message"]
    assert "xxxx" not in said["__dlq.errors.message"]
    assert said["__dlq.errors.group"] == here.group
    # With its own time it might be deleted at once.
    assert letter.timestamp_ms > yesterday_ms + 80_000_000
    assert dict(letter.headers)["kafka_dlt-original-timestamp"] == yesterday_ms.to_bytes(8, "big")
    assert not await here.letters(after)


async def test_a_valid_value_just_under_the_limit_goes_through(running: Site) -> None:
    here = running
    frame = len(json.dumps({"id": "just-under", "filling": ""}))
    data = {"id": "just-under", "filling": "x" * (MIB - 1024 - frame)}
    place = await here.send("kept", data, key="large")
    await here.past(place)
    assert not await here.letters(place)
    history = await here.workflow("just-under").fetch_history()
    payload = history.events[0].workflow_execution_started_event_attributes.input.payloads[0]
    assert json.loads(payload.data) == data


async def test_a_header_name_that_the_client_cannot_read_stops_that_partition_only(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    if shutil.which("kcat") is None and os.environ.get("CI") != "true":
        pytest.skip("needs kcat, which alone writes such a header")
    async with (
        site(kafka, temporal.address, tmp_path, ROUTES, topics=["in", "mapped"], partitions=2) as here,
        here.running(),
    ):
        before = await here.send("kept", {"id": "before"}, key="a", partition=0)
        await here.past(before)
        await _write_unreadable_header(kafka, here.topics["in"])
        behind = await here.send("kept", {"id": "behind"}, key="b", partition=0)
        others = [await here.send("kept", {"id": f"o{n}"}, key="c", partition=1) for n in range(20)]
        await here.past(*others)

        async def stopped() -> list[Any]:
            return [line for line in here.lines if line["event"] == "partition stopped"]

        (line,) = await here.until(stopped)
        assert (line["partition"], f"offset {behind.offset - 1}" in line["reason"]) == (0, True)
        assert not here.said(behind)
        assert (await here.committed())[0] == before.offset + 1
        assert not await here.letters()


async def _write_unreadable_header(kafka: str, topic: str) -> None:
    argv = [b"kcat", b"-P", b"-b", kafka.encode(), b"-t", topic.encode(), b"-p", b"0", b"-H", b"na\xffme=x"]
    process = await asyncio.create_subprocess_exec(*argv, stdin=asyncio.subprocess.PIPE)
    async with asyncio.timeout(20):
        await process.communicate(b"{}")
    assert process.returncode == 0
