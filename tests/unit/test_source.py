"""The source, against a fake client that has the traps of the real one."""

import asyncio
import itertools
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    IllegalGenerationError,
    KafkaConnectionError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetMetadataTooLargeError,
    OffsetOutOfRangeError,
    RebalanceInProgressError,
    TopicAuthorizationFailedError,
    UnknownMemberIdError,
    UnknownTopicOrPartitionError,
)
from aiokafka.structs import OffsetAndMetadata
from structlog.testing import capture_logs

from service.errors import Unreachable
from service.kafka import source
from service.kafka.closing import close
from service.kafka.given_up import GivenUp, GiveUp, as_commit
from service.kafka.raw import Batch
from service.kafka.record import Commit, Partition, Record
from service.kafka.source import NOWHERE
from tests.unit.source_world import P0, P1, P2, UNREADABLE, Raw, World, read_batch

POISON = UNREADABLE


def gone(offset: int) -> str:
    """Why P0 stopped."""
    cure = "say where to go on: turnout seek shop.orders/0 --to earliest, or latest, or an offset"
    return f"offset {offset} is no longer in the topic; {cure}"


async def test_offsets_are_never_chosen_or_committed_by_the_client(world: World) -> None:
    assert world.client.options == world.client.options | {
        "enable_auto_commit": False,
        "auto_offset_reset": "none",
        "isolation_level": "read_committed",
        "group_id": "shop",
    }


async def test_records_come_in_order_with_all_that_kafka_says_of_them(world: World) -> None:
    world.holds({P0: 3, P1: 2})
    read = await world.read(P0, P1)
    assert sorted(read) == [(P0, 0), (P0, 1), (P0, 2), (P1, 0), (P1, 1)]
    assert [offset for place, offset in read if place == P0] == [0, 1, 2]
    world.holds({P2: 1})
    (record,) = await world.source.poll([P2], 1)
    assert record == Record("shop.orders", 2, 0, b"A", b"{}", (("a", b"1"), ("a", b"2")), 1_790_000_000_000)


async def test_each_partition_comes_first_in_its_turn_so_that_a_busy_one_leaves_room(world: World) -> None:
    world.holds({P0: 1_000, P1: 1_000, P2: 1_000})
    read = [await world.read(P0, P1, P2, limit=10) for _ in range(6)]
    assert {place for place, _ in itertools.chain(*read)} == {P0, P1, P2}


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 100])
async def test_no_more_records_come_than_there_is_room_for_and_each_comes_once(
    world: World, limit: int
) -> None:
    world.holds({P0: 5, P1: 5})
    read = [await world.read(P0, P1, limit=limit) for _ in range(11)]
    assert all(len(records) <= limit for records in read)
    everything = list(itertools.chain(*read))
    for place in (P0, P1):
        assert [offset for p, offset in everything if p == place] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("places", [(), (P0,)])
async def test_a_partition_that_does_not_exist_is_polled_when_nothing_has_room(
    world: World, places: tuple[Partition, ...]
) -> None:
    world.holds({P0: 5, P1: 5})
    world.client.failure = OffsetOutOfRangeError({TopicPartition(*P0): 7})
    await world.read(P0)
    world.client.failure = None
    world.client.polled.clear()
    assert await world.read(*places) == []
    assert world.client.polled == [(NOWHERE,)]


async def test_partitions_are_only_read_where_there_is_room(world: World) -> None:
    world.holds({P0: 5, P1: 5})
    assert {place for place, _ in await world.read(P1, polls=3)} == {P1}
    assert () not in world.client.polled


