"""Schema registries that tests make up, and what Confluent's serializers wrote."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from service.errors import NotNow
from service.events.framing import SchemaId
from service.events.schemas import Reference, RegisteredSchema, UnknownSchema
from service.kafka.record import Headers

_FILE = Path(__file__).parent.parent / "recorded" / "confluent-kafka-2.16.1.json"


class FakeSource:
    """A registry that holds `schemas`, and is away while `away` is set."""

    def __init__(self, schemas: Mapping[SchemaId, RegisteredSchema] | None = None) -> None:
        self.schemas = dict(schemas or {})
        self.asked: list[SchemaId] = []
        self.away = False

    async def schema(self, schema_id: SchemaId) -> RegisteredSchema:
        self.asked.append(schema_id)
        if self.away:
            raise NotNow("the registry is away")
        try:
            return self.schemas[schema_id]
        except KeyError:
            raise UnknownSchema("Schema not found") from None


class Recorded(NamedTuple):
    """One value or key that a serializer wrote, and what was meant."""

    name: str
    part: str
    schema: RegisteredSchema
    id: int
    guid: str
    bytes: bytes
    headers: Headers
    meant: Any
    full_name: str

    def registry(self) -> FakeSource:
        """One that holds its schema."""
        return FakeSource({self.id: self.schema, UUID(self.guid): self.schema})


def recorded() -> Sequence[Recorded]:
    """All that was recorded; see `tests.recorded.recording`."""
    return list(_recorded())


def _recorded() -> Iterator[Recorded]:
    for one in json.loads(_FILE.read_text()):
        references = [Reference(name, text) for name, text in one["references"]]
        yield Recorded(
            one["name"],
            one["part"],
            RegisteredSchema(one["type"], one["schema"], references),
            one["id"],
            one["guid"],
            bytes.fromhex(one["bytes"]),
            tuple((name, bytes.fromhex(value)) for name, value in one["headers"]),
            one["meant"],
            one["full_name"],
        )


def avro(schema: Any) -> RegisteredSchema:
    """An Avro schema, as a registry keeps it."""
    return RegisteredSchema("AVRO", json.dumps(schema))


@dataclass
class Clock:
    """Seconds that pass when a test says so."""

    now: float = 1_000.0
    steps: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now
