"""What expressions and templates give, and what they refuse."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import RouteError, Stage
from service.expressions import (
    ENVELOPE_VARIABLES,
    MAX_ID_BYTES,
    ROUTE_VARIABLES,
    Condition,
    ExpressionError,
    MistakesError,
    Template,
    checked_id,
)

ABSENT = "data has no attribute 'total_cents'; write data.?total_cents.orValue(0) if it may be absent"
PAYLOAD = "s3cret"


def json_of(texts: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    numbers = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    return st.recursive(
        st.none() | st.booleans() | numbers | texts,
        lambda below: st.lists(below, max_size=4) | st.dictionaries(texts, below, max_size=4),
        max_leaves=12,
    )


def variables(data: Any = None, **others: Any) -> dict[str, Any]:
    return {
        "event.id": "E-1",
        "event.source": "/shop",
        "event.type": "order.placed",
        "event.subject": "",
        "event.time": "2026-01-31T12:00:00Z",
        "event.ext": {"tenant": "acme"},
        "data": data,
        "headers": {"event-type": "order.placed", "trace": "t-1"},
        "record.topic": "shop.orders",
        "record.partition": 2,
        "record.offset": 1042,
        "record.key": "A-1",
        "record.timestamp": 1_700_000_000_000,
        "record.schema": "",
        **others,
    }


def value(source: str, data: Any = None) -> Any:
    return Template.parse(source, ROUTE_VARIABLES).value(variables(data))


def text(source: str, data: Any = None) -> str:
    return Template.parse(source, ROUTE_VARIABLES).text(variables(data))


def holds(source: str, data: Any = None) -> bool:
    return Condition.parse(source, ROUTE_VARIABLES).holds(variables(data))


def mistakes(source: str) -> list[tuple[int, str, str]]:
    with pytest.raises(MistakesError) as caught:
        Template.parse(source, ROUTE_VARIABLES)
    return [(one.offset, one.problem, one.cure) for one in caught.value.mistakes]


# --- templates ---


@given(st.text().filter(lambda source: "${" not in source))
def test_text_without_an_expression_comes_back_as_it_is(source: str) -> None:
    template = Template.parse(source, ROUTE_VARIABLES)
    assert template.value({}) == source
    assert template.literal == source


@given(st.lists(st.sampled_from(["$", "{", "}", "${", "$${", "a", "'", '"', "\\", "é"])).map("".join))
def test_escaped_text_comes_back_whatever_it_holds(source: str) -> None:
    assert Template.parse(source.replace("${", "$${"), ROUTE_VARIABLES).value({}) == source


@given(st.text(alphabet="a{}'\"\\/\n $é\0", max_size=12))
def test_no_text_inside_an_expression_ends_it_early(inner: str) -> None:
    quoted = (
        '"' + inner.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\0", "0") + '"'
    )
    expected = inner.replace("\0", "0")
    assert value(f"<${{{quoted} + '!'}}>") == f"<{expected}!>"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("order/${data.id}", "order/7"),
        ("${data.id}", 7),
        ("${data}", {"id": 7, "paid": True, "price": 1.5, "lines": [1], "note": None}),
        ("${data.lines}", [1]),
        ("${data.note}", None),
        ("${data.price}", 1.5),
        ("paid: ${data.paid}", "paid: true"),
        ("${'}'}${'{'}", "}{"),
        ("${{'a': '}'}}", {"a": "}"}),
        ("x${{'a': {'b': 1}}.a.b}x", "x1x"),
        ("${r'\\d}'}!", "\\d}!"),
        ("${'''it's }'''}!", "it's }!"),
        ("${data.id // a comment with } and '\n}", 7),
        ("$${data.id}", "${data.id}"),
        ("$$${data.id}", "$${data.id}"),
        ("${data.?total_cents.orValue(0)}", 0),
        ("${data.?a.b.orValue('none')}", "none"),
        ('${headers["event-type"]}', "order.placed"),
        ("${event.ext.tenant}/${event.id}", "acme/E-1"),
        ("${record.topic}[${record.partition}]@${record.offset}", "shop.orders[2]@1042"),
        ("${parse_json('{\"a\": [1, 2.5, null]}').a}", [1, 2.5, None]),
        ("${parse_json('18446744073709551615')}", 2**64 - 1),
        ("${'%s-%d'.format(['a', 3])}", "a-3"),
        ("${'A'.lowerAscii()}", "a"),
        ("${string(timestamp('2026-01-31T12:00:00Z'))}", "2026-01-31T12:00:00Z"),
    ],
)
def test_a_template_gives(source: str, expected: Any) -> None:
    data = {"id": 7, "paid": True, "price": 1.5, "lines": [1], "note": None}
    assert value(source, data) == expected


@given(json_of(st.text()))
def test_whole_values_are_passed_as_they_are(data: Any) -> None:
    assert value("${data}", data) is data
    assert value("${data.x.y}", {"x": {"y": data}}) is data


@given(json_of(st.text(st.characters(codec="utf-8", exclude_characters="\0\uffff"))))
def test_json_passes_the_engine_unharmed(data: Any) -> None:
    assert value("${[data][0]}", data) == data


@pytest.mark.parametrize("wrong", [None, {}, {"a": 1}, [], [1], 1.5, ""])
@pytest.mark.parametrize("source", ["order/${data.x}", "${data.x}", "order/${[data.x][0]}"])
def test_null_maps_lists_floats_and_nothing_never_stand_in_text(source: str, wrong: Any) -> None:
    with pytest.raises(ExpressionError, match="cannot stand in text"):
        text(source, {"x": wrong})


@pytest.mark.parametrize(
    "source", ["${data.total_cents}", "a/${data.total_cents}", "${data.total_cents + 1}"]
)
def test_a_missing_attribute_names_the_cure(source: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        value(source, {"x": PAYLOAD})
    assert str(caught.value) == ABSENT
    assert caught.value.stage is Stage.ROUTE


@pytest.mark.parametrize(
    ("source", "data", "reason"),
    [
        (
            "${data.a.b.c}",
            {"a": {}},
            "data.a has no attribute 'b'; write data.a.?b.c.orValue(0) if it may be absent",
        ),
        ("${data.a.b}", {"a": PAYLOAD}, "data.a is text, so it has no attribute 'b'"),
        ("${data.a}", None, "data is null, so it has no attribute 'a'"),
        (
            "${headers.nope}",
            None,
            "headers has no attribute 'nope'; write headers.?nope.orValue(\"\") if it may be absent",
        ),
        (
            '${headers["no-pe"]}',
            None,
            'headers has no "no-pe"; write headers[?"no-pe"].orValue("") if it may be absent',
        ),
        ("${data.a > 0}", {"a": PAYLOAD}, "`data.a > 0`: > does not apply to (string, int64)"),
        (
            "${data.a.b > 0}",
            {"a": PAYLOAD},
            "`data.a.b > 0` asks for an attribute of something that is no map",
        ),
        ("${data.a[3] > 0}", {"a": [1]}, "`data.a[3] > 0` reads beyond the end of a list"),
        ("${data.?b.value()}", {}, "`data.?b.value()` takes the value of nothing; end it with .orValue(…)"),
        ("${1 / data.a}", {"a": 0}, "`1 / data.a`: divide by zero"),
        ("${int(data.a)}", {"a": PAYLOAD}, "`int(data.a)`: cannot convert string to int"),
        ("${headers[data.a]}", {"a": PAYLOAD}, None),
        ("${data[data.a]}", {"a": PAYLOAD}, None),
        ("${'x'.matches('(' + data.a)}", {"a": PAYLOAD}, "`'x'.matches('(' + data.a)` cannot be evaluated"),
        ("${data.a > 0}", {"a": 2**70}, "`data.a > 0` cannot be evaluated"),
        ("${parse_json(data.a)}", {"a": f'{{"{PAYLOAD}"'}, None),
        ("${0.0 / double(data.a)}", {"a": 0}, "`0.0 / double(data.a)` gives nan, which is no JSON"),
        ("${[1.0 / double(data.a)]}", {"a": 0}, "`[1.0 / double(data.a)]` gives inf, which is no JSON"),
        ("${{1: data.a}}", {"a": 0}, "`{1: data.a}` gives a map with keys that are not text"),
        ("${dyn(b'a')}", {}, "`dyn(b'a')` gives bytes, which is no JSON; write string(…)"),
        (
            "${[dyn(duration('5s'))]}",
            {},
            "`[dyn(duration('5s'))]` gives a duration, which is no JSON; write string(…)",
        ),
    ],
)
def test_what_has_no_value_says_why_without_the_payload(source: str, data: Any, reason: str | None) -> None:
    with pytest.raises(ExpressionError) as caught:
        value(source, data)
    assert reason is None or str(caught.value) == reason
    assert PAYLOAD not in str(caught.value)
    assert str(2**70) not in str(caught.value)


@pytest.mark.parametrize(
    "json",
    [
        "",
        "{",
        "NaN",
        "Infinity",
        "1e999",
        "18446744073709551616",
        "-9223372036854775809",
        "[" * 65 + "]" * 65,
    ],
)
def test_parse_json_is_strict(json: str) -> None:
    with pytest.raises(ExpressionError, match="parse_json was given no JSON"):
        value("${parse_json(data)}", json)


@pytest.mark.parametrize("bad", ["\0", "\ud800"])
def test_characters_that_the_engine_cannot_hold_are_never_cut_away(bad: str) -> None:
    data = {"x": f"a{bad}b", "y": 1}
    assert value("${data.x}", data) == f"a{bad}b"
    assert value("${data.y + 1}", data) == 2
    assert not holds("data.x == 'a'", data)
    assert holds("size(data.x) == 3", data)
    for source in ["${data.x + '!'}", "${[data.x]}", "${{data.x: 1}}", "o/${data.x}"]:
        with pytest.raises(ExpressionError, match="a NUL, a lone surrogate"):
            value(source, data)


def test_a_nul_written_in_an_expression_is_refused() -> None:
    with pytest.raises(ExpressionError, match="a NUL"):
        value("${'a\\u0000b'}")
    with pytest.raises(ExpressionError, match="a NUL"):
        value("${parse_json('\"a\\\\u0000b\"')}")
    assert mistakes("${data.x\0 > 0}") == [(8, "an expression with a NUL, a lone surrogate or U+FFFF", "")]


# --- mistakes ---


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("${", [(0, "`${` without its `}`", "write $${ where a literal ${ is meant")]),
        ("a ${'}", [(4, "text without its closing quote", "")]),
        ("${}", [(2, "the expression is empty", "")]),
        ("${1 +}", [(5, "the expression ends too early", "")]),
        ("${data.x = 1}", [(9, "unexpected '='", "write == to compare")]),
        ("${data.x & true}", [(9, "unexpected '&'", "write && for and")]),
        ("${event.idd}", [(2, "unknown variable 'event.idd'", "did you mean event.id?")]),
        (
            "é${dat.x} ${hedders.a}",
            [
                (3, "unknown variable 'dat.x'", "did you mean data.x?"),
                (12, "unknown variable 'hedders.a'", "did you mean headers.a?"),
            ],
        ),
        ("${siz(data)}", [(2, "unknown function 'siz'", "did you mean size?")]),
        ("${data.x.splitt('/')}", [(9, "unknown function 'splitt'", "did you mean split?")]),
        ("${true &&\n dat}", [(11, "unknown variable 'dat'", "did you mean data?")]),
        ("${event.id > 1}", [(11, "found no matching overload for '>' applied to '(string, int)'", "")]),
        ("${data.?x}", [(2, "the result is an optional value", "end it with .orValue(…)")]),
        ("${b'x'}", [(2, "the result is bytes, which is no JSON", "write string(…)")]),
        ("${timestamp(data)}", [(2, "the result is a timestamp, which is no JSON", "write string(…)")]),
    ],
)
def test_a_mistake_has_its_place_and_cure(source: str, expected: list[tuple[int, str, str]]) -> None:
    assert mistakes(source) == expected


def test_an_unknown_variable_that_is_like_none_lists_those_there_are() -> None:
    [(_, _, cure)] = mistakes("${zzz}")
    assert cure.startswith("known are event.id, ")


def test_nesting_without_end_is_refused() -> None:
    [(_, problem, _)] = mistakes("${" + "(" * 200 + "1" + ")" * 200 + "}")
    assert "recursion limit" in problem


@pytest.mark.parametrize("source", ["${event.id}", "${event.ext.a}"])
def test_mappings_do_not_see_the_event_they_make(source: str) -> None:
    Template.parse(source, ROUTE_VARIABLES)
    with pytest.raises(MistakesError, match="unknown variable"):
        Template.parse(source, ENVELOPE_VARIABLES)
    assert Template.parse("${data.a}/${record.key}", ENVELOPE_VARIABLES).literal is None


@given(st.text(alphabet="dat.x${}'\"[](),:?&|!=<>+-/\\\n 01é\0ab"))
def test_any_text_is_a_template_or_a_mistake_within_it(source: str) -> None:
    try:
        Template.parse("${" + source, ROUTE_VARIABLES)
    except MistakesError as error:
        assert all(0 <= mistake.offset <= len(source) + 2 for mistake in error.mistakes)  # noqa: PT017 - either way


# --- conditions ---


def test_a_condition_must_be_bool() -> None:
    assert holds("data.x > 0", {"x": 1})
    assert not holds("data.x > 0", {"x": 0})
    with pytest.raises(MistakesError, match="a condition must be bool, this is an integer"):
        Condition.parse("size(data)", ROUTE_VARIABLES)
    with pytest.raises(MistakesError, match="a condition is CEL already"):
        Condition.parse("${data.x}", ROUTE_VARIABLES)


@pytest.mark.parametrize("wrong", [1, "true", None, [True]])
def test_what_turns_out_not_to_be_bool_is_an_error_not_a_no(wrong: Any) -> None:
    assert holds("data.x", {"x": True})
    with pytest.raises(ExpressionError, match="not true or false"):
        holds("data.x", {"x": wrong})


def test_a_condition_without_an_answer_is_an_error_not_a_no() -> None:
    with pytest.raises(ExpressionError) as caught:
        holds("data.total_cents > 0", {})
    assert str(caught.value) == ABSENT


def test_an_expression_without_end_is_stopped() -> None:
    with pytest.raises(ExpressionError, match="Iteration budget exceeded"):
        holds("data.all(a, data.all(b, data.all(c, true)))", list(range(100)))


# --- ids ---


@given(st.text(max_size=300))
def test_what_passes_as_an_id_is_short_printable_utf_8(source: str) -> None:
    try:
        checked = checked_id(source, "id")
    except RouteError:
        return
    assert checked == source
    assert 1 <= len(checked.encode()) <= MAX_ID_BYTES
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in checked)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("", "id is empty"),
        ("a\nb", "id holds a control character"),
        ("a\0", "id holds a control character"),
        ("a\x85", "id holds a control character"),
        ("a\ud800", "id holds a lone surrogate"),
        ("é" * 121, "id has 242 bytes of UTF-8; at most 240 are allowed"),
    ],
)
def test_an_id_is_refused(source: str, reason: str) -> None:
    with pytest.raises(RouteError) as caught:
        checked_id(source, "id")
    assert str(caught.value) == reason


def test_the_longest_id_passes() -> None:
    assert checked_id("é" * 120, "id") == "é" * 120
