"""Reading records: one member of a consumer group, with the client's traps covered."""

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import timedelta

import structlog
from aiokafka import TopicPartition
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from aiokafka.errors import (
    ConsumerStoppedError,
    GroupAuthorizationFailedError,
    InvalidCommitOffsetSizeError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetMetadataTooLargeError,
    OffsetOutOfRangeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)
from aiokafka.structs import OffsetAndMetadata

from service.declarations import ByTopic
from service.kafka.closing import close
from service.kafka.connection import START_SECONDS, Connection, listening_to_client_log
from service.kafka.found_topics import FoundTopics
from service.kafka.given_up import GivenUp, given_up_group
from service.kafka.groups import commit_for, committed
from service.kafka.listener import Listener, Revoked
from service.kafka.membership import KEPT
from service.kafka.raw import read_batch
from service.kafka.record import Commit, Partition, Record
from service.kafka.route_log import RouteLog, routes_group
from service.kafka.seeking import Seek, seek_group
from service.kafka.stopped import Stop, StoppedPartitions
from service.kafka.timeouts import ANSWER_SECONDS, wait_for_members
from service.kafka.unreadable import UnreadableBatches

log = structlog.get_logger(__name__)

Assigned = Callable[[Mapping[Partition, Commit]], None]

POLL_SECONDS = 0.25
CALL_SECONDS = 5.0
REBALANCE_MARGIN_SECONDS = 10.0
"""For the commit after the drain, and for the way."""

FIND_SECONDS = 15.0
"""How often topics are looked for that match a pattern."""

NOWHERE = TopicPartition("-", 0)
"""A partition that does not exist. Polling it returns nothing and keeps the membership, while
polling an empty list returns records of all partitions."""

OF_ONE_PARTITION = (
    InvalidCommitOffsetSizeError,
    OffsetMetadataTooLargeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)
"""Reasons to refuse one partition's commit that say nothing of the others."""

HOW_TO_SEEK = "say where to go on: turnout seek {}/{} --to earliest, or latest, or an offset"


