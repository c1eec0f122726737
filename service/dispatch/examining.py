"""Runs tests of routes: what an event leads to, held against what is expected."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any

from pydantic import BaseModel

from service.dispatch.coverage import Coverage
from service.dispatch.differences import ABSENT, differences
from service.dispatch.explaining import Explaining, Verdict, described
from service.errors import RecordError
from service.events.decoding import Decoder, Tombstone
from service.events.event import Event
from service.events.schemas import SchemaNeeded
from service.routing.commands import Cancel, Command, Complete, OrStart, Signal, Start
from service.routing.route_tests import Expectation, Letter, RouteTest
from service.routing.table import RouteTable

KINDS: Mapping[str, type[Command]] = {
    "start": Start,
    "signal": Signal,
    "cancel": Cancel,
    "complete": Complete,
}
PARTLY = {"input_has": "input", "result_has": "result"}
"""Keys that name a part of the value of another key."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One way in which it went otherwise than a test says.

    `loc` is where in the test that is said. `expected` and `got` are payload, ABSENT where there is nothing
    to compare; `values` are what decided that a `when` is false.
    """

    loc: tuple[str, ...]
    problem: str
    expected: Any = ABSENT
    got: Any = ABSENT
    cure: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def compares(self) -> bool:
        """Whether two values are told beside each other."""
        return self.expected is not ABSENT or self.got is not ABSENT


class Examining:
    """Runs tests, and counts what they have seen.

    Args:
        decoder: For the topics of the routes.
        table: The routes.
        explaining: Asks them, and the contracts.
    """

    def __init__(self, decoder: Decoder, table: RouteTable, explaining: Explaining) -> None:
        self._decoder = decoder
        self._table = table
        self._explaining = explaining
        self.coverage = Coverage(table.routes)

    def faults(self, test: RouteTest) -> Sequence[Fault]:
        """All that went otherwise than `test` says, in its order; nothing if it passed."""
        return sorted(self._faults(test), key=lambda fault: test.position(*fault.loc))

    def _faults(self, test: RouteTest) -> Iterator[Fault]:
        keys = test.keys
        try:
            event = self._decoder.decode(test.record)
        except RecordError as error:
            if keys.letter:
                yield from _of_letter(("letter",), "the record", keys.letter, error)
            else:
                yield _otherwise(test, f"the record becomes a letter of stage {error.stage}: {error}")
            return
        except SchemaNeeded:
            yield _otherwise(
                test, "its bytes name a schema of the registry; write the data they mean instead"
            )
            return
        if isinstance(event, Tombstone):
            if not keys.tombstone:
                yield _otherwise(test, "the record is a tombstone, and its topic skips those")
            return
        taking = self._table.routes_for(event)
        if not taking:
            yield from self._of_unmatched(test, event)
            return
        verdicts = [self._explaining.verdict(route, event) for route in taking]
        for verdict in verdicts:
            if keys.others == "none" or verdict.route.name in keys.expect:
                self.coverage.see(verdict, event)
        if not keys.expect:
            does = "; ".join(f"route {one.route.name} {_does(one)}" for one in verdicts)
            yield _otherwise(test, f"it is an event of type {event.type}: {does}")
            return
        yield from self._of_routes(test, event, verdicts)

    def _of_unmatched(self, test: RouteTest, event: Event) -> Iterator[Fault]:
        rule, expected = self._table.topics[event.record.topic].unmatched, test.keys.unmatched
        if expected is None:
            problem = f"no route of topic {event.record.topic} takes type {event.type}"
            yield _otherwise(test, f"{problem}, and the topic says unmatched: {rule}")
        elif expected is not rule:
            yield Fault(("unmatched",), f"topic {event.record.topic}: unmatched", str(expected), str(rule))

    def _of_routes(self, test: RouteTest, event: Event, verdicts: Sequence[Verdict]) -> Iterator[Fault]:
        came = {verdict.route.name: verdict for verdict in verdicts}
        for name, expectation in test.keys.expect.items():
            if verdict := came.get(name):
                yield from _of_route(("expect", name), expectation, verdict)
            else:
                yield Fault(("expect", name), f"route {name} {self._why_not_taken(name, event)}")
        for verdict in verdicts:
            quiet = verdict.command is None and verdict.error is None
            if verdict.route.name in test.keys.expect or quiet or test.keys.others == "any":
                continue
            problem = f"route {verdict.route.name} is not expected here, but it {_does(verdict)}"
            yield Fault(("expect",), problem, cure="name it, too, or write others: any")

    def _why_not_taken(self, name: str, event: Event) -> str:
        route = self._table.route(name)
        if route and not self._table.reads(route, event.record.topic):
            return f"reads topic {' and '.join(route.topics)}, and the event is from {event.record.topic}"
        types = " or ".join((route.types if route else None) or ())
        return f"takes type {types}, and the event is of type {event.type}"


def _otherwise(test: RouteTest, problem: str) -> Fault:
    """For a test that expects something else of the record as a whole."""
    (outcome,) = {"expect", "unmatched", "letter", "tombstone"} & test.keys.model_fields_set
    expected = {
        "expect": f"that it reaches {', '.join(test.keys.expect)}",
        "unmatched": "that no route takes it",
        "letter": "that the record becomes a letter before any route",
        "tombstone": "that it is a tombstone which is skipped",
    }
    return Fault((outcome,), f"expected {expected[outcome]}, but {problem}")


def _of_route(loc: tuple[str, ...], expectation: Expectation, verdict: Verdict) -> Iterator[Fault]:
    (kind,) = expectation.model_fields_set
    if kind == "letter" and verdict.error and expectation.letter:
        yield from _of_letter((*loc, kind), f"route {verdict.route.name}", expectation.letter, verdict.error)
    elif kind in KINDS and isinstance(verdict.command, KINDS[kind]):
        expected = getattr(expectation, kind)
        yield from _compared((*loc, kind), f"route {verdict.route.name}: ", expected, said(verdict.command))
    elif kind != "skipped" or verdict.command or verdict.error:
        wanted = "that it is skipped" if kind == "skipped" else f"a {kind}"
        problem = f"route {verdict.route.name}: expected {wanted}, but it {_does(verdict)}"
        yield Fault(loc, problem, values=verdict.values)


def _does(verdict: Verdict) -> str:
    if verdict.error:
        reason = str(verdict.error).removeprefix(f"route {verdict.route.name}: ")
        return f"makes a letter of stage {verdict.error.stage}: {reason}"
    return described(verdict.command) if verdict.command else f"does nothing: {verdict.why_not}"


def _of_letter(loc: tuple[str, ...], whose: str, letter: Letter, error: RecordError) -> Iterator[Fault]:
    if letter.stage and letter.stage is not error.stage:
        yield Fault((*loc, "stage"), f"{whose}: stage of the letter", str(letter.stage), str(error.stage))
    if letter.reason not in str(error):
        yield Fault((*loc, "reason"), f"{whose}: reason of the letter", letter.reason, str(error))


def _compared(
    loc: tuple[str, ...], whose: str, expected: BaseModel, got: Mapping[str, Any]
) -> Iterator[Fault]:
    for key in (name for name in type(expected).model_fields if name in expected.model_fields_set):
        wanted, there = getattr(expected, key), got.get(PARTLY.get(key, key), ABSENT)
        if isinstance(wanted, BaseModel) and isinstance(there, Mapping):
            yield from _compared((*loc, key), f"{whose}{key} ", wanted, there)
            continue
        if isinstance(wanted, BaseModel):
            yield Fault((*loc, key), f"{whose}{key} is expected, and there is none")
            continue
        if key in {"search_attributes", "memo"}:  # others may be there
            there = {name: value for name, value in (there or {}).items() if name in wanted}
        elif key == "missing":
            wanted = parked(wanted)
        for one in differences(wanted, there, partly=key in PARTLY):
            yield Fault((*loc, key), f"{whose}{PARTLY.get(key, key)}{one.path}", one.expected, one.got)


def parked(rule: Any) -> Any:
    """A rule `missing` as a route writes it."""
    return {"park": rule} if isinstance(rule, timedelta) else rule


def said(command: Command | OrStart) -> dict[str, Any]:
    """What `command` says, by the keys of a route; what it does not say is left out."""
    namespace = _given(namespace=getattr(command, "namespace", None))
    match command:
        case Start():
            own = _given(publish_closing=command.publish_closing)
            own |= {"id": command.workflow_id, "running": command.running, "closed": command.closed}
            return own | _of_workflow(command) | namespace
        case OrStart():
            return _of_workflow(command)
        case Signal():
            own = _given(or_start=said(command.or_start) if command.or_start else None)
            own |= {} if command.or_start else {"missing": parked(command.missing)}
            own |= {"to": _to(command), "name": command.name, "closed": command.closed}
            args = command.args[0] if command.batch else command.args
            return own | {"batch": command.batch} | _arguments(args) | namespace
        case Cancel():
            own = _given(reason=command.reason or None)
            own |= {"to": _to(command), "closed": command.closed}
            return own | {"missing": parked(command.missing)} | namespace
        case Complete():
            own = {"error": asdict(command.error)} if command.error else {"result": command.result}
            own |= {"to": command.workflow_id, "activity": command.activity_id, "late": command.late}
            return own | namespace
    msg = f"{type(command).__name__} is not a command"
    raise TypeError(msg)


def _to(command: Signal | Cancel) -> Any:
    return {"where": dict(command.where)} if command.where else command.workflow_id


def _of_workflow(command: Start | OrStart) -> dict[str, Any]:
    options = _given(**asdict(command.options))
    own = {"workflow": command.workflow, "task_queue": command.task_queue}
    return own | _arguments(command.args) | options


def _arguments(args: Sequence[Any]) -> dict[str, Any]:
    return {"args": [*args]} | ({"input": args[0]} if len(args) == 1 else {})


def _given(**keys: Any) -> dict[str, Any]:
    return {name: value for name, value in keys.items() if value is not None}
