# ruff: noqa: E501 - a case is a line
"""Whatever expression is written, over whatever data: a value of JSON or a typed error, within a budget."""

import json
import resource
import subprocess
import sys
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from service.expressions import ROUTE_VARIABLES, ExpressionError, MistakesError, Template
from tests.fuzz.effort import effort
from tests.fuzz.mutations import JSON, ODD_TEXTS, changed

LITERALS = st.sampled_from(
    [
        *(
            "0",
            "1",
            "-1",
            "2u",
            "1.5",
            "1e300",
            "9223372036854775807",
            "true",
            "false",
            "null",
            "''",
            "'a'",
            '"é"',
        ),
        *(
            "b'a'",
            r"r'\d'",
            "'''a\nb'''",
            "[]",
            "{}",
            "[1, 'a', null]",
            "{'a': 1}",
            "data",
            "data.a",
            "data.b",
            "data.l",
        ),
        *(
            "data.?a",
            "data.l[0]",
            "data['a']",
            "event.id",
            "event.ext",
            "event.time",
            "headers",
            "headers['a']",
            "x",
            "y",
        ),
        *("record.key", "record.offset", "timestamp('2026-01-31T12:00:00Z')", "duration('1s')", "type(1)"),
    ]
)
BETWEEN = st.sampled_from(["+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "&&", "||", "in"])
FUNCTIONS = st.sampled_from(
    [
        *("size", "int", "uint", "double", "string", "bytes", "bool", "dyn", "type", "timestamp", "duration"),
        *("parse_json", "has", "optional.of", "strings.quote", "!", "-"),
    ]
)
METHODS = st.sampled_from(
    [
        *("size()", "contains('a')", "startsWith('')", "matches('(a*)*b')", "matches(data.a)", "split('')"),
        *(
            "split(data.a)",
            "join()",
            "join(',')",
            "join(data.a)",
            "replace('', 'ab')",
            "replace(data.a, data.b)",
        ),
        *(
            "replace('a', 'b', -1)",
            "trim()",
            "lowerAscii()",
            "upperAscii()",
            "substring(1)",
            "substring(-1, 99)",
        ),
        *(
            "indexOf('')",
            "lastIndexOf(data.a)",
            "charAt(0)",
            "reverse()",
            "format([1, data.a])",
            "getHours()",
        ),
        *("orValue(1)", "hasValue()", "value()", "or(optional.none())", "?a", "a", "b.c"),
    ]
)
MACROS = st.sampled_from(["all", "exists", "exists_one", "map", "filter", "optMap", "optFlatMap"])
VARIABLES = st.sampled_from(["x", "y", "data"])


def _larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("({} {} {})".format, inner, BETWEEN, inner),
        st.builds("{}({})".format, FUNCTIONS, inner),
        st.builds("{}.{}".format, inner, METHODS),
        st.builds("{}.{}({}, {})".format, inner, MACROS, VARIABLES, inner),
        st.builds("{}.map({}, {}, {})".format, inner, VARIABLES, inner, inner),
        st.builds("{}[{}]".format, inner, inner),
        st.builds("{}[?{}]".format, inner, inner),
        st.builds("({} ? {} : {})".format, inner, inner, inner),
        st.lists(inner, max_size=4).map(lambda parts: f"[{', '.join(parts)}]"),
        st.builds("{{{}: {}}}".format, inner, inner),
    )


EXPRESSIONS = st.recursive(LITERALS, _larger, max_leaves=12)
DATA = JSON | st.builds(
    lambda a, b, items, count: {"a": a, "b": b, "l": items * count},
    st.sampled_from([*ODD_TEXTS, "a" * 50_000, "(a?)" * 500, "(" * 200, "[" * 70, "{}"]) | JSON,
    JSON,
    st.lists(JSON, min_size=1, max_size=3),
    st.sampled_from([0, 1, 50, 3_000]),
)


def answer(source: str, data: Any) -> str:
    """What `source` gives for `data`, in a word; empty where a mistake lies outside of it."""
    try:
        template = Template.parse(f"${{{source}}}", ROUTE_VARIABLES)
    except MistakesError as error:
        places = [mistake.offset for mistake in error.mistakes]
        return "mistake" if places and 0 <= min(places) <= max(places) <= len(source) + 3 else ""
    variables = dict.fromkeys(ROUTE_VARIABLES.names, "") | {
        "data": data,
        "headers": {"a": "b"},
        "event.ext": {},
        "event.time": "2026-01-31T12:00:00Z",
        "record.partition": 1,
        "record.offset": 2,
        "record.timestamp": 3,
    }
    try:
        value = template.value(variables)
    except ExpressionError as error:
        return "too long" if "would take too long" in error.reason else "error"
    if "\ud800" not in repr(value):  # a whole value is handed on as it is
        json.dumps(value)
    return "value"


@effort(400)
@given(
    EXPRESSIONS | changed(["data.l.map(x, x.a + 'b').filter(y, y > data.b)", "a ? b : {'c': [1]}"], []), DATA
)
@example("data.l.map(x, data.l.map(y, x + y))", {"l": ["a"] * 3_000})
@example("data.a.split('').join(data.a)", {"a": "a" * 50_000})
@example("data.?a.optMap(x, optional.of(x)).hasValue()", {"a": 1})
@example("{headers: 'a'}", None)  # the engine has no name for the type of that map
@example("{[1]: 'a'}.size() == 1", None)
def test_every_expression_over_every_data_has_a_value_or_a_typed_error(source: str, data: Any) -> None:
    assert answer(source, data)


# --- what is known to take the engine minutes or gigabytes, each in a process of its own ---

LONG = "a" * 1_000_000
MANY = list(range(9_000))
BOMBS: dict[str, tuple[str, Any, str]] = {
    "a map copies its list in each turn": ("data.map(a, [a, a, a, a])", MANY, "too long"),
    "nested maps": ("data.map(a, data.map(b, a + b))", MANY, "too long"),
    "text made in each turn": ("data.l.map(x, data.s + 'b').size()", {"l": MANY, "s": LONG}, "too long"),
    "text replaced by itself": ("data.replace('a', data).size()", LONG, "too long"),
    "text between all characters": ("data.split('').join(data).size()", LONG, "too long"),
    "replaced again and again": ("data.replace('a', data)" + ".replace('', 'abcdefgh')" * 3 + ".size()", "a" * 9_000, "too long"),
    "JSON parsed in each turn": ("data.l.all(x, parse_json(data.s) != null)", {"l": MANY, "s": json.dumps(MANY)}, "too long"),
    "patterns compiled in each turn": ("data.l.all(x, data.s.matches(data.s + string(x)))", {"l": MANY, "s": "(a?)" * 20_000}, "too long"),
    "looked for in each turn": ("data.l.all(x, !data.s.contains(data.t))", {"l": MANY, "s": LONG, "t": "a" * 400_000 + "b"}, "too long"),
    "everything handed out in each turn": ("data.map(a, data)", MANY, "too long"),
    "compared in each turn": ("data.all(a, data == data)", MANY, "too long"),
    "a list joined with a long text": ("data.l.map(x, 'a').join(data.s).size()", {"l": MANY[:900], "s": LONG}, "too long"),
    "turns without end": ("data.all(a, data.all(b, data.all(c, true)))", MANY[:500], "error"),
    "a pattern that others choke on": ("data.matches('(a*)*b')", LONG, "value"),
    "a pattern of letters in each turn": (r"data.all(a, 'x'.matches('^\\pL+$'))", MANY, "too long"),
    "a pattern that the event brings": ("'x'.matches(data)", "\\pL" * 20_000, "too long"),
    "a pattern that is made": ("data.l.all(x, 'x'.matches(data.p + '$'))", {"l": MANY[:90], "p": "\\pL{50}"}, "too long"),
    "a pattern of patterns": ("data.matches('((a{1,30}){1,30}){1,30}')", LONG, "error"),
    "loops in loops": ("data.all(a, data.all(b, data.all(c, data.all(d, true))))", [], "mistake"),
    "a list of a thousand, ten times": (f"[{'1,' * 900}1].all(a, " * 4 + "true" + ")" * 4, None, "mistake"),
    "optMap doubles what is before it": ("data.?a" + ".optMap(x, x)" * 20 + ".hasValue()", {}, "mistake"),
    "parentheses": ("(" * 4_000 + "1" + ")" * 4_000, None, "mistake"),
    "brackets": ("[" * 4_000 + "]" * 4_000, None, "mistake"),
    "signs": ("-" * 4_000 + "1", None, "value"),
    "attributes": ("data" + ".a" * 4_000 + " == 1", {}, "mistake"),
    "a text as long as a book": (f"'{LONG}'.size()", None, "mistake"),
    "digits": ("1" * 9_000, None, "mistake"),
    "deep JSON in a text": ("parse_json(data)", "[" * 100_000 + "]" * 100_000, "error"),
}  # fmt: skip

_ALL_OF_THEM = """
from tests.fuzz.test_cel import BOMBS, answer
for name, (source, data, _) in BOMBS.items():
    print(name, end=": ", flush=True)
    print(answer(source, data), flush=True)
"""


def _bounded() -> None:
    """Ends a process that takes far more than any machine needs: else it would hang, or eat the memory."""
    resource.setrlimit(resource.RLIMIT_CPU, (120, 120))
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))


def test_what_would_keep_the_engine_busy_ends_in_a_typed_answer() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _ALL_OF_THEM],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        preexec_fn=_bounded,
    )
    assert ended.returncode == 0, (ended.stdout[-2_000:], ended.stderr[-2_000:])
    answers = dict(line.split(": ") for line in ended.stdout.splitlines())
    assert answers == {name: expected for name, (_, _, expected) in BOMBS.items()}
