"""Traces: spans of a record's way, and of what became of it. Off unless there is somewhere to send them."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, Protocol

import structlog
from temporalio.worker import Interceptor

from service.errors import ConfigurationError
from service.telemetry.trace_context import NONE, Context, context_of, trace_id

log = structlog.get_logger(__name__)

Export = Literal["auto", "on", "off"]

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
OURS = "http/protobuf"


class Delivered(Protocol):
    """A record, as far as a span tells of it."""

    @property
    def topic(self) -> str: ...  # noqa: D102
    @property
    def partition(self) -> int: ...  # noqa: D102
    @property
    def offset(self) -> int: ...  # noqa: D102
    @property
    def value(self) -> bytes | None: ...  # noqa: D102
    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...  # noqa: D102


class Traces:
    """Makes no spans. What a producer says of its trace is carried on all the same.

    Attributes:
        interceptors: What a worker needs, so that its workflows and activities are a part of it.
    """

    interceptors: Sequence[Interceptor] = ()

    def process(self, record: Delivered) -> AbstractContextManager[str]:
        """While `record` is handled; tells the id of its trace, empty where it has none."""
        return nullcontext(trace_id(context_of(record.headers)))

    def process_batch(self, records: Sequence[Delivered]) -> AbstractContextManager[str]:  # noqa: ARG002
        """While several records are handled as one, each with a trace of its own; see `process`."""
        return _NO_TRACE

    def dispatch(
        self,
        route: str,  # noqa: ARG002
        kind: str,  # noqa: ARG002
        workflow_id: str,  # noqa: ARG002
        headers: Mapping[str, str],  # noqa: ARG002
        *,
        not_yet: tuple[type[Exception], ...] = (),  # noqa: ARG002
    ) -> AbstractContextManager[Context]:
        """While a command is on its way; tells the context that it carries, empty if it is to keep its own.

        Where nothing goes on that it is a part of, it is one of what `headers` tell. With an exception of
        `not_yet` it was no more than a try.
        """
        return _NO_CONTEXT

    def send(self, topic: str, headers: Mapping[str, str]) -> AbstractContextManager[Context]:  # noqa: ARG002
        """While something is written to a topic; tells the context for its headers, see `dispatch`."""
        return _NO_CONTEXT

    def note(self, attributes: Mapping[str, str | int], *, error: str = "") -> None:
        """Tell more of what goes on now; with `error`, that it failed, and why."""

    async def close(self) -> None:
        """Export what is there, for some seconds at most."""


_NO_TRACE: AbstractContextManager[str] = nullcontext("")
_NO_CONTEXT: AbstractContextManager[Context] = nullcontext(NONE)

OFF = Traces()


def make_traces(
    export: Export,
    environment: Mapping[str, str],
    *,
    group: str,
    harmless: tuple[type[BaseException], ...] = (),
) -> Traces:
    """Traces as `export` and OpenTelemetry's own `environment` say.

    `auto` is on where the environment names an endpoint; what then keeps it from being on is said in the log.

    Args:
        export: Whether.
        environment: Where to, and how.
        group: The consumer group.
        harmless: What ends the handling of a record without anything being wrong.

    Raises:
        ConfigurationError: It is to be on, and cannot be.
    """
    endpoint = next((environment[name] for name in ENDPOINTS if environment.get(name)), "")
    if export == "off" or (export == "auto" and (not endpoint or _disabled(environment))):
        return OFF
    try:
        return _on(environment, endpoint, group, harmless)
    except ConfigurationError as error:
        if export == "on":
            raise
        cure = "TURNOUT_TRACES__EXPORT=off says that they are to be"
        log.warning("traces are off", reason=str(error), cure=cure)
        return OFF


def _disabled(environment: Mapping[str, str]) -> bool:
    disabled = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    return disabled or environment.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none"


def _on(
    environment: Mapping[str, str], endpoint: str, group: str, harmless: tuple[type[BaseException], ...]
) -> Traces:
    if not endpoint:
        raise ConfigurationError(
            "TURNOUT_TRACES__EXPORT=on needs to know where to; set OTEL_EXPORTER_OTLP_ENDPOINT, for example "
            "to http://127.0.0.1:4318"
        )
    if _disabled(environment):
        raise ConfigurationError(
            "TURNOUT_TRACES__EXPORT=on, and OTEL_SDK_DISABLED or OTEL_TRACES_EXPORTER says that there are to "
            "be none; take one of them back"
        )
    if not endpoint.startswith(("http://", "https://")):
        raise ConfigurationError(
            "where traces go to is no address of a collector that takes OTLP over HTTP; set "
            "OTEL_EXPORTER_OTLP_ENDPOINT, for example to http://127.0.0.1:4318"
        )
    name = next((name for name in PROTOCOLS if environment.get(name)), "")
    if name and environment[name].strip() != OURS:
        raise ConfigurationError(
            f"{name}={environment[name]}: traces are exported by {OURS} alone; set "
            f"{PROTOCOLS[0]}={OURS} and {ENDPOINTS[0]} to that port of the collector, often 4318"
        )
    try:
        from service.telemetry.spans import exporting
    except ImportError as error:
        raise ConfigurationError(
            f"traces need the extra `traces`, of which {error.name} is missing: pip install 'turnout[traces]'"
        ) from error
    where = endpoint.rpartition("@")[2]  # without a password
    try:
        traces = exporting(environment, where, group, harmless)
    except (ValueError, TypeError, OSError) as error:
        raise ConfigurationError(
            f"traces cannot be exported as the variables OTEL_… say: {type(error).__name__}: {error}"
        ) from error
    log.info("traces are exported", to=where)
    return traces
