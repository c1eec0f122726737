"""What activities need from the service, without importing it."""

from datetime import datetime, timedelta
from typing import Protocol

from pydantic import BaseModel, ConfigDict, JsonValue

from activities.parked import KeptRecord, ParkedCommand


class ResultEvent(BaseModel):
    """A result event, whole before its first attempt, so that each attempt publishes the same.

    `id` was chosen in the workflow. `time` is RFC 3339. `headers` are text headers beyond the
    CloudEvents attributes (correlation, causation, trace context). `tried_since` is set where an earlier
    attempt may have written it already: not before that time.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    topic: str
    id: str
    source: str
    type: str
    subject: str
    time: str
    data: JsonValue
    headers: dict[str, str] = {}
    tried_since: datetime | None = None


class Published(BaseModel):
    """Where a result event lies."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    topic: str
    partition: int
    offset: int


class ResultPublisher(Protocol):
    """Writes result events to Kafka.

    Suspends until the record is acknowledged by all in-sync replicas. May be repeated: where the event
    says that it was tried before, its record is looked for first, and is not written again if it is there.
    What is not found may be written twice, with the same id, which subscribers drop. After it raised, the
    record may or may not be in the log.
    """

    async def publish(self, event: ResultEvent) -> Published:
        """Write `event`, unless it is written, and say where it lies.

        Raises:
            ValueError: It can never be a CloudEvent; nothing was written.
        """
        ...


class Refused(BaseModel):
    """One event of a parked command that is given up on: which of them, the error's name, and why."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    event: int
    error: str
    reason: str
    rule: str = ""


class ParkedLetter(BaseModel):
    """A letter to be made of one record of a parked command."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    record: KeptRecord
    route: str
    workflow_id: str
    error: str
    reason: str
    event_type: str = ""
    namespace: str | None = None
    rule: str = ""


class Swept(BaseModel):
    """How far a sweep came: all that closed before `until` is told of.

    The next one is due after `again_in`; None: there is to be none.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    until: datetime
    again_in: timedelta | None


class NotYet(Exception):  # noqa: N818 - a state of the target, not a fault
    """It cannot be done now; the text says what was answered."""


class Deliveries(Protocol):
    """Takes what parks hold to where it belongs: to its target, or among the letters.

    Suspends for seconds at most. Both may be repeated: a command takes effect once, since its ids are
    its own; a letter may then be there twice.
    """

    async def deliver(self, command: ParkedCommand, waited: timedelta) -> list[Refused]:
        """Make the call that `command` stands for, after it was parked for as long as `waited`.

        Returns what of it is given up on, because it can never be accepted or has waited too long.

        Raises:
            NotYet: Its target cannot take it now, or Temporal not answer.
        """
        ...

    async def write_letter(self, letter: ParkedLetter) -> None:
        """Keep the record among the letters.

        Raises:
            NotYet: The letter topic cannot be written to now.
        """
        ...


class ClosingSweeper(Protocol):
    """Tells topics how workflows ended that closed without anybody telling them.

    May be repeated: what was told already is not told again, or with the same id.
    """

    async def sweep(self, since: datetime, now: datetime) -> Swept:
        """Tell of all that closed at `since` or later, and say how far that is; `now` is by Temporal's clock.

        Raises:
            NotYet: Kafka or Temporal does not answer; nothing before `since` is affected.
        """
        ...
