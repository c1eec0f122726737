"""What a letter topic must be, so that no letter is refused, replaced or gone before someone looks."""

import asyncio
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import structlog

from service.errors import Unreachable
from service.failures.letters import DEFAULT_MAX_MESSAGE_BYTES, HEADROOM_BYTES, letter_topic
from service.kafka.admin import Admin
from service.kafka.commands import set_command
from service.kafka.connection import Connection
from service.telemetry.health import Problem
from service.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

LOOK_SECONDS = 60.0
LEAST_RETENTION_MS = 7 * 86_400_000
"""A week: letters of a Friday evening outlive the weekend, and the holiday of who knows the route."""


def in_sync_settings(replicas: int) -> dict[str, str]:
    """Settings with which what is acknowledged outlives a broker, where there are as many `replicas`."""
    return {"min.insync.replicas": "2"} if replicas > 1 else {}


@dataclass(frozen=True, slots=True)
class Weakness:
    """What is wrong with a letter topic, and the setting that mends it, if one setting does.

    `fatal` where letters would be lost or could never be written: then we do not start. Else we say so
    and go on, since records that wait for a better topic help nobody.
    """

    problem: str
    setting: str
    fatal: bool

    def told(self, topic: str, servers: str) -> str:
        """The problem, and the command that mends it."""
        if not self.setting:
            return f"topic {topic} {self.problem}"
        command = set_command(servers, topic, self.setting)
        return f"topic {topic} {self.problem}; set {self.setting} ({command})"


def weaknesses(
    settings: Mapping[str, str], *, needed_bytes: int, replicas: int, brokers: int
) -> Iterator[Weakness]:
    """All that is wrong with a letter topic of these settings; what may not be seen passes.

    Args:
        settings: Those of the topic, by Kafka's names.
        needed_bytes: What the letter of the largest record takes.
        replicas: Of its partition that has the fewest.
        brokers: Of the cluster.
    """
    if "compact" in settings.get("cleanup.policy", ""):
        problem = "is compacted: letters of one key replace each other"
        yield Weakness(problem, "cleanup.policy=delete", fatal=True)
    if int(settings.get("max.message.bytes", needed_bytes)) < needed_bytes:
        problem = "does not take the letter of the largest record"
        yield Weakness(problem, f"max.message.bytes={needed_bytes}", fatal=True)
    in_sync = int(settings.get("min.insync.replicas", replicas))
    if in_sync > replicas:
        problem = f"can never be written to: it has {replicas} replicas and wants {in_sync} in sync"
        yield Weakness(problem, f"min.insync.replicas={min(replicas, 2)}", fatal=True)
    elif brokers > 1 and replicas < 2:
        problem = "has one replica: its letters are lost with it; give it more (kafka-reassign-partitions.sh)"
        yield Weakness(problem, "", fatal=False)
    elif brokers > 1 and in_sync < 2:
        problem = "takes letters that one broker alone has: they are lost with it"
        yield Weakness(problem, "min.insync.replicas=2", fatal=False)
    retention = int(settings.get("retention.ms", -1))
    if 0 <= retention < LEAST_RETENTION_MS:
        problem = f"forgets letters after {retention / 3_600_000:.3g} hours, also those not yet looked at"
        yield Weakness(problem, f"retention.ms={LEAST_RETENTION_MS}", fatal=False)
    if int(settings.get("retention.bytes", -1)) >= 0:
        problem = "forgets the oldest letters when it is full"
        yield Weakness(problem, "retention.bytes=-1", fatal=False)


async def letter_bytes(admin: Admin, topics: Iterable[str]) -> int:
    """What a letter topic must take for the largest record of `topics`."""
    settings = [await admin.topic_settings(topic) for topic in topics]
    # Kafka's own default where we may not see it.
    sizes = [int(of_topic.get("max.message.bytes", DEFAULT_MAX_MESSAGE_BYTES)) for of_topic in settings]
    return max(sizes, default=DEFAULT_MAX_MESSAGE_BYTES) + HEADROOM_BYTES


async def weaknesses_of(admin: Admin, topic: str, sources: Iterable[str], brokers: int) -> list[Weakness]:
    """All that is wrong now with the letter topic `topic`, which takes letters of records of `sources`."""
    return list(
        weaknesses(
            await admin.topic_settings(topic),
            needed_bytes=await letter_bytes(admin, sources),
            replicas=await admin.replicas(topic),
            brokers=brokers,
        )
    )


class LetterTopicWatch:
    """Looks at the letter topic of `group` for as long as a bridge runs, since someone may change it.

    Args:
        connection: The cluster.
        group: The consumer group that gives up.
        sources: The topics whose records become letters, of those that there are.
        metrics: Where the number of problems is shown.
    """

    def __init__(
        self,
        connection: Connection,
        group: str,
        sources: Callable[[Iterable[str]], Iterable[str]],
        metrics: Metrics,
    ) -> None:
        self._connection = connection
        self._topic = letter_topic(group)
        self._sources = sources
        self._metrics = metrics
        self._problems: Mapping[str, bool] = {}

    @property
    def problems(self) -> Sequence[str]:
        """What was wrong when we last looked, each with its cure."""
        return [*self._problems]

    def told(self) -> Iterator[Problem]:
        """The problems, for health: not ready while letters would be lost, or could not be written."""
        for problem, fatal in self._problems.items():
            yield Problem(f"letters: {problem}", problem, patience_seconds=0 if fatal else math.inf)

    async def keep_looking(self) -> None:
        """Look each minute, and say what is wrong when that changes; for ever."""
        while True:
            try:
                await self.look()
            except Unreachable as error:
                log.info("letter topic not looked at", reason=str(error))
            except Exception:
                log.exception("defect in looking at the letter topic")
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Look once.

        Raises:
            Unreachable: No broker answers; what was known stays.
        """
        problems = await self._look()
        for problem in problems:
            if problem not in self._problems:
                log.warning("letter topic", problem=problem)
        if self._problems and not problems:
            log.info("letter topic is as it must be again")
        self._problems = problems
        self._metrics.letter_topic(len(problems))

    async def _look(self) -> Mapping[str, bool]:
        """All problems, and of each whether it is fatal."""
        async with Admin.connected(self._connection) as admin:
            cluster, missing = await admin.cluster_with([self._topic])
            if missing:
                return {f"topic {self._topic} is gone, or we may not see it: records that need it wait": True}
            sources = self._sources(cluster.partitions)
            found = await weaknesses_of(admin, self._topic, sources, cluster.brokers)
            servers = self._connection.bootstrap_servers
            return {weakness.told(self._topic, servers): weakness.fatal for weakness in found}
