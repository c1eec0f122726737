"""Avro and JSON Schema between Kafka and Kafka: with Apicurio Registry, and with one that goes away."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import fastavro
import pytest

from service.desk import explain, record_at
from service.errors import ConfigurationError
from service.events import schemas
from service.events.framing import framed, unframed
from service.kafka.record import Partition
from service.local import LocalTemporal
from service.redrive.letterbox import Place as PlaceOfRecord
from service.settings import RegistrySettings
from service.wiring import Roles
from tests.apicurio import Apicurio, program, why_no_apicurio
from tests.elsewhere.programs import needed
from tests.integration.service import Said, Site, headers_of, site
from tests.recorded.recording import ITEM, JSON_DATA, ORDER
from tests.unit.registries import Recorded, recorded
from tests.unit.registry_server import RegistryServer

RECORDED = {one.name: one for one in recorded()}
BY_PREFIX = RECORDED["avro, id by prefix"]
KEY = RECORDED["avro key, id by prefix"]
JSON_ORDER = RECORDED["json-schema, id by prefix"]

ROUTES = """
version: 1
topics:
  @in: {format: @format, key: @key, event: {type: "${record.schema}", id: "${data.id}"}}
  @out: {out: true, format: @format, schema: out.json, register: true, subject: topic-record-name}
routes:
  - name: echo
    from: @in
    type: @type
    start: {workflow: Echo, id: "@id/${data.id}/${record.key}", task_queue: @queue, args: ["${data}", @out]}
"""
WHOLE = {
    **ORDER,
    "fields": [
        {**field, "type": {"type": "array", "items": ITEM}} if field["name"] == "items" else field
        for field in ORDER["fields"]
    ],
}
"""The recorded schema in one piece."""


WORKER = Roles(bridge=False, worker=True)


@pytest.fixture(scope="module")
async def apicurio(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Apicurio]:
    needed(why_no_apicurio())
    await asyncio.to_thread(program)
    async with Apicurio(tmp_path_factory.mktemp("apicurio")) as registry:
        yield registry


async def asked(registry: Apicurio, method: str, path: str, body: Mapping[str, Any]) -> Any:
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, registry.url + path, json=body) as answer,
    ):
        assert answer.status == 200, await answer.text()
        return await answer.json(content_type=None)


async def registered(registry: Apicurio, subject: str, one: Recorded) -> int:
    """The id that the registry gives to a recorded schema, with what it uses."""
    uses = []
    for name, text in one.schema.references:
        other = {"schema": text, "schemaType": one.schema.type}
        await asked(registry, "POST", f"/subjects/{name}/versions", other)
        uses.append({"name": name, "subject": name, "version": 1})
    body: dict[str, Any] = {"schema": one.schema.text, "schemaType": one.schema.type, "references": uses}
    return int((await asked(registry, "POST", f"/subjects/{subject}/versions", body))["id"])


def use(here: Site, url: str) -> None:
    here.settings = here.settings.model_copy(update={"registry": RegistrySettings(url=url)})


def routes(format_: str, type_: str, key: str = "text") -> str:
    return ROUTES.replace("@format", format_).replace("@type", type_).replace("@key", key)


async def test_what_confluents_serializer_wrote_starts_a_workflow_and_comes_back_byte_for_byte(
    apicurio: Apicurio, kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    (tmp_path / "out.json").write_text(json.dumps(WHOLE))
    async with site(kafka, temporal.address, tmp_path, routes("avro", "shop.Order", "avro")) as here:
        use(here, apicurio.url)
        number = await registered(apicurio, f"{here.topics['in']}-value", BY_PREFIX)
        key_number = await registered(apicurio, f"{here.topics['in']}-key", KEY)
        _, payload = unframed(BY_PREFIX.bytes, (), "value")
        _, key = unframed(KEY.bytes, (), "key")
        async with here.running():
            place = await here.write(framed(number, payload), key=framed(key_number, key))
            assert await here.outcomes(place) == [Said("accepted", "echo", "")]
            assert await here.workflow("A-1001/A-1001").result() == BY_PREFIX.meant
        (result,) = await here.read("out")
        assert headers_of(result)["content-type"] == "application/avro"
        assert result.value is not None
        result_id, written = unframed(result.value, (), "value")
        assert written == payload
        assert fastavro.schemaless_reader(io.BytesIO(written), fastavro.parse_schema(WHOLE), None)
        latest = await asked(
            apicurio, "GET", f"/subjects/{here.topics['out']}-shop.Order/versions/latest", {}
        )
        assert latest["id"] == result_id
        # So it is when a person asks for the record.
        at = PlaceOfRecord(Partition(place.topic, place.partition), place.offset)
        record, cluster = await record_at(here.settings, at)
        explained = await explain(here.settings, here.settings.routes, record, cluster, live=False)
        assert explained.event
        assert (explained.event.data, explained.event.schema) == (BY_PREFIX.meant, "shop.Order")
        assert [one.route.name for one in explained.verdicts] == ["echo"]


async def test_json_that_fits_its_schema_goes_the_same_way_and_what_does_not_is_a_letter(
    apicurio: Apicurio, kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    out = {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Result", "required": ["id"]}
    (tmp_path / "out.json").write_text(json.dumps(out))
    async with site(kafka, temporal.address, tmp_path, routes("json-schema", "Order")) as here:
        use(here, apicurio.url)
        number = await registered(apicurio, f"{here.topics['in']}-value", JSON_ORDER)
        _, payload = unframed(JSON_ORDER.bytes, (), "value")
        # A worker that runs alone knows from the routes how results are written.
        async with here.running(Roles(bridge=True, worker=False)), here.running(WORKER):
            place = await here.write(framed(number, payload), key=b"k")
            refused = await here.write(framed(number, b'{"id": 1}'), key=b"k")
            bare = await here.write(payload, key=b"k")
            assert await here.outcomes(place) == [Said("accepted", "echo", "")]
            assert await here.workflow("A-1001/k").result() == JSON_DATA
            await here.past(refused, bare)
        (result,) = await here.read("out")
        assert headers_of(result)["content-type"] == "application/json"
        assert json.loads(unframed(result.value or b"", (), "value")[1]) == JSON_DATA
        ((letter,), (other,)) = (await here.letters(refused), await here.letters(bare))
        assert 'id: it is not of type "string"' in headers_of(letter)["__dlq.errors.message"]
        assert "does not begin with the id of a schema" in headers_of(other)["__dlq.errors.message"]


async def test_a_schema_that_does_not_fit_what_is_registered_stops_the_start(
    apicurio: Apicurio, kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    file = tmp_path / "out.json"
    file.write_text(json.dumps(ITEM))
    async with site(kafka, temporal.address, tmp_path, routes("avro", "x")) as here:
        use(here, apicurio.url)
        async with here.running():
            pass
        subject = f"{here.topics['out']}-shop.Item"
        await asked(apicurio, "PUT", f"/config/{subject}", {"compatibility": "BACKWARD"})
        changed = {"name": "sku", "type": "int"}
        file.write_text(json.dumps({**ITEM, "fields": [changed, ITEM["fields"][1]]}))
        with pytest.raises(ConfigurationError, match="reader type: INT not compatible with writer type"):
            async with here.running():
                pass
        # A field with a default is an extension.
        more = {"name": "note", "type": ["null", "string"], "default": None}
        file.write_text(json.dumps({**ITEM, "fields": [*ITEM["fields"], more]}))
        async with here.running():
            pass


FLOWING = """
version: 1
topics:
  @in: {format: avro, event: {type: noted, id: "${data.id}"}}
  @more: {}
