"""Tests of routes as people write them: an event, and what the routes are to make of it.

What is expected of a route is written by the keys that the route itself is written with, with values
instead of expressions. Only keys that are named are compared.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, ValidationError

from activities.correlation import Correlation, Seal
from service.errors import ConfigurationError, Finding, Stage
from service.events.given import record_in
from service.kafka.record import Record
from service.routing.commands import Rule
from service.routing.files import files_of_tests
from service.routing.findings import findings_of
from service.routing.grammar import GIVEN, Duration, RuleName, RuleOrPark, refuse, rfc_3339
from service.routing.reading import Document, Loc, read
from service.routing.table import RouteTable, in_order
from workflows.topics import is_pattern

WRITTEN_AT_MS = 1_767_225_600_000
"""The timestamp of records that do not say theirs, 2026-01-01T00:00:00Z: a test ends the same every day."""

UNSAID = {"specversion": "1.0", "id": "E-1", "source": "/test"}
"""What a CloudEvent has that a test writes in short, without its `specversion`."""

CALL = "${call}"
"""Stands in an event for the correlation of the test's `call`."""

# Not behind a backslash: that is a quote within a text.
_CALL = re.compile(rb'(?<!\\)"' + re.escape(CALL.encode()) + rb'"')

_ACTIONS = ("start", "signal", "cancel", "complete")
_WORDS = (*_ACTIONS, "letter", "skipped")
_EVENT: Loc = ("event",)
_OUTCOMES = ("expect", "unmatched", "letter", "tombstone")


# --- values ---


def _moment(value: Any) -> datetime:
    moment = rfc_3339(value) if isinstance(value, str) else None
    if moment is None:
        refuse("must be RFC 3339", "write a time like 2026-01-31T12:00:00Z")
    return moment


def _stage(value: Any) -> Stage:
    stages = [str(stage) for stage in Stage if stage is not Stage.PERSON]
    if value not in stages:
        refuse(f"must be {' or '.join(stages)}")
    return Stage(value)


def _expectation(value: Any) -> Any:
    """A word alone says what comes out, and nothing of how it is."""
    if not isinstance(value, str):
        return value
    if value not in _WORDS:
        close = difflib.get_close_matches(value, _WORDS, 1)
        refuse(f"must be a map or one of {', '.join(_WORDS)}", f"did you mean {close[0]}?" if close else "")
    return {value: True if value == "skipped" else {}}


def _some(value: Any) -> Any:
    if value in ("", None):
        refuse("is empty", "write a value")
    return value


Moment = Annotated[datetime, PlainValidator(_moment)]
StageName = Annotated[Stage, PlainValidator(_stage)]
Name = Annotated[str, BeforeValidator(_some)]


# --- keys; what is absent is not compared: `model_fields_set` tells ---


class Keys(BaseModel):
    """Some keys, of which none may be unknown."""

    # Built when first used: that takes a tenth of the time in which a command starts.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)


class Options(Keys):
    """What may be expected of how a workflow is started."""

    execution_timeout: Duration = timedelta()
    run_timeout: Duration = timedelta()
    task_timeout: Duration = timedelta()
    start_delay: Duration = timedelta()
    start_at: Moment | None = None
    search_attributes: dict[str, Any] = Field(default_factory=dict)
    memo: dict[str, Any] = Field(default_factory=dict)
    priority: int = 0
    fairness_key: str = ""
    fairness_weight: float = 0
    summary: str = ""


class OrStart(Options):
    """What may be expected of a workflow that a signal starts."""

    workflow: str = ""
    task_queue: str = ""
    input: Any = None
    input_has: Any = None
    args: list[Any] = Field(default_factory=list)


class Start(OrStart):
    """What may be expected of a start."""

    id: str = ""
    namespace: str = ""
    running: RuleName = Rule.DEAD_LETTER
    closed: RuleName = Rule.DEAD_LETTER
    publish_closing: str = ""


Sought = Annotated[dict[Literal["where"], dict[str, str]], Field(min_length=1)]
"""What is looked for, by the names of search attributes, where no id is given."""


