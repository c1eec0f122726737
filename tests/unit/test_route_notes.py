"""A bridge that takes partitions on notes where its routes began to run, before it hands anything out."""

import asyncio
from typing import Any

import pytest
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError
from structlog.testing import capture_logs

from service.kafka.record import Commit
from service.kafka.route_log import RouteLog
from tests.unit.source_world import P0, P1, World


@pytest.fixture
async def two(world: World) -> tuple[World, World]:
    """Bridges of one group, before and after a route was added."""
    before, after = (World({"shop.orders": frozenset(routes)}) for routes in (["a"], ["a", "b"]))
    for one in (before, after):
        one.groups.commits = before.groups.commits
        one.committed, one.noted = before.committed, before.noted
        await one.source.start()
    return before, after


async def began(world: World, *places: Any) -> None:
    await world.rebalance(*places)
    await world.read(*places)
    assert world.taken_on


async def test_where_a_route_began_is_what_the_group_had_committed_then(
    two: tuple[World, World],
) -> None:
    before, after = two
    before.committed[P1] = Commit(7)
    await began(before, P0, P1)
    before.committed |= {P0: Commit(5, "v1:cgEB"), P1: Commit(9)}
    await began(after, P0, P1)
    ran = RouteLog.begin(Commit(0), ["a"], whole=True)
    assert RouteLog.read(after.noted[P0]) == ran.then(Commit(5, "v1:cgEB"), ["a", "b"])
    # Of a partition that was read before anything was noted, it is not known since when the first ran.
    ran = RouteLog.begin(Commit(7), ["a"], whole=False)
    assert RouteLog.read(after.noted[P1]) == ran.then(Commit(9), ["a", "b"])


async def test_where_nothing_changed_nothing_is_written(two: tuple[World, World]) -> None:
    _, after = two
    await began(after, P0)
    writes = len(after.groups.committed_by)
    after.committed[P0] = Commit(5)
    await began(after, P0)
    assert len(after.groups.committed_by) == writes


async def test_partitions_are_taken_on_only_when_it_is_noted(two: tuple[World, World]) -> None:
    _, after = two
    after.groups.before_answer = lambda group: _refuse() if group == "shop.routes" else None
    await after.rebalance(P0)
    await after.read(polls=3)
    assert after.taken_on == []
    after.groups.before_answer = lambda _group: None
    await after.read()
    assert after.taken_on == [{P0: Commit(0)}]
    assert after.noted


async def _refuse() -> None:
    await asyncio.sleep(0)
    raise KafkaError


async def test_without_the_right_all_else_goes_on_and_it_is_said_once(two: tuple[World, World]) -> None:
    _, after = two
    after.holds({P0: 1})

    async def refuse() -> None:
        raise GroupAuthorizationFailedError("shop.routes")

    after.groups.before_answer = lambda group: refuse() if group == "shop.routes" else None
    with capture_logs() as lines:
        await after.rebalance(P0)
        assert await after.read(P0) == [(P0, 0)]
        await began(after, P0)
    (line,) = [line for line in lines if line["event"] == "where routes begin is not noted"]
    assert "--operation Read --group shop.routes" in line["error"]
    assert after.noted == {}
