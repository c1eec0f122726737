"""Letters: the record untouched, and behind it the reason as other tools read it; and read back."""

import struct
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.errors import (
    DecodeError,
    GivenUpError,
    LeftOutError,
    NotNow,
    RecordError,
    RejectedError,
    RouteError,
)
from service.failures.letters import HEADROOM_BYTES, REASON_BYTES, About, Letter, Letters, read_letter
from service.kafka.record import Headers, Record, RecordTooLarge
from tests.unit.fakes import FakeSink, Sent
from tests.unit.records import record

REJECTED = RejectedError("is too large", cure="send less")
ABOUT = About(
    route="order-placed", event_type="placed", workflow_id="order/A-1", workflow_url="http://ui/A-1"
)

HEADERS = st.lists(st.tuples(st.text(), st.none() | st.binary())).map(tuple)
RECORDS = st.builds(
    record,
    st.integers(0, 2**63 - 1),
    topic=st.from_regex(r"[A-Za-z0-9._-]{1,20}", fullmatch=True),
    partition=st.integers(0, 2**31 - 1),
    key=st.none() | st.binary(),
    value=st.none() | st.binary(),
    headers=HEADERS,
    timestamp_ms=st.integers(-(2**63), 2**63 - 1),
)


async def letter(of: Record, error: RecordError = REJECTED, about: About = ABOUT) -> Sent:
    sink = FakeSink()
    await Letters(sink, "shop").write(of, error, about)
    (sent,) = sink.sent
    return sent


def lying_in_kafka(sent: Sent, more: Headers = ()) -> Record:
    """The record that was sent, as a reader of the letter topic gets it."""
    headers = (*sent.headers, *more)
    return record(7, topic=sent.topic, key=sent.key, value=sent.value, headers=headers, timestamp_ms=0)


def read(sent: Sent) -> Letter:
    found = read_letter(lying_in_kafka(sent))
    assert found is not None
    return found


@given(RECORDS)
async def test_bytes_and_own_headers_come_first_and_untouched(of: Record) -> None:
    sent = await letter(of)
    assert (sent.topic, sent.key, sent.value) == ("shop.dead-letters", of.key, of.value)
    assert sent.headers[: len(of.headers)] == of.headers
    assert len(sent.headers) > len(of.headers)


async def test_the_reason_is_told_in_the_words_of_both_families_and_in_ours() -> None:
    sent = await letter(record(1042, topic="shop.orders", partition=2, timestamp_ms=-2))
    headers = dict(sent.headers)
    assert headers.pop("turnout-first-failed-at") == headers.pop("turnout-failed-at") != b""
    assert headers == {
        "__dlq.errors.topic": b"shop.orders",
        "__dlq.errors.partition": b"2",
        "__dlq.errors.offset": b"1042",
        "__dlq.errors.group": b"shop",
        "__dlq.errors.delivery.count": b"1",
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
        "turnout-error-class": b"fatal",
        "turnout-position": b"",
        "turnout-event-type": b"placed",
        "turnout-workflow-id": b"order/A-1",
        "turnout-workflow-url": b"http://ui/A-1",
        "turnout-sends": b"0",
        "turnout-letter": b"1 0",
    }


@pytest.mark.parametrize(
    ("error", "stage"),
    [
        (DecodeError("x"), b"decode"),
        (RouteError("x"), b"route"),
        (RejectedError("x"), b"dispatch"),
        (GivenUpError("x"), b"dispatch"),
        (LeftOutError("x"), b"person"),
    ],
)
async def test_a_letter_says_at_which_stage_the_record_was_given_up(error: RecordError, stage: bytes) -> None:
    assert (await letter(record(), error)).header("turnout-stage") == stage


async def test_a_letter_says_where_in_the_payload_and_whether_the_same_may_be_taken_another_time() -> None:
    sent = await letter(record(), RejectedError("x", position="lines.0.sku", retriable=True))
    assert sent.header("turnout-position") == b"lines.0.sku"
    assert sent.header("turnout-error-class") == b"retriable"


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


async def test_a_reason_that_is_too_long_is_cut_and_its_cure_is_not() -> None:
    sent = await letter(record(), RejectedError("x" * 2000, cure="write `skip`"))
    reason = sent.header("__dlq.errors.message") or b""
    assert (len(reason), reason[-20:]) == (REASON_BYTES, b"xxxxxx; write `skip`")


