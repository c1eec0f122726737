"""What one set of routes would make of a record that another one does not."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from functools import cache
from operator import is_
from typing import Any, NamedTuple

from service.routing.commands import OrStart, StartOptions
from service.trying.effects import COMMANDS, FAILURES, Becomes, Effect

NAMES: Mapping[str, str] = {"workflow_id": "id", "name": "signal name", "args": "input", "event": "event id"}
"""Of what differs, where people know it by another name than the command does."""

_NOT_COMPARED = frozenset({"route", "event", "others", "contract", "activity_id"})

_NO_EFFECT = frozenset({Becomes.SKIPPED, Becomes.UNMATCHED, Becomes.TOMBSTONE, Becomes.NOTHING})
_NONE = Effect(Becomes.NOTHING)


class Difference(NamedTuple):
    """How the outcome of one route, or of the record as a whole (`route` is empty), differs.

    `differs` names what does where `was` and `becomes` are the same.
    """

    route: str
    was: Becomes
    becomes: Becomes
    differs: tuple[str, ...] = ()


def differences(before: Sequence[Effect], after: Sequence[Effect]) -> Iterator[Difference]:
    """All of one record. One that no command and no failure comes of, in whichever way, is the same."""
    if len(before) == len(after) and all(map(is_, before, after)):  # of most records, and quick
        return
    was = {effect.route: effect for effect in before}
    now = {effect.route: effect for effect in after}
    for route in dict.fromkeys([*now, *was]):
        one, other = was.get(route, _NONE), now.get(route, _NONE)
        if one is other or (one.becomes in _NO_EFFECT and other.becomes in _NO_EFFECT):
            continue
        if one.becomes is not other.becomes:
            yield Difference(route, one.becomes, other.becomes)
        elif differs := tuple(_differing(one, other)):
            yield Difference(route, one.becomes, other.becomes, differs)
    if _in_turn(before, now) != _in_turn(after, was):
        # They are asked one after the other, which matters where two mean the same workflow.
        yield Difference("", Becomes.NOTHING, Becomes.NOTHING, ("order of its routes",))


def fails_newly(before: Sequence[Effect], after: Sequence[Effect]) -> bool:
    """Whether something fails that did not."""
    failed = {effect.route for effect in before if effect.becomes in FAILURES}
    return "" not in failed and any(
        effect.becomes in FAILURES and effect.route not in failed for effect in after
    )


def _in_turn(effects: Sequence[Effect], others: Mapping[str, Effect]) -> list[str]:
    """The routes that ask for something by both, in the order of the first."""
    asking = (effect.route for effect in effects if effect.becomes in COMMANDS)
    return [route for route in asking if route in others and others[route].becomes in COMMANDS]


def _differing(one: Effect, other: Effect) -> Iterator[str]:
    if one.command and other.command:
        if one.command.event.key != other.command.event.key:
            yield NAMES["event"]  # what is delivered again is another event then, and acts again
        yield from _of_commands(one.command, other.command)
    elif one.reason != other.reason:
        yield "reason"


def _of_commands(one: Any, other: Any) -> Iterator[str]:
    for name in _compared(one.__class__):
        was, now = getattr(one, name), getattr(other, name)
        if was is now:
            continue
        if isinstance(was, OrStart) and isinstance(now, OrStart):
            yield from (f"{name} {inner}" for inner in _of_commands(was, now))
        elif isinstance(was, StartOptions) and isinstance(now, StartOptions):
            yield from _of_commands(was, now)
        elif not _same(was, now):
            yield NAMES.get(name, name)


@cache
def _compared(kind: type) -> Sequence[str]:
    return [field.name for field in fields(kind) if field.name not in _NOT_COMPARED]


def _same(one: Any, other: Any) -> bool:
    """Whether two values are the same JSON: for Python true is 1, and 1 is 1.0."""
    if one is other:
        return True
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(item, other[key]) for key, item in one.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other) and bool(one == other)


def described(difference: Difference) -> str:
    """In a few words: `start → letter`, or `start differs: id, input`."""
    if not difference.differs:
        return f"{difference.was.value} → {difference.becomes.value}"
    if difference.becomes is Becomes.NOTHING:
        return f"{', '.join(difference.differs)} differs"
    return f"{difference.becomes.value} differs: {', '.join(difference.differs)}"
