"""The handler API over gRPC, of a running service: each method once, and what clients are told."""

import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from service.api.proto.turnout.api.v1 import handler_pb2 as pb
from service.local import LocalTemporal
from service.settings import ApiSettings, JwtSettings
from tests.grpc_client import Client, Refused, client
from tests.integration.api_site import ROUTES
from tests.integration.service import Site, site
from tests.issuer import AUDIENCE, ISSUER, Issuer

CODE = grpc.StatusCode
TOPICS = ("in", "out", "mapped")


@dataclass
class Asked:
    """A running service, and a client that is let in."""

    site: Site
    client: Client

    def id(self, name: str) -> str:
        return self.site.workflow_id(name)

    async def ask(self, request: Message, *, key: str = "", **how: Any) -> Any:
        return await self.client.ask(request, metadata=_metadata(key), **how)

    async def refusal(self, request: Message, **how: Any) -> Refused:
        return await self.client.refusal(request, metadata=_metadata(), **how)

    async def start(self, name: str, workflow: str, *args: Any, queue: str = "", key: str = "") -> int:
        request = pb.StartRequest(
            workflow_id=self.id(name),
            workflow=workflow,
            task_queue=queue or self.site.group,
            args_json=list(map(json.dumps, args)),
        )
        return int((await self.ask(request, key=key)).outcome)

    def event(self, kind: str, data: Any) -> pb.PublishRequest:
        event = pb.Event(
            id=str(uuid.uuid4()),
            source="/tests",
            type=kind,
            data_content_type="application/json",
            data=json.dumps(data).encode(),
        )
        return pb.PublishRequest(topic=self.site.topics["in"], event=event)


def _metadata(key: str = "", token: str = "") -> list[tuple[str, str]]:
    metadata = [("authorization", f"Bearer {token or Issuer.token()}")]
    return [*metadata, ("idempotency-key", key)] if key else metadata


@pytest.fixture(scope="module")
async def asked(
    kafka: str, temporal: LocalTemporal, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Asked]:
    folder = tmp_path_factory.mktemp("grpc")
    async with site(kafka, temporal.address, folder, ROUTES, topics=TOPICS, partitions=1) as here:
        _serve(here, folder)
        async with here.running(), client(await here.until(_address(here))) as asking:
            await here.until(lambda: _ready(asking))
            yield Asked(here, asking)


def _serve(here: Site, folder: Path) -> None:
    (folder / "keys.json").write_bytes(Issuer().key_set())
    jwt = JwtSettings(jwks=str(folder / "keys.json"), issuer=ISSUER, audience=AUDIENCE)
    api = ApiSettings(grpc_address="127.0.0.1:0", jwt=jwt)
    here.settings = here.settings.model_copy(update={"api": api})


def _address(here: Site) -> Callable[[], Awaitable[str]]:
    async def served() -> str:
        return next((line["address"] for line in here.lines if line["event"] == "gRPC"), "")

    return served


async def _ready(asking: Client) -> bool:
    try:
        return await asking.healthy() == "SERVING"
    except grpc.aio.AioRpcError:  # nobody listens yet
        return False


async def test_an_event_goes_by_the_routes_and_each_outcome_is_the_answer(asked: Asked) -> None:
    event = asked.event("noted", {"id": "p1", "n": 1 << 60})
    (outcome,) = (await asked.ask(event)).outcomes
    assert (outcome.outcome, outcome.route) == (pb.OUTCOME_ACCEPTED, "note")
    assert (outcome.workflow_id, outcome.detail) == (asked.id("p1"), "started by it")
    await asked.ask(event)
    noted = await asked.ask(pb.QueryRequest(workflow_id=asked.id("p1"), name="noted"))
    assert json.loads(noted.result_json) == [1 << 60]
    parked = await asked.ask(asked.event("told", {"id": "nobody", "n": 1}))
    assert [one.outcome for one in parked.outcomes] == [pb.OUTCOME_PARKED]


async def test_what_would_be_a_letter_is_refused_with_its_outcomes(asked: Asked) -> None:
    refused = await asked.refusal(asked.event("weighed", {"id": "p2"}))
    assert (refused.code, refused.more and refused.more.kind) == (CODE.FAILED_PRECONDITION, "refused")
    assert "weight_grams" in refused.text
    assert refused.more
    assert [(one.outcome, one.route) for one in refused.more.outcomes] == [(pb.OUTCOME_REFUSED, "weighed")]
    unread = pb.PublishRequest(topic="elsewhere", event=asked.event("noted", {}).event)
    assert (await asked.refusal(unread)).code is CODE.NOT_FOUND
    none = await asked.refusal(pb.PublishRequest(topic=asked.site.topics["in"]))
    assert (none.code, none.text) == (
        CODE.INVALID_ARGUMENT,
        "there is no event; send a CloudEvent as `event`",
    )


