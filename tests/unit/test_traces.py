"""Spans of a record's way: what they tell, what they are a part of, and that traces can be off."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import (
    SpanContext,
    SpanKind,
    StatusCode,
    format_span_id,
    format_trace_id,
    get_current_span,
)
from structlog.testing import capture_logs
from temporalio.contrib.opentelemetry import TracingInterceptor
from temporalio.contrib.opentelemetry._otel_interceptor import _headers_to_context
from temporalio.converter import PayloadConverter

from activities.ports import NotYet, ResultEvent
from service.errors import ConfigurationError, RejectedError, TargetMissing
from service.failures.parked import to_parked
from service.intake.waiting import Abandoned
from service.kafka.record import Record
from service.results.publisher import KafkaResultPublisher
from service.routing.commands import Command, Signal
from service.routing.table import RouteTable, load_routes
from service.telemetry.logs import trace_of_the_way
from service.telemetry.spans import SaidOnce, SpanTraces
from service.telemetry.traces import ENDPOINTS, OFF, Export, Traces, make_traces
from tests.unit import test_deliveries
from tests.unit.fakes import FakeSink, NoTime, ScriptedDispatcher, outage
from tests.unit.test_dispatcher import Wire, connected, memo_of, signal, start
from tests.unit.test_handling import MARKER, ROUTES, World, earned, fact

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"
MALFORMED = f"00-{TRACE}-{SPAN}-what"


class Spans(SpanTraces):
    """Traces whose spans are kept here, in the order they ended."""

    def __init__(self) -> None:
        self.exporter, provider = InMemorySpanExporter(), TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        super().__init__(provider, "shop", (Abandoned,))

    @property
    def all(self) -> Sequence[ReadableSpan]:
        return self.exporter.get_finished_spans()

    def named(self, name: str) -> ReadableSpan:
        (span,) = [one for one in self.all if one.name == name]
        return span


@pytest.fixture
def spans() -> Spans:
    return Spans()


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> RouteTable:
    path = tmp_path_factory.mktemp("routes") / "shop.yaml"
    path.write_text(ROUTES)
    return load_routes(path)


@pytest.fixture
def wire() -> Wire:
    return Wire()


def of_a_trace(given: Record, parent: str = PARENT) -> Record:
    return replace(given, headers=(*given.headers, ("traceparent", parent.encode())))


def told(span: ReadableSpan) -> Mapping[str, Any]:
    return dict(span.attributes or {})


def parent(span: ReadableSpan) -> str:
    """As a header tells it; empty where it is a root."""
    return as_header(span.parent) if span.parent else ""


def own(span: ReadableSpan) -> str:
    context = span.get_span_context()
    assert context
    return as_header(context)


def as_header(context: SpanContext) -> str:
    ids = f"{format_trace_id(context.trace_id)}-{format_span_id(context.span_id)}"
    return f"00-{ids}-{context.trace_flags:02x}"


# --- the way of a record ---


async def test_each_command_of_a_record_is_a_span_below_the_one_of_its_record(
    spans: Spans, table: RouteTable
) -> None:
    world = World(table, ScriptedDispatcher(second=[RejectedError("is too large")]), traces=spans)
    await world.handle(of_a_trace(fact("all")))
    process = spans.named("process shop.orders")
    assert (parent(process), process.kind) == (PARENT, SpanKind.CONSUMER)
    assert told(process) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "shop.orders",
        "messaging.destination.partition.id": "2",
        "messaging.consumer.group.name": "shop",
        "messaging.kafka.offset": 1042,
        "messaging.message.id": "e-1",
        "turnout.event.type": "all",
    }
    dispatched = [spans.named(f"dispatch {route}") for route in ("first", "second", "third")]
    assert {parent(span) for span in dispatched} == {own(process)}
    assert [told(span)["turnout.outcome"] for span in dispatched] == ["accepted", "dead-lettered", "accepted"]
    assert [span.status.status_code for span in dispatched] == [
        StatusCode.UNSET,
        StatusCode.ERROR,
        StatusCode.UNSET,
    ]
    # What Temporal is asked carries the span of its own command.
    called = [command.event.headers["traceparent"] for command in world.dispatcher.calls]
    assert called == [own(span) for span in dispatched]


@pytest.mark.parametrize("headers", [(), (("traceparent", MALFORMED.encode()),), (("traceparent", None),)])
async def test_without_a_trace_of_the_producers_one_begins_with_the_record(
    spans: Spans, table: RouteTable, headers: tuple[tuple[str, bytes | None], ...]
) -> None:
    world = World(table, ScriptedDispatcher(), traces=spans)
    given = fact("all")
    await world.handle(replace(given, headers=(*given.headers, *headers)))
    assert parent(spans.named("process shop.orders")) == ""
    assert world.letters == []
    assert len({own(span)[:35] for span in spans.all}) == 1


async def test_an_undecodable_record_has_a_span_that_says_so_without_its_payload(
    spans: Spans, table: RouteTable
) -> None:
    world = World(table, ScriptedDispatcher(), traces=spans)
    await world.handle(of_a_trace(replace(fact("all"), value=b"{" + MARKER.encode())))
    (span,) = spans.all
    assert span.status.status_code is StatusCode.ERROR
    assert told(span)["turnout.outcome"] == "dead-lettered"
    assert MARKER not in span.to_json()


async def test_a_defect_is_told_by_its_type_alone_and_a_partition_that_goes_is_no_error(
    spans: Spans, table: RouteTable
) -> None:
    world = World(table, ScriptedDispatcher(first=[ZeroDivisionError(MARKER), *outage(9)]), traces=spans)
    with pytest.raises(ZeroDivisionError):
        await world.handle(fact("all"))
    defect = spans.named("dispatch first")
    assert (told(defect)["error.type"], defect.status.status_code) == ("ZeroDivisionError", StatusCode.ERROR)
    assert not any(MARKER in span.to_json() for span in spans.all)
    spans.exporter.clear()
    with pytest.raises(Abandoned):
        await world.handle(fact("all"), NoTime(naps=2))
    assert {told(span)["error.type"] for span in spans.all} == {"Abandoned"}
    assert {span.status.status_code for span in spans.all} == {StatusCode.UNSET}


async def test_what_is_told_together_has_a_trace_of_its_own_with_a_link_to_each(
    spans: Spans, table: RouteTable
) -> None:
    world = World(table, ScriptedDispatcher(), traces=spans)
    parents = [PARENT.replace("4bf", f"{n}bf") for n in (1, 2)]
    records = [of_a_trace(earned("a", n, n), one) for n, one in enumerate(parents, 1)]
    await world.handling.handle_next([*records, earned("a", 3, 3)], NoTime())
    process = spans.named("process shop.points")
    assert parent(process) == ""
    assert [as_header(link.context) for link in process.links] == parents
    assert told(process)["messaging.batch.message_count"] == 3
    dispatch = spans.named("dispatch points")
    assert parent(dispatch) == own(process)
    assert [one.event.headers["traceparent"] for one in world.dispatcher.calls] == [own(dispatch)]


async def test_what_is_told_one_by_one_after_all_is_in_the_trace_of_each(
    spans: Spans, table: RouteTable
) -> None:
    world = World(table, ScriptedDispatcher(points=[RejectedError("too large")]), traces=spans)
    records = [of_a_trace(earned("a", n, n), PARENT.replace("4bf", f"{n}bf")) for n in (1, 2)]
    await world.handling.handle_next(records, NoTime())
    roots = {parent(span) for span in spans.all if span.name == "process shop.points"}
    assert roots == {"", PARENT.replace("4bf", "1bf"), PARENT.replace("4bf", "2bf")}


# --- the wire ---


def carried(wire: Wire) -> Any:
    """What the header of Temporal's own interceptors tells, read as they read it."""
    payload = wire.request.header.fields["_tracer-data"]
    return PayloadConverter.default.from_payloads([payload])[0]


