"""What a letter topic must be."""

from collections.abc import Mapping

import pytest

from service.failures.letter_topic import weaknesses
from service.failures.letters import letter_topic_settings

GOOD = {**letter_topic_settings(1_000), "retention.ms": "604800000", "min.insync.replicas": "2"}
NEEDED = 1_000 + 65_536


def found(changes: Mapping[str, str], replicas: int = 3, brokers: int = 3) -> list[tuple[str, bool]]:
    """Settings that mend what is weak, and whether that is fatal."""
    settings = {**GOOD, **changes}
    return [
        (weakness.setting, weakness.fatal)
        for weakness in weaknesses(settings, needed_bytes=NEEDED, replicas=replicas, brokers=brokers)
    ]


@pytest.mark.parametrize(
    "good", [{}, {"retention.ms": "-1"}, {"retention.bytes": "-1"}, {"min.insync.replicas": "3"}]
)
def test_a_good_topic_has_no_weakness(good: dict[str, str]) -> None:
    assert found(good) == []


@pytest.mark.parametrize(
    ("changes", "setting", "fatal"),
    [
        ({"cleanup.policy": "compact"}, "cleanup.policy=delete", True),
        ({"cleanup.policy": "compact,delete"}, "cleanup.policy=delete", True),
        ({"max.message.bytes": str(NEEDED - 1)}, f"max.message.bytes={NEEDED}", True),
        ({"min.insync.replicas": "4"}, "min.insync.replicas=2", True),
        ({"min.insync.replicas": "1"}, "min.insync.replicas=2", False),
        ({"retention.ms": "86400000"}, "retention.ms=604800000", False),
        ({"retention.bytes": "1000"}, "retention.bytes=-1", False),
    ],
)
def test_each_weakness_is_told_with_the_setting_that_mends_it(
    changes: dict[str, str], setting: str, fatal: bool
) -> None:
    assert found(changes) == [(setting, fatal)]


def test_one_broker_cannot_have_two_replicas_and_is_not_asked_for_them() -> None:
    assert found({"min.insync.replicas": "1"}, replicas=1, brokers=1) == []


def test_a_topic_with_one_replica_is_not_told_a_setting_under_which_it_could_not_be_written_to() -> None:
    assert found({"min.insync.replicas": "1"}, replicas=1) == [("", False)]


def test_what_we_may_not_see_is_not_held_against_it() -> None:
    assert list(weaknesses({}, needed_bytes=NEEDED, replicas=3, brokers=3)) == []


def test_the_command_that_mends_it_is_printed_whole() -> None:
    (weakness,) = weaknesses({"cleanup.policy": "compact"}, needed_bytes=1, replicas=1, brokers=1)
    assert weakness.told("shop.dead-letters", "k:9092") == (
        "topic shop.dead-letters is compacted: letters of one key replace each other; "
        "set cleanup.policy=delete (kafka-configs.sh --bootstrap-server k:9092 --alter --entity-type topics "
        "--entity-name shop.dead-letters --add-config cleanup.policy=delete)"
    )
