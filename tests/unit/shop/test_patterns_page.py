"""docs/patterns.md shows what is there: its links lead somewhere, its code is the source's."""

import re
from pathlib import Path
from textwrap import dedent

import pytest

from tests.pages import ROOT, page

PAGE = ROOT / "docs" / "patterns.md"
TEXT = PAGE.read_text()
SECTIONS = page("docs/patterns.md").sections

PATTERNS = {
    "Sequential": "sequential",
    "Parallel": "parallel",
    "Conditional": "conditional",
    "Loop": "loop",
    "Saga": "saga",
    "Cancellation that cleans up": "cancellation",
    "Query": "query",
    "Update with validator": "update",
    "Entity": "entity",
    "Child workflow": "child_workflow",
    "Timer race": "timer_race",
    "Fan-out": "fan_out",
    "Error propagation": "error_propagation",
}
"""The page's sections, and how the names of their tests begin."""


def links(text: str) -> list[str]:
    return re.findall(r"\]\(([^)]+)\)", text)


def linked_files(text: str) -> list[Path]:
    return [PAGE.parent / link for link in links(text) if not link.startswith("#")]


def anchor(heading: str) -> str:
    """The link to a heading, as GitHub makes it."""
    return "#" + re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")


def is_in(block: str, source: str) -> bool:
    """Whether the lines of `block` stand in `source`, at whatever depth."""
    wanted, lines = block.splitlines(), source.splitlines()
    windows = (lines[start : start + len(wanted)] for start in range(len(lines)))
    return any(dedent("\n".join(window)).splitlines() == wanted for window in windows)


def test_there_is_a_section_for_each_pattern() -> None:
    assert list(SECTIONS) == list(PATTERNS)


def test_each_link_leads_somewhere() -> None:
    assert [str(path) for path in linked_files(TEXT) if not path.is_file()] == []
    inside = {link for link in links(TEXT) if link.startswith("#")}
    assert inside - {anchor(heading) for heading in SECTIONS} == set()


@pytest.mark.parametrize("heading", PATTERNS)
def test_each_pattern_shows_code_as_it_stands_in_a_file_that_it_links_to(heading: str) -> None:
    section = SECTIONS[heading]
    sources = [path.read_text() for path in linked_files(section.text) if "tests" not in path.parts]
    assert section.blocks("python", "yaml")
    for block in section.blocks("python", "yaml"):
        assert any(is_in(block.text, source) for source in sources), block


@pytest.mark.parametrize("heading", PATTERNS)
def test_each_pattern_names_a_test_that_is_named_after_it(heading: str) -> None:
    section = SECTIONS[heading]
    tests = "".join(path.read_text() for path in linked_files(section.text) if path.name.startswith("test_"))
    named = re.findall(r"`(test_\w+)`", section.text)
    assert named
    for name in named:
        assert name.startswith(f"test_{PATTERNS[heading]}_")
        assert f"\nasync def {name}(" in tests
