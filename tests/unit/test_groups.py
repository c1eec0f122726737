"""What groups have committed, asked and said from outside."""

from datetime import timedelta

import pytest
from aiokafka.errors import GroupCoordinatorNotAvailableError, NotCoordinatorForGroupError

from service.errors import Unreachable
from service.kafka import groups
from service.kafka.groups import Member, commit_for, committed, committed_in_time
from service.kafka.record import Commit, Partition
from tests.unit.fakes import FakeGroups

P0, P1, OTHER = Partition("a", 0), Partition("a", 1), Partition("b", 7)


async def test_what_is_committed_comes_back_with_its_metadata_and_the_rest_is_left_out() -> None:
    client = FakeGroups()
    await commit_for(client, "g", {P0: Commit(5, "said"), OTHER: Commit(0)})
    assert await committed(client, "g", [P0, P1, OTHER]) == {P0: Commit(5, "said"), OTHER: Commit(0)}
    assert await committed(client, "h", [P0]) == {}
    assert await committed(client, "g", []) == {}


async def test_an_answer_that_is_an_error_as_a_whole_is_one() -> None:
    client = FakeGroups()
    client.error = NotCoordinatorForGroupError.errno
    with pytest.raises(NotCoordinatorForGroupError):
        await committed(client, "g", [P0])


async def test_an_error_of_one_partition_is_one() -> None:
    client = FakeGroups()
    client.partition_error = NotCoordinatorForGroupError.errno
    with pytest.raises(NotCoordinatorForGroupError):
        await committed(client, "g", [P0])
    with pytest.raises(NotCoordinatorForGroupError):
        await commit_for(client, "g", {P0: Commit(1)})


async def test_a_commit_says_who_commits_and_for_how_long_it_is_to_be_kept() -> None:
    client = FakeGroups()
    await commit_for(client, "g", {P0: Commit(1)})
    await commit_for(client, "g", {P0: Commit(2)}, by=Member(7, "m"), kept=timedelta(days=2))
    assert client.committed_by == [(-1, "", -1), (7, "m", 172_800_000)]


async def test_a_coordinator_that_is_not_there_yet_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "RETRY_SECONDS", 0)
    client = FakeGroups()
    client.commits["g"][P0] = Commit(5)
    client.error = GroupCoordinatorNotAvailableError.errno

    def at_the_third(_group: str) -> None:
        if len(client.asked) == 3:
            client.error = 0

    client.before_answer = at_the_third
    assert await committed_in_time(client, "g", [P0]) == {P0: Commit(5)}


async def test_a_coordinator_that_stays_away_is_not_asked_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(groups, "PATIENCE_SECONDS", 0.05)
    client = FakeGroups()
    client.error = GroupCoordinatorNotAvailableError.errno
    with pytest.raises(Unreachable, match="group g has committed: GroupCoordinatorNotAvailableError"):
        await committed_in_time(client, "g", [P0])
