"""What activities need from the service, without importing it."""

from typing import Protocol

from pydantic import BaseModel, ConfigDict, JsonValue


class ResultEvent(BaseModel):
    """A result event, whole before its first attempt, so that each attempt publishes the same.

    `id` was chosen in the workflow. `time` is RFC 3339. `headers` are text headers beyond the
    CloudEvents attributes (correlation, causation, trace context).
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


class Published(BaseModel):
    """Where a result event lies."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    topic: str
    partition: int
    offset: int


class ResultPublisher(Protocol):
    """Writes result events to Kafka.

    Suspends until the record is acknowledged by all in-sync replicas. May be repeated: a repeat
    writes another record with the same id, which subscribers drop. After it raised, the record
    may or may not be in the log.
    """

    async def publish(self, event: ResultEvent) -> Published:
        """Write `event` and say where it lies.

        Raises:
            ValueError: It can never be a CloudEvent; nothing was written.
        """
        ...
