"""The pages of the documentation as tests use them: their sections, fenced blocks and commands."""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import dropwhile, takewhile
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[1]
_FENCED = re.compile(
    r"^(?P<indent> *)```(?P<kind>\w+)(?: (?P<label>[^\n]*))?\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
_ENDS_A_COMMAND = frozenset({"|", "||", "&", "&&", ";"})
_REDIRECTIONS = frozenset({"<", ">", ">>"})


@dataclass(frozen=True)
class Block:
    """A fenced block: the word behind its fence, what follows that word, and its text."""

    page: str
    line: int
    kind: str
    label: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Page:
    """One page, or one section of it; `name` is its path in the repository."""

    name: str
    text: str
    first_line: int = 1

    def section(self, heading: str) -> "Page":
        """What stands under a heading of the second level."""
        found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", self.text, re.MULTILINE | re.DOTALL)
        assert found, f"{self.name} has no section {heading!r}"
        return Page(self.name, found[1], self.first_line + self.text.count("\n", 0, found.start(1)))

    @property
    def sections(self) -> dict[str, "Page"]:
        """All sections of the second level, by their headings."""
        return {
            heading: self.section(heading) for heading in re.findall(r"^## (.+)$", self.text, re.MULTILINE)
        }

    def blocks(self, *kinds: str) -> list[Block]:
        """Its fenced blocks of these kinds; all where none is named."""
        return [
            Block(
                self.name,
                self.first_line + self.text.count("\n", 0, fenced.start()),
                fenced["kind"],
                fenced["label"] or "",
                dedent(fenced["text"]) if fenced["indent"] else fenced["text"],
            )
            for fenced in _FENCED.finditer(self.text)
            if not kinds or fenced["kind"] in kinds
        ]

    def lines(self) -> list[str]:
        """The lines of its shell blocks; one that ends with a backslash goes on."""
        return [
            line
            for block in self.blocks("sh")
            for line in block.text.replace("\\\n", " ").splitlines()
            if line.strip() and not line.lstrip().startswith("#")
        ]

    def commands(self, *words: str) -> list[list[str]]:
        """What follows these words in its shell commands, without settings before them and redirections."""
        found = (_without_settings(words) for line in self.lines() for words in _commands_in(line))
        return [command[len(words) :] for command in found if command[: len(words)] == list(words)]


def _without_settings(words: list[str]) -> list[str]:
    return list(dropwhile(lambda word: re.match(r"[A-Z_]+=", word), words))


def _commands_in(line: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words = list(lexer)
    while words:
        command = list(takewhile(lambda word: word not in _ENDS_A_COMMAND, words))
        yield list(takewhile(lambda word: word not in _REDIRECTIONS, command))
        words = words[len(command) + 1 :]


@cache
def page(name: str) -> Page:
    """The page at that path in the repository."""
    return Page(name, (ROOT / name).read_text())


def pages() -> Sequence[Page]:
    """README and all of docs, also what comes anew."""
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [page(str(path.relative_to(ROOT))) for path in paths]
