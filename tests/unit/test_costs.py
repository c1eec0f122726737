"""What an expression may cost: what people write for large events passes, what takes seconds does not."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.costs import BUDGET, Cost
from service.expressions import ROUTE_VARIABLES, ExpressionError, MistakesError
from service.routing.lint import lint
from tests.unit.test_expressions import json_of, variables

CURE = "pass the data whole, as ${data}, and let the workflow look into it"


def order(lines: int) -> dict[str, Any]:
    return {
        "id": "A-1",
        "note": "x" * 10_000,
        "skus": ["S-1", "S-2"],
        "lines": [
            {"sku": f"S-{number}", "pieces": number, "cents": 5, "tags": ["a", "b"]}
            for number in range(lines)
        ],
    }


def evaluated(source: str, data: Any) -> Any:
    return ROUTE_VARIABLES.compile(source).evaluate(variables(data))


@pytest.mark.parametrize(
    "source",
    [
        "data.lines.map(l, l.sku)",
        "data.lines.map(l, {'sku': l.sku, 'text': string(l.pieces) + ' x ' + l.sku})",
        "data.lines.filter(l, l.pieces > 10 && l.cents + l.pieces > 3)",
        "data.lines.exists(l, l.sku == data.id || l.sku in data.skus)",
        "data.lines.all(l, l.tags.exists(t, t == 'a') && size(l.sku) > 0 && l.sku.matches('^S-[0-9]+$'))",
        "data.lines.map(l, l.sku).join(',').size() + data.note.split('x').size()",
        "data.note.replace('x', 'yy').upperAscii().contains(data.id)",
        "'%s: %d lines'.format([data.id, size(data.lines)])",
        r"data.id.matches('^\\pL-[0-9]+$') && data.id.matches(data.id) && data.note.matches('^.{1,900}')",
    ],
)
def test_what_people_write_passes_for_an_event_with_a_thousand_lines(source: str) -> None:
    assert evaluated(source, order(1_000)) is not None


@pytest.mark.parametrize(
    "source",
    [
        "data.lines.map(l, l.sku)",
        "data.lines.filter(l, l.pieces > 10)",
        "data.lines.map(l, data.note + l.sku)",
    ],
)
def test_what_takes_seconds_for_an_event_as_large_as_it_is_an_error_with_a_cure(source: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        evaluated(source, order(9_000))
    assert str(caught.value) == f"`{source}` would take too long for an event as large as this; {CURE}"


def test_a_whole_value_may_be_as_large_as_an_event() -> None:
    data = order(9_000)
    assert evaluated("data", data) is data
    assert evaluated("data.lines", data) is data["lines"]
    assert evaluated("data.lines[8999].sku + '!'", data) == "S-8999!"


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (
            "data.a.all(a, data.b.all(b, data.c.all(c, data.d.all(d, true))))",
            "it takes too long even for an event with lists of 20 items and texts of 200 characters",
        ),
        (
            "data.replace('', data).replace('', data).replace('', data).replace('', data)",
            "it takes too long even for an event with lists of 20 items and texts of 200 characters",
        ),
        ("'" + "a" * 10_000 + "'", "an expression of 10002 characters; at most 10000 are allowed"),
        (
            "data.?a" + ".optMap(x, x)" * 7 + ".hasValue()",
            "optMap and optFlatMap 7 times; at most 6 times are allowed",
        ),
    ],
)
def test_what_takes_too_long_for_a_plain_event_is_found_before_there_is_one(
    tmp_path: Path, source: str, problem: str
) -> None:
    with pytest.raises(MistakesError, match=problem):
        ROUTE_VARIABLES.compile(source)
    file = tmp_path / "r.yaml"
    file.write_text(
        "version: 1\ntopics: {orders: {}}\nroutes:\n  - name: a\n    from: orders\n    cancel: {to: o/x}\n"
        f'    when: "{source}"\n'
    )
    (finding,) = lint([file]).findings
    assert (finding.code, finding.line, finding.column) == ("TR206", 7, 12)
    assert finding.text == f"when: {problem}; {CURE}"


SOURCES = [
    *(
        "data",
        "data + data",
        "data.a.map(x, x + data)",
        "data.filter(x, x in data)",
        "data.map(x, data.map(y, [x, y]))",
    ),
    *(
        "data.split('').join(data)",
        "data.replace('a', data)",
        "parse_json(data)",
        "'%s'.format([data])",
        "{data: data}",
    ),
    *(
        "data.all(x, x == data)",
        "data.?a.optMap(x, x).orValue(data)",
        "data.matches(data)",
        "data.contains(data.b)",
    ),
]


@given(
    st.sampled_from(SOURCES),
    json_of(st.text()) | st.builds(lambda data, n: [data] * n, json_of(st.text()), st.integers(0, 300)),
)
def test_no_event_costs_more_than_what_is_reckoned_for_its_size(source: str, data: Any) -> None:
    cost = Cost(ROUTE_VARIABLES._env.compile(source).serialize())  # noqa: SLF001 - no other way to have one
    given_ = variables(data)
    assert cost.of(given_) <= cost.within(len(orjson.dumps(given_)))


@given(st.sampled_from(SOURCES), st.integers(0, 1 << 24))
def test_a_larger_event_never_costs_less_and_the_largest_is_within_the_budget(source: str, size: int) -> None:
    cost = Cost(ROUTE_VARIABLES._env.compile(source).serialize())  # noqa: SLF001 - no other way to have one
    assert cost.within(size) <= cost.within(size + 1)
    assert not cost.largest_event or cost.within(cost.largest_event) <= BUDGET
