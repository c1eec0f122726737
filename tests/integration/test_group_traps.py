"""The client's traps that concern the group: who is a member, what is fetched, whose commit counts.

Each trap of aiokafka 0.14 that was seen or read in its source, and the test that holds it closed;
a name without a file is here.

 1 an idempotent producer is dead after one refused record
     test_client_traps: a_record_that_the_broker_refuses_does_not_end_the_producer
 2 commit never returns while the broker is away
     test_client_traps: no_call_hangs_while_the_broker_is_away_and_all_work_when_it_is_back
 3 stop hangs, or raises CancelledError, while the broker is away
     test_client_traps: stopping_is_bounded_while_the_broker_is_away
 4 a send never expires
     test_client_traps: no_call_hangs_while_the_broker_is_away_and_all_work_when_it_is_back
 5 a poll that raised or was cancelled hides for ever that nobody polls
     who_polls_no_more_leaves_the_group_also_after_an_error
 6 a deserializer that raises loops on its record
     any_bytes_come_as_they_are
 7 pause and resume fetch the same records again
     a_partition_without_room_is_not_fetched_again
 8 each assignor costs a rebalance at every join
     test_client_traps: joining_costs_one_rebalance
     letting_go_may_take_longer_than_the_session
 9 a poll does not return before the end of a rebalance
     letting_go_may_take_longer_than_the_session
     stopping_does_not_wait_for_a_rebalance
10 who lets go for longer than the session is put out of the group
     letting_go_may_take_longer_than_the_session
11 heartbeats share the event loop
     test_blocked_loop
12 where nothing is committed, or it has expired, the client moves by itself, to the end
     test_client_traps: a_new_group_begins_at_the_beginning
     test_client_traps: records_that_expired_stop_their_partition_and_no_other
13 a record larger than a fetch is skipped
     test_client_traps: a_value_larger_than_one_fetch_is_read
14 a commit is tried again with the generation of then, and moves the offset of another member
     a_commit_from_before_a_rebalance_does_not_move_the_offset_of_another_member
15 the client stands still after an outage
     test_client_traps: no_call_hangs_while_the_broker_is_away_and_all_work_when_it_is_back
     test_outages: a_killed_broker_is_waited_for_without_a_restart
16 every failure to connect is one and the same error
     test_refusals and test_rights
17 a topic that is missing, and rights that lack, come as errors of the first poll
     test_refusals and test_rights
18 a header name that is not UTF-8 stops its partition
     test_bad_records: a_header_name_that_the_client_cannot_read_stops_that_partition_only
"""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.structs import OffsetAndMetadata

from service.kafka import source as source_module
from service.kafka.record import Commit, Partition
from service.local import LocalTemporal
from service.wiring import Roles
from tests.conftest import NewTopic
from tests.integration.service import site
from tests.integration.test_client_traps import BOUNDED, Member, joined, write, writing

SESSION_SECONDS = 1.5
SILENCE_SECONDS = 1.0

Members = Callable[[str], Awaitable[list[str]]]


@pytest.fixture
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client as the source makes it, with times that a test can wait for."""
    short = {
        "heartbeat_interval_ms": 200,
        "session_timeout_ms": int(SESSION_SECONDS * 1000),
        "max_poll_interval_ms": int(SILENCE_SECONDS * 1000),
    }

    def make(**options: Any) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(**options | short)

    monkeypatch.setattr("service.kafka.connection.AIOKafkaConsumer", make)


@pytest.fixture
async def members(kafka: str) -> AsyncIterator[Members]:
    """The ids of a group's members, as the broker tells them."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()

    async def ids(group: str) -> list[str]:
        (answer,) = await admin.describe_consumer_groups([group])
        _, _, _, _, _, found, *_ = answer.groups[0]
        return [member[0] for member in found]

    yield ids
    await admin.close()


class Busy(Member):
    """Polls all the time, as the intake does, and may take its time to let partitions go."""

    takes_seconds = 0.0
    let_go = 0
    polls = 0

    async def _revoked(self, partitions: frozenset[Partition]) -> None:
        await asyncio.sleep(self.takes_seconds)
        self.let_go += len(partitions)
        await super()._revoked(partitions)

    async def keep_polling(self) -> None:
        while True:
            await self.source.poll(list(self.held), 100)
            self.polls += 1


@asynccontextmanager
async def polling(member: Busy) -> AsyncIterator[None]:
    await member.source.start()
    task = asyncio.create_task(member.keep_polling())
    try:
        yield
    finally:
        task.cancel()
        async with asyncio.timeout(BOUNDED):
            await member.source.stop()


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(BOUNDED):
        while not holds():  # noqa: ASYNC110 - the client has no event of ours
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("error", [False, True])
async def test_who_polls_no_more_leaves_the_group_also_after_an_error(
    kafka: str, new_topic: NewTopic, short_times: None, members: Members, *, error: bool
) -> None:
    topic = await new_topic(partitions=1)
    await write(kafka, topic, 1)
    async with joined(kafka, topic) as member:
        await member.read(1)
        if error:
            member.source._consumer.seek(TopicPartition(topic, 0), 7)  # noqa: SLF001
            async with asyncio.timeout(BOUNDED):
                while not member.source.stopped:
                    await member.source.poll(list(member.held), 1)
        assert len(await members(member.group)) == 1
        async with asyncio.timeout(BOUNDED):
            while await members(member.group):  # noqa: ASYNC110 - only the broker knows
                await asyncio.sleep(0.05)


