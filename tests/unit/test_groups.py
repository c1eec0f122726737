"""What groups have committed, asked and said from outside."""

import pytest
from aiokafka.errors import NotCoordinatorForGroupError

from service.kafka.groups import commit_for, committed
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
