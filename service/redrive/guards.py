"""What keeps a letter from being sent again: it came back too often, or Temporal may have forgotten it."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from service.failures.letters import Letter

MOST_SENDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Guards:
    """The rules, and which of them a person has lifted.

    Args:
        retention: For how long Temporal remembers what it did, of all namespaces that commands may go to.
        now: The time that ages are told by.
        accept_repeats: Whether what is older may be sent.
        insist: Whether what came back `MOST_SENDS` times may be sent.
    """

    retention: timedelta
    now: datetime
    accept_repeats: bool = False
    insist: bool = False

    def obstacle(self, letter: Letter) -> str:
        """Why `letter` is not to be sent, with the cure; `""` if it is."""
        if letter.sends >= MOST_SENDS and not self.insist:
            return (
                f"it came back {letter.sends} times after being sent; mend what its reason names, then "
                "send it with --insist, or discard it"
            )
        age = self.now - _happened_at(letter)
        if age > self.retention and not self.accept_repeats:
            return (
                f"its record is {in_days(age)} days old, and Temporal remembers {in_days(self.retention)} "
                "days: if it took effect then, it would again; send it with --accept-repeats, or discard it"
            )
        return ""


def in_days(span: timedelta) -> str:
    """A span as a number of days."""
    days = span / timedelta(days=1)
    return f"{days:.3g}" if days < 100 else f"{days:.0f}"


def _happened_at(letter: Letter) -> datetime:
    """The time of its record; where that is none, or in the future, of the first failure."""
    try:
        written = datetime.fromtimestamp(letter.record.timestamp_ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return letter.first_failed_at
    return min(written, letter.first_failed_at)
