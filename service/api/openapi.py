"""The OpenAPI document of the handler API, written from its operations and models."""

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service.api.models import ID_SCHEMA, SPAN_SCHEMA
from service.api.operations import ALWAYS, NAMED_IN_PATHS, NAMED_IN_QUERIES, OPERATIONS, Operation
from service.api.problems import MEDIA_TYPE, STATUS, TITLES, Problem
from service.api.refusals import Kind

HEADER_SCHEMA: Mapping[str, Any] = {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[!-~]+$"}

CLOUDEVENT: Mapping[str, Any] = {
    "type": "object",
    "required": ["specversion", "id", "source", "type"],
    "properties": {
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "minLength": 1},
        "source": {"type": "string", "minLength": 1},
        "type": {"type": "string", "minLength": 1},
        "subject": {"type": "string", "minLength": 1},
        "time": {"type": "string", "format": "date-time"},
        "datacontenttype": {"const": "application/json"},
        "partitionkey": {"type": "string", "minLength": 1},
        "data": {},
    },
}

EXAMPLE_EVENT: Mapping[str, Any] = {
    "specversion": "1.0",
    "id": "6f1c6f0e",
    "source": "/shop",
    "type": "shop.order.placed",
    "data": {"order_id": "A-1001"},
}


def openapi(*, guarded: bool = True) -> dict[str, Any]:
    """The document, OpenAPI 3.1; `guarded` is whether callers need a token."""
    bodies = {one.body for one in OPERATIONS if one.body}
    answers = {Problem, *(one.answer for one in OPERATIONS)}
    both = [(one, "validation") for one in bodies] + [(one, "serialization") for one in answers]
    _, definitions = models_json_schema(
        sorted(both, key=lambda one: one[0].__name__),  # type: ignore[arg-type]
        ref_template="#/components/schemas/{model}",
    )
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "turnout",
            "version": "1",
            "description": "Events by the routes, and workflows of Temporal, asked directly.",
        },
        "paths": _paths(guarded=guarded),
        "components": {"schemas": {**definitions["$defs"], "CloudEvent": CLOUDEVENT}},
    }
    if guarded:
        document["components"]["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"bearer": []}]
    return document


def _paths(*, guarded: bool) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for one in OPERATIONS:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one, guarded=guarded)
    document = {"description": "This document.", "content": _content({"type": "object"})}
    responses = {"200": document, **_problems([Kind.FORBIDDEN], guarded=guarded)}
    paths["/openapi.json"] = {
        "get": {"operationId": "document", "summary": "This document", "responses": responses}
    }
    return paths


def _operation(one: Operation, *, guarded: bool) -> dict[str, Any]:
    summary, _, more = inspect.cleandoc(one.says).partition("\n\n")
    answer = {"description": inspect.getdoc(one.answer) or "", "content": _content(_of(one.answer))}
    answers = {"200": answer, **({"201": answer} if one.created else {})}
    operation: dict[str, Any] = {
        "operationId": one.name,
        "summary": summary,
        "parameters": list(_parameters(one)),
        "responses": {**answers, **_problems([*ALWAYS, *one.kinds], guarded=guarded)},
    }
    if more:
        operation["description"] = " ".join(more.split())
    if one.asked is None:
        operation["requestBody"] = {"required": True, "content": _EVENT_BODY}
    elif one.body:
        # Without one it is as `{}`, which a start cannot be.
        needed = any(field.is_required() for field in one.body.model_fields.values())
        operation["requestBody"] = {"required": needed, "content": _content(_of(one.body))}
    return operation


_EVENT_BODY: Mapping[str, Any] = {
    "application/cloudevents+json": {
        "schema": {"$ref": "#/components/schemas/CloudEvent"},
        "example": EXAMPLE_EVENT,
    },
    "application/json": {"schema": {}, "example": EXAMPLE_EVENT["data"]},
}


def _parameters(one: Operation) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"\{(\w+)\}", one.path):
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "description": NAMED_IN_PATHS[name],
            "schema": ID_SCHEMA,
        }
    if one.asked is None:
        yield from _ATTRIBUTES
    for name in (*one.query, "time_limit"):
        schema = ID_SCHEMA if name == "namespace" else SPAN_SCHEMA
        yield {"name": name, "in": "query", "description": NAMED_IN_QUERIES[name], "schema": schema}
    if one.key:
        yield {
            "name": "Idempotency-Key",
            "in": "header",
            "description": "Calls that ask the same with one key take effect once.",
            "schema": HEADER_SCHEMA,
        }


_ATTRIBUTES = [
    {
        "name": f"ce-{name}",
        "in": "header",
        "description": f"In binary mode: attribute `{name}` of the event, percent-encoded.",
        "schema": HEADER_SCHEMA,
    }
    for name in ("specversion", "id", "source", "type", "subject", "time", "partitionkey")
]


def _problems(kinds: Sequence[Kind], *, guarded: bool) -> dict[str, Any]:
    kinds = [*kinds, Kind.UNAUTHENTICATED] if guarded else kinds
    titles: dict[str, list[str]] = {}
    for kind in kinds:
        titles.setdefault(str(int(STATUS[kind])), []).append(TITLES[kind])
    titles["408"] = ["The body does not come in time"]
    content = _content(_of(Problem), MEDIA_TYPE)
    return {
        status: {"description": "; ".join(dict.fromkeys(said)), "content": content}
        for status, said in sorted(titles.items())
    }


def _of(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _content(schema: Mapping[str, Any], media: str = "application/json") -> dict[str, Any]:
    return {media: {"schema": schema}}
