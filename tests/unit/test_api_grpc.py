"""The gRPC skin, with a handler that only notes what it is asked: who is let in, and what is said."""

import asyncio
import inspect
import itertools
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import grpc
import hypothesis
import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.duration_pb2 import Duration
from google.rpc import status_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from service.api import grpc as skin
from service.api import grpc_health, grpc_reading, models
from service.api.auth import Bearer, Caller
from service.api.grpc_messages import METHODS
from service.api.grpc_refusals import STATUS, told_of
from service.api.handler import Handler
from service.api.jwt_tokens import JwtTokens, Rules
from service.api.keys import Keys, KeysMissing, Patience
from service.api.proto.turnout.api.v1 import handler_pb2 as pb
from service.api.refusals import Kind, Refusal
from service.api.tokens import StaticTokens
from service.errors import ConfigurationError
from service.events.cloudevents import decode_cloudevent
from service.events.strict_json import Limits
from service.events.values import JsonValues
from service.handler_api import serving_api
from service.kafka.record import Record
from service.settings import ApiSettings, Settings
from service.telemetry.health import Health, Problem
from service.telemetry.metrics import Metrics
from tests.grpc_client import Client, Refused, client, write_certificate
from tests.issuer import AUDIENCE, ISSUER, Issuer

TOKEN = "5f4dcc3b5aa765d61d8327deb882cf99"
LIMITS = Limits(10_000, 8)
CODE = grpc.StatusCode
PROTO = Path(skin.__file__).parent / "proto"
UNHURRIED = hypothesis.settings(deadline=None, max_examples=50)


@dataclass
class Notes:
    """Stands for the handler: notes what it is asked, and answers or raises `answer`."""

    answer: Any = None
    asked: list[tuple[Any, models.Call]] = field(default_factory=list)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    limits: Limits = LIMITS

    async def query(self, asked: Any, call: models.Call) -> models.Answered:
        self.asked.append((asked, call))
        self.begun.set()
        if isinstance(self.answer, Exception):
            raise self.answer
        if isinstance(self.answer, asyncio.Event):
            try:
                await self.answer.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
            return models.Answered(result=None)
        return models.Answered(result=self.answer)


@dataclass
class Served:
    """A server and its parts."""

    notes: Notes
    health: Health
    address: str
    problems: list[Problem]


@asynccontextmanager
async def serving(
    guard: Bearer | None = None, notes: Notes | None = None, tls: skin.Tls | None = None, calls: int = 100
) -> AsyncIterator[Served]:
    notes = notes or Notes()
    health = Health(Metrics())
    problems: list[Problem] = []
    health.watch(lambda: problems)
    health.started()
    handler: Any = notes
    async with skin.serving_grpc(
        handler, guard, health, "127.0.0.1:0", calls=calls, connections=50, tls=tls
    ) as address:
        yield Served(notes, health, address, problems)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as server:
        yield server


@pytest.fixture
async def asking(served: Served) -> AsyncIterator[Client]:
    async with client(served.address) as asking:
        yield asking


QUERY = pb.QueryRequest(workflow_id="order/1", name="status")


# The messages.


def test_the_generated_messages_are_those_of_the_proto(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", "-I", ".", f"--python_out={tmp_path}",
         f"--pyi_out={tmp_path}", "turnout/api/v1/handler.proto"],
        cwd=PROTO, check=True, timeout=60,
    )  # fmt: skip
    for name in ("handler_pb2.py", "handler_pb2.pyi"):
        made, kept = (folder / "turnout/api/v1" / name for folder in (tmp_path, PROTO))
        assert made.read_text() == kept.read_text(), "make proto writes them anew"


def test_there_is_a_method_for_each_function_of_the_contract() -> None:
    functions = {
        name.capitalize()
        for name, function in inspect.getmembers(Handler, inspect.iscoroutinefunction)
        if not name.startswith("_")
    }
    proto = descriptor_pb2.FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(proto)
    (service,) = proto.service
    assert functions == set(METHODS) == {one.name for one in service.method}
    for one in service.method:
        assert one.input_type == f".turnout.api.v1.{one.name}Request"
        assert one.output_type == f".turnout.api.v1.{one.name}Response"


