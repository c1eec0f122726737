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

EVER_MORE_SELDOM = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2,
    maximum_interval=timedelta(minutes=10),
)
"""For what may take days, and is repeated only in case it was lost."""

ONCE = RetryPolicy(maximum_attempts=1)
"""For a short cut that is followed by the long way."""

EVERY_SECOND = RetryPolicy(initial_interval=timedelta(seconds=1), backoff_coefficient=1)
"""For what must follow within two seconds once it can be done, however long that takes."""
