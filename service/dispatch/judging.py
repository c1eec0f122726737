"""What is wrong with a route's inputs before any event: numbers of arguments, names, and literal parts.

What would make a letter of each event is said at the start instead. Only what is certain: what stands
in an expression's place may be anything.
"""

import difflib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import orjson
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from service.dispatch.contracts import Contracts, Parameters, without_payload
from service.errors import RejectedError
from service.events.json_schema import Problem, path_of
from service.routing.contract import Part
from service.routing.grammar import RouteKeys, SignalKeys, WorkflowKeys
from service.routing.reading import Loc
from service.routing.shapes import UNKNOWN, Unknown
from service.routing.table import Judge, RouteMistake

CHANGING = frozenset({"function-before", "function-wrap", "function-plain"})
"""Steps of pydantic that may make something else of a value before its parts are looked at."""

ABSENT = frozenset({"missing", "required"})
UNWANTED = frozenset({"extra_forbidden", "additionalProperties"})
CONDITIONAL = frozenset({"then", "else", "dependentSchemas", "dependentRequired", "dependencies"})


class _Given(NamedTuple):
    """The arguments that a route gives as far as they are known, and under which key they stand."""

    key: str
    part: Part | None
    args: list[Any]

    def loc(self, argument: int, place: Loc) -> Loc:
        """Where in the action a place within one argument stands."""
        match self.part:
            case Part.ARGS:
                return (self.key, argument, *place)
            case Part.ITEMS:  # of which one stands there, without its list
                return (self.key, *place[1:])
            case _:
                return (self.key, *place)


def judge_by(contracts: Contracts) -> Judge:
    """Judges routes by the workflows that are known, and by the contracts that they give."""

    def judge(keys: RouteKeys) -> Iterator[RouteMistake]:
        if keys.start:
            yield from _below(("start",), _of_workflow(keys.start, contracts))
        if keys.signal:
            yield from _below(("signal",), _of_signal(keys.signal, contracts))
            if keys.signal.or_start:
                yield from _below(("signal", "or_start"), _of_workflow(keys.signal.or_start, contracts))

    return judge


def _below(loc: Loc, mistakes: Iterator[RouteMistake]) -> Iterator[RouteMistake]:
    return (mistake._replace(loc=(*loc, *mistake.loc)) for mistake in mistakes)


def _of_workflow(keys: WorkflowKeys, contracts: Contracts) -> Iterator[RouteMistake]:
    if name := keys.workflow.literal:
        given = _given(keys) or _Given("workflow", None, [])
        yield from _misfits(contracts.of_workflow(name), given, f"workflow {name}")
    yield from _of_contract(keys, _given(keys))


def _of_signal(keys: SignalKeys, contracts: Contracts) -> Iterator[RouteMistake]:
    yield from _of_receivers(keys, contracts)
    yield from _of_contract(keys, _given(keys))


def _of_receivers(keys: SignalKeys, contracts: Contracts) -> Iterator[RouteMistake]:
    name, workflow = keys.name.literal, keys.or_start.workflow.literal if keys.or_start else None
    if name is None or (keys.or_start and workflow is None):
        return
    try:
        receivers = contracts.of_signal(name, workflow)
    except RejectedError as error:
        yield RouteMistake(("name",), error.reason, _meant(name, workflow or "", contracts))
        return
    given = _given(keys) or _Given("name", None, [])
    if keys.batch:
        given = given._replace(part=Part.ITEMS, args=[given.args])
    misfits = [list(_misfits(takes, given, f"signal {name}")) for takes in receivers]
    if misfits and all(misfits):  # which of them has that id is not known here
        yield from misfits[0]


def _meant(name: str, workflow: str, contracts: Contracts) -> str:
    close = difflib.get_close_matches(name, contracts.signals_of(workflow), 1)
    return f"did you mean {close[0]}?" if close else ""


def _given(keys: WorkflowKeys | SignalKeys) -> _Given | None:
    if keys.input is not None:
        return _Given("input", Part.INPUT, [keys.input.outline()])
    return _Given("args", Part.ARGS, keys.args.outline()) if keys.args is not None else None


def _misfits(parameters: Parameters, given: _Given, what: str) -> Iterator[RouteMistake]:
    if parameters is None:
        return
    if len(parameters) != len(given.args):
        problem = f"{len(given.args)} arguments, but it takes {len(parameters)}"
        yield RouteMistake((given.key,), f"does not fit {what}: {problem}")
        return
    for number, (adapter, value) in enumerate(zip(parameters, given.args, strict=True)):
        for place, error in _certain(adapter, value):
            path = path_of(given.loc(number, error["loc"])[1:])  # with the name of what is missing
            text = f"{path}: {without_payload(error)}" if path else without_payload(error)
            yield RouteMistake(given.loc(number, place), f"does not fit {what}: {text}")


def _certain(adapter: TypeAdapter[Any], value: Any) -> Iterator[tuple[Loc, ErrorDetails]]:
    """What pydantic has against `value`, whatever its unknown parts are, and where it stands."""
    if isinstance(value, Unknown) or (_is_open(value) and _changes(adapter.core_schema)):
        return
    try:
        with suppress(LookupError, TypeError, AttributeError):  # of a team's own validator, for which null is
            adapter.validate_json(orjson.dumps(_with_nulls(value)))
    except ValidationError as error:
        for one in error.errors(include_url=False, include_context=False, include_input=False):
            place, node = _walk(value, one["loc"])
            if _is_certain(one["type"], place, node, one["loc"]):
                yield place, one


def _of_contract(keys: WorkflowKeys | SignalKeys, given: _Given | None) -> Iterator[RouteMistake]:
    if keys.contract is None or given is None:
        return
    value = given.args if given.part is Part.ARGS else given.args[0]
    if isinstance(value, Unknown):
        return
    for problem in keys.contract.problems(_with_nulls(value)):
        if _holds(problem, value):
            yield RouteMistake((given.key, *problem.place), f"does not fit its contract: {problem}")


def _holds(problem: Problem, value: Any) -> bool:
    """Whether a contract's problem is there whatever the unknown parts are."""
    if not _is_open(value):
        return True
    _, node = _walk(value, problem.place)
    if CONDITIONAL & set(problem.keywords):
        return False
    return bool((ABSENT | UNWANTED) & {problem.keywords[-1]}) or not _is_open(node)


def _is_certain(kind: str, place: Loc, node: Any, loc: Loc) -> bool:
    if kind in ABSENT:
        return place == loc[:-1] or not _is_open(node)
    return (kind in UNWANTED and place == loc) or not _is_open(node)


def _walk(value: Any, loc: Sequence[int | str]) -> tuple[Loc, Any]:
    """As far as `loc` leads into `value`: a union's branch is no part of a value."""
    place: list[int | str] = []
    for part in loc:
        inside = isinstance(value, dict) and part in value
        if not inside and not (isinstance(value, list) and isinstance(part, int) and part < len(value)):
            break
        value = value[part]
        place.append(part)
    return tuple(place), value


def _is_open(value: Any) -> bool:
    """Whether some of it is unknown."""
    if isinstance(value, dict):
        return any(map(_is_open, value.values()))
    if isinstance(value, list):
        return any(map(_is_open, value))
    return value is UNKNOWN


def _with_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_nulls(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_nulls(item) for item in value]
    return None if value is UNKNOWN else value


def _changes(schema: Any) -> bool:
    if isinstance(schema, dict):
        return schema.get("type") in CHANGING or any(map(_changes, schema.values()))
    return isinstance(schema, list | tuple) and any(map(_changes, schema))
