import datetime

from google.protobuf import any_pb2 as _any_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_UNSPECIFIED: _ClassVar[Outcome]
    OUTCOME_ACCEPTED: _ClassVar[Outcome]
    OUTCOME_DUPLICATE: _ClassVar[Outcome]
    OUTCOME_PARKED: _ClassVar[Outcome]
    OUTCOME_SKIPPED: _ClassVar[Outcome]
    OUTCOME_REFUSED: _ClassVar[Outcome]

class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STATUS_UNSPECIFIED: _ClassVar[Status]
    STATUS_RUNNING: _ClassVar[Status]
    STATUS_COMPLETED: _ClassVar[Status]
    STATUS_FAILED: _ClassVar[Status]
    STATUS_CANCELED: _ClassVar[Status]
    STATUS_TERMINATED: _ClassVar[Status]
    STATUS_CONTINUED_AS_NEW: _ClassVar[Status]
    STATUS_TIMED_OUT: _ClassVar[Status]
    STATUS_PAUSED: _ClassVar[Status]
OUTCOME_UNSPECIFIED: Outcome
OUTCOME_ACCEPTED: Outcome
OUTCOME_DUPLICATE: Outcome
OUTCOME_PARKED: Outcome
OUTCOME_SKIPPED: Outcome
OUTCOME_REFUSED: Outcome
STATUS_UNSPECIFIED: Status
STATUS_RUNNING: Status
STATUS_COMPLETED: Status
STATUS_FAILED: Status
STATUS_CANCELED: Status
STATUS_TERMINATED: Status
STATUS_CONTINUED_AS_NEW: Status
STATUS_TIMED_OUT: Status
STATUS_PAUSED: Status

class Event(_message.Message):
    __slots__ = ("id", "source", "type", "subject", "time", "data_content_type", "data_schema", "extensions", "data")
    class ExtensionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    DATA_CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    DATA_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    EXTENSIONS_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    id: str
    source: str
    type: str
    subject: str
    time: str
    data_content_type: str
    data_schema: str
    extensions: _containers.ScalarMap[str, str]
    data: bytes
    def __init__(self, id: _Optional[str] = ..., source: _Optional[str] = ..., type: _Optional[str] = ..., subject: _Optional[str] = ..., time: _Optional[str] = ..., data_content_type: _Optional[str] = ..., data_schema: _Optional[str] = ..., extensions: _Optional[_Mapping[str, str]] = ..., data: _Optional[bytes] = ...) -> None: ...

class PublishRequest(_message.Message):
    __slots__ = ("topic", "event", "headers")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    topic: str
    event: Event
    headers: _containers.RepeatedCompositeFieldContainer[Header]
    def __init__(self, topic: _Optional[str] = ..., event: _Optional[_Union[Event, _Mapping]] = ..., headers: _Optional[_Iterable[_Union[Header, _Mapping]]] = ...) -> None: ...