def test_each_kind_of_refusal_has_a_status_and_each_word_a_name() -> None:
    assert set(STATUS) == set(Kind)
    outcomes = get_args(models.RouteOutcome.model_fields["outcome"].annotation)
    assert {f"OUTCOME_{one.upper()}" for one in outcomes} == set(pb.Outcome.keys()) - {"OUTCOME_UNSPECIFIED"}
    named = {f"STATUS_{one.upper()}" for one in get_args(models.Status)} - {"STATUS_UNKNOWN"}
    assert named == set(pb.Status.keys()) - {"STATUS_UNSPECIFIED"}


@pytest.mark.parametrize("name", METHODS)
@UNHURRIED
@given(message=st.binary(max_size=200))
def test_any_bytes_are_asked_or_refused_in_words(name: str, message: bytes) -> None:
    with suppress(Refusal):
        METHODS[name].ask(message, {}, LIMITS)


TEXT = st.text(max_size=5)
NAMES = st.text("abc/", min_size=1, max_size=5)


@UNHURRIED
@given(
    NAMES,
    NAMES,
    st.lists(st.integers() | st.text() | st.none(), max_size=4),
    st.timedeltas(timedelta(0), timedelta(days=9)),
)
def test_what_is_asked_comes_through(id_: str, name: str, args: list[Any], span: timedelta) -> None:
    args = [one for one in args if not isinstance(one, int) or abs(one) < 1 << 63]
    delay = Duration()
    delay.FromTimedelta(span)
    texts = [json.dumps(one) for one in args]
    start = pb.StartRequest(
        workflow_id=id_,
        workflow=name,
        task_queue=name,
        args_json=texts,
        start_delay=delay,
        memo_json={"a": "[1]"},
    )
    asked = METHODS["Start"].ask(start.SerializeToString(), {}, LIMITS)
    assert list(asked.args) == args
    assert (asked.workflow_id, asked.workflow, asked.task_queue) == (id_, name, name)
    assert (asked.start_delay, asked.run_timeout, asked.memo) == (span, None, {"a": [1]})


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        (pb.SignalRequest(workflow_id="a"), "name: Field required"),
        (pb.SignalRequest(workflow_id="a\n", name="n"), "workflow_id: "),
        (pb.SignalRequest(workflow_id="a" * 241, name="n"), "workflow_id: "),
        (pb.SignalRequest(workflow_id="a", name="n", namespace=""), "namespace: "),
        (pb.SignalRequest(workflow_id="a", name="n", args_json=["1", "{"]), "the argument 2 is not JSON"),
        (pb.SignalRequest(workflow_id="a", name="n", args_json=["[" * 9 + "]" * 9]), "nested deeper than 8"),
        (pb.SignalRequest(workflow_id="a", name="n", args_json=[str(1 << 64)]), "beyond 64 bits"),
        (pb.SignalRequest(workflow_id="a", name="n", args_json=["1"] * 101), "args: "),
        (pb.ResultRequest(workflow_id="a", wait=Duration(seconds=-1)), "wait is negative or"),
        (pb.ResultRequest(workflow_id="a", wait=Duration(seconds=1 << 62)), "wait is negative or beyond"),
        (pb.StartRequest(workflow_id="a", memo_json={"m": "x"}), "the memo is not JSON"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_said(request_: Any, problem: str) -> None:
    name = request_.DESCRIPTOR.name.removesuffix("Request")
    with pytest.raises(Refusal) as error:
        METHODS[name].ask(request_.SerializeToString(), {}, LIMITS)
    assert problem in str(error.value)
    assert error.value.kind is Kind.INVALID_ARGUMENT


def test_an_event_lies_in_the_topic_as_the_decoder_reads_it() -> None:
    event = pb.Event(
        id="e-1", source="/shop", type="order.placed", subject="order/1", time="2026-01-02T03:04:05Z",
        data_content_type="application/json", extensions={"partitionkey": "k", "tenant": "ä"},
        data=b'{"n":9007199254740993}',
    )  # fmt: skip
    request = pb.PublishRequest(
        topic="orders", event=event, headers=[pb.Header(name="correlation", value=b"\xff")]
    )
    trace = {"traceparent": "00-1-2-01", "tracestate": "a=b", "other": "x"}
    asked = METHODS["Publish"].ask(request.SerializeToString(), trace, LIMITS)
    assert (asked.topic, asked.key) == ("orders", b"k")
    headers = dict(asked.headers)
    assert (headers["traceparent"], headers["correlation"]) == (b"00-1-2-01", b"\xff")
    assert "other" not in headers
    decoded = decode_cloudevent(
        Record("orders", 0, 0, asked.key, asked.value, asked.headers, 0), None, JsonValues(LIMITS), LIMITS
    )
    assert (decoded.id, decoded.source, decoded.type) == ("e-1", "/shop", "order.placed")
    assert (decoded.subject, decoded.time) == ("order/1", "2026-01-02T03:04:05Z")
    assert decoded.data == {"n": 9007199254740993}
    assert decoded.ext["tenant"] == "ä"
    without = METHODS["Publish"].ask(
        pb.PublishRequest(event=pb.Event(id="e")).SerializeToString(), {}, LIMITS
    )
    assert without.value is None


def test_headers_of_the_event_go_before_those_of_the_call() -> None:
    request = pb.PublishRequest(event=pb.Event(), headers=[pb.Header(name="traceparent", value=b"own")])
    asked = METHODS["Publish"].ask(request.SerializeToString(), {"traceparent": "call"}, LIMITS)
    assert [value for name, value in asked.headers if name == "traceparent"] == [b"own"]


def test_answers_are_told_whole() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    described = METHODS["Describe"].answer(
        models.Described(
            workflow_id="a", run_id="r", namespace="n", workflow="W", task_queue="q", status="unknown",
            started_at=at, closed_at=None, history_events=3, workers=0, url="u",
        )
    )  # fmt: skip
    assert isinstance(described, pb.DescribeResponse)
    assert described.started_at.ToDatetime(UTC) == at
    assert not described.HasField("closed_at")
    assert described.HasField("workers")
    assert described.status == pb.STATUS_UNSPECIFIED
    none = METHODS["Result"].answer(models.Ended(status="completed", result=None, failure=None))
    assert none == pb.ResultResponse(status=pb.STATUS_COMPLETED, result_json="null")
    failure = models.Failure(type="PaymentFailed", message="not paid")
    failed = METHODS["Result"].answer(models.Ended(status="failed", result=None, failure=failure))
    assert failed == pb.ResultResponse(
        status=pb.STATUS_FAILED, failure=pb.Failure(type="PaymentFailed", message="not paid")
    )
    large = METHODS["Query"].answer(models.Answered(result={"n": 1 << 60, "text": "\ud800"}))
    assert large == pb.QueryResponse(result_json='{"n":1152921504606846976,"text":"\\ud800"}')
    with pytest.raises(Refusal, match="NaN"):
        METHODS["Query"].answer(models.Answered(result=float("nan")))


OUTCOMES = st.builds(
    models.RouteOutcome,
    outcome=st.sampled_from(["accepted", "refused"]),
    route=TEXT,
    workflow_id=st.text(max_size=240),
    detail=st.text(max_size=900),
)


@UNHURRIED
@given(
    TEXT | st.text(min_size=2_000, max_size=2_500),
    st.lists(OUTCOMES, max_size=40),
    st.text() | st.just("ä" * 9_000),
)
@hypothesis.example(
    text="ä" * 2_000,
    outcomes=[models.RouteOutcome(outcome="refused", route="r", workflow_id="w" * 240, detail="d" * 900)]
    * 40,
    failed="ä" * 9_000,
)
def test_a_refusal_fits_into_what_clients_take_of_metadata(text: str, outcomes: Any, failed: str) -> None:
    refusal = Refusal(Kind.REFUSED, text, outcomes=outcomes, failure=models.Failure(type="T", message=failed))
    _, message, details = told_of(refusal)
    assert len(details) * 4 / 3 + len(message.encode()) * 3 < 8000
    status = status_pb2.Status.FromString(details)
    told = pb.Refusal()
    assert status.details[0].Unpack(told)
    assert told.kind == "refused"
    if outcomes:
        assert told.outcomes


# Calls.


async def test_a_call_reaches_the_handler_with_what_stands_in_its_metadata(
    served: Served, asking: Client
) -> None:
    served.notes.answer = {"sum": 1}
    answer = await asking.ask(QUERY, metadata=[("idempotency-key", "k-1")], timeout=20)
    assert answer == pb.QueryResponse(result_json='{"sum":1}')
    ((asked, call),) = served.notes.asked
    assert asked == models.Query(workflow_id="order/1", name="status")
    assert (call.caller, call.key) == ("", "k-1")
    assert call.limit
    # gRPC rounds up what a client's deadline leaves.
    assert timedelta(seconds=5) < call.limit < timedelta(seconds=19.5), "some of it is left for the answer"


async def test_without_a_deadline_the_service_decides(served: Served, asking: Client) -> None:
    await asking.ask(QUERY, timeout=None)
    assert served.notes.asked[0][1].limit is None


@pytest.mark.parametrize("kind", Kind)
async def test_a_refusal_comes_with_its_status_and_its_details(
    kind: Kind, served: Served, asking: Client
) -> None:
    outcomes = [models.RouteOutcome(outcome="refused", route="r", workflow_id="w", detail="d")]
    failure = models.Failure(type="T", message="ü")
    served.notes.answer = Refusal(kind, "the reason", "the cure", outcomes=outcomes, failure=failure)
    refused = await asking.refusal(QUERY)
    assert (refused.code, refused.text) == (STATUS[kind], "the reason; the cure")
    assert refused.more == pb.Refusal(
        kind=kind,
        outcomes=[pb.RouteOutcome(outcome=pb.OUTCOME_REFUSED, route="r", workflow_id="w", detail="d")],
        failure=pb.Failure(type="T", message="ü"),
    )


async def test_a_defect_is_logged_and_the_client_learns_nothing_of_it(served: Served, asking: Client) -> None:
    served.notes.answer = ValueError("inner secret")
    with capture_logs() as lines:
        refused = await asking.refusal(QUERY)
    assert refused == Refused(
        CODE.INTERNAL, "it is not known what became of it; it may be repeated", pb.Refusal(kind="defect")
    )
    assert [line["event"] for line in lines] == ["defect while a call was answered"]


async def test_a_message_that_is_too_large_is_refused(asking: Client) -> None:
    most = LIMITS.value_bytes + skin.MESSAGE_MARGIN
    refused = await asking.refusal(pb.QueryRequest(workflow_id="a", args_json=["1" * most]))
    assert refused.code is CODE.RESOURCE_EXHAUSTED
    assert "larger than max" in refused.text


async def test_metadata_that_is_too_large_is_refused(asking: Client) -> None:
    refused = await asking.refusal(QUERY, metadata=[("x", "a" * 3 * skin.METADATA_BYTES)])
    assert refused.code is CODE.RESOURCE_EXHAUSTED


async def test_a_key_that_comes_twice_is_refused(asking: Client) -> None:
    refused = await asking.refusal(QUERY, metadata=[("idempotency-key", "a"), ("idempotency-key", "b")])
    assert (refused.code, refused.text) == (
        CODE.INVALID_ARGUMENT,
        "idempotency-key comes twice in the metadata; send it once",
    )


@pytest.mark.parametrize("key", ["", "a b", "a" * 201])
async def test_a_key_that_is_none_is_refused(served: Served, asking: Client, key: str) -> None:
    refused = await asking.refusal(QUERY, metadata=[("idempotency-key", key)])
    assert refused.code is CODE.INVALID_ARGUMENT
    assert "the idempotency key is not" in refused.text
    assert not served.notes.asked


async def test_who_sends_no_message_is_not_waited_for(
    asking: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grpc_reading, "MESSAGE_SECONDS", 0.1)
    for path in ("turnout.api.v1.Handler/Query", "grpc.health.v1.Health/Check"):
        silent: Any = asking.channel.stream_unary(f"/{path}")()
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await silent
        assert error.value.code() in {CODE.DEADLINE_EXCEEDED, CODE.INVALID_ARGUMENT}
        ended: Any = asking.channel.stream_unary(f"/{path}")()
        await ended.done_writing()
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await ended
        assert error.value.code() is CODE.INVALID_ARGUMENT


async def test_a_client_that_leaves_ends_its_call(served: Served, asking: Client) -> None:
    served.notes.answer = asyncio.Event()
    leaving = asyncio.create_task(asking.ask(QUERY))
    async with asyncio.timeout(10):
        await served.notes.begun.wait()
        leaving.cancel()
        await served.notes.cancelled.wait()


async def test_more_calls_than_are_held_are_refused_and_the_others_go_on() -> None:
    notes = Notes(answer=asyncio.Event())
    async with serving(notes=notes, calls=10) as served, client(served.address) as asking:
        calls = [asyncio.create_task(asking.refusal(QUERY)) for _ in range(500)]
        most = 10 + skin.MORE_CALLS
        # Which of them are held is the server's choice.
        for refused, done in enumerate(asyncio.as_completed(calls), start=1):
            assert (await done).code is CODE.RESOURCE_EXHAUSTED
            if refused == 500 - most:
                break
        assert len(notes.asked) <= most
        notes.answer.set()
        for call in calls:
            call.cancel()
        assert await asking.healthy() == "SERVING"


# Who is let in.


@pytest.fixture
def tokens(tmp_path: Path) -> StaticTokens:
    (tmp_path / "tokens").write_text(f"orders {TOKEN}")
    return StaticTokens(tmp_path / "tokens", "TURNOUT_API__TOKEN_FILE")


class _Fixed:
    def __init__(self, answer: bytes | None) -> None:
        self._answer = answer

    async def read(self) -> bytes:
        if self._answer is None:
            raise KeysMissing("nobody answers")
        return self._answer


def signed(key_set: bytes | None) -> JwtTokens:
    patience = Patience(timedelta(minutes=5), timedelta(hours=1), timedelta(seconds=10))
    return JwtTokens(Rules(ISSUER, [AUDIENCE], ["RS256"]), Keys(_Fixed(key_set), ("RS256",), patience))


def bearing(token: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {token}")]


async def test_only_who_has_a_good_token_is_let_in_and_nobody_elses_message_is_read(
    tokens: StaticTokens,
) -> None:
    guard = Bearer([tokens, signed(Issuer().key_set())])
    async with serving(guard) as served, client(served.address) as asking:
        for metadata, text in [
            ([], "a bearer token is needed"),
            (bearing("0" * 32), "the token is not known"),
            (bearing(Issuer.token(exp=-300.0)), "the token has expired"),
            (bearing(Issuer.token(aud="someone")), "the token is for another audience"),
        ]:
            refused = await asking.refusal(QUERY, metadata=metadata)
            assert refused == Refused(CODE.UNAUTHENTICATED, text, pb.Refusal(kind="unauthenticated"))
        twice = await asking.refusal(QUERY, metadata=bearing(TOKEN) * 2)
        assert twice.code is CODE.INVALID_ARGUMENT
        silent: Any = asking.channel.stream_unary("/turnout.api.v1.Handler/Query")()
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await asyncio.wait_for(silent, 5)
        assert error.value.code() is CODE.UNAUTHENTICATED
        unknown: Any = asking.channel.unary_unary("/turnout.api.v1.Handler/Unknown")
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await unknown(b"")
        assert error.value.code() is CODE.UNAUTHENTICATED
        assert not served.notes.asked
        await asking.ask(QUERY, metadata=bearing(TOKEN))
        await asking.ask(QUERY, metadata=bearing(Issuer.token(sub="billing")))
        assert [call.caller for _, call in served.notes.asked] == ["orders", "billing"]


async def test_while_nobody_can_be_told_apart_calls_may_come_again() -> None:
    async with serving(Bearer([signed(None)])) as served, client(served.address) as asking:
        refused = await asking.refusal(QUERY, metadata=bearing(Issuer.token()))
    assert refused == Refused(
        CODE.UNAVAILABLE, "tokens cannot be checked at present", pb.Refusal(kind="unavailable")
    )


async def test_a_defect_in_the_door_lets_nobody_in() -> None:
    class Broken:
        async def check(self, authorization: str | None) -> Caller:
            raise ValueError(authorization)

    guard: Any = Broken()
    async with serving(guard) as served, client(served.address) as asking:
        with capture_logs() as lines:
            refused = await asking.refusal(QUERY)
        assert not served.notes.asked
    assert (refused.code, refused.more) == (CODE.INTERNAL, pb.Refusal(kind="defect"))
    assert [line["event"] for line in lines] == ["defect while a caller was looked at"]


REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


async def services(asking: Client, *metadata: tuple[str, str]) -> list[str]:
    call = asking.channel.stream_stream(
        REFLECTION,
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )

    async def ask() -> AsyncIterator[Any]:
        yield reflection_pb2.ServerReflectionRequest(list_services="")
        yield reflection_pb2.ServerReflectionRequest(file_containing_symbol="turnout.api.v1.Handler")

    listed, file = [answer async for answer in call(ask(), metadata=metadata, timeout=10)]
    found = descriptor_pb2.FileDescriptorProto.FromString(
        file.file_descriptor_response.file_descriptor_proto[0]
    )
    assert [method.name for method in found.service[0].method] == list(METHODS)
    return sorted(one.name for one in listed.list_services_response.service)


async def test_reflection_tells_of_the_service_to_those_who_are_let_in(tokens: StaticTokens) -> None:
    async with serving(Bearer([tokens])) as served, client(served.address) as asking:
        asks: Any = asking.channel.stream_stream(REFLECTION)()
        assert await asks.code() is CODE.UNAUTHENTICATED
        assert await services(asking, *bearing(TOKEN)) == [
            "grpc.health.v1.Health",
            "grpc.reflection.v1alpha.ServerReflection",
            "turnout.api.v1.Handler",
        ]


# Health.


async def test_health_is_for_all_and_follows_readiness(tokens: StaticTokens) -> None:
    async with serving(Bearer([tokens])) as served, client(served.address) as asking:
        for service in ("", "turnout.api.v1.Handler"):
            assert await asking.healthy(service) == "SERVING"
        served.problems.append(Problem("Temporal", "it does not answer"))
        assert await asking.healthy() == "NOT_SERVING"
        served.problems.clear()
        assert await asking.healthy() == "SERVING"
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await asking.healthy("another")
        assert error.value.code() is CODE.NOT_FOUND
        listing: Any = asking.channel.unary_unary(
            "/grpc.health.v1.Health/List", response_deserializer=health_pb2.HealthListResponse.FromString
        )
        assert set((await listing(b"")).statuses) == {"", "turnout.api.v1.Handler"}


def watch(asking: Client, service: str = "") -> Any:
    call = asking.channel.unary_stream(
        "/grpc.health.v1.Health/Watch",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    return call(health_pb2.HealthCheckRequest(service=service), timeout=30)


async def looked_at(health: Health, times: int) -> None:
    """Wait until it was asked so often how things are."""
    looks = asyncio.Semaphore(0)

    def look() -> list[Problem]:
        looks.release()
        return []

    health.watch(look)
    for _ in range(times):
        await looks.acquire()


async def test_a_watcher_is_told_of_each_change(
    served: Served, asking: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grpc_health, "LOOK_SECONDS", 0.01)
    watching = watch(asking)
    assert (await watching.read()).status == health_pb2.HealthCheckResponse.SERVING
    await looked_at(served.health, 5)
    served.problems.append(Problem("Temporal", "it does not answer"))
    assert (await watching.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
    served.problems.clear()
    assert (await watching.read()).status == health_pb2.HealthCheckResponse.SERVING
    watching.cancel()
    assert (await watch(asking, "another").read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


async def test_who_asks_for_health_and_says_nothing_does_not_take_the_room_of_calls() -> None:
    async with serving(calls=10) as served, client(served.address) as asking:
        silent: list[Any] = [
            asking.channel.stream_unary("/grpc.health.v1.Health/Check")() for _ in range(10 + skin.MORE_CALLS)
        ]
        for done in itertools.islice(asyncio.as_completed(silent), len(silent) - grpc_health.MOST_SILENT):
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await done
            assert error.value.code() is CODE.RESOURCE_EXHAUSTED
        assert await asking.ask(QUERY)
        for call in silent:
            call.cancel()


async def test_watchers_without_a_token_do_not_take_the_room_of_calls(
    asking: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grpc_health, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(grpc_health, "MOST_WATCHERS", 3)
    watching = [watch(asking) for _ in range(3)]
    for one in watching:
        await one.read()
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await watch(asking).read()
    assert error.value.code() is CODE.RESOURCE_EXHAUSTED
    for one in watching:
        one.cancel()
    async with asyncio.timeout(10):
        while True:  # the server learns of it a moment later
            try:
                assert await watch(asking).read()
            except grpc.aio.AioRpcError:
                continue
            break


# Where it is served.


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[skin.Tls, bytes]:
    ca = write_certificate(tmp_path)
    return skin.Tls(tmp_path / "cert.pem", tmp_path / "key.pem"), ca


async def test_with_a_certificate_it_is_served_over_tls_and_rotates(
    tmp_path: Path, certificate: tuple[skin.Tls, bytes]
) -> None:
    tls, ca = certificate
    async with serving(tls=tls) as served:
        at = served.address.replace("127.0.0.1", "localhost")
        async with client(at, ca) as asking:
            await asking.ask(QUERY)
        new = write_certificate(tmp_path)
        async with client(at, new) as asking:
            await asking.ask(QUERY)
        async with client(at, ca) as asking:
            assert (await asking.refusal(QUERY)).code is CODE.UNAVAILABLE
        tls.key_file.write_text("half of a k")
        with capture_logs() as lines:
            for _ in range(2):
                async with client(at, new) as asking:
                    await asking.ask(QUERY)
        assert [line["event"] for line in lines] == [
            "the certificate cannot be read again; the one before is used"
        ]


@pytest.mark.parametrize("text", ["no certificate", None])
async def test_a_certificate_that_cannot_be_used_is_refused(
    certificate: tuple[skin.Tls, bytes], text: str | None
) -> None:
    tls, _ = certificate
    if text is None:
        tls.key_file.unlink()
    else:
        tls.cert_file.write_text(text)
    with pytest.raises(ConfigurationError, match=r"TURNOUT_API__GRPC_TLS_CERT_FILE=.* cannot be used: "):
        async with serving(tls=tls):
            pass


async def test_an_address_that_is_taken_is_refused(served: Served) -> None:
    handler: Any = Notes()
    with pytest.raises(ConfigurationError, match=r"TURNOUT_API__GRPC_ADDRESS=.*Address already in use"):
        async with skin.serving_grpc(handler, None, served.health, served.address, calls=1, connections=1):
            pass


async def test_without_the_extra_it_is_named(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "service.api.grpc", None)
    settings: Any = Settings(api=ApiSettings(grpc_address="127.0.0.1:1"))
    handler: Any = served.notes
    with pytest.raises(ConfigurationError, match=r"TURNOUT_API__GRPC_ADDRESS needs the extra `api`"):
        async with serving_api(settings, handler, served.health):
            pass
