"""Spans by OpenTelemetry, named and described by its conventions for messaging; needs the extra `traces`.

Source: https://opentelemetry.io/docs/specs/semconv/messaging/kafka/. One record is handled in the trace that
its producer began, which the conventions allow where records are handled one by one; several that are handled
as one have a trace of their own, with a link to each.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from threading import Thread
from typing import Any

import structlog
from opentelemetry import trace
from opentelemetry.context import Context as Otel
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Link, Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from temporalio.contrib.opentelemetry import TracingInterceptor, TracingWorkflowInboundInterceptor
from temporalio.worker import WorkflowInboundInterceptor, WorkflowInterceptorClassInput

from service.telemetry.logs import tell_spans
from service.telemetry.trace_context import Context, context_in, context_of
from service.telemetry.traces import Delivered, Traces

log = structlog.get_logger(__name__)

Attributes = Mapping[str, str | int | None]

W3C = TraceContextTextMapPropagator()
CLOSE_SECONDS = 3.0
ERROR_CHARACTERS = 1_000


class SpanTraces(Traces):
    """Makes spans by `provider`.

    Args:
        provider: Whose they are.
        group: The consumer group.
        harmless: What ends the handling of a record without anything being wrong.
    """

    def __init__(
        self, provider: TracerProvider, group: str, harmless: tuple[type[BaseException], ...] = ()
    ) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("turnout", _version())
        self._group = group
        self._harmless = harmless
        self.interceptors = (WorkerTracing(self._tracer),)
        tell_spans(_ids)

    @contextmanager
    def process(self, record: Delivered) -> Iterator[str]:
        """See `Traces.process`."""
        attributes: Attributes = {
            "messaging.destination.partition.id": str(record.partition),
            "messaging.kafka.offset": record.offset,
            "messaging.kafka.message.tombstone": True if record.value is None else None,
        }
        context = _extracted(context_of(record.headers))
        with self._consuming(record.topic, context, attributes) as span:
            yield _trace_id(span)

    @contextmanager
    def process_batch(self, records: Sequence[Delivered]) -> Iterator[str]:
        """See `Traces.process_batch`."""
        spans = (trace.get_current_span(_extracted(context_of(one.headers))) for one in records)
        links = [Link(span.get_span_context()) for span in spans if span.get_span_context().is_valid]
        attributes: Attributes = {
            "messaging.destination.partition.id": str(records[0].partition),
            "messaging.kafka.offset": records[0].offset,
            "messaging.batch.message_count": len(records),
        }
        with self._consuming(records[0].topic, Otel(), attributes, links) as span:
            yield _trace_id(span)

    @contextmanager
    def _consuming(
        self,
        topic: str,
        context: Otel,
        attributes: Attributes,
        links: Sequence[Link] = (),
    ) -> Iterator[Span]:
        common = {
            "messaging.system": "kafka",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": topic,
            "messaging.consumer.group.name": self._group,
        }
        span = self._tracer.start_span(
            f"process {topic}", context, SpanKind.CONSUMER, _told({**common, **attributes}), links
        )
        with self._ending(span):
            yield span

    @contextmanager
    def dispatch(
        self,
        route: str,
        kind: str,
        workflow_id: str,
        headers: Mapping[str, str],
        *,
        not_yet: tuple[type[Exception], ...] = (),
    ) -> Iterator[Context]:
        """See `Traces.dispatch`."""
        attributes = {
            "turnout.route": route,
            "turnout.command": kind,
            # By this name the SDK's own spans tell it.
            "temporalWorkflowID": workflow_id,
        }
        span = self._tracer.start_span(
            f"dispatch {route}", _parent(headers), SpanKind.CLIENT, _told(attributes)
        )
        with self._ending(span, not_yet):
            yield _injected()

    @contextmanager
    def send(self, topic: str, headers: Mapping[str, str]) -> Iterator[Context]:
        """See `Traces.send`."""
        attributes = {
            "messaging.system": "kafka",
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
            "messaging.destination.name": topic,
        }
        span = self._tracer.start_span(f"send {topic}", _parent(headers), SpanKind.PRODUCER, attributes)
        with self._ending(span):
            yield _injected()

    @contextmanager
    def _ending(self, span: Span, not_yet: tuple[type[Exception], ...] = ()) -> Iterator[None]:
        """`span` is the current one in this block, and ends with it; it is not exported for `not_yet`.

        The text of an exception is not told: it may be a payload's.
        """
        try:
            with trace.use_span(span, record_exception=False, set_status_on_exception=False):
                yield
        except not_yet:
            raise  # a span that does not end is nowhere to be seen
        except BaseException as error:
            span.set_attribute("error.type", type(error).__name__)
            if not isinstance(error, (asyncio.CancelledError, *self._harmless)):
                span.set_status(StatusCode.ERROR)
            span.end()
            raise
        span.end()

    def note(self, attributes: Mapping[str, str | int], *, error: str = "") -> None:
        """See `Traces.note`."""
        span = trace.get_current_span()
        span.set_attributes(_told(attributes))
        if error:
            span.set_status(StatusCode.ERROR, error[:ERROR_CHARACTERS])

    async def close(self) -> None:
        """See `Traces.close`."""
        # A daemon: with the collector away it would keep the process for longer.
        closing = Thread(target=self._provider.shutdown, name="traces", daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, CLOSE_SECONDS)


class _WorkflowTracing(TracingWorkflowInboundInterceptor):
    """The SDK's, without baggage: what producers put into that is not ours to keep in histories."""

    def __init__(self, next: WorkflowInboundInterceptor) -> None:  # noqa: A002 - the SDK's name for it
        super().__init__(next)
        self.text_map_propagator = W3C


