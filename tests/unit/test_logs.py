"""Logs: one line of JSON per thing that happened, without payloads."""

import contextvars
import io
import json
import logging
import threading
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
import structlog
from opentelemetry.sdk.trace import TracerProvider

from service.telemetry.logs import configure_logging, in_the_log, on_its_way, trace_of_the_way
from service.telemetry.spans import SpanTraces

MARKER = "MARKER-of-a-payload"


@pytest.fixture
def out(logging_as_before: None) -> io.StringIO:
    return io.StringIO()


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_line_is_json_with_what_is_bound(out: io.StringIO) -> None:
    configure_logging("info", "json", out)
    with structlog.contextvars.bound_contextvars(topic="shop.orders", partition=0, offset=0):
        structlog.get_logger("x").info("accepted", text='a "quote"\nand é', raw=b"\xff")
    (line,) = lines(out)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "accepted",
        "level": "info",
        "topic": "shop.orders",
        "partition": 0,
        "offset": 0,
        "text": 'a "quote"\nand é',
        "raw": r"b'\xff'",
    }


def test_a_line_is_ascii_whatever_it_holds_so_that_no_stream_and_no_terminal_makes_else_of_it(
    logging_as_before: None,
) -> None:
    raw = io.BytesIO()
    configure_logging("info", "json", io.TextIOWrapper(raw, "ascii", "backslashreplace", write_through=True))
    text = "é… \N{CONTROL SEQUENCE INTRODUCER}31m \N{LINE SEPARATOR} \N{RIGHT-TO-LEFT OVERRIDE} \ud800"
    structlog.get_logger("x").info("accepted", event_id=text[:-1])
    structlog.get_logger("x").info("accepted", event_id=text)
    written = raw.getvalue()
    assert [json.loads(line)["event_id"] for line in written.splitlines()] == [text[:-1], text]
    assert written.isascii()


@dataclass
class Card:
    number: str = field(repr=False)


@pytest.mark.parametrize("beside", ["in ASCII", "not in ASCII: é"])
def test_an_object_tells_in_a_line_what_it_says_of_itself(out: io.StringIO, beside: str) -> None:
    configure_logging("info", "json", out)
    structlog.get_logger("x").info("accepted", card=Card(MARKER), beside=beside)
    (line,) = lines(out)
    assert (line["card"], line["beside"]) == ("Card()", beside)


def test_empty_fields_are_left_out_but_zero_and_false_are_not(out: io.StringIO) -> None:
    configure_logging("info", "json", out)
    structlog.get_logger("x").info("accepted", route="", detail=None, offset=0, follow=False)
    (line,) = lines(out)
    assert line.keys() == {"event", "level", "timestamp", "offset", "follow"}


def test_lines_of_libraries_look_the_same_and_say_whose_they_are(out: io.StringIO) -> None:
    configure_logging("info", "json", out)
    with structlog.contextvars.bound_contextvars(offset=7):
        logging.getLogger("some.library").warning("lost %s of %d", "x", 2)
    (line,) = lines(out)
    assert line == line | {
        "event": "lost x of 2",
        "logger": "some.library",
        "level": "warning",
        "offset": 7,
    }


@pytest.mark.parametrize(("level", "seen"), [("info", 3), ("warning", 2), ("error", 1)])
def test_what_is_below_the_level_is_not_written(out: io.StringIO, level: str, seen: int) -> None:
    configure_logging(level, "json", out)
    log = structlog.get_logger("x")
    log.debug("a")
    log.info("b")
    log.warning("c")
    log.error("d")
    assert len(lines(out)) == seen


def test_retries_of_the_clients_are_not_written(out: io.StringIO) -> None:
    configure_logging("debug", "json", out)
    logging.getLogger("aiokafka.conn").warning("retry")
    logging.getLogger("temporalio.worker").info("retry")
    assert out.getvalue() == ""


