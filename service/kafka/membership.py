"""Being the only one at work in a group, so that nobody else changes what it has committed meanwhile."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError

from service.errors import ConfigurationError, Unreachable
from service.kafka.closing import close
from service.kafka.connection import START_SECONDS, Connection, listening_to_client_log
from service.kafka.groups import Member, commit_for, committed_in_time
from service.kafka.record import Commit, Partition

SESSION_SECONDS = 10
"""After how long without a heartbeat the group gives up on one that died, and lets the next one work."""

JOIN_SECONDS = 60.0
STORE_SECONDS = 30.0
RETRY_SECONDS = 0.5
LOOK_SECONDS = 0.1
KEPT = timedelta(days=3_650)
"""As long as what is committed may be of use: some keep a topic for years."""


class OnlyMember:
    """The one member of `group` that has all partitions of `topic`; made by `only_member`."""

    def __init__(self, connection: Connection, group: str, topic: str) -> None:
        self._connection = connection
        self._group = group
        self._claim = _Claim(lambda: self._member().id)
        self._alive_at = 0.0
        self.consumer = connection.consumer(
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="none",
            session_timeout_ms=SESSION_SECONDS * 1000,
            heartbeat_interval_ms=1_000,
            rebalance_timeout_ms=SESSION_SECONDS * 1000,
            # Joining waits for one that died: until then the answer to it is not late.
            request_timeout_ms=(SESSION_SECONDS + 30) * 1000,
            # It holds partitions and does not read them.
            max_poll_interval_ms=(1 << 31) - 1,
            partition_assignment_strategy=(self._claim,),
        )
        self._topic = topic

    async def join(self) -> None:
        """Wait until it is settled who works in the group.

        Raises:
            ConfigurationError: It is someone else, or we may not.
            Unreachable: It did not come about in time.
        """
        coordinator = self.consumer._coordinator  # noqa: SLF001 - the client tells of heartbeats to nobody
        coordinator._do_heartbeat = self._noting(coordinator._do_heartbeat)  # noqa: SLF001
        self.consumer.subscribe([self._topic], listener=_Listener(self._claim, self.consumer))
        self._alive_at = time.monotonic()
        try:
            async with asyncio.timeout(JOIN_SECONDS):
                while not self._claim.settled.is_set():
                    coordinator.check_errors()
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError as error:
            raise Unreachable(f"Kafka did not let us into group {self._group} in time") from error
        except GroupAuthorizationFailedError as error:
            raise self._connection.not_asked(error) from error
        if not self._claim.held:
            raise ConfigurationError(
                f"another command is at work in group {self._group}; wait until it is done, or end it"
            )

    async def commits(self) -> Mapping[Partition, Commit]:
        """What the group has committed for the topic; partitions without are left out.

        Raises:
            Unreachable: Kafka does not say.
        """
        partitions = [Partition(*place) for place in self.consumer.assignment()]
        return await committed_in_time(self.consumer._client, self._group, partitions)  # noqa: SLF001

    async def alone(self) -> None:
        """Return once nobody else can be at work in the group: the broker has heard of us within a session.

        A process that was stopped, or a machine that slept, may have been taken for dead meanwhile.

        Raises:
            ConfigurationError: Someone else is, or was.
            Unreachable: It did not become known in time.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STORE_SECONDS):
                await self._settled()
                while time.monotonic() - self._alive_at > SESSION_SECONDS:
                    await asyncio.sleep(LOOK_SECONDS)
                    await self._settled()
                return
        raise Unreachable(f"Kafka did not say whether we are still alone in group {self._group}")

    async def store(self, commits: Mapping[Partition, Commit]) -> None:
        """Store `commits` for years; tried for a while, also across a broker's restart.

        Raises:
            Unreachable: They may or may not be stored.
            ConfigurationError: They are not: someone else is at work in the group by now.
        """
        reason = "no answer"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STORE_SECONDS):
                while True:
                    await self._settled()
                    try:
                        # The member is asked for only now: of an earlier generation it is refused.
                        return await commit_for(
                            self.consumer._client,  # noqa: SLF001
                            self._group,
                            commits,
                            by=self._member(),
                            kept=KEPT,
                        )
                    except KafkaError as error:
                        reason = type(error).__name__
                    await asyncio.sleep(RETRY_SECONDS)
        raise Unreachable(f"Kafka did not store what is done in group {self._group}: {reason}")

    async def _settled(self) -> None:
        """Wait while members come or go.

        Raises:
            ConfigurationError: It is not ours any more, or was not for some time.
        """
        await self._claim.settled.wait()
        if not self._claim.held:
            raise ConfigurationError(
                f"another command is at work in group {self._group} by now, or was: this one was "
                "taken for dead; what it stored before is kept"
            )

    def _noting(self, heartbeat: Callable[[], Awaitable[bool]]) -> Callable[[], Awaitable[bool]]:
        """`heartbeat`, and when the last one began that was well received."""

        async def noting() -> bool:
            began_at = time.monotonic()
            well = await heartbeat()
            if well:
                self._alive_at = began_at
            return well

        return noting

    def _member(self) -> Member:
        coordinator = self.consumer._coordinator  # noqa: SLF001 - the client has no public word for it
        return Member(coordinator.generation, coordinator.member_id)