@pytest.mark.parametrize("committed", [0, 1, 2])
@pytest.mark.parametrize("when", ["before the answer", "after it"])
async def test_what_was_polled_across_a_rebalance_is_dropped_and_comes_again(
    world: World, committed: int, when: str
) -> None:
    world.holds({P0: 4})
    assert await world.read(P0, limit=2) == [(P0, 0), (P0, 1)]
    world.committed[P0] = Commit(committed, "v1:map")

    async def rebalance() -> None:
        await world.rebalance(P0)
        if when == "after it":
            # The client may answer out of the new assignment before anyone has taken it on.
            world.client.positions[TopicPartition(*P0)] = 4

    world.client.while_polling = rebalance
    assert await world.read(P0) == []
    assert world.taken_on == []
    assert await world.read(P0) == [(P0, offset) for offset in range(committed, 4)]
    assert world.taken_on == [{P0: Commit(committed, "v1:map")}]


async def test_what_was_polled_of_a_partition_that_went_is_dropped(world: World) -> None:
    world.holds({P0: 2})
    world.client.while_polling = world.rebalance
    assert await world.read(P0) == []


async def test_partitions_are_taken_on_only_when_their_offsets_are_known(world: World) -> None:
    world.holds({P0: 2})
    await world.rebalance(P0)
    world.client.failure = KafkaConnectionError("no broker")
    await world.read(polls=3)
    assert world.taken_on == []
    world.client.failure = None
    await world.read()
    assert world.taken_on == [{P0: Commit(0)}]


async def test_partitions_that_went_again_meanwhile_are_not_taken_on(world: World) -> None:
    await world.rebalance(P0)

    world.groups.before_answer = lambda _group: world.rebalance(P1)
    await world.read()
    world.groups.before_answer = lambda _group: None
    await world.read()
    assert world.taken_on == [{P1: Commit(0)}]


async def test_a_partition_that_stopped_is_tried_again_when_it_comes_back(world: World) -> None:
    world.holds({P0: [POISON]})
    await world.read(P0, polls=5)
    assert list(world.source.stopped) == [P0]
    world.holds({P0: 1})
    await world.rebalance(P0)
    assert await world.read(P0, polls=2) == [(P0, 0)]
    assert world.source.stopped == {}


async def test_an_error_while_partitions_go_does_not_reach_the_client(world: World) -> None:
    async def fails(_partitions: frozenset[Partition]) -> None:
        raise ZeroDivisionError

    world.client.listener._revoked = fails  # noqa: SLF001
    await world.client.listener.on_partitions_revoked({TopicPartition(*P0)})


# --- offsets that are not there ---


async def test_a_group_without_an_offset_begins_at_the_beginning_and_commits_that(world: World) -> None:
    world.holds({P0: [NoOffsetForPartitionError(TopicPartition(*P0))]})
    await world.rebalance(P0)
    await world.read(P0)
    assert set(world.client.sought) == {TopicPartition(*P0)}
    assert world.taken_on == [{P0: Commit(0)}]
    assert world.committed == {P0: Commit(0)}
    assert world.source.stopped == {}


async def test_nothing_is_read_before_the_beginning_of_a_new_group_is_committed(world: World) -> None:
    world.holds({P0: 2})
    world.client._coordinator.generation = -1  # noqa: SLF001
    await world.rebalance(P0)
    await world.read(polls=3)
    assert world.taken_on == []
    world.client._coordinator.generation = 2  # noqa: SLF001
    assert await world.read(P0, polls=2) == [(P0, 0), (P0, 1)]


@pytest.mark.parametrize("leader", [-1, None])
async def test_a_new_partition_without_a_leader_does_not_hold_the_others(
    world: World, leader: int | None
) -> None:
    world.holds({P0: 1, P1: 1, P2: 1})
    world.committed[P0] = Commit(0)
    world.client.leaders[TopicPartition(*P2)] = leader
    await world.rebalance(P0, P1, P2)
    assert sorted(await world.read(P0, P1, polls=2)) == [(P0, 0), (P1, 0)]
    assert world.taken_on == [{P0: Commit(0), P1: Commit(0)}]
    world.client.leaders.clear()
    assert await world.read(P0, P1, P2, polls=2) == [(P2, 0)]
    assert world.taken_on[1:] == [{P2: Commit(0)}]


