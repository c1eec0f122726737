"""Letters: records, or one route's part of them, given up on with the reason; written, and read back.

A letter is the record, key, value and headers byte for byte, and behind its headers the reason: in the words
of Apache Kafka (`__dlq.errors.`, KIP-1191) and of Spring (`kafka_dlt-`), which other tools read, and in ours.
The last header says how many come before the reason, so the record is got back whatever its own headers are.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from service.cutting import cut
from service.errors import Answered, NotNow, RecordError
from service.kafka.record import Headers, Record, RecordSink, RecordTooLarge, Redelivery, Written
from workflows.topics import LETTERS

REASON_BYTES = 1024
DETAIL_BYTES = 256
HEADROOM_BYTES = 65_536
"""What a letter may be larger than its record; the letter topic must leave that much room."""

END = "turnout-letter"
VERSION = "1"
"""The last header: this version, and the number of the record's own headers."""


def letter_topic(group: str) -> str:
    """The topic that holds the letters of consumer group `group`."""
    return f"{group}{LETTERS}"


def letter_group(group: str) -> str:
    """The group whose finished offsets are the letters that were sent again or discarded."""
    return f"{group}.letters"


DEFAULT_MAX_MESSAGE_BYTES = 1_048_588
"""What a topic takes where nobody said otherwise (`message.max.bytes`)."""


def letter_topic_settings(largest_record_bytes: int = DEFAULT_MAX_MESSAGE_BYTES) -> dict[str, str]:
    """Settings with which a letter topic takes the letter of a record of that size."""
    return {"cleanup.policy": "delete", "max.message.bytes": str(largest_record_bytes + HEADROOM_BYTES)}


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What is known of a record besides itself where it is given up on; empty where it is not.

    `route` is empty when no route ran: then all of them are to run when it is sent again.
    """

    route: str = ""
    event_type: str = ""
    workflow_id: str = ""
    workflow_url: str = ""


UNKNOWN = About()


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A letter as it was read back.

    `record` is the one given up on, as it was delivered. `sends` counts how often it was sent again before
    this letter was written; `first_failed_at` is kept from letter to letter.
    """

    record: Record
    about: About
    stage: str
    error: str
    retriable: bool
    reason: str
    position: str
    first_failed_at: datetime
    failed_at: datetime
    sends: int

    def again(self) -> Record:
        """The record, as it is handled when this letter is sent."""
        redelivery = Redelivery(
            route=self.about.route, sends=self.sends + 1, first_failed_at=self.first_failed_at
        )
        return replace(self.record, redelivery=redelivery)


class Letters:
    """Writes letters to the letter topic of `group`.

    Args:
        sink: Where to.
        group: The consumer group that gives up.
    """

    def __init__(self, sink: RecordSink, group: str) -> None:
        self._sink = sink
        self._group = group
        self._topic = letter_topic(group)

    async def write(self, record: Record, error: RecordError, about: About = UNKNOWN) -> Written:
        """Keep `record` byte for byte, with the reason in headers behind its own.

        Of one that was sent again, the letter before keeps its route and when it failed at first.
        Written with the time of now: a letter with the record's own timestamp would be deleted at
        once where that is older than the topic's retention. All letters of a partition lie in one.

        Raises:
            NotNow: The topic cannot be written to; nothing is lost as long as nothing is committed.
        """
        headers = (*record.headers, *self._reasons(record, error, about))
        try:
            return await self._sink.send(
                self._topic, key=record.key, value=record.value, headers=headers, spread=record.partition
            )
        except RecordTooLarge as refused:
            # Waits, since a larger max.message.bytes on the topic heals it.
            why = f"the letter does not fit: {refused}; raise its max.message.bytes"
            raise NotNow(why, of=Answered.KAFKA) from refused

    def _reasons(self, record: Record, error: RecordError, about: About) -> Headers:
        reason, name, again = _reason(error), type(error).__name__, record.redelivery
        now = datetime.now(UTC)
        sends = again.sends if again else 0
        route = about.route or (again.route if again else "")
        texts = {
            "__dlq.errors.topic": record.topic,
            "__dlq.errors.partition": str(record.partition),
            "__dlq.errors.offset": str(record.offset),
            "__dlq.errors.group": self._group,
            "__dlq.errors.delivery.count": str(sends + 1),
            "__dlq.errors.message": reason,
            "kafka_dlt-original-topic": record.topic,
            "kafka_dlt-original-consumer-group": self._group,
            "kafka_dlt-exception-fqcn": name,
            "kafka_dlt-exception-message": reason,
            "x-original-topic": record.topic,
            "turnout-stage": error.stage.value,
            "turnout-route": route,
            "turnout-error": name,
            "turnout-error-class": "retriable" if error.retriable else "fatal",
            "turnout-position": cut(error.position, DETAIL_BYTES),
            "turnout-event-type": cut(about.event_type, DETAIL_BYTES),
            "turnout-workflow-id": about.workflow_id,
            "turnout-workflow-url": cut(about.workflow_url, REASON_BYTES),
            "turnout-sends": str(sends),
            "turnout-first-failed-at": _moment(again.first_failed_at if again else now),
            "turnout-failed-at": _moment(now),
        }
        numbers = {
            # Spring's tools read these in binary form.
            "kafka_dlt-original-partition": record.partition.to_bytes(4, "big"),
            "kafka_dlt-original-offset": record.offset.to_bytes(8, "big"),
            "kafka_dlt-original-timestamp": record.timestamp_ms.to_bytes(8, "big", signed=True),
        }
        end = (END, f"{VERSION} {len(record.headers)}".encode())
        return (*((k, v.encode()) for k, v in texts.items()), *numbers.items(), end)


