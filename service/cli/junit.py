"""Results of route tests as JUnit XML, which CI servers read.

Source of the shape: the JUnit XML that Jenkins and GitLab document; there is no standard.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

from service.cli.printing import plain
from service.errors import ConfigurationError
from service.routing.route_tests import RouteTest


@dataclass(frozen=True, slots=True)
class Ran:
    """A test that was run, in lines for people why it failed, and how long it took."""

    test: RouteTest
    failed: Sequence[str]
    seconds: float


def write_junit(path: Path, ran: Sequence[Ran], gaps: Sequence[str] = ()) -> None:
    """Write `ran` to `path`: a suite for each file of tests, and one with a failure for each of `gaps`.

    Raises:
        ConfigurationError: The file cannot be written.
    """
    suites = Element("testsuites", name="turnout routes test")
    for file in dict.fromkeys(one.test.path for one in ran):
        of_file = [one for one in ran if one.test.path == file]
        suite = _suite(suites, str(file), of_file, sum(bool(one.failed) for one in of_file))
        for one in of_file:
            line, _ = one.test.position()
            case = _case(suite, str(file), one.test.name, one.seconds)
            case.set("file", str(file))
            case.set("line", str(line))
            if one.failed:
                _fail(case, one.failed)
    if gaps:
        suite = SubElement(
            suites, "testsuite", name="coverage", tests=str(len(gaps)), failures=str(len(gaps))
        )
        for gap in gaps:
            _fail(_case(suite, "coverage", gap, 0), [gap])
    indent(suites)
    try:
        ElementTree(suites).write(path, encoding="utf-8", xml_declaration=True)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from error


def _suite(suites: Element, name: str, ran: Sequence[Ran], failures: int) -> Element:
    seconds = f"{sum(one.seconds for one in ran):.6f}"
    return SubElement(
        suites,
        "testsuite",
        name=plain(name),
        tests=str(len(ran)),
        failures=str(failures),
        errors="0",
        skipped="0",
        time=seconds,
    )


def _case(suite: Element, of: str, name: str, seconds: float) -> Element:
    # XML has no characters for most control characters, escaped or not.
    return SubElement(suite, "testcase", classname=plain(of), name=plain(name), time=f"{seconds:.6f}")


def _fail(case: Element, lines: Sequence[str]) -> None:
    SubElement(case, "failure", message=lines[0]).text = "\n".join(lines)
