"""Counts what became of commands."""

from service.dispatch.answers import Outcome, OutcomeKind
from service.telemetry.metrics import Metrics


def count(outcome: Outcome, metrics: Metrics) -> None:
    """Count `outcome` by route and kind, and of what was skipped or done before also why."""
    metrics.outcome(outcome.route, outcome.kind.value, outcome.rule)
    if outcome.kind is OutcomeKind.SKIPPED:
        metrics.skipped(outcome.route, outcome.skip.value if outcome.skip else outcome.rule)
    elif outcome.kind is OutcomeKind.DUPLICATE:
        metrics.duplicate(outcome.route, "other-record" if outcome.of_other else "same-record")
