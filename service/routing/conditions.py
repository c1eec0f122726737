"""Conditions taken apart: their terms, and whether they can ever be true.

Only what is certain is said. What is not understood is taken for something that may be true.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from service.errors import RouteError
from service.expressions import ROUTE_VARIABLES, Condition, MistakesError, cel_tokens

_PATH = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*"
_LITERAL = r"\"[^\"\\\n]*\"|'[^'\\\n]*'|-?\d+(?:\.\d+)?|true|false|null"
_COMPARED = re.compile(rf"({_PATH})\s*(==|!=|<=|>=|<|>)\s*({_LITERAL})", re.ASCII)
_COMPARED_BACKWARDS = re.compile(rf"({_LITERAL})\s*(==|!=|<=|>=|<|>)\s*({_PATH})", re.ASCII)
_ONE_OF = re.compile(rf"({_PATH})\s+in\s+\[\s*((?:{_LITERAL})(?:\s*,\s*(?:{_LITERAL}))*)\s*\]", re.ASCII)
_MIRRORED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}

_Value = tuple[str, str | float | None]
"""A kind of JSON and the value: 1 is no `true`, whatever Python says."""


def terms(source: str) -> list[str]:
    """What must all be true for `source` to be true, in its order; `source` itself if it cannot be split."""
    bare = _without_parentheses(source)
    if len(_split(bare, "||")) > 1 or _is_choice(bare):
        return [bare]
    parts = _split(bare, "&&")
    return [term for part in parts for term in terms(part)] if len(parts) > 1 else [bare]


def is_never_true(source: str, given: Mapping[str, Collection[str]] | None = None) -> bool:
    """Whether `source`, which compiles, is true for no event.

    Args:
        source: A condition.
        given: Variables of which it is known that they are one of some texts.
    """
    bare = _without_parentheses(source)
    if _is_choice(bare):
        return _is_constantly_false(bare)
    alternatives = _split(bare, "||")
    if len(alternatives) > 1:
        return all(is_never_true(one, given) for one in alternatives)
    parts = terms(bare)
    if len(parts) > 1 and any(is_never_true(part, given) for part in parts):
        return True
    return (len(parts) == 1 and _is_constantly_false(bare)) or _contradict(parts, given or {})


def _is_constantly_false(source: str) -> bool:
    try:
        expression = ROUTE_VARIABLES.compile(source)
        return expression.is_constant and not Condition(expression).holds({})
    except (MistakesError, RouteError):
        return False


# --- taking apart ---


def _split(source: str, operator: str) -> list[str]:
    """`source` at its `&&` or `||` that stand outside of all brackets."""
    parts, depth, last = [""], 0, ""
    for piece in cel_tokens(source):
        depth += (piece in "([{") - (piece in ")]}")
        if depth == 0 and last + piece == operator:
            parts[-1] = parts[-1][:-1]
            parts.append("")
            last = ""
            continue
        parts[-1] += piece
        last = piece
    return parts


def _is_choice(source: str) -> bool:
    """Whether it is `a ? b : c`; the `?` of `data.?x` and `map[?key]` is another."""
    depth, last = 0, ""
    for piece in cel_tokens(source):
        depth += (piece in "([{") - (piece in ")]}")
        if piece == "?" and depth == 0 and last != ".":
            return True
        last = piece
    return False


def _without_parentheses(source: str) -> str:
    while True:
        source = source.strip()
        if not source.startswith("(") or not _closes_at_its_end(source):
            return source
        source = source[1:-1]


def _closes_at_its_end(source: str) -> bool:
    depth, position = 0, 0
    for piece in cel_tokens(source):
        position += len(piece)
        depth += (piece in "([{") - (piece in ")]}")
        if depth == 0:
            return position == len(source)
    return False


# --- contradictions ---


@dataclass(slots=True)
class _Possible:
    """What one variable can still be."""

    one_of: set[_Value] | None = None
    none_of: set[_Value] = field(default_factory=set)
    bounds: list[tuple[str, _Value]] = field(default_factory=list)

    def only(self, values: set[_Value]) -> None:
        self.one_of = values if self.one_of is None else self.one_of & values

    @property
    def is_nothing(self) -> bool:
        if self.one_of is not None:
            return not any(self._may_be(value) for value in self.one_of)
        if len({kind for _, (kind, _) in self.bounds}) > 1:
            return True  # text and number: each comparison with the other kind is an error
        return any(
            not self._fits_together(*one, *other)
            for one in self.bounds
            for other in self.bounds
            if one[0].startswith(">") and other[0].startswith("<")
        )

    def _may_be(self, value: _Value) -> bool:
        return value not in self.none_of and all(
            value[0] == bound[0] and _compares(value, operator, bound) for operator, bound in self.bounds
        )

    @staticmethod
    def _fits_together(above: str, low: _Value, below: str, high: _Value) -> bool:
        return _compares(low, "<", high) or (low == high and (above, below) == (">=", "<="))


def _contradict(parts: list[str], given: Mapping[str, Collection[str]]) -> bool:
    possible: defaultdict[str, _Possible] = defaultdict(_Possible)
    for name, texts in given.items():
        possible[name].only({("text", text) for text in texts})
    for path, operator, values in (claim for part in parts for claim in _claims(part)):
        match operator:
            case "==":
                possible[path].only(values)
            case "!=":
                possible[path].none_of |= values
            case _:
                possible[path].bounds += [(operator, value) for value in values]
    return any(one.is_nothing for one in possible.values())


def _claims(part: str) -> Iterator[tuple[str, str, set[_Value]]]:
    if form := _COMPARED.fullmatch(part):
        yield form[1], form[2], {_value(form[3])}
    elif form := _COMPARED_BACKWARDS.fullmatch(part):
        yield form[3], _MIRRORED.get(form[2], form[2]), {_value(form[1])}
    elif form := _ONE_OF.fullmatch(part):
        yield form[1], "==", {_value(text) for text in re.findall(_LITERAL, form[2])}
    elif form := re.fullmatch(rf"(!?)\s*({_PATH})", part, re.ASCII):
        yield form[2], "==", {("bool", "false" if form[1] else "true")}


def _value(literal: str) -> _Value:
    if literal[0] in "\"'":
        return "text", literal[1:-1]
    if literal in {"true", "false"}:
        return "bool", literal
    return (
        ("null", None)
        if literal == "null"
        else ("number", float(literal) if "." in literal else int(literal))
    )


def _compares(one: _Value, operator: str, other: _Value) -> bool:
    left, right = one[1], other[1]
    if isinstance(left, str) and isinstance(right, str):
        # CEL compares code points, as Python does.
        return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[operator]
    if isinstance(left, int | float) and isinstance(right, int | float):
        return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[operator]
    return True