async def test_the_life_of_a_workflow_by_all_the_other_methods(asked: Asked) -> None:
    there = asked.id("w1")
    assert await asked.start("w1", "Tally", 7, key="k") == pb.OUTCOME_ACCEPTED
    assert await asked.start("w1", "Tally", 7, key="k") == pb.OUTCOME_DUPLICATE
    with pytest.raises(Refused) as again:
        await asked.start("w1", "Tally", 7)
    assert again.value.code is CODE.ALREADY_EXISTS
    add = pb.UpdateRequest(workflow_id=there, name="add", args_json=["2"])
    first, repeat = [await asked.ask(add, key="u") for _ in range(2)]
    assert first.result_json == "9"
    assert first == repeat
    no = await asked.refusal(pb.UpdateRequest(workflow_id=there, name="add", args_json=["1000"]))
    assert (no.code, no.more and no.more.failure.type) == (CODE.FAILED_PRECONDITION, "TooMuch")
    described = await asked.ask(pb.DescribeRequest(workflow_id=there))
    assert (described.workflow, described.status) == ("Tally", pb.STATUS_RUNNING)
    assert (described.task_queue, described.workers > 0) == (asked.site.group, True)
    running = await asked.ask(pb.ResultRequest(workflow_id=there, wait=Duration(nanos=1000)))
    assert running == pb.ResultResponse(status=pb.STATUS_RUNNING)
    cancelled = await asked.ask(pb.CancelRequest(workflow_id=there, reason="a test"))
    assert cancelled == pb.CancelResponse(outcome=pb.OUTCOME_ACCEPTED, workflow_id=there)
    ended = await asked.ask(pb.ResultRequest(workflow_id=there, wait=Duration(seconds=9)))
    assert ended.status == pb.STATUS_CANCELED


async def test_signals_with_one_key_take_effect_once_and_a_result_is_waited_for(asked: Asked) -> None:
    await asked.start("s1", "Keep", None)
    for key in ("a", "a", "b"):
        note = pb.SignalRequest(workflow_id=asked.id("s1"), name="note", args_json=[f'"{key}"'])
        await asked.ask(note, key=key)
    noted = await asked.ask(pb.QueryRequest(workflow_id=asked.id("s1"), name="noted"))
    assert json.loads(noted.result_json) == ["a", "b"]
    await asked.start("s2", "End", {"how": "well"})
    ended = await asked.ask(pb.ResultRequest(workflow_id=asked.id("s2"), wait=Duration(seconds=9)))
    assert (ended.status, json.loads(ended.result_json)) == (pb.STATUS_COMPLETED, {"how": "well"})
    await asked.start("s3", "End", {"how": "fail"})
    failed = await asked.ask(pb.ResultRequest(workflow_id=asked.id("s3"), wait=Duration(seconds=9)))
    assert (failed.status, failed.failure.type) == (pb.STATUS_FAILED, "PaymentFailed")


async def test_what_is_not_there_is_not_found(asked: Asked) -> None:
    there: dict[str, Any] = {"workflow_id": asked.id("../../nobody")}
    for request in (
        pb.SignalRequest(**there, name="n"),
        pb.UpdateRequest(**there, name="n"),
        pb.QueryRequest(**there, name="n"),
        pb.DescribeRequest(**there),
        pb.ResultRequest(**there),
        pb.CancelRequest(**there),
    ):
        refused = await asked.refusal(request)
        assert (refused.code, refused.more and refused.more.kind) == (CODE.NOT_FOUND, "not-found")
    with pytest.raises(Refused, match="have no workflow Unheard"):
        await asked.start("unheard", "Unheard")
    elsewhere = await asked.refusal(pb.DescribeRequest(workflow_id="a", namespace="other"))
    assert elsewhere.code is CODE.PERMISSION_DENIED


async def test_without_a_worker_a_query_ends_in_the_clients_time_and_says_why(asked: Asked) -> None:
    await asked.start("q1", "Tally", 0, queue=f"{asked.site.group}-nobody")
    refused = await asked.refusal(pb.QueryRequest(workflow_id=asked.id("q1"), name="sum"), timeout=3)
    assert refused.code is CODE.DEADLINE_EXCEEDED
    assert "no worker polls task queue" in refused.text or "no poller seen" in refused.text
    assert refused.more
    assert refused.more.kind == "time-is-up"


async def test_nobody_without_a_good_token_gets_in(asked: Asked) -> None:
    request = pb.DescribeRequest(workflow_id="a")
    for token, text in {
        Issuer.token(exp=-300.0): "the token has expired",
        Issuer.token(aud="someone"): "the token is for another audience",
    }.items():
        refused = await asked.client.refusal(request, metadata=_metadata(token=token))
        assert (refused.code, refused.text) == (CODE.UNAUTHENTICATED, text)
    assert (await asked.client.refusal(request)).code is CODE.UNAUTHENTICATED


async def test_a_large_message_is_refused_and_the_service_goes_on(asked: Asked) -> None:
    large = await asked.refusal(asked.event("noted", {"id": "l1", "n": "x" * (2 << 20)}))
    assert large.code is CODE.RESOURCE_EXHAUSTED
    place = await asked.site.send("noted", {"id": "l1", "n": 1})
    assert [said.kind for said in await asked.site.outcomes(place)] == ["accepted"]


async def test_reflection_lists_the_service(asked: Asked) -> None:
    call = asked.client.channel.stream_stream(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    listing: Any = call(
        iter([reflection_pb2.ServerReflectionRequest(list_services="")]), metadata=_metadata()
    )
    (answer,) = [one async for one in listing]
    assert "turnout.api.v1.Handler" in [one.name for one in answer.list_services_response.service]


async def test_health_follows_readiness_to_the_end(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with (
        site(kafka, temporal.address, tmp_path, ROUTES, topics=TOPICS, partitions=1) as here,
        AsyncExitStack() as stack,
    ):
        _serve(here, tmp_path)
        async with here.running():
            asking = await stack.enter_async_context(client(await here.until(_address(here))))
            await here.until(lambda: _ready(asking))
            watch: Any = asking.channel.unary_stream(
                "/grpc.health.v1.Health/Watch",
                response_deserializer=health_pb2.HealthCheckResponse.FromString,
            )
            watching = watch(b"")
            assert (await watching.read()).status == health_pb2.HealthCheckResponse.SERVING
        assert (await watching.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert await watching.read() is grpc.aio.EOF
