"""How results are written where their topic says so: which schema, seen to fit before a start."""

import asyncio
import io
import json
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import fastavro
import pytest

from activities.ports import ResultEvent
from service.errors import ConfigurationError, Unreachable
from service.events import avro
from service.events.cloudevents import Encoding
from service.events.codec import BytesFormat
from service.events.framing import unframed
from service.events.registry import Registry, RegistryAccess
from service.events.strict_json import Limits
from service.lifecycle import Stopped
from service.pipeline import encodings_with_registry, make_decoder
from service.results.encodings import make_encodings
from service.results.publisher import KafkaResultPublisher
from service.routing.table import OutFormat, load_routes
from service.settings import RegistrySettings, Settings
from tests.unit.fakes import FakeSink
from tests.unit.registry_server import RegistryServer, answering

PAID: dict[str, Any] = {
    "type": "record",
    "name": "Paid",
    "namespace": "shop",
    "fields": [
        {"name": "total", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
        {"name": "note", "type": ["null", "string"], "default": None},
    ],
}
SENT = {**PAID, "name": "Sent", "fields": []}
JSON_PAID = {"title": "Paid", "type": "object", "required": ["total"]}
EVENT = ResultEvent(
    topic="results", id="1", source="/s", type="paid", subject="A-1", time="2026-01-31T12:00:00Z", data={}
)


@pytest.fixture
async def server() -> AsyncIterator[RegistryServer]:
    server = RegistryServer()
    async with server.serving():
        yield server


async def encodings(server: RegistryServer, *formats: OutFormat) -> Mapping[str, Encoding]:
    return await make_encodings(Registry(RegistryAccess(server.url)), formats, Limits())


def out(schema: Any = None, format_: BytesFormat = "avro", **how: Any) -> OutFormat:
    schemas = {} if schema is None else {"": json.dumps(schema)}
    return OutFormat("results", format_, schemas=schemas, **how)


async def test_a_result_is_written_by_the_newest_schema_of_its_topic(server: RegistryServer) -> None:
    server.put("results-value", json.dumps(SENT))
    newest = server.put("results-value", json.dumps(PAID))
    sink = FakeSink()
    publisher = KafkaResultPublisher(sink, AsyncMock(), encodings=await encodings(server, out()))
    await publisher.publish(EVENT.model_copy(update={"data": {"total": "12.50"}}))
    (sent,) = sink.sent
    assert sent.value
    schema_id, payload = unframed(sent.value, (), "value")
    assert schema_id == newest
    read: Any = fastavro.schemaless_reader(io.BytesIO(payload), PAID, None)
    assert str(read["total"]) == "12.50"
    assert (sent.header("content-type"), sent.header("ce_type"), sent.key) == (
        b"application/avro",
        b"paid",
        b"A-1",
    )
    # Other topics are written as ever.
    await publisher.publish(EVENT.model_copy(update={"topic": "others", "data": {"a": 1}}))
    assert (sink.sent[1].value, sink.sent[1].header("content-type")) == (b'{"a":1}', b"application/json")


async def test_json_that_fits_its_schema_is_written_with_its_id(server: RegistryServer) -> None:
    number = server.put("results-value", json.dumps(JSON_PAID), "JSON")
    encoding = (await encodings(server, out(format_="json-schema")))["results"]
    assert encoding.content_type == "application/json"
    assert unframed(encoding.encode("paid", {"total": 1}), (), "value") == (number, b'{"total":1}')
    with pytest.raises(ValueError, match=r'type paid for results: it does not fit .*"total" is a required'):
        encoding.encode("paid", {})


async def test_data_that_do_not_fit_are_refused_for_good(server: RegistryServer) -> None:
    server.put("results-value", json.dumps(PAID))
    sink = FakeSink()
    publisher = KafkaResultPublisher(sink, AsyncMock(), encodings=await encodings(server, out()))
    with pytest.raises(ValueError, match="total: is no decimal; write it as text") as caught:
        await publisher.publish(EVENT.model_copy(update={"data": {"total": "s3cret"}}))
    assert "s3cret" not in str(caught.value)
    assert sink.sent == []


@pytest.mark.parametrize(
    ("strategy", "subject"),
    [
        ("topic-name", "results-value"),
        ("record-name", "shop.Paid"),
        ("topic-record-name", "results-shop.Paid"),
    ],
)
async def test_a_schema_is_looked_up_or_registered_under_the_name_of_the_strategy(
    server: RegistryServer, strategy: Any, subject: str
) -> None:
    with pytest.raises(
        ConfigurationError, match=f"subject {subject} of .* does not hold the schema for topic"
    ):
        await encodings(server, out(PAID, subject=strategy))
    await encodings(server, out(PAID, subject=strategy, register=True))
    await encodings(server, out(PAID, subject=strategy, register=True))
    assert server.subjects == {subject: [1]}
    found = await encodings(server, out(PAID, subject=strategy))
    assert unframed(found["results"].encode("any", {"total": "1"}), (), "value")[0] == 1


async def test_each_type_of_event_may_have_a_schema_of_its_own(server: RegistryServer) -> None:
    texts = {"paid": json.dumps(PAID), "sent": json.dumps(SENT)}
    of_types = OutFormat("results", "avro", "record-name", texts, register=True)
    encoding = (await encodings(server, of_types))["results"]
    assert server.subjects == {"shop.Paid": [1], "shop.Sent": [2]}
    assert unframed(encoding.encode("sent", {}), (), "value") == (2, b"")
    with pytest.raises(ValueError, match="topic results has no schema for events of type turnout"):
        encoding.encode("turnout.workflow.closed", {})


async def test_what_does_not_fit_what_is_registered_is_said_before_anything_is_registered(
    server: RegistryServer,
) -> None:
    server.put("results-value", json.dumps(SENT))
    server.misfits = ["reader has a field without default: total"]
    for register in (True, False):
        with pytest.raises(ConfigurationError, match="of subject results-value: reader has a field without"):
            await encodings(server, out(PAID, register=register))
    assert server.subjects == {"results-value": [1]}


async def test_what_the_newest_schema_must_be_is_said(server: RegistryServer) -> None:
    with pytest.raises(ConfigurationError, match="has no schema for subject results-value, by which results"):
        await encodings(server, out())
    server.put("results-value", "{}", "JSON")
    with pytest.raises(
        ConfigurationError, match=r"declared as avro, and the newest .* is of format json-schema"
    ):
        await encodings(server, out())
    server.put("results-value", "", "PROTOBUF")
    with pytest.raises(ConfigurationError, match="is none that can be used"):
        await encodings(server, out())


async def test_a_registry_that_does_not_answer_is_one_that_is_not_there(server: RegistryServer) -> None:
    server.instead = answering(503)
    with pytest.raises(Unreachable, match="answers HTTP 503"):
        await encodings(server, out(PAID))


# --- what a process needs of it ---

READS = "version: 1\ntopics: {orders: {format: avro}}\nroutes: [{name: r, from: orders, cancel: {to: x}}]\n"
WRITES = READS.replace("{format: avro}}", "{}, results: {out: true, format: avro}}")
NEITHER = READS.replace("format: avro", "")
SETTINGS = Settings(group="g")


@pytest.mark.parametrize("routes", [READS, READS.replace("format", "key"), WRITES])
async def test_a_start_needs_a_registry_where_topics_do(tmp_path: Path, routes: str) -> None:
    (tmp_path / "r.yaml").write_text(routes)
    table = load_routes(tmp_path)
    with pytest.raises(ConfigurationError, match=r"is written by schemas of a registry; say which: TURNOUT_"):
        await encodings_with_registry(SETTINGS, table, asyncio.Event())


async def test_a_start_sees_the_registry_only_where_topics_need_it(
    server: RegistryServer, tmp_path: Path
) -> None:
    here = SETTINGS.model_copy(update={"registry": RegistrySettings(url=server.url)})
    (tmp_path / "r.yaml").write_text(NEITHER)
    assert await encodings_with_registry(here, load_routes(tmp_path), asyncio.Event()) == {}
    assert await encodings_with_registry(here, None, asyncio.Event()) == {}
    assert server.asked == []
    (tmp_path / "r.yaml").write_text(READS)
    assert await encodings_with_registry(here, load_routes(tmp_path), asyncio.Event()) == {}
    assert server.asked == [("GET", "/schemas/types")]
    server.put("results-value", json.dumps(PAID))
    (tmp_path / "r.yaml").write_text(WRITES)
    assert [*await encodings_with_registry(here, load_routes(tmp_path), asyncio.Event())] == ["results"]
    server.instead = answering(503)
    stop = asyncio.Event()
    stop.set()
    with pytest.raises(Stopped):
        await encodings_with_registry(here, load_routes(tmp_path), stop)


@pytest.mark.parametrize("missing", ["fastavro", "aiohttp"])
async def test_without_the_extra_a_start_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    (tmp_path / "r.yaml").write_text(READS)
    here = SETTINGS.model_copy(update={"registry": RegistrySettings(url="http://127.0.0.1:1")})
    table = load_routes(tmp_path)
    for make in (
        lambda: make_decoder(here, table, AsyncMock(id="c")),
        lambda: Registry(RegistryAccess("http://127.0.0.1:1")),
    ):
        with pytest.raises(ConfigurationError, match=r"pip install 'turnout\[registry\]'"):
            make()
    if missing == "fastavro":
        with pytest.raises(ConfigurationError, match=r"pip install 'turnout\[registry\]'"):
            avro.AvroCodec('"int"')
