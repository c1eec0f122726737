"""What is checked of routes: a stable code for each kind of finding, for people to look up and accept."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from service.errors import Finding


class Severity(StrEnum):
    """What comes of a finding: routes with an error cannot be used, those with a warning can."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Check:
    """A kind of finding; `about` completes "it is found that …"."""

    severity: Severity
    about: str


def _error(about: str) -> Check:
    return Check(Severity.ERROR, about)


def _warning(about: str) -> Check:
    return Check(Severity.WARNING, about)


# A code is for ever: one that goes is not used again, and what it means does not change.
CHECKS: Mapping[str, Check] = {
    # 1, the file
    "TR101": _error("a file or folder is not there, cannot be read, is empty or not UTF-8"),
    "TR102": _error("a file is no YAML"),
    "TR103": _error("a value is a YAML tag, mostly an expression that needs quotes"),
    "TR104": _error("YAML aliases are used"),
    "TR105": _error("a key stands twice in one map"),
    "TR106": _error("a key is not text"),
    "TR107": _error("a value cannot be written in JSON: beyond 64 bits, not a number, not text"),
    "TR108": _error("values are nested too deep"),
    # 2, keys and values
    "TR201": _error("a key is not known"),
    "TR202": _error("a key is missing"),
    "TR203": _error("a value is not what its key takes"),
    "TR204": _error("something is used that comes with a later version"),
    "TR205": _error("an expression does not compile: its syntax, its names or its types"),
    "TR206": _error(
        "an expression takes too long, whatever the event: its loops, or the texts that it makes"
    ),
    # 3, what must fit together
    "TR301": _error("a route asks for nothing, or for several things"),
    "TR302": _error("keys exclude or need each other"),
    "TR303": _error("two routes, or two topics, have one name"),
    "TR304": _error("a route reads a topic that is not declared, or one that is only written to"),
    "TR305": _error("no route reads a topic that is declared"),
    "TR306": _error("a key means nothing for the topic that it stands in"),
    "TR307": _error("signals are batched for workers that are not known to have the inbox"),
    "TR308": _error("a namespace is an expression, but nobody said which are allowed"),
    "TR309": _error("there are no routes"),
    "TR310": _error("a topic that is not declared, or one that is read, is to be told how workflows ended"),
    "TR311": _error("a pattern of topics overlaps another, or is to be written to"),
    # 4, what is right by itself, and most likely a mistake
    "TR401": _warning("a `when` can never be true"),
    "TR402": _warning("personal data goes into an id or a search attribute, where everybody sees it"),
    "TR403": _warning("an id says nothing to people"),
    "TR404": _warning("search attributes are over a limit of Temporal's, or of its name"),
    "TR405": _error("the input can never fit the workflow or signal that it is for, or its contract"),
    "TR406": _warning("a workflow or signal has a name that is close to a known one"),
    "TR407": _warning("a lookup names a search attribute that is close to one that a start sets"),
    "TR408": _warning("a lookup is of running workflows alone, so a repeat may reach the next one"),
    "TR409": _warning("a comment accepts what is not found"),
    # 5, what changed, with --against
    "TR501": _warning("a route was renamed, so it acts again on what is delivered again"),
    "TR502": _warning("the id of a route's workflows changed, so those that run are not met any more"),
    "TR503": _warning("what makes an event of a topic a repeat changed"),
    # 6, tests of routes
    "TR601": _error("a test expects nothing, or a file holds no tests"),
    "TR602": _error("a test expects something of a route that is not there"),
    "TR603": _error("the event of a test is none that could come"),
    "TR604": _error("two tests of a file have one name"),
}


def severity_of(finding: Finding) -> Severity:
    """What comes of `finding`."""
    return CHECKS[finding.code].severity