class WorkerTracing(TracingInterceptor):
    """The SDK's interceptor for workers, for its header `_tracer-data`.

    It makes no span while a workflow is replayed, and none that lasts: so nothing of it is in the way of
    replay, and what a workflow does is told once.
    """

    def __init__(self, tracer: trace.Tracer) -> None:
        super().__init__(tracer)
        self.text_map_propagator = W3C

    def workflow_interceptor_class(
        self,
        input: WorkflowInterceptorClassInput,  # noqa: A002 - the SDK's name for it
    ) -> type[TracingWorkflowInboundInterceptor]:
        """See `Interceptor.workflow_interceptor_class`."""
        super().workflow_interceptor_class(input)
        return _WorkflowTracing


class SaidOnce(SpanExporter):
    """Another exporter, of whose failures one line tells, and one of their end."""

    def __init__(self, exporter: SpanExporter, where: str) -> None:
        self._exporter = exporter
        self._refused = f"the collector at {where} does not answer, or does not take them"
        self._failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """See `SpanExporter.export`."""
        try:
            result, why = self._exporter.export(spans), self._refused
        except Exception as error:  # noqa: BLE001 - whatever it is, traces are not worth more than a line
            result, why = SpanExportResult.FAILURE, f"{type(error).__name__}: {error}"
        failing = result is not SpanExportResult.SUCCESS
        if failing and not self._failing:
            log.warning("traces cannot be exported, and are lost meanwhile", reason=why)
        elif self._failing and not failing:
            log.info("traces are exported again")
        self._failing = failing
        return result

    def shutdown(self) -> None:
        """See `SpanExporter.shutdown`."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """See `SpanExporter.force_flush`."""
        return self._exporter.force_flush(timeout_millis)


def exporting(
    environment: Mapping[str, str], where: str, group: str, harmless: tuple[type[BaseException], ...]
) -> SpanTraces:
    """Traces that are exported by OTLP, as OpenTelemetry's own variables say; `where` is for people."""
    provider = TracerProvider(resource=_resource(environment))
    provider.add_span_processor(BatchSpanProcessor(SaidOnce(OTLPSpanExporter(), where)))
    return SpanTraces(provider, group, harmless)


def _resource(environment: Mapping[str, str]) -> Resource:
    named = environment.get("OTEL_SERVICE_NAME") or "service.name=" in environment.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    return Resource.create({SERVICE_VERSION: _version(), **({} if named else {SERVICE_NAME: "turnout"})})


def _version() -> str:
    try:
        return version("turnout")
    except PackageNotFoundError:
        return ""


def _extracted(context: Context) -> Otel:
    return W3C.extract(context, Otel())


def _parent(headers: Mapping[str, str]) -> Otel | None:
    """What is going on; where nothing is, what `headers` tell."""
    goes_on = trace.get_current_span().get_span_context().is_valid
    return None if goes_on else _extracted(context_in(headers))


def _injected() -> Context:
    carrier: dict[str, str] = {}
    W3C.inject(carrier)
    return carrier


def _told(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `attributes` that say something."""
    return {name: value for name, value in attributes.items() if value not in ("", None)}


def _trace_id(span: Span) -> str:
    context = span.get_span_context()
    return trace.format_trace_id(context.trace_id) if context.is_valid else ""


def _ids() -> Mapping[str, str]:
    """What log lines tell of what is going on."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {
        "trace_id": trace.format_trace_id(context.trace_id),
        "span_id": trace.format_span_id(context.span_id),
    }
