"""One YAML file as plain values that know their place: line, column, and where inside a quoted text."""

import math
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from service.errors import ConfigurationError, Finding
from service.routing.quick_reading import Scalars, UnusualError, quick_values

Loc = tuple[str | int, ...]
"""Where in the values: keys of maps and indexes of lists, as pydantic reports them."""

MAX_LEVELS = 64
_MAX_OPEN_BRACKETS = 1_000  # texts may hold some; of 30,000 that are opened the reader thinks for minutes

_BREAKS = re.compile(r"\r\n?|\n")  # those of YAML 1.2; 1.1 knew more
_TAG = "tag:yaml.org,2002:"
_NEEDS_QUOTES = "YAML reads that differently without quotes; write "


class Document:
    """A file's plain values, and the place of each, which is looked for when the first is asked for."""

    def __init__(self, path: Path, text: str, values: Any, places: "Places | None" = None) -> None:
        self.path = path
        self.values = values
        self._text = text
        self._found = places

    @property
    def _places(self) -> "Places":
        if not self._found:
            self._found = exactly(self.path, self._text)
        return self._found

    def at_key(self, code: str, loc: Loc, problem: str, cure: str = "") -> Finding:
        """A finding at the key of a value, or at the value where it has none."""
        return self._finding(code, self._places.keys.get(loc) or self._nearest(loc), None, problem, cure)

    def at_value(
        self, code: str, loc: Loc, problem: str, cure: str = "", *, offset: int | None = None
    ) -> Finding:
        """A finding at the start of a value, or `offset` characters into its text."""
        node = self._nearest(loc)
        if isinstance(node, ScalarNode) and node.start_mark.index == node.end_mark.index:
            return self.at_key(
                code, loc, problem, cure
            )  # nothing stands there: it would point at what follows
        return self._finding(code, node, offset, problem, cure)

    @property
    def lines(self) -> Sequence[str]:
        """Its text by lines, as YAML counts them."""
        return _BREAKS.split(self._text)

    def position(self, loc: Loc) -> tuple[int, int]:
        """Line and column, from 1, of a value, or of what is nearest around where it would stand."""
        mark = self._nearest(loc).start_mark
        return mark.line + 1, mark.column + 1

    def place(self, loc: Loc) -> str:
        """Where a value stands, for people: `orders.yaml:12`."""
        return f"{self.path.name}:{self._nearest(loc).start_mark.line + 1}"

    def line_quoted(self, loc: Loc) -> str | None:
        """The line with its value in quotes, if what follows the value may have been cut off by ` #`."""
        node = self._nearest(loc)
        if not isinstance(node, ScalarNode) or node.style:
            return None
        line = _line(self._text, node.start_mark.line)
        cut = re.match(r"\s+#", line[node.end_mark.column :])
        return _quoted_line(line) if cut and node.start_mark.line == node.end_mark.line else None

    def _nearest(self, loc: Loc) -> Node:
        nodes = self._places.nodes
        while loc not in nodes:
            loc = loc[:-1]
        return nodes[loc]

    def _finding(self, code: str, node: Node, offset: int | None, problem: str, cure: str) -> Finding:
        mark = node.start_mark
        column = mark.column
        if offset is not None and isinstance(node, ScalarNode):
            column += _raw_offset(self._text[mark.index : node.end_mark.index], node.style, offset)
        return Finding(code, self.path, mark.line + 1, column + 1, problem, cure)


def read(path: Path, *, if_empty: str = "write version: 1, topics and routes") -> Document:
    """The values of the YAML 1.2 file at `path`; `if_empty` is said to do where nothing stands in it.

    Raises:
        ConfigurationError: It cannot be read, is no YAML, or uses what has no meaning here (tags,
            aliases, repeated keys); with every finding there is.
    """
    try:
        text = _decoded(path)
        try:
            return Document(path, text, quick_values(text, SCALARS, MAX_LEVELS))
        except UnusualError:
            places = exactly(path, text, if_empty)
    except _Unreadable as error:
        raise ConfigurationError("unreadable", [error.finding]) from error
    if places.findings:
        raise ConfigurationError("unreadable", places.findings)
    return Document(path, text, places.values, places)


def exactly(path: Path, text: str, if_empty: str = "") -> "Places":
    """All that stands in `text` with its places, and everything that is wrong with it; six times as slow."""
    places = Places(path, text)
    places.values = places.value(_composed(path, text, if_empty), ())
    return places


class _Unreadable(Exception):  # noqa: N818 - never leaves this module
    def __init__(self, finding: Finding) -> None:
        super().__init__(str(finding))
        self.finding = finding


