"""The trace context of a record: carried on where it is well formed, else as if there was none."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.context import Context as Otel
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.telemetry.trace_context import context_in, context_of, trace_id, with_context

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        PARENT.upper(),
        f" {PARENT}",
        f"{PARENT}\n",
        f"01-{TRACE}-{SPAN}-01.more",
        f"01-{TRACE}-{SPAN}-01-{'x' * 1_000_000}",
        PARENT.replace("4", "٤"),
    ],
)
def test_what_is_not_well_formed_is_none(parent: str) -> None:
    assert context_in({"traceparent": parent, "tracestate": "a=1"}) == {}
    assert context_of((("traceparent", parent.encode()), ("tracestate", b"a=1"))) == {}
    assert trace_id({}) == ""


def test_the_state_is_carried_on_with_its_parent_and_never_alone() -> None:
    assert context_in({"traceparent": PARENT, "tracestate": "a=1,b=2"}) == {
        "traceparent": PARENT,
        "tracestate": "a=1,b=2",
    }
    assert context_in({"tracestate": "a=1"}) == {}
    assert context_in({"traceparent": PARENT, "tracestate": "a=\x00"}) == {"traceparent": PARENT}
    assert context_in({"traceparent": PARENT, "tracestate": "x" * 513}) == {"traceparent": PARENT}


def test_of_a_version_to_come_what_is_known_is_carried_on() -> None:
    assert context_in({"traceparent": f"cc-{TRACE}-{SPAN}-01-what-comes"}) == {"traceparent": PARENT}


def test_of_raw_headers_the_last_counts_and_one_without_a_value_is_none() -> None:
    other = PARENT.replace("4bf", "5bf").encode()
    assert context_of((("traceparent", other), ("x", None), ("traceparent", PARENT.encode()))) == {
        "traceparent": PARENT
    }
    assert context_of((("traceparent", PARENT.encode()), ("traceparent", None))) == {}


def test_another_context_takes_the_place_of_all_of_the_first() -> None:
    headers = {"traceparent": PARENT, "tracestate": "a=1", "ce_type": "x"}
    other = {"traceparent": PARENT.replace("4bf", "5bf")}
    assert with_context(headers, other) == {"ce_type": "x", **other}


NEAR = st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[a-z]+)?", fullmatch=True)
TEXT = st.binary() | NEAR.map(str.encode)


@given(parent=TEXT | st.none(), state=TEXT | st.none())
@example(PARENT.encode(), b"rojo=00f067aa0ba902b7,congo=t61rcWkgMzE")
def test_whatever_comes_what_is_told_is_what_opentelemetry_reads(
    parent: bytes | None, state: bytes | None
) -> None:
    told = context_of((("traceparent", parent), ("tracestate", state)))
    read = trace.get_current_span(TraceContextTextMapPropagator().extract(told, Otel())).get_span_context()
    assert read.is_valid == bool(told)
    if told:
        assert trace.format_trace_id(read.trace_id) == trace_id(told)
        assert context_in(told) == told