async def test_a_new_partition_whose_first_commit_is_refused_does_not_hold_the_others(world: World) -> None:
    world.holds({P0: 1, P1: 1})
    world.client.refused[TopicPartition(*P1)] = UnknownTopicOrPartitionError()
    await world.rebalance(P0, P1)
    assert await world.read(P0, polls=2) == [(P0, 0)]
    assert world.taken_on == [{P0: Commit(0)}]
    world.client.refused.clear()
    assert await world.read(P0, P1, polls=2) == [(P1, 0)]


@pytest.mark.parametrize("error", [14, 15, 16])
async def test_a_coordinator_that_has_moved_is_not_a_group_without_an_offset(
    world: World, error: int
) -> None:
    # Its answer names no partition; the client takes that for a group that has committed nothing.
    world.holds({P0: 9})
    world.committed[P0] = Commit(7)
    await world.rebalance(P0)
    world.groups.error = error
    await world.read(polls=3)
    assert world.taken_on == []
    world.groups.error = 0
    assert await world.read(P0) == [(P0, 7), (P0, 8)]


async def test_an_offset_that_is_gone_stops_its_partition_alone_and_is_reported(world: World) -> None:
    world.holds({P0: [OffsetOutOfRangeError({TopicPartition(*P0): 7})], P1: 3})
    read = await world.read(P0, P1, polls=3)
    assert read == [(P1, 0), (P1, 1), (P1, 2)]
    assert world.source.stopped == {P0: gone(7)}
    assert world.client.sought == []


# --- records that the client cannot read ---


@pytest.mark.parametrize("before", [0, 1, 2, 7])
@pytest.mark.parametrize("others", [0, 4])
@pytest.mark.parametrize("limit", [3, 100])
async def test_a_record_that_the_client_cannot_read_stops_its_partition_and_no_other(
    world: World, before: int, others: int, limit: int
) -> None:
    world.holds({P0: [*[b""] * before, POISON, b""], P1: others})
    read = await world.read(P0, P1, polls=30, limit=limit)
    assert [offset for place, offset in read if place == P0] == list(range(before))
    assert [offset for place, offset in read if place == P1] == list(range(others))
    assert list(world.source.stopped) == [P0]
    assert world.source.stopped[P0] == (
        f"the client cannot read the record at offset {before}, since the name of a header is not UTF-8; "
        f"give up on it: turnout letters add shop.orders/0/{before} --because …"
    )


async def test_a_partition_that_stopped_is_not_polled_again(world: World) -> None:
    world.holds({P0: [POISON], P1: 3})
    await world.read(P0, P1, polls=10)
    world.client.polled.clear()
    await world.read(P0, P1, polls=3)
    assert set(world.client.polled) == {(TopicPartition(*P1),)}


async def test_an_outage_yields_nothing_and_stops_nothing(world: World) -> None:
    world.holds({P0: 2})
    world.client.failure = KafkaConnectionError("no broker")
    assert await world.read(P0, polls=5) == []
    world.client.failure = None
    assert await world.read(P0) == [(P0, 0), (P0, 1)]
    assert world.source.stopped == {}


# --- commits ---


async def test_offsets_are_committed_as_given(world: World) -> None:
    assert await world.source.commit({P0: Commit(5, "v1:map"), P1: Commit(7)})
    assert world.client.commits == [
        {TopicPartition(*P0): OffsetAndMetadata(5, "v1:map"), TopicPartition(*P1): OffsetAndMetadata(7, "")}
    ]


async def test_nothing_is_committed_by_one_who_is_no_member(world: World) -> None:
    world.client._coordinator.generation = -1  # noqa: SLF001
    assert not await world.source.commit({P0: Commit(5)})
    assert world.client.commits == []