@pytest.mark.parametrize("command", [start(), signal()], ids=["start", "signal"])
async def test_a_call_tells_the_trace_as_temporals_own_interceptors_do(wire: Wire, command: Command) -> None:
    dispatcher, headers = await connected(wire), {"traceparent": PARENT, "tracestate": "a=1", "x": "y"}
    await dispatcher.dispatch(replace(command, event=replace(command.event, headers=headers)))
    assert carried(wire) == {"traceparent": PARENT, "tracestate": "a=1"}
    # As both interceptors of the SDK read it, the one that is stable and the one of its plugin.
    fields = wire.request.header.fields
    for read in (TracingInterceptor()._context_from_headers, _headers_to_context):  # noqa: SLF001
        read_as = get_current_span(read(fields)).get_span_context()
        assert (as_header(read_as), read_as.trace_state.to_header()) == (PARENT, "a=1")


@pytest.mark.parametrize("headers", [{}, {"traceparent": MALFORMED}, {"traceparent": "0" * 3_000_000}])
async def test_a_call_tells_no_trace_that_is_none(wire: Wire, headers: dict[str, str]) -> None:
    dispatcher = await connected(wire)
    await dispatcher.dispatch(replace(start(), event=replace(start().event, headers=headers)))
    assert not wire.request.header.fields
    assert "traceparent" not in await memo_of(wire.request)


