"""Expressions: CEL behind two methods, text templates around it, and what may stand in an id.

The engine (cel-expr-python, CEL-C++) has four habits this module exists to hide: it cuts text at
NUL, raises on lone surrogates anywhere in its input, answers errors as values whose texts quote
the payload, and hands out results that are no JSON. Whole values (`${data.x}`) never pass through it.
"""

import difflib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Self

import orjson
from cel_expr_python import cel
from cel_expr_python.ext import ext_optional, ext_strings

from service.costs import BUDGET, PLAIN_EVENT, Cost
from service.errors import RouteError, TurnoutError

MAX_ID_BYTES = 240
RESERVED_TASK_QUEUES = "/_sys/"
MAX_CHARACTERS = 10_000  # of an expression; each costs the compiler time
MAX_OPTIONAL_MACROS = 6  # each writes what stands before it twice, so that 20 of them take minutes to compile
MAX_LEVELS = 64  # of what parse_json answers; deep enough input (tens of thousands) crashes the engine

# Stands for NUL and lone surrogates inside the engine; a Unicode noncharacter, so no text for others.
_MARK = "\uffff"
_UNSAFE = re.compile("[\0\ud800-\udfff\uffff]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_PATH = re.compile(r"\s*([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)\s*", re.ASCII)

_FUNCTIONS = (
    *("parse_json", "has", "size", "int", "uint", "double", "string", "bool", "bytes", "dyn", "type"),
    *("timestamp", "duration", "matches", "contains", "startsWith", "endsWith", "all", "exists"),
    *("exists_one", "filter", "map", "orValue", "hasValue", "value", "split", "join", "replace", "trim"),
    *("lowerAscii", "upperAscii", "substring", "indexOf", "lastIndexOf", "charAt", "format", "reverse"),
    *("getHours", "getDate", "getFullYear", "getMonth", "getMinutes", "getSeconds", "getDayOfWeek"),
)


class ExpressionError(RouteError):
    """An expression has no usable value for this event."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing wrong in a template or expression; `offset` counts characters from its start.

    `unfinished` where the text may have been cut off before it got here; `too_much` where all is right
    but what it would cost.
    """

    offset: int
    problem: str
    cure: str = ""
    unfinished: bool = False
    too_much: bool = False


class MistakesError(TurnoutError):
    """A template or expression cannot be used, whatever the event.

    Args:
        mistakes: Everything that is wrong with it, in the order it is written.
    """

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        super().__init__("; ".join(mistake.problem for mistake in mistakes))
        self.mistakes = tuple(mistakes)


def checked_id(text: str, what: str) -> str:
    """`text`, if it can be an id: 1 to 240 bytes of UTF-8 without control characters.

    Raises:
        RouteError: It cannot; the reason names it by `what`.
    """
    if not text:
        raise RouteError(f"{what} is empty")
    if _CONTROL.search(text):
        raise RouteError(f"{what} holds a control character")
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise RouteError(f"{what} holds a lone surrogate") from error
    if size > MAX_ID_BYTES:
        raise RouteError(f"{what} has {size} bytes of UTF-8; at most {MAX_ID_BYTES} are allowed")
    return text


def checked_task_queue(text: str, what: str) -> str:
    """`text`, if it can be a task queue of ours: an id that Temporal does not keep for its own queues.

    Raises:
        RouteError: It cannot; the reason names it by `what`.
    """
    if text.startswith(RESERVED_TASK_QUEUES):
        raise RouteError(f"{what} begins with {RESERVED_TASK_QUEUES}, which Temporal keeps for itself")
    return checked_id(text, what)


def _parse_json(text: str) -> Any:
    """What CEL's `parse_json` answers: strict JSON, integers within 64 bits, at most 64 levels."""
    try:
        value = json.loads(text, parse_constant=_refused, parse_int=_within_64_bits, parse_float=_finite)
        return _marked(value, MAX_LEVELS)
    except RecursionError as error:
        raise ValueError(_JSON_FAILED) from error
    except ValueError as error:
        # The parser's own text quotes what it read.
        raise ValueError(_JSON_FAILED) from error


def _refused(constant: str) -> Any:
    raise ValueError(constant)


def _within_64_bits(digits: str) -> int:
    value = int(digits)
    if not -(2**63) <= value < 2**64:
        raise ValueError(digits)
    return value


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(digits)
    return value


def _marked(value: Any, levels: int | None = None) -> Any:
    """`value` with the mark in place of every character that the engine would cut at or choke on.

    Raises:
        ValueError: It nests deeper than `levels`.
    """
    if isinstance(value, str):
        return _UNSAFE.sub(_MARK, value)
    if not isinstance(value, list | Mapping):
        return value
    if levels == 0:
        raise ValueError("too deep")
    below = None if levels is None else levels - 1
    if isinstance(value, list):
        return [_marked(item, below) for item in value]
    return {_marked(key): _marked(item, below) for key, item in value.items()}


_JSON_FAILED = "parse_json was given no JSON, or an integer beyond 64 bits, or more than 64 levels"
_PARSE_JSON = cel.FunctionDecl(
    "parse_json",
    [cel.Overload("parse_json_string", cel.Type.DYN, [cel.Type.STRING], is_member=False, impl=_parse_json)],
)


class Variables:
    """The variables that expressions of one kind may name, and the engine that knows them.

    Args:
        types: The CEL type of each variable by its dotted name.
    """

    def __init__(self, types: Mapping[str, cel.Type]) -> None:
        self.names = tuple(types)
        self._env = cel.NewEnv(
            variables=dict(types),
            extensions=[ext_optional.ExtOptional(), ext_strings.ExtStrings()],
            functions=[_PARSE_JSON],
        )

    def compile(self, source: str) -> "Expression":
        """`source` as an expression.

        Raises:
            MistakesError: It has a syntax error, an unknown name, types that do not fit, a result
                that is no JSON, or costs too much whatever the event.
        """
        return _compile(self, source)

    def _checked(self, source: str) -> cel.Expression:
        if unsafe := _UNSAFE.search(source):  # the engine would cut the expression there
            raise MistakesError([Mistake(unsafe.start(), f"an expression with {_UNSAFE_NAMES}")])
        if too_long := _too_long(source):
            raise MistakesError([Mistake(0, too_long, _TOO_MUCH_CURE, too_much=True)])
        try:
            compiled = self._env.compile(source)
        except RuntimeError as error:
            raise MistakesError(list(_mistakes_in(source, str(error), self.names))) from error
        try:
            result_type = repr(compiled.return_type())
        except RuntimeError as error:  # it knows no type for a map with lists or maps as keys
            raise MistakesError([Mistake(0, "a map with keys that are not text")]) from error
        if mistake := _result_mistake(result_type):
            raise MistakesError([mistake])
        return compiled

    def holder_of(self, path: str) -> str | None:
        """The variable that a dotted path starts with: `data` of `data.x.y`."""
        return next((name for name in self.names if path == name or path.startswith(f"{name}.")), None)


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression over some variables."""

    source: str
    type: str
    """The CEL type of its result, `DYN` where only the event decides."""
    _compiled: cel.Expression
    _cost: Cost
    _path: tuple[str, ...]
    _names: tuple[str, ...]

    @property
    def is_constant(self) -> bool:
        """Whether it names no variable, so that no event changes its value."""
        return not self._names

    def evaluate(self, variables: Mapping[str, Any]) -> Any:
        """Its value for one event as plain JSON.

        Raises:
            ExpressionError: There is none, or it is no JSON, or it depends on a NUL or a lone surrogate,
                or would take too long for an event as large as this.
        """
        if self._path:
            return _follow(self._path, variables)
        return _plain(self._ask(variables), self.source)

    def _ask(self, variables: Mapping[str, Any]) -> Any:
        given = {name: variables[name] for name in self._names}
        size, given = _for_engine(given)
        if size > self._cost.largest_event and self._cost.of(given) > BUDGET:
            raise ExpressionError(
                f"`{self.source}` would take too long for an event as large as this", cure=_TOO_MUCH_CURE
            )
        try:
            result = self._compiled.eval(data=given)
            value = result.plain_value()
        except Exception as error:  # the engine raises RuntimeError, TypeError and SystemError by turns
            raise _failure(self.source, str(error)) from error
        if repr(result.type()) == "ERROR":
            raise _failure(self.source, str(value))
        return value


@lru_cache(maxsize=4096)
def _compile(variables: Variables, source: str) -> Expression:
    compiled = variables._checked(source)  # noqa: SLF001 - the cached half of its method
    cost = Cost(compiled.serialize())
    if cost.is_always_too_much:
        raise MistakesError([Mistake(0, _TOO_MUCH, _TOO_MUCH_CURE, too_much=True)])
    path: tuple[str, ...] = ()
    if (match := _PATH.fullmatch(source)) and (holder := variables.holder_of(match[1])):
        path = (holder, *match[1][len(holder) :].split(".")[1:])
    # A name that is only mentioned in a text is passed for nothing; one that is used is never left out.
    names = tuple(name for name in variables.names if re.search(rf"\b{name.partition('.')[0]}\b", source))
    return Expression(source, repr(compiled.return_type()), compiled, cost, path, names)


class Condition:
    """An expression that is true or false for an event."""

    def __init__(self, expression: Expression) -> None:
        self._expression = expression

    @classmethod
    def parse(cls, source: str, variables: Variables) -> Self:
        """`source` as a condition.

        Raises:
            MistakesError: It does not compile, or is not of type bool.
        """
        if source.lstrip().startswith("${"):
            raise MistakesError([Mistake(0, "a condition is CEL already", "write it without ${ }")])
        expression = variables.compile(source)
        if expression.type not in {"BOOL", "DYN"}:
            raise MistakesError([Mistake(0, f"a condition must be bool, this is {_type(expression.type)}")])
        return cls(expression)

    @property
    def source(self) -> str:
        """The CEL that it was made of."""
        return self._expression.source

    def __repr__(self) -> str:
        return f"Condition({self.source!r})"

    def holds(self, variables: Mapping[str, Any]) -> bool:
        """Whether it is true for this event.

        Raises:
            ExpressionError: It has no value, or one that is neither true nor false.
        """
        value = self._expression.evaluate(variables)
        if not isinstance(value, bool):
            raise ExpressionError(f"`{self._expression.source}` is {_kind(value)}, not true or false")
        return value


@dataclass(frozen=True, slots=True)
class Template:
    """Text in which `${ … }` holds an expression and `$${` stands for `${`."""

    source: str
    _parts: tuple[str | Expression, ...]

    @classmethod
    def parse(cls, text: str, variables: Variables) -> Self:
        """`text` as a template over `variables`.

        Raises:
            MistakesError: All that is wrong in all of its expressions, with offsets into `text`.
        """
        parts: list[str | Expression] = []
        mistakes: list[Mistake] = []
        for part in _split(text):
            if isinstance(part, str):
                parts.append(part)
                continue
            try:
                parts.append(variables.compile(part.source))
            except MistakesError as error:
                mistakes += [replace(m, offset=part.offset + m.offset) for m in error.mistakes]
        if mistakes:
            raise MistakesError(mistakes)
        return cls(text, tuple(parts))

    @property
    def literal(self) -> str | None:
        """The text it always gives, or None if that depends on the event."""
        parts = self._parts
        if len(parts) > 1:
            return None
        if not parts:
            return ""
        return parts[0] if isinstance(parts[0], str) else None

    @property
    def literals(self) -> Sequence[str]:
        """The texts between its expressions."""
        return [part for part in self._parts if isinstance(part, str)]

    @property
    def expressions(self) -> Sequence[str]:
        """The sources of its expressions."""
        return [part.source for part in self._parts if isinstance(part, Expression)]

    def value(self, variables: Mapping[str, Any]) -> Any:
        """Its value for one event: of any JSON type where it is one expression, else text.

        Raises:
            ExpressionError: An expression has no value, or one that cannot stand in text.
        """
        if len(self._parts) == 1 and isinstance(self._parts[0], Expression):
            return self._parts[0].evaluate(variables)
        literal = self.literal
        return self.text(variables) if literal is None else literal

    def text(self, variables: Mapping[str, Any]) -> str:
        """Its text for one event; never empty, without NUL and lone surrogates.

        Raises:
            ExpressionError: There is no such text: an expression has no value or is null, empty,
                a map, a list or a float.
        """
        text = ""
        for part in self._parts:
            text += part if isinstance(part, str) else _in_text(part.evaluate(variables), part.source)
        if not text:
            raise ExpressionError("the text is empty")
        if _UNSAFE.search(text):
            raise ExpressionError(f"`{self.source}` gives text with {_UNSAFE_NAMES}")
        return text


# --- from text to parts ---


@dataclass(frozen=True, slots=True)
class _Embedded:
    """The inside of one `${ … }`, and where in the template it starts."""

    source: str
    offset: int


_OPENING = re.compile(r"\$\$\{|\$\{")
_CEL_TOKEN = re.compile(
    r"""
    //[^\n]*                                                      # a comment
    | (?:[bB]?[rR][bB]?)(?:'''[\s\S]*?'''|\"""[\s\S]*?\"""|'[^'\n]*'|"[^"\n]*")  # raw text
    | '''(?:\\[\s\S]|[^\\])*?''' | \"""(?:\\[\s\S]|[^\\])*?\"""   # long text
    | '(?:\\.|[^'\\\n])*' | "(?:\\.|[^"\\\n])*" | `[^`\n]*`       # text, quoted names
    | \w+ | [{}] | [\s\S]
    """,
    re.VERBOSE,
)


def cel_tokens(source: str) -> Iterator[str]:
    """`source` in pieces: texts, names and comments whole, all else one by one."""
    return (token[0] for token in _CEL_TOKEN.finditer(source))


def _split(text: str) -> Iterator[str | _Embedded]:
    literal, position = "", 0
    while opening := _OPENING.search(text, position):
        literal += text[position : opening.start()]
        position = opening.end()
        if opening[0] == "$${":
            literal += "${"
            continue
        if literal:
            yield literal
        literal = ""
        end = _closing_brace(text, position)
        yield _Embedded(text[position:end], position)
        position = end + 1
    literal += text[position:]
    if literal:
        yield literal


def _closing_brace(text: str, start: int) -> int:
    """Where the expression that starts at `start` ends; braces in its texts and maps do not end it."""
    depth = 0
    for token in _CEL_TOKEN.finditer(text, start):
        if token[0] == "{":
            depth += 1
        elif token[0] == "}":
            if not depth:
                return token.start()
            depth -= 1
    raise MistakesError(
        [Mistake(start - 2, "`${` without its `}`", "write $${ where a literal ${ is meant", unfinished=True)]
    )


# --- from variables to the engine, and back ---


def _for_engine(variables: dict[str, Any]) -> tuple[float, dict[str, Any]]:
    """How many bytes of JSON they are, infinite where that is not known, and what the engine can hold."""
    try:
        json = orjson.dumps(variables)
    except TypeError:  # a lone surrogate, or an integer beyond 64 bits, which the engine refuses by itself
        return math.inf, _marked(variables)
    # A false alarm (a backslash before u0000 in a text) costs time, not truth.
    return len(json), _marked(variables) if b"\\u0000" in json else variables


def _plain(value: Any, source: str) -> Any:
    """`value`, if it is JSON all through."""
    if isinstance(value, str):
        if _UNSAFE.search(value):
            raise ExpressionError(f"`{source}` gives text with {_UNSAFE_NAMES}", cure=_WHOLE_CURE)
    elif isinstance(value, list):
        for item in value:
            _plain(item, source)
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ExpressionError(f"`{source}` gives a map with keys that are not text")
            _plain(key, source)
            _plain(item, source)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ExpressionError(f"`{source}` gives {value}, which is no JSON")
    elif value is not None and not isinstance(value, bool | int | float):
        raise ExpressionError(f"`{source}` gives {_kind(value)}, which is no JSON", cure=_STRING_CURE)
    return value


_UNSAFE_NAMES = "a NUL, a lone surrogate or U+FFFF"
_WHOLE_CURE = "take the attribute as a whole, ${data.x}, or send it without"
_STRING_CURE = "write string(…)"
_TOO_MUCH = (
    f"it takes too long even for an event with lists of {PLAIN_EVENT.items} items "
    f"and texts of {PLAIN_EVENT.text} characters"
)
_TOO_MUCH_CURE = "pass the data whole, as ${data}, and let the workflow look into it"


def _follow(path: tuple[str, ...], variables: Mapping[str, Any]) -> Any:
    value = variables[path[0]]
    for depth, name in enumerate(path[1:], start=1):
        holder = ".".join(path[:depth])
        if not isinstance(value, Mapping):
            raise ExpressionError(f"{holder} is {_kind(value)}, so it has no attribute '{name}'")
        if name not in value:
            raise _absent(holder, name, "".join(f".{later}" for later in path[depth + 1 :]))
        value = value[name]
    return value


def _absent(holder: str, name: str, rest: str = "") -> ExpressionError:
    default = '""' if holder in {"headers", "event.ext"} else "0"
    return ExpressionError(
        f"{holder} has no attribute '{name}'",
        cure=f"write {holder}.?{name}{rest}.orValue({default}) if it may be absent",
    )


def _in_text(value: Any, source: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str):
        raise ExpressionError(f"`{source}` is {_kind(value)}, which cannot stand in text")
    if not value:
        raise ExpressionError(f"`{source}` is empty, which cannot stand in text")
    return value


# --- what the engine says, in our words ---

_KINDS: Mapping[str, str] = {
    "NoneType": "null",
    "bool": "a boolean",
    "int": "an integer",
    "float": "a float",
    "str": "text",
    "list": "a list",
    "dict": "a map",
    "bytearray": "bytes",
    "datetime": "a timestamp",
    "timedelta": "a duration",
}
_TYPES: Mapping[str, str] = {
    "NULL": "null",
    "BOOL": "a boolean",
    "INT": "an integer",
    "UINT": "an integer",
    "DOUBLE": "a float",
    "STRING": "text",
    "LIST": "a list",
    "MAP": "a map",
    "BYTES": "bytes",
    "TIMESTAMP": "a timestamp",
    "DURATION": "a duration",
    "TYPE": "a type",
    "optional_type": "an optional value",
}
# Only these texts of the engine are repeated: others quote keys, patterns and numbers of the payload.
_HARMLESS = re.compile(
    r"divide by zero|modulus by zero|(unsigned )?integer overflow|Iteration budget exceeded"
    r"|cannot convert string to \w+|Type conversion error from '\w+' to '\w+'"
    r"|String to (Timestamp|Duration) conversion failed|u?int64 out of u?int64 range|double out of \w+ range"
    rf"|{re.escape(_JSON_FAILED)}"
)
_SIGNS = (
    ("Applying SELECT to non-message", "asks for an attribute of something that is no map", None),
    ("Index error", "reads beyond the end of a list", None),
    ("optional.none()", "takes the value of nothing", "end it with .orValue(…)"),
)
_NO_OVERLOAD = re.compile(r"No matching overloads found : (_\W+_|[\w.@<>!?-]+)(\([\w, <>.?]*\))")
_NO_KEY = re.compile(r'Key not found in map : "(.*)"', re.DOTALL)
_COMPILE_ERROR = re.compile(
    r"^(?:[A-Z_]+: )?ERROR: <input>:(-?\d+):(-?\d+): (.*?)(?: \[[A-Z_]+\])?$", re.MULTILINE
)


def _kind(value: Any) -> str:
    return _KINDS.get(type(value).__name__, "of a type that is no JSON")


def _type(name: str) -> str:
    return _TYPES.get(name.partition("<")[0], name)


def _result_mistake(type_name: str) -> Mistake | None:
    if "optional_type" in type_name:
        return Mistake(0, "the result is an optional value", "end it with .orValue(…)")
    if type_name.partition("<")[0] in {"BYTES", "TIMESTAMP", "DURATION", "TYPE"}:
        return Mistake(0, f"the result is {_type(type_name)}, which is no JSON", _STRING_CURE)
    return None


def _too_long(source: str) -> str:
    """Why `source` would keep the compiler busy; empty where it would not."""
    if len(source) > MAX_CHARACTERS:
        return f"an expression of {len(source)} characters; at most {MAX_CHARACTERS} are allowed"
    macros = [token for token in cel_tokens(source) if token in {"optMap", "optFlatMap"}]
    if len(macros) > MAX_OPTIONAL_MACROS:
        return f"optMap and optFlatMap {len(macros)} times; at most {MAX_OPTIONAL_MACROS} times are allowed"
    return ""


def _failure(source: str, engine_text: str) -> ExpressionError:
    """The engine's answer without values of the payload."""
    if key := _NO_KEY.search(engine_text):
        return _no_key(source, key[1])
    if overload := _NO_OVERLOAD.search(engine_text):
        name = overload[1].strip("_")
        return ExpressionError(f"`{source}`: {name} does not apply to {overload[2]}")
    for sign, problem, cure in _SIGNS:
        if sign in engine_text:
            return ExpressionError(f"`{source}` {problem}", cure=cure)
    if harmless := _HARMLESS.search(engine_text):
        return ExpressionError(f"`{source}`: {harmless[0]}")
    return ExpressionError(f"`{source}` cannot be evaluated")


def _no_key(source: str, key: str) -> ExpressionError:
    """Names the key only if the expression does: else it is a value of the payload."""
    name = re.escape(key) or r"(?!)"
    if attribute := re.search(rf"(\w+(?:\.\w+)*)\.{name}\b", source):
        return _absent(attribute[1], key)
    if item := re.search(rf"(\w+(?:\.\w+)*)\[\s*([\'\"]){name}\2\s*\]", source):
        default = '""' if item[1] in {"headers", "event.ext"} else "0"
        quoted = f"{item[2]}{key}{item[2]}"
        return ExpressionError(
            f"{item[1]} has no {quoted}",
            cure=f"write {item[1]}[?{quoted}].orValue({default}) if it may be absent",
        )
    return ExpressionError(
        f"`{source}` asks a map for a key it does not have",
        cure="write map[?key].orValue(…) if it may be absent",
    )


def _mistakes_in(source: str, engine_text: str, names: Sequence[str]) -> Iterator[Mistake]:
    found = _COMPILE_ERROR.findall(engine_text)
    if not found:
        yield Mistake(0, re.sub(r"^[A-Z_]+: | \[[A-Z_]+\]$", "", engine_text))
    for line, column, problem in found:
        offset = _offset(source, int(line), int(column))
        if problem.startswith("Syntax error: "):
            yield _syntax_mistake(source, offset, problem.removeprefix("Syntax error: "))
            return  # what follows a syntax error is its echo
        if name := re.match(r"undeclared reference to '(.*)' \(in", problem):
            yield _unknown_name(source, offset, name[1], names)
        else:
            yield Mistake(offset, re.sub(r"'_(\W+)_'", r"'\1'", problem))


def _offset(source: str, line: int, column: int) -> int:
    before = source.split("\n")[: max(line - 1, 0)]
    return min(sum(len(text) + 1 for text in before) + max(column - 1, 0), len(source))


def _syntax_mistake(source: str, offset: int, problem: str) -> Mistake:
    if not source.strip():
        return Mistake(0, "the expression is empty")
    unexpected = re.search(r"(?:input|at:) '(.*?)'(?: expecting |$)", problem)
    found = unexpected[1] if unexpected else ""
    if found == "<EOF>":
        return Mistake(offset, "the expression ends too early", unfinished=True)
    if found.startswith(("'", '"')):
        return Mistake(offset, "text without its closing quote", unfinished=True)
    cures = {"=": "write == to compare", "&": "write && for and", "|": "write || for or"}
    return Mistake(
        offset, f"unexpected '{found.strip()}'" if found else problem, cures.get(found.strip(), "")
    )


def _unknown_name(source: str, offset: int, name: str, names: Sequence[str]) -> Mistake:
    # The engine points at the last dot of a name, or at the bracket after a function.
    starts = (offset, offset - len(name), offset - name.rfind("."))
    start = next((start for start in starts if start >= 0 and source.startswith(name, start)), offset)
    if source[start + len(name) :].lstrip().startswith("("):
        close = difflib.get_close_matches(name, _FUNCTIONS, 1)
        return Mistake(start, f"unknown function '{name}'", f"did you mean {close[0]}?" if close else "")
    if near := _nearest(name, names):
        return Mistake(start, f"unknown variable '{name}'", f"did you mean {near}?")
    return Mistake(start, f"unknown variable '{name}'", f"known are {', '.join(names)}")


def _nearest(name: str, names: Sequence[str]) -> str | None:
    """The known variable that `name` starts like, with what follows it."""
    parts = name.split(".")

    def likeness(known: str) -> float:
        return difflib.SequenceMatcher(None, ".".join(parts[: known.count(".") + 1]), known).ratio()

    best = max(names, key=likeness)
    if likeness(best) < 0.6:
        return None
    return ".".join([best, *parts[best.count(".") + 1 :]])


_RECORD_TYPES = {
    "data": cel.Type.DYN,
    "headers": cel.Type.Map(cel.Type.STRING, cel.Type.STRING),
    "record.topic": cel.Type.STRING,
    "record.partition": cel.Type.INT,
    "record.offset": cel.Type.INT,
    "record.key": cel.Type.DYN,
    "record.timestamp": cel.Type.INT,
    "record.schema": cel.Type.STRING,
}

ENVELOPE_VARIABLES = Variables(_RECORD_TYPES)
"""What the mapping of a topic sees: the record, before it is an event."""

ROUTE_VARIABLES = Variables(
    {
        "event.id": cel.Type.STRING,
        "event.source": cel.Type.STRING,
        "event.type": cel.Type.STRING,
        "event.subject": cel.Type.STRING,
        "event.time": cel.Type.STRING,
        "event.ext": cel.Type.Map(cel.Type.STRING, cel.Type.STRING),
        **_RECORD_TYPES,
    }
)
"""What routes see: the keys of `Event.variables()`."""
