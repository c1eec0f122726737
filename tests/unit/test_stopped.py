"""A partition that stopped goes on where a person said, and only if it was said for where it is stuck."""

import asyncio

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError, OffsetOutOfRangeError
from structlog.testing import capture_logs

from service.kafka import stopped
from service.kafka.record import Commit, Partition
from service.kafka.seeking import Seek
from tests.unit.source_world import P0, P1, World

FIRST = 5
"""Records of P0 from here on are there; the group has committed 2."""


@pytest.fixture(autouse=True)
def asking_at_each_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopped, "ASK_SECONDS", 0.0)


@pytest.fixture
async def stuck(world: World) -> World:
    expired = OffsetOutOfRangeError({TopicPartition(*P0): 2})
    world.holds({P0: [expired] * FIRST + [b""] * 3, P1: 4})
    world.committed |= {P0: Commit(2, "v1:map"), P1: Commit(0)}
    await world.rebalance(P0, P1)
    await world.read(P0, polls=2)
    assert list(world.source.stopped) == [P0]
    world.taken_on.clear()
    world.client.commits.clear()
    world.groups.asked.clear()
    return world


def say(world: World, stuck_at: int, to: int, partition: Partition = P0) -> None:
    world.said[partition] = Seek(stuck_at, to, "by=ada").as_commit()


async def test_it_goes_on_where_a_person_said_and_the_group_knows_at_once(stuck: World) -> None:
    say(stuck, 2, 6)
    assert await stuck.read(P0, polls=2) == [(P0, 6), (P0, 7)]
    assert stuck.taken_on == [{P0: Commit(6)}]
    assert stuck.committed[P0] == Commit(6)
    assert stuck.source.stopped == {}


async def test_what_was_said_while_nobody_was_there_holds(world: World) -> None:
    say(world, 2, 6)
    expired = OffsetOutOfRangeError({TopicPartition(*P0): 2})
    world.holds({P0: [expired] * FIRST + [b""] * 3})
    world.committed[P0] = Commit(2)
    await world.rebalance(P0)
    assert await world.read(P0, polls=3) == [(P0, 6), (P0, 7)]


@pytest.mark.parametrize("stuck_at", [0, 1, 3, 7])
async def test_what_was_said_for_another_offset_is_ignored_and_that_is_said_once(
    stuck: World, stuck_at: int
) -> None:
    say(stuck, stuck_at, 6)
    with capture_logs() as lines:
        assert await stuck.read(P0, polls=4) == []
    assert stuck.taken_on == []
    assert stuck.client.commits == []
    assert [(line["said_for"], line["stuck_at"]) for line in lines if "said_for" in line] == [(stuck_at, 2)]
    assert stuck.groups.asked == ["shop.seek"] * 4


async def test_what_was_said_once_does_not_act_when_the_partition_stops_again(stuck: World) -> None:
    say(stuck, 2, 6)
    await stuck.read(P0, polls=2)
    stuck.holds({P0: [OffsetOutOfRangeError({TopicPartition(*P0): 8})] * 9 + [b""]})
    assert await stuck.read(P0, polls=4) == []
    assert stuck.source.stopped[P0].startswith("offset 8 is no longer in the topic")
    say(stuck, 8, 9)
    assert await stuck.read(P0, polls=2) == [(P0, 9)]


async def test_nothing_is_left_out_while_a_record_before_it_is_in_flight(world: World) -> None:
    # Records 2 to 4 were handed out and 3 is not done when the rest of the topic expires.
    world.holds({P0: [b""] * 5 + [OffsetOutOfRangeError({TopicPartition(*P0): 5})] * 5 + [b""]})
    world.committed[P0] = Commit(2)
    await world.rebalance(P0)
    assert len(await world.read(P0, polls=2, limit=3)) == 3
    await world.source.commit({P0: Commit(3, "v1:map")})
    say(world, 3, 10)
    assert await world.read(P0, polls=3) == []
    await world.source.commit({P0: Commit(5)})
    say(world, 5, 10)
    assert await world.read(P0, polls=2) == [(P0, 10)]


async def test_marks_of_transactions_behind_the_last_record_do_not_matter(stuck: World) -> None:
    # The client's own position is beyond them; the group's is not.
    stuck.holds({P0: [b""] * 3})
    await stuck.rebalance(P0)
    assert await stuck.read(P0, polls=2) == [(P0, 2)]
    stuck.holds({P0: [b""] * 3 + [OffsetOutOfRangeError({TopicPartition(*P0): 4})] * 6 + [b""]})
    stuck.client.positions[TopicPartition(*P0)] = 4
    await stuck.read(P0)
    assert stuck.source.stopped[P0].startswith("offset 3 is no longer in the topic")
    say(stuck, 3, 9)
    assert await stuck.read(P0, polls=2) == [(P0, 9)]


async def test_it_stays_where_it_is_until_the_new_offset_is_committed(stuck: World) -> None:
    say(stuck, 2, 6)
    stuck.client._coordinator.generation = -1  # noqa: SLF001
    assert await stuck.read(P0, polls=3) == []
    assert list(stuck.source.stopped) == [P0]
    stuck.client._coordinator.generation = 2  # noqa: SLF001
    assert await stuck.read(P0, polls=2) == [(P0, 6), (P0, 7)]


async def test_a_partition_that_went_meanwhile_is_left_alone(stuck: World) -> None:
    say(stuck, 2, 6)
    stuck.groups.before_answer = lambda _group: stuck.rebalance(P1)
    await stuck.read(P0, P1)
    stuck.groups.before_answer = lambda _group: None
    await stuck.read(P1, polls=3)
    assert stuck.committed[P0] == Commit(2, "v1:map")
    assert [set(commits) for commits in stuck.taken_on] == [{P1}]


async def test_others_flow_on_while_it_is_not_known_what_was_said(
    stuck: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopped, "ANSWER_SECONDS", 0.01)

    async def is_away() -> None:
        raise KafkaConnectionError

    async def hangs() -> None:
        await asyncio.Event().wait()

    answers = iter([is_away(), hangs()])
    stuck.groups.before_answer = lambda _group: next(answers, None)
    assert await stuck.read(P0, P1, polls=2) == [(P1, offset) for offset in range(4)]
    say(stuck, 2, 6)
    assert await stuck.read(P0, P1, polls=2) == [(P0, 6), (P0, 7)]


async def test_nobody_asks_when_nothing_is_stopped_and_else_not_all_the_time(
    stuck: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopped, "ASK_SECONDS", 3600.0)
    await stuck.read(P0, P1, polls=5)
    assert stuck.groups.asked == ["shop.seek"]
    await stuck.rebalance(P1)
    await stuck.read(P1, polls=5)
    assert stuck.groups.asked == ["shop.seek", "shop", "shop.given-up"]


async def test_what_another_tool_has_committed_there_moves_nothing(stuck: World) -> None:
    stuck.said[P0] = Commit(6, "v1:cgEB")
    assert await stuck.read(P0, polls=3) == []
    assert list(stuck.source.stopped) == [P0]