def _decoded(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise _Unreadable(Finding("TR101", path, 0, 0, f"cannot be read: {error.strerror}")) from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, column = _place_after(raw[: error.start].decode("utf-8-sig", "replace"))
        finding = Finding("TR101", path, line, column, "this byte is not UTF-8", "save the file as UTF-8")
        raise _Unreadable(finding) from error


def _composed(path: Path, text: str, if_empty: str) -> Node:
    if (position := _too_many_brackets(text)) is not None:
        line, column = _place_after(text[:position])
        problem = f"more than {_MAX_OPEN_BRACKETS} brackets are open here"
        raise _Unreadable(Finding("TR108", path, line, column, problem, "close them"))
    yaml = YAML(typ="safe", pure=True)  # the round-trip reader puts marks of its own into folded texts
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a repeated anchor: it is refused where it is used
            root: Node | None = yaml.compose(StringIO(text))
    except MarkedYAMLError as error:
        raise _Unreadable(_syntax_finding(path, text, error)) from error
    except YAMLError as error:
        raise _Unreadable(_character_finding(path, text, error)) from error
    except Exception as error:  # ruamel lets its own slips through: ValueError, AttributeError, IndexError
        problem = f"is no YAML ({type(error).__name__})"
        finding = Finding("TR102", path, 0, 0, problem, "check it with a YAML linter")
        raise _Unreadable(finding) from error
    if root is None:
        raise _Unreadable(Finding("TR101", path, 0, 0, "is empty", if_empty))
    return root


def _too_many_brackets(text: str) -> int | None:
    """Where so many brackets are open that reading on would take very long; None: nowhere."""
    depth = 0
    for bracket in re.finditer(r"[\[\]{}]", text):
        depth = max(depth + (1 if bracket[0] in "[{" else -1), 0)
        if depth > _MAX_OPEN_BRACKETS:
            return bracket.start()
    return None


@dataclass(slots=True)
class Places:
    """Turns nodes into values, and remembers their places and everything that is wrong with them."""

    path: Path
    text: str
    keys: dict[Loc, Node] = field(default_factory=dict)
    nodes: dict[Loc, Node] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    values: Any = None
    _seen: set[int] = field(default_factory=set)

    def value(self, node: Node, loc: Loc) -> Any:
        """The value of `node`, which stands at `loc`."""
        self.nodes[loc] = node
        if id(node) in self._seen:
            # An alias: it would let a page of YAML grow to gigabytes, or hold itself.
            self._find("TR104", node, "this anchor is used by an alias", "write the value out at each place")
            return None
        self._seen.add(id(node))
        if len(loc) > MAX_LEVELS:
            self._find("TR108", node, f"nested more than {MAX_LEVELS} levels deep")
            return None
        if isinstance(node, MappingNode):
            return dict(self._items(node, loc))
        if isinstance(node, SequenceNode):
            return [self.value(item, (*loc, index)) for index, item in enumerate(node.value)]
        return self._scalar(node) if isinstance(node, ScalarNode) else None

    def _items(self, node: MappingNode, loc: Loc) -> Iterator[tuple[str, Any]]:
        first: dict[str, Node] = {}
        for key, item in node.value:
            if not isinstance(key, ScalarNode):
                cure = 'put text that starts with { or [ in quotes: "${ … }"'
                self._find("TR106", key, "a key must be text", cure)
                continue
            name = str(key.value).encode("utf-8", "replace").decode()  # a lone surrogate is no key of ours
            if name in first:
                line = first[name].start_mark.line + 1
                self._find("TR105", key, f"'{name}' stands twice", f"the first is in line {line}; keep one")
                continue
            first[name] = key
            self.keys[(*loc, name)] = key
            yield name, self.value(item, (*loc, name))

    def _scalar(self, node: ScalarNode) -> Any:
        tag, text = str(node.tag), str(node.value)
        read_as = SCALARS.get(tag)
        if not read_as:
            problem = f"{tag} is a YAML tag, which has no meaning here"
            self._find("TR103", node, problem, self._quoted_cure(node))
            return None
        try:
            return read_as(text)
        except ValueError as error:
            self._find("TR107", node, str(error))
            return None

    def _quoted_cure(self, node: ScalarNode) -> str:
        return _quoted_cure(_line(self.text, node.start_mark.line)) or "put the value in quotes"

    def _find(self, code: str, node: Node, problem: str, cure: str = "") -> None:
        mark = node.start_mark
        # ruamel starts a tagged scalar after its tag; the reader looks for the tag.
        column = mark.column
        if isinstance(node, ScalarNode) and str(node.tag).startswith("!"):
            column = max(_line(self.text, mark.line).rfind(str(node.tag), 0, mark.column + 1), 0) or column
        self.findings.append(Finding(code, self.path, mark.line + 1, column + 1, problem, cure))


def _integer(text: str) -> int:
    digits = text.replace("_", "")
    value = int(digits, 0) if re.match(r"[-+]?0[xob]", digits) else int(digits)
    if not -(2**63) <= value < 2**64:
        raise ValueError("an integer beyond 64 bits; put it in quotes if it is text")
    return value


def _float(text: str) -> float:
    value = float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))
    if not math.isfinite(value):
        raise ValueError("not a number of JSON; put it in quotes if it is text")
    return value


