"""Letters: the record untouched, and behind it the reason as other tools read it."""

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.errors import DecodeError, NotNow, RecordError, RejectedError, RouteError
from service.failures.letters import REASON_BYTES, Letters
from service.kafka.record import Headers, Record, RecordTooLarge
from tests.unit.fakes import FakeSink, Sent
from tests.unit.records import record

REJECTED = RejectedError("is too large", cure="send less")


async def letter(of: Record, error: RecordError = REJECTED, route: str = "") -> Sent:
    sink = FakeSink()
    await Letters(sink, "shop").write(of, error, route=route)
    (sent,) = sink.sent
    return sent


@given(
    st.none() | st.binary(),
    st.none() | st.binary(),
    st.lists(st.tuples(st.text(), st.none() | st.binary())).map(tuple),
)
async def test_bytes_and_own_headers_come_first_and_untouched(
    key: bytes | None, value: bytes | None, headers: Headers
) -> None:
    sent = await letter(record(key=key, value=value, headers=headers))
    assert (sent.topic, sent.key, sent.value) == ("shop.dead-letters", key, value)
    assert sent.headers[: len(headers)] == headers
    assert len(sent.headers) > len(headers)


async def test_the_reason_is_told_in_the_words_of_both_families_and_in_ours() -> None:
    sent = await letter(record(1042, topic="shop.orders", partition=2, timestamp_ms=-2), route="order-placed")
    headers = dict(sent.headers)
    assert headers.pop("turnout-failed-at")
    assert headers == {
        "__dlq.errors.topic": b"shop.orders",
        "__dlq.errors.partition": b"2",
        "__dlq.errors.offset": b"1042",
        "__dlq.errors.group": b"shop",
        "__dlq.errors.message": b"is too large; send less",
        "kafka_dlt-original-topic": b"shop.orders",
        "kafka_dlt-original-partition": struct.pack(">i", 2),
        "kafka_dlt-original-offset": struct.pack(">q", 1042),
        "kafka_dlt-original-timestamp": struct.pack(">q", -2),
        "kafka_dlt-original-consumer-group": b"shop",
        "kafka_dlt-exception-fqcn": b"RejectedError",
        "kafka_dlt-exception-message": b"is too large; send less",
        "x-original-topic": b"shop.orders",
        "turnout-stage": b"dispatch",
        "turnout-route": b"order-placed",
        "turnout-error": b"RejectedError",
    }


@pytest.mark.parametrize(
    ("error", "stage"),
    [(DecodeError("x"), b"decode"), (RouteError("x"), b"route"), (RejectedError("x"), b"dispatch")],
)
async def test_a_letter_says_at_which_stage_the_record_was_given_up(error: RecordError, stage: bytes) -> None:
    assert (await letter(record(), error)).header("turnout-stage") == stage


@example("half of a pair: \ud800")
@given(st.text() | st.text("é😀", min_size=500))
async def test_a_reason_is_utf_8_of_bounded_size_whatever_its_text(text: str) -> None:
    sent = await letter(record(), RejectedError(text))
    reason = sent.header("__dlq.errors.message")
    assert reason is not None
    assert reason == sent.header("kafka_dlt-exception-message")
    whole = text.encode(errors="replace")
    assert len(reason) <= REASON_BYTES == 1024
    # Cut between characters: nothing is lost but what does not fit.
    assert whole.startswith(reason)
    assert len(reason) == len(whole) or len(reason) > REASON_BYTES - 4
    assert reason.decode().encode() == reason


async def test_a_letter_that_does_not_fit_waits_and_is_not_given_up() -> None:
    sink = FakeSink()
    sink.errors.append(RecordTooLarge("no room"))
    with pytest.raises(NotNow, match=r"max\.message\.bytes"):
        await Letters(sink, "shop").write(record(), REJECTED)
    assert sink.sent == []
