"""Events that tell how workflows ended: their content, and what is done where Kafka does not take them."""

import json
import re
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.failure.v1 import Failure as RawFailure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client

from service.errors import NotNow
from service.events.avro import AvroCodec
from service.events.registry import Registry, RegistryAccess
from service.events.strict_json import Limits
from service.kafka.record import RecordTooLarge
from service.results import closing
from service.results.closing import TYPE, Closings, closing_event, closing_id
from service.results.encodings import make_encodings
from service.results.publisher import KafkaResultPublisher
from service.routing.table import OutFormat
from service.telemetry.metrics import Metrics
from service.temporal.closed import (
    FAILURE_NAMES,
    MOST_FAILURES,
    Closed,
    Failure,
    Result,
    Run,
    failures_of,
    result_of,
)
from tests.unit.fakes import FakeSink
from tests.unit.registry_server import RegistryServer

RUN = Run("shop", "order/A-1", "01a20f53-5aec-766e-a766-35d7389847b9")
START = {"event": "e-1", "traceparent": "00-1-2-01", "record": "shop.orders[2]@1042"}
AT = datetime(2026, 11, 24, 12, 0, 0, 250_000, tzinfo=UTC)
WELL = Closed(RUN, "OrderFulfilment", "completed", AT, START, Result({"total_cents": 4200}))
BADLY = replace(
    WELL,
    status="failed",
    result=None,
    failures=[Failure("PaymentFailed", "not paid"), Failure("CardDeclined", "card declined")],
)