class Signal(Keys):
    """What may be expected of a signal; with `batch`, `input` is of the one item that an event gives."""

    to: str | Sought = ""
    name: str = ""
    input: Any = None
    input_has: Any = None
    args: list[Any] = Field(default_factory=list)
    namespace: str = ""
    batch: bool = False
    missing: RuleOrPark = Rule.DEAD_LETTER
    closed: RuleName = Rule.DEAD_LETTER
    or_start: Annotated[OrStart | None, GIVEN] = None


class Cancel(Keys):
    """What may be expected of a cancel."""

    to: str | Sought = ""
    reason: str = ""
    namespace: str = ""
    missing: RuleOrPark = Rule.DEAD_LETTER
    closed: RuleName = Rule.DEAD_LETTER


class Error(Keys):
    """What may be expected of the error of a reply."""

    type: str = ""
    text: str = ""


class Complete(Keys):
    """What may be expected of a reply: whose call it completes, and how."""

    to: str = ""
    activity: str = ""
    namespace: str = ""
    result: Any = None
    result_has: Any = None
    error: Annotated[Error | None, GIVEN] = None
    late: RuleName = Rule.DEAD_LETTER


class Letter(Keys):
    """What may be expected of a letter; `reason` is a part of its text."""

    stage: StageName | None = None
    reason: Name = ""


class Expectation(Keys):
    """What is expected of one route; exactly one of its keys (checked where tests are read)."""

    start: Annotated[Start | None, GIVEN] = None
    signal: Annotated[Signal | None, GIVEN] = None
    cancel: Annotated[Cancel | None, GIVEN] = None
    complete: Annotated[Complete | None, GIVEN] = None
    letter: Annotated[Letter | None, GIVEN] = None
    skipped: Annotated[Literal[True] | None, GIVEN] = None


class Call(Keys):
    """The call that an event is the reply to."""

    to: Name
    activity: Name
    namespace: Name = "default"


class GivenRecord(Keys):
    """An event as the record that it is; what else is wrong with it is said where it is made."""

    topic: Any = None
    key: Any = None
    headers: Any = None
    value: Any = None
    value_base64: Any = None
    partition: Any = None
    offset: Any = None
    timestamp: Any = None


class RouteTestKeys(Keys):
    """One test; exactly one of expect, unmatched, letter and tombstone (checked where tests are read)."""

    name: Name
    topic: Name = ""
    event: Any
    call: Annotated[Call | None, GIVEN] = None
    expect: dict[str, Annotated[Expectation, BeforeValidator(_expectation)]] = Field(default_factory=dict)
    others: Literal["any", "none"] = "none"
    unmatched: Annotated[RuleName | None, GIVEN] = None
    letter: Annotated[Letter | None, GIVEN] = None
    tombstone: Annotated[Literal["skip"] | None, GIVEN] = None


class RouteTestFile(Keys):
    """One file of tests."""

    version: Literal[1]
    tests: list[RouteTestKeys]


# --- reading ---


@dataclass(frozen=True, slots=True)
class RouteTest:
    """A test that can be run: a record, and what is expected of it."""

    document: Document
    loc: Loc
    keys: RouteTestKeys
    record: Record

    @property
    def name(self) -> str:
        """Unique in its file."""
        return self.keys.name

    @property
    def path(self) -> Path:
        """Its file."""
        return self.document.path

    def position(self, *loc: str | int) -> tuple[int, int]:
        """Line and column of what stands at `loc` in it."""
        return self.document.position((*self.loc, *loc))


class RouteTestsAsRead(NamedTuple):
    """The tests of some files, and everything that is wrong with them."""

    files: Sequence[Path]
    tests: Sequence[RouteTest]
    findings: Sequence[Finding]


