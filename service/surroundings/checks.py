"""What `turnout doctor` looks for: a stable code for each kind of finding, for people to look up."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """What comes of a finding."""

    ERROR = "error"
    """The service does not start, cannot work, or loses something."""
    WARNING = "warning"
    """It works, and one day will not, or costs more than it must."""
    NOTE = "note"
    """Good to know; it is no reason to exit with 1."""


@dataclass(frozen=True, slots=True)
class Check:
    """A kind of finding.

    Attributes:
        severity: What comes of it.
        about: Completes "it is found that …".
        meaning: What that does to the service.
        live: Whether Kafka, Temporal or the registry have to be asked.
    """

    severity: Severity
    about: str
    meaning: str
    live: bool = True


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be.

    Attributes:
        code: Its kind, one of `CHECKS`.
        thing: What it is about: `topic shop.orders`.
        problem: What is wrong with it.
        cure: What to do; a command where there is one.
    """

    code: str
    thing: str
    problem: str
    cure: str = ""

    @property
    def severity(self) -> Severity:
        """What comes of it."""
        return CHECKS[self.code].severity

    @property
    def meaning(self) -> str:
        """What that does to the service."""
        return CHECKS[self.code].meaning


DOWN = frozenset({"TD201", "TD301", "TD501"})
"""A neighbour is not there: what it would say is not known."""

_E, _W, _N = Severity.ERROR, Severity.WARNING, Severity.NOTE
_NO_START = "it does not start"

# A code is for ever: one that goes is not used again, and what it means does not change.
CHECKS: Mapping[str, Check] = {
    # 1, settings, routes and versions
    "TD101": Check(_E, "a setting is wrong", _NO_START, live=False),
    "TD102": Check(_E, "Temporal's own settings (`TEMPORAL_…`) cannot be used", _NO_START, live=False),
    "TD103": Check(_E, "the routes cannot be used", _NO_START, live=False),
    "TD104": Check(_E, "a package with workflows, or the build that a worker is, is wrong", _NO_START, False),
    "TD105": Check(_E, "a secret or a certificate is missing, or cannot be read", _NO_START, live=False),
    "TD106": Check(_E, "topics need a schema registry that cannot be asked", _NO_START, live=False),
    "TD107": Check(_W, "values may come that Temporal does not take", "they become letters", live=False),
    "TD108": Check(
        _W, "Temporal is to call at an address that only this machine has", "nobody learns of ends", False
    ),
    "TD109": Check(_W, "what goes to Kafka is not encrypted", "whoever is on the way reads it", live=False),
    "TD110": Check(
        _N, "no address of the Temporal UI is set", "lines, letters and parks have no links", False
    ),
    "TD111": Check(_N, "nobody can ask for health or metrics", "nobody is told when it is not well", False),
    "TD112": Check(
        _W, "a library is of a version that this one is not made for", "what is relied on may differ", False
    ),
    "TD113": Check(
        _W, "the session timeout is short", "each pause of the process is a rebalance", live=False
    ),
    # 2, Kafka
    "TD201": Check(_E, "Kafka cannot be asked", "it waits for the start timeout, then ends"),
    "TD202": Check(_E, "a topic is not there", _NO_START),
    "TD203": Check(_E, "a right is missing without which nothing goes", "it does not start, or waits"),
    "TD204": Check(_W, "a right is missing without which something is not done", "it works, and says so"),
    "TD205": Check(_E, "the letter topic loses letters, or takes none", _NO_START),
    "TD206": Check(_W, "the letter topic may lose letters one day", "it works, and says so"),
    "TD207": Check(
        _W,
        "a topic that is read is compacted, and its file does not say what records without value mean",
        "tombstones become letters",
    ),
    "TD208": Check(_W, "a topic for results is compacted", "of the results of one subject one remains"),
    "TD209": Check(_E, "a topic for results can never be written to", "results wait for ever"),
    "TD210": Check(_W, "one broker alone has the records of a topic", "they are lost with it"),
    "TD211": Check(_W, "a broker that lags may lead a topic", "records that were acknowledged may be lost"),
    "TD212": Check(_W, "a topic takes larger values than we do", "these become letters"),
    "TD213": Check(_E, "the brokers do not allow our session timeout", "it cannot join its group"),
    "TD214": Check(
        _W, "the brokers take less with a commit than we may want to say", "more is done again after a crash"
    ),
    "TD215": Check(_N, "the brokers make topics that someone names", "a mistyped name becomes a topic"),
    "TD216": Check(_N, "we may not see how something is set", "that is not judged"),
    "TD217": Check(_N, "the brokers are older than 2.8, or something else", "turnout is not tried with them"),
    "TD218": Check(_N, "a topic has the times at which records came", "`--from` and `--since` go by these"),
    # 3, Temporal
    "TD301": Check(_E, "Temporal cannot be asked", "it waits for the start timeout, then ends"),
    "TD302": Check(_E, "a namespace is not there", _NO_START),
    "TD303": Check(_E, "a search attribute that each start sets is not registered", _NO_START),
    "TD304": Check(_E, "one of these is registered, and is no keyword", _NO_START),
    "TD305": Check(_E, "a search attribute that a route names is not registered", _NO_START),
    "TD306": Check(_E, "workflows cannot be looked for by an attribute of that type", _NO_START),
    "TD307": Check(_W, "no worker asks a task queue that routes start workflows on", "what is started waits"),
    "TD308": Check(_N, "no bridge of the group is at work", "nothing is read, and parks wait"),
    "TD309": Check(_E, "Temporal may not call when workflows close", _NO_START),
    "TD310": Check(_N, "the server is older than those that turnout is tried with", "answers may differ"),
    # 4, what is kept for how long
    "TD401": Check(_W, "a topic forgets within a day", "what comes in a longer outage is lost"),
    "TD402": Check(_W, "a topic forgets when it is full", "what comes in a longer outage is lost"),
    "TD403": Check(
        _W,
        "a topic keeps records for longer than Temporal remembers workflows that closed",
        "what is read again later starts its workflow again",
    ),
    "TD404": Check(
        _W,
        "a topic keeps records for longer than brokers remember what an absent group has done",
        "after so long an absence all is read again",
    ),
    "TD405": Check(
        _N,
        "letters are kept for longer than Temporal remembers workflows that closed",
        "older ones are sent only with `--accept-repeats`",
    ),
    # 5, the registry, and clocks
    "TD501": Check(_E, "the schema registry cannot be asked", "it waits for the start timeout, then ends"),
    "TD502": Check(_E, "what answers is no schema registry, or does not let us in", _NO_START),
    "TD503": Check(_W, "a record was written in the future", "spans of time are judged wrongly"),
    "TD504": Check(_W, "our clock is behind Temporal's", "spans of time are judged wrongly"),
}


def table_of_checks() -> str:
    """All checks as a table in Markdown."""
    return "\n".join(["| code | | it is found that | and so |", "|---|---|---|---|", *_rows()]) + "\n"


def _rows() -> Iterator[str]:
    for code, check in CHECKS.items():
        severity = f"{check.severity}, live" if check.live else check.severity
        yield f"| `{code}` | {severity} | {check.about} | {check.meaning} |"