class Header(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: bytes
    def __init__(self, name: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...

class PublishResponse(_message.Message):
    __slots__ = ("outcomes",)
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    outcomes: _containers.RepeatedCompositeFieldContainer[RouteOutcome]
    def __init__(self, outcomes: _Optional[_Iterable[_Union[RouteOutcome, _Mapping]]] = ...) -> None: ...

class RouteOutcome(_message.Message):
    __slots__ = ("outcome", "route", "workflow_id", "detail")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_ID_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    outcome: Outcome
    route: str
    workflow_id: str
    detail: str
    def __init__(self, outcome: _Optional[_Union[Outcome, str]] = ..., route: _Optional[str] = ..., workflow_id: _Optional[str] = ..., detail: _Optional[str] = ...) -> None: ...

class StartRequest(_message.Message):
    __slots__ = ("workflow_id", "workflow", "task_queue", "args_json", "namespace", "execution_timeout", "run_timeout", "start_delay", "summary", "memo_json")
    class MemoJsonEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    WORKFLOW_ID_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    TASK_QUEUE_FIELD_NUMBER: _ClassVar[int]
    ARGS_JSON_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    RUN_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    START_DELAY_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    MEMO_JSON_FIELD_NUMBER: _ClassVar[int]
    workflow_id: str
    workflow: str
    task_queue: str
    args_json: _containers.RepeatedScalarFieldContainer[str]
    namespace: str
    execution_timeout: _duration_pb2.Duration
    run_timeout: _duration_pb2.Duration
    start_delay: _duration_pb2.Duration
    summary: str
    memo_json: _containers.ScalarMap[str, str]
    def __init__(self, workflow_id: _Optional[str] = ..., workflow: _Optional[str] = ..., task_queue: _Optional[str] = ..., args_json: _Optional[_Iterable[str]] = ..., namespace: _Optional[str] = ..., execution_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., run_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., start_delay: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., summary: _Optional[str] = ..., memo_json: _Optional[_Mapping[str, str]] = ...) -> None: ...

class StartResponse(_message.Message):
    __slots__ = ("outcome", "workflow_id", "url")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_ID_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    outcome: Outcome
    workflow_id: str
    url: str
    def __init__(self, outcome: _Optional[_Union[Outcome, str]] = ..., workflow_id: _Optional[str] = ..., url: _Optional[str] = ...) -> None: ...

class SignalRequest(_message.Message):
    __slots__ = ("workflow_id", "name", "args_json", "namespace")
    WORKFLOW_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ARGS_JSON_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    workflow_id: str
    name: str
    args_json: _containers.RepeatedScalarFieldContainer[str]
    namespace: str
    def __init__(self, workflow_id: _Optional[str] = ..., name: _Optional[str] = ..., args_json: _Optional[_Iterable[str]] = ..., namespace: _Optional[str] = ...) -> None: ...

class SignalResponse(_message.Message):
    __slots__ = ("outcome", "workflow_id", "url")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_ID_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    outcome: Outcome
    workflow_id: str
    url: str
    def __init__(self, outcome: _Optional[_Union[Outcome, str]] = ..., workflow_id: _Optional[str] = ..., url: _Optional[str] = ...) -> None: ...

class UpdateRequest(_message.Message):
    __slots__ = ("workflow_id", "name", "args_json", "namespace")
    WORKFLOW_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ARGS_JSON_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    workflow_id: str
    name: str
    args_json: _containers.RepeatedScalarFieldContainer[str]
    namespace: str
    def __init__(self, workflow_id: _Optional[str] = ..., name: _Optional[str] = ..., args_json: _Optional[_Iterable[str]] = ..., namespace: _Optional[str] = ...) -> None: ...

class UpdateResponse(_message.Message):
    __slots__ = ("result_json", "update_id")
    RESULT_JSON_FIELD_NUMBER: _ClassVar[int]
    UPDATE_ID_FIELD_NUMBER: _ClassVar[int]
    result_json: str
    update_id: str
    def __init__(self, result_json: _Optional[str] = ..., update_id: _Optional[str] = ...) -> None: ...

class QueryRequest(_message.Message):
    __slots__ = ("workflow_id", "name", "args_json", "namespace")
    WORKFLOW_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ARGS_JSON_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    workflow_id: str
    name: str
    args_json: _containers.RepeatedScalarFieldContainer[str]
    namespace: str
    def __init__(self, workflow_id: _Optional[str] = ..., name: _Optional[str] = ..., args_json: _Optional[_Iterable[str]] = ..., namespace: _Optional[str] = ...) -> None: ...

class QueryResponse(_message.Message):
    __slots__ = ("result_json",)
    RESULT_JSON_FIELD_NUMBER: _ClassVar[int]
    result_json: str
    def __init__(self, result_json: _Optional[str] = ...) -> None: ...

class DescribeRequest(_message.Message):
    __slots__ = ("workflow_id", "namespace")
    WORKFLOW_ID_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    workflow_id: str
    namespace: str
    def __init__(self, workflow_id: _Optional[str] = ..., namespace: _Optional[str] = ...) -> None: ...

class DescribeResponse(_message.Message):
    __slots__ = ("workflow_id", "run_id", "namespace", "workflow", "task_queue", "status", "started_at", "closed_at", "history_events", "workers", "url")
    WORKFLOW_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    TASK_QUEUE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    CLOSED_AT_FIELD_NUMBER: _ClassVar[int]
    HISTORY_EVENTS_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    workflow_id: str
    run_id: str
    namespace: str
    workflow: str
    task_queue: str
    status: Status
    started_at: _timestamp_pb2.Timestamp
    closed_at: _timestamp_pb2.Timestamp
    history_events: int
    workers: int
    url: str
    def __init__(self, workflow_id: _Optional[str] = ..., run_id: _Optional[str] = ..., namespace: _Optional[str] = ..., workflow: _Optional[str] = ..., task_queue: _Optional[str] = ..., status: _Optional[_Union[Status, str]] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., closed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., history_events: _Optional[int] = ..., workers: _Optional[int] = ..., url: _Optional[str] = ...) -> None: ...

class ResultRequest(_message.Message):
    __slots__ = ("workflow_id", "namespace", "wait")
    WORKFLOW_ID_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    workflow_id: str
    namespace: str
    wait: _duration_pb2.Duration
    def __init__(self, workflow_id: _Optional[str] = ..., namespace: _Optional[str] = ..., wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ResultResponse(_message.Message):
    __slots__ = ("status", "result_json", "failure")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    RESULT_JSON_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    status: Status
    result_json: str
    failure: Failure
    def __init__(self, status: _Optional[_Union[Status, str]] = ..., result_json: _Optional[str] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ...) -> None: ...

class CancelRequest(_message.Message):
    __slots__ = ("workflow_id", "reason", "namespace")
    WORKFLOW_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    workflow_id: str
    reason: str
    namespace: str
    def __init__(self, workflow_id: _Optional[str] = ..., reason: _Optional[str] = ..., namespace: _Optional[str] = ...) -> None: ...

class CancelResponse(_message.Message):
    __slots__ = ("outcome", "workflow_id", "url")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_ID_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    outcome: Outcome
    workflow_id: str
    url: str
    def __init__(self, outcome: _Optional[_Union[Outcome, str]] = ..., workflow_id: _Optional[str] = ..., url: _Optional[str] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("type", "message")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    type: str
    message: str
    def __init__(self, type: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("kind", "outcomes", "failure")
    KIND_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    kind: str
    outcomes: _containers.RepeatedCompositeFieldContainer[RouteOutcome]
    failure: Failure
    def __init__(self, kind: _Optional[str] = ..., outcomes: _Optional[_Iterable[_Union[RouteOutcome, _Mapping]]] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ...) -> None: ...

class StatusDetails(_message.Message):
    __slots__ = ("code", "message", "details")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    details: _containers.RepeatedCompositeFieldContainer[_any_pb2.Any]
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ..., details: _Optional[_Iterable[_Union[_any_pb2.Any, _Mapping]]] = ...) -> None: ...
