"""What is kept for how long, compared: Kafka's records, its offsets, letters, and Temporal's workflows."""

from collections.abc import Iterator
from datetime import timedelta

from service.kafka.commands import set_command
from service.kafka.survey import SeenKafka, SeenTopic
from service.surroundings.checks import Finding
from service.surroundings.needs import Needs
from service.surroundings.spans import FOREVER_MS, days
from service.temporal.survey import SeenTemporal

LEAST_MS = 86_400_000
"""A day: an outage of a night is slept through."""


def judge_retention(needs: Needs, kafka: SeenKafka, temporal: SeenTemporal | None) -> Iterator[Finding]:
    """All that does not go together; of what is not seen, nothing is said."""
    remembered = {
        name: int(found.retention / timedelta(milliseconds=1))
        for name, found in (temporal.namespaces if temporal else {}).items()
        if found
    }
    offsets = [int(one["offsets.retention.minutes"]) for one in kafka.settings if _has_offsets(one)]
    for name, reading in needs.read.items():
        if isinstance(topic := kafka.topics.get(name), SeenTopic) and "retention.ms" in topic.settings:
            yield from _short(needs, name, topic)
            if "compact" not in topic.settings.get("cleanup.policy", ""):
                kept = int(topic.settings["retention.ms"])
                yield from _longer(
                    name, kept, {one: remembered[one] for one in reading.starts & remembered.keys()}
                )
                yield from _longer_than_offsets(name, kept, min(offsets) * 60_000 if offsets else None)
    letters = kafka.topics.get(needs.letters)
    if isinstance(letters, SeenTopic) and "retention.ms" in letters.settings:
        kept = int(letters.settings["retention.ms"])
        for namespace, memory in sorted(remembered.items()):
            if _is_longer(kept, memory):
                problem = (
                    f"it keeps letters {days(kept)}, and {namespace} remembers what closed {days(memory)}"
                )
                yield Finding("TD405", f"topic {needs.letters}", problem, _raise(namespace, kept))


def _has_offsets(settings: object) -> bool:
    return isinstance(settings, dict) and "offsets.retention.minutes" in settings


def _is_longer(kept_ms: int, memory_ms: int) -> bool:
    return kept_ms == FOREVER_MS or kept_ms > memory_ms


def _raise(namespace: str, kept_ms: int) -> str:
    """How a namespace remembers for as long as `kept_ms`."""
    hours = 24 * 30 if kept_ms == FOREVER_MS else -(-kept_ms // 3_600_000)
    return f"temporal operator namespace update -n {namespace} --retention {hours}h"


def _short(needs: Needs, name: str, topic: SeenTopic) -> Iterator[Finding]:
    kept = int(topic.settings["retention.ms"])
    if 0 <= kept < LEAST_MS and "delete" in topic.settings.get("cleanup.policy", "delete"):
        cure = set_command(needs.servers, name, f"retention.ms={7 * LEAST_MS}")
        yield Finding("TD401", f"topic {name}", f"it forgets records after {days(kept)}", cure)
    if int(topic.settings.get("retention.bytes", FOREVER_MS)) >= 0:
        problem = f"it forgets the oldest records when it holds {topic.settings['retention.bytes']} bytes"
        yield Finding(
            "TD402", f"topic {name}", problem, set_command(needs.servers, name, "retention.bytes=-1")
        )


def _longer(name: str, kept: int, remembered: dict[str, int]) -> Iterator[Finding]:
    for namespace, memory in sorted(remembered.items()):
        if _is_longer(kept, memory):
            problem = (
                f"records are kept {days(kept)}, and {namespace} remembers closed workflows {days(memory)}"
            )
            yield Finding("TD403", f"topic {name}", problem, _raise(namespace, kept))


def _longer_than_offsets(name: str, kept: int, memory: int | None) -> Iterator[Finding]:
    if memory is not None and _is_longer(kept, memory):
        problem = f"it keeps records {days(kept)}, and brokers what an absent group has done {days(memory)}"
        minutes = 60 * 24 * 365 if kept == FOREVER_MS else -(-kept // 60_000)
        cure = f"set offsets.retention.minutes={minutes} on all brokers, and leave the group absent no longer"
        yield Finding("TD404", f"topic {name}", problem, cure)
