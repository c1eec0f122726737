"""Retry policies: what comes of them by the rules of Temporal's server."""

from datetime import timedelta

import pytest
from temporalio.common import RetryPolicy

from activities.policies import ever_more_seldom


def ends(limit: timedelta, attempt: timedelta, policy: RetryPolicy) -> timedelta:
    """When an activity that nobody completes ends: a next attempt that would begin too late is none."""
    at, wait = timedelta(), policy.initial_interval
    while True:
        at = min(at + attempt, limit)
        if at + wait >= limit:
            return at
        assert policy.maximum_interval
        at, wait = at + wait, min(wait * policy.backoff_coefficient, policy.maximum_interval)


@pytest.mark.parametrize("minutes", [2, 5, 10, 15, 20, 27, 30, 60, 24 * 60, 30 * 24 * 60])
def test_what_is_waited_for_long_is_waited_for_nearly_to_the_end(minutes: int) -> None:
    limit = timedelta(minutes=minutes)
    early = limit - ends(limit, timedelta(minutes=1), ever_more_seldom(limit))
    assert early <= max(limit / 100, timedelta(seconds=2))
