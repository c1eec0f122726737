"""What a history says to who has no key for it: that it is hidden, not that nothing was done."""

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from temporalio.api.common.v1 import ActivityType, Payload, Payloads
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import (
    ActivityTaskCompletedEventAttributes,
    ActivityTaskScheduledEventAttributes,
    HistoryEvent,
)
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DataConverter

from service.temporal.access import Access
from service.temporal.chronicle import PUBLISH, Published, chronicle
from service.temporal.closed import text_of
from workflows.encryption import ENCODING

ENCRYPTED = Payloads(payloads=[Payload(metadata={"encoding": ENCODING}, data=b"?")])
WITHOUT_KEYS = Access().converter


def history(said: Payloads, written: Payloads) -> Sequence[HistoryEvent]:
    scheduled = ActivityTaskScheduledEventAttributes(activity_type=ActivityType(name=PUBLISH), input=said)
    completed = ActivityTaskCompletedEventAttributes(scheduled_event_id=5, result=written)
    return [
        HistoryEvent(event_id=5, activity_task_scheduled_event_attributes=scheduled),
        HistoryEvent(event_id=7, activity_task_completed_event_attributes=completed),
    ]


async def published(events: Sequence[HistoryEvent], converter: DataConverter) -> Sequence[Published]:
    async def all_of(*, rpc_timeout: timedelta) -> AsyncIterator[HistoryEvent]:
        assert rpc_timeout
        for event in events:
            yield event

    handle = SimpleNamespace(fetch_history_events=all_of)
    client: Any = SimpleNamespace(data_converter=converter, get_workflow_handle=lambda *_, **__: handle)
    return (await chronicle(client, "order/A", "run")).published


async def test_where_a_result_lies_is_hidden_from_who_has_no_key_and_it_is_published() -> None:
    (one,) = await published(history(ENCRYPTED, ENCRYPTED), WITHOUT_KEYS)
    assert "set TURNOUT_ENCRYPTION__KEYS_FILE" in one.hidden
    assert not one.failure


async def test_a_result_of_whose_place_its_worker_says_nothing_is_published() -> None:
    encode = pydantic_data_converter.encode
    said = Payloads(payloads=await encode([{"type": "sent", "topic": "out"}]))
    nothing = Payloads(payloads=await encode([None]))
    (one,) = await published(history(said, nothing), pydantic_data_converter)
    assert one == Published("sent", "out", hidden="its worker does not tell it")


async def test_what_a_failure_says_to_who_has_no_key_is_why_it_is_not_told() -> None:
    failure = Failure(message="Encoded failure", encoded_attributes=ENCRYPTED.payloads[0])
    assert "set TURNOUT_ENCRYPTION__KEYS_FILE" in await text_of(WITHOUT_KEYS, failure)
