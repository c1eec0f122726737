"""All topics of the routes as an AsyncAPI document: what turnout takes from them, and what it writes to them.

Made of the routes and of the workflows that are known, and of nothing else: no address, no secret.
Source: AsyncAPI 3.0.0, its Kafka bindings 0.5.0, and the Kafka protocol binding of CloudEvents 1.0.2.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from activities.correlation import HEADER
from service.dispatch.contracts import Contracts, Parameters
from service.documents.asking import asked, written
from service.documents.schemas import Schemas, all_of, any_of, unused_names
from service.errors import RejectedError
from service.events.codec import BytesFormat
from service.events.json_schema import Schema
from service.expressions import Template
from service.results.closing import TYPE as CLOSED
from service.results.closing_schema import CLOSING_SCHEMA
from service.routing.grammar import RouteKeys, SignalKeys, WorkflowKeys
from service.routing.shapes import Shape
from service.routing.table import Route, RouteTable, Topic
from workflows.topics import is_pattern

VERSION = "3.0.0"
KAFKA_BINDING = "0.5.0"
JSON = "application/json"

_TEXT: Mapping[str, Any] = {"type": "string", "minLength": 1}
_HEADER = re.compile(r"""\s*(?:headers|event\.ext)\[\s*(["'])([^"'\\]+)\1\s*\]\s*""")
_IN_DATA = re.compile(r"\s*data((?:\.[A-Za-z_]\w*)+)\s*", re.ASCII)

Registered = Mapping[str, Mapping[str, Any]]
"""What is known of values from elsewhere, such as a schema registry: by topic the payload as AsyncAPI has it,
which is a schema or `{schemaFormat, schema}`."""


@dataclass(frozen=True, slots=True)
class About:
    """What a document says of itself, and the servers that it names: `host:port` and protocol by name."""

    title: str = "turnout"
    version: str = "1.0.0"
    servers: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def asyncapi(
    table: RouteTable, contracts: Contracts, about: About, registered: Registered | None = None
) -> dict[str, Any]:
    """The document, as plain JSON values."""
    writing = _Writing(table, contracts, registered or {})
    for route in table.routes:
        writing.receive(route)
    for topic in sorted(table.out_topics):
        writing.send(topic)
    servers = {name: {"host": host, "protocol": how} for name, (host, how) in about.servers.items()}
    return {
        "asyncapi": VERSION,
        "info": {
            "title": about.title,
            "version": about.version,
            "description": "What turnout takes from topics and asks of workflows because of it, and what it "
            "writes to topics. `receive` and `send` are as turnout sees it: publish what it receives.",
        },
        "defaultContentType": JSON,
        **({"servers": servers} if servers else {}),
        "channels": writing.channels,
        "operations": writing.operations,
        **({"components": {"schemas": writing.schemas.components}} if writing.schemas.components else {}),
    }


class _Writing:
    """A document that is being written."""

    def __init__(self, table: RouteTable, contracts: Contracts, registered: Registered) -> None:
        self._table = table
        self._contracts = contracts
        self._registered = registered
        self.schemas = Schemas()
        self.channels: dict[str, Any] = {}
        self.operations: dict[str, Any] = {}
        self._events: dict[tuple[str, str | None], str] = {}

    def receive(self, route: Route) -> None:
        """What `route` takes, as an operation for each topic."""
        keys = route.keys
        types: Sequence[str | None] = route.types or (None,)
        said = [f"It {asked(keys)}."]
        if keys.when:
            said.append(f"It takes what fits `{written(keys.when.source)}`.")
        for topic in route.topics:
            self._operation(
                route.name,
                "receive",
                topic,
                [self._taken(self._table.topics[topic], type_) for type_ in types],
                {"title": f"route {route.name}", "description": " ".join(said)},
            )

    def send(self, topic: str) -> None:
        """What is written to `topic`, as operations."""
        told = [route for route in self._table.routes if _closing_topic(route.keys) == topic]
        if told:
            listed = "".join(f"\n- {written(_workflow(r.keys))}, started by `{r.name}`" for r in told)
            event = self._event(topic, CLOSED, self._closing())
            self._operation(
                f"closings.{topic}",
                "send",
                topic,
                [event],
                {"title": "how workflows ended", "description": f"Each end of these is told:\n{listed}"},
            )
        self._operation(
            f"results.{topic}",
            "send",
            topic,
            [self._event(topic, None, self._result(topic))],
            {"title": "results", "description": "What workflows publish; which types, their code decides."},
        )

    def _operation(
        self, name: str, action: str, topic: str, events: Sequence[str], said: Mapping[str, Any]
    ) -> None:
        key = next(one for one in unused_names(name) if one not in self.operations)
        self.operations[key] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{topic}"},
            **said,
            "messages": [{"$ref": f"#/channels/{topic}/messages/{event}"} for event in events],
        }

    def _event(self, topic: str, type_: str | None, event: Mapping[str, Any]) -> str:
        """The name of an event in its channel, where it stands from now on."""
        channel = self.channels.setdefault(topic, _channel(topic))
        key = next(one for one in unused_names(type_ or "any") if one not in channel["messages"])
        channel["messages"][key] = event
        self._events[topic, type_] = key
        return key

    # --- what is taken ---

    def _taken(self, topic: Topic, type_: str | None) -> str:
        known = self._events.get((topic.name, type_))
        return known or self._event(topic.name, type_, self._described(topic, type_))

    def _described(self, topic: Topic, type_: str | None) -> Mapping[str, Any]:
        taking = [
            route
            for route in self._table.routes
            if topic.name in route.topics and (route.types is None or type_ in route.types)
        ]
        listed = "\n".join(f"- `{route.name}` {asked(route.keys)}" for route in taking)
        headers, mapped = _headers(topic, type_)
        replied = [name for route in taking for name in _correlation_headers(route.keys)]
        for name in replied:
            headers["properties"][name] = {**_TEXT, "description": "As the request brought it, unchanged."}
        payload = self._payload(topic.name, [*mapped, *self._expected(taking)])
        return {
            "name": type_ or "any",
            "title": type_ or f"any event of {topic.name}",
            "description": f"Routes that take it:\n\n{listed}",
            "contentType": _content_type(topic.format.format),
            "headers": headers,
            **({"payload": payload} if payload else {}),
            **({"correlationId": {"location": f"$message.header#/{replied[0]}"}} if replied else {}),
            "bindings": {"kafka": {"key": _key(topic), "bindingVersion": KAFKA_BINDING}},
        }

    def _payload(self, topic: str, expected: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        known = self._registered.get(topic, {})
        # What is in another language than JSON Schema cannot be joined with it.
        return known if "schemaFormat" in known else all_of([known, *expected])

    def _expected(self, taking: Sequence[Route]) -> Iterator[Mapping[str, Any]]:
        """What data must fit to be taken: by all routes; by any of those that have a `when`."""
        of_routes = [(route.keys.when, all_of(self._inputs(route.keys))) for route in taking]
        yield from (schema for when, schema in of_routes if not when)
        yield any_of(schema for when, schema in of_routes if when)

    def _inputs(self, keys: RouteKeys) -> Iterator[Mapping[str, Any]]:
        """What is known of the data where a route gives it to a workflow as a whole."""
        if start := keys.start:
            yield from self._of_workflow(start, keys.name)
        if signal := keys.signal:
            place = _place(signal)
            if place is not None:
                yield from self._of_parameters(self._receivers(signal), place, batch=signal.batch)
                yield from self._of_contract(signal.contract, place, f"{keys.name}.{written(signal.name)}")
            if signal.or_start:
                yield from self._of_workflow(signal.or_start, keys.name)

    def _of_workflow(self, keys: WorkflowKeys, route: str) -> Iterator[Mapping[str, Any]]:
        place = _place(keys)
        if place is not None:
            name = keys.workflow.literal
            takes = self._contracts.of_workflow(name) if name else None
            yield from self._of_parameters([takes], place, batch=False)
            yield from self._of_contract(keys.contract, place, f"{route}.{written(keys.workflow)}")

    def _receivers(self, keys: SignalKeys) -> Sequence[Parameters]:
        started = keys.or_start.workflow.literal if keys.or_start else None
        if keys.name.literal is None or (keys.or_start and started is None):
            return ()
        try:
            return self._contracts.of_signal(keys.name.literal, started)
        except RejectedError:
            return ()

    def _of_parameters(
        self, receivers: Sequence[Parameters], place: int, *, batch: bool
    ) -> Iterator[Mapping[str, Any]]:
        number = max(place, 0)
        schemas = [
            self.schemas.of_type(parameters[number], items=batch)
            for parameters in receivers
            if parameters is not None and number < len(parameters)
        ]
        if schemas and all(schemas):  # one that takes anything takes the data, too
            yield any_of(schema for schema in schemas if schema)

    def _of_contract(self, contract: Schema | None, place: int, name: str) -> Iterator[Mapping[str, Any]]:
        if contract and place == _INPUT and (schema := self.schemas.add(contract.written, name)):
            yield schema

    # --- what is written ---

    def _closing(self) -> Mapping[str, Any]:
        payload = self.schemas.add(CLOSING_SCHEMA, str(CLOSING_SCHEMA["title"]))
        headers = _cloudevents_headers(CLOSED)
        headers["properties"] |= _FROM_START
        headers["properties"]["ce_source"] = {**_TEXT, "description": "`temporal/<namespace>`."}
        return {
            "name": CLOSED,
            "title": CLOSED,
            "description": "How a workflow ended: at least once, with one id per run.",
            "contentType": JSON,
            "headers": headers,
            "payload": payload,
            "bindings": _TEXT_KEY,
        }

    def _result(self, topic: str) -> Mapping[str, Any]:
        headers = _cloudevents_headers(None)
        headers["properties"] |= _FROM_START
        if self._table.completing:
            headers["properties"][HEADER] = {
                **_TEXT,
                "description": "Of requests only: copy it into the reply, unchanged.",
            }
        payload = self._payload(topic, ())
        return {
            "name": "result",
            "title": f"any event of {topic}",
            "description": "At least once, with an id that retries and resets keep. The key is the subject.",
            "contentType": _content_type(
                out.format if (out := self._table.out_formats.get(topic)) else "json"
            ),
            "headers": headers,
            **({"payload": payload} if payload else {}),
            "bindings": _TEXT_KEY,
        }


def _channel(topic: str) -> dict[str, Any]:
    if not is_pattern(topic):
        kafka = {"topic": topic, "bindingVersion": KAFKA_BINDING}
        return {"address": topic, "messages": {}, "bindings": {"kafka": kafka}}
    address, parameters = topic, {}
    for number in range(1, topic.count("*") + 1):
        name = f"part{number}"
        address = address.replace("*", f"{{{name}}}", 1)
        parameters[name] = {"description": "One or more characters other than a dot."}
    return {
        "address": address,
        "title": f"all topics {topic}",
        "parameters": parameters,
        "messages": {},
    }


# --- routes ---

_INPUT = -1
"""The place of `${data}` where it is the input; among `args` it is its index."""


def _place(keys: WorkflowKeys | SignalKeys) -> int | None:
    """Which argument the data is as a whole."""
    shapes: tuple[Shape | None, Shape | None] = (keys.input, keys.args)
    if shapes[0] is not None:
        return _INPUT if shapes[0].place_of("data") == () else None
    place = shapes[1].place_of("data") if shapes[1] is not None else None
    return int(place[0]) if place else None


def _closing_topic(keys: RouteKeys) -> str | None:
    return keys.start.publish_closing if keys.start else None


def _workflow(keys: RouteKeys) -> Template | str:
    return keys.start.workflow if keys.start else ""


def _correlation_headers(keys: RouteKeys) -> Iterator[str]:
    """The header that brings the correlation of a reply, where the route says it by name."""
    sources = keys.complete.correlation.expressions if keys.complete else ()
    for source in sources:
        if found := _HEADER.fullmatch(source):
            yield f"ce_{found[2]}" if "event.ext" in source else found[2]


# --- envelopes ---

_FROM_START: Mapping[str, Any] = {
    "ce_correlationid": {**_TEXT, "description": "The id of the workflow."},
    "ce_causationid": {**_TEXT, "description": "The id of the event that led to its start."},
    "traceparent": {**_TEXT, "description": "The trace of that event."},
    "tracestate": {**_TEXT, "description": "What vendors add to the trace."},
}
_TEXT_KEY: Mapping[str, Any] = {"kafka": {"key": {"type": "string"}, "bindingVersion": KAFKA_BINDING}}


def _key(topic: Topic) -> Mapping[str, Any]:
    match topic.format.key:
        case "text":
            return {"type": "string"}
        case "bytes":
            return {"type": "string", "format": "binary"}
    return {}


def _content_type(format_: BytesFormat) -> str:
    return "application/avro" if format_ == "avro" else JSON


def _cloudevents_headers(type_: str | None) -> dict[str, Any]:
    """Of a CloudEvent in binary mode."""
    return {
        "type": "object",
        "description": "A CloudEvent in binary mode.",
        "properties": {
            "ce_specversion": {"type": "string", "const": "1.0"},
            "ce_id": {**_TEXT, "description": "With the source it tells a repeat."},
            "ce_source": {**_TEXT, "format": "uri-reference", "description": "Who says so."},
            "ce_type": {"type": "string", "const": type_} if type_ else {**_TEXT},
            "ce_subject": {**_TEXT, "description": "What it is about."},
            "ce_time": {"type": "string", "format": "date-time", "description": "When it happened."},
            "content-type": {"type": "string", "description": f"`{JSON}`, or a type that ends in `+json`."},
        },
        "required": ["ce_specversion", "ce_id", "ce_source", "ce_type"],
    }


def _headers(topic: Topic, type_: str | None) -> tuple[dict[str, Any], Sequence[Mapping[str, Any]]]:
    """The headers of events of a topic that is read, and what the envelope takes from their data."""
    envelope = topic.format.envelope
    if envelope == "cloudevents":
        headers = _cloudevents_headers(type_)
        headers["description"] = "A CloudEvent in binary mode; structured mode is read as well."
        return headers, ()
    properties: dict[str, Any] = {}
    needed, data = [], []
    for name in ("type", "id", "subject", "source", "time"):
        template: Template | None = getattr(envelope, name)
        source = template.expressions[0] if template and len(template.expressions) == 1 else ""
        value = {"const": type_} if name == "type" and type_ else {}
        alone = template is not None and not template.literals
        if found := _HEADER.fullmatch(source):
            means = {"type": "string", "description": f"The {name} of the event."}
            properties[found[2]] = {**means, **(value if alone else {})}
            needed.append(found[2])
        elif inside := _IN_DATA.fullmatch(source):
            means = {"description": f"The {name} of the event."}
            data.append(_at(inside[1].split(".")[1:], {**means, **(value if alone else {})}))
    described = {
        name: written(template)
        for name in ("type", "id", "subject", "source", "time")
        if (template := getattr(envelope, name))
    }
    told = "; ".join(f"{name}: {text}" for name, text in described.items())
    headers = {
        "type": "object",
        "description": f"No CloudEvent: the attributes of the event are mapped. {told}",
        "properties": properties,
        "required": [*dict.fromkeys(needed)],
    }
    return headers, data


def _at(path: Sequence[str], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """What fits `schema` at `path`."""
    for name in reversed(path):
        schema = {"type": "object", "properties": {name: schema}, "required": [name]}
    return schema
