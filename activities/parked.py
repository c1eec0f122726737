"""What a park holds: finished commands with their records, as plain data that outlives a release.

Histories keep these models for up to 30 days, and in a rolling deployment an older worker reads what a
newer bridge wrote: fields are only ever added, with defaults.
"""

from datetime import datetime, timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from activities.targets import target_of

Rule = Literal["dead-letter", "skip"]


class _Kept(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        # An error of a worker must not tell what a payload holds.
        hide_input_in_errors=True,
        ser_json_bytes="base64",
        val_json_bytes="base64",
    )


class KeptRecord(_Kept):
    """A record byte for byte, so that a letter can be made of it; `timestamp_ms` as in Kafka.

    `sends` and `first_failed_at` are those of the letter it came from, if it was sent again.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    timestamp_ms: int
    sends: int = 0
    first_failed_at: datetime | None = None

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"


class ParkedEvent(_Kept):
    """What a call needs of an event: its key, from which ids are derived, and what people look for.

    `headers` holds the trace context only.
    """

    key: tuple[str | int, ...]
    id: str
    source: str
    type: str
    topic: str
    partition: int
    offset: int
    headers: dict[str, str] = {}


class ParkedOptions(_Kept):
    """How a workflow is started; the fields of `service.routing.commands.StartOptions`."""

    model_config = ConfigDict(from_attributes=True)

    execution_timeout: timedelta | None = None
    run_timeout: timedelta | None = None
    task_timeout: timedelta | None = None
    start_delay: timedelta | None = None
    start_at: datetime | None = None
    search_attributes: dict[str, JsonValue] = {}
    memo: dict[str, JsonValue] = {}
    summary: str | None = None
    priority: int | None = None
    fairness_key: str | None = None
    fairness_weight: float | None = None


class ParkedStart(_Kept):
    """The workflow that a signal starts when there is none."""

    workflow: str
    task_queue: str
    args: tuple[JsonValue, ...]
    options: ParkedOptions


class ParkedCommand(_Kept):
    """A signal or a cancel, whole: delivering it is the same call with the same ids, whenever that is.

    `missing` is the route's rule, or how long the command may be parked for a target that is not
    there. `name`, `args`, `batch` and `or_start` are a signal's, `reason` a cancel's. With `where` the
    workflow is looked for, and has no id yet.
    """

    kind: Literal["signal", "cancel"]
    route: str
    namespace: str | None
    workflow_id: str
    events: tuple[ParkedEvent, ...]
    missing: Rule | timedelta
    closed: Rule
    name: str = ""
    args: tuple[JsonValue, ...] = ()
    batch: bool = False
    or_start: ParkedStart | None = None
    reason: str = ""
    where: dict[str, str] | None = None

    @property
    def target(self) -> str:
        """What it is for: the id of a workflow, or what is looked for."""
        return target_of(self.workflow_id, self.where)

    @property
    def title(self) -> str:
        """What is asked, in a word or two."""
        return f"signal {self.name}" if self.kind == "signal" else "cancel"


class Parked(_Kept):
    """A command in a park, with one record per event.

    `id` is the command's. `answer` says why it was parked, `patience` for how long; both are for
    people to read. `size_bytes` is about what it takes in a history.
    """

    id: str
    command: ParkedCommand
    records: tuple[KeptRecord, ...]
    answer: str
    patience: timedelta
    size_bytes: int = 0
