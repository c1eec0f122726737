"""The W3C trace context: of which trace something is a part, as headers tell it from service to service.

One that is not well formed is as if there was none: it never keeps a record from its way.
Source: https://www.w3.org/TR/trace-context/.
"""

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

TRACEPARENT, TRACESTATE = "traceparent", "tracestate"

Context = Mapping[str, str]
"""`traceparent`, and `tracestate` where there is one; empty where there is no trace."""

NONE: Context = MappingProxyType({})

LONGEST_PARENT = 256
"""In characters; of the version that there is it has 55."""

# Of versions to come the first four parts are known; more may follow.
_PARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})(-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})(-[\x21-\x7e]*)?", re.ASCII
)
_STATE = re.compile(r"[\x20-\x7e]{1,512}", re.ASCII)


def context_in(headers: Mapping[str, str]) -> Context:
    """The context that `headers` tell, as far as it is well formed."""
    parent = headers.get(TRACEPARENT)
    return NONE if parent is None else _context(parent, headers.get(TRACESTATE, ""))


def context_of(headers: Iterable[tuple[str, bytes | None]]) -> Context:
    """The same, of a record's raw headers; the last of a repeated one counts."""
    parent, state = None, b""
    for name, value in headers:
        if name == TRACEPARENT:
            parent = value
        elif name == TRACESTATE:
            state = value or b""
    if parent is None:
        return NONE
    return _context(parent.decode("latin-1"), state.decode("latin-1"))


def _context(parent: str, state: str) -> Context:
    form = _PARENT.fullmatch(parent) if len(parent) <= LONGEST_PARENT else None
    if form is None or (form[1] == "00" and form[3]):
        return NONE
    told = {TRACEPARENT: f"00{form[2]}"}  # what a later version adds is not ours to pass on
    return {**told, TRACESTATE: state} if _STATE.fullmatch(state) else told


def with_context(headers: Mapping[str, str], context: Context) -> dict[str, str]:
    """`headers` with `context` in the place of their own."""
    others = {name: text for name, text in headers.items() if name not in {TRACEPARENT, TRACESTATE}}
    return {**others, **context}


def trace_id(context: Context) -> str:
    """The id of the trace, 32 hexadecimal digits; empty where there is none."""
    parent = context.get(TRACEPARENT, "")
    return parent[3:35]