def read_letter(written: Record) -> Letter | None:
    """The letter in a record of a letter topic; None where it is none of ours, whatever it holds."""
    try:
        own, reasons = _apart(written.headers)
        texts = {name: value.decode(errors="replace") for name, value in reasons.items()}
        return Letter(
            record=Record(
                texts["__dlq.errors.topic"],
                _number(texts["__dlq.errors.partition"], 1 << 31),
                _number(texts["__dlq.errors.offset"], 1 << 63),
                written.key,
                written.value,
                own,
                _timestamp(reasons["kafka_dlt-original-timestamp"]),
            ),
            about=About(
                route=texts["turnout-route"],
                event_type=texts["turnout-event-type"],
                workflow_id=texts["turnout-workflow-id"],
                workflow_url=texts["turnout-workflow-url"],
            ),
            stage=texts["turnout-stage"],
            error=texts["turnout-error"],
            retriable=texts["turnout-error-class"] == "retriable",
            reason=texts["__dlq.errors.message"],
            position=texts["turnout-position"],
            first_failed_at=_as_moment(texts["turnout-first-failed-at"]),
            failed_at=_as_moment(texts["turnout-failed-at"]),
            sends=_number(texts["turnout-sends"], 1 << 31),
        )
    except (LookupError, ValueError):
        return None


def _apart(headers: Headers) -> tuple[Headers, dict[str, bytes]]:
    """The record's own headers and the reason; LookupError or ValueError where there is none of ours."""
    # The last one: a record may be a letter of another group, and tools may add headers behind.
    end = max(place for place, (name, _) in enumerate(headers) if name == END)
    version, own = (headers[end][1] or b"").decode().split(" ")
    if version != VERSION:
        raise ValueError(version)
    count = _number(own, end + 1)
    return headers[:count], {name: value or b"" for name, value in headers[count:end]}


def _reason(error: RecordError) -> str:
    """What is wrong and its cure; where both are too long, the cure is kept as far as it goes."""
    cure = cut(f"; {error.cure}" if error.cure else "", REASON_BYTES // 2)
    return cut(error.reason, REASON_BYTES - len(cure.encode())) + cure


def _moment(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds")


def _number(text: str, end: int) -> int:
    number = int(text)
    if not 0 <= number < end:
        raise ValueError(text)
    return number


def _timestamp(raw: bytes) -> int:
    if len(raw) != 8:
        raise ValueError(raw)
    return int.from_bytes(raw, "big", signed=True)


def _as_moment(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(text)
    try:
        return time.astimezone(UTC)
    except OverflowError as error:  # the first or last day that there is, in another time zone
        raise ValueError(text) from error