def _text(text: str) -> str:
    if re.search("[\ud800-\udfff]", text):
        raise ValueError("a lone surrogate, which is no text")
    return text


# YAML 1.2 has no dates and no merge keys: both are text.
SCALARS: Scalars = {
    f"{_TAG}str": _text,
    f"{_TAG}timestamp": _text,
    f"{_TAG}merge": _text,
    f"{_TAG}value": _text,
    f"{_TAG}null": lambda _: None,
    f"{_TAG}bool": lambda text: text.lower() in {"true", "yes", "on"},
    f"{_TAG}int": _integer,
    f"{_TAG}float": _float,
}


# --- places ---


def _line(text: str, number: int) -> str:
    # YAML's line breaks; str.splitlines knows more (form feed, file separators) and would miscount.
    lines = _BREAKS.split(text)
    return lines[number] if number < len(lines) else ""


def _place_after(text: str) -> tuple[int, int]:
    """Line and column of what follows `text`."""
    lines = _BREAKS.split(text)
    return len(lines), len(lines[-1]) + 1


_ESCAPE_SIZE = {"x": 4, "u": 6, "U": 10}


def _raw_offset(raw: str, style: str | None, offset: int) -> int:
    """Where in a scalar's source the character `offset` of its value stands; 0 where lines were joined."""
    if "\n" in raw or style in {"|", ">"}:
        return 0
    if style not in {"'", '"'}:
        return offset
    position = raw.index(style) + 1
    for _ in range(offset):
        if style == "'":
            position += 2 if raw.startswith("''", position) else 1
        else:
            escaped = raw.startswith("\\", position)
            position += _ESCAPE_SIZE.get(raw[position + 1 : position + 2], 2) if escaped else 1
    return position


# --- what is wrong, and the line as it should be ---


def _syntax_finding(path: Path, text: str, error: MarkedYAMLError) -> Finding:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line, mark.column) if mark else (-1, -1)
    problem = str(error.problem or error.context or "is no YAML").splitlines()[0]
    cure = _syntax_cure(_line(text, line), problem, column)
    return Finding("TR102", path, line + 1, column + 1, f"YAML: {problem}", cure)


def _syntax_cure(line: str, problem: str, column: int) -> str:
    if "\\t" in problem or line[column : column + 1] == "\t":
        return "use spaces, not tabs"
    if "undefined alias" in problem and re.match(r"\*[^\s*]*[.*]", line[column:]):
        name = re.split(r"[\s,\]}]|:(?=\s|$)", line[column:], maxsplit=1)[0]
        return f'put a pattern that begins with * in quotes: "{name}"'
    if "another document" in problem:
        return "write one document to a file"
    return "" if "<stream end>" in problem else _quoted_cure(line)


def _character_finding(path: Path, text: str, error: YAMLError) -> Finding:
    position = getattr(error, "position", None)
    if not isinstance(position, int):
        return Finding("TR102", path, 0, 0, f"YAML: {str(error).splitlines()[0]}")
    line, column = _place_after(text[:position])
    problem, cure = "YAML: a control character", "write it as an escape in double quotes"
    return Finding("TR102", path, line, column, problem, cure)


_ENTRY = re.compile(r"(?P<start>\s*(?:- +)*)(?P<key>[\w.$-]+): +(?P<value>\S.*?)\s*$")
_BARE_EXPRESSION = re.compile(r"(?<=[:\[,{]) *(?P<text>[^\s'\"\[\]{},:]*\$\{[^{}]*\}[^\s'\",{}\]]*)")


def _quoted_cure(line: str) -> str:
    quoted = _quoted_line(line)
    return f"{_NEEDS_QUOTES}{quoted}" if quoted else ""


def _quoted_line(line: str) -> str | None:
    """`line` with its value in quotes, if it holds one key with a value that could need them."""
    entry = _ENTRY.fullmatch(line)
    if not entry:
        return None
    value = entry["value"]
    if re.fullmatch(r"[{\[].*[}\]]", value):
        quoted = _BARE_EXPRESSION.sub(lambda match: f" {_quoted(match['text'])}", value)
        return f"{entry['key']}: {quoted}" if quoted != value else None
    if re.fullmatch(r"\"(?:\\.|[^\"\\])*\"|'(?:''|[^'])*'|[|>&*].*", value):
        return None
    return f"{entry['key']}: {_quoted(value)}"


def _quoted(value: str) -> str:
    if '"' not in value and "\\" not in value:
        return f'"{value}"'
    return "'" + value.replace("'", "''") + "'"