@pytest.mark.parametrize(
    "error",
    [IllegalGenerationError(), UnknownMemberIdError(), RebalanceInProgressError(), KafkaError()],
)
async def test_a_commit_that_fails_says_so(world: World, error: Exception) -> None:
    world.client.failure = error
    assert not await world.source.commit({P0: Commit(5)})
    assert len(world.client.commits) == 1


@pytest.mark.parametrize(
    "error",
    [TopicAuthorizationFailedError(), UnknownTopicOrPartitionError(), OffsetMetadataTooLargeError()],
)
async def test_a_partition_whose_commit_is_refused_does_not_hold_the_others(
    world: World, error: KafkaError
) -> None:
    world.client.refused = {TopicPartition(*P1): error}
    commits = {P0: Commit(5), P1: Commit(7), P2: Commit(9)}
    assert await world.source.commit(commits) == {P0: Commit(5), P2: Commit(9)}


async def test_who_is_no_member_any_more_when_its_turn_comes_commits_nothing(world: World) -> None:
    async with world.source._committing:  # noqa: SLF001 - as while another commit is on its way
        committing = asyncio.create_task(world.source.commit({P0: Commit(5)}))
        await asyncio.sleep(0)
        world.client._coordinator.generation = -1  # noqa: SLF001
    assert not await committing
    assert world.client.commits == []


async def test_a_commit_that_hangs_is_given_up(world: World) -> None:
    world.client.hangs = True
    async with asyncio.timeout(5):
        assert not await world.source.commit({P0: Commit(5)})


# --- beginning and end ---