@pytest.mark.parametrize("style", ["json", "text"])
@pytest.mark.parametrize("logger", [structlog.get_logger("x"), logging.getLogger("x")])
def test_an_exception_is_told_with_its_place_but_without_local_values(
    out: io.StringIO, style: Literal["json", "text"], logger: Any
) -> None:
    def fails() -> None:
        payload = {"card": [MARKER]}
        raise ZeroDivisionError(len(payload))

    configure_logging("info", style, out)
    try:
        fails()
    except ZeroDivisionError:
        logger.exception("defect")
    text = out.getvalue()
    assert MARKER not in text
    assert all(word in text for word in ("ZeroDivisionError", "fails", "test_logs.py"))


def test_auto_is_json_where_nobody_looks(out: io.StringIO) -> None:
    configure_logging("info", "auto", out)
    structlog.get_logger("x").info("accepted")
    assert lines(out)


def test_auto_is_text_on_a_terminal(out: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(out, "isatty", lambda: True)
    configure_logging("info", "auto", out)
    structlog.get_logger("x").info("accepted")
    with pytest.raises(json.JSONDecodeError):
        lines(out)


def test_what_an_exception_of_someone_else_says_is_not_written_where_logs_are_kept(out: io.StringIO) -> None:
    configure_logging("info", "json", out)
    try:
        raise RuntimeError(MARKER)  # noqa: TRY301
    except RuntimeError:
        logging.getLogger("temporalio.worker").exception("failed activation")
    (line,) = lines(out)
    assert line["exception"][0]["exc_type"] == "RuntimeError"
    assert MARKER not in out.getvalue()


def test_of_several_processes_each_line_tells_which_one_it_is_from(out: io.StringIO) -> None:
    configure_logging("info", "json", out, process=2)
    structlog.get_logger("x").info("accepted")
    thread = threading.Thread(target=lambda: logging.getLogger("some.library").warning("lost"))
    thread.start()
    thread.join()
    assert [line["process"] for line in lines(out)] == [2, 2]


def test_an_only_process_says_nothing_of_processes(out: io.StringIO) -> None:
    configure_logging("info", "json", out)
    structlog.get_logger("x").info("accepted")
    assert "process" not in lines(out)[0]


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_all_lines_of_a_records_way_tell_its_event_and_its_trace_whoever_writes_them(
    out: io.StringIO,
) -> None:
    def handle(event_id: str, trace_id: str) -> None:
        on_its_way(trace_id="", event_id="")  # what was before is over
        structlog.get_logger("x").info("decoding")
        on_its_way(trace_id=trace_id, event_id=event_id)
        structlog.get_logger("x").info("accepted")
        logging.getLogger("some.library").warning("slow")
        structlog.get_logger("x").info("accepted", event_id="its-own")
        assert trace_of_the_way() == trace_id

    configure_logging("info", "json", out)
    contextvars.copy_context().run(handle, "e" * 1_000, TRACE)
    contextvars.copy_context().run(handle, "e-2", "")
    structlog.get_logger("x").info("elsewhere")
    told = [(line.get("event_id", ""), line.get("trace_id", "")) for line in lines(out)]
    first = in_the_log("e" * 1_000)
    assert told == [
        ("", ""), (first, TRACE), (first, TRACE), ("its-own", TRACE),
        ("", ""), ("e-2", ""), ("e-2", ""), ("its-own", ""),
        ("", ""),
    ]  # fmt: skip


def test_a_line_tells_the_span_that_goes_on(out: io.StringIO) -> None:
    provider = TracerProvider()
    SpanTraces(provider, "shop")
    configure_logging("info", "json", out)
    with provider.get_tracer("tests").start_as_current_span("work") as span:
        structlog.get_logger("x").info("within")
    structlog.get_logger("x").info("outside")
    within, outside = lines(out)
    context = span.get_span_context()
    assert (within["trace_id"], within["span_id"]) == (f"{context.trace_id:032x}", f"{context.span_id:016x}")
    assert not outside.keys() & {"trace_id", "span_id"}
