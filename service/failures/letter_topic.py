"""What a letter topic must be, so that no letter is refused, replaced or gone before someone looks."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

LEAST_RETENTION_MS = 7 * 86_400_000
"""A week: letters of a Friday evening outlive the weekend, and the holiday of who knows the route."""


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
        command = (
            f"kafka-configs.sh --bootstrap-server {servers} --alter --entity-type topics "
            f"--entity-name {topic} --add-config {self.setting}"
        )
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
