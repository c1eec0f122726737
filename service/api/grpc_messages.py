"""What is asked and answered over gRPC: messages become what the handler takes, its answers messages."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError as NoMessage
from google.protobuf.message import Message
from pydantic import BaseModel, JsonValue

from service.api import models
from service.api.proto.turnout.api.v1 import handler_pb2 as pb
from service.api.reading import PARTITION_KEY, asked_as, read_json
from service.api.refusals import Kind, Refusal
from service.events.strict_json import Limits
from service.kafka.record import Headers

PASSED_ON = ("traceparent", "tracestate")
"""Metadata that an event takes along, unless it has headers of that name."""

_ATTRIBUTES = {
    "id": "id",
    "source": "source",
    "type": "type",
    "subject": "subject",
    "time": "time",
    "data_schema": "dataschema",
}
_LONGEST = timedelta(days=100 * 365)

Metadata = Mapping[str, str]


class Ask(Protocol):
    """Reads what a method is asked.

    Raises:
        Refusal: It is no such message, or cannot be asked.
    """

    def __call__(self, message: bytes, metadata: Metadata, limits: Limits, /) -> Any:
        """What the handler takes."""
        ...


@dataclass(frozen=True, slots=True)
class Method:
    """One method: what is asked, and how what the handler answers is told."""

    ask: Ask
    answer: Callable[[Any], Message]


def _asked(request: type[Message], model: type[BaseModel]) -> Ask:
    def ask(message: bytes, metadata: Metadata, limits: Limits) -> Any:
        del metadata
        return asked_as(model, dict(_values(_parsed(request, message), limits)))

    return ask


def _parsed(request: type[Message], message: bytes) -> Any:
    try:
        return request.FromString(message)
    except NoMessage as error:
        name = request.DESCRIPTOR.full_name
        raise Refusal(Kind.INVALID_ARGUMENT, f"it is no {name}", "compare handler.proto") from error


def _values(message: Message, limits: Limits) -> Iterable[tuple[str, Any]]:
    for field, value in message.ListFields():
        match field.name:
            case "args_json":
                texts = enumerate(value)
                yield "args", [read_json(one.encode(), limits, f"argument {n + 1}") for n, one in texts]
            case "memo_json":
                texts = value.items()
                yield "memo", {name: read_json(one.encode(), limits, "memo") for name, one in texts}
            case name if isinstance(value, Duration):
                yield name, _span(name, value)
            case name:
                yield name, value


def _span(name: str, span: Duration) -> timedelta:
    microseconds = span.seconds * 1_000_000 + span.nanos // 1000
    if not 0 <= microseconds <= _LONGEST // timedelta(microseconds=1):
        raise Refusal(
            Kind.INVALID_ARGUMENT, f"{name} is negative or beyond 100 years", "send a duration between"
        )
    return timedelta(microseconds=microseconds)


def _event(message: bytes, metadata: Metadata, limits: Limits) -> models.Publish:
    """The event as it would lie in the topic, in the binary mode of CloudEvents; the decoder judges it."""
    del limits
    request = _parsed(pb.PublishRequest, message)
    if not request.HasField("event"):
        raise Refusal(Kind.INVALID_ARGUMENT, "there is no event", "send a CloudEvent as `event`")
    event = request.event
    headers = [("ce_specversion", b"1.0")]
    headers += [
        (f"ce_{name}", text.encode())
        for field, name in _ATTRIBUTES.items()
        if (text := getattr(event, field))
    ]
    headers += [(f"ce_{name}", text.encode()) for name, text in sorted(event.extensions.items())]
    if event.data_content_type:
        headers.append(("content-type", event.data_content_type.encode()))
    headers += [(one.name, one.value) for one in request.headers]
    return models.Publish(
        topic=request.topic,
        value=event.data if event.HasField("data") else None,
        headers=(*headers, *_passed_on(headers, metadata)),
        key=key.encode() if (key := event.extensions.get(PARTITION_KEY)) else None,
    )


def _passed_on(headers: Iterable[tuple[str, bytes]], metadata: Metadata) -> Headers:
    given = {name for name, _ in headers}
    return tuple(
        (name, metadata[name].encode()) for name in PASSED_ON if name in metadata and name not in given
    )


def _published(answer: models.Published) -> pb.PublishResponse:
    return pb.PublishResponse(outcomes=map(outcome_told, answer.outcomes))


def outcome_told(outcome: models.RouteOutcome) -> pb.RouteOutcome:
    """What became of one route's part of an event."""
    return pb.RouteOutcome(
        outcome=f"OUTCOME_{outcome.outcome.upper()}",
        route=outcome.route,
        workflow_id=outcome.workflow_id,
        detail=text_told(outcome.detail),
    )


def failure_told(failure: models.Failure) -> pb.Failure:
    """What a workflow says went wrong."""
    return pb.Failure(type=text_told(failure.type), message=text_told(failure.message))


def _taken(response: Callable[..., Message]) -> Callable[[models.Taken], Message]:
    def answer(taken: models.Taken) -> Message:
        outcome = f"OUTCOME_{taken.outcome.upper()}"
        return response(outcome=outcome, workflow_id=taken.workflow_id, url=taken.url)

    return answer


def _updated(answer: models.Updated) -> pb.UpdateResponse:
    return pb.UpdateResponse(result_json=_json(answer.result), update_id=answer.update_id)


def _answered(answer: models.Answered) -> pb.QueryResponse:
    return pb.QueryResponse(result_json=_json(answer.result))


def _described(answer: models.Described) -> pb.DescribeResponse:
    return pb.DescribeResponse(
        workflow_id=answer.workflow_id,
        run_id=answer.run_id,
        namespace=answer.namespace,
        workflow=answer.workflow,
        task_queue=answer.task_queue,
        status=_status(answer.status),
        started_at=answer.started_at,
        closed_at=answer.closed_at,
        history_events=answer.history_events,
        workers=answer.workers,
        url=answer.url,
    )


def _ended(answer: models.Ended) -> pb.ResultResponse:
    return pb.ResultResponse(
        status=_status(answer.status),
        result_json=_json(answer.result) if answer.status == "completed" else None,
        failure=failure_told(answer.failure) if answer.failure else None,
    )


def _status(status: models.Status) -> str:
    return "STATUS_UNSPECIFIED" if status == "unknown" else f"STATUS_{status.upper()}"


def _json(value: JsonValue) -> str:
    try:
        # In ASCII, so that a lone surrogate comes through, which no text of protobuf may hold.
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    except ValueError as error:
        raise Refusal(
            Kind.NOT_JSON, "what the workflow returned is no JSON: it holds NaN or infinity"
        ) from error


def text_told(text: str) -> str:
    """`text` as a text of protobuf may hold it."""
    return text.encode("utf-8", "replace").decode()


METHODS: Mapping[str, Method] = {
    "Publish": Method(_event, _published),
    "Start": Method(_asked(pb.StartRequest, models.Start), _taken(pb.StartResponse)),
    "Signal": Method(_asked(pb.SignalRequest, models.Signal), _taken(pb.SignalResponse)),
    "Update": Method(_asked(pb.UpdateRequest, models.Update), _updated),
    "Query": Method(_asked(pb.QueryRequest, models.Query), _answered),
    "Describe": Method(_asked(pb.DescribeRequest, models.Describe), _described),
    "Result": Method(_asked(pb.ResultRequest, models.Result), _ended),
    "Cancel": Method(_asked(pb.CancelRequest, models.Cancel), _taken(pb.CancelResponse)),
}
"""By name; in small letters it is the name of what the handler does."""