async def test_any_bytes_come_as_they_are(kafka: str, new_topic: NewTopic) -> None:
    topic = await new_topic(partitions=1)
    values = [b"", b"\xff\xfe", b"\0" * 5, None, b'{"a":', os.urandom(1000)]
    async with writing(kafka) as sink:
        for value in values:
            await sink.send(topic, key=value, value=value, headers=(("a", value), ("a", None)))
    async with joined(kafka, topic) as member:
        read = await member.read(len(values))
    assert [(record.key, record.value) for record in read] == [(value, value) for value in values]
    assert [record.headers for record in read] == [(("a", value), ("a", None)) for value in values]


async def test_a_partition_without_room_is_not_fetched_again(kafka: str, new_topic: NewTopic) -> None:
    topic = await new_topic(partitions=2)
    now_and_then, busy = Partition(topic, 0), Partition(topic, 1)
    await write(kafka, topic, 20, now_and_then.number)
    async with joined(kafka, topic) as member:
        fetches = _count_fetches(member)
        await until_held(member, 2)
        for n in range(20):
            assert await _offsets(member, now_and_then, limit=1) == [n]
            await write(kafka, topic, 1, busy.number)
            assert await _offsets(member, busy) == [n]
    assert fetches[now_and_then] == 1


async def until_held(member: Member, count: int) -> None:
    async with asyncio.timeout(BOUNDED):
        while len(member.held) < count:
            await member.source.poll([], 1)


async def _offsets(member: Member, place: Partition, limit: int = 100) -> list[int]:
    """Of the next records of `place`."""
    async with asyncio.timeout(BOUNDED):
        while not (records := await member.source.poll([place], limit)):
            pass
    assert {record.place for record in records} == {place}
    return [record.offset for record in records]


def _count_fetches(member: Member) -> Counter[Partition]:
    """How often each partition is asked for more."""
    fetches: Counter[Partition] = Counter()
    client = member.source._consumer._client  # noqa: SLF001
    send = client.send

    async def counting(node: int, request: Any, **how: Any) -> Any:
        if isinstance(request, FetchRequest):
            fetches.update(Partition(topic, one[0]) for topic, of_topic in request.topics for one in of_topic)
        return await send(node, request, **how)

    client.send = counting
    return fetches


async def test_letting_go_may_take_longer_than_the_session(
    kafka: str, new_topic: NewTopic, short_times: None, members: Members
) -> None:
    topic = await new_topic(partitions=2)
    one = Busy(kafka, topic)
    other = Busy(kafka, topic, one.group)
    async with polling(one):
        await until(lambda: len(one.held) == 2)
        (id_,) = await members(one.group)
        one.takes_seconds = 2 * SESSION_SECONDS
        async with polling(other):
            await until(lambda: one.let_go)
            # No poll came back meanwhile: that it is alive, its heartbeats alone have told.
            before = one.polls
            assert id_ in await members(one.group)
            await until(lambda: len(one.held) == len(other.held) == 1)
            await until(lambda: one.polls > before)
            assert id_ in await members(one.group)
            assert (one.let_go, one.source._consumer._coordinator.generation) == (2, 2)  # noqa: SLF001
            one.takes_seconds = 0


async def test_a_commit_from_before_a_rebalance_does_not_move_the_offset_of_another_member(
    kafka: str, new_topic: NewTopic, short_times: None
) -> None:
    topic = await new_topic(partitions=2)
    one = Busy(kafka, topic)
    other = Busy(kafka, topic, one.group)
    async with polling(one):
        await until(lambda: len(one.held) == 2)
        coordinator = one.source._consumer._coordinator  # noqa: SLF001
        attempt, rebalanced = coordinator._do_commit_offsets, asyncio.Event()  # noqa: SLF001

        async def answered_late(*_: object) -> None:
            coordinator._do_commit_offsets = attempt  # noqa: SLF001
            await rebalanced.wait()
            raise GroupCoordinatorNotAvailableError  # to be tried again, thinks the client

        coordinator._do_commit_offsets = answered_late  # noqa: SLF001
        late = asyncio.create_task(one.source.commit(dict.fromkeys(one.held, Commit(1))))
        async with polling(other):
            await until(lambda: len(one.held) == len(other.held) == 1)
            (place,) = other.held
            assert await other.source.commit({place: Commit(9)})
            rebalanced.set()
            assert not await late
            there = TopicPartition(*place)
            found = await coordinator.fetch_committed_offsets([there])
            assert found == {there: OffsetAndMetadata(9, "")}


ROUTES = """
version: 1
topics:
  @in: {}
routes:
  - name: keep
    from: @in
    start: {workflow: Keep, id: "@id/${data.id}", task_queue: @queue, input: "${data}"}
"""


async def test_stopping_does_not_wait_for_a_rebalance(
    kafka: str, temporal: LocalTemporal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "CALL_SECONDS", 1.0)
    async with site(kafka, temporal.address, tmp_path, ROUTES, topics=["in"]) as here:
        await _leave_a_member_that_does_not_come_back(kafka, here.topics["in"], here.group)
        async with asyncio.timeout(BOUNDED), here.running(Roles(bridge=True, worker=False)):

            async def is_joining() -> bool:
                (answer,) = await here.admin.describe_consumer_groups([here.group])
                _, _, state, *_ = answer.groups[0]
                return bool(state == "PreparingRebalance")

            await here.until(is_joining)


async def _leave_a_member_that_does_not_come_back(kafka: str, topic: str, group: str) -> None:
    """The group then waits for it, as for one that was killed, until its session is over."""
    member = AIOKafkaConsumer(
        topic, bootstrap_servers=kafka, group_id=group, group_instance_id="gone", session_timeout_ms=40_000
    )
    await member.start()
    await member.stop()