# --- parks ---


def parked(headers: Mapping[str, str]) -> Signal:
    one = test_deliveries.signal()
    return replace(one, event=replace(one.event, headers=headers))


async def test_a_parked_command_is_delivered_as_a_part_of_what_it_was_parked_by(spans: Spans) -> None:
    missing = TargetMissing("does not exist", timedelta(minutes=15))
    world = test_deliveries.World(ScriptedDispatcher(note=[missing, missing]), spans)
    kept = to_parked(parked({"traceparent": PARENT}), answer="", patience=timedelta(minutes=15)).command
    for _ in range(2):
        with pytest.raises(NotYet):
            await world.deliver(kept)
    assert spans.all == ()  # it is tried each second
    await world.deliver(kept)
    span = spans.named("dispatch note")
    assert (span.name, parent(span), told(span)["turnout.outcome"]) == ("dispatch note", PARENT, "accepted")


async def test_what_is_given_up_on_in_a_park_is_an_error_of_its_span(spans: Spans) -> None:
    world = test_deliveries.World(ScriptedDispatcher(note=[RejectedError("is too large")]), spans)
    await world.deliver(to_parked(parked({}), answer="", patience=timedelta(minutes=15)).command)
    (span,) = spans.all
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "is too large")


# --- results ---


class Nowhere:
    """Finds nothing that was published before."""

    async def find(self, _sought: object) -> None:
        return None


async def published(traces: Traces, headers: dict[str, str]) -> dict[str, bytes | None]:
    sink = FakeSink()
    publisher = KafkaResultPublisher(sink, Nowhere(), traces=traces)  # type: ignore[arg-type]
    result = ResultEvent(
        topic="shop.results",
        id="r-1",
        source="shop",
        type="done",
        subject="A-1",
        time="2026-11-01T10:00:00Z",
        data={},
        headers=headers,
    )
    await publisher.publish(result)
    return dict(sink.sent[0].headers)


async def test_a_result_carries_on_what_goes_on_or_else_what_it_was_given(spans: Spans) -> None:
    given = {"traceparent": PARENT, "tracestate": "a=1", "ce_causationid": "e-1"}
    alone = await published(spans, given)
    span = spans.named("send shop.results")
    assert (parent(span), span.kind) == (PARENT, SpanKind.PRODUCER)
    assert (alone["traceparent"], alone["tracestate"]) == (own(span).encode(), b"a=1")
    assert alone["ce_causationid"] == b"e-1"
    assert told(span)["messaging.kafka.offset"] == 0
    spans.exporter.clear()
    with spans.process(fact("all")):
        within = await published(spans, given)
    span = spans.named("send shop.results")
    assert parent(span) == own(spans.named("process shop.orders"))
    assert within["traceparent"] == own(span).encode()
    assert "tracestate" not in within  # that of another trace


# --- off ---


