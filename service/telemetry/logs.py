"""Logs: one line per thing that happened, with the record's place; never payload values."""

import logging
import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Literal, TextIO

import structlog

EVENT_ID_CHARACTERS = 200
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

_way: ContextVar[Mapping[str, str]] = ContextVar("turnout_way")
_NOWHERE: Mapping[str, str] = {}
_spans: Callable[[], Mapping[str, str]] = dict
"""What a line tells of the span that goes on; nothing, where there are none."""


def on_its_way(*, trace_id: str, event_id: str = "") -> None:
    """From now on this task handles a record: all lines that it writes tell so, whoever writes them."""
    _way.set({"event_id": in_the_log(event_id), "trace_id": trace_id})


def trace_of_the_way() -> str:
    """The trace of the record that this task handles; empty where there is none."""
    return _way.get(_NOWHERE).get("trace_id", "")


def tell_spans(ids: Callable[[], Mapping[str, str]]) -> None:
    """From now on lines tell what `ids` says of the span that goes on: `trace_id` and `span_id`."""
    global _spans  # noqa: PLW0603 - as for all of the process's logs
    _spans = ids


# Without the values of local variables, which are payloads.
_tracebacks = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)


def configure_logging(
    level: str = "info",
    style: Literal["auto", "json", "text"] = "auto",
    stream: TextIO = sys.stderr,
    *,
    process: int = 0,
) -> None:
    """Send structlog and the standard library's loggers to `stream`, as JSON or as text.

    Each line of one of several processes tells which `process` it is, from 1.
    """

    def tell_process(
        _logger: object, _method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        return {**event, "process": process} if process else event

    text = style == "text" or (style == "auto" and stream.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        _tell_way,
        tell_process,  # not in the context: threads of the Temporal SDK have another one
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info if text else _tracebacks,
        _without_empty,
    ]
    renderer = structlog.dev.ConsoleRenderer() if text else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    # What another's exception says may be a payload; a developer at a terminal wants to see it.
    foreign = shared if text else [*shared, _without_exception_texts]
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *foreign],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(LEVELS[level], logging.INFO))
    # The client logs each rebalance step at INFO and each retry at WARNING; we say both once.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    logging.getLogger("temporalio").setLevel(logging.WARNING)
    # The exporter says each try; we say once that it fails.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # one line for each request


def in_the_log(event_id: str) -> str:
    """An event's id as lines carry it: a producer may send one of any length."""
    return event_id if len(event_id) <= EVENT_ID_CHARACTERS else f"{event_id[:EVENT_ID_CHARACTERS]}…"


def _tell_way(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {**_way.get(_NOWHERE), **_spans(), **event}


def _without_exception_texts(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    for one in event.get("exception", ()):
        one["exc_value"] = ""
    return event


def _without_empty(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    return {name: value for name, value in event.items() if value not in ("", None)}
