# ruff: noqa: E501 - a case is a line
"""The schema for editors: it knows what stands in routes, and marks nothing that loads as wrong."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, Literal

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, GetPydanticSchema, PlainValidator
from pydantic_core.core_schema import no_info_wrap_validator_function
from ruamel.yaml import YAML

from service.documents.route_schema import models, route_schema, schema_of
from service.durations import PATTERN, parse_duration
from service.errors import ConfigurationError
from service.routing.grammar import OrStartKeys, RouteFile
from service.routing.reading import read
from service.routing.table import read_routes
from tests.unit.test_route_files import WRONG, unmarked

ROOT = Path(__file__).parents[2]
SCHEMA = route_schema()
SPANS = jsonschema_rs.validator_for({"pattern": PATTERN})
VALIDATOR = jsonschema_rs.validator_for(SCHEMA)

HEAD = "version: 1\ntopics: {orders: {}, done: {out: true}}\nroutes:\n  - {name: placed, from: orders, "
START = HEAD + "start: {workflow: W, id: x, task_queue: q, "
SIGNAL = HEAD + "signal: {to: x, name: n, "


def problems(text: str, folder: Path) -> list[str]:
    path = folder / "r.yaml"
    path.write_text(text)
    return [error.message for error in VALIDATOR.iter_errors(read(path).values)]


def route_files() -> Iterator[Path]:
    for folder in ("deploy", "tests", "docs"):
        for path in sorted((ROOT / folder).rglob("*.y*ml")):
            if re.search(r"^routes:", path.read_text(), re.MULTILINE):
                yield path


def blocks() -> Iterator[Any]:
    """The YAML of the pages that is whole."""
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)):
            text = block if "version: 1" in block else f"version: 1\n{block}"
            if re.search(r"^(routes|topics):", block, re.MULTILINE):
                yield pytest.param(text, id=f"{page.name}-{number}")


def test_it_is_a_schema_of_the_draft_that_it_names() -> None:
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert jsonschema_rs.meta.is_valid(SCHEMA)


@pytest.mark.parametrize("path", [*route_files()], ids=lambda path: str(path.relative_to(ROOT)))
def test_routes_of_the_repository_fit(path: Path) -> None:
    assert [error.message for error in VALIDATOR.iter_errors(read(path).values)] == []


@pytest.mark.parametrize("text", [*blocks()])
def test_routes_of_the_pages_fit(text: str, tmp_path: Path) -> None:
    assert problems(text, tmp_path) == []


# Each key with what it may hold; the rest of the file is as small as may be.
FINE = [
    HEAD + "cancel: {to: x, reason: y, namespace: eu, missing: skip, closed: skip}}",
    HEAD + "cancel: {to: 'a/${data.x}', missing: {park: PT15M}}}",
    HEAD + "when: true, type: a, cancel: {to: x}}",
    HEAD + "when: 'data.x > 1', type: [a, b], cancel: {to: '$${'}}",
    START + "input: {a: ['${data.x}', 1, null]}, contract: {type: object}}}",
    START + "args: [], contract: true-is-a-path}}".replace("true-is-a-path", "{}"),
    START + "input: false, running: skip, closed: dead-letter, publish_closing: done}}",
    START + "execution_timeout: 1d, run_timeout: PT1H30M, task_timeout: 10s, start_delay: P1D}}",
    START + "start_at: '${data.at}', priority: 5, fairness_key: '${data.x}', fairness_weight: 1}}",
    START + "start_at: '2026-01-31t12:00:00.5+01:00', fairness_weight: 0.5, summary: 's ${data.x}'}}",
    START + "search_attributes: {A: '${data.x}', B: 1, C: [a]}, memo: {m: {x: null}}}}",
    SIGNAL + "args: [1], closed: skip}}",
    SIGNAL + "input: '${data}', or_start: {workflow: W, task_queue: q, input: 1}}}",
    "task_queues: {q: {inbox: true}}\n" + SIGNAL + "input: 1, batch: true, missing: {park: 30d}}}",
    "namespaces: [eu]\n" + SIGNAL + "namespace: '${data.x}'}}",
    HEAD + "complete: {correlation: '${headers[\"c\"]}', result: '${data}', late: skip}}",
    HEAD + "complete: {correlation: c, error: {type: T, text: '${data.x}'}}}",
    (
        "version: 1\ntopics:\n  orders: {format: json, event: cloudevents, key: json, ordering: partition, "
        "tombstones: skip, unmatched: skip}\nroutes: [{name: a, from: orders, cancel: {to: x}}]"
    ),
    (
        "version: 1\ntopics:\n  orders: {event: {type: t, id: i, subject: s, source: z, time: '${data.at}'}, "
        "tombstones: event, out: false}\nroutes: [{name: a, from: orders, cancel: {to: x}}]"
    ),
]


def loaded(text: str, folder: Path) -> bool:
    path = folder / "r.yaml"
    path.write_text(text)
    return not read_routes([path]).findings


@pytest.mark.parametrize("text", FINE)
def test_what_loads_fits(text: str, tmp_path: Path) -> None:
    assert loaded(text, tmp_path)
    assert problems(text, tmp_path) == []


YAML_1_2 = YAML(typ="safe", pure=True)
AS_JSON = [json.dumps(YAML_1_2.load(text)) for text in FINE]
ODD: list[Any] = [
    *(None, True, False, 0, 1, 3, 1.0, 0.5, -1, "", " ", "x", "1", "skip", "dead-letter", "event", "json", "true"),
    *("text", "key", "partition", "cloudevents", "avro", "bytes", "orders", "done", "15m", "0s", "P", "PT", "PT5M"),
    *("1d", "${data.x}", "$${", "a/${data.x}", "data.x", "2026-01-31T12:00:00Z", "2026-02-30T12:00:00Z", "x" * 300),
    *([], ["x"], ["${data.x}"], [None], {}, {"x": 1}, {"park": "15m"}, {"park": 15}, {"type": "object"}),
    *({"type": "t"}, {"orders": {}}, {"workflow": "W", "task_queue": "q"}, {"to": "x"}, {"to": "x", "name": "n"}),
    *({"inbox": True}, {"out": True}, [{"name": "a", "from": "orders", "cancel": {"to": "x"}}]),
]  # fmt: skip
KEYS = sorted(
    {field.alias or name for model in models(RouteFile) for name, field in model.model_fields.items()}
)


def maps_in(values: Any) -> Iterator[dict[str, Any]]:
    if isinstance(values, dict):
        yield values
    for below in values.values() if isinstance(values, dict) else values if isinstance(values, list) else ():
        yield from maps_in(below)


@st.composite
def nearly_fine(draw: st.DrawFn) -> Any:
    """What fits, with one to three keys that are taken away, put in, or hold something else."""
    values = json.loads(draw(st.sampled_from(AS_JSON)))
    for _ in range(draw(st.integers(1, 3))):
        here = draw(st.sampled_from([*maps_in(values)]))
        key = draw(st.sampled_from([*here, *KEYS]))
        if draw(st.booleans()) and key in here:
            del here[key]
        else:
            here[key] = deepcopy(draw(st.sampled_from(ODD)))
    return values


@settings(max_examples=300, deadline=None)
@given(nearly_fine())
def test_it_is_never_stricter_than_the_loader(tmp_path_factory: pytest.TempPathFactory, values: Any) -> None:
    if not VALIDATOR.is_valid(values):
        text = json.dumps(values)
        assert not loaded(text, tmp_path_factory.getbasetemp()), text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (HEAD + "cancle: {to: x}}", "'cancle' was unexpected"),
        (HEAD + "cancel: {to: x, raeson: y}}", "'raeson' was unexpected"),
        (HEAD + "cancel: {}}", '"to" is a required property'),
        (HEAD + "cancel: {to: }}", "not valid under any"),
        (HEAD + "cancel: {to: 7}}", "not valid under any"),
        (HEAD + "cancel: {to: x, closed: ignore}}", '"ignore" is not one of'),
        (HEAD + "cancel: {to: x, missing: {prak: 15m}}}", "not valid under any"),
        (HEAD + "cancel: {to: x}, start: {workflow: W, id: x, task_queue: q}}", "False schema"),
        (HEAD + "when: '${data.x}', cancel: {to: x}}", "does not match"),
        (HEAD + "when: , cancel: {to: x}}", "null is not of type"),
        (START + "input: }}", "null is not of type"),
        (START + "input: 1, args: [1]}}", "False schema"),
        (START + "contract: {}}}", "not valid under any"),
        (START + "run_timeout: 30}}", "30 is not of type"),
        (START + "run_timeout: soon}}", "does not match"),
        (START + "start_at: tomorrow}}", "does not match"),
        (START + "start_at: '${data.x}', start_delay: 1h}}", "False schema"),
        (START + "priority: 6}}", "6 is greater than"),
        (SIGNAL + "batch: true}}", '"input" is a required property'),
        (SIGNAL + "missing: skip, or_start: {workflow: W, task_queue: q}}}", "False schema"),
        (SIGNAL + "or_start: {workflow: W, task_queue: q, publish_closing: done}}}", "'publish_closing' was"),
        (HEAD + "complete: {correlation: c}}", "not valid under any"),
        (HEAD.replace("orders: {}", "orders: {event: {id: x}}"), "not valid under any"),
        ("version: 2", "1 was expected"),
        ("topics: {}", '"version" is a required property'),
        ("version: 1\ntopics: {done: {out: true, key: text}}", "False schema"),
        ("version: 1\ntopics: {a b: {}}", "does not match"),
        (HEAD.replace("orders: {}", "orders: {format: []}"), "[] is not one of"),
    ],
)
def test_typical_mistakes_are_marked(text: str, problem: str, tmp_path: Path) -> None:
    text = text + "cancel: {to: x}}" if text.endswith("from: orders, ") else text
    assert problem in " ".join(problems(text, tmp_path))
    assert not loaded(text, tmp_path)


def test_half_of_what_the_loader_refuses_is_marked_while_it_is_written(tmp_path: Path) -> None:
    marked = 0
    for one in WRONG:
        with suppress(ConfigurationError):  # no YAML, which each editor says by itself
            marked += bool(problems(unmarked(one)[0], tmp_path))
    assert marked > len(WRONG) / 2


def test_each_key_says_what_it_means() -> None:
    for model in models(RouteFile):
        own = SCHEMA if model is RouteFile else SCHEMA["$defs"][model.__name__]
        assert [key for key, value in own["properties"].items() if not value.get("description")] == []


def test_each_key_of_the_grammar_is_there_but_the_one_that_says_where_it_goes() -> None:
    for model in models(RouteFile):
        own = SCHEMA if model is RouteFile else SCHEMA["$defs"][model.__name__]
        keys = {field.alias or name for name, field in model.model_fields.items()}
        assert keys - own["properties"].keys() == ({"publish_closing"} if model is OrStartKeys else set())


def _either(model: type[BaseModel]) -> Callable[[Any, Any], Any]:
    """A value that only a validator around a model knows to take."""
    return lambda _, schema_of: no_info_wrap_validator_function(lambda value, _: value, schema_of(model))


def test_a_new_key_needs_nothing_but_its_model() -> None:
    class Letters(BaseModel):
        """New keys."""

        format: Annotated[Literal["json", "avro"], PlainValidator(str)] = "json"
        """What is new."""
        to: Annotated[str, PlainValidator(str)]
        """Of any shape."""

    class Where(BaseModel):
        """A map."""

        where: str

    class Found(BaseModel):
        to: Annotated[str | Where, GetPydanticSchema(_either(Where))]

    found = jsonschema_rs.validator_for(schema_of(Found))
    assert found.is_valid({"to": "text"})
    assert found.is_valid({"to": {"where": "x"}})
    assert not found.is_valid({"to": {"were": "x"}})
    schema = schema_of(Letters)
    assert schema["properties"]["format"] == {
        "enum": ["json", "avro"],
        "default": "json",
        "description": "What is new.",
    }
    assert schema["properties"]["to"] == {"description": "Of any shape."}


@pytest.mark.parametrize(
    "text",
    [
        "1s",
        "20m",
        "3h",
        "4d",
        "P1D",
        "PT1H",
        "PT1M",
        "PT1S",
        "PT0.5S",
        "P1DT1H",
        "PT1H30M",
        "P2DT3H4M5.000001S",
    ],
)
def test_time_spans_that_are_read_fit(text: str) -> None:
    assert parse_duration(text)
    assert SPANS.is_valid(text)


@settings(deadline=None)
@given(st.from_regex(PATTERN, fullmatch=True) | st.from_regex(r"\APT?\w{0,9}\Z"))
def test_time_spans_that_fit_are_read_unless_they_are_too_long(text: str) -> None:
    span = parse_duration(text)
    fits = SPANS.is_valid(text)
    assert fits or span is None
    if fits and span is None:  # more than 100 years
        assert re.search(r"[0-9]{5}", text)