routes:
  - name: note
    from: @in
    start: {workflow: Keep, id: "@id/${data.id}", task_queue: @queue, input: "${data}"}
  - name: more
    from: @more
    start: {workflow: Keep, id: "@id/${data.id}", task_queue: @queue, input: "${data}"}
"""
NOTE = {"type": "record", "name": "Note", "fields": [{"name": "id", "type": "string"}]}


def note(schema_id: int, name: str) -> bytes:
    return framed(schema_id, bytes([2 * len(name)]) + name.encode())


async def test_an_outage_of_the_registry_delays_its_records_alone_and_an_unknown_schema_makes_a_letter(
    kafka: str, temporal: LocalTemporal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schemas, "UNKNOWN_SECONDS", 1.0)
    registry = RegistryServer()
    known, later = (registry.put("notes", json.dumps({**NOTE, "doc": doc})) for doc in ("a", "b"))
    async with (
        site(kafka, temporal.address, tmp_path, FLOWING, topics=("in", "more")) as here,
        AsyncExitStack() as while_it_is_there,
    ):
        await while_it_is_there.enter_async_context(registry.serving())
        use(here, registry.url)
        async with here.running():
            first = await here.write(note(known, "a"), key=b"k")
            unknown = await here.write(note(99, "x"), key=b"unknown")
            await here.outcomes(first)
            (given_up,) = await here.outcomes(unknown)
            assert given_up.detail.startswith("the schema registry does not know schema 99: Schema 99 not")
            await while_it_is_there.aclose()
            # What needs a schema that is not known here waits, and what is behind it; all else flows.
            waits = await here.write(note(later, "b"), key=b"k")
            behind = await here.write(note(known, "c"), key=b"k")
            knows = await here.write(note(known, "d"), key=b"other")
            plain = await here.send("noted", {"id": "e"}, to="more")
            for place in (knows, plain):
                assert [said.kind for said in await here.outcomes(place)] == ["accepted"]
            assert here.said(waits) == here.said(behind) == []
            async with registry.serving(port=int(registry.url.rpartition(":")[2])):
                for place in (waits, behind):
                    assert await here.outcomes(place) == [Said("accepted", "note", "")]
                await here.past(first, unknown, waits, behind, knows, plain)
        assert len(await here.letters()) == 1