def read_tests(paths: Iterable[Path], table: RouteTable, seal: Seal) -> RouteTestsAsRead:
    """The tests at `paths`, files or folders, of the routes in `table`.

    Args:
        paths: Each a folder, a file of tests, or one of routes: see `files_of_tests`.
        table: The routes: tests of others are a mistake.
        seal: Signs correlations of calls.
    """
    files = list(dict.fromkeys(file for path in paths for file in files_of_tests(path)))
    tests: list[RouteTest] = []
    findings: list[Finding] = []
    for file in files:
        try:
            document = read(file, if_empty="write version: 1 and tests")
        except ConfigurationError as error:
            findings += error.findings
            continue
        reading = _Reading(document, table, seal)
        tests += reading.tests()
        findings += reading.findings
    return RouteTestsAsRead(files, tests, sorted(findings, key=in_order))


class _Reading:
    """Makes tests of one file, and remembers what is wrong with it."""

    def __init__(self, document: Document, table: RouteTable, seal: Seal) -> None:
        self._document = document
        self._table = table
        self._seal = seal
        self.findings: list[Finding] = []

    def tests(self) -> Iterator[RouteTest]:
        document = self._document
        try:
            file = RouteTestFile.model_validate(document.values)
        except ValidationError as error:
            self.findings += findings_of(document, error, RouteTestFile)
            file = None
        # One mistake must not hide another: events are looked at as they stand.
        self.findings += self._unknown_keys_of_events()
        if file is None:
            return
        if not file.tests:
            self._find("TR601", ("tests",), "no tests", "write at least one, or take the file away")
        names: dict[str, int] = {}
        for index, keys in enumerate(file.tests):
            first = names.setdefault(keys.name, index)
            if first != index:
                line, _ = document.position(("tests", first))
                problem = f"two tests named '{keys.name}'"
                self._find("TR604", ("tests", index, "name"), problem, f"the first is in line {line}")
            yield from self._test(("tests", index), keys)

    def _unknown_keys_of_events(self) -> Iterator[Finding]:
        for index, event in _events_in(self._document.values):
            if isinstance(event, dict) and not _is_cloudevent(event):
                try:
                    GivenRecord.model_validate(event)
                except ValidationError as error:
                    yield from findings_of(self._document, error, GivenRecord, ("tests", index, "event"))

    def _test(self, loc: Loc, keys: RouteTestKeys) -> Iterator[RouteTest]:
        before = len(self.findings)
        self._outcomes(loc, keys)
        for name, expectation in keys.expect.items():
            self._expectation((*loc, "expect", name), name, expectation)
        record = self._record(loc, keys)
        if record and len(self.findings) == before:
            yield RouteTest(self._document, loc, keys, record)

    def _outcomes(self, loc: Loc, keys: RouteTestKeys) -> None:
        given = [name for name in _OUTCOMES if name in keys.model_fields_set]
        if not given:
            cure = "write expect: and what each route makes of it, or unmatched, letter or tombstone"
            self._find("TR601", loc, f"test '{keys.name}' expects nothing", cure)
        for extra in given[1:]:
            self._find_key("TR302", (*loc, extra), f"'{given[0]}' and '{extra}' in one test", "keep one")
        if given == ["expect"] and not keys.expect:
            cure = "name each route with what it makes of it: ROUTE: skipped"
            self._find("TR601", (*loc, "expect"), f"test '{keys.name}' expects nothing", cure)
        if "others" in keys.model_fields_set and given != ["expect"]:
            self._find_key("TR302", (*loc, "others"), "'others' without 'expect'", "leave it out")

    def _expectation(self, loc: Loc, name: str, expectation: Expectation) -> None:
        given = [key for key in _WORDS if key in expectation.model_fields_set]
        if not given:
            self._find("TR601", loc, f"nothing is expected of route {name}", f"write {', '.join(_WORDS)}")
        for extra in given[1:]:
            self._find_key("TR302", (*loc, extra), f"'{given[0]}' and '{extra}' of one route", "keep one")
        if self._table.route(name) is None:
            known = [route.name for route in self._table.routes]
            self._find_key("TR602", loc, f"there is no route '{name}'", _meant(name, known))

    # --- events ---

    def _record(self, loc: Loc, keys: RouteTestKeys) -> Record | None:
        try:
            event, text = self._event(keys.event)
            if _is_cloudevent(event) and "specversion" not in event:
                event = UNSAID | event
                text = orjson.dumps(event)
            topic = self._topic(keys.topic, event)
            if keys.call:
                text = self._with_call(keys.call, text)
            record = record_in(text, topic)
        except ConfigurationError as error:
            self._find("TR603", (*loc, "event"), str(error))
        except _UnusableError as error:
            self._find("TR603", (*loc, *error.at), error.problem, error.cure)
        else:
            return (
                record
                if "timestamp" in event and not _is_cloudevent(event)
                else replace(record, timestamp_ms=WRITTEN_AT_MS)
            )
        return None

    def _topic(self, beside: str, event: Mapping[str, Any]) -> str:
        topic = beside or ("" if _is_cloudevent(event) else event.get("topic"))
        if not isinstance(topic, str) or not topic:
            raise _UnusableError("the event does not say its topic", "write topic: beside event:")
        if is_pattern(topic):
            cure = f"write one that it matches: {topic.replace('*', 'x')}"
            raise _UnusableError(f"'{topic}' is a pattern, no topic", cure, ("topic",) if beside else _EVENT)
        if topic not in self._table.topics:
            problem = f"no route reads topic '{topic}'"
            raise _UnusableError(problem, _meant(topic, self._table.topics), ("topic",) if beside else _EVENT)
        return topic

    def _event(self, event: Any) -> tuple[dict[str, Any], bytes]:
        """What the event holds, and how it is written."""
        if isinstance(event, dict):
            if isinstance(event.get("specversion"), float):
                cure = f'write specversion: "{event["specversion"]}"'
                raise _UnusableError("YAML reads specversion as a number", cure, ("event", "specversion"))
            return event, orjson.dumps(event)
        if not isinstance(event, str):
            cure = "write a record, a CloudEvent, or the path of a JSON file that holds one"
            raise _UnusableError("the event is neither a map nor a path", cure)
        file = self._document.path.parent / event
        try:
            text = file.read_bytes()
            held = orjson.loads(text)
        except OSError as error:
            cure = "the path is from this file's folder"
            raise _UnusableError(f"{event} cannot be read: {error.strerror}", cure) from error
        except (orjson.JSONDecodeError, ValueError) as error:
            raise _UnusableError(f"{event} is no JSON: {error}") from error
        if not isinstance(held, dict):
            raise _UnusableError(f"{event} holds no JSON object")
        return held, text

    def _with_call(self, call: Call, text: bytes) -> bytes:
        sealed = self._seal.sealed(Correlation(call.namespace, call.to, call.activity))
        replied, count = _CALL.subn(orjson.dumps(sealed), text)
        if not count:
            cure = f"write {CALL} where the event has its correlation"
            raise _UnusableError(f"'call' is given, but no text of the event is {CALL}", cure, ("call",))
        return replied

    # --- findings ---

    def _find(self, code: str, loc: Loc, problem: str, cure: str = "") -> None:
        self.findings.append(self._document.at_value(code, loc, problem, cure))

    def _find_key(self, code: str, loc: Loc, problem: str, cure: str = "") -> None:
        self.findings.append(self._document.at_key(code, loc, problem, cure))


class _UnusableError(Exception):
    """The event of a test is no event; never leaves this module. `at` is where in the test that is."""

    def __init__(self, problem: str, cure: str = "", at: Loc = _EVENT) -> None:
        super().__init__(problem)
        self.problem = problem
        self.cure = cure
        self.at = at


def _events_in(values: Any) -> Iterator[tuple[int, Any]]:
    tests = values.get("tests") if isinstance(values, dict) else None
    for index, test in enumerate(tests if isinstance(tests, list) else ()):
        if isinstance(test, dict):
            yield index, test.get("event")


def _is_cloudevent(event: Mapping[str, Any]) -> bool:
    return "specversion" in event or "type" in event


def _meant(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    close = difflib.get_close_matches(name, names, 1)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(names)}"
