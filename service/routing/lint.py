"""All that can be said of routes without running them: mistakes, doubts, and what changed."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from service.errors import ConfigurationError, Finding
from service.routing.changes import changes
from service.routing.doubts import doubts
from service.routing.entries import Entry, routes_in
from service.routing.reading import Document
from service.routing.table import Judge, in_order, no_mistakes, read_routes

Doubter = Callable[[Sequence[Entry]], Iterator[Finding]]
"""Says what is doubtful in some routes: warnings."""

_ACCEPTING = re.compile(r"(?:^|\s)#\s*lint: ok (TR\d{3}(?:,\s*TR\d{3})*) because \S")
_ONLY_A_COMMENT = re.compile(r"\s*#")


class Linted(NamedTuple):
    """What was looked at, and everything that is to be said of it, in the order of files and lines."""

    files: int
    routes: int
    findings: Sequence[Finding]


def lint(
    paths: Sequence[Path],
    *,
    against: Path | None = None,
    judge: Judge = no_mistakes,
    doubters: Sequence[Doubter] = (),
) -> Linted:
    """All findings about the files at `paths`, which are one set of routes; never fails on what they hold.

    A warning is accepted by a comment in its line, or in lines of comments just above:
    `# lint: ok TR402 because …`. Errors cannot be accepted: such routes are not loaded.

    Args:
        paths: Files, or folders with all *.yaml and *.yml files below.
        against: Where the routes stand that run now, a file or folder.
        judge: As for `load_routes`: what stops a start is an error here.
        doubters: Who else has doubts about them.

    Raises:
        ConfigurationError: What is at `against` cannot be read.
    """
    routes = read_routes(paths, judge)
    entries = [route for document in routes.documents for route in routes_in(document)]
    warnings = [*doubts(entries)]
    for doubter in doubters:
        warnings += doubter(entries)
    if against:
        warnings += changes(_read(against), routes.documents)
    findings = [*routes.findings, *_not_accepted(routes.documents, warnings)]
    return Linted(len(routes.documents), len(entries), sorted(findings, key=in_order))


def _read(path: Path) -> Sequence[Document]:
    """The files at `path` as they stand; only what is no YAML is refused."""
    routes = read_routes([path])
    if unreadable := [finding for finding in routes.findings if finding.code.startswith("TR1")]:
        raise ConfigurationError(f"the routes in {path} cannot be read", unreadable)
    return routes.documents


def _not_accepted(documents: Sequence[Document], warnings: Sequence[Finding]) -> Iterator[Finding]:
    accepting = {document.path: _Accepting(document) for document in documents}
    for warning in warnings:
        if not accepting[warning.path].accepts(warning):
            yield warning
    for document in documents:
        yield from accepting[document.path].in_vain()


class _Accepting:
    """The comments of one file that accept warnings."""

    def __init__(self, document: Document) -> None:
        self._path = document.path
        self._lines = document.lines
        self._vain = {
            (number, code)
            for number, line in enumerate(self._lines, start=1)
            if (comment := _ACCEPTING.search(line))
            for code in re.findall(r"TR\d{3}", comment[1])
        }
        self._known = frozenset(self._vain)

    def accepts(self, finding: Finding) -> bool:
        """Whether a comment accepts `finding`."""
        for number in self._lines_for(finding.line):
            if (number, finding.code) in self._known:
                self._vain.discard((number, finding.code))
                return True
        return False

    def _lines_for(self, number: int) -> Iterator[int]:
        yield number
        while number > 1 and _ONLY_A_COMMENT.match(self._lines[number - 2]):
            number -= 1
            yield number

    def in_vain(self) -> Iterator[Finding]:
        """The comments that accepted nothing."""
        for number, code in sorted(self._vain):
            column = self._lines[number - 1].index("lint: ok") + 1
            problem = f"nothing of {code} is found here"
            yield Finding("TR409", self._path, number, column, problem, "take the comment away")