@pytest.fixture
def sink() -> FakeSink:
    return FakeSink()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def closings(
    sink: FakeSink, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> "tuple[Closings, deque[Closed | None]]":
    """And what Temporal says of the runs that it is asked about."""
    answers: deque[Closed | None] = deque()

    async def how_it_closed(_client: Client, _run: Run) -> Closed | None:
        return answers.popleft()

    monkeypatch.setattr(closing, "how_it_closed", how_it_closed)
    nothing: Any = None  # neither is asked
    return Closings(nothing, KafkaResultPublisher(sink, nothing), metrics), answers


def data_of(event_value: bytes | None) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(event_value or b"")
    return data


def test_the_event_says_what_ended_how_and_what_had_led_to_it() -> None:
    event = closing_event(WELL, "shop.results")
    assert (event.topic, event.type, event.source) == (
        "shop.results",
        "turnout.workflow.closed",
        "temporal/shop",
    )
    assert (event.subject, event.time) == ("order/A-1", "2026-11-24T12:00:00.250000+00:00")
    assert event.headers == {
        "ce_correlationid": "order/A-1",
        "ce_causationid": "e-1",
        "traceparent": "00-1-2-01",
    }
    assert event.data == {
        "workflow_id": "order/A-1",
        "run_id": RUN.run_id,
        "namespace": "shop",
        "workflow": "OrderFulfilment",
        "status": "completed",
        "closed_at": event.time,
        "result": {"total_cents": 4200},
    }
    data: Any = closing_event(BADLY, "shop.results").data
    assert data["failure"] == {
        "type": "PaymentFailed",
        "text": "not paid",
        "causes": [{"type": "CardDeclined", "text": "card declined"}],
    }
    assert "result" not in data


def test_the_id_is_that_of_the_run_and_never_changes() -> None:
    assert closing_id(RUN) == closing_event(BADLY, "other").id == "c1a76467-b27e-5b92-a66f-343cd883106f"
    assert closing_id(RUN._replace(run_id="r-2")) != closing_id(RUN)
    assert closing_id(RUN._replace(workflow_id="order/A-2")) != closing_id(RUN)
    assert UUID(closing_id(RUN)).version == 5


def test_what_led_to_the_start_is_left_out_where_no_header_can_hold_it() -> None:
    told = closing_event(replace(WELL, start={"event": "a\0b", "traceparent": 7}), "t")
    assert told.headers == {"ce_correlationid": "order/A-1"}


async def test_an_end_is_published_and_counted(
    closings: "tuple[Closings, deque[Closed | None]]", sink: FakeSink, metrics: Metrics
) -> None:
    publisher, answers = closings
    answers.append(WELL)
    published = await publisher.publish(RUN, "t", by="callback")
    assert published is not None
    assert [sent.key for sent in sink.sent] == [b"order/A-1"]
    assert 'turnout_closings_total{by="callback"} 1.0' in metrics.text()


async def test_what_has_not_ended_is_not_published(
    closings: "tuple[Closings, deque[Closed | None]]", sink: FakeSink
) -> None:
    publisher, answers = closings
    answers.append(None)
    assert await publisher.publish(RUN, "t", by="callback") is None
    assert not sink.sent


@pytest.mark.parametrize("result", [1 << 70, float("nan"), "\ud800"])
async def test_a_result_that_no_event_can_hold_is_left_out(
    closings: "tuple[Closings, deque[Closed | None]]", sink: FakeSink, result: Any
) -> None:
    publisher, answers = closings
    answers.append(replace(WELL, result=Result(result)))
    await publisher.publish(RUN, "t", by="callback")
    (sent,) = sink.sent
    data = data_of(sent.value)
    assert "result" not in data
    assert (data["status"], data["result_left_out"]) == ("completed", "it is no JSON that all read")


async def test_the_schema_that_the_page_has_for_ends_takes_them_and_leaves_out_what_does_not_fit(
    closings: "tuple[Closings, deque[Closed | None]]", sink: FakeSink, metrics: Metrics
) -> None:
    page = (Path(__file__).parents[2] / "docs/formats.md").read_text()
    (schema,) = re.findall(r"^```json\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    server = RegistryServer()
    nothing: Any = None
    async with server.serving():
        out = OutFormat("t", "avro", schemas={TYPE: schema}, register=True)
        encodings = await make_encodings(Registry(RegistryAccess(server.url)), [out], Limits())
    _, answers = closings
    publisher = Closings(nothing, KafkaResultPublisher(sink, nothing, encodings=encodings), metrics)
    answers.extend([replace(WELL, result=Result("paid")), BADLY, WELL])
    for _ in range(3):
        await publisher.publish(RUN, "t", by="callback")
    well, badly, left_out = (AvroCodec(schema).decode((sent.value or b"")[5:]).data for sent in sink.sent)
    assert (well["result"], well["failure"], well["closed_at"]) == (
        "paid",
        None,
        "2026-11-24T12:00:00.250000Z",
    )
    assert (badly["failure"]["type"], badly["result"]) == ("PaymentFailed", None)
    assert (left_out["result"], left_out["result_left_out"]) == (
        None,
        "it does not fit the schema of the topic",
    )


async def test_a_result_that_is_too_large_for_the_topic_is_left_out(
    closings: "tuple[Closings, deque[Closed | None]]", sink: FakeSink
) -> None:
    publisher, answers = closings
    answers.append(WELL)
    sink.errors.append(RecordTooLarge("too large"))
    await publisher.publish(RUN, "t", by="callback")
    assert data_of(sink.sent[0].value)["result_left_out"] == "the topic does not take a record of its size"


async def test_what_kafka_does_not_take_now_is_said_to_whoever_asked(
    closings: "tuple[Closings, deque[Closed | None]]", sink: FakeSink
) -> None:
    publisher, answers = closings
    answers += [WELL, BADLY]
    sink.errors += [NotNow("away"), RecordTooLarge("too large")]
    with pytest.raises(NotNow):
        await publisher.publish(RUN, "t", by="callback")
    with pytest.raises(RecordTooLarge):  # a failure is never left out
        await publisher.publish(RUN, "t", by="callback")


# --- what the history's last event says ---


def completed(payloads: Sequence[Payload] = ()) -> HistoryEvent:
    event = HistoryEvent()
    event.workflow_execution_completed_event_attributes.result.CopyFrom(Payloads(payloads=payloads))
    return event


def payload(encoding: str, data: bytes = b"") -> Payload:
    return Payload(metadata={"encoding": encoding.encode()}, data=data)


@pytest.mark.parametrize(
    ("payloads", "result"),
    [
        ([], Result(None)),
        ([payload("binary/null")], Result(None)),
        ([payload("json/plain", b'{"a": 1}')], Result({"a": 1})),
        ([payload("json/protobuf", b'{"a": 1}')], Result({"a": 1})),
        ([payload("json/plain", b"1"), payload("json/plain", b"2")], Result([1, 2])),
        ([payload("json/plain", b"{")], Result(left_out="it is no JSON")),
        ([payload("json/plain", b"[" * 100_000)], Result(left_out="it is no JSON")),
        ([payload("binary/plain", b"1")], Result(left_out="it is no JSON but binary/plain")),
        ([payload("binary/encrypted", b"1")], Result(left_out="it is no JSON but binary/encrypted")),
        ([Payload(data=b"1")], Result(left_out="it is no JSON but of no known encoding")),
    ],
)
def test_a_result_is_read_whatever_language_it_comes_from(
    payloads: Sequence[Payload], result: Result
) -> None:
    assert result_of(completed(payloads)) == result


def test_every_kind_of_failure_has_a_name() -> None:
    kinds = {field.name for field in RawFailure.DESCRIPTOR.oneofs_by_name["failure_info"].fields}
    # The first names itself; no end of a workflow comes with the other.
    assert kinds - set(FAILURE_NAMES) == {
        "application_failure_info",
        "reset_workflow_failure_info",
    }


@given(st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs"])), st.booleans()), min_size=1))
def test_a_failure_is_told_with_its_causes_from_the_outermost_on(chain: list[tuple[str, bool]]) -> None:
    end = HistoryEvent()
    failure = raw = end.workflow_execution_failed_event_attributes.failure
    for number, (text, of_activity) in enumerate(chain):
        failure = failure.cause if number else raw
        failure.message = text
        if of_activity:
            failure.activity_failure_info.activity_id = "1"
        else:
            failure.application_failure_info.type = "CardDeclined"
    names = {True: "ActivityFailure", False: "CardDeclined"}
    assert list(failures_of(end)) == [
        Failure(names[of_activity], text) for text, of_activity in chain[:MOST_FAILURES]
    ]


def test_the_texts_of_failures_are_cut() -> None:
    end = HistoryEvent()
    end.workflow_execution_failed_event_attributes.failure.message = "x" * 1_000_000
    (only,) = failures_of(end)
    assert only == Failure("ApplicationFailure", "x" * 8_000)
