"""What an expression can cost at most: its steps and the sizes of its values, for one event.

The engine stops an expression after 10,000 turns of its loops, and by nothing else: each turn may copy a
megabyte of text, and `map` copies the whole list that it makes in each of its turns. So the cost is bounded
before an expression runs, from its syntax tree and the sizes of what the event holds. That does not depend on
the machine: the same event always ends in the same way.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from typing import Any, Protocol

BUDGET = 500_000_000
"""What one expression may cost for one event; a unit is about a nanosecond of a slow machine."""

MAX_TURNS = 10_000
"""After that many turns of its loops, together, the engine ends an expression."""

# Measured, in units; tests/fuzz/test_costs.py holds the whole against the engine.
_TURN = 1_000
_COPIED_ITEM = 80
_MADE_CHARACTER = 4  # for the memory, which is free again when the expression ends
_READ_CHARACTER = 2
_COMPARED_BYTE = 10
_HANDED_OUT_BYTE = 60
_PARSED_CHARACTER = 600
_PATTERN = 10_000
_PATTERN_CHARACTER = 500
_REPEATED = 10_000
_UNICODE_CLASS = 2_500_000  # \pL: hundreds of ranges
_MOST_OF_A_PATTERN = 600_000_000  # then RE2 refuses it
_UNKNOWN_CHARACTER = 20_000_000  # \pL{50}
_UNKNOWN_PATTERN = 400_000_000
_UNKNOWN_LATER_CHARACTER = 45_000
_CALL = 100
_NUMBER_BYTES = 8

_SMALLEST, _LARGEST = 1 << 7, 1 << 40


class Sized(Protocol):
    """How large a value can be."""

    @property
    def items(self) -> int:
        """The items of its largest list or map, at any depth."""

    @property
    def text(self) -> int:
        """The bytes of its longest text."""

    @property
    def item(self) -> int:
        """The bytes of its largest list item."""

    @property
    def bytes(self) -> int:
        """The bytes of all of it, about those of its JSON."""

    @property
    def one_item(self) -> "Sized":
        """One item of a list; of a map it is a key."""

    def field(self, name: str) -> "Sized":
        """What it holds by that name; it holds all there is where names are not known."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large a value can be of which nothing else is known."""

    items: int = 0
    text: int = 0
    item: int = 0
    bytes: int = 8

    @classmethod
    def within(cls, size_bytes: int) -> "Size":
        """How large a value can be whose JSON has `size_bytes`."""
        largest = _NUMBER_BYTES * (size_bytes // 2 + 1)  # a list of digits
        return cls(size_bytes // 2 + 1, size_bytes, largest, largest)

    @property
    def one_item(self) -> Sized:
        """See `Sized`."""
        most = max(self.item, min(self.text, self.bytes), 8)
        return Size(min(self.items, most // 2 + 1), min(self.text, most), self.item, most)

    def field(self, name: str) -> Sized:  # noqa: ARG002 - see `Sized`
        """See `Sized`."""
        return self


class Known:
    """A value that is one of some: of an event, or an item of its list."""

    def __init__(self, values: Sequence[Any]) -> None:
        self._values = values

    @property
    def items(self) -> int:
        """See `Sized`."""
        return self._size.items

    @property
    def text(self) -> int:
        """See `Sized`."""
        return self._size.text

    @property
    def item(self) -> int:
        """See `Sized`."""
        return self._size.item

    @property
    def bytes(self) -> int:
        """See `Sized`."""
        return self._size.bytes

    @cached_property
    def _size(self) -> Size:
        measure = _Measure()
        most = max((measure.bytes(value) for value in self._values), default=8)
        return Size(measure.items, measure.text, measure.item, most)

    @cached_property
    def turns(self) -> int:
        """The items of the longest of them."""
        return max((len(value) for value in self._values if isinstance(value, list | Mapping)), default=0)

    @cached_property
    def texts(self) -> Sequence[str]:
        """Those of them that are texts."""
        return [value for value in self._values if isinstance(value, str)]

    @property
    def one_item(self) -> Sized:
        """See `Sized`."""
        return Known([item for value in self._values if isinstance(value, list | Mapping) for item in value])

    def field(self, name: str) -> Sized:
        """See `Sized`."""
        holders = (value for value in self._values if isinstance(value, Mapping))
        return Known([value[name] for value in holders if name in value])


class _Measure:
    """The sizes of plain JSON, at any depth."""

    def __init__(self) -> None:
        self.items = self.text = self.item = 0

    def bytes(self, value: Any) -> int:
        if isinstance(value, str):
            size = len(value) if value.isascii() else len(value.encode("utf-8", "replace"))
            self.text = max(self.text, size)
            return size + 3
        if isinstance(value, Mapping):
            self.items = max(self.items, len(value))
            return 2 + sum(self.bytes(key) + self.bytes(item) for key, item in value.items())
        if isinstance(value, list):
            self.items = max(self.items, len(value))
            sizes = [self.bytes(item) for item in value]
            self.item = max(self.item, max(sizes, default=0))
            return 2 + sum(sizes)
        return _NUMBER_BYTES


NUMBER = Size()
PLAIN_EVENT = Size(items=20, text=200, item=1_000, bytes=20_000)


def _either(one: Sized, other: Sized) -> Size:
    return Size(
        max(one.items, other.items),
        max(one.text, other.text),
        max(one.item, other.item),
        max(one.bytes, other.bytes),
    )


def _both(one: Sized, other: Sized) -> Size:
    return Size(
        one.items + other.items, one.text + other.text, max(one.item, other.item), one.bytes + other.bytes
    )


def _together(parts: Sequence[Sized], items: int, *, listed: bool) -> Size:
    return Size(
        max([items, *(one.items for one in parts)]),
        max([0, *(one.text for one in parts)]),
        max([0, *(max(one.item, one.bytes if listed else 0) for one in parts)]),
        sum(one.bytes for one in parts) + items + 2,
    )


class Cost:
    """What one expression can cost.

    Args:
        serialized: The expression as the engine serializes it: an `Any` that holds a
            `cel.expr.CheckedExpr`. Source: github.com/google/cel-spec, proto/cel/expr.
    """

    def __init__(self, serialized: bytes) -> None:
        self._root = _node(_message(_message(serialized)[2][0])[4][0])

    @cached_property
    def largest_event(self) -> int:
        """However an event of so many bytes of JSON is built, the expression stays within the budget."""
        size = _LARGEST
        while size >= _SMALLEST and self.within(size) > BUDGET:
            size //= 4
        return size if size >= _SMALLEST else 0

    @property
    def is_always_too_much(self) -> bool:
        """Whether not even a plain event stays within the budget, or within the turns of the engine."""
        reckoning = _Reckoning(PLAIN_EVENT, plain=True)
        return self._cost(reckoning, {}) > BUDGET or reckoning.most_turns > MAX_TURNS

    def within(self, size_bytes: int) -> int:
        """What it can cost for an event of so many bytes."""
        return self._cost(_Reckoning(Size.within(size_bytes)), {})

    def of(self, variables: Mapping[str, Any]) -> int:
        """What it can cost where its variables are these."""
        return self._cost(_Reckoning(NUMBER), {name: Known([value]) for name, value in variables.items()})

    def _cost(self, reckoning: "_Reckoning", variables: Mapping[str, Sized]) -> int:
        result = reckoning.value(self._root, variables, 1)
        return reckoning.cost + result.bytes * _HANDED_OUT_BYTE


@dataclass(frozen=True, slots=True)
class _Node:
    """A node of the tree: its kind, the name in it, its parts in the order of their meaning."""

    kind: str
    name: str = ""
    parts: "tuple[_Node, ...]" = ()
    made: str = ""
    """Of a loop, the name of what it makes."""
    text: str | None = None
    """Of a constant, where it is a text."""


class _Reckoning:
    """Adds up what an expression can cost.

    Args:
        others: What the variables are of which nothing else is known.
        plain: Whether nothing in them is there to do harm, as a pattern may be.
    """

    def __init__(self, others: Sized, *, plain: bool = False) -> None:
        self._plain = plain
        self.cost = 0
        self.most_turns = 0
        self._others = others

    def value(self, node: _Node, names: Mapping[str, Sized], turns: int) -> Sized:
        """How large the value of `node` can be; what it takes to make it `turns` times is added."""
        match node.kind:
            case "constant":
                return NUMBER if node.text is None else Known([node.text])
            case "name":
                return names.get(node.name, self._others)
            case "field":
                return self.value(node.parts[0], names, turns).field(node.name)
            case "call":
                return self._call(node, names, turns)
            case "loop":
                return self._loop(node, names, turns)
        parts = [self.value(part, names, turns) for part in node.parts]
        self._pay(turns, len(parts) * _COPIED_ITEM)
        return _together(parts, len(parts), listed=node.kind == "list")

    def _loop(self, node: _Node, names: Mapping[str, Sized], turns: int) -> Sized:
        over_node, first_node, condition, step_node, result = node.parts
        over = self.value(over_node, names, turns)
        first = self.value(first_node, names, turns)
        items = over.turns if isinstance(over, Known) else over.items
        self.most_turns = max(self.most_turns, turns * items)
        rounds = min(turns * items, MAX_TURNS)
        makes_list = first_node.kind == "list"
        self._pay(rounds, _TURN)
        # On average half of the list is there that a `map` makes, and is copied in each turn.
        so_far = Size(min(items, MAX_TURNS) // 2) if makes_list else first
        inside = {**names, node.name: over.one_item, node.made: so_far}
        done: Sized = first
        if rounds:
            self.value(condition, inside, rounds)
            step = self.value(step_node, inside, rounds)
            done = _either(first, step)
            if makes_list:
                done = Size(max(items, step.items), step.text, step.item, items * (step.item + 1) + 2)
        return self.value(result, {**names, node.made: done}, turns)

    def _call(self, node: _Node, names: Mapping[str, Sized], turns: int) -> Sized:
        given = [self.value(part, names, turns) for part in node.parts]
        self._pay(turns, _CALL)
        if node.name == "_+_":
            return self._plus([_kind_of(part) for part in node.parts], given, turns)
        if node.name == "matches":
            return self._matches(given[0], given[-1], turns)
        made, cost = _CALLS.get(node.name, _unknown)(given)
        self._pay(turns, cost)
        return made

    def _plus(self, kinds: Sequence[str], given: Sequence[Sized], turns: int) -> Sized:
        if "number" in kinds:
            return NUMBER
        both = _both(*given)
        if "text" in kinds:
            self._pay(turns, both.text * _MADE_CHARACTER)
            return _text_of(both.text)
        self._pay(turns, both.items * _COPIED_ITEM)
        if "list" in kinds:
            return replace(both, text=max(one.text for one in given))
        self._pay(turns, both.text * _MADE_CHARACTER)
        return both

    def _matches(self, text: Sized, pattern: Sized, turns: int) -> Sized:
        if isinstance(pattern, Known):
            compiled = max((_pattern(one) for one in pattern.texts), default=0)
        elif self._plain:
            compiled = _PATTERN + pattern.text * _PATTERN_CHARACTER
        else:
            compiled = min(pattern.text * _UNKNOWN_CHARACTER, _UNKNOWN_PATTERN)
            compiled += pattern.text * _UNKNOWN_LATER_CHARACTER
        # The engine compiles it in each turn.
        self._pay(turns, compiled + text.text * (_READ_CHARACTER + pattern.text))
        return NUMBER

    def _pay(self, times: int, cost: int) -> None:
        self.cost += times * cost


# --- functions: how large their value can be, and what it takes beyond a call ---

_Made = tuple[Sized, int]
_REPEATS = re.compile(r"\{(?:[0-9]*,)?([0-9]{1,9})\}")
_UNICODE_CLASSES = re.compile(r"\\[pP]")


def _text_of(size: int) -> Size:
    return Size(0, size, 0, size + 2)


def _numbers(given: Sequence[Sized]) -> _Made:
    return NUMBER, sum(one.text for one in given) * _READ_CHARACTER


def _compared(given: Sequence[Sized]) -> _Made:
    return NUMBER, min(one.bytes for one in given) * _COMPARED_BYTE


def _found_in(given: Sequence[Sized]) -> _Made:
    looked_for, container = given
    return NUMBER, container.items * (25 + min(looked_for.bytes, container.item) * _READ_CHARACTER)


def _searched(given: Sequence[Sized]) -> _Made:
    return NUMBER, given[0].text * _READ_CHARACTER + given[0].text * given[1].text // 32


def _pattern(text: str) -> int:
    """What it takes to compile a pattern."""
    repeats = min(math.prod(max(int(most), 1) for most in _REPEATS.findall(text)), 1_000)  # RE2 takes no more
    classes = len(_UNICODE_CLASSES.findall(text)) * _UNICODE_CLASS
    return min(
        _PATTERN + len(text) * _PATTERN_CHARACTER + repeats * (_REPEATED + classes), _MOST_OF_A_PATTERN
    )


def _rewritten(given: Sequence[Sized]) -> _Made:
    made = given[0].text * 6 + 32  # quoted, a character takes up to 6
    return _text_of(made), made * _MADE_CHARACTER


def _replaced(given: Sequence[Sized]) -> _Made:
    made = given[0].text + (given[0].text + 1) * given[2].text
    return _text_of(made), (given[0].text + 1) * _COPIED_ITEM + made * _MADE_CHARACTER


def _split(given: Sequence[Sized]) -> _Made:
    text = given[0].text
    return Size(text + 1, text, text, text * 4 + 2), (text + 1) * _COPIED_ITEM


def _joined(given: Sequence[Sized]) -> _Made:
    between = given[1].text if len(given) > 1 else 0
    made = min(given[0].items * given[0].text, given[0].bytes) + given[0].items * between
    return _text_of(made), given[0].items * _COPIED_ITEM + made * _MADE_CHARACTER


def _formatted(given: Sequence[Sized]) -> _Made:
    made = given[0].text * 500 + given[1].bytes * 6  # %.1000f is the widest
    return _text_of(made), made * _MADE_CHARACTER


def _parsed(given: Sequence[Sized]) -> _Made:
    return Size.within(given[0].text), given[0].text * _PARSED_CHARACTER


def _one_of(given: Sequence[Sized]) -> _Made:
    return reduce(_either, given), 0


def _first_of(given: Sequence[Sized]) -> _Made:
    return given[0], 0


def _unknown(given: Sequence[Sized]) -> _Made:
    together = reduce(_both, given, NUMBER)
    return together, together.bytes * _COMPARED_BYTE


_CALLS: Mapping[str, Callable[[Sequence[Sized]], _Made]] = {
    **dict.fromkeys(("_&&_", "_||_", "!_", "@not_strictly_false"), lambda _: (NUMBER, 0)),
    **dict.fromkeys(("_-_", "_*_", "_/_", "_%_", "-_"), lambda _: (NUMBER, 0)),
    **dict.fromkeys(("_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_"), _compared),
    **dict.fromkeys(("@in", "_in_", "in"), _found_in),
    **dict.fromkeys(("size", "int", "uint", "double", "bool", "timestamp", "duration", "type"), _numbers),
    **dict.fromkeys(("startsWith", "endsWith", "contains", "indexOf", "lastIndexOf"), _searched),
    **dict.fromkeys(("hasValue", "optional.none"), lambda _: (NUMBER, 0)),
    **dict.fromkeys(("lowerAscii", "upperAscii", "trim", "reverse", "strings.quote"), _rewritten),
    **dict.fromkeys(("substring", "charAt", "string", "bytes"), _rewritten),
    **dict.fromkeys(("_[_]", "_[?_]", "_?._", "value", "dyn"), _first_of),
    **dict.fromkeys(("optional.of", "optional.ofNonZeroValue"), _first_of),
    **dict.fromkeys(("orValue", "or"), _one_of),
    "_?_:_": lambda given: _one_of(given[1:]),
    "replace": _replaced,
    "split": _split,
    "join": _joined,
    "format": _formatted,
    "parse_json": _parsed,
}

_OF_NUMBERS = frozenset({"_-_", "_*_", "_/_", "_%_", "-_", "size", "int", "uint", "double", "indexOf"})
_OF_TEXTS = frozenset(
    ("string", "replace", "join", "format", "lowerAscii", "upperAscii", "trim", "substring")
)


def _kind_of(node: _Node) -> str:
    """`number`, `text` or `list` where the tree says it, else nothing."""
    if node.kind == "constant":
        return "number" if node.text is None else "text"
    if node.kind == "call":
        return "number" if node.name in _OF_NUMBERS else "text" if node.name in _OF_TEXTS else ""
    return node.kind


# --- the tree as it lies in the bytes: cel.expr.Expr in syntax.proto ---

_Fields = Mapping[int, Sequence[bytes]]


def _node(raw: bytes) -> _Node:
    fields = _message(raw)
    for number, read in _READERS.items():
        if number in fields:
            return read(_message(fields[number][0]))
    return _Node("constant")  # one without a value is null


def _constant(fields: _Fields) -> _Node:
    texts = [*fields.get(6, ()), *fields.get(7, ())]  # a string, bytes
    return _Node("constant", text=texts[0].decode("utf-8", "replace") if texts else None)


def _name(fields: _Fields) -> _Node:
    return _Node("name", _text(fields, 1))


def _field(fields: _Fields) -> _Node:
    return _Node("field", _text(fields, 2), _nodes(fields, 1))


def _called(fields: _Fields) -> _Node:
    return _Node("call", _text(fields, 2), (*_nodes(fields, 1), *_nodes(fields, 3)))


def _list(fields: _Fields) -> _Node:
    return _Node("list", parts=_nodes(fields, 1))


def _map(fields: _Fields) -> _Node:
    entries = [_message(entry) for entry in fields.get(2, ())]
    return _Node("map", parts=tuple(node for one in entries for node in (*_nodes(one, 3), *_nodes(one, 4))))


def _comprehension(fields: _Fields) -> _Node:
    parts = tuple(_node(fields[number][0]) for number in (2, 4, 5, 6, 7))
    return _Node("loop", _text(fields, 1), parts, _text(fields, 3))


_READERS: Mapping[int, Callable[[_Fields], _Node]] = {
    3: _constant,
    4: _name,
    5: _field,
    6: _called,
    7: _list,
    8: _map,
    9: _comprehension,
}


def _nodes(fields: _Fields, number: int) -> tuple[_Node, ...]:
    return tuple(_node(raw) for raw in fields.get(number, ()))


def _message(raw: bytes) -> _Fields:
    """The fields of a protobuf message that hold bytes, by number; those of numbers are empty."""
    fields: dict[int, list[bytes]] = {}
    for number, content in _fields_of(raw):
        fields.setdefault(number, []).append(content)
    return fields


def _fields_of(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """Source: protobuf.dev/programming-guides/encoding."""
    position = 0
    while position < len(raw):
        tag, position = _varint(raw, position)
        match tag & 7:
            case 0:
                _, position = _varint(raw, position)
                yield tag >> 3, b""
            case 2:
                length, position = _varint(raw, position)
                yield tag >> 3, raw[position : position + length]
                position += length
            case wire:
                yield tag >> 3, b""
                position += {1: 8, 5: 4}[wire]


def _varint(raw: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position


def _text(fields: _Fields, number: int) -> str:
    return fields.get(number, [b""])[0].decode()