@asynccontextmanager
async def only_member(connection: Connection, group: str, topic: str) -> AsyncIterator[OnlyMember]:
    """Membership for the time of the block; after one that died, it takes some seconds to come about.

    Raises:
        Unreachable: No broker answers.
        ConfigurationError: Someone else is at work in the group.
    """
    member = OnlyMember(connection, group, topic)
    try:
        with listening_to_client_log() as heard:
            try:
                async with asyncio.timeout(START_SECONDS):
                    await member.consumer.start()
            except (KafkaError, TimeoutError) as error:
                raise await connection.why_unreachable(heard) from error
        await member.join()
        yield member
    finally:
        await close(member.consumer)


class _Claim(AbstractPartitionAssignor):  # type: ignore[misc] # aiokafka has no types
    """Gives all partitions to one member, and to the one that holds them already if there is one.

    One that was taken for dead, and comes back as another member, holds nothing any more: since then someone
    else may have been at work.
    """

    name = "turnout-only"

    def __init__(self, member_id: Callable[[], str]) -> None:
        self._member_id = member_id
        self._has_all = False
        self._held_as = ""
        self.settled = asyncio.Event()

    @property
    def held(self) -> bool:
        """Whether all partitions are ours, without a break since they first were."""
        return self._has_all and self._held_as == self._member_id()

    def settle(self, *, has_all: bool) -> None:
        """Note what this member was given."""
        self._has_all = has_all
        if has_all and not self._held_as:
            self._held_as = self._member_id()
        self.settled.set()

    def metadata(self, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        return ConsumerProtocolMemberMetadata(0, list(topics), b"holds" if self.held else b"")

    def assign(
        self, cluster: ClusterMetadata, members: Mapping[str, ConsumerProtocolMemberMetadata]
    ) -> dict[str, ConsumerProtocolMemberAssignment]:
        chosen = min(members, key=lambda one: (not members[one].user_data, one))
        topics = {topic for member in members.values() for topic in member.subscription}
        everything = [(topic, sorted(cluster.partitions_for_topic(topic) or ())) for topic in sorted(topics)]
        return {
            one: ConsumerProtocolMemberAssignment(0, everything if one == chosen else [], b"")
            for one in members
        }

    def on_assignment(self, _assignment: ConsumerProtocolMemberAssignment) -> None: ...


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka has no types
    def __init__(self, claim: _Claim, consumer: AIOKafkaConsumer) -> None:
        self._claim = claim
        self._consumer = consumer

    async def on_partitions_revoked(self, _revoked: Iterable[TopicPartition]) -> None:
        self._claim.settled.clear()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._consumer.pause(*assigned)
        self._claim.settle(has_all=bool(list(assigned)))