async def test_where_traces_are_off_the_producers_is_carried_on_as_it_is(table: RouteTable) -> None:
    world = World(table, ScriptedDispatcher(), traces=OFF)
    await world.handle(of_a_trace(fact("all")))
    assert {command.event.headers["traceparent"] for command in world.dispatcher.calls} == {PARENT}
    given = {"traceparent": PARENT, "tracestate": "a=1"}
    headers = await published(OFF, given)
    assert (headers["traceparent"], headers["tracestate"]) == (PARENT.encode(), b"a=1")


@pytest.mark.parametrize("on", [True, False])
async def test_what_waits_and_the_lines_about_it_tell_of_which_trace_it_is(
    spans: Spans, table: RouteTable, on: bool
) -> None:
    seen: list[tuple[str, str]] = []
    world = World(table, ScriptedDispatcher(), traces=spans if on else OFF)
    world.dispatcher.before_call = lambda _: seen.extend(
        (one.what.trace_id, trace_of_the_way()) for one in world.waiting.longer_than(-1)
    )
    await world.handle(of_a_trace(fact("all")))
    assert seen == [(TRACE, TRACE)] * 3


def test_where_traces_are_off_nothing_of_opentelemetry_is_loaded() -> None:
    program = (
        "import sys, service.wiring, service.telemetry.traces as traces;"
        "assert traces.make_traces('auto', {}, group='g') is traces.OFF;"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
FOR_TRACES = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1/v1/traces"}


@pytest.mark.parametrize(
    ("export", "environment", "on"),
    [
        ("auto", {}, False),
        ("auto", ENDPOINT, True),
        ("auto", FOR_TRACES, True),
        ("off", ENDPOINT, False),
        ("auto", ENDPOINT | {"OTEL_SDK_DISABLED": "true"}, False),
        ("auto", ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"}, False),
        ("auto", ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, True),
        ("on", FOR_TRACES | {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}, True),
    ],
)
async def test_traces_are_on_where_there_is_an_endpoint_unless_someone_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, export: Export, environment: dict[str, str], on: bool
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    traces = make_traces(export, environment, group="shop")
    assert isinstance(traces, SpanTraces) == on
    await traces.close()


DISABLED = ENDPOINT | {"OTEL_SDK_DISABLED": "true"}


def test_what_is_to_be_on_and_off_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="OTEL_SDK_DISABLED"):
        make_traces("on", DISABLED, group="shop")


async def test_a_password_is_not_said() -> None:
    with capture_logs() as lines:
        traces = make_traces("on", {ENDPOINTS[1]: "http://ada:secret@127.0.0.1:1"}, group="shop")
    await traces.close()
    assert isinstance(traces, SpanTraces)
    assert "secret" not in str(lines)


def test_values_that_opentelemetry_refuses_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "-1")
    with pytest.raises(ConfigurationError, match=r"OTEL_.*positive"):
        make_traces("on", ENDPOINT, group="shop")


BARE = {"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"}
GRPC = ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "set OTEL_EXPORTER_OTLP_ENDPOINT"),
        (GRPC, "OTLP_PROTOCOL=grpc.*http/protobuf"),
        (BARE, "over HTTP"),
    ],
)
def test_what_keeps_traces_from_being_on_is_said_or_refused(environment: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        make_traces("on", environment, group="shop")
    with capture_logs() as lines:
        assert make_traces("auto", environment, group="shop") is OFF
    assert len(lines) == bool(environment)


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "service.telemetry.spans", None)
    with pytest.raises(ConfigurationError, match=r"turnout\[traces\]"):
        make_traces("on", ENDPOINT, group="shop")
    with capture_logs() as lines:
        assert make_traces("auto", ENDPOINT, group="shop") is OFF
    assert [line["log_level"] for line in lines] == ["warning"]


class Failing(SpanExporter):
    """Answers as scripted."""

    def __init__(self, *answers: SpanExportResult | Exception) -> None:
        self._answers = iter(answers)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_a_collector_that_is_away_is_said_once_and_its_return_too() -> None:
    good, bad = SpanExportResult.SUCCESS, SpanExportResult.FAILURE
    exporter = SaidOnce(Failing(good, bad, ValueError("x"), bad, good, good, bad), "127.0.0.1:1")
    with capture_logs() as lines:
        for _ in range(7):
            exporter.export(())
    assert [line["log_level"] for line in lines] == ["warning", "info", "warning"]
