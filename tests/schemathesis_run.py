"""Runs schemathesis: `python -m tests.schemathesis_run run ADDRESS …`, with what is pinned beside it.

Version 4.24 and what it rests on want parts of hypothesis and jsonschema-rs that the pinned ones no longer
have. Both are made up for here; each does nothing once it is not needed.
"""

from typing import Any

import jsonschema_rs
from hypothesis.internal.conjecture import utils
from schemathesis.cli import schemathesis
from schemathesis.specs.openapi import _hypothesis

NO_MORE = object()


def _more(many: Any) -> bool:
    """`many.more()`, which hypothesis had before 6.170, by the loop that it has instead."""
    if many._depth is None:  # noqa: SLF001 - it is told so by its own `with`
        many.__enter__()
        many.elements = iter(many)
    return next(many.elements, NO_MORE) is not NO_MORE


def _none(*_: object) -> None:
    """The answer by which schemathesis takes its other way from a schema to examples."""


if __name__ == "__main__":
    if not hasattr(utils.many, "more"):
        utils.many.more = _more  # type: ignore[attr-defined]
    if not hasattr(jsonschema_rs.CanonicalSchema, "is_satisfiable"):
        _hypothesis._canonical_strategy_or_none = _none  # type: ignore[assignment]  # noqa: SLF001
    schemathesis()