@given(st.text(), st.text())
async def test_whatever_the_texts_a_letter_is_not_much_larger_than_its_record(text: str, url: str) -> None:
    about = replace(ABOUT, event_type=text * 9_999, workflow_url=url * 9_999, workflow_id="x" * 240)
    of = record(topic="t" * 249)
    sent = await letter(of, RejectedError(text * 9_999, position=text * 9_999), about)
    assert lying_in_kafka(sent).size_bytes - of.size_bytes < HEADROOM_BYTES / 4


async def test_a_letter_that_does_not_fit_waits_and_is_not_given_up() -> None:
    sink = FakeSink()
    sink.errors.append(RecordTooLarge("no room"))
    with pytest.raises(NotNow, match=r"max\.message\.bytes"):
        await Letters(sink, "shop").write(record(), REJECTED)
    assert sink.sent == []


# --- read back ---


@given(RECORDS)
async def test_what_is_read_back_is_the_record_byte_for_byte(of: Record) -> None:
    assert read(await letter(of)).record == of


async def test_what_is_read_back_is_all_that_was_known() -> None:
    found = read(await letter(record(), RejectedError("x", cure="y", position="a.b", retriable=True)))
    assert (found.about, found.stage, found.error, found.reason) == (
        ABOUT,
        "dispatch",
        "RejectedError",
        "x; y",
    )
    assert (found.position, found.retriable, found.sends) == ("a.b", True, 0)
    assert found.first_failed_at == found.failed_at


@given(RECORDS, HEADERS.filter(lambda headers: "turnout-letter" not in dict(headers)))
async def test_a_letter_of_a_letter_and_headers_put_behind_it_do_not_blur_what_was_the_records_own(
    of: Record, more: Headers
) -> None:
    inner = lying_in_kafka(await letter(of))
    outer = lying_in_kafka(await letter(inner), more)
    found = read_letter(outer)
    assert found is not None
    assert found.record == inner
    again = read_letter(found.record)
    assert again is not None
    assert again.record == of


async def test_a_letter_sent_again_counts_its_sends_and_keeps_its_route_and_first_failure() -> None:
    long_ago = datetime(2026, 1, 31, 12, tzinfo=UTC)
    first = replace(read(await letter(record())), first_failed_at=long_ago)
    second = read(await letter(first.again(), about=About()))
    third = read(await letter(second.again(), about=About()))
    assert [one.sends for one in (first, second, third)] == [0, 1, 2]
    assert third.about.route == "order-placed"
    assert third.first_failed_at == long_ago < third.failed_at
    assert (await letter(second.again())).header("__dlq.errors.delivery.count") == b"3"


async def test_a_letter_without_route_that_is_sent_again_and_refused_by_one_has_that_route() -> None:
    first = read(await letter(record(), about=About()))
    assert read(await letter(first.again(), about=ABOUT)).about.route == "order-placed"


@given(RECORDS)
def test_a_record_that_is_no_letter_is_told_apart(of: Record) -> None:
    assert read_letter(of) is None


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
async def test_a_letter_of_a_time_that_is_none_in_utc_is_told_apart(moment: str) -> None:
    lies = lying_in_kafka(await letter(record()))
    for changed in ("turnout-failed-at", "turnout-first-failed-at"):
        headers = tuple((name, moment.encode() if name == changed else value) for name, value in lies.headers)
        assert read_letter(replace(lies, headers=headers)) is None


@given(st.data())
async def test_a_letter_that_someone_changed_is_read_or_told_apart_but_breaks_nothing(
    data: st.DataObject,
) -> None:
    sent = await letter(record(headers=(("a", b"1"),)))
    place = data.draw(st.integers(0, len(sent.headers) - 1))
    name, _ = sent.headers[place]
    change = st.tuples(st.just(name) | st.text(), st.none() | st.binary() | st.sampled_from(HOSTILE))
    changed = data.draw(st.just(()) | change.map(lambda header: (header,)))
    headers = (*sent.headers[:place], *changed, *sent.headers[place + 1 :])
    found = read_letter(replace(lying_in_kafka(sent), headers=headers))
    if found:
        # Whatever it says: it can be written again.
        await letter(found.again())


HOSTILE = [b"-1", b"1 -1", b"1 99", b"1 1 1", b"2 1", b"9" * 30, b"9" * 5000, b"2026-01-01T00:00:00", b"\xff"]