class _Assignor(RoundRobinPartitionAssignor):  # type: ignore[misc] # aiokafka has no types
    """Round robin, of a member that can ask anew: who asks for the same again gets the same again."""

    def __init__(self) -> None:
        self._times = 0

    def asks_anew(self) -> None:
        """Ask so that the group shares its partitions out once more."""
        self._times += 1

    def metadata(self, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        return ConsumerProtocolMemberMetadata(self.version, list(topics), str(self._times).encode())


class KafkaSource:
    """One member of the consumer group `group`, reading `topics`.

    Args:
        connection: The cluster.
        group: The consumer group.
        topics: Topics that exist, and patterns: what matches those is looked for at the start and again and
            again, and taken up from its first record.
        revoked: Awaited before partitions go to another member; may commit.
        assigned: Called, out of `poll`, when partitions have come, with what the group has committed.
        drain: How long `revoked` may take.
        instance: The name of a static member, or None. A static member that dies and comes back
            within the session timeout goes on at once; another is waited for until that is over.
        given_up: Where what people gave up on is noted, before anything of new partitions is handed out.
        session_timeout: After how long without heartbeats the group gives a member up.
        routes: The routes that run on each topic: where they began is noted. Without it nothing is.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        group: str,
        topics: Collection[str],
        revoked: Revoked,
        assigned: Assigned,
        drain: timedelta = timedelta(seconds=20),
        instance: str | None = None,
        given_up: GivenUp | None = None,
        session_timeout: timedelta = timedelta(seconds=45),
        routes: Mapping[str, frozenset[str]] | None = None,
    ) -> None:
        self.rebalance_seconds = drain.total_seconds() + REBALANCE_MARGIN_SECONDS
        rebalance_ms = int(self.rebalance_seconds * 1000)
        self._connection = connection
        self._group = group
        declared = topics if isinstance(topics, ByTopic) else ByTopic(dict.fromkeys(topics))
        self._topics = FoundTopics(declared)
        self._subscribed: Sequence[str] = ()
        self._finding: asyncio.Task[None] | None = None
        self._assigned = assigned
        self._listener = Listener(revoked)
        self._is_static = instance is not None
        self._assignor = _Assignor()
        self._asked_for: set[str] = set()
        self._consumer = connection.consumer(
            group_id=group,
            group_instance_id=instance,
            enable_auto_commit=False,
            # None of our partitions is ever moved by itself: see `_take_on`.
            auto_offset_reset="none",
            isolation_level="read_committed",
            session_timeout_ms=int(session_timeout.total_seconds() * 1000),
            heartbeat_interval_ms=3_000,
            rebalance_timeout_ms=rebalance_ms,
            request_timeout_ms=int(ANSWER_SECONDS * 1000),
            # How soon a topic that was deleted and made again is seen.
            metadata_max_age_ms=30_000,
            max_poll_interval_ms=300_000,
            fetch_max_wait_ms=250,
            # One, since each further one costs a rebalance at every join.
            partition_assignment_strategy=(self._assignor,),
        )
        wait_for_members(self._consumer, self.rebalance_seconds)
        self._closed = False
        self._committing = asyncio.Lock()
        self._epoch = 0
        self._stopped = StoppedPartitions(lambda of: self._commits_of(seek_group(group), of))
        self._given_up = given_up or GivenUp()
        self._unreadable = UnreadableBatches(self._given_up)
        self._routes = routes or {}
        self._lacks_right: set[str] = set()
        self._next: dict[Partition, int] = {}
        self._unanswered: dict[Partition, float] = {}
        self._fragile: set[TopicPartition] = set()
        self._one_by_one = False
        self._turn = 0

    @property
    def stopped(self) -> Mapping[Partition, str]:
        """Partitions that a person must look at, with the reason."""
        return self._stopped.reasons

    @property
    def unanswered(self) -> Mapping[Partition, float]:
        """Since when (`time.monotonic`) each poll asks for a partition, and none has got a record of it."""
        return self._unanswered

    def ends(self) -> Mapping[Partition, int]:
        """Where our partitions end, as the broker said with the last records or without any."""
        places = self._consumer.assignment() if self.settled else ()
        ends = {Partition(*place): self._consumer.highwater(place) for place in places}
        return {partition: end for partition, end in ends.items() if end is not None}

    def held_by_transactions(self) -> Mapping[Partition, int]:
        """Partitions of which we have all but what an open transaction holds, and from which offset on."""
        held: dict[Partition, int] = {}
        for partition in self._unanswered if self.settled else ():
            place = TopicPartition(*partition)
            if place not in self._consumer.assignment():
                continue
            stable, end = self._consumer.last_stable_offset(place), self._consumer.highwater(place)
            if stable is not None and end is not None and stable < end:
                held[partition] = stable
        return held

    @property
    def settled(self) -> bool:
        """Whether we are a member that has its part of the partitions, be it none; or need not be one."""
        return not self._subscribed or (self._listener.held is not None and self._is_member())

    @property
    def topics(self) -> Sequence[str]:
        """The topics that are read, as far as they were found."""
        return self._topics.now

    @property
    def found(self) -> Mapping[str, Sequence[str]]:
        """The topics that each pattern was found to stand for."""
        return self._topics.by_pattern

    @property
    def rebalances(self) -> int:
        """A number that grows with each step of each rebalance."""
        return self._listener.epoch

    async def position(self, partition: Partition) -> int:
        """Where the client reads on, be it behind the marks of transactions; only for assigned partitions."""
        position: int = await self._consumer.position(TopicPartition(*partition))
        return position

    async def start(self) -> None:
        """Join the group.

        Raises:
            Unreachable: No broker answers; the text says host, port and reason.
        """
        with listening_to_client_log() as heard:
            try:
                async with asyncio.timeout(START_SECONDS):
                    await self._consumer.start()
                    if self._topics.may_grow:
                        self._topics.see(await self._consumer.topics())
            except (KafkaError, TimeoutError) as error:
                await self.stop()
                raise await self._connection.why_unreachable(heard) from error
            except asyncio.CancelledError:
                await self.stop()
                raise
        if self._topics.now:
            self._subscribe()
        if self._topics.may_grow or self._is_static:
            self._finding = asyncio.create_task(self._keep_finding())

    def _subscribe(self) -> None:
        self._subscribed = self._topics.now
        self._consumer.subscribe(self._subscribed, listener=self._listener)

    async def _keep_finding(self) -> None:
        """Look for topics that patterns match, for ever.

        Not by the client's own subscription to a pattern: that drops what is assigned as soon as it sees a
        new topic, while calls are in flight, and all of a topic that one answer of a broker leaves out.
        """
        while True:
            # All processes at the same time, so that they join in one rebalance and not each in its own.
            await asyncio.sleep(FIND_SECONDS - time.time() % FIND_SECONDS)
            try:
                async with asyncio.timeout(CALL_SECONDS):
                    if self._topics.may_grow:
                        self._topics.see(await self._consumer.topics())
                    left_out = await self._left_out() if self._is_static else frozenset[str]()
                if left_out or (self._topics.now and self._topics.now != self._subscribed):
                    self._asked_for |= left_out
                    await self._subscribe_anew()
            except (KafkaError, TimeoutError) as error:
                log.warning("topics not looked for", error=self._connection.in_words(error))
            except Exception:
                log.exception("defect in looking for topics")

    async def _left_out(self) -> frozenset[str]:
        """Topics that nobody in the group has ever had, though we ask for them; each is told once.

        A broker gives a static member that comes back what it had before, whatever it asks for now (seen with
        Apache Kafka 4.3).
        """
        if self._listener.held is None or self._listener.new:
            return frozenset()
        asked = [topic for topic in self._subscribed if topic not in self._asked_for]
        there = {topic: self._consumer.partitions_for_topic(topic) or () for topic in asked}
        known = await self._commits_of(
            self._group, [Partition(topic, n) for topic in asked for n in there[topic]]
        )
        had = {partition.topic for partition in known}
        self._asked_for |= had
        return frozenset(topic for topic in asked if there[topic] and topic not in had)

    async def _subscribe_anew(self) -> None:
        """Let go of all partitions in order, while we are a member still, and join with the topics of now."""
        await self._listener.part()
        if not self._listener.ended:
            self._assignor.asks_anew()
            self._subscribe()
            # From here on, and not only when it says so, the client has no assignment: see `_begin_at`.
            self._listener.drop()

    async def let_go(self) -> None:
        """Part with all partitions as in a rebalance, as long as `revoked` takes; nothing comes any more."""
        await self._listener.end()

    async def stop(self) -> None:
        """Leave the group, in bounded time; the caller has committed what it wants committed."""
        self._closed = True
        if self._finding:
            self._finding.cancel()
            await asyncio.wait({self._finding})
        # A commit that is repeated by the client when it is no member any more would be taken, unfenced.
        async with self._committing:
            await close(self._consumer, CALL_SECONDS)

    async def poll(
        self, partitions: Iterable[Partition], limit: int, seconds: float = POLL_SECONDS
    ) -> Sequence[Record]:
        """See `RecordSource.poll`; a client error is logged and yields nothing.

        The call is never cancelled by a time-out of ours: that would switch the client's own
        check of silent members off for good. And it never drains two partitions at once: an
        error in the second would lose what was taken from the first.
        """
        if self._closed or self._listener.ended or not self._subscribed:
            await asyncio.sleep(POLL_SECONDS)
            return []
        if not self._current:
            self._epoch = self._listener.epoch
            self._stopped.clear()
            self._unreadable.clear()
            self._next.clear()
            self._unanswered.clear()
        if self._listener.new:
            await self._take_on(self._listener.new)
        for partition, seek in (await self._stopped.told()).items():
            await self._seek(partition, seek)
        partitions = list(partitions)
        records = self._take_unreadable(partitions, limit)
        asked = [p for p in partitions if p not in self._stopped and p not in self._unreadable]
        now = time.monotonic()
        self._unanswered = {partition: self._unanswered.get(partition, now) for partition in asked}
        wanted = [TopicPartition(*partition) for partition in asked]
        # Another one first each time, so that a busy partition does not take all the room.
        self._turn += 1
        turn = self._turn % max(len(wanted), 1)
        wanted = wanted[turn:] + wanted[:turn]
        together, self._one_by_one = [] if self._one_by_one else wanted, False
        if len(records) < limit:
            records += await self._take(*(together or [NOWHERE]), limit=1, seconds=0 if records else seconds)
        for place in wanted:
            if (room := limit - len(records)) > 0:
                records += await self._take(place, limit=1 if place in self._fragile else room, seconds=0)
        # After a rebalance all of it is dropped, also what the client answered out of the new
        # assignment: `_take_on` has yet to set the positions, so it comes again.
        return records if self._current else []

    @property
    def _current(self) -> bool:
        """Whether there was no rebalance since this poll began."""
        return self._epoch == self._listener.epoch

    async def _take_on(self, new: frozenset[TopicPartition]) -> None:
        """Set the positions of new partitions, then report them; left for the next poll where that fails.

        Here and not in the client's callback: until it is done nothing is polled from them, so nothing
        can be taken that nobody waits for.
        """
        try:
            async with asyncio.timeout(CALL_SECONDS):
                known = await self._commits_of(self._group, [Partition(*place) for place in new])
                await self._ask_given_up([Partition(*place) for place in new])
                unread = [place for place in new if place not in known]
                first = await self._consumer.beginning_offsets(self._led(unread))
                begun = {Partition(*place): Commit(offset) for place, offset in first.items()}
                if self._routes and self._current:
                    await self._note_routes(known | begun, begun)
        except (KafkaError, TimeoutError) as error:
            log.warning("committed offsets not known yet", error=self._connection.in_words(error))
            await asyncio.sleep(POLL_SECONDS)
            return
        # Committed at once: what expires before any of it is handled is missed then, not skipped.
        begun = {partition: begun[partition] for partition in await self.commit(begun)} if begun else {}
        if (known or begun) and self._begin_at(known | begun):
            self._listener.new -= {TopicPartition(*partition) for partition in known | begun}

    def _led(self, places: Sequence[TopicPartition]) -> Sequence[TopicPartition]:
        """Those that have a leader, as far as we know: for the first offset of another all would wait."""
        client = self._consumer._client  # noqa: SLF001 - there is no public word for it
        led = [place for place in places if client.cluster.leader_for_partition(place) not in {None, -1}]
        if len(led) < len(places):
            client.force_metadata_update()
        return led

    async def look_up(self, partitions: Iterable[Partition]) -> frozenset[Partition]:
        """See `RecordSource.look_up`; bounded in time."""
        asked = {*partitions, *self._unreadable.stops}
        if not asked or self._closed:
            return frozenset()
        try:
            async with asyncio.timeout(CALL_SECONDS):
                return await self._ask_given_up(asked)
        except (KafkaError, TimeoutError) as error:
            log.warning("given up records not known yet", error=self._connection.in_words(error))
            return frozenset()

    async def _ask_given_up(self, partitions: Iterable[Partition]) -> frozenset[Partition]:
        group = given_up_group(self._group)
        try:
            return self._given_up.note(await self._commits_of(group, partitions))
        except GroupAuthorizationFailedError:
            self._go_without("given up records not known", group)
            return frozenset()

    async def _note_routes(self, begin: Mapping[Partition, Commit], unread: Iterable[Partition]) -> None:
        """Note from where on our routes run in new partitions, where others ran before, or none.

        Before anything of them is handed out: so a route has never run where its log says it did not.
        """
        group = routes_group(self._group)
        try:
            noted = await self._commits_of(group, begin)
            notes = {
                partition: self._note_of(partition, at, noted.get(partition), whole=partition in unread)
                for partition, at in begin.items()
            }
            news = {place: note for place, note in notes.items() if note != noted.get(place)}
            if news:
                await commit_for(self._consumer._client, group, news, kept=KEPT)  # noqa: SLF001
        except GroupAuthorizationFailedError:
            self._go_without("where routes begin is not noted", group)
        except (InvalidCommitOffsetSizeError, OffsetMetadataTooLargeError) as error:
            # Brokers may take less than ours does; what is noted already stays.
            log.warning("where routes begin is not noted", error=self._connection.in_words(error))

    def _note_of(self, partition: Partition, at: Commit, noted: Commit | None, *, whole: bool) -> Commit:
        before, routes = RouteLog.read(noted), self._routes[partition.topic]
        now = before.then(at, routes) if before else RouteLog.begin(at, routes, whole=whole)
        return noted if noted and now == before else now.as_commit()

    def _go_without(self, what: str, group: str) -> None:
        """Say once that a right lacks without which all else goes on."""
        if group not in self._lacks_right:
            error = GroupAuthorizationFailedError(group)
            log.warning(what, error=self._connection.in_words(error))
        self._lacks_right.add(group)

    async def _commits_of(self, group: str, partitions: Iterable[Partition]) -> dict[Partition, Commit]:
        return await committed(self._consumer._client, group, partitions)  # noqa: SLF001

    async def _seek(self, partition: Partition, seek: Seek) -> None:
        """Go on where a person said.

        Nothing of the partition is in flight: it was said for what the group has committed, and that is
        the offset after all that was read.
        """
        # Committed at once: if the partition gets stuck there too, its group says so.
        begun = {partition: Commit(seek.to)}
        if self._current and await self.commit(begun) and self._begin_at(begun):
            log.info(
                "partition goes on",
                topic=partition.topic,
                partition=partition.number,
                offset=seek.to,
                instead_of=seek.stuck_at,
                said=seek.note,
            )

    def _begin_at(self, commits: Mapping[Partition, Commit]) -> bool:
        """Read on from there; False if the partitions went meanwhile."""
        if not self._current:
            return False
        for partition, commit in commits.items():
            place = TopicPartition(*partition)
            self._consumer.seek(place, commit.offset)
            self._next[partition] = commit.offset
            self._fragile.discard(place)
            self._unreadable.remove(partition)
            self._stopped.remove(partition)
        self._assigned(commits)
        return True

    async def _take(self, *places: TopicPartition, limit: int, seconds: float) -> list[Record]:
        try:
            batches = await self._consumer.getmany(*places, timeout_ms=int(seconds * 1000), max_records=limit)
        except (NoOffsetForPartitionError, ConsumerStoppedError):
            pass  # said before `_take_on` set the position; or closed meanwhile, since it was stuck
        except OffsetOutOfRangeError as error:
            for place, offset in error.args[0].items():
                self._stop_at(Partition(*place), offset)
        except KafkaError as error:
            log.warning("poll failed", error=self._connection.in_words(error))
            await asyncio.sleep(POLL_SECONDS)
        except (UnicodeDecodeError, ValueError) as error:
            # A header name that is not UTF-8. The client did not move on: it reads again.
            if len(places) == 1:
                await self._read_ourselves(places[0], error)
            else:
                # Whose it was is not said. Next time each is asked alone: asked together again, this
                # answer would always be the error, and that partition's own after it always empty.
                self._one_by_one = True
        else:
            for place, batch in batches.items():
                if batch:
                    self._next[Partition(*place)] = batch[-1].offset + 1
                    self._unanswered.pop(Partition(*place), None)
            return [Record.of(raw) for batch in batches.values() for raw in batch]
        finally:
            # A call that raised counts as under way for ever, and who polls no more would not be noticed.
            self._consumer._subscription._fetch_count = 0  # noqa: SLF001 - trap 5 of aiokafka 0.14
        return []

    async def _read_ourselves(self, place: TopicPartition, error: Exception) -> None:
        """Put the batch aside that the client cannot read, and let it go on behind that.

        Only once it is asked for one record, and cannot read that: those before it have been handed out.
        """
        if place not in self._fragile:
            self._fragile.add(place)
            return
        partition, offset = Partition(*place), await self._consumer.position(place)
        try:
            async with asyncio.timeout(CALL_SECONDS):
                batch = await read_batch(self._consumer._client, partition, offset)  # noqa: SLF001
        except (KafkaError, TimeoutError) as failed:
            log.warning("poll failed", error=self._connection.in_words(failed))
        except (ValueError, IndexError):
            reason = f"neither the client nor we can read the record at offset {offset}: {error}"
            self._stopped.add(partition, Stop(offset, reason))
        else:
            if self._current:
                self._unreadable.put(partition, batch)
                self._consumer.seek(place, batch.next_offset)
                self._fragile.discard(place)

    def _take_unreadable(self, partitions: Iterable[Partition], limit: int) -> list[Record]:
        """What may be handed out of batches put aside; partitions at whose turn it is to be given up stop."""
        records: list[Record] = []
        for partition in partitions:
            if partition in self._unreadable and (
                taken := self._unreadable.take(partition, limit - len(records))
            ):
                self._stopped.remove(partition)
                self._next[partition] = taken[-1].offset + 1
                records += taken
        for partition, stop in self._unreadable.stops.items():
            if partition not in self._stopped:
                self._stopped.add(partition, stop)
        return records

    def _stop_at(self, partition: Partition, offset: int) -> None:
        # The client may have moved on over the marks of transactions; our group has committed none of them.
        stuck_at = self._next.get(partition, offset)
        reason = f"offset {stuck_at} is no longer in the topic; {HOW_TO_SEEK.format(*partition)}"
        self._stopped.add(partition, Stop(stuck_at, reason))

    async def commit(self, commits: Mapping[Partition, Commit]) -> Mapping[Partition, Commit]:
        """See `RecordSource.commit`; bounded in time."""
        try:
            async with asyncio.timeout(CALL_SECONDS), self._committing:
                return await self._store(commits)
        except TimeoutError:
            log.warning("commit failed", error=f"no answer within {CALL_SECONDS:.0f} s")
            return {}

    async def _store(self, commits: Mapping[Partition, Commit]) -> Mapping[Partition, Commit]:
        if self._closed or not self._is_member():
            # The broker would take this commit, unfenced, if the group is empty.
            return {}
        offsets = {TopicPartition(*p): OffsetAndMetadata(*commit) for p, commit in commits.items()}
        coordinator = self._consumer._coordinator  # noqa: SLF001 - the client has no public word for it
        try:
            # Not `commit()`, which tries again for ever, and with the generation of then: after a
            # rebalance it would move the offset that another member has committed meanwhile.
            await coordinator._do_commit_offsets(None, offsets)  # noqa: SLF001
        except KafkaError as error:
            log.warning("commit failed", error=self._connection.in_words(error))
            if not isinstance(error, OF_ONE_PARTITION) or len(commits) == 1:
                return {}
            # The client names the first error only, though the broker may have stored the others.
            stored: dict[Partition, Commit] = {}
            for partition, commit in commits.items():
                stored |= await self._store({partition: commit})
            return stored
        return commits

    def _is_member(self) -> bool:
        return bool(self._consumer._coordinator.generation >= 0)  # noqa: SLF001 - there is no public word for it
