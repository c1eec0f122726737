"""Names in routes that are close to those of known workflows and signals: most likely slips."""

import difflib
from collections.abc import Collection, Iterator, Sequence

from service.dispatch.contracts import Contracts
from service.errors import Finding
from service.expressions import ROUTE_VARIABLES, MistakesError, Template
from service.routing.entries import Entry, starts_of
from service.routing.lint import Doubter


def near_names(contracts: Contracts) -> Doubter:
    """Doubts names that are close to known ones; only warns, since others may have workflows of that name."""

    def doubter(routes: Sequence[Entry]) -> Iterator[Finding]:
        for route in routes:
            for start in starts_of(route):
                yield from _near("workflow", start, "workflow", contracts.workflow_names)
            signal = route.below("signal")
            if signal and not signal.below("or_start"):  # whose workflow is judged, or says nothing
                yield from _near("signal", signal, "name", contracts.signal_names)

    return doubter


def _near(what: str, entry: Entry, key: str, known: Collection[str]) -> Iterator[Finding]:
    name = _literal(entry.text(key))
    if name and name not in known and (close := difflib.get_close_matches(name, known, 1, cutoff=0.8)):
        problem = f"'{name}' is no {what} that is known"
        yield entry.at_value("TR406", key, problem, f"did you mean {close[0]}?")


def _literal(text: str | None) -> str | None:
    try:
        return Template.parse(text, ROUTE_VARIABLES).literal if text else None
    except MistakesError:
        return None
