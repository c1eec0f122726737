"""`contract:` in routes, and what is said of a route's inputs at the start, before any event."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, StrictInt, model_validator
from temporalio import workflow

from service.dispatch.contracts import Contracts
from service.dispatch.judging import judge_by
from service.errors import ConfigurationError, RejectedError
from service.events.json_schema import Schema
from service.expressions import ROUTE_VARIABLES
from service.routing.commands import Start
from service.routing.contract import Contract, Part
from service.routing.grammar import RouteKeys
from service.routing.shapes import UNKNOWN, Shape
from service.routing.table import RouteTable, load_routes
from tests.unit.records import event

MARKER = "MARKER-of-a-payload"
NO_CONTRACTS = Contracts([])

SCHEMA = {
    "type": "object",
    "required": ["sku", "count"],
    "additionalProperties": False,
    "properties": {
        "sku": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 9},
        "count": {"type": "integer", "minimum": 1},
        "kind": {"enum": ["new", "used"]},
        "parts": {"type": "array", "items": {"$ref": "#"}},
        "tags": {"type": "object", "propertyNames": {"maxLength": 3}},
    },
}
FITS = {"sku": "pen", "count": 2}


def table(folder: Path, action: str, *contracts: Contracts) -> RouteTable:
    text = "version: 1\ntopics: {orders: {}}\ntask_queues: {q: {inbox: true}}\n"
    text += f"routes:\n  - name: placed\n    from: orders\n    {action}\n"
    file = folder / "r.yaml"
    file.write_text(text)
    return load_routes(file, *map(judge_by, contracts))


def refused(folder: Path, action: str, contracts: Contracts) -> list[str]:
    """What is wrong with the route, each with its column."""
    with pytest.raises(ConfigurationError) as caught:
        table(folder, action, contracts)
    return [str(finding).partition("r.yaml:7:")[2] for finding in caught.value.findings]


def check(table: RouteTable, data: Any) -> None:
    command = table.routes[0].command(event(data=data))
    assert command
    NO_CONTRACTS.check(command)


START = "start: {workflow: Elsewhere, id: x, task_queue: q, "
SIGNAL = "signal: {to: x, name: elsewhere, "
ACTIONS = {
    "start": START + 'input: "${data}", contract: s.json}',
    "signal": SIGNAL + 'input: "${data}", contract: s.json}',
    "or_start": "signal: {to: x, name: n, or_start: {workflow: Elsewhere, task_queue: q, "
    'input: "${data}", contract: s.json}}',
    "batch": SIGNAL + 'input: "${data}", contract: s.json, batch: true}',
}


@pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS)
def test_what_does_not_fit_the_schema_that_a_route_names_is_refused_before_the_call(
    tmp_path: Path, action: str
) -> None:
    (tmp_path / "s.json").write_text(json.dumps(SCHEMA))
    routes = table(tmp_path, action)
    check(routes, FITS)
    with pytest.raises(
        RejectedError, match=r"does not fit the contract of .*: count: it is less than the"
    ) as no:
        check(routes, {**FITS, "count": 0})
    assert no.value.position == "count"


def test_a_schema_may_stand_in_the_route_and_is_of_all_arguments_where_there_are_args(tmp_path: Path) -> None:
    action = START + 'args: ["${data}", 7], contract: {prefixItems: [{type: string}], minItems: 2}}'
    routes = table(tmp_path, action)
    check(routes, "pen")
    with pytest.raises(RejectedError, match="0: it is not of type") as no:
        check(routes, 1)
    assert no.value.position == "0"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("s.json", None, "cannot be read: No such file or directory; the path is from this file's folder"),
        ("s.json", "{", "which is no JSON: Expecting property name"),
        ("s.json", "[]", "which holds no JSON object"),
    ],
)
def test_a_schema_that_cannot_be_had_is_said_at_the_start(
    tmp_path: Path, name: str, text: str | None, said: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ConfigurationError, match=said):
        table(tmp_path, ACTIONS["start"])


@pytest.mark.parametrize(
    "value",
    [
        MARKER,
        {"sku": MARKER, "count": MARKER},
        {**FITS, MARKER: 1},
        {**FITS, "kind": MARKER},
        {**FITS, "tags": {MARKER: 1}},
        {**FITS, "parts": [{**FITS, "kind": {"a": MARKER}}]},
    ],
)
def test_no_reason_holds_a_payload_value(value: Any) -> None:
    misfit = Contract(Schema(SCHEMA), Part.INPUT).misfit([value])
    assert misfit
    assert MARKER not in misfit.problem.partition(": ")[2]


def test_a_position_names_the_place_within_one_item_of_a_batch() -> None:
    contract = Contract(Schema(SCHEMA), Part.ITEMS)
    assert contract.misfit([[FITS, FITS]]) is None
    misfit = contract.misfit([[FITS, {**FITS, "parts": [FITS, {"sku": "a", "count": 0}]}]])
    assert misfit
    assert misfit.position == "parts.1.count"


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"pattern": "^(a+)+$"}, "a" * 100_000 + "!"),
        ({"pattern": "^(?=(a+)+$).*$"}, "a" * 100_000 + "!"),
        ({"uniqueItems": True}, [{"n": n} for n in range(50_000)]),
    ],
)
def test_checking_ends_soon_whatever_the_data(schema: dict[str, Any], value: Any) -> None:
    began = time.process_time()
    list(Schema(schema).problems(value))
    assert time.process_time() - began < 5  # without a bound it would take years


def test_a_contract_fetches_nothing(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("{}")
    for address in ("https://example.com/s.json", f"file://{tmp_path}/other.json", "other.json"):
        with pytest.raises(ConfigurationError, match="is no JSON Schema that can be used"):
            table(tmp_path, START + f'input: 1, contract: {{$ref: "{address}"}}}}')


# --- at the start ---


class Line(BaseModel):
    model_config = ConfigDict(extra="forbid")

    sku: str
    count: StrictInt


class Card(BaseModel):
    kind: Literal["card"]
    number: StrictInt


class Cash(BaseModel):
    kind: Literal["cash"]


class Order(BaseModel):
    id: str
    lines: list[Line] = []
    paid: Annotated[Card | Cash, Field(discriminator="kind")] | None = None
    either: Card | Line | None = None


class Renamed(BaseModel):
    id: str

    @model_validator(mode="before")
    @classmethod
    def rename(cls, value: Any) -> Any:
        return {"id": value["old"]} if isinstance(value, dict) and value.get("old") else value


class Doubled(BaseModel):
    count: int | None

    @model_validator(mode="after")
    def double(self) -> "Doubled":
        self.count = self.count * 2  # type: ignore[operator]
        return self


@workflow.defn
class Shop:
    @workflow.run
    async def run(self, order: Order) -> None: ...

    @workflow.signal
    def counted(self, lines: list[Line]) -> None: ...

    @workflow.signal
    def nudged(self) -> None: ...

    @workflow.signal
    def doubled(self, doubled: Doubled) -> None: ...


@workflow.defn
class Club:
    @workflow.run
    async def run(self, renamed: Renamed) -> None: ...

    @workflow.signal
    def counted(self, lines: list[int]) -> None: ...


KNOWN = Contracts([Shop, Club])
SHOP = "start: {workflow: Shop, id: x, task_queue: q, "
COUNTED = "signal: {to: x, name: counted, "

# `‸` stands where a finding must point, for each finding in turn.
WRONG = {
    SHOP + 'args: ‸["${data}", 1]}': ["does not fit workflow Shop: 2 arguments, but it takes 1"],
    SHOP.replace("Shop", "‸Shop") + "running: skip}": [
        "does not fit workflow Shop: 0 arguments, but it takes 1"
    ],
    SHOP + "input: ‸[1]}": ["does not fit workflow Shop: Input should be an object"],
    SHOP + 'input: ‸{lines: "${data.lines}"}}': ["does not fit workflow Shop: id: Field required"],
    SHOP + 'input: {id: "${data.id}", lines: [{sku: "${data.sku}", count: ‸many}]}}': [
        "does not fit workflow Shop: lines.0.count: Input should be a valid integer"
    ],
    SHOP + 'input: {id: ‸7, lines: [{sku: "${data.sku}", count: 1, colour: ‸"${data.c}"}]}}': [
        "does not fit workflow Shop: id: Input should be a valid string",
        "does not fit workflow Shop: lines.0.colour: Extra inputs are not permitted",
    ],
    COUNTED + "input: ‸{}}": ["does not fit signal counted: Input should be a valid array"],
    COUNTED + "input: {sku: ‸1, count: 1}, batch: true}": [
        "does not fit signal counted: sku: Input should be a valid string"
    ],
    "signal: {to: x, name: nudged, input: ‸1}": ["does not fit signal nudged: 1 arguments, but it takes 0"],
    "signal: {to: x, name: ‸nugded, or_start: {workflow: Shop, task_queue: q, input: '${data}'}}": [
        "workflow Shop has no signal named nugded; did you mean nudged?"
    ],
    "signal: {to: x, name: nudged, or_start: {workflow: ‸Shop, task_queue: q}}": [
        "does not fit workflow Shop: 0 arguments, but it takes 1"
    ],
}


@pytest.mark.parametrize(("action", "said"), WRONG.items())
def test_what_can_never_fit_is_said_at_the_start_with_its_place(
    tmp_path: Path, action: str, said: list[str]
) -> None:
    marked = f"    {action}"
    columns = [match.start() - n for n, match in enumerate(re.finditer("‸", marked), start=0)]
    found = refused(tmp_path, action.replace("‸", ""), KNOWN)
    assert len(found) == len(said)
    for one, column, problem in zip(found, columns, said, strict=True):
        assert one.startswith(f"{column + 1}: TR405 {problem}")


@pytest.mark.parametrize(
    "action",
    [
        SHOP + 'input: "${data}"}',
        SHOP + 'args: ["${data}"]}',
        SHOP + 'input: {id: "order/${data.id}", lines: "${data.lines}", more: 1}}',
        SHOP + 'input: {id: "${data.id}", paid: {kind: "${data.kind}"}, either: {sku: "${data.sku}"}}}',
        'start: {workflow: Club, id: x, task_queue: q, input: {old: "${data.id}"}}',
        'start: {workflow: "${data.workflow}", id: x, task_queue: q}',
        "start: {workflow: Elsewhere, id: x, task_queue: q}",
        COUNTED + "input: [1, 2]}",
        'signal: {to: x, name: doubled, input: {count: "${data.count}"}}',
        COUNTED + 'input: {sku: "${data.sku}", count: 2}, batch: true}',
        "signal: {to: x, name: unheard, input: 1}",
        'signal: {to: x, name: unheard, or_start: {workflow: "${data.workflow}", task_queue: q}}',
    ],
)
def test_what_may_fit_passes(tmp_path: Path, action: str) -> None:
    table(tmp_path, action, KNOWN)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ('{sku: "${data.sku}", count: 0}', ["count: it is less than the minimum of 1"]),
        ('{count: "${data.count}"}', ['the whole: "sku" is a required property']),
        ('{sku: a, count: "${data.count}", colour: 1}', ["the whole: does not fit `additionalProperties`"]),
        ('{sku: "${data.sku}", count: "${data.count}", tags: {a: "${data.a}"}}', []),
    ],
)
def test_a_contract_is_held_against_what_is_known_of_an_input(
    tmp_path: Path, given: str, said: list[str]
) -> None:
    (tmp_path / "s.json").write_text(json.dumps(SCHEMA))
    action = START + f"input: {given}, contract: s.json}}"
    if said:
        found = refused(tmp_path, action, NO_CONTRACTS)
        assert [one.partition("does not fit its contract: ")[2] for one in found] == said
    else:
        table(tmp_path, action, NO_CONTRACTS)


scalars = st.none() | st.booleans() | st.integers(-2, 3) | st.sampled_from(["card", "cash", "a", ""])
keys = st.sampled_from(
    ["id", "lines", "paid", "either", "kind", "number", "sku", "count", "old", "parts", "tags"]
)


def trees(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(keys, inner, max_size=4),
        max_leaves=8,
    )


CONDITIONAL: dict[str, Any] = {
    "if": {"properties": {"kind": {"const": "card"}}, "required": ["kind"]},
    "then": {"required": ["number"], "properties": {"count": {"type": "integer"}}},
    "else": {"properties": {"count": {"type": "string"}}},
    "anyOf": [{"required": ["id"]}, {"properties": {"sku": {"type": "string"}}}],
    "dependentRequired": {"old": ["id"]},
}

JUDGED: dict[str, Callable[[Any], Start]] = {
    "workflow": lambda value: _start("Shop", value),
    "changing": lambda value: _start("Club", value),
    "contract": lambda value: _start("Elsewhere", value, Schema(SCHEMA)),
    "conditional": lambda value: _start("Elsewhere", value, Schema(CONDITIONAL)),
}


def _start(name: str, value: Any, schema: Schema | None = None) -> Start:
    contract = Contract(schema, Part.INPUT) if schema else None
    return Start(
        route="r",
        event=event(),
        workflow_id="x",
        workflow=name,
        task_queue="q",
        args=[value],
        contract=contract,
    )


@pytest.mark.parametrize("made", JUDGED.values(), ids=JUDGED)
@given(data=st.data(), outline=trees(scalars | st.just(UNKNOWN)).filter(lambda one: one is not None))
def test_what_is_said_at_the_start_is_so_whatever_the_event(
    made: Callable[[Any], Start], data: st.DataObject, outline: Any
) -> None:
    start = made(outline)
    keys = _keys(start, outline)
    if not list(judge_by(KNOWN)(keys)):
        return
    whole = made(_filled(outline, lambda: data.draw(trees(scalars))))
    with pytest.raises(RejectedError):
        KNOWN.check(whole)


def _keys(start: Start, outline: Any) -> Any:
    """The keys of a route that makes such starts."""
    text = _filled(outline, lambda: "${data.x}")
    given = Shape.parse(text, ROUTE_VARIABLES)
    assert given.outline() == outline
    keys = RouteKeys.model_validate(
        {
            "name": "r",
            "from": "t",
            "start": {"workflow": start.workflow, "id": "x", "task_queue": "q", "input": text},
        }
    )
    schema = start.contract.schema if start.contract else None
    return keys.model_copy(
        update={"start": keys.start and keys.start.model_copy(update={"contract": schema})}
    )


def _filled(outline: Any, make: Callable[[], Any]) -> Any:
    if isinstance(outline, dict):
        return {key: _filled(item, make) for key, item in outline.items()}
    if isinstance(outline, list):
        return [_filled(item, make) for item in outline]
    return make() if outline is UNKNOWN else outline


def test_what_a_condition_on_an_unknown_part_forbids_is_not_certain(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text(json.dumps(CONDITIONAL))
    given = '{id: a, kind: "${data.kind}", number: 1, count: 1}'
    table(tmp_path, START + f"input: {given}, contract: s.json}}", NO_CONTRACTS)