async def test_a_cluster_that_is_not_there_is_said_with_the_reason(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.client.failure = KafkaConnectionError()
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1: "):
        await world.source.start()
    assert world.client.stops == 1


@pytest.mark.parametrize("trouble", ["hangs", "fails", "is cancelled"])
async def test_leaving_is_bounded_whatever_the_client_does(world: World, trouble: str) -> None:
    world.client.hangs = trouble == "hangs"
    world.client.failure = {"fails": KafkaError(), "is cancelled": None}.get(trouble)
    if trouble == "is cancelled":

        async def cancelled() -> None:
            raise asyncio.CancelledError

        world.client.stop = cancelled  # type: ignore[method-assign]
    async with asyncio.timeout(5):
        await world.source.stop()


async def test_a_client_that_never_got_through_can_be_closed() -> None:
    await close(AIOKafkaConsumer(bootstrap_servers="127.0.0.1:1", group_id="shop"), 1.0)


def give_up(world: World, *offsets: int) -> None:
    """A person gives up on records of P0."""
    said = [GiveUp.on(Record.of(Raw(*P0, offset)), "ada", "no use") for offset in offsets]
    commit = as_commit(said)
    assert commit
    world.given_up[P0] = commit


async def test_one_that_was_given_up_is_handed_out_with_those_behind_it_up_to_the_next(world: World) -> None:
    world.holds({P0: [b"", POISON, b"", b"", POISON, b""], P1: 4})
    read = await world.read(P0, P1, polls=10)
    assert [offset for place, offset in read if place == P0] == [0]
    give_up(world, 1)
    assert await world.source.look_up([]) == {P0}
    assert await world.read(P0, P1, polls=3) == [(P0, 1), (P0, 2), (P0, 3)]
    assert "offset 4" in world.source.stopped[P0]
    give_up(world, 1, 4)
    await world.source.look_up([])
    assert await world.read(P0, P1, polls=3) == [(P0, 4), (P0, 5)]
    assert world.source.stopped == {}
    # The client goes on by itself behind the batch.
    world.client.log[TopicPartition(*P0)] += [b"", b""]
    assert await world.read(P0, P1, polls=3) == [(P0, 6), (P0, 7)]


@pytest.mark.parametrize("limit", [1, 2, 100])
async def test_no_more_of_it_is_handed_out_than_there_is_room_for_and_nothing_else_waits(
    world: World, limit: int
) -> None:
    world.holds({P0: [POISON, *[b""] * 5], P1: 6})
    give_up(world, 0)
    await world.rebalance(P0, P1)
    polls = [await world.read(P0, P1, limit=limit) for _ in range(30)]
    assert max(map(len, polls)) <= limit
    read = [one for poll in polls for one in poll]
    for place in (P0, P1):
        assert [offset for at, offset in read if at == place] == list(range(6))


async def test_what_was_given_up_before_the_partition_came_is_known_before_anything_of_it_comes(
    world: World,
) -> None:
    given_up = GivenUp()
    world.source._given_up = given_up  # noqa: SLF001
    world.holds({P0: 2})
    give_up(world, 1)
    await world.rebalance(P0)
    world.groups.before_answer = lambda group: away() if group == "shop.given-up" else None

    async def away() -> None:
        raise KafkaConnectionError

    await world.read(polls=3)
    assert world.taken_on == []  # so nobody asks for it
    world.groups.before_answer = lambda _group: None
    await world.read()
    assert world.taken_on == [{P0: Commit(0)}]
    assert given_up.of(Record.of(Raw(*P0, 1)))


async def test_without_the_right_to_ask_what_was_given_up_all_else_goes_on(world: World) -> None:
    async def refused() -> None:
        raise GroupAuthorizationFailedError

    world.groups.before_answer = lambda group: refused() if group == "shop.given-up" else None
    world.holds({P0: 2})
    await world.rebalance(P0)
    with capture_logs() as lines:
        assert await world.read(P0, polls=2) == [(P0, 0), (P0, 1)]
        assert await world.source.look_up([P0]) == frozenset()
    (error,) = [line["error"] for line in lines if "error" in line]
    assert "--operation Read --group shop.given-up" in error


async def test_nobody_asks_what_was_given_up_while_nothing_is_held_or_stopped(world: World) -> None:
    world.holds({P0: 3, P1: [POISON]})
    await world.rebalance(P0)
    await world.read(P0, polls=5)
    world.groups.asked.clear()
    assert await world.source.look_up([]) == frozenset()
    assert world.groups.asked == []
    assert await world.source.look_up([P0]) == frozenset()
    assert world.groups.asked == ["shop.given-up"]
    await world.read(P0, P1, polls=5)
    await world.source.look_up([])
    assert world.groups.asked[-1] == "shop.given-up"


@pytest.mark.parametrize("failure", [KafkaConnectionError(), TimeoutError()])
async def test_an_answer_that_does_not_come_is_no_news(world: World, failure: Exception) -> None:
    async def fails() -> None:
        raise failure

    world.groups.before_answer = lambda _group: fails()
    assert await world.source.look_up([P0]) == frozenset()


async def test_what_is_left_of_a_batch_comes_to_nobody_when_its_partition_goes(world: World) -> None:
    world.holds({P0: [POISON, b"", b""], P1: 1})
    await world.rebalance(P0)
    await world.read(P0, polls=5)
    give_up(world, 0)
    await world.source.look_up([])
    await world.rebalance(P1)
    assert await world.read(P0, P1, polls=3) == [(P1, 0)]


async def test_a_batch_that_cannot_be_had_now_is_asked_for_again(world: World) -> None:
    world.holds({P0: [POISON, b""]})
    give_up(world, 0)
    await world.rebalance(P0)
    answers = iter([KafkaConnectionError(), None])

    async def read(*args: Any) -> Batch:
        if error := next(answers):
            raise error
        return await read_batch(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "read_batch", read)
        assert await world.read(P0, polls=8) == [(P0, 0), (P0, 1)]


async def test_a_batch_that_we_cannot_read_either_stops_its_partition(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read(*_args: Any) -> Batch:
        raise IndexError

    monkeypatch.setattr(source, "read_batch", read)
    world.holds({P0: [POISON, b""], P1: 2})
    assert await world.read(P0, P1, polls=8) == [(P1, 0), (P1, 1)]
    assert world.source.stopped[P0].startswith("neither the client nor we can read the record at offset 0: ")
