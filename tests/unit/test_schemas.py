"""The schemas that are known here: fetched once, waited for, and given up on only when a registry says so."""

import asyncio
from contextlib import suppress
from uuid import UUID

import pytest

from service.errors import DecodeError, NotNow
from service.events import schemas as module
from service.events.framing import SchemaId
from service.events.schemas import (
    FORGOTTEN_SECONDS,
    UNKNOWN_SECONDS,
    RegisteredSchema,
    SchemaNeeded,
    Schemas,
)
from service.events.strict_json import Limits
from service.telemetry.health import AWAY_SECONDS
from tests.unit.registries import Clock, FakeSource, avro

INT = avro("int")


class SlowSource(FakeSource):
    """Answers when it is told to."""

    def __init__(self, *ids: int) -> None:
        super().__init__(dict.fromkeys(ids, INT))
        self.answer = asyncio.Event()

    async def schema(self, schema_id: SchemaId) -> RegisteredSchema:
        registered = await super().schema(schema_id)
        await self.answer.wait()
        return registered


def known_here(source: FakeSource, clock: Clock | None = None) -> Schemas:
    return Schemas(source, Limits(), clock or Clock())


async def test_a_schema_is_fetched_once_and_kept() -> None:
    source = FakeSource({7: INT, UUID(int=7): INT})
    schemas = known_here(source)
    for schema_id in (7, UUID(int=7)):
        with pytest.raises(SchemaNeeded) as needed:
            schemas.get(schema_id)
        assert needed.value.schema_id == schema_id
        await schemas.fetch(schema_id)
        await schemas.fetch(schema_id)
        assert schemas.get(schema_id).decode(b"\x06").data == 3
    assert source.asked == [7, UUID(int=7)]


async def test_all_who_need_a_schema_wait_for_one_answer() -> None:
    source = SlowSource(7, 8)
    schemas = known_here(source)
    waiting = [asyncio.create_task(schemas.fetch(schema_id)) for schema_id in (7, 7, 7, 8)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert sorted(map(str, source.asked)) == ["7", "8"]
    waiting[0].cancel()  # one whose partition goes takes nothing from the others
    source.answer.set()
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(done[0], asyncio.CancelledError)
    assert done[1:] == [None] * 3
    assert schemas.get(7)


async def test_an_outage_is_waited_for_and_never_becomes_a_verdict() -> None:
    source, clock = FakeSource({7: INT}), Clock()
    schemas = known_here(source, clock)
    source.away = True
    for _ in range(3):
        with pytest.raises(NotNow, match="away"):
            await schemas.fetch(7)
        clock.now += 10 * UNKNOWN_SECONDS
    source.away = False
    await schemas.fetch(7)
    assert schemas.get(7)


async def test_a_registry_that_is_away_is_a_problem_for_as_long_as_someone_asks() -> None:
    source, clock = FakeSource({7: INT}), Clock()
    schemas = known_here(source, clock)
    source.away = True
    with pytest.raises(NotNow):
        await schemas.fetch(7)
    clock.now += FORGOTTEN_SECONDS - 1
    (problem,) = schemas.problems()
    assert (problem.what, problem.text) == ("schema registry", "the registry is away")
    assert problem.patience_seconds == AWAY_SECONDS
    clock.now += 1
    assert [*schemas.problems()] == []
    with pytest.raises(NotNow):
        await schemas.fetch(7)
    assert [*schemas.problems()]
    source.away = False
    for schema_id in (7, 8):
        with suppress(NotNow):
            await schemas.fetch(schema_id)
        assert [*schemas.problems()] == []


async def test_a_schema_that_the_registry_does_not_know_for_a_minute_is_given_up_on() -> None:
    clock = Clock()
    schemas = known_here(FakeSource(), clock)
    for seconds in (0, 1, UNKNOWN_SECONDS - 1.5):
        clock.now += seconds
        with pytest.raises(NotNow, match="does not know schema 7, since"):
            await schemas.fetch(7)
    clock.now += 1
    for _ in range(2):
        with pytest.raises(DecodeError, match="does not know schema 7: Schema not found; register it, or"):
            await schemas.fetch(7)
        clock.now += 1


async def test_the_minute_begins_anew_where_nothing_was_said_for_longer() -> None:
    source, clock = FakeSource(), Clock()
    schemas = known_here(source, clock)
    with pytest.raises(NotNow, match="since 0 s"):
        await schemas.fetch(7)
    source.away = True
    clock.now += UNKNOWN_SECONDS + 1
    with pytest.raises(NotNow, match="away"):
        await schemas.fetch(7)
    source.away = False
    with pytest.raises(NotNow, match="since 0 s"):
        await schemas.fetch(7)


async def test_the_minute_begins_anew_where_the_schema_was_known_in_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "KEPT", 1)
    source, clock = FakeSource({8: INT}), Clock()
    schemas = known_here(source, clock)
    with pytest.raises(NotNow, match="since 0 s"):
        await schemas.fetch(7)
    source.schemas[7] = INT
    clock.now += UNKNOWN_SECONDS / 2
    await schemas.fetch(7)
    await schemas.fetch(8)
    del source.schemas[7]
    with pytest.raises(NotNow, match="since 0 s"):
        await schemas.fetch(7)


async def test_a_schema_that_is_registered_meanwhile_is_taken() -> None:
    source, clock = FakeSource(), Clock()
    schemas = known_here(source, clock)
    with pytest.raises(NotNow):
        await schemas.fetch(7)
    source.schemas[7] = INT
    clock.now += UNKNOWN_SECONDS
    await schemas.fetch(7)
    assert schemas.get(7)


async def test_the_schemas_that_were_used_last_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", 3)
    source = FakeSource(dict.fromkeys(range(10), INT))
    schemas = known_here(source)
    for schema_id in (1, 2, 3):
        await schemas.fetch(schema_id)
    schemas.get(1)
    await schemas.fetch(4)
    assert schemas.get(1)
    with pytest.raises(SchemaNeeded):
        schemas.get(2)
    for schema_id in range(20, 100):
        with pytest.raises(NotNow):
            await schemas.fetch(schema_id)
    assert len(schemas._unknown) == 3  # noqa: SLF001


@pytest.mark.parametrize(
    ("registered", "reason"),
    [
        (RegisteredSchema("AVRO", "{"), "schema 7 cannot be used: is no Avro schema"),
        (RegisteredSchema("JSON", "["), "schema 7 cannot be used: is no JSON"),
        (RegisteredSchema("JSON", '{"$ref": "other.json"}'), "schema 7 cannot be used"),
        (RegisteredSchema("PROTOBUF", ""), "schema 7 is of type PROTOBUF, which is not read yet"),
    ],
)
async def test_a_schema_that_cannot_be_used_refuses_everything_and_is_asked_for_once(
    registered: RegisteredSchema, reason: str
) -> None:
    source = FakeSource({7: registered})
    schemas = known_here(source)
    await schemas.fetch(7)
    with pytest.raises(DecodeError, match=reason):
        schemas.get(7).decode(b"1")
    with pytest.raises(ValueError, match=reason):
        schemas.get(7).encode(1)
    await schemas.fetch(7)
    assert source.asked == [7]
