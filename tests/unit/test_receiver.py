"""The receiver's only answers: 200 once Kafka has it, 503 to all else."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from structlog.testing import capture_logs
from temporalio.service import RPCError, RPCStatusCode

from activities.ports import Published
from service import serving
from service.dispatch.callbacks import Callbacks
from service.errors import ConfigurationError, NotNow
from service.results import receiver
from service.results.closing import Closings
from service.results.receiver import Receiver, receiving
from service.temporal.closed import Run
from tests.servers import random_port
from tests.unit.test_callbacks import RUN, headers

CALLBACKS = Callbacks("http://here/", ["s3cret"])
GOOD = headers(CALLBACKS, RUN, "shop.results")


class Answering(Closings):
    """Says that it published, or raises what it was given to raise."""

    def __init__(self, answer: Published | Exception | None) -> None:
        self.asked: list[tuple[Run, str]] = []
        self._answer = answer

    async def publish(self, run: Run, topic: str, *, by: str) -> Published | None:
        self.asked.append((run, topic))
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


class Hanging(Answering):
    async def publish(self, run: Run, topic: str, *, by: str) -> Published | None:
        await asyncio.Event().wait()
        return None


PUBLISHED = Published(topic="shop.results", partition=0, offset=7)


async def answer(to: Receiver, said: Mapping[str, str] = GOOD) -> int:
    """The status that a call with these headers gets."""
    parts: list[Mapping[str, Any]] = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.request", "body": b"}"},
    ]
    sent: list[Mapping[str, Any]] = []

    async def receive() -> Mapping[str, Any]:
        return parts.pop(0)

    async def send(part: Mapping[str, Any]) -> None:
        sent.append(part)

    raw = [(name.title().encode(), value.encode()) for name, value in said.items()]
    await to({"type": "http", "headers": raw}, receive, send)
    assert not parts, "the body is taken"
    start, body = sent
    assert body == {"type": "http.response.body"}
    status: int = start["status"]
    return status


async def test_a_callback_is_answered_200_when_its_event_is_in_kafka() -> None:
    closings = Answering(PUBLISHED)
    assert await answer(Receiver(CALLBACKS, closings)) == 200
    assert closings.asked == [(RUN, "shop.results")]


@pytest.mark.parametrize(
    "trouble",
    [
        NotNow("Kafka is away"),
        RPCError("no", RPCStatusCode.UNAVAILABLE, b""),
        ValueError("no event"),
        KeyError("a defect"),
        None,
    ],
    ids=repr,
)
async def test_all_else_is_answered_503(trouble: Exception | None) -> None:
    assert await answer(Receiver(CALLBACKS, Answering(trouble))) == 503


async def test_a_call_that_is_none_of_ours_is_answered_503_and_leads_to_nothing() -> None:
    closings = Answering(PUBLISHED)
    for said in ({}, {**GOOD, "turnout-signature": "x"}, {**GOOD, "nexus-link": "<http://x>"}):
        assert await answer(Receiver(CALLBACKS, closings), said) == 503
    assert not closings.asked


async def test_what_takes_longer_than_temporal_waits_is_answered_503(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver, "TAKE_SECONDS", 0.01)
    with capture_logs() as lines:
        assert await answer(Receiver(CALLBACKS, Hanging(None))) == 503
    assert [(line["workflow_id"], line["topic"]) for line in lines] == [(RUN.workflow_id, "shop.results")]


async def test_an_outage_is_one_line_of_the_log_not_one_per_call() -> None:
    one = Receiver(CALLBACKS, Answering(NotNow("Kafka is away")))
    with capture_logs() as lines:
        for _ in range(5):
            await answer(one)
    assert [(line["reason"], line["workflow_id"]) for line in lines] == [("Kafka is away", RUN.workflow_id)]


async def test_a_taken_port_stops_the_start_and_says_which_setting() -> None:
    address = f"127.0.0.1:{random_port()}"
    one = Receiver(CALLBACKS, Answering(PUBLISHED))
    async with receiving(one, address):
        with pytest.raises(ConfigurationError, match=f"TURNOUT_CLOSING__ADDRESS={address}"):
            async with receiving(one, address):
                pass
    async with receiving(one, address):  # it is free again
        pass


async def test_it_answers_over_http_also_to_chunks_and_on_one_connection() -> None:
    address = f"127.0.0.1:{random_port()}"
    fields = "".join(f"{name}: {value}\r\n" for name, value in GOOD.items())
    call = f"POST / HTTP/1.1\r\nhost: x\r\n{fields}transfer-encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"
    async with receiving(Receiver(CALLBACKS, Answering(PUBLISHED)), address), asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(*address.split(":"))
        for _ in range(2):
            writer.write(call.encode())
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
        writer.close()


@pytest.mark.parametrize("said", [b"", b"POST / HTTP/1.1\r\nhost: x\r\n"], ids=["nothing", "half a head"])
async def test_a_connection_on_which_no_call_comes_is_ended(
    monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(serving, "SILENT_SECONDS", 0.1)
    address = f"127.0.0.1:{random_port()}"
    async with receiving(Receiver(CALLBACKS, Answering(PUBLISHED)), address), asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(*address.split(":"))
        writer.write(said)
        assert await reader.read() == b""
        writer.close()
