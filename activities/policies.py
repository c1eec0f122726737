"""Retry policies and time limits by name, so that every workflow uses the same few."""

from datetime import timedelta

from temporalio.common import RetryPolicy

STANDARD = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2,
    maximum_interval=timedelta(minutes=1),
    maximum_attempts=3,
)
"""The project's default: first retry after 1 s, factor 2, at most 1 min apart, 3 attempts."""

WITHOUT_LIMIT = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2,
    maximum_interval=timedelta(minutes=1),
)
"""For what must happen in the end, like `publish`: the same pace, no limit on attempts."""

ONCE = RetryPolicy(maximum_attempts=1)
"""For a short cut that is followed by the long way."""

EVERY_SECOND = RetryPolicy(initial_interval=timedelta(seconds=1), backoff_coefficient=1)
"""For what must follow within two seconds once it can be done, however long that takes."""


def ever_more_seldom(limit: timedelta) -> RetryPolicy:
    """For what may take as long as `limit`, days even, and is repeated only in case it was lost.

    Temporal ends an activity at once when its limit would fall between two attempts, so the time between
    them is a hundredth of the limit at most.

    Source: nextBackoffInterval in service/history/workflow/retry.go of Temporal's server.
    """
    longest = min(max(limit / 100, timedelta(seconds=1)), timedelta(minutes=10))
    return RetryPolicy(initial_interval=timedelta(seconds=1), backoff_coefficient=2, maximum_interval=longest)
