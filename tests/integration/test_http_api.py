"""The handler API over HTTP: what each request is answered, bad ones above all."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from service.api import http
from service.local import LocalTemporal
from service.settings import ApiSettings
from tests.integration.api_site import Asked, asked_site
from tests.servers import random_port


@pytest.fixture(scope="module")
async def asked(
    kafka: str, temporal: LocalTemporal, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Asked]:
    folder = tmp_path_factory.mktemp("http")
    api = ApiSettings(
        http_address=f"127.0.0.1:{random_port()}", calls=20, connections=100, time_limit=timedelta(seconds=10)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(http, "BODY_SECONDS", 2.0)
        async with asked_site(kafka, temporal.address, folder, api) as here:
            yield here


@pytest.fixture(scope="module")
async def client(asked: Asked) -> AsyncIterator[httpx.AsyncClient]:
    at = f"http://{asked.site.settings.api.http_address}"
    async with httpx.AsyncClient(base_url=at, timeout=20, trust_env=False) as client:
        yield client


def path(asked: Asked, name: str, *more: str) -> str:
    return "/".join(["/v1/workflows", quote(asked.id(name), safe=""), *more])


async def start(
    client: httpx.AsyncClient, asked: Asked, name: str, workflow: str, *args: Any, **how: Any
) -> Any:
    body = {"workflow_id": asked.id(name), "workflow": workflow, "task_queue": asked.site.group, "args": args}
    return await client.post("/v1/workflows", json=body, **how)


def problem(response: httpx.Response, status: int, kind: str) -> str:
    assert response.headers["content-type"] == "application/problem+json"
    told = response.json()
    assert (response.status_code, told["status"]) == (status, status), told
    assert told["type"] == f"urn:turnout:problem:{kind}"
    assert told["title"]
    return str(told["detail"])


async def test_a_workflow_is_started_signalled_asked_updated_and_ended(
    asked: Asked, client: httpx.AsyncClient
) -> None:
    first = await start(client, asked, "a/1", "Tally", 1, headers={"idempotency-key": "k"})
    assert (first.status_code, first.json()["outcome"]) == (201, "accepted")
    there = first.headers["location"]
    assert there == path(asked, "a/1")
    again = await start(client, asked, "a/1", "Tally", 1, headers={"idempotency-key": '"k"'})
    assert (again.status_code, again.json()["outcome"]) == (200, "duplicate")
    assert "another" in problem(await start(client, asked, "a/1", "Tally", 1), 409, "already-exists")
    updated = await client.post(f"{there}/updates/add", json={"args": [2]})
    assert (updated.status_code, updated.json()["result"]) == (200, 3)
    assert (await client.post(f"{there}/queries/sum")).json() == {"result": 3}
    described = (await client.get(there)).json()
    assert (described["workflow_id"], described["status"]) == (asked.id("a/1"), "running")
    running = (await client.get(f"{there}/result?wait=1s&time_limit=2s")).json()
    assert running == {"status": "running", "result": None, "failure": None}
    assert (await client.post(f"{there}/cancel", json={"reason": "a test"})).status_code == 200
    ended = (await client.get(f"{there}/result", params={"wait": "9s"})).json()
    assert ended["status"] == "canceled"
    assert "completed" in problem(
        await client.post(f"{there}/updates/add", json={"args": [2]}), 409, "closed"
    )


async def test_cloudevents_are_published_in_both_modes_and_batches_refused(
    asked: Asked, client: httpx.AsyncClient
) -> None:
    events = f"/v1/topics/{asked.site.topics['in']}/events"
    headers = {"ce-specversion": "1.0", "ce-id": "%22b%22", "ce-source": "/t", "ce-type": "placed"}
    binary = await client.post(events, json={"id": "e1"}, headers=headers)
    assert binary.json()["outcomes"][0]["outcome"] == "accepted"
    event = {"specversion": "1.0", "id": '"b"', "source": "/t", "type": "placed", "data": {"id": "e1"}}
    for name in ("application/cloudevents+json", "application/cloudevents+json; charset=utf-8"):
        structured = await client.post(events, content=json.dumps(event), headers={"content-type": name})
        assert structured.json()["outcomes"][0]["outcome"] == "duplicate"
    batch = {"content-type": "application/cloudevents-batch+json"}
    refused = await client.post(events, content=json.dumps([event]), headers=batch)
    assert "one by one" in problem(refused, 415, "unsupported")
    assert (await asked.site.workflow("e1").result()) == {"id": "e1"}


async def test_what_would_be_a_letter_says_what_became_of_each_route(
    asked: Asked, client: httpx.AsyncClient
) -> None:
    events = f"/v1/topics/{asked.site.topics['in']}/events"
    headers = {"ce-specversion": "1.0", "ce-id": "c", "ce-source": "/t", "ce-type": "weighed"}
    refused = await client.post(events, json={"id": "e2"}, headers=headers)
    assert "weight_grams" in problem(refused, 422, "refused")
    (outcome,) = refused.json()["outcomes"]
    assert (outcome["route"], outcome["outcome"]) == ("weighed", "refused")
    for more in ({"ce-id": ""}, {"ce-time": "yesterday"}, {"ce-specversion": "0.3"}, {"ce-source": "%ff"}):
        problem(await client.post(events, json={}, headers=headers | more), 422, "refused")
    problem(await client.post(events, json={}), 422, "refused")
    assert "CloudEvent" in problem(await client.post(events), 400, "invalid-argument")
    problem(await client.post("/v1/topics/nobody/events", json={}, headers=headers), 404, "not-found")
    assert await asked.site.letters() == []


@pytest.mark.parametrize(
    ("id_", "status"),
    [
        ("..", 404),
        ("%2e%2e", 404),
        ("..%2f..%2fetc%2fpasswd", 404),
        ("%2F", 404),
        ("a%2fb%5c..", 404),
        ("%00", 400),
        ("a%0ab", 400),
        ("%ff", 400),
        ("%ED%A0%80", 400),
        ("x" * 241, 400),
        ("%C3%A4" * 121, 400),
        ("x" * 20_000, 400),
    ],
)
async def test_ids_lead_nowhere_but_to_workflows(
    asked: Asked, client: httpx.AsyncClient, id_: str, status: int
) -> None:
    # As it is: a client would take `..` out of the path.
    raw = f"GET /v1/workflows/{id_} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode()
    told, body = await _raw(asked, raw)
    assert told == status
    assert body["type"] in {"urn:turnout:problem:not-found", "urn:turnout:problem:invalid-argument"}
    assert len(body["detail"]) < 400


@pytest.mark.parametrize(
    ("method", "path_", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v1", 404),
        ("GET", "/v1/workflows/a/b/c/d", 404),
        ("GET", "/v1/workflows/", 404),
        ("GET", "/v1/workflows/../../openapi.json", 404),
        ("GET", "//openapi.json", 404),
        ("GET", "http://elsewhere/openapi.json", 404),
        ("DELETE", "/v1/workflows/a", 405),
        ("PATCH", "/openapi.json", 405),
        ("BREW", "/v1/workflows", 405),
        ("GET", "/v1/workflows/a?limit=1", 400),
        ("GET", "/v1/workflows/a?namespace=default&namespace=x", 400),
        ("GET", "/v1/workflows/a?namespace=other", 403),
        ("GET", "/v1/workflows/a?time_limit=soon", 400),
        ("GET", "/v1/workflows/a/result?wait=-1s", 400),
        ("GET", "/v1/workflows/a?namespace=%ff", 400),
    ],
)
async def test_what_there_is_not_is_said_as_a_problem(
    asked: Asked, method: str, path_: str, status: int
) -> None:
    raw = f"{method} {path_} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()
    told, body = await _raw(asked, raw)
    assert (told, body["status"]) == (status, status)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("", 400),
        ("{", 400),
        ("[]", 400),
        ("null", 400),
        ('{"workflow_id": "a"}', 400),
        ('{"workflow_id": "a", "workflow": "W", "task_queue": "q", "args": {}}', 400),
        ('{"workflow_id": "a", "workflow": "W", "task_queue": "q", "unheard": 1}', 400),
        ('{"workflow_id": "", "workflow": "W", "task_queue": "q"}', 400),
        ('{"workflow_id": 1, "workflow": "W", "task_queue": "q"}', 400),
        ('{"workflow_id": "a", "workflow": "W", "task_queue": "/_sys/q"}', 400),
        ('{"workflow_id": "a", "workflow": "W", "task_queue": "q", "args": [18446744073709551616]}', 400),
        (
            '{"workflow_id": "a", "workflow": "W", "task_queue": "q", "args": [' + "[" * 70 + "]" * 70 + "]}",
            400,
        ),
        ('{"workflow_id": "a", "workflow": "W", "task_queue": "q", "run_timeout": "x"}', 400),
        ('{"workflow_id": "a", "workflow": "W", "task_queue": "q", "namespace": "other"}', 403),
    ],
)
async def test_bodies_that_are_no_start_are_refused(
    client: httpx.AsyncClient, body: str, status: int
) -> None:
    said = {"content-type": "application/json"}
    answer = await client.post("/v1/workflows", content=body, headers=said)
    problem(answer, status, {400: "invalid-argument", 403: "forbidden"}[status])


async def test_a_body_that_is_not_said_to_be_json_is_not_read(client: httpx.AsyncClient) -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}
    problem(await client.post("/v1/workflows", content=b"{}", headers=form), 415, "unsupported")


async def test_pages_in_a_browser_are_not_let_in_without_tokens(client: httpx.AsyncClient) -> None:
    for headers in ({"origin": "https://elsewhere"}, {"host": "rebound.example"}):
        problem(await client.get("/openapi.json", headers=headers), 403, "forbidden")


# --- large and slow ---


async def test_large_bodies_are_refused_however_they_are_sent(
    asked: Asked, client: httpx.AsyncClient
) -> None:
    said = {"content-type": "application/json"}
    large = b" " * (8 << 20)

    async def chunks() -> AsyncIterator[bytes]:
        for n in range(0, len(large), 1 << 16):
            yield large[n : n + (1 << 16)]

    problem(await client.post("/v1/workflows", content=large, headers=said), 413, "too-large")
    problem(await client.post("/v1/workflows", content=chunks(), headers=said), 413, "too-large")
    boast = (
        b"POST /v1/workflows HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999999999999999\r\n\r\n{}"
    )
    assert (await _raw(asked, boast))[0] == 413
    value = {"workflow_id": "v", "workflow": "W", "task_queue": "q", "args": ["x" * (1 << 20)]}
    problem(await client.post("/v1/workflows", json=value), 400, "invalid-argument")


async def test_slow_and_short_bodies_are_ended(asked: Asked) -> None:
    head = b"POST /v1/workflows HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    short = head + b"content-length: 100\r\n\r\n{"
    chunked = head + b"transfer-encoding: chunked\r\n\r\n1\r\n{\r\n"
    for status, body in await asyncio.gather(_raw(asked, short), _raw(asked, chunked)):
        assert (status, body["type"]) == (408, "urn:turnout:problem:time-is-up")


async def test_large_headers_are_refused(asked: Asked) -> None:
    head = b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n"
    status, body = await _raw(asked, head + b"x-much: " + b"x" * (1 << 17) + b"\r\n\r\n")
    assert (status, body["status"]) == (400, 400)


# --- too much at once ---


async def test_more_calls_than_fit_are_refused_at_once_and_kafka_goes_on(
    asked: Asked, client: httpx.AsyncClient
) -> None:
    statuses = await _flood(asked, client, 150)
    assert statuses[200] >= 1
    assert statuses[429] >= 1
    assert statuses.total() == statuses[200] + statuses[429] + statuses[503] == 150


@pytest.mark.long
async def test_ten_thousand_calls_at_once_do_no_harm(asked: Asked, client: httpx.AsyncClient) -> None:
    statuses = await _flood(asked, client, 10_000)
    assert statuses[200] >= 1
    # A few may be cut off: who is refused without having been heard may not hear that either.
    assert statuses[200] + statuses[429] + statuses[503] >= 9_000
    assert (await client.get("/openapi.json")).status_code == 200


async def _flood(asked: Asked, client: httpx.AsyncClient, count: int) -> Counter[int]:
    """What so many calls at one time are answered, while a record from Kafka is carried out; 0 is nothing."""
    name = f"flood-{count}"
    await start(client, asked, name, "Keep", None)
    raw = f"GET {path(asked, name)}/result?wait=5s HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()
    calls = [asyncio.create_task(_status(asked, raw)) for _ in range(count)]
    place = await asked.site.send("noted", {"id": f"{name}-by-kafka", "n": 1})
    assert [said.kind for said in await asked.site.outcomes(place)] == ["accepted"]
    assert not all(call.done() for call in calls)
    await asked.site.workflow(name).signal("end")
    return Counter(await asyncio.gather(*calls))


async def _status(asked: Asked, raw: bytes) -> int:
    try:
        return (await _raw(asked, raw))[0]
    except (OSError, asyncio.IncompleteReadError):
        return 0


async def _raw(asked: Asked, request: bytes) -> tuple[int, Any]:
    """What these very bytes are answered."""
    host, _, port = asked.site.settings.api.http_address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.partition(b":")[2]) for line in head.split(b"\r\n") if line.startswith(b"content-length")
        )
        return int(head.split(b" ", 2)[1]), json.loads(await reader.readexactly(length))
    finally:
        writer.close()
