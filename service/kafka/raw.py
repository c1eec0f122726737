"""Reading what the client library refuses to: records with a header whose name is not UTF-8.

aiokafka raises on one, and with it on all that lies behind it in the same batch. Source: the record batch of
version 2 in Kafka's protocol guide (kafka.apache.org, "Record Batch"), the only one that has headers.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, LeaderNotAvailableError, for_code
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.util import decode_varint

from service.kafka.record import Headers, Partition, Record

READ_COMMITTED = 1
WAIT_MS = 500
MOST_BYTES = 1 << 20
"""Of an answer; a batch that is larger comes all the same."""

MENDED = "turnout-unreadable-names"
"""The header that says which headers, counted from 0, had a name that was not UTF-8 and was made readable."""


class Batch(NamedTuple):
    """The records of one batch from some offset on, the offset after it, and which the client refuses."""

    records: list[Record]
    next_offset: int
    unreadable: frozenset[int] = frozenset()


async def read_batch(client: AIOKafkaClient, partition: Partition, offset: int) -> Batch:
    """The batch that `offset` lies in, from there on; without records, if its transaction was aborted.

    Not bounded in time. `offset` must be in the topic.

    Raises:
        KafkaError: It cannot be had now.
    """
    node = client.cluster.leader_for_partition(TopicPartition(*partition))
    if node in (None, -1):
        raise LeaderNotAvailableError
    wanted = [(partition.topic, [(partition.number, offset, MOST_BYTES)])]
    answer = await client.send(node, FetchRequest(WAIT_MS, 1, MOST_BYTES, READ_COMMITTED, wanted))
    (_, ((_, code, _, *rest),)) = answer.topics[0]
    if code:
        error: KafkaError = for_code(code)()
        raise error
    # Where the answer tells of aborted transactions depends on its version; the bytes come last.
    aborted = (rest[2] if answer.API_VERSION >= 11 else rest[-2]) or []
    return records_in(rest[-1], partition, offset, aborted)


def records_in(
    raw: bytes, partition: Partition, offset: int, aborted: Sequence[tuple[int, int]] = ()
) -> Batch:
    """The first batch in `raw`; nothing, if not even one is there whole.

    Args:
        raw: What a broker answered to a fetch at `offset`.
        partition: Where it lies.
        offset: Records before it are left out.
        aborted: Aborted transactions: their producers, and where each begins.
    """
    length = 12 + int.from_bytes(raw[8:12], "big")
    if len(raw) < max(length, 12):
        return Batch([], offset)
    batch = _DefaultRecordBatchPy(raw[:length])
    is_aborted = batch.is_transactional and any(
        producer == batch.producer_id and begins <= batch.base_offset for producer, begins in aborted
    )
    if batch.is_control_batch or is_aborted:
        return Batch([], batch.next_offset)
    batch._maybe_uncompress()  # noqa: SLF001 - all but the reading of records is the client's
    found = [
        (record, is_mended) for record, is_mended in _records(batch, partition) if record.offset >= offset
    ]
    unreadable = frozenset(record.offset for record, is_mended in found if is_mended)
    return Batch([record for record, _ in found], batch.next_offset, unreadable)


def _records(batch: _DefaultRecordBatchPy, partition: Partition) -> Iterator[tuple[Record, bool]]:
    """Each, and whether names of its headers had to be made readable."""
    body = _Body(bytes(batch._buffer), batch._pos)  # noqa: SLF001
    for _ in range(batch._num_records):  # noqa: SLF001
        body.number()  # its length
        body.number()  # attributes, of which there are none
        after, delta = body.number(), body.number()
        timestamp = batch.max_timestamp if batch.timestamp_type else batch.first_timestamp + after
        key, value = body.bytes(), body.bytes()
        raw = [(body.bytes() or b"", body.bytes()) for _ in range(body.number())]
        headers = _readable(raw)
        record = Record(*partition, batch.base_offset + delta, key, value, headers, timestamp)
        yield record, len(headers) > len(raw)


class _Body:
    """The uncompressed records of a batch, read from front to back."""

    def __init__(self, raw: bytes, position: int) -> None:
        self._raw = raw
        self._position = position

    def number(self) -> int:
        number, self._position = decode_varint(self._raw, self._position)
        return int(number)

    def bytes(self) -> bytes | None:
        length = self.number()
        if length < 0:
            return None
        start, self._position = self._position, self._position + length
        return self._raw[start : self._position]


def _readable(raw: list[tuple[bytes, bytes | None]]) -> Headers:
    headers = tuple((name.decode(errors="backslashreplace"), value) for name, value in raw)
    mended = [str(place) for place, (name, _) in enumerate(raw) if headers[place][0].encode() != name]
    return (*headers, (MENDED, ",".join(mended).encode())) if mended else headers
